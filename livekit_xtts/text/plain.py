"""Takes out what is not spoken (markdown, emoji) and reads addresses and capitals."""

from __future__ import annotations

import re
import unicodedata

from livekit_xtts.text.language import END, START, Spoken

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufe00-\ufe0f]")
_BLANKS = re.compile(r"[ \t\u00a0\u2000-\u200a\u3000]{2,}")
_EMPTY_LINES = re.compile(r"\n{3,}")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"]*\")?\)")
_LINK_TAIL = re.compile(r"\](?:\((?:https?:|www\.|/)[^()\s]*\)|\[[^\]\n]*\])")
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+", re.MULTILINE)
_QUOTE = re.compile(r"^[ \t]*(?:>[ \t]?)+", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_][ \t]*){3,}$", re.MULTILINE)
_TABLE_RULE = re.compile(r"^[ \t]*\|?(?:[ \t]*:?-{2,}:?[ \t]*\|?)+[ \t]*$", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[-*+•▪◦‣·–][ \t]+(?:\[[ xX]\][ \t]+)?", re.MULTILINE)
_STRONG = re.compile(r"(\*{1,3}|_{2,3}|~~)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_ITALIC = re.compile(r"(?<!\w)_(?=\S)([^_\n]+?)(?<=\S)_(?!\w)")
_CODE = re.compile(r"`+([^`\n]*)`+")
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*)?/?>")
_EMOTICON = re.compile(r"(?<!\S)[:;=][-']?[()DPpO|/\\]+(?=\s|$|[.,!?])")
_KEPT_SYMBOLS = frozenset("°€£¥₹₽₩₺₴№%&@#+-−×=<>/|~$¢§±÷^☭♥")
_LINE_END = re.compile(r"(?<![.,;:!?…。！？，、；：।؟،\s])[ \t]*(?:\n[ \t]*)+(?=\S)")

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9_.+-])([A-Za-z0-9][A-Za-z0-9_.+-]*)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)"
)
_URL = re.compile(
    r"(?i)(?<![A-Za-z0-9_@.])(?:https?://|ftp://|(?=www\.))[A-Za-z0-9][\w.~:/?#@!$&'()*+,;=%-]*(?<![.,;:!?)\]'])/?"
)
_TOP = (
    "com org net edu gov info biz dev app shop online store blog cloud tech site xyz io ai de at ch"
    " fr es it pt br pl tr ru nl be cs cz sk cn tw hk jp kr in hu uk us eu co me tv ly gg cc sa ae"
)
_HOST = re.compile(
    rf"(?<![A-Za-z0-9_@.-])((?:[A-Za-z0-9][A-Za-z0-9-]*\.)+(?:{_TOP.replace(' ', '|')}))"
    r"((?:/[A-Za-z0-9_~:/?#@!$&()*+,;=%.-]*[A-Za-z0-9_/~=-])?)(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)
_TOP_WORDS = frozenset(
    [
        "com",
        "org",
        "net",
        "edu",
        "gov",
        "info",
        "biz",
        "dev",
        "app",
        "shop",
        "online",
        "store",
        "blog",
        "cloud",
    ]
)

_DOTTED = re.compile(r"(?<![\w.])((?:[^\W\d_]\.[ \u00a0]?){2,})(?!\w\.)")
_INITIAL = re.compile(r"(?<![\w.'’])([^\W\d_a-z])\.(?=[ \u00a0][^\W\d_a-z])")
_SHORT_INITIAL = re.compile(r"(?<![\w.])([A-ZА-Я][a-zа-яё])\.(?=\s(?:[A-ZА-Я]\.|van |von |de ))")
_CAPITALS = re.compile(rf"{START}(?<!['’])([^\W\d_a-z]{{2,6}})(s?)(?!['’]\w){END}")


def strip_markup(text: str) -> str:
    """Drop markdown, HTML tags, emoji and invisible characters; a line's end becomes a pause."""
    text = unicodedata.normalize("NFC", text)
    text = _INVISIBLE.sub("", text)
    text = _EMPTY_LINES.sub("\n\n", _BLANKS.sub(" ", text).replace("\n \n", "\n\n"))
    for pattern in (_FENCE, _TABLE_RULE, _RULE):
        text = pattern.sub("", text)
    text = _IMAGE_OR_LINK.sub(r"\1", text)
    text = _LINK_TAIL.sub("", text)
    for pattern in (_HEADING, _QUOTE, _BULLET, _TAG):
        text = pattern.sub("", text)
    for pattern in (_STRONG, _STRONG):
        text = pattern.sub(r"\2", text)
    text = _CODE.sub(r"\1", _ITALIC.sub(r"\1", text))
    text = _EMOTICON.sub("", text)
    if not text.isascii():
        text = "".join(" " if _is_pictogram(c) else c for c in text)
    text = re.sub(r"(?m)^[ \t]*\|[ \t]*|[ \t]*\|[ \t]*$", "", text)
    text = re.sub(r"[ \t]+\|[ \t]+", ", ", text)
    text = re.sub(r"\*+|~~+|(?<!\w)_+|_+(?!\w)|\\(?=[\W_])|`+", "", text)
    return _LINE_END.sub(", ", text)


def _is_pictogram(character: str) -> bool:
    if character < "\u00a9" or character in _KEPT_SYMBOLS:
        return False
    category = unicodedata.category(character)
    modifier = "\U0001f3fb" <= character <= "\U0001f3ff" or character == "\u20e3"
    return category == "So" or modifier or "\U000e0000" <= character <= "\U000e007f"


def read_addresses(spoken: Spoken, text: str) -> str:
    """E-mail addresses, URLs and host names, the way people say them."""
    text = _EMAIL.sub(
        lambda match: f"{_marks(spoken, match[1])} {spoken.at} {_host(spoken, match[2])}", text
    )
    text = _URL.sub(lambda match: _url(spoken, match[0]), text)
    return _HOST.sub(lambda match: _url(spoken, match[1] + match[2]), text)


def _url(spoken: Spoken, written: str) -> str:
    written = re.sub(r"(?i)^(?:https?|ftp)://", "", written).rstrip("/")
    written = re.split(r"[?#]", written)[0]
    host, _, path = written.partition("/")
    said = _host(spoken, host)
    for part in path.split("/") if path else ():
        said += f" {spoken.slash} {_marks(spoken, part)}"
    return said


def _host(spoken: Spoken, host: str) -> str:
    host, _, port = host.partition(":")
    labels = host.split(".")
    said = []
    for index, label in enumerate(labels):
        top = index == len(labels) - 1
        short = top and len(label) == 2 and label.lower() not in _TOP_WORDS
        if short or (index == 0 and label.lower() == "www"):
            said.append(" ".join(_letter(spoken, letter) for letter in label))
        else:
            said.append(_marks(spoken, label))
    words = f" {spoken.dot} ".join(said)
    return f"{words} {port}" if port else words


def _marks(spoken: Spoken, part: str) -> str:
    names = {
        ".": spoken.dot, "-": spoken.dash, "_": spoken.underscore, "+": spoken.plus,
        "/": spoken.slash, "@": spoken.at,
    }  # fmt: skip
    said = "".join(f" {names[c]} " if c in names else c for c in part)
    said = re.sub(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", " ", said)
    return re.sub(r"[^\w ]+", " ", said).strip()


def _letter(spoken: Spoken, letter: str) -> str:
    return spoken.letters.get(letter.lower(), letter.lower())


def read_capitals(spoken: Spoken, text: str) -> str:
    """Initials, dotted abbreviations (U.S.A.) and capitals that are spelled (FBI)."""

    def letters(written: str) -> str:
        return " ".join(_letter(spoken, letter) for letter in written if letter.isalpha())

    def dotted(match: re.Match[str]) -> str:
        tail = " " if match[1][-1].isspace() else ""
        return letters(match[1]) + tail

    text = _DOTTED.sub(dotted, text)
    text = _SHORT_INITIAL.sub(r"\1", text)
    text = _INITIAL.sub(
        lambda match: _letter(spoken, match[1]) if match[1].isupper() else match[0], text
    )
    known = frozenset(spoken.spelled.split())

    def capitals(match: re.Match[str]) -> str:
        word = match[1]
        if word not in known and (len(word) < 3 or any(v in _VOWELS for v in word)):
            return match[0]
        if not word.isascii() and word not in known:
            return match[0]
        if _ROMAN.fullmatch(word):
            return match[0]
        return letters(word) + ("'s" if match[2] else "")

    return _CAPITALS.sub(capitals, text)


_VOWELS = frozenset("AEIOUYÄÖÜÁÉÍÓÚÀÈÌÒÙÂÊÎÔÛ")
_ROMAN = re.compile(r"[IVXLCDM]+")

"""The last step before ids: marks that the model reads well, and clean ends."""

from __future__ import annotations

import re
import unicodedata

_QUOTES = re.compile('["“”„‟«»‹›″〝〞「」『』]')
_APOSTROPHES = re.compile("[’‘ʼ´`′]")
_LONE_APOSTROPHE = re.compile(r"(?<!\w)'|'(?!\w)")
_ELLIPSIS = re.compile(r"\s?(?:…|\.{2,})+")
_DASH = re.compile(r"\s+[-–—―]+(?=\s|$)|\s?[—―]\s?|(?<=[^\W\d])–(?=[^\W\d])|^[-–—―]+\s+")
_BRACKETS = re.compile(r"\s?[(\[{（【][\s]*|\s*[)\]}）】]")
_WORD_SLASH = re.compile(r"(?<=[^\W\d_])\s?/\s?(?=[^\W\d_])")
_FULL_WIDTH = str.maketrans("，。！？；：、．（）", ",.!?;:,.()")
_MARKS = "!?.,;:¿¡،؛؟।॥'-"
_SPACE = re.compile(r"\s+")
_REPEATED = (
    (re.compile(r"([!?؟])[!?؟.,]*\?[!?؟.,]*"), "?"),
    (re.compile(r"([!?؟।॥])[!.,।]+"), r"\1"),
    (re.compile(r"\.(?:\s*[.,;:])+"), "."),
    (re.compile(r"[,;:](?:\s*[,;:])+"), ","),
    (re.compile(r"[,;:،]\s*(?=[.!?؟।])"), ""),
    (re.compile(r"(?<=[.!?؟।])\s*[,;:،](?=\s|$)"), ""),
)
_ODD = re.compile(r"[^a-z0-9 !?.,;:'-]")
_LEADING = re.compile(r"^[\s.,;:!?،؛؟।॥-]+(?=[^\s.,;:!?،؛؟।॥-])")
_TRAILING = re.compile(r"[\s.,;:،؛।॥。-]+$")


def tidy(text: str, *, spaced_marks: bool = False) -> str:
    """Make marks plain, drop what is no mark or letter, and strip the full stop at the end.

    The model speaks a final full stop, and reads "?\\"" or "…" with noise after them; question
    and exclamation marks stay, as they carry the intonation.

    Args:
        text: Text with all numbers and symbols read.
        spaced_marks: Keep a space that was written before "!", "?", ":" and ";" (French).
    """
    text = _APOSTROPHES.sub("'", _QUOTES.sub("", text).translate(_FULL_WIDTH))
    text = _LONE_APOSTROPHE.sub("", text)
    text = _ELLIPSIS.sub(", ", text)
    text = _BRACKETS.sub(", ", _DASH.sub(", ", text))
    text = _WORD_SLASH.sub(" ", text)
    if _ODD.search(text):
        text = "".join(c if _is_kept(c) else " " for c in text)
    text = _SPACE.sub(" ", text)
    text = re.sub(r" (?=[.,،])" if spaced_marks else r" (?=[.,;:!?،؛؟।])", "", text)
    for pattern, replacement in _REPEATED:
        text = pattern.sub(replacement, text)
    text = _LEADING.sub("", text)
    return _SPACE.sub(" ", _TRAILING.sub("", text)).strip()


def _is_kept(character: str) -> bool:
    return (
        (character.isalnum() and (character.isalpha() or character.isdecimal()))
        or character.isspace()
        or character in _MARKS
        or unicodedata.category(character)[0] == "M"
    )

"""Written text to spoken text: what a person would say, in lower case and plain marks."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from livekit_xtts.text import calendar, plain, quantities
from livekit_xtts.text.data.cuts import CUTS
from livekit_xtts.text.language import Noun, Spoken, table
from livekit_xtts.text.languages import canonical_language
from livekit_xtts.text.numbers import plain_digits
from livekit_xtts.text.pronunciation import Pronunciations
from livekit_xtts.text.tidy import tidy

_SPOKEN_SYMBOLS = frozenset("%&@€$£¥₹₽₩°")


def normalize(text: str, language: str, *, pronunciations: Pronunciations | None = None) -> str:
    """Write a text out the way it is spoken.

    Numbers, dates, times, prices, units, abbreviations, symbols and addresses become words;
    markdown and emoji go; Chinese, Japanese and Korean are written in Latin letters, as XTTS-v2
    reads them. The result is in lower case, has no final full stop, and is "" where nothing can
    be spoken.

    Args:
        text: The text as a person wrote it.
        language: Any spelling that `canonical_language` takes.
        pronunciations: A user's own words, which go first.

    Raises:
        InvalidRequestError: Unknown language, or the extra of a language is not installed.
    """
    name = canonical_language(language)
    if pronunciations is not None:
        text = pronunciations.apply(text)
    text = plain.strip_markup(text)
    if not _has_words(text):
        return ""
    if name == "ja":
        from livekit_xtts.text.japanese import read_japanese

        return read_japanese(text)
    spoken = table(name)
    for step in _steps(name):
        text = step(spoken, text)
    text = tidy(_lower(name, text), spaced_marks=name == "fr")
    if not any(c.isalnum() for c in text):
        return ""
    return _FINISH[name](text) if name in _FINISH else text


def speakable(text: str) -> bool:
    """Whether anything of a text can be spoken."""
    return _has_words(plain.strip_markup(text))


def _has_words(plain_text: str) -> bool:
    return any(c.isalnum() or c in _SPOKEN_SYMBOLS for c in plain_text)


def _steps(name: str) -> tuple[Callable[[Spoken, str], str], ...]:
    if name == "zh-cn":
        from livekit_xtts.text.chinese import STEPS

        return STEPS
    if name == "ko":
        from livekit_xtts.text.korean import read_counters

        return (*_BEFORE, read_counters, *_STEPS)
    return (*_BEFORE, *_STEPS)


def _digits(_: Spoken, text: str) -> str:
    return plain_digits(text)


def _rules(spoken: Spoken, text: str) -> str:
    for pattern, words in spoken.compiled_rules:
        text = pattern.sub(words, text)
    return text


def _late_rules(spoken: Spoken, text: str) -> str:
    for pattern, words in spoken.compiled_late_rules:
        text = pattern.sub(words, text)
    return text


@lru_cache(maxsize=32)
def _abbreviation_pattern(name: str) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    spoken = table(name)

    def pattern(words: object, ending: str) -> re.Pattern[str] | None:
        keys = sorted(words, key=len, reverse=True)  # type: ignore[call-overload]
        parts = [re.escape(key).replace(r"\.", r"\.[ \u00a0]?") for key in keys]
        # A single letter among initials ("J. M. Serrat") is one of them.
        parts = [rf"(?<!\w\. ){key}(?!\. \w\.)" if len(key) == 1 else key for key in parts]
        if not parts:
            return None
        return re.compile(rf"(?<![\w.])({'|'.join(parts)}){ending}", re.IGNORECASE)

    return pattern(spoken.abbreviations, r"\.(?!\w)"), pattern(spoken.bare, r"(?![\w.'’]\w|\w)\.?")


def _abbreviations(spoken: Spoken, text: str) -> str:
    name = "zh-cn" if spoken.code == "zh" else spoken.code
    dotted, bare = _abbreviation_pattern(name)
    may_end = CUTS[name].may_end_set

    def words(match: re.Match[str], source: dict[str, str]) -> str:
        key = re.sub(r"[ \u00a0]", "", match[1].lower())
        if match[0] in spoken.units and match.string[: match.start()].rstrip()[-1:].isdigit():
            return match[0]
        said = source[key]
        rest = match.string[match.end() :]
        # The full stop of "etc." may end the sentence too.
        ends = key in may_end and re.match(r"\s+[^\W\d_a-z]", rest) is not None
        return said + ("." if ends and match[0].endswith(".") else "")

    if dotted is not None:
        source = {key.replace(" ", ""): said for key, said in spoken.abbreviations.items()}
        text = dotted.sub(lambda match: words(match, source), text)
    if bare is not None:
        plain_source = {key.replace(" ", ""): said for key, said in spoken.bare.items()}
        text = bare.sub(lambda match: words(match, plain_source), text)
    return text


@lru_cache(maxsize=32)
def _symbol_words(spoken: Spoken) -> dict[str, str]:
    signs = {sign: Noun.parse(noun.split(";")[0]) for sign, noun in spoken.currencies.items()}
    names = {sign: noun.forms[-1] for sign, noun in signs.items() if len(sign) == 1}
    return {sign: word for sign, word in names.items() if not sign.isalpha()} | dict(spoken.symbols)


def _symbols(spoken: Spoken, text: str) -> str:
    for symbol, words in _symbol_words(spoken).items():
        text = text.replace(symbol, f" {words} ")
    return text


def _lower(name: str, text: str) -> str:
    if name == "tr":
        text = text.replace("İ", "i").replace("I", "ı")
    return text.lower()


_BEFORE: tuple[Callable[[Spoken, str], str], ...] = (
    _digits,
    plain.read_addresses,
    _rules,
    _abbreviations,
    plain.read_capitals,
)
_STEPS: tuple[Callable[[Spoken, str], str], ...] = (
    calendar.read_dates,
    calendar.read_times,
    quantities.read_minus,
    quantities.read_money,
    quantities.read_percent,
    quantities.read_units,
    calendar.read_ordinals,
    calendar.read_years,
    quantities.read_signs,
    quantities.read_numbers,
    _symbols,
    _late_rules,
)


def _pinyin(text: str) -> str:
    from livekit_xtts.text.chinese import pinyin

    return pinyin(text)


def _romanize(text: str) -> str:
    from livekit_xtts.text.korean import romanize

    return romanize(text)


_FINISH: dict[str, Callable[[str], str]] = {"zh-cn": _pinyin, "ko": _romanize}

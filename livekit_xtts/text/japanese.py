"""Japanese: numbers with their counters, then romaji."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from livekit_xtts.speech import InvalidRequestError
from livekit_xtts.text.data.ja import (
    COUNTERS,
    DAYS,
    EXCEPTIONS,
    MONTHS,
    SPOKEN,
    SYMBOLS,
    UNITS,
)
from livekit_xtts.text.numbers import plain_digits
from livekit_xtts.text.plain import read_addresses
from livekit_xtts.text.tidy import tidy

_ONES = ("", "ichi", "ni", "san", "yon", "go", "roku", "nana", "hachi", "kyuu")
_HUNDREDS = (
    "", "hyaku", "nihyaku", "sanbyaku", "yonhyaku", "gohyaku", "roppyaku", "nanahyaku",
    "happyaku", "kyuuhyaku",
)  # fmt: skip
_THOUSANDS = (
    "", "sen", "nisen", "sanzen", "yonsen", "gosen", "rokusen", "nanasen", "hassen", "kyuusen",
)  # fmt: skip
_GROUPS = ("", "man", "oku", "chou", "kei")
# Letters that the library has no reading for; it would write "?" for each.
_FOREIGN = re.compile(r"[^\W\d\u0000-\u024f\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+")
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)"
# What the last syllable of a number becomes before a counter's first sound.
_DOUBLED = {
    "k": (("ichi", "ik"), ("roku", "rok"), ("hachi", "hak"), ("juu", "juk"), ("yaku", "yak")),
    "s": (("ichi", "is"), ("hachi", "has"), ("juu", "jus")),
    "t": (("ichi", "it"), ("hachi", "hat"), ("juu", "jut")),
    "c": (("ichi", "it"), ("hachi", "hat"), ("juu", "jut")),
    "h": (("ichi", "ip"), ("roku", "rop"), ("hachi", "hap"), ("juu", "jup"), ("yaku", "yap")),
}


def cardinal(digits: str) -> str:
    """A whole number in romaji."""
    digits = digits.replace(",", "").lstrip("0")
    if not digits:
        return "zero"
    if len(digits) > 4 * len(_GROUPS):
        return " ".join(_ONES[int(d)] or "zero" for d in digits)
    said: list[str] = []
    for index in range((len(digits) - 1) // 4, -1, -1):
        end = len(digits) - 4 * index
        value = int(digits[max(0, end - 4) : end])
        if value:
            group = _group(value)
            if index and value == 1000:
                group = "issen"
            said.append(group + _GROUPS[index])
    return " ".join(said)


def _group(value: int) -> str:
    thousands, hundreds, tens, ones = (value // 10**place % 10 for place in (3, 2, 1, 0))
    ten = "" if tens == 0 else "juu" if tens == 1 else _ONES[tens] + "juu"
    parts = (_THOUSANDS[thousands], _HUNDREDS[hundreds], ten, _ONES[ones])
    return " ".join(part for part in parts if part)


def number(written: str) -> str:
    """A written number in romaji, with decimals digit by digit."""
    whole, _, fraction = written.replace(",", "").partition(".")
    if len(whole) > 1 and whole[0] == "0":
        return " ".join(_ONES[int(d)] or "zero" for d in whole)
    if not fraction:
        return cardinal(whole)
    return f"{cardinal(whole)} ten {' '.join(_ONES[int(d)] or 'zero' for d in fraction)}"


def counted(written: str, counter: str) -> str:
    """A number and its counter, with the sound changes between them."""
    said = EXCEPTIONS.get((written, counter))
    if said is not None:
        return said
    sound = COUNTERS[counter]
    words = number(written)
    for digit, counters, reading in (
        ("4", "人年時円", "yo"),
        ("9", "時", "ku"),
        ("7", "時", "shichi"),
    ):
        if (
            counter[0] in counters
            and counter != "人前"
            and written.endswith(digit)
            and "." not in written
        ):
            words = words[: -len(_ONES[int(digit)])] + reading
    first = sound[0]
    if words.endswith("san") and sound in ("hon", "hiki", "hai", "hyaku"):
        return f"{words} b{sound[1:]}"
    if words.endswith(("san", "yon")) and sound in ("fun", "funkan"):
        return f"{words} p{sound[1:]}"
    if first == "f":
        first, sound = "h", sound
    for ending, replacement in _DOUBLED.get(first, ()):
        if words.endswith(ending) and "." not in written:
            stem = words[: -len(ending)] + replacement
            if first == "h":
                return f"{stem}p{sound[1:]}"
            return stem + sound
    return f"{words} {sound}"


def _dates(text: str) -> str:
    text = re.sub(
        r"(?<!\d)(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?!\d)",
        lambda m: f"{m[1]}年{int(m[2])}月{int(m[3])}日",
        text,
    )
    text = re.sub(r"(?<![\d:])([01]?\d|2[0-4]):00(?![\d:])", r"\1時", text)
    text = re.sub(r"(?<![\d:])([01]?\d|2[0-4]):0?([1-5]?\d)(?![\d:])", r"\1時\2分", text)
    text = re.sub(r"(?<!\d)(1[0-2]|[1-9])月(?!間)", lambda m: f" {MONTHS[int(m[1]) - 1]} ", text)
    return re.sub(
        r"(?<!\d)(3[01]|[12]\d|[1-9])日(?!間|後)", lambda m: f" {DAYS[int(m[1]) - 1]} ", text
    )


def _amounts(text: str) -> str:
    signs = "|".join(map(re.escape, sorted(SPOKEN.currencies, key=len, reverse=True)))
    text = re.sub(
        rf"({signs}) ?({_NUMBER})",
        lambda m: f" {number(m[2])} {SPOKEN.currencies[m[1]]} ",
        text,
    )
    text = re.sub(
        rf"({_NUMBER}) ?({signs})", lambda m: f" {number(m[1])} {SPOKEN.currencies[m[2]]} ", text
    )
    units = "|".join(map(re.escape, sorted(UNITS, key=len, reverse=True)))
    text = re.sub(
        rf"({_NUMBER}) ?({units})(?![A-Za-z])", lambda m: f" {number(m[1])} {UNITS[m[2]]} ", text
    )
    counters = "|".join(map(re.escape, sorted(COUNTERS, key=len, reverse=True)))
    text = re.sub(
        rf"({_NUMBER}) ?({counters})", lambda m: f" {counted(m[1].replace(',', ''), m[2])} ", text
    )
    text = re.sub(r"(?<!\w)[-−](?=\d)", " mainasu ", text)
    text = re.sub(
        r"\d+(?:-\d+){2,}",
        lambda m: " no ".join(
            " ".join(_ONES[int(d)] or "zero" for d in part) for part in m[0].split("-")
        ),
        text,
    )
    text = re.sub(r"(?<=\d) ?[~〜～-] ?(?=\d)", " kara ", text)
    text = re.sub(
        r"\d+(?:\.\d+){2,}", lambda m: " ten ".join(number(p) for p in m[0].split(".")), text
    )
    return re.sub(_NUMBER, lambda m: f" {number(m[0])} ", text)


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        import cutlet

        return cutlet.Cutlet()
    except (ImportError, RuntimeError) as error:  # fugashi raises RuntimeError without a dictionary
        raise InvalidRequestError(
            "language 'ja' needs the packages cutlet, fugashi and unidic-lite:"
            " pip install 'livekit-xtts[ja]'"
        ) from error


def read_japanese(text: str) -> str:
    """Japanese text, markup already taken out, as lower-case romaji.

    Raises:
        InvalidRequestError: The extra `[ja]` is not installed.
    """
    text = read_addresses(SPOKEN, plain_digits(text))
    text = _amounts(_dates(text))
    for symbol, words in SYMBOLS.items():
        text = text.replace(symbol, words)
    text = _FOREIGN.sub("", text)
    if not any(c.isalnum() for c in text):
        return ""
    romaji = str(_library().romaji(text)).lower()
    said = tidy(re.sub(r"\s+([,.!?])", r"\1", romaji))
    return said if any(c.isalnum() for c in said) else ""

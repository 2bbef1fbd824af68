"""Numbers in words: whole numbers, decimals, ordinals and years of a language."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from livekit_xtts.text.data import czech_ordinals, hindi_numbers
from livekit_xtts.text.language import Replacements, Spoken

_LONGEST = 15


@lru_cache(maxsize=4096)
def cardinal(spoken: Spoken, digits: str) -> str:
    """A whole number in words; digit by digit above 15 digits or with leading zeros."""
    digits = digits.translate(_PLAIN_DIGITS)
    if len(digits) > _LONGEST or (len(digits) > 1 and digits[0] == "0"):
        return " ".join(cardinal(spoken, digit) for digit in digits)
    return _words(spoken, int(digits))


@lru_cache(maxsize=4096)
def decimal(spoken: Spoken, whole: str, fraction: str) -> str:
    """A decimal number in words."""
    if spoken.code == "hi":
        return hindi_numbers.decimal(int(whole), fraction)
    if spoken.point or len(whole) + len(fraction) > _LONGEST:
        tail = " ".join(cardinal(spoken, digit) for digit in fraction)
        if spoken.code == "tr" and len(fraction) < 3 and fraction[0] != "0":
            tail = cardinal(spoken, fraction)
        return f"{cardinal(spoken, whole)} {spoken.point or spoken.dot} {tail}"
    # num2words reads floats; trailing zeros are not spoken.
    value = float(f"{whole}.{fraction}")
    try:
        return _words(spoken, value if fraction.strip("0") else int(whole))
    except (KeyError, IndexError, NotImplementedError):  # its tables end at some length
        tail = " ".join(cardinal(spoken, digit) for digit in fraction)
        return f"{cardinal(spoken, whole)} {spoken.dot} {tail}"


@lru_cache(maxsize=1024)
def ordinal(spoken: Spoken, digits: str, gender: str = "m") -> str:
    """An ordinal in words, in the given gender or case (a key of `Spoken.ordinal_endings`)."""
    number = int(digits)
    if spoken.code == "hi":
        words = hindi_numbers.ordinal(number, gender)
    elif spoken.code == "cs":
        words = czech_ordinals.ordinal(number)
    else:
        words = _words(spoken, number, ordinal=True)
    endings = spoken.ordinal_endings.get(gender, ())
    head, _, last = words.rpartition(" ")
    if spoken.code in ("pl", "cs") and head.endswith(("sty", "iąty", "átý", "cátý", "sátý")):
        before, _, tens = head.rpartition(" ")
        head = f"{before} {_inflect(tens, endings)}".strip()
    return f"{head} {_inflect(last, endings)}".strip()


def _inflect(word: str, endings: Replacements) -> str:
    for ending, replacement in endings:
        if word.endswith(ending):
            return word[: len(word) - len(ending)] + replacement
    return word


def year(spoken: Spoken, digits: str) -> str:
    """A year in words; by hundreds where the language does so."""
    number = int(digits)
    if spoken.code == "en" and 1000 <= number <= 2999:
        return _words(spoken, number, to="year").replace(" and ", " ")
    if spoken.year_hundreds and 1100 <= number <= 1999:
        return _words(spoken, number, to="year").replace(" ", "")
    return cardinal(spoken, digits)


def _words(spoken: Spoken, number: float, **options: Any) -> str:
    if spoken.code == "hi":
        return hindi_numbers.cardinal(int(number))
    from num2words import num2words

    words = num2words(number, lang=spoken.code, **options)
    return str(words).lower().replace("  ", " ")


_PLAIN_DIGITS = {
    ord(digit): str(value)
    for digits in ("٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "०१२३४५६७८९", "０１２３４５６７８９")
    for value, digit in enumerate(digits)
}


def plain_digits(text: str) -> str:
    """Arabic-Indic, Devanagari and full-width digits as 0 to 9."""
    return text.translate(_PLAIN_DIGITS)

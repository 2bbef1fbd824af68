"""Amounts in words: money, percentages, units, ranges, versions and plain numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from livekit_xtts.text.language import END, START, Noun, Spoken
from livekit_xtts.text.numbers import cardinal, decimal

_SPACES = " \u00a0\u202f\u2009"
_GAP = f"[{_SPACES}]?"


@lru_cache(maxsize=32)
def number_pattern(mark: str) -> str:
    """The pattern of a written number, without groups, for a decimal mark."""
    groups = "," if mark == "." else f"[.{_SPACES}'’]"
    grouped = rf"\d{{1,3}}(?:{groups}\d{{3}})+(?!\d)(?:\{mark}\d+)?"
    return rf"(?:{grouped}|\d+(?:[.,]\d+)?)"


def split_number(spoken: Spoken, written: str) -> tuple[str, str | None]:
    """A written number as its digits before and after the decimal mark (None: no mark)."""
    other = "," if spoken.decimal == "." else "."
    grouped = re.fullmatch(
        rf"\d{{1,3}}(?:[{other}{_SPACES}'’]\d{{3}})+(\{spoken.decimal}\d+)?", written
    )
    if grouped:
        whole = written[: len(written) - len(grouped[1] or "")]
        return re.sub(r"\D", "", whole), grouped[1][1:] if grouped[1] else None
    parts = re.split(r"[.,]", written)
    return parts[0], parts[1] if len(parts) > 1 else None


def speak(spoken: Spoken, written: str) -> str:
    """A written number in words."""
    whole, fraction = split_number(spoken, written)
    return cardinal(spoken, whole) if fraction is None else decimal(spoken, whole, fraction)


def counted(spoken: Spoken, written: str, noun: Noun) -> str:
    """A written number and the noun it counts, in words."""
    whole, fraction = split_number(spoken, written)
    if fraction is not None and fraction.strip("0"):
        return f"{decimal(spoken, whole, fraction)} {noun.fraction}"
    words = spoken.agree(cardinal(spoken, whole), noun.gender)
    return f"{words} {spoken.form(noun, int(whole))}"


@lru_cache(maxsize=32)
def _money_pattern(spoken: Spoken) -> re.Pattern[str]:
    signs, number = _alternatives(spoken.currencies), number_pattern(spoken.decimal)
    return re.compile(
        rf"{START}(?<![.,])(?:(?P<a>{signs}){_GAP}(?P<n>{number})"
        rf"|(?P<m>{number})(?:{_GAP}|-)(?P<b>{signs})){END}"
    )


def read_money(spoken: Spoken, text: str) -> str:
    """Amounts with a currency before or after them."""
    if not spoken.currencies:
        return text
    pattern = _money_pattern(spoken)
    return pattern.sub(lambda match: _money(spoken, match), text)


def _money(spoken: Spoken, match: re.Match[str]) -> str:
    written = match["n"] or match["m"]
    major, _, minor = spoken.currencies[match["a"] or match["b"]].partition(";")
    whole, fraction = split_number(spoken, written)
    if fraction is None or not minor or len(fraction) > 2 or not fraction.strip("0"):
        return counted(spoken, written, Noun.parse(major))
    small = counted(spoken, str(int(fraction.ljust(2, "0"))), Noun.parse(minor.strip()))
    if int(whole) == 0:
        return small
    return counted(spoken, whole, Noun.parse(major)) + spoken.money + small


def read_percent(spoken: Spoken, text: str) -> str:
    """Percentages, with the sign before or after the number."""
    number = number_pattern(spoken.decimal)
    noun = Noun.parse(spoken.percent)

    def words(match: re.Match[str]) -> str:
        written = match[1] or match[2]
        if spoken.percent_first:
            return f"{noun.forms[0]} {speak(spoken, written)}"
        return counted(spoken, written, noun)

    return _compiled(rf"{START}(?<![.,])(?:({number}){_GAP}[%٪]|[%٪]({number}))").sub(words, text)


@lru_cache(maxsize=32)
def _unit_pattern(spoken: Spoken) -> re.Pattern[str]:
    units, number = _alternatives(spoken.units), number_pattern(spoken.decimal)
    return re.compile(rf"{START}(?<![.,])({number}){_GAP}({units}){END}")


def read_units(spoken: Spoken, text: str) -> str:
    """Numbers with a unit of measure."""
    if not spoken.units:
        return text
    pattern = _unit_pattern(spoken)
    return pattern.sub(
        lambda match: counted(spoken, match[1], Noun.parse(spoken.units[match[2]])), text
    )


def read_signs(spoken: Spoken, text: str) -> str:
    """Telephone numbers, versions, ranges, and signs of arithmetic between numbers."""
    text = _compiled(r"(?<!\w)\+\d[\d \u00a0()/-]{5,}\d").sub(
        lambda match: f"{spoken.plus} {_one_by_one(spoken, match[0])}", text
    )
    text = _compiled(r"(?<![\w-])(?:\d{1,3}-)?(?:\d{3}-)+\d{4}(?![\w-])").sub(
        lambda match: _one_by_one(spoken, match[0]), text
    )
    text = _compiled(
        rf"(?<![\w.,:/-])(?<!\d[{_SPACES}])0\d{{2,}}(?:[ /-]\d{{2,}})*(?![\w,:.-]?\d)"
    ).sub(lambda match: _one_by_one(spoken, match[0]), text)
    text = _compiled(r"(?<![\w.])v?(\d+(?:\.\d+){2,})(?![\w])").sub(
        lambda match: _version(spoken, match), text
    )
    if spoken.until:
        text = _compiled(r"(?<=\d)\s?[–-]\s?(?=\d)|(?<=\d)\s?[–-](?=\s\d)").sub(
            f" {spoken.until} ", text
        )
    for sign, word in (("×", spoken.times), ("x", spoken.times), ("*", spoken.times)):
        if word:
            text = re.sub(rf"(?<=\d)\s?{re.escape(sign)}\s?(?=\d)", f" {word} ", text)
    text = _compiled(r"(?<=\d)\s?\+\s?(?=\d)").sub(f" {spoken.plus} ", text)
    if spoken.equals:
        text = _compiled(r"(?<=\w)\s?=\s?(?=[\w-])").sub(f" {spoken.equals} ", text)
    return text


@lru_cache(maxsize=32)
def _range_pattern(spoken: Spoken) -> re.Pattern[str]:
    number = number_pattern(spoken.decimal)
    after = _alternatives([*spoken.units, *spoken.currencies, "%", "٪"])
    return re.compile(rf"{START}(?<![.,–-])({number})\s?[–-]\s?(?={number}{_GAP}(?:{after}){END})")


def read_minus(spoken: Spoken, text: str) -> str:
    """Negative numbers, and ranges with a sign or unit ("$5-10", "20-25%", "2-3 kg")."""
    if spoken.until:
        number = number_pattern(spoken.decimal)
        text = _range_pattern(spoken).sub(rf"\1 {spoken.until} ", text)
        if spoken.percent_first:
            text = _compiled(rf"([%٪]{number})\s?[–-]\s?(?=\d)").sub(rf"\1 {spoken.until} ", text)
        text = _compiled(rf"([$€£])({number})\s?[-–]\s?(?=\d)").sub(rf"\2 {spoken.until} \1", text)
        text = _compiled(r"(?<=\d)([%€]?)\s?[-–]\s?(?=[$€£]\d)|(?<=\d)([%€])\s?[-–]\s?(?=\d)").sub(
            rf"\1\2 {spoken.until} ", text
        )
    return _compiled(r"(?<![\w.,)\]%°€])(?<!\d )[-−](?=[€£$¥]?\d)").sub(f"{spoken.minus} ", text)


def _version(spoken: Spoken, match: re.Match[str]) -> str:
    grouped = re.fullmatch(r"\d{1,3}(?:\.\d{3})+", match[1])
    if grouped and spoken.decimal == ",":
        return match[0]
    return f" {spoken.dot} ".join(cardinal(spoken, part) for part in match[1].split("."))


def _one_by_one(spoken: Spoken, written: str) -> str:
    groups = re.findall(r"\d+", written)
    return ", ".join(" ".join(cardinal(spoken, digit) for digit in group) for group in groups)


def read_numbers(spoken: Spoken, text: str) -> str:
    """All numbers that nothing else has read."""
    number = number_pattern(spoken.decimal)

    def words(match: re.Match[str]) -> str:
        before = match.string[match.start() - 1 : match.start()]
        after = match.string[match.end() : match.end() + 1]
        spaced = speak(spoken, match[0])
        if spoken.code == "ko":  # counters and particles are written on to the number
            return spaced
        return (" " if before.isalpha() else "") + spaced + (" " if after.isalpha() else "")

    return _compiled(number).sub(words, text)


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(names, key=len, reverse=True)))


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)

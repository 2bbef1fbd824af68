"""Dates, times of day, years and ordinals in words."""

from __future__ import annotations

import re
from functools import lru_cache

from livekit_xtts.text.language import Spoken
from livekit_xtts.text.numbers import cardinal, ordinal, year


def read_dates(spoken: Spoken, text: str) -> str:
    """2024-05-03, 3.5.2024, 5/3/2024, and days and years beside the name of a month."""
    if not spoken.months:
        return text
    text = re.sub(r"(?<=\d{4}-\d\d-\d\d)T(?=[0-2]\d:[0-5]\d)", ", ", text)
    text = re.sub(
        r"(?<![\d-])(\d{4})-(0\d|1[0-2])-([0-3]\d)(?![\d-])",
        lambda match: _date(spoken, match[0], match[3], match[2], match[1]),
        text,
    )
    order = (1, 2) if spoken.day_first else (2, 1)
    text = re.sub(
        r"(?<![\d./-])(?<![./-] )(\d{1,2})([/-]|\. ?)(\d{1,2})\2(\d{4})(?![\d/-])",
        lambda match: _date(
            spoken, match[0], match[(0, 1, 3)[order[0]]], match[(0, 1, 3)[order[1]]], match[4]
        ),
        text,
    )
    return _named_months(spoken, text)


def _date(spoken: Spoken, written: str, day: str, month: str, year_digits: str) -> str:
    number = int(month)
    if not 1 <= number <= 12 or not 1 <= int(day) <= 31:
        return written
    return spoken.date.format(
        day=_day(spoken, day), month=spoken.months[number - 1], year=_year(spoken, year_digits)
    )


def _day(spoken: Spoken, day: str, gender: str = "d") -> str:
    day = str(int(day))
    if spoken.day_style == "ordinal" or (spoken.day_style == "first" and day == "1"):
        return ordinal(spoken, day, gender)
    return cardinal(spoken, day)


def _year(spoken: Spoken, digits: str) -> str:
    if "y" in spoken.ordinal_endings:
        return ordinal(spoken, digits, "y")
    return year(spoken, digits)


@lru_cache(maxsize=32)
def _month_patterns(spoken_code: str, names: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    day = r"(?<![\d.,:])(\d{1,2})(?:\.|º|°|ª|er|th|st|nd|rd|-го|-е)?"
    tail = r"(?:(,?\s+(?:de\s+|del\s+|of\s+)?)([12]\d{3})(?!\d))?"
    flags = re.NOFLAG if spoken_code == "en" else re.IGNORECASE
    first = re.compile(rf"{day}(\s+(?:de\s+|of\s+|d['’])?)({names})(?!\w)\.?{tail}", flags)
    second = re.compile(
        rf"(?<!\w)({names})\.?(\s+)(\d{{1,2}})(?:th|st|nd|rd)?(?![\w:.]\d|\w){tail}", flags
    )
    return first, second


def _named_months(spoken: Spoken, text: str) -> str:
    names = spoken.month_numbers
    ordered = sorted(names, key=len, reverse=True)
    if spoken.code == "en":
        ordered = [name.capitalize() for name in ordered]
    first, second = _month_patterns(spoken.code, "|".join(map(re.escape, ordered)))

    def year_tail(lead: str | None, digits: str | None) -> str:
        return "" if digits is None else f"{lead}{_year(spoken, digits)}"

    def day_month(match: re.Match[str]) -> str:
        month = spoken.months[names[match[3].lower()] - 1]
        day, space = _day(spoken, match[1]), match[2]
        if spoken.code == "en":
            the = "" if match.string[: match.start()].lower().endswith("the ") else "the "
            day, space = f"{the}{day}", " of "
        return f"{day}{space}{month}{year_tail(match[4], match[5])}"

    def month_day(match: re.Match[str]) -> str:
        month = spoken.months[names[match[1].lower()] - 1]
        return f"{month}{match[2]}{_day(spoken, match[3])}{year_tail(match[4], match[5])}"

    text = first.sub(day_month, text)
    return second.sub(month_day, text) if spoken.code == "en" else text


def read_times(spoken: Spoken, text: str) -> str:
    """Times of day such as 10:30, 10h30 and, before a word for the hour, 10.30."""
    if not spoken.clock:
        return text
    dotted = rf"|[.](?=[0-5]\d\s?(?:{spoken.clock_words})(?!\w))" if spoken.clock_words else ""
    drop = rf"(?:\s?(?:{spoken.clock_words})(?!\w))?" if spoken.clock_words else ""
    pattern = (
        rf"(?<![\w:.,])([01]?\d|2[0-4])(?::|(?<=\d)h(?=[0-5]\d){dotted})([0-5]\d)(?::([0-5]\d))?"
        rf"(?![\d:]){drop}"
    )
    suffix = re.compile(rf"\s?(?:{spoken.clock_suffix})") if spoken.clock_suffix else None

    def words(match: re.Match[str]) -> str:
        follows = suffix.match(match.string, match.end()) if suffix else None
        return _time(spoken, match[1], match[2], match[3], follows is not None)

    return re.sub(pattern, words, text)


def _time(spoken: Spoken, hour: str, minute: str, second: str | None, suffixed: bool) -> str:
    clock = spoken.clock
    number = int(minute)
    key = "minutes" if number >= 10 else "oh"
    if number == 0 and second is None:
        key = "suffixed" if suffixed and "suffixed" in clock else "full"
        if int(hour) == 1 and "one" in clock and key == "full":
            key = "one"
    if spoken.hour_gender.startswith("ordinal"):
        hours = ordinal(spoken, str(int(hour)), spoken.hour_gender.removeprefix("ordinal-"))
    else:
        hours = spoken.agree(cardinal(spoken, str(int(hour))), spoken.hour_gender)
    said = clock.get(key, clock["minutes"]).format(h=hours, m=cardinal(spoken, str(number)))
    if second is not None:
        said += f" {cardinal(spoken, str(int(second)))}"
    return said


def read_ordinals(spoken: Spoken, text: str) -> str:
    """Ordinals such as 1st, 2º, 3. and, where the language reads them so, years before "year"."""
    for before, after, gender in spoken.ordinals:
        text = re.sub(
            rf"(?<![\w.,])({before})(\d{{1,4}}){after}",
            lambda match, gender=gender: match[1] + ordinal(spoken, match[2], gender),  # type: ignore[misc]
            text,
        )
    return text


def read_years(spoken: Spoken, text: str) -> str:
    """Years after a word that announces one, where years are not read like other numbers."""
    if not spoken.year_cues:
        return text
    digits = r"(1[0-9]\d\d|20\d\d)"
    if spoken.until:
        text = re.sub(
            rf"(?<![\w.,:$€£]){digits}\s?[–-]\s?{digits}(?![\w.,:]\d|\w)",
            lambda match: f"{year(spoken, match[1])} {spoken.until} {year(spoken, match[2])}",
            text,
        )
    cue = rf"(?i:(?<!\w)(?:{spoken.year_cues}))"
    text = re.sub(
        rf"({cue}\s+){digits}(?![\d.,:]*\d|\s?[%€$£°])",
        lambda match: match[1] + year(spoken, match[2]),
        text,
    )
    return re.sub(
        rf"(?<![\w.,:$€£]){digits}(?=\s*[,;.!?)]|\s*$|\s[–-]\s)(?!\s?[,.]\d)",
        lambda match: year(spoken, match[1]) if int(match[1]) >= 1900 else match[0],
        text,
    )

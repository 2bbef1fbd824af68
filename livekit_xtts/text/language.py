"""What a language's table holds, and the small grammar that reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import import_module

_UNSPACED = r"\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
START = rf"(?<![^\W{_UNSPACED}])"
"""Pattern: no letter or digit before; characters of unspaced scripts may stand there."""
END = rf"(?![^\W{_UNSPACED}])"
"""Pattern: no letter or digit after; characters of unspaced scripts may stand there."""

Replacements = tuple[tuple[str, str], ...]


def _slavic_east(n: int) -> int:
    if n % 10 == 1 and n % 100 != 11:
        return 0
    return 1 if n % 10 in (2, 3, 4) and n % 100 not in (12, 13, 14) else 2


def _polish(n: int) -> int:
    if n == 1:
        return 0
    return 1 if n % 10 in (2, 3, 4) and n % 100 not in (12, 13, 14) else 2


PLURALS: dict[str, Callable[[int], int]] = {
    "none": lambda n: 0,
    "one": lambda n: 0 if n == 1 else 1,
    "french": lambda n: 0 if n < 2 else 1,
    "russian": _slavic_east,
    "polish": _polish,
    "czech": lambda n: 0 if n == 1 else 1 if n in (2, 3, 4) else 2,
    "arabic": lambda n: 0 if n in (1, 2) or n > 10 else 1,
}
"""Which of a noun's forms goes with a number."""


@dataclass(frozen=True)
class Noun:
    """A counted noun, written "dollar|dollars" or "euro|eura|eur|eura|n".

    Attributes:
        forms: One form for each class of the language's plural rule.
        fraction: The form after a decimal number.
        gender: "m", "f" or "n".
    """

    forms: tuple[str, ...]
    fraction: str
    gender: str = "m"

    @staticmethod
    @lru_cache(maxsize=2048)
    def parse(text: str) -> Noun:
        """Read the written form: plural forms, then (with a fourth) the fraction's, then gender."""
        parts = text.split("|")
        gender = parts.pop() if parts[-1] in ("m", "f", "n") and len(parts) > 1 else "m"
        if len(parts) == 4:
            return Noun(tuple(parts[:3]), parts[3], gender)
        return Noun(tuple(parts), parts[1] if len(parts) == 3 else parts[-1], gender)


@dataclass(frozen=True, eq=False)
class Spoken:
    """How a language reads what is not a word. All words are lower-case.

    Attributes:
        code: The language's name in `num2words`.
        decimal: The decimal mark as written, "." or ",".
        point: How it is read where `num2words` is not asked; "" asks it.
        dot, at, slash, dash, underscore: Marks in addresses.
        minus, plus, until, times, equals: Signs between numbers.
        percent: The counted noun; before the number where `percent_first`.
        plural: A name of `PLURALS`.
        genders: Endings of a number's last word before a noun of that gender.
        currencies: Written sign or name -> "major noun" or "major noun; minor noun".
        money: Goes between the major and the minor amount.
        units: Written unit -> noun.
        symbols: Written symbol -> words.
        abbreviations: Without their full stop -> words.
        bare: Abbreviations that need no full stop -> words.
        spelled: Capitals that are read letter by letter.
        letters: How single letters are read there; a missing letter stays as it is.
        months: Twelve names as they go into a date (genitive where the language has one).
        month_words: Other written month names -> number of the month.
        date: Template of {day}, {month}, {year}.
        day_first: Whether 3/4 is the third of April.
        day_style: "cardinal", "ordinal" or "first" (only the first is an ordinal).
        clock: Templates of {h} and {m}: "full" hour, "minutes", "oh" for minutes below ten;
            "one" for a full one o'clock, "suffixed" for a full hour before `clock_suffix`.
        clock_words: Pattern of a word that follows a time, dropped as the templates say it; also
            allows "10.30" as a time.
        clock_suffix: Pattern of a word after a full hour that is kept ("a.m.").
        hour_gender: The gender that hours agree with.
        year_hundreds: Years 1100 to 1999 are read by hundreds.
        year_cues: Pattern of a word before a year, where years differ from numbers.
        ordinals: Patterns before and after the digits, and the gender (or case) to read.
        ordinal_endings: Gender -> replacements at the end of the ordinal's words.
        rules: Other patterns -> replacements, applied first, in order, on the written case.
        late_rules: The same, applied on the spoken text at the end.
    """

    code: str
    decimal: str = ","
    point: str = ""
    dot: str = "dot"
    at: str = "at"
    slash: str = "slash"
    dash: str = "dash"
    underscore: str = "underscore"
    minus: str = "minus"
    plus: str = "plus"
    until: str = ""
    times: str = ""
    equals: str = ""
    percent: str = "percent"
    percent_first: bool = False
    plural: str = "one"
    genders: Mapping[str, Replacements] = field(default_factory=dict)
    currencies: Mapping[str, str] = field(default_factory=dict)
    money: str = " "
    units: Mapping[str, str] = field(default_factory=dict)
    symbols: Mapping[str, str] = field(default_factory=dict)
    abbreviations: Mapping[str, str] = field(default_factory=dict)
    bare: Mapping[str, str] = field(default_factory=dict)
    spelled: str = ""
    letters: Mapping[str, str] = field(default_factory=dict)
    months: tuple[str, ...] = ()
    month_words: Mapping[str, int] = field(default_factory=dict)
    date: str = "{day} {month} {year}"
    day_first: bool = True
    day_style: str = "cardinal"
    clock: Mapping[str, str] = field(default_factory=dict)
    clock_words: str = ""
    clock_suffix: str = ""
    hour_gender: str = ""
    year_hundreds: bool = False
    year_cues: str = ""
    ordinals: tuple[tuple[str, str, str], ...] = ()
    ordinal_endings: Mapping[str, Replacements] = field(default_factory=dict)
    rules: Replacements = ()
    late_rules: Replacements = ()

    @cached_property
    def compiled_rules(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        """`rules`, compiled."""
        return tuple((re.compile(pattern), words) for pattern, words in self.rules)

    @cached_property
    def compiled_late_rules(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        """`late_rules`, compiled."""
        return tuple((re.compile(pattern), words) for pattern, words in self.late_rules)

    @cached_property
    def month_numbers(self) -> dict[str, int]:
        """Every written month name -> 1 … 12."""
        names = {name: number for number, name in enumerate(self.months, 1)}
        return names | dict(self.month_words)

    def form(self, noun: Noun, number: int | None) -> str:
        """The noun's form after a whole number, or after a fraction (None)."""
        if number is None:
            return noun.fraction
        return noun.forms[min(PLURALS[self.plural](abs(number)), len(noun.forms) - 1)]

    def agree(self, words: str, gender: str) -> str:
        """A number's words before a noun of this gender ("one" may change)."""
        for ending, replacement in self.genders.get(gender, ()):
            if words == ending or words.endswith(ending):
                return words[: len(words) - len(ending)] + replacement
        return words


@lru_cache(maxsize=32)
def table(language: str) -> Spoken:
    """The table of a language, by its name in `speech.LANGUAGES`; imported when first asked for."""
    module = import_module(f"livekit_xtts.text.data.{language.split('-')[0]}")
    spoken = module.SPOKEN
    assert isinstance(spoken, Spoken)
    return spoken

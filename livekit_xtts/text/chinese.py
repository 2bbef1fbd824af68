"""Chinese: numbers, dates, amounts and marks, then pinyin with tone numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from livekit_xtts.speech import InvalidRequestError
from livekit_xtts.text import plain
from livekit_xtts.text.language import Spoken
from livekit_xtts.text.numbers import plain_digits

_HAN = r"[\u4e00-\u9fff]"
_DIGITS = "零一二三四五六七八九"
_PLACES = ("", "十", "百", "千")
_GROUPS = ("", "万", "亿", "万亿", "亿亿")
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)"
_COUNTERS = (
    "个|位|名|只|本|张|杯|件|天|年(?!代)|次|家|条|辆|部|台|瓶|份|块|斤|人|种|把|双|颗|间|座|首"
    r"|周|岁|点(?!\d)|分钟|小时|公斤|公里|元|万|千|亿|米(?!\d)|倍|楼层|顿|碗|门|套|场|片"
)


def cardinal(digits: str) -> str:
    """A whole number in characters; two is 两 before 百, 千, 万 and 亿."""
    digits = digits.lstrip("0") or "0"
    if digits == "0":
        return _DIGITS[0]
    if len(digits) > 4 * len(_GROUPS):
        return by_digit(digits)
    groups: list[str] = []
    while digits:
        groups.append(digits[-4:])
        digits = digits[:-4]
    said = ""
    for index in range(len(groups) - 1, -1, -1):
        value = int(groups[index])
        if value == 0:
            continue
        if said and value < 1000 and not said.endswith("零"):
            said += "零"
        said += _group(value, lead=not said) + _GROUPS[index]
        if index and value == 2:
            said = said[: -len(_GROUPS[index]) - 1] + "两" + _GROUPS[index]
    return said


def _group(value: int, *, lead: bool) -> str:
    said, gap = "", False
    for place in (3, 2, 1, 0):
        digit = value // 10**place % 10
        if digit == 0:
            gap = bool(said)
            continue
        if gap:
            said += "零"
            gap = False
        name = "两" if digit == 2 and place >= 2 else _DIGITS[digit]
        if digit == 1 and place == 1 and not said and lead:
            name = ""
        said += name + _PLACES[place]
    return said


def by_digit(digits: str) -> str:
    """Digit by digit, as years and telephone numbers are read."""
    return "".join(_DIGITS[int(digit)] for digit in digits)


def number(written: str) -> str:
    """A written number, with or without a decimal mark and groups."""
    whole, _, fraction = written.replace(",", "").partition(".")
    return cardinal(whole) + (f"点{by_digit(fraction)}" if fraction else "")


def _dates(_: Spoken, text: str) -> str:
    text = re.sub(
        r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)",
        lambda m: f"{by_digit(m[1])}年{cardinal(m[2])}月{cardinal(m[3])}日",
        text,
    )
    text = re.sub(r"(?<!\d)(\d{4}|[089]\d)(?=年(?!级|龄))", lambda m: by_digit(m[1]), text)

    def clock(match: re.Match[str]) -> str:
        hour, minute = match[1], int(match[2])
        hours = "两" if int(hour) == 2 else cardinal(hour)
        if minute == 0:
            return f"{hours}点"
        return f"{hours}点{'零' if minute < 10 else ''}{cardinal(match[2])}分"

    return re.sub(r"(?<![\d:])([01]?\d|2[0-4])[:：]([0-5]\d)(?![\d:])", clock, text)


def _amounts(spoken: Spoken, text: str) -> str:
    signs = "|".join(map(re.escape, sorted(spoken.currencies, key=len, reverse=True)))
    text = re.sub(
        rf"(?<![A-Za-z])({signs}) ?({_NUMBER})([万亿]?)",
        lambda m: f"{_two(number(m[2]))}{m[3]}{spoken.currencies[m[1]]}",
        text,
    )
    text = re.sub(
        rf"({_NUMBER}) ?({signs})(?![A-Za-z])",
        lambda m: f"{_two(number(m[1]))}{spoken.currencies[m[2]]}",
        text,
    )
    text = re.sub(
        rf"({_NUMBER})[%％]? ?[-–~至到] ?({_NUMBER}) ?[%％]",
        lambda m: f"百分之{number(m[1])}到百分之{number(m[2])}",
        text,
    )
    text = re.sub(rf"({_NUMBER}) ?[%％]", lambda m: f"百分之{number(m[1])}", text)
    units = "|".join(map(re.escape, sorted(spoken.units, key=len, reverse=True)))
    return re.sub(
        rf"({_NUMBER}) ?({units})(?![A-Za-z])",
        lambda m: f"{_two(number(m[1]))}{spoken.units[m[2]]}",
        text,
    )


def _two(said: str) -> str:
    return "两" if said == "二" else said


def _numbers(_: Spoken, text: str) -> str:
    text = re.sub(
        r"(?<!\d)\+?(?:86[ -]?)?(1[3-9]\d)[ -]?(\d{4})[ -]?(\d{4})(?!\d)",
        lambda m: by_digit(m[1] + m[2] + m[3]),
        text,
    )
    text = re.sub(
        r"(?<!\d)0\d{2,3}-?\d{7,8}(?!\d)", lambda m: by_digit(re.sub(r"\D", "", m[0])), text
    )
    text = re.sub(
        r"(?<![\d/])(\d+)/(\d+)(?![\d/])", lambda m: f"{cardinal(m[2])}分之{cardinal(m[1])}", text
    )
    text = re.sub(r"(?<=\d) ?[-–~～] ?(?=\d)", "到", text)
    text = re.sub(r"(?<![\d\w])[-−](?=\d)", "负", text)
    text = re.sub(r"\d+(?:\.\d+){2,}", lambda m: "点".join(map(by_digit, m[0].split("."))), text)
    text = re.sub(rf"(?<![\d.第])2(?=(?:{_COUNTERS}))", "两", text)
    return re.sub(_NUMBER, lambda m: number(m[0]), text)


def _symbols(spoken: Spoken, text: str) -> str:
    text = re.sub(r"#([零一二三四五六七八九十百千]+)", r"\1号", text)
    for symbol, words in spoken.symbols.items():
        text = text.replace(symbol, words)
    return text.replace("、", "，")


def _digits(_: Spoken, text: str) -> str:
    return plain_digits(text)


def _join(_: Spoken, text: str) -> str:
    """No spaces between characters; they are not spoken, and cost an id each."""
    return re.sub(rf"(?<={_HAN})[ \t]+(?={_HAN})", "", text)


STEPS: tuple[Callable[[Spoken, str], str], ...] = (
    _digits,
    plain.read_addresses,
    _dates,
    _amounts,
    _numbers,
    _symbols,
    _join,
)


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        import pypinyin
    except ImportError as error:
        raise InvalidRequestError(
            "language 'zh' needs the package pypinyin: pip install 'livekit-xtts[zh]'"
        ) from error
    return pypinyin


def pinyin(text: str) -> str:
    """Characters as pinyin with tone numbers; anything else stays.

    Raises:
        InvalidRequestError: The extra `[zh]` is not installed.
    """
    library = _library()
    text = re.sub(rf"(?<=[,.;:!?]) (?={_HAN})", "", text)
    syllables = library.pinyin(
        text, style=library.Style.TONE3, heteronym=False, neutral_tone_with_five=True
    )
    return "".join(syllable[0] for syllable in syllables)

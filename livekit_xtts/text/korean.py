"""Korean: native numbers before counters, and romanisation."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from livekit_xtts.speech import InvalidRequestError
from livekit_xtts.text.language import Spoken

_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_COUNTERS = (
    "시간|시|개|명|살|마리|잔|병|권|대|장|달|번째|가지|그루|송이|켤레|벌|채|군데|곳|사람"
    "|분(?=이|을|의|께| )|통|줄|판|모금|척|자루"
)
_COUNTED = re.compile(rf"(?<![\d.,:제])(?<!제 )(\d{{1,2}}) ?({_COUNTERS})(?![가-힣]*[A-Za-z])")


def native(number: int) -> str:
    """1 … 99 as they stand before a counter."""
    if number == 20:
        return "스무"
    return _TENS[number // 10] + _ONES[number % 10]


def read_counters(_: Spoken, text: str) -> str:
    """Numbers before counters that take native numbers: 3개, 5명, 10시, 1번째."""

    def words(match: re.Match[str]) -> str:
        number = int(match[1])
        sino = number > 20 and match[2] != "살"
        if number == 0 or sino or (match[2] == "시" and number > 12):
            return match[0]
        if match[2].startswith("분") and re.search(r"시\s*$", match.string[: match.start()]):
            return match[0]
        if match[2] == "번째" and number == 1:
            return "첫 번째"
        return f"{native(number)} {match[2]}"

    return _COUNTED.sub(words, text)


@lru_cache(maxsize=1)
def _transliterator() -> Any:
    try:
        from hangul_romanize import Transliter
        from hangul_romanize.rule import academic
    except ImportError as error:
        raise InvalidRequestError(
            "language 'ko' needs the package hangul-romanize: pip install 'livekit-xtts[ko]'"
        ) from error
    return Transliter(academic)


def romanize(text: str) -> str:
    """Hangul in Latin letters.

    Raises:
        InvalidRequestError: The extra `[ko]` is not installed.
    """
    return str(_transliterator().translit(text))

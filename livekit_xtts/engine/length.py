"""How many codes a text takes, roughly: for budgets, and for telling a run-on from speech."""

from __future__ import annotations

import re
from dataclasses import dataclass

from livekit_xtts.speech import CODE_SECONDS

CHARACTERS_PER_SECOND = {
    "en": 15.0, "es": 16.0, "fr": 16.0, "de": 14.5, "it": 15.5, "pt": 15.5, "pl": 14.5,
    "tr": 14.5, "ru": 14.5, "nl": 15.0, "cs": 14.0, "ar": 12.0, "zh-cn": 4.5, "hu": 14.5,
    "ko": 6.5, "ja": 7.0, "hi": 12.5,
}  # fmt: skip
"""Written characters that read speech takes per second, pauses included."""

PAUSES_SECONDS = 0.35
"""Silence before and after, in a short text more than the words."""

SECONDS_PER_ID = 0.2
"""Where there are only ids: about three characters each."""

_MARK = re.compile(r"[.,;:!?…—–]+[\"')\]»”’]*(?=\s)|(?<=\s)[-—–]+(?=\s)|[，、。！？；：।؟،؛]|\n")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a text is expected to be read.

    Attributes:
        seconds: Length of the speech at speed 1.
        marks: Marks inside the text at which a reader may pause.
        settled: Share of the text before the last of them; 0 without any.
    """

    seconds: float
    marks: int = 0
    settled: float = 0.0


def reading(text: str, language: str) -> Reading:
    """How a text is expected to be read.

    Args:
        text: As it was written or as normalised.
        language: A language of the model.
    """
    text = text.strip()
    inner = [match.end() for match in _MARK.finditer(text) if match.end() < len(text)]
    return Reading(
        expected_codes(text, language) * CODE_SECONDS,
        len(inner),
        inner[-1] / len(text) if inner else 0.0,
    )


def expected_codes(text: str, language: str) -> float:
    """Codes that a text takes.

    Args:
        text: As normalised: numbers written out.
        language: A language of the model.

    Returns:
        At least 1.
    """
    per_second = CHARACTERS_PER_SECOND.get(language, 14.0)
    return max(1.0, (PAUSES_SECONDS + len(text) / per_second) / CODE_SECONDS)


def expected_codes_of_ids(ids: int) -> float:
    """Codes that so many text ids take, the language tag among them."""
    return max(1.0, (PAUSES_SECONDS + SECONDS_PER_ID * max(0, ids - 1)) / CODE_SECONDS)

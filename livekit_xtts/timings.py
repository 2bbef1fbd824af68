"""When each word is heard: estimated from its length, where the model's own view is not known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_UNSPACED = ("zh-cn", "ja")
_SPACED_WORD = re.compile(r"\s*\S+")
_UNSPACED_WORD = re.compile(r"\s*(?:[A-Za-z0-9]+|\S)[^\w\s]*")
_DIGIT_LETTERS = 4.0
# What a pause after a word takes, in letters.
_PAUSES = {",": 2.5, ";": 3.5, ":": 3.5, "—": 2.5, "–": 2.5, ".": 5.0, "!": 5.0, "?": 5.0, "…": 5.0}
_PAUSES |= {"，": 1.0, "、": 0.8, "。": 2.0, "！": 2.0, "？": 2.0, "；": 1.5, "：": 1.5}


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word of the original text, with its spacing, and when it is heard.

    Attributes:
        text: The characters; all of a segment's words joined are its text.
        start_s: From the start of the utterance's audio.
        end_s: Where the next word begins, or the segment ends.
    """

    text: str
    start_s: float
    end_s: float


def split_words(text: str, language: str = "en") -> list[str]:
    """A text in words whose join is the text; single characters where words are not spaced."""
    pattern = _UNSPACED_WORD if language in _UNSPACED else _SPACED_WORD
    words = pattern.findall(text)
    rest = text[sum(map(len, words)) :]
    if rest and words:
        words[-1] += rest
    elif rest:
        words = [rest]
    return words


def word_shares(words: Sequence[str]) -> list[float]:
    """Where each word begins, as a share of the audio, ending with 1; len(words) + 1 values.

    A word takes as long as it has letters (a digit counts as four), and punctuation a pause; the
    pause after the last word is none.
    """
    if not words:
        return [0.0]
    weights = [_weight(word) for word in words]
    weights[-1] -= _pause(words[-1])
    total = sum(weights)
    shares, position = [0.0], 0.0
    for weight in weights:
        position += weight
        shares.append(position / total)
    shares[-1] = 1.0
    return shares


def proportional(text: str, language: str, start_s: float, end_s: float) -> tuple[TimedWord, ...]:
    """The words of a segment, timed by their lengths alone.

    Args:
        text: The segment's original text.
        language: Says how words are split.
        start_s: Where its audio begins.
        end_s: Where it ends.
    """
    words = split_words(text, language)
    times = [start_s + share * (end_s - start_s) for share in word_shares(words)]
    return tuple(
        TimedWord(word, begin, end)
        for word, begin, end in zip(words, times, times[1:], strict=False)
    )


def _weight(word: str) -> float:
    letters = sum(_DIGIT_LETTERS if letter.isdigit() else letter.isalnum() for letter in word)
    return max(1.0, letters) + _pause(word)


def _pause(word: str) -> float:
    return _PAUSES.get(word.rstrip(" \n\t\"')]»”’")[-1:], 0.0)

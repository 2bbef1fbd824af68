"""When each word is heard: estimated from its length, where the model's own view is not known."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

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


def word_places(text: str, spoken: str, language: str = "en") -> list[int]:
    """Where the words of a text are found in what was made of it for speaking.

    Args:
        text: The original text.
        spoken: The same with numbers in words, in other spellings, ….
        language: Says how words are split.

    Returns:
        A character of `spoken` for each of `split_words(text, language)`, never falling.
    """
    matcher = SequenceMatcher(None, text.lower(), spoken.lower(), autojunk=False)
    knots = [(0, 0)]
    for block in matcher.get_matching_blocks():
        if block.size:
            last = block.size - 1
            knots += [(block.a, block.b), (block.a + last, block.b + last)]
    knots.append((max(len(text), knots[-1][0] + 1), max(len(spoken), knots[-1][1])))
    places, position = [], 0
    for word in split_words(text, language):
        at = position + len(word) - len(word.lstrip())
        position += len(word)
        # The last knot at or before it, and the next one further on.
        index = bisect_right(knots, at, key=lambda knot: knot[0]) - 1
        (a, b), (c, d) = knots[index], knots[min(index + 1, len(knots) - 1)]
        places.append(b + (int((at - a) * (d - b) / (c - a) + 1e-6) if c > a else 0))
    return places


def carried_over(
    text: str, spoken: str, starts: Sequence[float], language: str = "en"
) -> list[float]:
    """When the words of a text begin, known when those of its spoken form do.

    Args:
        text: The original text.
        spoken: What was asked for: without outer spaces, with pronunciations put in.
        starts: One for each of `split_words(spoken, language)`.
        language: Says how words are split.

    Returns:
        One for each of `split_words(text, language)`; empty where `starts` do not fit.
    """
    words = split_words(spoken, language)
    if not words or len(words) != len(starts):
        return []
    ends, position = [], 0
    for word in words:
        position += len(word)
        ends.append(position)
    return [
        starts[min(bisect_right(ends, place), len(words) - 1)]
        for place in word_places(text, spoken, language)
    ]


def _weight(word: str) -> float:
    letters = sum(_DIGIT_LETTERS if letter.isdigit() else letter.isalnum() for letter in word)
    return max(1.0, letters) + _pause(word)


def _pause(word: str) -> float:
    return _PAUSES.get(word.rstrip(" \n\t\"')]»”’")[-1:], 0.0)

"""Characters and small tests that the cutting of text is made of."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum

CLOSERS = "\"'”’»›)]}*_`」』）】》〉"
OPENERS = "\"'“‘«‹([{*_`「『（【《〈¿¡„‚"
PAIRS = ("()", "“”", "«»", "「」", "『』", "（）", "【】", "《》", "„“")
WIDE_ENDS = "。！？｡"
WIDE_CLAUSES = "，、；："
INSTANT = "!?؟।॥"
CLAUSES = ",;:،؛"
VOWELS = "aeiouyáéíóúýàèìòùâêîôûäëïöüåãõæœøąęěůűőı"
DASHES = frozenset({"-", "--", "–", "—", "―"})
BULLETS = "-*•–—#>·▪"
GLUE_LEFT = "€$£¥₹%°+-−/=×&#@<>(["
GLUE_RIGHT = "%°‰€$£¥₹₽+=×&/)]<>±"
DOTTED = re.compile(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}")
NUMBER = re.compile(r"[^\w]*\d[\d.,:/'’\u00a0\u202f-]*")
ENUMERATOR = re.compile(r"\(?(\d{1,3})[.)]")
WIDE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


class Strength(IntEnum):
    """How good a place for a cut is; also the order of the pauses there."""

    WORD = 0
    PHRASE = 1
    JOINT = 2
    CLAUSE = 3
    SENTENCE = 4
    PARAGRAPH = 5


@dataclass(frozen=True, slots=True)
class Boundary:
    """A place for a cut.

    Attributes:
        position: Characters of the text before it.
        strength: How good it is.
        words: Words before it.
    """

    position: int
    strength: Strength
    words: float


def plain_word(word: str) -> str:
    """A word without the marks around it, in lower case."""
    return word.strip(CLOSERS + OPENERS + ".,;:!?…").lower()


def last_part(word: str) -> str:
    """A word after its last hyphen, or its last character of a script without spaces."""
    return WIDE.split(word)[-1].rpartition("-")[2]


def has_no_vowel(word: str) -> bool:
    """Whether a short word cannot be spoken as it is ("Pvt", "Hbf"), capitals aside ("TV").

    An r or l carries a syllable in some languages ("krk"), so it counts as a vowel inside a word.
    """
    last = last_part(word).lower()
    short = 2 <= len(last) <= 4 and last.isalpha() and last[0] < "\u0250" and not word.isupper()
    return short and not any(c in VOWELS for c in last) and not any(c in "rl" for c in last[1:-1])


def only_letters(word: str) -> bool:
    """Whether a word is of letters and their accents only."""
    return word != "" and all(c.isalpha() or unicodedata.category(c)[0] == "M" for c in word)


def balanced(text: str) -> bool:
    """Whether no quotation or bracket is open at the end of a text."""
    if text.count('"') % 2 or text.count("**") % 2:
        return False
    return all(text.count(pair[0]) <= text.count(pair[1]) for pair in PAIRS)

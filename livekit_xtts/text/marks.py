"""Characters and small tests that the cutting of text is made of."""

from __future__ import annotations

import re
import unicodedata

CLOSERS = "\"'”’»›)]}*_`」』）】》〉"
OPENERS = "\"'“‘«‹([{*_`「『（【《〈¿¡„‚"
PAIRS = ("()", "“”", "«»", "「」", "『』", "（）", "【】", "《》", "„“")
WIDE_ENDS = "。！？｡"
WIDE_CLAUSES = "，、；："
INSTANT = "!?؟।॥"
CLAUSES = ",;:،؛"
DASHES = frozenset({"-", "--", "–", "—", "―"})
BULLETS = "-*•–—#>·▪"
GLUE_LEFT = "€$£¥₹%°+-−/=×&#@<>(["
GLUE_RIGHT = "%°‰€$£¥₹₽+=×&/)]<>±"
DOTTED = re.compile(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}")
NUMBER = re.compile(r"[^\w]*\d[\d.,:/'’\u00a0\u202f-]*")
ENUMERATOR = re.compile(r"\(?(\d{1,3})[.)]")
WIDE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
HOST_CUES = (
    "visit at to on see www site website email e-mail address file domain dot called of via from"
    " unter auf bei besuche sur visitez chez en visita sul su em na op naar adres adresse"
)
"""Words that a host name may follow, so that the next word's full stop may be part of it."""


def plain_word(word: str) -> str:
    """A word without the marks around it, in lower case."""
    return word.strip(CLOSERS + OPENERS + ".,;:!?…").lower()


def only_letters(word: str) -> bool:
    """Whether a word is of letters and their accents only."""
    return word != "" and all(c.isalpha() or unicodedata.category(c)[0] == "M" for c in word)


def balanced(text: str) -> bool:
    """Whether no quotation or bracket is open at the end of a text."""
    if text.count('"') % 2 or text.count("**") % 2:
        return False
    return all(text.count(pair[0]) <= text.count(pair[1]) for pair in PAIRS)

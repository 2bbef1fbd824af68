"""Finds the places where a growing text may be cut, one character at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from livekit_xtts.text.data.cuts import CUTS, NAMES_WITH_MARKS
from livekit_xtts.text.language import table
from livekit_xtts.text.marks import (
    BULLETS,
    CLAUSES,
    CLOSERS,
    DASHES,
    DOTTED,
    ENUMERATOR,
    GLUE_LEFT,
    GLUE_RIGHT,
    INSTANT,
    NUMBER,
    OPENERS,
    WIDE,
    WIDE_CLAUSES,
    WIDE_ENDS,
    Boundary,
    Strength,
    balanced,
    has_no_vowel,
    last_part,
    only_letters,
    plain_word,
)


@dataclass(slots=True)
class _Doubt:
    """An end that the next word decides: by its first character, or as a whole."""

    position: int
    lower: Strength | None
    upper: Strength | None
    digit: Strength | None
    whole: bool = False


class Scanner:
    """Reads a text character by character and keeps the boundaries found so far.

    What it finds depends on the characters read, never on how they were grouped.
    """

    def __init__(self, language: str, protected: Iterable[str] = ()) -> None:
        """Begin an empty text.

        Args:
            language: A name of `speech.LANGUAGES`.
            protected: Phrases that are never cut, in any case.
        """
        self._cuts = CUTS[language]
        self._months = frozenset(table(language).months)
        self._protected = tuple(phrase.lower() for phrase in protected if len(phrase) > 1)
        self.reset()

    def reset(self) -> None:
        """Forget the text and begin an empty one."""
        self.text = ""
        self.found: list[Boundary] = []
        self.news: list[Boundary] = []
        self.words = 0.0
        self.solid: tuple[int, int] | None = None
        self._start: int | None = None
        self._left: tuple[int, int] | None = None
        self._doubt: _Doubt | None = None
        self._waiting: list[tuple[int, Strength, float]] = []
        self._newlines = 0
        self._line_start = True
        self._enumerator = 0
        self._wide_end: int | None = None
        self._after_initial = False

    def feed(self, character: str) -> None:
        """Read one more character."""
        index = len(self.text)
        self.text += character
        self.news = []
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for position, strength, words in waiting:
                self._mark(position, strength, words)
        if character.isspace():
            self._read_space(character, index)
            return
        self.solid = (self.solid[0] if self.solid else index, index + 1)
        if self._start is None:
            self._start = index
            self._begin_word(character)
        if self._wide_end is not None:
            self._read_after_wide_end(character, index)
        if character in WIDE_ENDS:
            self._wide_end = index + 1
            if character in "。｡" and balanced(self.text):
                self._mark(index + 1, Strength.SENTENCE, self.words)
        elif character in WIDE_CLAUSES:
            self._mark(index + 1, Strength.CLAUSE, self.words)
        elif WIDE.match(character):
            self._read_wide(character, index)
        elif character in INSTANT:
            self._read_instant(index)
        elif character == "—" and self._cuts.cased and index > self._start:
            # An unspaced dash: a pause, except in a range of numbers.
            if self.text[index - 1].isalpha():
                self._mark(index + 1, Strength.CLAUSE, self.words + 1)
        elif character.isupper() and self._glued_sentence(index):
            self._mark(index, Strength.SENTENCE, self.words + 1)

    def at_rest(self) -> Boundary | None:
        """The sentence end that the text stops at, as far as silence after it is enough."""
        if self.found and self.found[-1].position == len(self.text.rstrip()):
            return self.found[-1] if self.found[-1].strength >= Strength.SENTENCE else None
        if self._wide_end is not None and self._wide_end == len(self.text):
            return Boundary(self._wide_end, Strength.SENTENCE, self.words)
        if self._start is None or not balanced(self.text):
            return None
        word = self.text[self._start :]
        core = word.rstrip(CLOSERS)
        if core[-1:] not in (".", "!", "?"):
            return None
        core = core.lstrip(OPENERS)[:-1]
        if len(core) < 2 or not only_letters(core) or self._abbreviation(core):
            return None
        if word.rstrip(CLOSERS).lower() in NAMES_WITH_MARKS:
            return None
        position = len(self.text)
        if self._protects(position) is not False:
            return None
        return Boundary(position, Strength.SENTENCE, self.words + 1)

    def _abbreviation(self, core: str) -> bool:
        lower = last_part(core).lower()
        cuts = self._cuts
        return (
            lower in cuts.never_end_set
            or lower in cuts.may_end_set
            or lower in cuts.before_number_set
            or len(lower) == 1
            or DOTTED.fullmatch(lower) is not None
            or (self._cuts.cased and has_no_vowel(core))
        )

    def _read_space(self, character: str, index: int) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            self._complete_word(start, index)
        self._wide_end = None
        if character in "\n\u2029":
            self._newlines += 1
            self._line_start = True
            if self._newlines >= 2 and self._left is not None:
                self._doubt = None
                self._mark(self._left[1], Strength.PARAGRAPH, self.words)

    def _begin_word(self, first: str) -> None:
        left = self._left
        if self._newlines and left is not None:
            ended = self.text[left[0] : left[1]].rstrip(CLOSERS)[-1:] in ".!?…:;,。！？।؟"
            new_item = first in BULLETS or first.isdigit() or first.isupper()
            if self._doubt is None or new_item:
                strength = Strength.SENTENCE if new_item or not ended else Strength.CLAUSE
                self._doubt = None
                self._mark(left[1], strength, self.words)
        self._newlines = 0
        doubt = self._doubt
        if doubt is None or first in OPENERS:
            return
        if not doubt.whole or first.isdigit() or first.islower():
            self._decide(first)

    def _decide(self, first: str) -> None:
        """Settle the doubt by the first letter of the word after it."""
        doubt, self._doubt = self._doubt, None
        assert doubt is not None
        if first.isdigit():
            verdict = doubt.digit
        elif first.islower() or not self._cuts.cased:
            verdict = doubt.lower
        else:
            verdict = doubt.upper
        if verdict is not None:
            self._mark(doubt.position, verdict, self.words)

    def _complete_word(self, start: int, end: int) -> None:
        word = self.text[start:end]
        plain = plain_word(word)
        if self._doubt is not None and plain:
            initial = len(plain) == 1 and word.rstrip(CLOSERS).endswith(".")
            if self._doubt.whole and (initial or plain not in self._cuts.openers_set):
                self._doubt = None
            else:
                self._decide(word.lstrip(OPENERS)[:1] or plain)
        if self._left is not None:
            self._mark_between(self._left, word)
        line_start, self._line_start = self._line_start, False
        if any(c.isalnum() for c in word) and not WIDE.search(word):
            self.words += 1
        self._left = (start, end)
        self._read_ending(word, end, line_start)

    def _mark_between(self, left: tuple[int, int], right: str) -> None:
        """A cut between two words, unless they belong together."""
        cuts, before = self._cuts, self.text[left[0] : left[1]]
        plain = plain_word(right)
        if plain in cuts.joints_set and not self._is_glued(before, right, joint=True):
            self._mark(left[1], Strength.JOINT, self.words)
        elif not self._is_glued(before, right, joint=False):
            phrase = plain in cuts.prepositions_set
            self._mark(left[1], Strength.PHRASE if phrase else Strength.WORD, self.words)

    def _is_glued(self, left: str, right: str, *, joint: bool) -> bool:
        core = left.rstrip(CLOSERS)
        if not any(c.isalnum() for c in left) or not any(c.isalnum() for c in right):
            return True
        if core.endswith(".") and self._abbreviation(core.lstrip(OPENERS)[:-1]):
            return True
        if plain_word(left) in self._cuts.sticky_set or left[-1] in GLUE_LEFT:
            return True
        if right[0] in GLUE_RIGHT or right[0] in ".,;:!?…":
            return True
        if plain_word(left) in self._months and plain_word(right) in ("de", "del"):
            return True
        if joint:
            return False
        if any(c.isdigit() for c in left) or any(c.isdigit() for c in right):
            return True
        names = left[0].isupper() and right[0].isupper() and self._cuts.cased
        return names and not self._cuts.capital_nouns

    def _read_ending(self, word: str, end: int, line_start: bool) -> None:
        """Mark, or put in doubt, the end of a word that whitespace follows."""
        core = word.rstrip(CLOSERS).lstrip(OPENERS)
        enumerator = ENUMERATOR.fullmatch(word)
        if enumerator and (line_start or int(enumerator[1]) == self._enumerator + 1 > 1):
            self._enumerator = int(enumerator[1])
            return
        if word in DASHES:
            if not line_start:
                self._mark(end, Strength.CLAUSE, self.words)
            return
        if not core:
            return
        last = core[-1]
        if last in CLAUSES:
            self._read_clause(core, end)
        elif core.endswith(("..", "…")):
            self._doubt = _Doubt(end, Strength.CLAUSE, Strength.SENTENCE, Strength.CLAUSE)
        elif last == ".":
            self._read_full_stop(core[:-1], end)
        elif last in "!?؟।॥" and word.lower() not in NAMES_WITH_MARKS:
            self._doubt = _Doubt(end, Strength.CLAUSE, Strength.SENTENCE, Strength.SENTENCE)
            if not self._cuts.cased:
                self._doubt.lower = Strength.SENTENCE

    def _read_clause(self, core: str, end: int) -> None:
        before = core[:-1]
        if before.endswith(".") and before[:-1].lower() in self._cuts.never_end_set:
            return
        if before[-1:].isdigit():
            self._enumerator = 1 if core[-1] == ":" else self._enumerator
            self._doubt = _Doubt(end, Strength.CLAUSE, Strength.CLAUSE, None)
        elif before:
            self._mark(end, Strength.CLAUSE, self.words)
            if core[-1] == ":":
                self._line_start = True  # "The steps: 1. Open …" counts as a new line

    def _read_full_stop(self, core: str, end: int) -> None:
        if not core:
            return
        cuts, lower = self._cuts, last_part(core).lower()
        sentence = Strength.SENTENCE
        # "J." and, after another initial, "Th."; the next word tells.
        initial = core.isupper() and len(core) == 1
        initial |= self._after_initial and len(core) <= 3 and core[0].isupper()
        self._after_initial = initial
        if NUMBER.fullmatch(core):
            whole = sum(c.isdigit() for c in core) <= 2 and cuts.ordinal_dot
            plain = None if cuts.cased else sentence
            self._doubt = _Doubt(end, plain, sentence, None, whole)
        elif initial:
            self._doubt = _Doubt(end, None, sentence, None, whole=True)
        elif lower in cuts.before_number_set:
            self._doubt = _Doubt(end, None, sentence, None)
        elif lower in cuts.never_end_set:
            return
        elif self._abbreviation(core):
            self._doubt = _Doubt(end, None, sentence, None, whole=True)
        else:
            # In a text without capitals a small letter proves nothing.
            small = not cuts.cased or not any(c.isupper() for c in self.text)
            self._doubt = _Doubt(end, sentence if small else None, sentence, sentence)

    def _read_instant(self, index: int) -> None:
        assert self._start is not None
        word = self.text[self._start : index]
        if not word.isalpha() and self.text[index] not in "।॥":
            marks = [c for c in word if c in "̀́̃ािीुूेैोौंँ़्ًٌٍَُِّْ"]
            if not word or not all(c.isalpha() or c in marks for c in word):
                return
        if f"{word}{self.text[index]}".lower() in NAMES_WITH_MARKS:
            return
        if balanced(self.text[: index + 1]):
            self._mark(index + 1, Strength.SENTENCE, self.words + 1)

    def _read_wide(self, character: str, index: int) -> None:
        """Text without spaces: sentences, clauses, and places between characters."""
        if character.isalnum():
            before = self.text[index - 1 : index]
            fits = before in self._cuts.after or character in self._cuts.before
            if before and fits and WIDE.match(before) and before.isalnum():
                self._mark(index, Strength.PHRASE, self.words)
            if self._cuts.word_characters:
                self.words += 1 / self._cuts.word_characters

    def _read_after_wide_end(self, character: str, index: int) -> None:
        assert self._wide_end is not None
        if character in CLOSERS or character in WIDE_ENDS or character in "!?…":
            self._wide_end = index + 1
            return
        strength = Strength.SENTENCE if balanced(self.text[: self._wide_end]) else Strength.CLAUSE
        self._mark(self._wide_end, strength, self.words)
        self._wide_end = None

    def _glued_sentence(self, index: int) -> bool:
        """Whether a capital after "word." begins a sentence that lacks its space."""
        assert self._start is not None
        before = self.text[self._start : index].lstrip(OPENERS)
        core = before[:-1]
        return (
            before[-1:] in ("?", "!", ".")
            and len(core) > 2
            and core[1:].isalpha()
            and core[1:].islower()
            and not self._abbreviation(core)
        )

    def _mark(self, position: int, strength: Strength, words: float) -> None:
        """Note a boundary; a stronger one at the same place stays."""
        if not any(c.isalnum() for c in self.text[:position]) or self._in_link(position):
            return
        held = self._protects(position)
        if held is None:
            self._waiting.append((position, strength, words))
        elif not held:
            self._insert(Boundary(position, strength, words))

    def _insert(self, boundary: Boundary) -> None:
        self.news.append(boundary)
        index = len(self.found)
        while index and self.found[index - 1].position > boundary.position:
            index -= 1
        if index and self.found[index - 1].position == boundary.position:
            if self.found[index - 1].strength < boundary.strength:
                self.found[index - 1] = boundary
            return
        self.found.insert(index, boundary)

    def _in_link(self, position: int) -> bool:
        opened = self.text.rfind("[", max(0, position - 100), position)
        return opened >= 0 and "]" not in self.text[opened:position]

    def _protects(self, position: int) -> bool | None:
        """Whether a protected phrase spans the position; None while more text decides."""
        undecided = False
        lower = self.text.lower()
        for phrase in self._protected:
            for start in range(max(0, position - len(phrase) + 1), position):
                if start and lower[start - 1].isalnum() and phrase[0].isalnum():
                    continue
                there = lower[start : start + len(phrase)]
                if there == phrase:
                    return True
                undecided |= phrase.startswith(there) and start + len(phrase) > len(lower)
        return None if undecided else False

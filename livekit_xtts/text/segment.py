"""A growing text, cut into segments that can be spoken one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from livekit_xtts.speech import MAX_TEXT_IDS, InvalidRequestError
from livekit_xtts.text.boundaries import Scanner
from livekit_xtts.text.languages import CHAR_LIMITS, canonical_language
from livekit_xtts.text.marks import Boundary, Strength

FIRST_WORDS = 8
"""The first segment of a text that is still being written leaves with so many words."""

TINY_WORDS = 3
"""A segment with fewer words is merged with a neighbour where there is one."""

PAUSES: dict[Strength, float] = {
    Strength.WORD: 0.0,
    Strength.PHRASE: 0.0,
    Strength.JOINT: 0.04,
    Strength.CLAUSE: 0.08,
    Strength.SENTENCE: 0.12,
    Strength.PARAGRAPH: 0.15,
}
"""Seconds of silence that sound natural between two segments, by what was cut there."""

# Least length at which a sentence end, or a clause, closes a segment: a share of the language's
# limit for the first, second, … segment. Later ones have time to grow, for better prosody.
_SENTENCE_SHARE = (0.0, 0.04, 0.12, 0.2, 0.28)
_CLAUSE_SHARE = (0.4, 0.45, 0.6, 0.7, 0.8)
_HOLD_FROM = 2


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text to be spoken in one go.

    Attributes:
        text: The original characters, spacing included (it leads the segment).
        index: 0, 1, 2, … in the order of the text.
        last: True when `flush` gave it as the end of the text. Where the text had ended with
            a segment already given, no segment is last.
        pause_s: Seconds of silence between this segment and the next one.
    """

    text: str
    index: int
    last: bool = False
    pause_s: float = 0.0


class Segmenter:
    """Cuts a text stream into segments; their texts joined are the text, to the character.

    Sentence ends close a segment; the first segment may leave at a clause, before a conjunction
    or, at `first` words, at the best place between two words. Never inside a number, an
    abbreviation, a name with initials, a link, a URL or a protected phrase, unless that alone is
    longer than the limit.

    The segments are the same however the text is grouped into pushes. A sentence that ends in
    "!", "?", "。" or a danda leaves at once; after "." one more character decides, as it may be
    the middle of "example.com". A stream that falls silent for a moment (a tenth of a second, say)
    can be asked with `settle` for the sentence that it stopped at.
    """

    def __init__(
        self,
        language: str,
        *,
        char_limit: int | None = None,
        ids_limit: int = MAX_TEXT_IDS,
        count_ids: Callable[[str], int] | None = None,
        first: int | None = FIRST_WORDS,
        protected: Iterable[str] = (),
    ) -> None:
        """Begin an empty text.

        Args:
            language: Any spelling that `canonical_language` takes.
            char_limit: Most characters of a segment, outer spaces aside; None for the
                language's own.
            ids_limit: Most text ids of a segment, by `count_ids`.
            count_ids: Counts the ids of a text, say `TextTokenizer.count`; None checks
                characters only.
            first: The first segment leaves with about this many words at the latest; None lets
                it run to the end of its sentence (where the whole text is known beforehand).
            protected: Phrases that are never cut, say the keys of a pronunciation map.

        Raises:
            InvalidRequestError: Unknown language, or a limit or `first` below 1.
        """
        self.language = canonical_language(language)
        self.char_limit = CHAR_LIMITS[self.language] if char_limit is None else char_limit
        for name, value in (("char_limit", self.char_limit), ("ids_limit", ids_limit)):
            if value < 1:
                raise InvalidRequestError(f"{name}={value}: use 1 or more")
        if first is not None and first < 1:
            raise InvalidRequestError(f"first={first}: use 1 or more words, or None")
        self._ids_limit = ids_limit
        self._count_ids = count_ids
        self._first = first
        self._scanner = Scanner(self.language, protected)
        self._index = 0
        self._due: Boundary | None = None

    @property
    def pending(self) -> str:
        """The text that has not been given in a segment yet."""
        return self._scanner.text

    def push(self, text: str) -> list[Segment]:
        """Add text; returns the segments that are complete with it."""
        done: list[Segment] = []
        for character in text:
            self._feed(character, done)
        return done

    def settle(self, *, tiny: bool = False) -> list[Segment]:
        """Give what is complete in a stream that has been silent for a moment.

        Args:
            tiny: Also a segment of one or two words ("Sure!"), after a longer silence.
        """
        done: list[Segment] = []
        if self._due is not None and self._due.position < len(self.pending.rstrip()):
            self._cut(self._due, done)
        boundary = self._scanner.at_rest()
        if boundary is not None and (tiny or not self._is_tiny(boundary)):
            self._cut(boundary, done)
        return done

    def flush(self) -> list[Segment]:
        """End the text: gives what is left, then begins a new text at index 0."""
        done: list[Segment] = []
        while self.pending:
            text = self.pending
            if self.fits(text):
                done.append(Segment(text, self._index, True))
                break
            self._cut(self._best(len(text)), done)
        if done:
            done[-1] = replace(done[-1], last=True, pause_s=0.0)
        self._scanner.reset()
        self._index = 0
        self._due = None
        return done

    def _feed(self, character: str, done: list[Segment]) -> None:
        """Read one character, and cut where that is due."""
        scanner = self._scanner
        scanner.feed(character)
        if scanner.solid is not None and self._length(scanner.solid[1]) > self.char_limit:
            self._cut(self._due or self._best(len(scanner.text)), done)
            return
        index = self._index
        for boundary in scanner.news:
            self._consider(boundary, done)
            if self._index != index:
                return
        if self._due is not None and scanner.words - self._due.words >= TINY_WORDS:
            self._cut(self._due, done)
        elif self._index == 0 and self._first is not None and scanner.words >= self._first:
            self._leave_early(done)

    def _consider(self, boundary: Boundary, done: list[Segment]) -> None:
        """Whether a new boundary closes the segment."""
        length = self._length(boundary.position)
        step = min(self._index, len(_SENTENCE_SHARE) - 1)
        early = self._index == 0 and self._first is not None
        if self._is_tiny(boundary):
            return
        if boundary.strength >= Strength.SENTENCE:
            if length < _SENTENCE_SHARE[step] * self.char_limit:
                return
            if self._index >= _HOLD_FROM:
                self._due = boundary
            else:
                self._cut(boundary, done)
        elif boundary.strength is Strength.CLAUSE and (
            early or length >= _CLAUSE_SHARE[step] * self.char_limit
        ):
            self._cut(boundary, done)

    def _leave_early(self, done: list[Segment]) -> None:
        """Cut the first segment at the best place so far, once it has its words."""
        places = [found for found in self._scanner.found if not self._is_tiny(found)]
        if places:
            self._cut(max(places, key=lambda found: (found.strength, found.position)), done)

    def _is_tiny(self, boundary: Boundary) -> bool:
        return boundary.words < TINY_WORDS

    def _length(self, position: int) -> int:
        solid = self._scanner.solid
        return position - solid[0] if solid else 0

    def fits(self, text: str) -> bool:
        """Whether a text is within both limits."""
        if len(text.strip()) > self.char_limit:
            return False
        return self._count_ids is None or self._count_ids(text) <= self._ids_limit

    def _best(self, end: int) -> Boundary:
        """The best place for a cut that leaves a segment within the limits and below `end`."""
        text = self._scanner.text
        lead = len(text) - len(text.lstrip())
        highest = min(end - 1, lead + self.char_limit)
        places = [
            found
            for found in self._scanner.found
            if found.position <= highest and found.position - lead >= 0.25 * (highest - lead)
        ]
        if not places:
            places = [found for found in self._scanner.found if found.position <= highest]
        if places:
            return max(places, key=lambda found: (found.strength, found.position))
        return Boundary(_inside(text, lead, highest), Strength.WORD, 0.0)

    def _cut(self, boundary: Boundary, done: list[Segment]) -> None:
        """Give the text before a boundary as a segment, in pieces where it is over a limit."""
        text = self._scanner.text
        while not self.fits(text[: boundary.position]) and boundary.position > 1:
            boundary = self._best(boundary.position)
        done.append(
            Segment(text[: boundary.position], self._index, pause_s=PAUSES[boundary.strength])
        )
        self._index += 1
        self._due = None
        self._scanner.reset()
        for character in text[boundary.position :]:
            self._feed(character, done)


def _inside(text: str, lead: int, highest: int) -> int:
    """Where to cut a text without any boundary: after a space or a mark, else between characters.

    Marks that combine with the character before them stay with it.
    """
    import unicodedata

    floor = lead + max(1, (highest - lead) // 2)
    for position in range(highest, floor, -1):
        if text[position].isspace() or (
            text[position - 1] in "/?&=_-,;:" and not text[position].isdigit()
        ):
            return position
    for position in range(highest, floor, -1):
        after = text[position]
        joined = (
            unicodedata.combining(after)
            or after in "\u200d\ufe0f"
            or text[position - 1] == "\u200d"
        )
        if not joined and not (after.isdigit() and text[position - 1].isdigit()):
            return position
    return max(1, highest)

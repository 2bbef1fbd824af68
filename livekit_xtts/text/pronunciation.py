"""A user's own words for words: how a name or a term is to be said."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from livekit_xtts.speech import InvalidRequestError


class Pronunciations:
    """Replaces whole words and phrases, longest first; what was put in is not looked at again.

    Immutable; equal maps have equal `fingerprint`s, for cache keys.
    """

    def __init__(self, words: Mapping[str, str], *, case_sensitive: bool = False) -> None:
        """Take a map from what is written to what is said.

        Args:
            words: "LiveKit" -> "live kit"; a phrase may have spaces and marks.
            case_sensitive: Only the written case fits.

        Raises:
            InvalidRequestError: An empty entry, or two that differ in case only and need not.
        """
        self._case_sensitive = case_sensitive
        self._words: dict[str, str] = {}
        for written, said in words.items():
            key = self._key(written)
            if not key.strip():
                raise InvalidRequestError("pronunciations: an entry has nothing on its left side")
            if key in self._words and self._words[key] != said:
                raise InvalidRequestError(
                    f"pronunciations: two entries for {written!r} differ in case only;"
                    " use case_sensitive=True"
                )
            self._words[key] = said
        self._longest = max(map(len, self._words), default=0)
        parts = (re.escape(key) for key in sorted(self._words, key=len, reverse=True))
        flags = re.NOFLAG if case_sensitive else re.IGNORECASE
        self._pattern = re.compile("|".join(f"{_edge(p)}" for p in parts) or r"(?!)", flags)

    def __iter__(self) -> Iterator[str]:
        """The written words and phrases, for `Segmenter(protected=…)`."""
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    @property
    def fingerprint(self) -> str:
        """A text that is equal for equal maps."""
        return repr((self._case_sensitive, sorted(self._words.items())))

    def apply(self, text: str) -> str:
        """The text with every whole word of the map replaced."""
        return self._pattern.sub(lambda match: self.said(match[0]), text)

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """Where entries of the map stand in a text."""
        return self._pattern.finditer(text)

    def said(self, written: str) -> str:
        """What an entry says."""
        return self._words[self._key(written)]

    def stream(self) -> PronunciationStream:
        """The same for text that comes in pieces, cut anywhere."""
        return PronunciationStream(self)

    def _key(self, written: str) -> str:
        return written if self._case_sensitive else written.lower()

    def _settled(self, text: str) -> int:
        """How many characters at the front no further text can change."""
        keep = len(text)
        for start in range(max(0, len(text) - self._longest), len(text)):
            if start and _is_word(text[start - 1]) and _is_word(text[start]):
                continue
            rest = self._key(text[start:])
            if any(word.startswith(rest) for word in self._words):
                keep = start
                break
        for match in self._pattern.finditer(text):
            if match.start() < keep < match.end():
                return match.start()
        return keep


class PronunciationStream:
    """Applies a map to a stream; the pieces joined equal `apply` on the whole text."""

    def __init__(self, pronunciations: Pronunciations) -> None:
        """Begin an empty text."""
        self._map = pronunciations
        self._text = ""
        self._before = ""

    def push(self, text: str) -> str:
        """Add text; returns what can be said of it already."""
        self._text += text
        return self._take(self._map._settled(self._before + self._text) - len(self._before))

    def flush(self) -> str:
        """The rest; then begins an empty text."""
        rest = self._take(len(self._text))
        self._before = ""
        return rest

    def _take(self, count: int) -> str:
        if count <= 0:
            return ""
        # The character before decides whether a word begins here, the one after whether it ends.
        lead = len(self._before)
        taken, known = self._text[:count], self._before + self._text[: count + 1]
        said, done = [], lead
        for match in self._map.matches(known):
            if done <= match.start() and match.end() <= lead + count:
                said += [known[done : match.start()], self._map.said(match[0])]
                done = match.end()
        said.append(known[done : lead + count])
        self._text = self._text[count:]
        self._before = taken[-1]
        return "".join(said)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _edge(pattern: str) -> str:
    """A pattern that stands alone: no letter or digit touches its ends."""
    plain = re.sub(r"\\(.)", r"\1", pattern)
    before = r"(?<!\w)" if _is_word(plain[0]) else ""
    after = r"(?!\w)" if _is_word(plain[-1]) else ""
    return f"{before}{pattern}{after}"

"""One segment in the making: its request to the engine, and what has come back so far."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable

from livekit_xtts.audio import silence
from livekit_xtts.cache import Piece, SpeechCache, from_engine
from livekit_xtts.engine.engine import Engine
from livekit_xtts.events import Flush, TextStream
from livekit_xtts.speech import (
    CODE_SECONDS,
    MAX_TEXT_IDS,
    SAMPLE_RATE,
    Float32,
    SpeechDone,
    SpeechError,
    SpeechRequest,
)
from livekit_xtts.text.normalize import normalize
from livekit_xtts.text.pronunciation import Pronunciations
from livekit_xtts.text.segment import FIRST_WORDS, Segment, Segmenter
from livekit_xtts.timings import TimedWord, carried_over, split_words, word_shares

MOST_IDS_A_SIGN = 10
"""More text ids than any character makes that is read out as words."""

UNSPEAKABLE_S = 0.1
"""Silence for text that has nothing to say ("...", emoji): a listener still gets audio."""

_SILENCES = ((0.25, False), (0.75, True))
"""After so many seconds without text, one after the other: give what is complete; tiny ones too."""


def speech_events(
    engine: Engine, cache: SpeechCache | None, request: SpeechRequest
) -> AsyncGenerator[Piece]:
    """A request's events on this event loop; closing the generator cancels it.

    With a cache, equal requests share one generation and finished ones are replayed.

    Raises:
        SpeechError: The engine refused the request, or it failed.
    """
    if cache is None:
        return _uncached.stream(None, from_engine(lambda sink: engine.submit(request, sink)))
    return cache.speech(engine, request)


_uncached = SpeechCache(max_bytes=0)


def id_counter(
    engine: Engine, language: str, pronunciations: Pronunciations | None
) -> Callable[[str], int]:
    """Counts the text ids that a piece of text will have, as far as it may be too many.

    An engine that cannot tell, say because it is still loading, has them counted too high.
    """
    count: Callable[[str, str], int | None] = getattr(engine, "count_ids", lambda *_: None)
    most = engine.info.max_text_ids

    def ids(text: str) -> int:
        # A letter is one id at most; a figure, a sign or a letter to be transliterated a word.
        plain = sum((letter.isalpha() and letter < "\u0600") or letter.isspace() for letter in text)
        if plain + MOST_IDS_A_SIGN * (len(text) - plain) < most:
            return 0
        said = text if pronunciations is None else pronunciations.apply(text)
        try:
            known = count(said.strip(), language)
            # The language's tag, and an id for each letter, at most.
            return 1 + len(normalize(said, language)) if known is None else known
        except SpeechError:
            return 0  # the request says what is wrong, in its place

    return ids


async def native_segments(
    text: TextStream,
    language: str,
    *,
    char_limit: int | None = None,
    ids_limit: int = MAX_TEXT_IDS,
    count_ids: Callable[[str], int] | None = None,
    protected: Iterable[str] = (),
) -> AsyncGenerator[Segment]:
    """Cut a text stream with the package's own segmenter.

    Args:
        text: The stream.
        language: Any spelling of one of the languages.
        char_limit: Most characters of a segment; None for the language's own.
        ids_limit: Most text ids of a segment.
        count_ids: Counts them; None where only characters can be counted.
        protected: Words and phrases that no cut may fall into.
    """
    segmenter = Segmenter(
        language,
        char_limit=char_limit,
        ids_limit=ids_limit,
        count_ids=count_ids,
        protected=protected,
        first=FIRST_WORDS,
    )
    iterator = aiter(text)
    failure: Exception | None = None
    while True:
        arriving = asyncio.ensure_future(anext(iterator, None))
        try:
            # A writer who pauses, for a tool call say, must not hold back what is complete.
            for silence_s, tiny in _SILENCES if segmenter.pending.strip() else ():
                if (await asyncio.wait([arriving], timeout=silence_s))[0]:
                    break
                for segment in segmenter.settle(tiny=tiny):
                    yield segment
            piece = await arriving
        except Exception as error:  # what came before it is still to be spoken
            failure, piece = error, None
        finally:
            if not arriving.done():
                arriving.cancel()
                await asyncio.wait([arriving])
        if piece is None:
            break
        for segment in segmenter.flush() if isinstance(piece, Flush) else segmenter.push(piece):
            yield segment
    for segment in segmenter.flush():
        yield segment
    if failure is not None:
        raise failure


class Part:
    """A segment on its way: what has been made of it and not yet been handed on."""

    def __init__(
        self, segment: Segment, index: int, estimated_s: float, language: str, mute: bool
    ) -> None:
        self.segment = segment
        self.words = split_words(segment.text, language)
        self.shares = word_shares(self.words)
        self.begins: list[float] = []
        self.told = 0
        self.index = index
        self.estimated_s = estimated_s
        self.whole = False
        self.pieces: deque[Float32] = deque()
        self.ready_s = 0.0
        self.made_s = 0.0
        self.chunk_s = 0.0
        self.done: SpeechDone | None = None
        self.error: Exception | None = None
        self.ended = False
        self.started_at: float | None = None
        self.heard_at = 0.0
        self.task: asyncio.Task[None] | None = None
        if mute:
            self.ended = True
            if segment.text.strip():
                self.add(silence(UNSPEAKABLE_S))

    def add(self, audio: Float32) -> None:
        self.pieces.append(audio)
        self.chunk_s = max(self.chunk_s, audio.size / SAMPLE_RATE)
        self.made_s += audio.size / SAMPLE_RATE
        self.ready_s += audio.size / SAMPLE_RATE

    def words_before(self, start_s: float, now_s: float, end_s: float) -> tuple[TimedWord, ...]:
        """The next words that begin before a time; of a segment still being made, by estimate.

        Args:
            start_s: Where the segment begins.
            now_s: What has been handed on: no word can be told to have begun before.
            end_s: The time; infinity gives all that are left.
        """
        begins = self._begins()
        coming: list[TimedWord] = []
        while self.told < len(self.words) and start_s + begins[self.told] < end_s:
            begin = max(start_s + begins[self.told], now_s)
            end = max(begin, start_s + begins[self.told + 1])
            coming.append(TimedWord(self.words[self.told], begin, end))
            self.told += 1
        return tuple(coming)

    def timed(self, start_s: float) -> tuple[TimedWord, ...]:
        """All words of a segment that is complete.

        Args:
            start_s: Where it begins.
        """
        times = [start_s + begin for begin in self._begins()]
        return tuple(
            TimedWord(word, begin, end)
            for word, begin, end in zip(self.words, times, times[1:], strict=False)
        )

    def learn(self, done: SpeechDone, spoken: str, language: str, speed: float) -> None:
        """The segment is complete; the engine may have told when its words begin.

        Args:
            done: The engine's last event.
            spoken: The text it was asked for.
            language: Says how words are split.
            speed: The request's.
        """
        self.done = done
        starts = [min(code * CODE_SECONDS / speed, self.made_s) for code in done.words]
        self.begins = carried_over(self.segment.text, spoken, starts, language)
        if self.begins:
            self.begins[0] = 0.0  # the pause before it is its own

    def _begins(self) -> list[float]:
        """Where words begin, in seconds from the segment's start, and its end."""
        if self.begins:
            return [*self.begins, self.made_s]
        seconds = self.made_s if self.ended else max(self.made_s, self.estimated_s)
        return [share * seconds for share in self.shares]

    def take(self) -> Float32:
        audio = self.pieces.popleft()
        self.ready_s -= audio.size / SAMPLE_RATE
        return audio

    @property
    def rest_s(self) -> float:
        """Estimated seconds not handed on yet, made or not."""
        unmade = 0.0 if self.ended else max(0.0, self.estimated_s - self.made_s)
        return self.ready_s + unmade

"""A LiveKit sentence tokenizer in the place of the package's own segmenter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from livekit.agents import tokenize

from livekit_xtts.events import Flush, Segments, TextStream
from livekit_xtts.text.marks import Strength
from livekit_xtts.text.segment import PAUSES, Segment, Segmenter


def tokenizer_segments(
    tokenizer: tokenize.SentenceTokenizer,
    language: str,
    *,
    count_ids: Callable[[str], int] | None = None,
) -> Segments:
    """Segments cut where a LiveKit tokenizer says.

    A sentence over the language's limit is cut further, since tokenizers do not. The original
    spacing is found again where the tokenizer has dropped it.

    Args:
        tokenizer: Any `livekit.agents.tokenize.SentenceTokenizer`.
        language: Says which limit holds.
        count_ids: Counts text ids, of which a segment may have 400.
    """

    async def cut(text: TextStream) -> AsyncGenerator[Segment]:
        stream = tokenizer.stream()
        original = _Original()

        async def feed() -> None:
            async for piece in text:
                if isinstance(piece, Flush):
                    stream.flush()
                else:
                    original.add(piece)
                    stream.push_text(piece)
            stream.end_input()

        feeding = asyncio.create_task(feed(), name="xtts-tokenizer")
        # A text that fails ends the tokenizer's stream too: what came before is still spoken.
        feeding.add_done_callback(lambda task: _end(stream, task))
        index = 0
        try:
            async for token in stream:
                for piece in _within_limits(original.take(token.token), language, count_ids):
                    yield Segment(piece, index, pause_s=PAUSES[Strength.SENTENCE])
                    index += 1
            await feeding
            if rest := original.rest():
                yield Segment(rest, index)
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])
            await stream.aclose()

    return cut


def _end(stream: tokenize.SentenceStream, task: asyncio.Task[None]) -> None:
    if (task.cancelled() or task.exception() is not None) and not stream.closed:
        stream.end_input()


def _within_limits(
    sentence: str, language: str, count_ids: Callable[[str], int] | None
) -> list[str]:
    segmenter = Segmenter(language, first=None, count_ids=count_ids)
    if segmenter.fits(sentence):
        return [sentence]
    return [segment.text for segment in [*segmenter.push(sentence), *segmenter.flush()]]


class _Original:
    """Finds tokens again in the text they were cut from, whatever was done to the spacing."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, piece: str) -> None:
        self._text += piece

    def take(self, token: str) -> str:
        """The original characters up to the end of the token; the token where it is not found."""
        position = 0
        for character in token:
            if character.isspace():
                continue
            while position < len(self._text) and self._text[position].isspace():
                position += 1
            if position >= len(self._text) or self._text[position] != character:
                return token
            position += 1
        taken, self._text = self._text[:position], self._text[position:]
        return taken

    def rest(self) -> str:
        """What no token has covered: spacing at the end."""
        rest, self._text = self._text, ""
        return rest if not rest.strip() else ""

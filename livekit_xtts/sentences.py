"""A LiveKit sentence tokenizer in the place of the package's own segmenter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from livekit.agents import tokenize

from livekit_xtts.events import Flush, Segments, TextStream
from livekit_xtts.speech import MAX_TEXT_IDS
from livekit_xtts.text.marks import Strength
from livekit_xtts.text.segment import PAUSES, Segment, Segmenter


def tokenizer_segments(
    tokenizer: tokenize.SentenceTokenizer,
    language: str,
    *,
    char_limit: int | None = None,
    ids_limit: int = MAX_TEXT_IDS,
    count_ids: Callable[[str], int] | None = None,
) -> Segments:
    """Segments cut where a LiveKit tokenizer says.

    A sentence over a limit is cut further, since tokenizers do not. The original
    spacing is found again where the tokenizer has dropped it.

    Args:
        tokenizer: Any `livekit.agents.tokenize.SentenceTokenizer`.
        language: Of the text.
        char_limit: Most characters of a segment; None for the language's own.
        ids_limit: Most text ids of a segment.
        count_ids: Counts them; None where only characters can be counted.
    """

    def within_limits(sentence: str) -> list[str]:
        segmenter = Segmenter(
            language, first=None, char_limit=char_limit, ids_limit=ids_limit, count_ids=count_ids
        )
        if segmenter.fits(sentence):
            return [sentence]
        return [segment.text for segment in [*segmenter.push(sentence), *segmenter.flush()]]

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
                for piece in within_limits(original.take(token.token)):
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

"""The two LiveKit streams of `TTS`: the pipeline's events into LiveKit's emitter and errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    utils,
)
from livekit.agents import tts as agents_tts
from livekit.agents.types import TimedString

from livekit_xtts.audio import Resampler, to_pcm16, write_wav
from livekit_xtts.events import (
    AudioPiece,
    Flush,
    SegmentFinished,
    SegmentStarted,
    SpeechTimeoutError,
    WordsComing,
)
from livekit_xtts.log import logger
from livekit_xtts.options import TTSOptions
from livekit_xtts.speech import SAMPLE_RATE, Float32, InvalidRequestError, SpeechError, VoiceError

if TYPE_CHECKING:
    from livekit_xtts.tts import TTS

_BAD_REQUEST: dict[type[SpeechError], int] = {InvalidRequestError: 400, VoiceError: 422}


def api_error(error: BaseException) -> APIError:
    """The LiveKit error of the right kind: only these are retried, reported and counted.

    | what happened | kind | retried |
    |---|---|---|
    | request out of range, unknown language | `APIStatusError` 400 | no |
    | voice unknown or unusable | `APIStatusError` 422 | no |
    | no message of a ready engine in time | `APITimeoutError` | yes |
    | engine full, a failed step | `APIConnectionError` | yes |
    | model missing or damaged, engine closed | `APIConnectionError` | no |
    | anything else | `APIConnectionError` | yes |
    """
    if isinstance(error, APIError):
        return error
    for kind, status in _BAD_REQUEST.items():
        if isinstance(error, kind):
            return APIStatusError(str(error), status_code=status, retryable=False)
    if isinstance(error, (SpeechTimeoutError, TimeoutError)):
        return APITimeoutError(str(error) or "Request timed out.")
    if isinstance(error, SpeechError):
        return APIConnectionError(str(error), retryable=error.retryable)
    return APIConnectionError(f"speech could not be made: {type(error).__name__}")


class _Speaks:
    """What both streams share: options of their own, and the audio they have made."""

    def __init__(self, tts: TTS, options: TTSOptions) -> None:
        self._xtts = tts
        self._options = options
        self._pieces: list[Float32] = []
        self._codes = 0

    @property
    def audio(self) -> Float32:
        """All audio made so far: mono float32 at 24 kHz, shape (samples,)."""
        return np.concatenate(self._pieces) if self._pieces else np.zeros(0, dtype=np.float32)

    def save(self, path: str | Path) -> Path:
        """Write the audio made so far to a WAV file.

        Raises:
            OSError: The file cannot be written.
        """
        return write_wav(path, self.audio)

    async def _speak(
        self,
        text: str | AsyncGenerator[str | Flush],
        emitter: agents_tts.AudioEmitter,
        timeout_s: float,
        stream: Any,
    ) -> None:
        """Run the pipeline into an emitter that is initialized.

        Raises:
            APIError: Speech could not be made.
        """
        self._pieces.clear()
        self._codes = 0
        streaming = isinstance(stream, agents_tts.SynthesizeStream)
        resampler = Resampler(SAMPLE_RATE, self._xtts.sample_rate)
        try:
            stream._connection_reused = self._xtts._backend.warm
            pipeline, options = await self._xtts._backend.prepare(self._options)
            pacing = self._options.pacing(timeout_s, bounded=streaming)
            started = stream._mark_started if streaming else None
            begun = False
            async with aclosing(pipeline.speak(text, options, pacing, on_start=started)) as events:
                async for event in events:
                    if isinstance(event, SegmentStarted):
                        if streaming and not begun:
                            emitter.start_segment(segment_id=utils.shortuuid("SEG_"))
                            begun = True
                    elif isinstance(event, WordsComing):
                        emitter.push_timed_transcript(
                            [
                                TimedString(word.text, start_time=word.start_s)
                                for word in event.words
                            ]
                        )
                    elif isinstance(event, AudioPiece):
                        self._pieces.append(event.audio)
                        _push(emitter, resampler.push(event.audio))
                    elif isinstance(event, SegmentFinished) and event.done is not None:
                        if event.index == 0:
                            stream._acquire_time = event.done.queued_s
                        self._codes += len(event.done.codes)
                        stream._set_token_usage(output_tokens=self._codes)
            _push(emitter, resampler.push(np.zeros(0, dtype=np.float32), last=True))
        except APIError:
            raise
        except (SpeechError, TimeoutError) as error:
            raise api_error(error) from error.__cause__
        except Exception as error:
            logger.exception("speech failed unexpectedly")
            raise api_error(error) from error


def _push(emitter: agents_tts.AudioEmitter, audio: Float32) -> None:
    if audio.size:
        emitter.push(to_pcm16(audio))


class ChunkedStream(_Speaks, agents_tts.ChunkedStream):
    """Speaks one finished text; made by `TTS.synthesize`."""

    def __init__(
        self, *, tts: TTS, options: TTSOptions, input_text: str, conn_options: APIConnectOptions
    ) -> None:
        _Speaks.__init__(self, tts, options)
        agents_tts.ChunkedStream.__init__(
            self, tts=tts, input_text=input_text, conn_options=conn_options
        )

    async def _run(self, output_emitter: agents_tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid("XTTS_"),
            sample_rate=self._tts.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
        )
        if self._input_text.strip():
            await self._speak(self._input_text, output_emitter, self._conn_options.timeout, self)


class SynthesizeStream(_Speaks, agents_tts.SynthesizeStream):
    """Speaks a text that is still being written; made by `TTS.stream`."""

    def __init__(self, *, tts: TTS, options: TTSOptions, conn_options: APIConnectOptions) -> None:
        _Speaks.__init__(self, tts, options)
        agents_tts.SynthesizeStream.__init__(self, tts=tts, conn_options=conn_options)

    async def _run(self, output_emitter: agents_tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid("XTTS_"),
            sample_rate=self._tts.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
            stream=True,
        )
        text = self._text()
        first = await anext(text, None)
        if first is None:
            return  # no text, nothing to say, no model needed
        await self._speak(_after(first, text), output_emitter, self._conn_options.timeout, self)

    async def _text(self) -> AsyncGenerator[str]:
        """The text pushed; a flush after some text ends it, since LiveKit drops what follows."""
        written = False
        async for item in self._input_ch:
            if isinstance(item, str):
                written = True
                yield item
            elif written:
                return


async def _after(first: str, rest: AsyncGenerator[str]) -> AsyncGenerator[str | Flush]:
    yield first
    async for piece in rest:
        yield piece

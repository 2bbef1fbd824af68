"""The LiveKit face: `TTS` goes into an `AgentSession` like any other text-to-speech."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Literal

from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, tokenize
from livekit.agents import tts as agents_tts
from livekit.agents.types import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

from livekit import rtc
from livekit_xtts import plugin
from livekit_xtts.audio import SAMPLE_RATES, Resampler, silence, to_pcm16
from livekit_xtts.backend import Backend, chosen_cache
from livekit_xtts.cache import SpeechCache
from livekit_xtts.engine.engine import Engine
from livekit_xtts.events import AudioPiece
from livekit_xtts.options import (
    Spoken,
    Streaming,
    TextPacing,
    TTSOptions,
    VoiceSource,
    from_environment,
    model_language,
    number,
)
from livekit_xtts.pacing import Pacing
from livekit_xtts.speech import SAMPLE_RATE, InvalidRequestError, SpeechError
from livekit_xtts.streams import ChunkedStream, SynthesizeStream, api_error
from livekit_xtts.text.warm import warm_ahead
from livekit_xtts.voices import VoiceLibrary

FRAME_S = 0.2

plugin.register()


class TTS(agents_tts.TTS[Literal["speech_stats"]]):
    """A cloned voice, spoken by XTTS-v2 on this machine.

    Beside LiveKit's own events it emits "speech_stats" with the `SpeechStats` of each utterance,
    and of a `Speaker`'s interruption that came when all of an utterance had been made.
    """

    def __init__(
        self,
        *,
        voice: NotGivenOr[VoiceSource | None] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        model: NotGivenOr[str | Path | None] = NOT_GIVEN,
        device: NotGivenOr[str] = NOT_GIVEN,
        precision: NotGivenOr[str] = NOT_GIVEN,
        engine: Engine | None = None,
        sample_rate: int = SAMPLE_RATE,
        streaming: Streaming = "auto",
        temperature: NotGivenOr[float] = NOT_GIVEN,
        top_k: NotGivenOr[int] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        repetition_penalty: NotGivenOr[float] = NOT_GIVEN,
        do_sample: NotGivenOr[bool] = NOT_GIVEN,
        speed: NotGivenOr[float] = NOT_GIVEN,
        seed: NotGivenOr[int | None] = NOT_GIVEN,
        tokenizer: tokenize.SentenceTokenizer | None = None,
        pronunciations: Spoken | None = None,
        text_pacing: TextPacing = False,
        buffer_s: float = 15.0,
        even_level: bool = True,
        cache: SpeechCache | bool = True,
        cache_dir: NotGivenOr[str | Path | None] = NOT_GIVEN,
    ) -> None:
        """Set up a voice; nothing is loaded before `prewarm`, `load` or the first request.

        Args:
            voice (str | Path | bytes | Voice | Sequence, optional): The name of a voice in the
                library, a recording (its path or its bytes), several recordings, or a `Voice`.
                Defaults to `LIVEKIT_XTTS_VOICE`, else the engine's own voice.
            language (str, optional): Any spelling of one of the model's languages ("en", "pt-BR",
                "zh"). Defaults to `LIVEKIT_XTTS_LANGUAGE`, else English.
            model (str | Path, optional): Folder of a model. Defaults to `LIVEKIT_XTTS_MODEL`, else
                the bundled voice.
            device (str, optional): "auto", "cpu", "cuda", "cuda:1", "mps". Defaults to
                `LIVEKIT_XTTS_DEVICE`, else "auto".
            precision (str, optional): "auto" or one that the device has. Defaults to
                `LIVEKIT_XTTS_PRECISION`, else "auto".
            engine (Engine, optional): Speaks instead of the process's shared one for model, device
                and precision; it is never closed from here. Defaults to None.
            sample_rate (int, optional): Samples per second of the audio that comes out. Defaults to
                24000, the model's own; others are resampled.
            streaming (bool | int | "auto", optional): True hands audio on as it is made, False
                makes each segment whole first, a number makes segments of fewer characters whole,
                "auto" does so below 50 characters where the listener does not wait for it: 50 ms
                at most, or as long as audio is left to be heard. Defaults to "auto".
            temperature (float, optional): Divides the logits. Defaults to the checkpoint's.
            top_k (int, optional): Best codes that stay; 0 keeps all. Defaults to the checkpoint's.
            top_p (float, optional): Probability of the best codes that stay. Defaults to the
                checkpoint's.
            repetition_penalty (float, optional): Weakens used codes. Defaults to the checkpoint's.
            do_sample (bool, optional): False takes the best code each time. Defaults to True.
            speed (float, optional): 0.5 … 2.0. Defaults to `LIVEKIT_XTTS_SPEED`, else 1.
            seed (int, optional): Makes speech repeatable. Defaults to `LIVEKIT_XTTS_SEED`, else a
                fresh one for each segment.
            tokenizer (tokenize.SentenceTokenizer, optional): Cuts the text instead of the package's
                own segmenter. Defaults to None.
            pronunciations (Mapping[str, str] | Pronunciations, optional): What to say for whole
                words and phrases, {"LiveKit": "live kit"}; transcripts keep what was written.
                Defaults to None.
            text_pacing (bool | SentenceStreamPacer, optional): Start a segment only when less than
                5 s of audio (or the pacer's `min_remaining_audio`) is left to be heard. Defaults to
                False: `buffer_s` alone is the bound.
            buffer_s (float, optional): `stream()` starts no further segment while the listener has
                this many seconds ahead. Defaults to 15.
            even_level (bool, optional): Even out sentences that come out clearly louder or softer
                than those before them. Defaults to True.
            cache (SpeechCache | bool, optional): Where spoken segments are kept for reuse; False
                keeps none. Defaults to True: the process's shared memory cache.
            cache_dir (str | Path, optional): Keeps them on disk too, without text. Defaults to
                `LIVEKIT_XTTS_CACHE_DIR`, else memory only.

        Raises:
            InvalidRequestError: A value is out of range (it is also a ValueError).
        """
        if sample_rate not in SAMPLE_RATES:
            known = ", ".join(map(str, SAMPLE_RATES))
            raise InvalidRequestError(f"sample_rate={sample_rate} is not one of: {known}")
        super().__init__(
            capabilities=agents_tts.TTSCapabilities(streaming=True, aligned_transcript=True),
            sample_rate=sample_rate,
            num_channels=1,
        )
        chosen_seed = from_environment("seed", seed, None)
        self._options = TTSOptions(
            voice=from_environment("voice", voice, None),
            language=model_language(from_environment("language", language, "en")),
            speed=number("speed", from_environment("speed", speed, 1.0), float),
            seed=None if chosen_seed is None else number("seed", chosen_seed, int),
            streaming=streaming,
            tokenizer=tokenizer,
            text_pacing=text_pacing,
            buffer_s=buffer_s,
            even_level=even_level,
        ).updated(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            do_sample=do_sample,
            pronunciations=pronunciations,
        )
        self._backend = Backend(
            from_environment("model", model, None),
            str(from_environment("device", device, "auto")),
            str(from_environment("precision", precision, "auto")),
            engine=engine,
            cache=chosen_cache(cache, from_environment("cache_dir", cache_dir, None)),
            on_stats=partial(self.emit, "speech_stats"),
        )
        self._streams: weakref.WeakSet[ChunkedStream | SynthesizeStream] = weakref.WeakSet()

    @property
    def model(self) -> str:
        """The model's name."""
        if self._backend.engine is not None:
            return self._backend.engine.info.model
        return Path(self._backend.model).name if self._backend.model else "xtts"

    @property
    def provider(self) -> str:
        """Who makes the speech: this package, on this machine."""
        return "livekit-xtts"

    @property
    def voices(self) -> VoiceLibrary | None:
        """The voice library of the engine; None before the engine is there."""
        return self._backend.library

    def describe_options(self) -> dict[str, Any]:
        """The settings for session reports, without paths, file names and texts."""
        return {
            "model": self.model,
            "device": self._backend.device,
            "precision": self._backend.precision,
            "sample_rate": self.sample_rate,
            **self._options.described(),
        }

    def update_options(
        self,
        *,
        voice: NotGivenOr[VoiceSource | None] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        streaming: NotGivenOr[Streaming] = NOT_GIVEN,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        top_k: NotGivenOr[int] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        repetition_penalty: NotGivenOr[float] = NOT_GIVEN,
        do_sample: NotGivenOr[bool] = NOT_GIVEN,
        speed: NotGivenOr[float] = NOT_GIVEN,
        seed: NotGivenOr[int | None] = NOT_GIVEN,
        tokenizer: NotGivenOr[tokenize.SentenceTokenizer | None] = NOT_GIVEN,
        pronunciations: NotGivenOr[Spoken | None] = NOT_GIVEN,
        text_pacing: NotGivenOr[TextPacing] = NOT_GIVEN,
        buffer_s: NotGivenOr[float] = NOT_GIVEN,
        even_level: NotGivenOr[bool] = NOT_GIVEN,
    ) -> None:
        """Change settings for the streams made from now on; those in flight keep theirs.

        Args:
            voice (optional): As in the constructor, like all of these; what is not given stays.
            language (optional): See there.
            streaming (optional): See there.
            temperature (optional): See there.
            top_k (optional): See there.
            top_p (optional): See there.
            repetition_penalty (optional): See there.
            do_sample (optional): See there.
            speed (optional): See there.
            seed (optional): See there.
            tokenizer (optional): See there.
            pronunciations (optional): See there.
            text_pacing (optional): See there.
            buffer_s (optional): See there.
            even_level (optional): See there.

        Raises:
            InvalidRequestError: A value is out of range; nothing has changed then.
        """
        self._options = self._options.updated(
            voice=voice,
            language=language,
            streaming=streaming,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            do_sample=do_sample,
            speed=speed,
            seed=seed,
            tokenizer=tokenizer,
            pronunciations=pronunciations,
            text_pacing=text_pacing,
            buffer_s=buffer_s,
            even_level=even_level,
        )
        if is_given(voice):
            self._backend.resolve_ahead(voice)
        if is_given(language) and self._backend.warm:
            warm_ahead(self._options.language)

    def synthesize(
        self,
        text: str,
        *,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        streaming: NotGivenOr[Streaming] = NOT_GIVEN,
    ) -> ChunkedStream:
        """Speak one finished text.

        Args:
            text: The text.
            conn_options: Retries, and `timeout`: the longest wait for each message of the engine
                once it is ready (loading has a budget of its own).
            streaming (optional): As in the constructor, for this text alone.

        Raises:
            InvalidRequestError: `streaming` is none of what it can be.
        """
        options = self._options.updated(streaming=streaming)
        stream = ChunkedStream(
            tts=self, options=options, input_text=text, conn_options=conn_options
        )
        self._streams.add(stream)
        return stream

    def stream(
        self,
        *,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        streaming: NotGivenOr[Streaming] = NOT_GIVEN,
    ) -> SynthesizeStream:
        """Speak a text that is still being written; one stream is one spoken text.

        Args:
            conn_options: See `synthesize`.
            streaming (optional): See `synthesize`.

        Raises:
            InvalidRequestError: `streaming` is none of what it can be.
        """
        options = self._options.updated(streaming=streaming)
        stream = SynthesizeStream(tts=self, options=options, conn_options=conn_options)
        self._streams.add(stream)
        return stream

    def prewarm(self) -> None:
        """Begin loading model, voice and the language's text tables in the background.

        Returns at once.
        """
        self._backend.prewarm(self._options)

    def load(self, timeout: float | None = None) -> None:
        """Load model, voice and the language's text tables, blocking.

        For a worker's set-up, never in an event loop.

        Args:
            timeout: Seconds, None for the engine's own budget.

        Raises:
            SpeechError: The model or the voice cannot be used.
            TimeoutError: The budget ran out; loading goes on in the background.
        """
        self._backend.load(self._options, timeout)

    async def aclose(self) -> None:
        """End the streams that are still speaking. The shared engine stays for others."""
        for stream in list(self._streams):
            await stream.aclose()
        self._streams.clear()

    def stats(self) -> dict[str, Any]:
        """Counters over all utterances: `SpeechStats` by name, and the cache's under "cache"."""
        return self._backend.stats()

    async def prerender(
        self, texts: Iterable[str], *, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Speak fixed phrases into the cache, so that they cost nothing later.

        Args:
            texts: The phrases, as they will be said.
            progress: Called with phrases done and phrases in all.

        Raises:
            APIError: A phrase could not be spoken; those before it are kept.
        """
        phrases = list(texts)
        for index, text in enumerate(phrases):
            async for _ in self._pieces(text):
                continue
            if progress is not None:
                progress(index + 1, len(phrases))
        if self._backend.cache is not None:
            await self._backend.cache.flush()

    async def cached_frames(self, text: str) -> AsyncGenerator[rtc.AudioFrame, None]:
        """Frames for `session.say(text, audio=tts.cached_frames(text))`, made if not there yet.

        Args:
            text: The phrase.

        Yields:
            Frames of at most 200 ms at `sample_rate`.

        Raises:
            APIError: The phrase could not be spoken.
        """
        resampler = Resampler(SAMPLE_RATE, self.sample_rate)
        step = 2 * round(FRAME_S * self.sample_rate)
        async with aclosing(self._pieces(text)) as pieces:
            async for piece in pieces:
                pcm = to_pcm16(resampler.push(piece.audio, last=piece.audio.size == 0))
                for start in range(0, len(pcm), step):
                    part = pcm[start : start + step]
                    yield rtc.AudioFrame(part, self.sample_rate, 1, len(part) // 2)

    async def _pieces(self, text: str) -> AsyncGenerator[AudioPiece]:
        """A text's audio as fast as it can be made; an empty piece ends it."""
        try:
            pipeline, options = await self._backend.prepare(self._options)
            pacing = Pacing(timeout_s=DEFAULT_API_CONNECT_OPTIONS.timeout)
            async with aclosing(pipeline.speak(text, options, pacing)) as events:
                async for event in events:
                    if isinstance(event, AudioPiece):
                        yield event
            yield AudioPiece(silence(0), -1)
        except (SpeechError, TimeoutError) as error:
            raise api_error(error) from error

"""What a `TTS` speaks through: the engine (made in the background), its voices, its cache."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from livekit_xtts.cache import SpeechCache
from livekit_xtts.engine.engine import Engine
from livekit_xtts.events import SpeakOptions
from livekit_xtts.log import logger
from livekit_xtts.options import TTSOptions, VoiceSource
from livekit_xtts.pacing import SpeechStats
from livekit_xtts.parts import id_counter
from livekit_xtts.pipeline import Pipeline
from livekit_xtts.sentences import tokenizer_segments
from livekit_xtts.speech import Voice
from livekit_xtts.text.warm import warm_ahead
from livekit_xtts.voices import VoiceLibrary

LOAD_TIMEOUT_S = 330.0


class Backend:
    """The engine of one `TTS` and what belongs to it. Thread-safe and bound to no event loop.

    Args:
        model: See `TTS`, like the next ones.
        device: See there.
        precision: See there.
        engine: Speaks instead of the process's shared engine.
        cache: None keeps nothing.
        on_stats: Called with the stats of each utterance.
    """

    def __init__(
        self,
        model: str | Path | None,
        device: str,
        precision: str,
        *,
        engine: Engine | None,
        cache: SpeechCache | None,
        on_stats: Callable[[SpeechStats], None],
    ) -> None:
        self.model = model
        self.device = device
        self.precision = precision
        self.cache = cache
        self.library: VoiceLibrary | None = None
        self._given = engine
        self._on_stats = on_stats
        self._lock = threading.Lock()
        self._pipeline: Future[Pipeline] | None = None

    @property
    def engine(self) -> Engine | None:
        """The engine; None before it was made."""
        pipeline = self._pipeline
        if pipeline is not None and pipeline.done() and not _has_failed(pipeline):
            return pipeline.result().engine
        return self._given

    @property
    def warm(self) -> bool:
        """Whether a request made now waits for no loading."""
        return self.engine is not None and self.engine.ready

    def start(self, voice: VoiceSource | None) -> Future[Pipeline]:
        """The pipeline, now or soon, and the voice in the making; returns at once.

        A start that has failed is tried again by the next call.
        """
        with self._lock:
            if self._pipeline is not None and not _has_failed(self._pipeline):
                return self._pipeline
            future = self._pipeline = Future()
        if self._given is not None:
            self._set_up(self._given, voice, future)
        else:
            # The first local engine imports torch, which takes seconds.
            arguments = (voice, future)
            threading.Thread(
                target=self._make, args=arguments, name="xtts-start", daemon=True
            ).start()
        return future

    def resolve_ahead(self, voice: VoiceSource | None) -> None:
        """Make a voice in the background; who asks for it later waits for the same work."""
        if voice is not None and self.library is not None:
            self.library.resolve(voice).add_done_callback(_log_failure)

    def prewarm(self, options: TTSOptions) -> None:
        """Begin with all that a request will need; returns at once. See `TTS.prewarm`."""
        self.start(options.voice)
        warm_ahead(options.language)

    def load(self, options: TTSOptions, timeout: float | None) -> None:
        """Load engine and voice, blocking; see `TTS.load`."""
        text = warm_ahead(options.language)
        self.start(options.voice).result(timeout).engine.load(timeout)
        if options.voice is not None and self.library is not None:
            self.library.resolve(options.voice).result(timeout)
        wait((text,), timeout)

    async def prepare(self, options: TTSOptions) -> tuple[Pipeline, SpeakOptions]:
        """Everything a request needs, waiting for model and voice if need be.

        Raises:
            SpeechError: The model or the voice cannot be used.
            TimeoutError: The loading budget ran out.
        """
        voice: Voice | None = None
        if not self.warm:
            # Beside the loading. A warm engine comes to the text at once, which does the same.
            warm_ahead(options.language)
        async with asyncio.timeout(LOAD_TIMEOUT_S):
            starting = self.start(options.voice)
            if not starting.done():
                await asyncio.shield(asyncio.wrap_future(starting))
            pipeline = starting.result()
            if options.voice is not None and self.library is not None:
                voice = await self.library.resolve_async(options.voice)
        segments = None
        if options.tokenizer is not None:
            segments = tokenizer_segments(
                options.tokenizer,
                options.language,
                char_limit=dict(pipeline.engine.info.char_limits).get(options.language),
                ids_limit=pipeline.engine.info.max_text_ids,
                count_ids=id_counter(pipeline.engine, options.language, options.pronunciations),
            )
        return pipeline, SpeakOptions(
            voice=voice,
            language=options.language,
            sampling=options.sampling_for(pipeline.engine.info),
            seed=options.seed,
            speed=options.speed,
            segments=segments,
            pronunciations=options.pronunciations,
            words=True,
            even_level=options.even_level,
        )

    def stats(self) -> dict[str, Any]:
        """Counters over all utterances, the cache's under "cache"."""
        pipeline = self._pipeline
        known = pipeline is not None and pipeline.done() and not _has_failed(pipeline)
        speech = pipeline.result().stats if pipeline is not None and known else SpeechStats()
        cache = {} if self.cache is None else asdict(self.cache.stats())
        return {**speech.as_dict(), "cache": cache}

    def _make(self, voice: VoiceSource | None, future: Future[Pipeline]) -> None:
        try:
            from livekit_xtts.engine.shared import shared_engine

            self._set_up(shared_engine(self.model, self.device, self.precision), voice, future)
        except Exception as error:
            future.set_exception(error)

    def _set_up(self, engine: Engine, voice: VoiceSource | None, future: Future[Pipeline]) -> None:
        engine.start()
        self.library = VoiceLibrary(engine, model_folder=self.model)
        future.set_result(Pipeline(engine, cache=self.cache, on_stats=self._on_stats))
        self.resolve_ahead(voice)


_caches: dict[str, SpeechCache] = {}
_caches_lock = threading.Lock()


def chosen_cache(given: SpeechCache | bool, folder: str | Path | None) -> SpeechCache | None:
    """The cache asked for; by default the one of the process (and folder)."""
    if isinstance(given, SpeechCache):
        return given
    if not given:
        return None
    with _caches_lock:
        key = str(folder or "")
        if key not in _caches:
            _caches[key] = SpeechCache(folder=folder)
        return _caches[key]


def _has_failed(future: Future[Any]) -> bool:
    return future.done() and future.exception() is not None


def _log_failure(future: Future[Voice]) -> None:
    if (error := future.exception()) is not None:
        logger.warning("the voice cannot be used: %s", error)

"""Everything with tensors in it, put together: model, slots, sampler, vocoder, scheduler."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from livekit_xtts.engine import calibrate
from livekit_xtts.engine.aligner import aligner_for
from livekit_xtts.engine.batched import BatchedPrompts
from livekit_xtts.engine.capacity import choose, free_bytes, itemsize_of
from livekit_xtts.engine.counters import Counters
from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.graphs import Capture, GraphedStepper, buckets, cuda_capture
from livekit_xtts.engine.hostsampler import HostSampler
from livekit_xtts.engine.job import Job
from livekit_xtts.engine.offload import Residence
from livekit_xtts.engine.ownthread import OwnThread
from livekit_xtts.engine.policy import sustainable_streams
from livekit_xtts.engine.prepare import Preparer
from livekit_xtts.engine.prompts import Prompts
from livekit_xtts.engine.sampler import Sampler
from livekit_xtts.engine.schedule import PROFILES, ChunkSchedule
from livekit_xtts.engine.scheduler import Scheduler
from livekit_xtts.engine.settings import Settings
from livekit_xtts.engine.source import Loaded, random_voice
from livekit_xtts.engine.step import Stepper
from livekit_xtts.engine.threads import elsewhere, use_threads
from livekit_xtts.engine.vocoding import ModelVocoder, carrying
from livekit_xtts.model.lean import give_back
from livekit_xtts.model.makers import BatchVocoder, release_copies
from livekit_xtts.model.native_step import NativeRunner
from livekit_xtts.model.native_vocoder import NativeVocoder
from livekit_xtts.model.onnx_step import OnnxRunner
from livekit_xtts.model.precision import Parts, prepare
from livekit_xtts.model.runner import BatchRunner, GptRunner
from livekit_xtts.speech import EngineInfo, ModelError, ReferenceAudio, SpeechRequest, Voice
from livekit_xtts.voicefile import make_voice

logger = logging.getLogger(__name__)


def _manner(ends: Ends, voice: Voice | None) -> str:
    """What of an engine shapes its speech beside model, precision and request."""
    shaping = f"{ends} {voice.fingerprint if voice else ''}"
    return hashlib.sha256(shaping.encode()).hexdigest()


def pick_device(asked: str) -> str:
    """The device that a name stands for.

    Raises:
        ModelError: There is no such device; the message says what to do.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=asked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(
            f"device={asked!r} cannot be used here ({str(error).splitlines()[0]}):"
            ' use device="cpu" or "auto"'
        ) from error
    return asked


def settle(device: torch.device) -> None:
    """Make a device the calling thread's own: streams, graphs and kernels go to that one."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def on_cuda(device: torch.device) -> bool:
    """Whether steps are launched ahead, and captured in graphs."""
    return device.type == "cuda"


def can_offload(device: torch.device) -> bool:
    """Whether a device has memory of its own that could be given back."""
    return device.type != "cpu"


class Machine:
    """A loaded model, ready to be driven by one thread.

    Args:
        loaded: Model, tokenizer and voice.
        settings: What the engine was asked for.
    """

    def __init__(self, loaded: Loaded, settings: Settings) -> None:
        model, config = loaded.model, loaded.model.config
        self.model = model
        self.tokenizer = loaded.tokenizer
        self.device = model.gpt.mel_head.weight.device
        settle(self.device)
        cuda = on_cuda(self.device)
        capture = cuda_capture() if cuda and settings.graphs else None
        # Rows that fill up a fixed number of them need a slot that is nobody's.
        scratch = 1 if cuda else 0
        capacity = choose(
            config,
            self.device,
            settings.slots,
            settings.slot_positions,
            itemsize=itemsize_of(settings.precision, self.device),
            free=free_bytes(self.device),
        )
        slots = capacity.slots
        threads = torch.get_num_threads()

        def prepared() -> Parts:
            return prepare(
                model,
                precision=settings.precision,
                slots=slots + scratch,
                length=capacity.length,
                device=self.device,
                threads=threads,
                folder=loaded.folder,
                voice=loaded.voice,
                release=loaded.owned,
            )

        # Of the engine's threads only the one that decodes is to keep helpers of torch.
        parts = elsewhere(prepared, threads) if self.device.type == "cpu" else prepared()
        self.precision = parts.precision
        self.runner: GptRunner = parts.runner
        host = self.device.type == "cpu" and not cuda
        sampler = (HostSampler if host else partial(Sampler, device=self.device))(
            slots + scratch,
            config.gpt_num_audio_tokens,
            config.max_codes,
            start_code=config.gpt_start_audio_token,
            stop_code=config.gpt_stop_audio_token,
        )
        stepper = Stepper(self.runner, sampler, config.max_codes)
        if capture is not None:
            stepper = GraphedStepper(
                self.runner, sampler, config.max_codes, sizes=buckets(slots), capture=capture
            )
        prompts = self._make_prompts(capture)
        vocoder = self._vocoder = self._make_vocoder(parts, loaded, capture)
        speaker = random_voice(model).speaker_embedding
        self.times = settings.times or calibrate.measure(
            self.runner,
            stepper,
            vocoder,
            slots=slots,
            speaker=torch.tensor(speaker, device=self.device),
            rehearse=prompts.rehearse,
            context_codes=vocoder.context_codes,
            batch=vocoder.batch,
        )
        self.schedule = ChunkSchedule(PROFILES[settings.profile], self.times, slots)
        self.streams = sustainable_streams(self.schedule, slots)
        if not settings.admission:
            self.streams = slots
        self.info = EngineInfo(
            model=loaded.name,
            fingerprint=model.fingerprint,
            device=str(self.device),
            precision=parts.precision,
            slots=slots,
            queue=settings.queue,
            languages=loaded.tokenizer.languages if loaded.tokenizer else config.languages,
            sampling=config.sampling,
            char_limits=config.char_limits,
            max_text_ids=config.max_text_ids,
            threads=self.threads,
            manner=_manner(settings.ends, loaded.voice),
        )
        words = aligner_for(model.gpt, loaded.tokenizer, model.fingerprint, loaded.folder)
        self.scheduler = Scheduler(
            stepper,
            prompts,
            vocoder,
            Preparer(
                self.info,
                loaded.tokenizer,
                loaded.voice,
                shapes=(
                    (config.perceiver_latents, config.gpt_n_model_channels),
                    (config.d_vector_dim,),
                ),
                text_ids=config.gpt_number_text_tokens,
                positions=config.max_codes,
                length=self.runner.length,
                trained=loaded.trained,
                ends=settings.ends,
                align=words.submit if words else None,
            ),
            self.schedule,
            slots=slots,
            positions=config.max_codes,
            clock=settings.clock,
            streams=self.streams,
            ends=settings.ends,
            window_batch=vocoder.batch,
            depth=1 if cuda else 0,
        )

        self.residence = self._residence(loaded, settings, stepper, vocoder)

    def _residence(
        self, loaded: Loaded, settings: Settings, stepper: Stepper, vocoder: ModelVocoder
    ) -> Residence | None:
        """What moves the model off its device when nobody speaks, where that was asked for."""
        if settings.offload_after is None:
            return None
        if not can_offload(self.device):
            logger.warning("offload_after is left alone: there is no device to free on a CPU")
            return None
        if not loaded.owned:
            raise ModelError(
                "offload_after= needs a model that is this engine's alone: give its folder or name"
                " in place of a model in memory"
            )
        prompts = self.scheduler.prompts
        held = (self.model, self.runner, vocoder, prompts)

        def release() -> None:
            for part in (stepper, prompts, vocoder):
                part.release()

        cache = getattr(self.runner, "cache", None)
        return Residence(
            settings.offload_after,
            self.device,
            weights=lambda: held,
            scratch=lambda: [*stepper.scratch(), *([cache.data] if cache is not None else [])],
            release=release,
        )

    def _make_prompts(self, capture: Capture | None) -> Prompts:
        gpt, start = self.model.gpt, self.model.config.gpt_start_audio_token
        if isinstance(self.runner, BatchRunner):
            return BatchedPrompts(gpt, self.runner, start, capture=capture)
        return Prompts(gpt, self.runner, start)

    def _make_vocoder(self, parts: Parts, loaded: Loaded, capture: Capture | None) -> ModelVocoder:
        """What decodes windows, with threads that are in nobody's way.

        Where the step has threads of its own, torch's work on the calling thread uses one thread
        from then on: the vocoder has its own as well, or torch's on a thread of its own.
        """
        self.threads = torch.get_num_threads()
        if self.device.type != "cpu" or isinstance(parts.vocoder, BatchVocoder):
            if capture is not None and isinstance(parts.vocoder, BatchVocoder):
                parts.vocoder.capture(capture)
            return ModelVocoder(parts.vocoder)
        alone = self.threads == 1
        stepping = isinstance(self.runner, NativeRunner | OnnxRunner)
        layers = carrying(parts.vocoder, self.threads if stepping or alone else None)
        if stepping and not alone:
            use_threads(1)
        if isinstance(layers, NativeVocoder):
            if loaded.owned:
                release_copies(loaded.model, gpt=False, vocoder=True)
            return ModelVocoder(parts.vocoder, layers)
        own = OwnThread(self.threads, "xtts-vocoder") if stepping and not alone else None
        return ModelVocoder(parts.vocoder, layers, own)

    def warm_up(self) -> None:
        """Speak a few codes, so that the first request finds every path taken before."""
        voice = random_voice(self.model)
        request = SpeechRequest("", voice=voice, ids=(2, 3), seed=0, max_codes=6)
        self.scheduler.submit(Job(request, lambda event: None, time.perf_counter))
        while self.scheduler.tick():
            pass
        self.scheduler.counters = Counters()
        if self._vocoder.carries:
            speaker = torch.tensor(voice.speaker_embedding, device=self.device)
            for streaming in (True, False):
                self._warm_windows(speaker, streaming)
        give_back()

    def _warm_windows(self, speaker: Tensor, streaming: bool) -> None:
        """Decode an utterance's first windows: kernels are made for every length once."""
        plan, config = self._vocoder.plan(1.0), self.model.config
        before = decoded = size = 0
        for codes in self.schedule.cuts(1.0, streaming, plan, config.max_codes):
            latents = torch.zeros(codes, config.gpt_n_model_channels, device=self.device)
            last = plan.final_samples(codes, False)
            window = plan.window(decoded, last, codes, False)
            part = latents[window.code_start : window.code_stop]
            self._vocoder.decode([(part, speaker, window)])
            if codes - before == size:
                break  # The same lengths from here on.
            before, decoded, size = codes, last, codes - before

    def ways(self) -> dict[str, Any]:
        """What runs the model: the runner, the vocoder, and what is replayed from graphs."""
        layers = self._vocoder.decoder
        return {
            "runner": type(self.runner).__name__,
            "vocoder": type(layers).__name__,
            "graphs": list(getattr(self.scheduler.stepper, "captured", ())),
        }

    def describe(self) -> str:
        """Step times and threads, for the log."""
        times = self.times
        return (
            f"{self.threads} threads, step {1e3 * times.step_s:.1f} ms"
            f" (+{1e3 * times.row_s:.1f} a row), prompt piece {1e3 * times.piece_s:.1f} ms,"
            f" vocoder {1e3 * times.window_s:.1f} ms + {1e3 * times.window_code_s:.1f} a code,"
            f" up to {self.streams} streams at once"
        )

    @torch.no_grad()
    def clone(self, references: Sequence[ReferenceAudio], name: str) -> Voice:
        """Compute a voice; may run on another thread than the scheduler.

        Raises:
            VoiceError: The audio is too short, silent or not finite.
        """
        latents, speaker = self.model.clone(
            [
                (torch.from_numpy(np.ascontiguousarray(r.samples, np.float32)), r.sample_rate)
                for r in references
            ]
        )
        return make_voice(
            name,
            latents.float().cpu().numpy(),
            speaker.float().cpu().numpy(),
            self.model.fingerprint,
        )

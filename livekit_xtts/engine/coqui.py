"""The same contract over the `TTS` package's `inference_stream`: for comparison, not for load.

What it cannot do is said in its `info`: requests come one after another (the package keeps the
prompt on the module, so two at once would spoil each other), a seed does not make a request
repeatable (the package draws from the process's one generator), streamed audio differs from the
one-shot decode at every seam. A cancel takes effect at the next chunk, not at the next step.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from livekit_xtts.engine.job import Job
from livekit_xtts.engine.life import ThreadedEngine
from livekit_xtts.speech import (
    CODE_SECONDS,
    MAX_TEXT_IDS,
    MIN_REFERENCE_SECONDS,
    SAMPLE_RATE,
    EngineClosedError,
    EngineFailedError,
    EngineInfo,
    Float32,
    InvalidRequestError,
    ModelError,
    ReferenceAudio,
    Sampling,
    SpeechError,
    SpeechRequest,
    Voice,
    VoiceError,
)
from livekit_xtts.text.languages import canonical_language
from livekit_xtts.text.normalize import speakable
from livekit_xtts.voicefile import make_voice

logger = logging.getLogger(__name__)

CHUNK_CODES = 20
"""Codes of a chunk; the package's own default."""

_KEPT = 240
"""Samples of a chunk that wait for the next one."""


class CoquiEngine(ThreadedEngine):
    """Speaks with the `TTS` package (`pip install livekit-xtts[coqui]`), one request at a time.

    Args:
        model: A folder with `config.json`, `vocab.json` and `model.pth`.
        device: As torch names it; "auto" takes a CUDA device where there is one, else the CPU.
        queue: Requests that wait; beyond that they are refused.
        threads: CPU threads of the engine's own work; None for the number that torch uses.
        load_timeout: Seconds that loading may take.
        chunk_codes: Codes of a chunk.
        voice: The default voice; None for none.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        queue: int = 16,
        threads: int | None = None,
        load_timeout: float = 300.0,
        chunk_codes: int = CHUNK_CODES,
        voice: Voice | None = None,
    ) -> None:
        self._folder = Path(model).expanduser()
        self._device = device
        self._chunk_codes = chunk_codes
        self._voice = voice
        info = EngineInfo(
            model=f"coqui:{self._folder.name}",
            fingerprint="",
            device=device,
            precision="fp32",
            slots=1,
            queue=queue,
            concurrent=False,
            seeded=False,
            exact=False,
        )
        super().__init__(info, threads=threads, load_timeout=load_timeout)

    def _load(self) -> CoquiMachine:
        from livekit_xtts.engine.machine import pick_device

        model = _load_xtts(self._folder, pick_device(self._device))
        return CoquiMachine(model, self._info, self._chunk_codes, self._voice)

    def _assemble(self, loaded: Any) -> CoquiMachine:
        machine: CoquiMachine = loaded
        return machine


def _load_xtts(folder: Path, device: str) -> Any:
    for name in ("config.json", "vocab.json", "model.pth"):
        if not (folder / name).is_file():
            raise ModelError(
                f"{folder} has no {name}: the coqui engine needs config.json, vocab.json and"
                " model.pth in one folder"
            )
    try:
        from TTS.tts.configs.xtts_config import XttsConfig
        from TTS.tts.models.xtts import Xtts
    except ImportError as error:
        raise ModelError(
            f"the TTS package cannot be imported ({error}): pip install 'livekit-xtts[coqui]'"
        ) from error
    try:
        config = XttsConfig()
        config.load_json(str(folder / "config.json"))
        model = Xtts(config)
        model.load_checkpoint(config, checkpoint_dir=str(folder), eval=True)
        return model.to(device)
    except Exception as error:
        raise ModelError(f"{folder} cannot be loaded by the TTS package: {error}") from error


class CoquiMachine:
    """A loaded `Xtts` model of the package; also the schedule of its requests.

    Args:
        model: The package's model.
        info: What is known of the engine.
        chunk_codes: Codes of a chunk.
        voice: The default voice.
    """

    def __init__(self, model: Any, info: EngineInfo, chunk_codes: int, voice: Voice | None) -> None:
        self._model = model
        self._chunk_codes = chunk_codes
        self._voice = voice
        self._waiting: deque[Job] = deque()
        self._job: Job | None = None
        self._chunks: Iterator[Any] = iter(())
        self._tail: Float32 = np.zeros(0, np.float32)
        self._tokenizer = model.tokenizer
        self.streams = 1
        self.residence = None
        config = model.config
        self.info = EngineInfo(
            model=info.model,
            fingerprint=_fingerprint(model),
            device=str(model.device),
            precision="fp32",
            slots=1,
            queue=info.queue,
            languages=tuple(config.languages),
            concurrent=False,
            seeded=False,
            exact=False,
            sampling=Sampling(
                temperature=config.temperature,
                top_k=config.top_k,
                top_p=config.top_p,
                repetition_penalty=float(config.repetition_penalty),
            ),
            char_limits=tuple(model.tokenizer.char_limits.items()),
            max_text_ids=min(MAX_TEXT_IDS, model.args.gpt_max_text_tokens),
        )

    @property
    def scheduler(self) -> CoquiMachine:
        """Itself: there is nothing to schedule."""
        return self

    def describe(self) -> str:
        """See `Machinery`."""
        return f"one request at a time, chunks of {self._chunk_codes} codes"

    # ---- requests, one after another ------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Queue a request."""
        self._waiting.append(job)

    def cancel(self, job: Job) -> None:
        """End a cancelled request; the package's generator is dropped where it stands."""
        if job is self._job:
            self._end(None)
        elif not job.done:
            self._waiting.remove(job)
            job.finish()

    def close(self, error: SpeechError | None = None) -> None:
        """End every request."""
        error = error or EngineClosedError("the engine was closed")
        self._end(error)
        while self._waiting:
            self._waiting.popleft().fail(error)

    def tick(self) -> bool:
        """Make one chunk."""
        if self._job is None:
            if not self._waiting:
                return False
            self._job = self._waiting.popleft()
            self._job.admitted_at = time.perf_counter()
            if not self._attempt(self._begin):
                return True
        self._attempt(self._advance)
        return True

    def _attempt(self, work: Any) -> bool:
        try:
            work()
        except SpeechError as error:
            self._end(error)
        except Exception as error:
            failure = EngineFailedError(f"the TTS package failed: {error}")
            failure.__cause__ = error
            self._end(failure)
        return self._job is not None

    def _begin(self) -> None:
        import torch

        job = self._job
        assert job is not None
        request = job.request
        voice = self._checked(request.voice or self._voice)
        ids = self._ids(request)
        sampling = request.sampling or self.info.sampling
        gpt = self._model.gpt
        most = gpt.max_mel_tokens - gpt.max_conditioning_inputs - 2 - 2 - 1
        gpt.max_gen_mel_tokens = min(request.max_codes or most, most)
        self._model.tokenizer = _ReadyIds(ids)
        if request.seed is not None:
            # As far as it goes: whoever else draws from the same generator shifts what follows.
            torch.manual_seed(request.seed)
        self._chunks = self._model.inference_stream(
            "",
            canonical_language(request.language, self.info.languages),
            torch.tensor(voice.latents)[None],
            torch.tensor(voice.speaker_embedding)[None, :, None],
            stream_chunk_size=self._chunk_codes if request.streaming else 0,
            temperature=sampling.temperature,
            # The package draws at random even where it is told not to.
            top_k=sampling.top_k if sampling.do_sample else 1,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            do_sample=True,
            speed=request.speed,
        )

    def _advance(self) -> None:
        """Hand on a chunk but for its last 10 ms: the generator's end tells that they are last."""
        job, chunk = self._job, self._pull()
        assert job is not None
        if chunk is None:
            if not self._tail.size:
                raise EngineFailedError("the TTS package made no audio")
            job.send(self._tail, self._codes(job.sent + self._tail.size), True)
            self._end(None)
            return
        if not np.isfinite(chunk).all():
            raise EngineFailedError("the TTS package made values that are not finite")
        audio = np.concatenate((self._tail, chunk))
        ready = audio[:-_KEPT] if job.request.streaming else audio[:0]
        self._tail = audio[ready.size :]
        if ready.size:
            job.send(ready, self._codes(job.sent + ready.size), False)

    @staticmethod
    def _codes(samples: int) -> int:
        return round(samples / SAMPLE_RATE / CODE_SECONDS)

    def _pull(self) -> Float32 | None:
        chunk = next(self._chunks, None)
        if chunk is None:
            return None
        return np.ascontiguousarray(chunk.detach().float().cpu().numpy().reshape(-1))

    def _end(self, error: SpeechError | None) -> None:
        job, self._job = self._job, None
        self._chunks, self._tail = iter(()), np.zeros(0, np.float32)
        self._model.tokenizer = self._tokenizer
        if job is not None:
            job.progress.stopped = True
            if error is None:
                job.finish()
            else:
                job.fail(error)

    def _ids(self, request: SpeechRequest) -> list[int]:
        ids = request.ids
        if ids is None:
            if not speakable(request.text):
                raise InvalidRequestError("the text has nothing in it that can be spoken")
            language = canonical_language(request.language, self.info.languages)
            text = request.text.strip().lower()
            ids = tuple(self._tokenizer.encode(text, lang=language.split("-")[0]))
        table, most = self._model.args.gpt_number_text_tokens, self.info.max_text_ids
        if not 0 < len(ids) <= most or not all(0 <= i < table for i in ids):
            raise InvalidRequestError(
                f"a request takes 1 to {most} text ids below {table}, not {len(ids)}:"
                " cut the text into segments"
            )
        return list(ids)

    def _checked(self, voice: Voice | None) -> Voice:
        if voice is None:
            raise VoiceError("the coqui engine has no voice of its own: give voice=")
        if voice.model != self.info.fingerprint:
            raise VoiceError(
                f"voice {voice.name!r} was made by another engine: clone it with this one"
            )
        return voice

    # ---- voices ---------------------------------------------------------------------------

    def clone(self, references: Sequence[ReferenceAudio], name: str) -> Voice:
        """Compute a voice with the package's own steps, from samples.

        Raises:
            VoiceError: The audio is too short, silent or not finite.
        """
        import torch
        from torchaudio.functional import resample  # type: ignore[import-untyped]

        model, config = self._model, self._model.config
        audios, speakers = [], []
        for reference in references:
            samples = torch.from_numpy(np.ascontiguousarray(reference.samples, np.float32))
            if samples.numel() / reference.sample_rate < MIN_REFERENCE_SECONDS:
                raise VoiceError(f"the reference audio is under {MIN_REFERENCE_SECONDS} s")
            if not bool(torch.isfinite(samples).all()):
                raise VoiceError("the reference audio has values that are not finite")
            if float(samples.abs().max()) < 1e-3:
                raise VoiceError("the reference audio is silent")
            audio = resample(samples[None], reference.sample_rate, 22_050).clamp(-1.0, 1.0)
            audio = audio[:, : 22_050 * config.max_ref_len].to(model.device)
            speakers.append(model.get_speaker_embedding(audio, 22_050))
            audios.append(audio)
        latents = model.get_gpt_cond_latents(
            torch.cat(audios, dim=-1),
            22_050,
            length=config.gpt_cond_len,
            chunk_length=config.gpt_cond_chunk_len,
        )
        return make_voice(
            name,
            latents[0].detach().float().cpu().numpy(),
            torch.stack(speakers).mean(dim=0)[0, :, 0].detach().float().cpu().numpy(),
            self.info.fingerprint,
        )


class _ReadyIds:
    """Stands where the package looks for its tokenizer and gives ids made before."""

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids

    def encode(self, text: str, lang: str) -> list[int]:
        return self._ids


def _fingerprint(model: Any) -> str:
    digest = hashlib.sha256(b"coqui")
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()

"""Prompts into slots, piece by piece, and what is kept of each voice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from livekit_xtts.engine.job import Job
from livekit_xtts.model.cuda import moved
from livekit_xtts.speech import Voice

if TYPE_CHECKING:
    from livekit_xtts.model.gpt import GPT, GptRunner


@dataclass(slots=True)
class VoiceState:
    """A voice on the model's device.

    Attributes:
        latents: Conditioning latents, shape (positions, width).
        speaker: Speaker embedding, shape (width,).
        prefix: Keys and values of the conditioning positions, None until first computed.
    """

    latents: Tensor
    speaker: Tensor
    prefix: Any = None


class Prompts:
    """Fills slots with prompts.

    The pieces have fixed borders, counted from the start of the sequence, and the conditioning
    positions end on one: so a prompt has the same bits whether its voice was kept or not.

    Args:
        gpt: Embeds text.
        runner: Holds the slots.
        start_code: The audio start code.
        voices: Voices kept, the ones used least recently leaving first.
    """

    def __init__(self, gpt: GPT, runner: GptRunner, start_code: int, voices: int = 64) -> None:
        self._gpt = gpt
        self._runner = runner
        self._kept = voices
        self._voices: OrderedDict[str, VoiceState] = OrderedDict()
        self._start = torch.tensor([[start_code]], device=runner.device)

    def voice(self, voice: Voice) -> VoiceState:
        """A voice's state on the device, made or found."""
        state = self._voices.pop(voice.fingerprint, None)
        if state is None:
            device = self._runner.device
            state = VoiceState(
                moved(torch.tensor(voice.latents), device),
                moved(torch.tensor(voice.speaker_embedding), device),
            )
        self._voices[voice.fingerprint] = state
        while len(self._voices) > self._kept:
            self._voices.popitem(last=False)
        return state

    def begin(self, job: Job) -> int:
        """Put the voice's kept part into the job's slot and make its embeddings ready.

        Returns:
            Positions of the whole prompt, the audio start code included.
        """
        assert job.prepared is not None
        state: VoiceState = job.voice
        ids = moved(torch.tensor([job.prepared.ids], dtype=torch.long), self._runner.device)
        text = self._gpt.text_embeddings(ids)[0]
        start = self._gpt.code_embeddings(self._start)[0]
        embeddings = torch.cat((state.latents.to(text.dtype), text, start))
        job.progress.embeddings = embeddings
        if state.prefix is not None:
            self._runner.copy_prefix(job.progress.slot, state.prefix)
            job.progress.filled = state.latents.shape[0]
        return int(embeddings.shape[0])

    def together(self, job: Job, filling: Sequence[Job]) -> list[Job]:
        """The jobs whose prompts the next piece is of.

        Args:
            job: The one that is due.
            filling: All whose prompts are not in their slots yet.
        """
        return [job]

    def advance(self, jobs: Sequence[Job]) -> tuple[list[Job], Tensor]:
        """Read one piece of prompts.

        Args:
            jobs: From `together`.

        Returns:
            Those whose prompts are complete now, and the hidden state of the last position of
            each, shape (jobs, width).
        """
        (job,) = jobs
        progress, state = job.progress, job.voice
        embeddings = progress.embeddings
        assert embeddings is not None
        border = state.latents.shape[0]
        start = progress.filled
        stop = min(start + self._runner.piece, progress.prompt)
        if start < border:
            stop = min(stop, border)
        hidden = self._runner.prefill(progress.slot, embeddings[start:stop], start)
        progress.filled = stop
        if stop == border and state.prefix is None:
            state.prefix = self._runner.export_prefix(progress.slot, border)
        if stop < progress.prompt:
            return [], hidden[:0]
        progress.embeddings = None
        return [job], hidden[-1:]

    def rehearse(self) -> None:
        """Read a piece into the first slot, so that it can be timed; nobody may have the slot."""
        width = self._runner.config.gpt_n_model_channels
        size = min(self._runner.piece, self._runner.length)
        self._runner.prefill(0, torch.zeros(size, width, device=self._runner.device), 0)

    def release(self) -> None:
        """Give up what knows addresses of weights; nothing here."""

"""Gates: whether a part in reduced precision stays close enough to float32, on these weights.

Trained weights differ from random ones, checkpoints from each other, so each is judged itself: the
GPT by what it would say next along speech that it made itself, the vocoder by its waveform.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from livekit_xtts.model.cuda import exact_convolutions

if TYPE_CHECKING:
    from collections.abc import Callable

    from livekit_xtts.model.gpt import GPT, GptRunner
    from livekit_xtts.model.vocoder import HifiGan

MIN_AGREEMENT = 0.97
"""Share of positions at which the best code must be the same (teacher-forced)."""

MAX_DISTANCE = 0.05
"""Mean difference, in nats, of the log-probability of the code that comes next."""

MIN_SNR_DB = 30.0
"""Least ratio of the float32 waveform's power to the difference's."""

SPEECHES = 2
CODES = 128
_TEXT_IDS = 40
_TOP = 50
_TEMPERATURE = 0.75
_VOCODER_CODES = 24


@dataclass(frozen=True, slots=True)
class GptVerdict:
    """How close a runner is to the float32 model.

    Attributes:
        agreement: Share of positions with the same best code.
        distance: Mean difference of log-probabilities, nats.
        positions: Positions compared.
    """

    agreement: float
    distance: float
    positions: int

    @property
    def passed(self) -> bool:
        """Whether both are within the gate; values that are not finite are not."""
        return self.agreement >= MIN_AGREEMENT and self.distance <= MAX_DISTANCE

    def to_dict(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self) | {"passed": self.passed}


@dataclass(frozen=True, slots=True)
class VocoderVerdict:
    """How close a vocoder is to the float32 one.

    Attributes:
        snr_db: Power of the waveform (without its mean) over the difference's.
    """

    snr_db: float

    @property
    def passed(self) -> bool:
        """Whether it is within the gate."""
        return self.snr_db >= MIN_SNR_DB

    def to_dict(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self) | {"passed": self.passed}


@torch.inference_mode()
def judge_gpt(
    gpt: GPT, runner: GptRunner, latents: Tensor | None = None
) -> tuple[GptVerdict, Tensor]:
    """Compare a runner with the float32 model.

    The runner speaks (drawn codes, fixed seed); both then say, at each of those codes, what should
    come next.

    Args:
        gpt: In float32, its blocks in memory.
        runner: With at least `SPEECHES` slots; their contents are overwritten.
        latents: A voice's conditioning latents, shape (32, width); None for a random one.

    Returns:
        The verdict, and the runner's latents of the first speech, shape (codes, width).
    """
    config = gpt.config
    device = runner.device
    generator = torch.Generator().manual_seed(0)
    width = config.gpt_n_model_channels
    if latents is None:
        latents = torch.randn(config.perceiver_latents, width, generator=generator)
    ids = torch.randint(
        1, config.gpt_number_text_tokens, (SPEECHES, _TEXT_IDS), generator=generator
    )
    codes_count = min(CODES, config.max_codes)
    prompts = [gpt.prompt(latents.to(device), row.to(device)) for row in ids]
    held = prompts[0].shape[0] - 1
    for slot, prompt in enumerate(prompts):
        runner.prefill(slot, prompt[:-1].float(), 0)
    slots = torch.arange(SPEECHES, device=device)
    drawn = torch.full((SPEECHES,), config.gpt_start_audio_token)
    codes, hidden, judged = [], [], []
    for position in range(codes_count):
        at = torch.full_like(slots, position)
        latent, logits = runner.step(slots, drawn.to(device), at, held + at)
        hidden.append(latent.float())
        judged.append(logits.float().cpu())
        drawn = _draw(judged[-1], config.gpt_stop_audio_token, generator)
        codes.append(drawn)
    spoken = torch.stack(codes, dim=1)
    theirs = torch.stack(judged, dim=1)
    ours = []
    for prompt, row in zip(prompts, spoken, strict=True):
        embeddings = torch.cat((prompt, gpt.code_embeddings(row[None, :-1].to(device), 1)[0]))
        ours.append(gpt.code_logits(gpt(embeddings[None])[0, held:]).float().cpu())
    return _verdict(torch.stack(ours), theirs, spoken), torch.stack(hidden, dim=1)[0]


def _draw(logits: Tensor, stop: int, generator: torch.Generator) -> Tensor:
    """A code for each row; never the stop code, so that there is enough to judge."""
    logits = torch.nan_to_num(logits, nan=0.0)
    logits[:, stop] = -1e9
    best, index = (logits / _TEMPERATURE).topk(min(_TOP, logits.shape[1]))
    picked = torch.multinomial(best.softmax(dim=1), 1, generator=generator)
    return index.gather(1, picked)[:, 0]


def _verdict(ours: Tensor, theirs: Tensor, codes: Tensor) -> GptVerdict:
    same = (ours.argmax(dim=2) == theirs.argmax(dim=2)).double().mean()
    chosen = codes[:, :, None]
    difference = ours.log_softmax(2).gather(2, chosen) - theirs.log_softmax(2).gather(2, chosen)
    return GptVerdict(float(same), float(difference.double().abs().mean()), codes.numel())


@torch.inference_mode()
def judge_vocoder(
    vocoder: HifiGan,
    reduced: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor | None = None,
    speaker_embedding: Tensor | None = None,
) -> VocoderVerdict:
    """Compare a vocoder in reduced precision with the float32 one.

    Args:
        vocoder: In float32.
        reduced: Takes the same arguments.
        latents: Of some speech, shape (codes, width); None for random ones.
        speaker_embedding: Shape (d_vector_dim,); None for a random one.
    """
    config = vocoder.config
    device = vocoder.conv_pre.weight.device
    generator = torch.Generator().manual_seed(0)
    if latents is None:
        latents = torch.randn(_VOCODER_CODES, config.decoder_input_dim, generator=generator)
    if speaker_embedding is None:
        speaker_embedding = torch.randn(config.d_vector_dim, generator=generator)
        speaker_embedding = speaker_embedding / speaker_embedding.norm()
    features = vocoder.features(latents[:_VOCODER_CODES].to(device).float())[None]
    speaker = speaker_embedding[None].to(device)
    with exact_convolutions():
        expected = vocoder(features, speaker).double()
    difference = reduced(features, speaker).double() - expected
    noise = difference.square().mean()
    ratio = expected.var() / noise.clamp(min=1e-30)
    return VocoderVerdict(float(10 * torch.log10(ratio)))

"""The whole model: GPT, conditioning, speaker encoder and vocoder, and cloning with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import torch
from torch import Tensor, nn

from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.gpt import GPT
from livekit_xtts.model.mel import conditioning_mel, resample
from livekit_xtts.model.speaker_encoder import SPEAKER_RATE, SpeakerEncoder
from livekit_xtts.model.vocoder import HifiGan
from livekit_xtts.speech import MIN_REFERENCE_SECONDS, VoiceError

SILENCE_PEAK = 1e-3
"""Reference audio that never exceeds this (-60 dB of full scale) is refused as silent."""


class XttsModel(nn.Module):
    """XTTS-v2. `state_dict()` has the published names, with the weight norm folded.

    Attributes:
        config: Sizes and defaults.
        gpt: The autoregressive part; holds the conditioning encoder and perceiver too.
        mel_stats: Divisors of the conditioning mel's bands, shape (80,).
    """

    mel_stats: Tensor

    def __init__(self, config: XttsConfig) -> None:
        """Make the model with whatever torch initialises; see `checkpoint` for real weights.

        Args:
            config: Sizes.
        """
        super().__init__()
        self.config = config
        self.gpt = GPT(config)
        self.hifigan_decoder = nn.ModuleDict(
            {"waveform_decoder": HifiGan(config), "speaker_encoder": SpeakerEncoder(config)}
        )
        self.register_buffer("mel_stats", torch.ones(config.conditioning_mels))

    @property
    def vocoder(self) -> HifiGan:
        """Latents to waveform."""
        module = self.hifigan_decoder["waveform_decoder"]
        assert isinstance(module, HifiGan)
        return module

    @property
    def speaker_encoder(self) -> SpeakerEncoder:
        """Audio at 16 kHz to speaker embedding."""
        module = self.hifigan_decoder["speaker_encoder"]
        assert isinstance(module, SpeakerEncoder)
        return module

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over configuration and weights; computed at first use, then kept.

        `load_model` computes it before anything can change the weights in place.
        """

        def digest(item: tuple[str, Tensor]) -> str:
            name, tensor = item
            flat = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
            header = f"{name} {tuple(tensor.shape)} {tensor.dtype} "
            return header + hashlib.sha256(flat.data).hexdigest()

        with ThreadPoolExecutor(max_workers=2) as pool:
            digests = list(pool.map(digest, sorted(self.state_dict().items())))
        content = [json.dumps(self.config.to_dict(), sort_keys=True), *digests]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    @torch.no_grad()
    def conditioning_latents(self, samples: Tensor) -> Tensor:
        """What tells the GPT whose voice it is: the mean over pieces of the reference.

        Args:
            samples: Shape (samples,), at 22,050 Hz; the first `gpt_cond_len` seconds are used.

        Returns:
            Shape (32, width).

        Raises:
            VoiceError: Shorter than 0.33 s.
        """
        config = self.config
        rate = config.input_sample_rate
        samples = samples[: rate * config.gpt_cond_len].to(self.mel_stats)
        pieces = torch.split(samples, rate * config.gpt_cond_chunk_len)
        pieces = tuple(p for p in pieces if p.numel() >= rate * MIN_REFERENCE_SECONDS)
        if not pieces:
            raise VoiceError(_too_short(samples.numel() / rate))
        latents = [
            self.gpt.conditioning(conditioning_mel(piece, self.mel_stats, rate)[None])[0]
            for piece in pieces
        ]
        return torch.stack(latents).mean(dim=0)

    @torch.no_grad()
    def speaker_embedding(self, samples: Tensor, sample_rate: int) -> Tensor:
        """What tells the vocoder whose voice it is.

        Args:
            samples: Shape (samples,).
            sample_rate: Samples per second of `samples`.

        Returns:
            Unit length, shape (d_vector_dim,).

        Raises:
            VoiceError: Shorter than 0.33 s.
        """
        seconds = samples.numel() / sample_rate
        if seconds < MIN_REFERENCE_SECONDS:
            raise VoiceError(_too_short(seconds))
        audio = resample(samples.to(self.mel_stats), sample_rate, SPEAKER_RATE)
        embedding: Tensor = self.speaker_encoder(audio[None])[0]
        return embedding

    @torch.no_grad()
    def clone(self, references: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        """Clone a voice from one or more recordings of it.

        Args:
            references: Mono recordings, each as samples of shape (samples,) in -1 … 1 and its
                rate; the first `max_ref_len` seconds of each are used.

        Returns:
            Conditioning latents (32, width) and speaker embedding (d_vector_dim,).

        Raises:
            VoiceError: None given, or one is shorter than 0.33 s, silent or not finite.
        """
        if not references:
            raise VoiceError("no reference audio was given: give at least one recording")
        rate, longest = self.config.input_sample_rate, self.config.max_ref_len
        audios, embeddings = [], []
        for samples, sample_rate in references:
            # A tail beyond the last second used, so that the resampling filter has its right side.
            samples = samples.flatten()[: (longest + 1) * sample_rate].to(self.mel_stats)
            _check_reference(samples, sample_rate)
            audio = resample(samples, sample_rate, rate).clamp(-1.0, 1.0)[: rate * longest]
            audios.append(audio)
            embeddings.append(self.speaker_embedding(audio, rate))
        latents = self.conditioning_latents(torch.cat(audios))
        return latents, torch.stack(embeddings).mean(dim=0)


def _too_short(seconds: float) -> str:
    return (
        f"the reference audio is too short ({seconds:.2f} s, at least {MIN_REFERENCE_SECONDS} s):"
        " use 6 to 30 s of clean speech"
    )


def _check_reference(samples: Tensor, sample_rate: int) -> None:
    seconds = samples.numel() / sample_rate
    if seconds < MIN_REFERENCE_SECONDS:
        raise VoiceError(_too_short(seconds))
    if not bool(torch.isfinite(samples).all()):
        raise VoiceError("the reference audio has samples that are not finite numbers")
    if float(samples.abs().max()) < SILENCE_PEAK:
        raise VoiceError("the reference audio is silent: use 6 to 30 s of clean speech")

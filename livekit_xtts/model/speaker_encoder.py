"""The speaker encoder: a residual network over mel frames with attentive statistics pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.mel import mel_filters, power_spectrogram

SPEAKER_RATE = 16_000
"""Samples per second of the audio that the speaker encoder takes."""

_N_FFT, _WINDOW, _HOP = 512, 400, 160

# Filters and windows below name the CPU, so that a model made without memory (on the "meta" device)
# has them all the same: they are constants, not weights.


class PreEmphasis(nn.Module):
    """x[t] - 0.97 x[t - 1]."""

    filter: Tensor

    def __init__(self) -> None:
        """Make the filter, kept in the checkpoint like the reference's."""
        super().__init__()
        self.register_buffer("filter", torch.tensor([[[-0.97, 1.0]]], device="cpu"))

    def forward(self, samples: Tensor) -> Tensor:
        """Shapes: (batch, samples) to the same."""
        return F.conv1d(F.pad(samples[:, None], (1, 0), "reflect"), self.filter)[:, 0]


class _Window(nn.Module):
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hamming_window(_WINDOW, device="cpu"))


class _Filters(nn.Module):
    fb: Tensor

    def __init__(self, mels: int) -> None:
        super().__init__()
        filters = mel_filters(_N_FFT // 2 + 1, mels, SPEAKER_RATE, SPEAKER_RATE / 2)
        self.register_buffer("fb", filters)


class SpeakerMel(nn.Module):
    """Mel power spectrogram; its window and filters are buffers, as in published checkpoints."""

    def __init__(self, mels: int) -> None:
        """Make window and filters.

        Args:
            mels: Mel bands.
        """
        super().__init__()
        self.spectrogram = _Window()
        self.mel_scale = _Filters(mels)

    def forward(self, samples: Tensor) -> Tensor:
        """Shapes: (batch, samples) to (batch, mels, frames)."""
        power = power_spectrogram(samples, self.spectrogram.window, _N_FFT, _HOP)
        return self.mel_scale.fb.T @ power


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all channels' means."""

    def __init__(self, channels: int) -> None:
        """Make the gate.

        Args:
            channels: Channels; the bottleneck has an eighth of them.
        """
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 8),
            nn.ReLU(),
            nn.Linear(channels // 8, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (batch, channels, mels, frames) to the same."""
        gates: Tensor = self.fc(x.mean(dim=(2, 3)))
        return x * gates[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two convolutions with squeeze and excitation, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Make a block.

        Args:
            inputs: Channels in.
            outputs: Channels out.
            stride: Of both mel and time.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcite(outputs)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (batch, inputs, mels, frames) to (batch, outputs, mels / stride, …)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        # The activation comes before the norm here, unlike in most residual networks.
        x = self.bn1(F.relu(self.conv1(x)))
        x = self.se(self.bn2(self.conv2(x)))
        return F.relu(x + shortcut)


class SpeakerEncoder(nn.Module):
    """Audio at 16 kHz to an embedding of the speaker."""

    def __init__(self, config: XttsConfig) -> None:
        """Make the encoder.

        Args:
            config: Sizes.
        """
        super().__init__()
        filters = config.speaker_encoder_filters
        self.torch_spec = nn.Sequential(PreEmphasis(), SpeakerMel(config.speaker_encoder_mels))
        self.conv1 = nn.Conv2d(1, filters[0], 3, padding=1)
        self.bn1 = nn.BatchNorm2d(filters[0])
        inputs = filters[0]
        for stage, (outputs, blocks) in enumerate(
            zip(filters, config.speaker_encoder_layers, strict=True), start=1
        ):
            stride = 1 if stage == 1 else 2
            layers = [ResidualBlock(inputs, outputs, stride)]
            layers += [ResidualBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
            inputs = outputs
        pooled = filters[-1] * (config.speaker_encoder_mels // 8)
        hidden = config.speaker_encoder_attention
        self.attention = nn.Sequential(
            nn.Conv1d(pooled, hidden, 1),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Conv1d(hidden, pooled, 1),
            nn.Softmax(dim=2),
        )
        self.fc = nn.Linear(2 * pooled, config.d_vector_dim)

    def forward(self, samples: Tensor) -> Tensor:
        """Embed speakers.

        Args:
            samples: Shape (batch, samples), at 16 kHz, at least 257 samples.

        Returns:
            Unit-length embeddings, shape (batch, d_vector_dim).
        """
        mel = (self.torch_spec(samples) + 1e-6).log()
        x = F.instance_norm(mel)[:, None]
        x = self.bn1(F.relu(self.conv1(x)))
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{stage}")(x)
        x = x.flatten(1, 2)
        weights = self.attention(x)
        mean = (x * weights).sum(dim=2)
        deviation = ((x.square() * weights).sum(dim=2) - mean.square()).clamp(min=1e-5).sqrt()
        return F.normalize(self.fc(torch.cat((mean, deviation), dim=1)), dim=1)

"""Reference mels to the positions that tell the GPT whose voice to speak in."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livekit_xtts.model.config import XttsConfig


def _norm_groups(channels: int) -> int:
    """Groups of the group norm: as many as 32 (fewer in narrow models) that divide the width."""
    groups = 8 if channels <= 16 else 16 if channels <= 64 else 32
    return math.gcd(groups, channels)


class AttentionBlock(nn.Module):
    """Self-attention over frames; the residual goes round the attention, after the norm."""

    def __init__(self, channels: int, heads: int) -> None:
        """Make a block.

        Args:
            channels: Width.
            heads: Attention heads.
        """
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(_norm_groups(channels), channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (batch, channels, frames) to the same."""
        batch, channels, frames = x.shape
        x = self.norm(x)
        qkv: Tensor = self.qkv(x).view(batch, self.heads, 3, channels // self.heads, frames)
        q, k, v = qkv.transpose(3, 4).unbind(dim=2)
        attended = F.scaled_dot_product_attention(q, k, v)
        attended = attended.transpose(2, 3).reshape(batch, channels, frames)
        result: Tensor = x + self.proj_out(attended)
        return result


class ConditioningEncoder(nn.Module):
    """Mel frames to features of the GPT's width."""

    def __init__(self, config: XttsConfig) -> None:
        """Make the encoder.

        Args:
            config: Sizes.
        """
        super().__init__()
        width = config.gpt_n_model_channels
        self.init = nn.Conv1d(config.conditioning_mels, width, 1)
        self.attn = nn.Sequential(
            *(AttentionBlock(width, config.gpt_n_heads) for _ in range(config.conditioning_blocks))
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Shapes: (batch, mels, frames) to (batch, width, frames)."""
        features: Tensor = self.attn(self.init(mel))
        return features


class RMSNorm(nn.Module):
    """Unit root mean square, scaled per channel."""

    def __init__(self, width: int) -> None:
        """Make the norm.

        Args:
            width: Channels.
        """
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (..., width) to the same."""
        scaled: Tensor = F.normalize(x, dim=-1) * (x.shape[-1] ** 0.5) * self.gamma
        return scaled


class PerceiverAttention(nn.Module):
    """Latents attend to themselves and to the frames together."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        """Make the attention.

        Args:
            width: Channels of latents and frames.
            heads: Attention heads.
            head_dim: Channels of each head.
        """
        super().__init__()
        self.heads = heads
        inner = heads * head_dim
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:
        """Shapes: (batch, latents, width) and (batch, frames, width) to (batch, latents, width)."""
        context = torch.cat((latents, frames), dim=1)
        k, v = self.to_kv(context).chunk(2, dim=-1)
        batch, heads = context.shape[0], self.heads
        q, k, v = (
            x.reshape(batch, x.shape[1], heads, -1).transpose(1, 2)
            for x in (self.to_q(latents), k, v)
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return result


class GatedGelu(nn.Module):
    """First half of the channels, gated by the GELU of the second."""

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (..., 2 * width) to (..., width)."""
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)


class PerceiverResampler(nn.Module):
    """Any number of frames to a fixed number of latents."""

    def __init__(self, config: XttsConfig) -> None:
        """Make the resampler.

        Args:
            config: Sizes.
        """
        super().__init__()
        width = config.gpt_n_model_channels
        inner = int(width * config.perceiver_ff_mult * 2 / 3)
        self.latents = nn.Parameter(torch.empty(config.perceiver_latents, width))
        nn.init.normal_(self.latents, std=0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                (
                    PerceiverAttention(width, config.perceiver_heads, config.perceiver_head_dim),
                    nn.Sequential(
                        nn.Linear(width, 2 * inner), GatedGelu(), nn.Linear(inner, width)
                    ),
                )
            )
            for _ in range(config.perceiver_depth)
        )
        self.norm = RMSNorm(width)

    def forward(self, frames: Tensor) -> Tensor:
        """Shapes: (batch, frames, width) to (batch, latents, width)."""
        latents = self.latents.expand(frames.shape[0], -1, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            for part, inputs in zip(layer, ((frames,), ()), strict=True):
                latents = part(latents, *inputs) + latents
        result: Tensor = self.norm(latents)
        return result

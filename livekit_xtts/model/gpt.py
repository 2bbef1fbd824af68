"""The autoregressive transformer: text and conditioning in, audio codes and latents out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livekit_xtts.model.conditioning import ConditioningEncoder, PerceiverResampler
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.runner import GptRunner, KVCache, TorchRunner
from livekit_xtts.speech import InvalidRequestError

__all__ = ["GPT", "GptRunner", "KVCache", "TorchRunner"]


class Projection(nn.Module):
    """A linear layer whose weight is stored (inputs, outputs), as GPT-2 checkpoints have it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Make the layer.

        Args:
            inputs: Channels in.
            outputs: Channels out.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        nn.init.normal_(self.weight, std=0.02)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (..., inputs) to (..., outputs)."""
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        """Make the layer.

        Args:
            width: Channels.
            heads: Attention heads.
        """
        super().__init__()
        self.heads = heads
        self.c_attn = Projection(width, 3 * width)
        self.c_proj = Projection(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Shapes: x (batch, time, width) to the same; mask (batch, 1, time, time) of bool."""
        batch, time, width = x.shape
        qkv: Tensor = self.c_attn(x)
        heads = qkv.view(batch, time, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        result: Tensor = self.c_proj(attended.transpose(1, 2).flatten(2))
        return result


class FeedForward(nn.Module):
    """Two linear layers with a GELU (tanh form) between them."""

    def __init__(self, width: int) -> None:
        """Make the layer.

        Args:
            width: Channels; four times as many inside.
        """
        super().__init__()
        self.c_fc = Projection(width, 4 * width)
        self.c_proj = Projection(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (..., width) to the same."""
        result: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))
        return result


class Block(nn.Module):
    """Attention and feed-forward, each normed before and added after."""

    def __init__(self, width: int, heads: int) -> None:
        """Make the block.

        Args:
            width: Channels.
            heads: Attention heads.
        """
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Shapes: as `Attention.forward`."""
        x = x + self.attn(self.ln_1(x), mask)
        result: Tensor = x + self.mlp(self.ln_2(x))
        return result


class Transformer(nn.Module):
    """The stack of blocks and its norm; positions are added to the embeddings before it."""

    def __init__(self, config: XttsConfig) -> None:
        """Make the stack.

        Args:
            config: Sizes.
        """
        super().__init__()
        width, heads = config.gpt_n_model_channels, config.gpt_n_heads
        self.h = nn.ModuleList(Block(width, heads) for _ in range(config.gpt_layers))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Shapes: as `Attention.forward`."""
        for block in self.h:
            x = block(x, mask)
        normed: Tensor = self.ln_f(x)
        return normed


class Positions(nn.Module):
    """Learned embeddings of positions."""

    def __init__(self, length: int, width: int) -> None:
        """Make the table.

        Args:
            length: Positions.
            width: Channels.
        """
        super().__init__()
        self.emb = nn.Embedding(length, width)
        nn.init.normal_(self.emb.weight, std=0.02)

    def range(self, start: int, length: int) -> Tensor:
        """Embeddings of positions start … start + length, shape (length, width)."""
        return self.emb.weight[start : start + length]


class GPT(nn.Module):
    """The model's autoregressive part, with the reference's parameter names."""

    def __init__(self, config: XttsConfig) -> None:
        """Make the model.

        Args:
            config: Sizes.
        """
        super().__init__()
        self.config = config
        width = config.gpt_n_model_channels
        self.conditioning_encoder = ConditioningEncoder(config)
        self.conditioning_perceiver = PerceiverResampler(config)
        self.text_embedding = nn.Embedding(config.gpt_number_text_tokens, width)
        self.mel_embedding = nn.Embedding(config.gpt_num_audio_tokens, width)
        self.text_pos_embedding = Positions(config.gpt_max_text_tokens + 2, width)
        self.mel_pos_embedding = Positions(config.gpt_max_audio_tokens + 3, width)
        self.gpt = Transformer(config)
        self.final_norm = nn.LayerNorm(width)
        self.text_head = nn.Linear(width, config.gpt_number_text_tokens)
        self.mel_head = nn.Linear(width, config.gpt_num_audio_tokens)

    def conditioning(self, mel: Tensor) -> Tensor:
        """Conditioning latents of reference mels.

        Args:
            mel: Shape (batch, mels, frames).

        Returns:
            Shape (batch, 32, width).
        """
        frames: Tensor = self.conditioning_encoder(mel).transpose(1, 2)
        latents: Tensor = self.conditioning_perceiver(frames)
        return latents

    def text_embeddings(self, text_ids: Tensor) -> Tensor:
        """Embeddings of text ids between the start and the stop id, with their positions.

        Args:
            text_ids: Without start and stop, shape (batch, ids).

        Returns:
            Shape (batch, ids + 2, width).
        """
        config = self.config
        ids = F.pad(text_ids.long(), (0, 1), value=config.gpt_stop_text_token)
        ids = F.pad(ids, (1, 0), value=config.gpt_start_text_token)
        embeddings: Tensor = self.text_embedding(ids)
        return embeddings + self.text_pos_embedding.range(0, ids.shape[1])

    def code_embeddings(self, codes: Tensor, start_position: int = 0) -> Tensor:
        """Embeddings of audio codes with their positions.

        Args:
            codes: Shape (batch, codes). The start code has position 0, the first code 1.
            start_position: Position of the first of them.

        Returns:
            Shape (batch, codes, width).
        """
        embeddings: Tensor = self.mel_embedding(codes)
        return embeddings + self.mel_pos_embedding.range(start_position, codes.shape[1])

    def prompt(self, latents: Tensor, text_ids: Tensor) -> Tensor:
        """Everything that comes before the first step: conditioning, text, the audio start code.

        Args:
            latents: Conditioning latents, shape (32, width).
            text_ids: Without start and stop, shape (ids,); at most 402.

        Returns:
            Shape (32 + ids + 2 + 1, width).

        Raises:
            InvalidRequestError: Too many ids, or an id outside the vocabulary.
        """
        config = self.config
        if text_ids.numel() > config.gpt_max_text_tokens:
            raise InvalidRequestError(
                f"{text_ids.numel()} text ids are more than the model's"
                f" {config.gpt_max_text_tokens}: split the text"
            )
        ids = text_ids.to(device=latents.device, dtype=torch.long)
        if (
            ids.numel()
            and not 0 <= int(ids.min()) <= int(ids.max()) < config.gpt_number_text_tokens
        ):
            raise InvalidRequestError(
                f"text ids must be 0 to {config.gpt_number_text_tokens - 1}"
                f" (found {int(ids.min())} to {int(ids.max())})"
            )
        start = torch.tensor([[config.gpt_start_audio_token]], device=latents.device)
        parts = (
            latents.to(self.mel_embedding.weight.dtype),
            self.text_embeddings(ids[None])[0],
            self.code_embeddings(start)[0],
        )
        return torch.cat(parts)

    def forward(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """Full causal pass, differentiable.

        Args:
            embeddings: Conditioning, text and codes, shape (batch, time, width).
            mask: True where a position may be attended to, shape (batch, time); None for all.

        Returns:
            Hidden states after both final norms, which the vocoder and the heads take:
            shape (batch, time, width).
        """
        attention = None
        if mask is not None:
            time = embeddings.shape[1]
            causal = torch.ones(time, time, dtype=torch.bool, device=embeddings.device).tril()
            attention = causal & mask[:, None, None, :].bool()
        hidden: Tensor = self.final_norm(self.gpt(embeddings, attention))
        return hidden

    def code_logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next audio code. Shapes: (..., width) to (..., 1026)."""
        logits: Tensor = self.mel_head(hidden)
        return logits

    def text_logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next text id (used in training). Shapes: (..., width) to (..., 6681)."""
        logits: Tensor = self.text_head(hidden)
        return logits

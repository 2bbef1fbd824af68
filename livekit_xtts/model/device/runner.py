"""The GPT on a GPU: `BatchRunner` with kernels of our own.

The residual stream, norms and logits are float32; matrix products, keys and values are in the
runner's dtype. Positions of prompts are rows like those of a step, so that any number of prompts
goes through the model together, and no shape depends on a prompt's length: both can be captured
in graphs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from livekit_xtts.model.device import attention
from livekit_xtts.model.runner import PIECE, BlockWeights, KVCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livekit_xtts.model.gpt import GPT


class DeviceRunner:
    """`BatchRunner` for a GPU.

    Args:
        gpt: The model.
        slots: Sequences that can be held at once.
        length: Positions of each; None for the longest that the model allows.
        device: Where to run.
        dtype: Of matrix products, keys and values.
    """

    def __init__(
        self,
        gpt: GPT,
        slots: int = 8,
        length: int | None = None,
        device: torch.device | str = "cuda",
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.config = config = gpt.config
        self.slots = slots
        self.length = min(length or config.max_positions, config.max_positions)
        self.device = torch.device(device)
        self.dtype = dtype
        self.piece = PIECE
        self.rows: tuple[int, ...] = (slots,)
        self.cache = KVCache(config, slots, self.length, self.device, dtype)
        # What no request has written must not be read, but a stray value must not be infinite.
        self.cache.data.zero_()
        self._heads = config.gpt_n_heads
        state = gpt.state_dict()

        def full(name: str) -> Tensor:
            found: Tensor = state[name].detach().to(self.device, torch.float32)
            return found

        def pair(name: str, kind: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
            return full(f"{name}.weight").to(kind), full(f"{name}.bias").to(kind)

        self._layers = [
            BlockWeights(
                pair(f"gpt.h.{index}.ln_1"),
                pair(f"gpt.h.{index}.attn.c_attn", dtype),
                pair(f"gpt.h.{index}.attn.c_proj", dtype),
                pair(f"gpt.h.{index}.ln_2"),
                pair(f"gpt.h.{index}.mlp.c_fc", dtype),
                pair(f"gpt.h.{index}.mlp.c_proj", dtype),
            )
            for index in range(config.gpt_layers)
        ]
        self._norms = (pair("gpt.ln_f"), pair("final_norm"))
        self._head = pair("mel_head")
        # One table of all that can be fed and one of where: text first, then codes.
        self._fed = torch.cat((full("text_embedding.weight"), full("mel_embedding.weight")))
        self._where = torch.cat(
            (full("text_pos_embedding.emb.weight"), full("mel_pos_embedding.emb.weight"))
        )
        self._codes = config.gpt_number_text_tokens
        self._code_places = state["text_pos_embedding.emb.weight"].shape[0]

    def with_slots(self, gpt: GPT, slots: int) -> DeviceRunner:
        """See `BatchRunner.with_slots`."""
        return DeviceRunner(gpt, slots, self.length, self.device, self.dtype)

    def try_out(self) -> None:
        """Run every kernel once; raises whatever compilers and drivers do."""
        first = torch.zeros(1, dtype=torch.long, device=self.device)
        self.read(first, first, first, first)
        _, logits = self.step(first, first, first, first + 1)
        logits.sum().item()

    def tokens(self, ids: Sequence[int]) -> tuple[list[int], list[int]]:
        """See `BatchRunner.tokens`."""
        config = self.config
        start = self._codes + config.gpt_start_audio_token
        fed = [config.gpt_start_text_token, *ids, config.gpt_stop_text_token, start]
        return fed, [*range(len(ids) + 2), self._code_places]

    @torch.inference_mode()
    def prefill(self, slot: int, embeddings: Tensor, start: int) -> Tensor:
        """See `GptRunner.prefill`."""
        x = embeddings.to(device=self.device, dtype=torch.float32, copy=True)
        positions = torch.arange(start, start + len(x), device=self.device)
        return self._hidden(x, torch.full_like(positions, slot), positions, prompt=True)

    @torch.inference_mode()
    def read(self, slots: Tensor, positions: Tensor, fed: Tensor, places: Tensor) -> Tensor:
        """See `BatchRunner.read`."""
        return self._hidden(self._fed[fed] + self._where[places], slots, positions, prompt=True)

    @torch.inference_mode()
    def step(
        self, slots: Tensor, codes: Tensor, code_positions: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `GptRunner.step`."""
        x = self._fed[codes + self._codes] + self._where[code_positions + self._code_places]
        hidden = self._hidden(x, slots, lengths, prompt=False)
        return hidden, F.linear(hidden, *self._head)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """See `GptRunner.logits`."""
        return F.linear(hidden.float(), *self._head)

    def _hidden(self, x: Tensor, slots: Tensor, positions: Tensor, prompt: bool) -> Tensor:
        """All blocks and both final norms; `x` is written to."""
        y: Tensor | None = None
        for index, layer in enumerate(self._layers):
            cache = self.cache.data[index]
            weight, bias = layer.qkv
            qkv = torch.addmm(bias, attention.add_norm(x, y, layer.ln_1, self.dtype), weight)
            if prompt:
                attention.append(qkv, cache, slots, positions, self._heads)
            attended = attention.attend(
                qkv, cache, slots, positions, self._heads, append=not prompt
            )
            weight, bias = layer.out
            y = torch.addmm(bias, attended, weight)
            weight, bias = layer.fc
            inner = torch.addmm(bias, attention.add_norm(x, y, layer.ln_2, self.dtype), weight)
            weight, bias = layer.proj
            y = torch.addmm(bias, F.gelu(inner, approximate="tanh"), weight)
        return attention.add_norm(x, y, self._norms[0], torch.float32, self._norms[1])

    @torch.inference_mode()
    def export_prefix(self, slot: int, length: int) -> Tensor:
        """See `GptRunner.export_prefix`; shape (layers, 2, heads, length, head_dim)."""
        return self.cache.data[:, :, slot, :, :length].clone()

    @torch.inference_mode()
    def copy_prefix(self, slot: int, prefix: Tensor) -> None:
        """See `GptRunner.copy_prefix`."""
        self.cache.data[:, :, slot, :, : prefix.shape[3]] = prefix

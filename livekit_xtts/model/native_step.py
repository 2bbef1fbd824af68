"""The GPT's step on CPUs with 8-bit vector products: code of our own over packed weights.

`NativeRunner` is a `GptRunner`. A row's result depends neither on its company nor on the number of
threads: see `native.kernels`. Keys and values are float16.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from livekit_xtts.model.native import compiler, program
from livekit_xtts.model.native.assembly import LANES
from livekit_xtts.model.native.layout import FIELDS, Private, Sizes
from livekit_xtts.model.native.team import Team, zeros
from livekit_xtts.model.runner import PIECE

if TYPE_CHECKING:
    from livekit_xtts.model.config import XttsConfig
    from livekit_xtts.model.gpt import GPT
    from livekit_xtts.model.native.layout import Bytes

FORMAT = 1
"""Changes whenever packed weights written before, or their verdicts, must not be used again."""


def missing() -> str:
    """Why the compiled step cannot be had here; "" where it can."""
    return compiler.missing(program.NEEDED)


class _Buffers:
    """What a step reads and writes."""

    def __init__(self, sizes: Sizes, weights: Bytes, slots: int, length: int, rows: int) -> None:
        self.weights = weights
        self.keys = zeros(
            sizes.layers, 2, slots, sizes.heads, length, sizes.head_dim, dtype=torch.float16
        )
        wide = LANES * sizes.code_tiles
        shapes = {
            "x": sizes.width,
            "qkv": 3 * sizes.width,
            "attended": sizes.width,
            "projected": sizes.width,
            "inner": sizes.inner,
            "outer": sizes.width,
            "hidden": sizes.width,
            "logits": wide,
        }
        self.of = {name: zeros(rows, width) for name, width in shapes.items()}
        for name in ("slots", "positions"):
            self.of[name] = zeros(rows, dtype=torch.long)

    def team(self, sizes: Sizes, threads: int) -> Team:
        """The threads that step."""
        _, _, slots, _, length, _ = self.keys.shape
        rows = len(self.of["x"])
        private = Private.of(sizes, rows)
        self.of["private"] = zeros(threads * private.bytes, dtype=torch.uint8)
        slot = sizes.heads * length * sizes.head_dim
        entries = {
            "weights": self.weights.ctypes.data,
            "keys": self.keys.data_ptr(),
            "layer_keys": slots * slot,
            "slot_keys": slot,
            "length": length,
            "private_bytes": private.bytes,
        }
        entries |= {name: buffer.data_ptr() for name, buffer in self.of.items()}
        return Team(
            program.compiled(sizes, rows),
            FIELDS,
            entries,
            threads=threads,
            counted=program.counters(sizes),
            name="xtts-step",
            held=self,
        )


class NativeRunner:
    """`GptRunner` over packed 8-bit weights. Steps and prefills must not run side by side."""

    def __init__(
        self,
        gpt: GPT,
        weights: Bytes,
        slots: int = 8,
        length: int | None = None,
        threads: int = 1,
    ) -> None:
        """Allocate the buffers, compile, start the worker threads.

        Args:
            gpt: Gives the embeddings of codes and the head (in float32); its blocks are not used.
            weights: From `native.layout`.
            slots: Sequences that can be held at once.
            length: Positions of each; None for the longest that the model allows.
            threads: Threads of a step, the calling one included.

        Raises:
            ModelError: The code cannot be made for this model or on this machine.
        """
        self.config: XttsConfig = gpt.config
        sizes = Sizes.of(gpt.config)
        self.slots = slots
        self.length = min(length or gpt.config.max_positions, gpt.config.max_positions)
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        self.piece = PIECE
        self.rows = tuple(range(1, slots + 1))
        self.weights = weights
        self.threads = threads
        # Small things are done by numpy: torch would wake its threads, which then wait in a loop
        # on the processors that the step's own threads need.
        self._codes = gpt.mel_embedding.weight.detach().float().numpy()
        self._positions = gpt.mel_pos_embedding.emb.weight.detach().float().numpy()
        self._head = (gpt.mel_head.weight.detach().float(), gpt.mel_head.bias.detach().float())
        buffers = _Buffers(sizes, weights, slots, self.length, max(slots, PIECE))
        team = self._team = buffers.team(sizes, threads)
        self._keys = buffers.keys
        self._x, self._hidden = buffers.of["x"].numpy(), buffers.of["hidden"].numpy()
        self._logits = buffers.of["logits"].numpy()[:, : sizes.codes]
        self._slots, self._held = buffers.of["slots"].numpy(), buffers.of["positions"].numpy()
        # The workers hold the team, not the runner: when that is gone, they end.
        weakref.finalize(self, team.stop)

    def _run(self, rows: int, logits: bool) -> None:
        """One step of the rows that the buffers describe."""
        self._team.set("rows", rows)
        self._team.set("wanted", logits)
        self._team.run()

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """See `GptRunner.logits`. Each row is computed alone."""
        return torch.cat([F.linear(row.float(), *self._head) for row in torch.split(hidden, 1)])

    @torch.inference_mode()
    def prefill(self, slot: int, embeddings: Tensor, start: int) -> Tensor:
        """See `GptRunner.prefill`; any split of a prompt gives the same bits."""
        rows = embeddings.detach().float().numpy()
        hidden = np.empty_like(rows)
        for first in range(0, len(rows), self.piece):
            piece = slice(first, min(first + self.piece, len(rows)))
            count = piece.stop - first
            self._x[:count] = rows[piece]
            self._slots[:count] = slot
            self._held[:count] = np.arange(start + first, start + piece.stop)
            self._run(count, False)
            hidden[piece] = self._hidden[:count]
        return torch.from_numpy(hidden)

    @torch.inference_mode()
    def step(
        self, slots: Tensor, codes: Tensor, code_positions: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `GptRunner.step`."""
        count = slots.shape[0]
        x = self._codes[codes.numpy()] + self._positions[code_positions.numpy()]
        self._x[:count] = x
        self._slots[:count] = slots.numpy()
        self._held[:count] = lengths.numpy()
        self._run(count, True)
        return torch.from_numpy(self._hidden[:count].copy()), torch.from_numpy(
            self._logits[:count].copy()
        )

    @torch.inference_mode()
    def export_prefix(self, slot: int, length: int) -> Tensor:
        """See `GptRunner.export_prefix`; shape (layers, 2, heads, length, head_dim), float16."""
        return self._keys[:, :, slot, :, :length].clone()

    @torch.inference_mode()
    def copy_prefix(self, slot: int, prefix: Tensor) -> None:
        """See `GptRunner.copy_prefix`."""
        self._keys[:, :, slot, :, : prefix.shape[3]] = prefix

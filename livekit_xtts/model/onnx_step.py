"""The GPT's step on CPUs: one ONNX Runtime graph over key-value buffers that it updates in place.

`OnnxRunner` is a `GptRunner`. What makes a row's result independent of its company: the kernels
work row by row (checked at construction, on this machine), attention covers exactly the row's own
positions, prompts go one sequence at a time in fixed pieces.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from livekit_xtts.model.runner import PIECE
from livekit_xtts.speech import ModelError

if TYPE_CHECKING:
    from livekit_xtts.model.config import XttsConfig
    from livekit_xtts.model.gpt import GPT

ROW_STEP = 2
"""Row counts are multiples of this: one row alone may take another kernel."""

_PATIENCE = 8
"""Steps for which slots that were given back waste a row before the others move up."""


def require_libraries() -> Any:
    """ONNX Runtime's module; `ModelError` where it, or `onnx`, is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"8-bit weights need onnx and onnxruntime: {error}") from error
    return onnxruntime


def open_session(path: Path, threads: int) -> Any:
    """Load a graph that `write_graph` made.

    Args:
        path: The graph; its weights lie beside it.
        threads: Threads of a step, the calling one included.

    Raises:
        ModelError: ONNX Runtime is missing, lacks a kernel, or cannot read the file.
    """
    onnxruntime = require_libraries()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Weights are as large as they are: no arena that doubles, no copy kept after packing.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    # Between steps the processors belong to the vocoder.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base but Exception
        raise ModelError(f"ONNX Runtime cannot load the GPT step: {error}") from error


def _buffers(shape: tuple[int, ...]) -> Tensor:
    """Zeros in memory that becomes resident page by page, as positions are reached."""
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, 4 * count)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32, count=count).view(shape)


class OnnxRunner:
    """`GptRunner` over a graph with 8-bit weights.

    Slots are rows of the key-value buffers. A step runs the rows from the first to the last one
    that takes part; rows between them which do not are run at length 0, their first position kept
    aside meanwhile, so that they cost next to nothing and lose nothing.
    """

    def __init__(self, gpt: GPT, session: Any, slots: int = 8, length: int | None = None) -> None:
        """Allocate the buffers and bind them.

        Args:
            gpt: Gives the embeddings of codes and the head (in float32); its blocks are not used.
            session: From `open_session`.
            slots: Sequences that can be held at once.
            length: Positions of each; None for the longest that the model allows.
        """
        self.config: XttsConfig = gpt.config
        config = gpt.config
        self.slots = slots
        self.length = min(length or config.max_positions, config.max_positions)
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        self.piece = PIECE
        self.session = session
        physical = -(-slots // ROW_STEP) * ROW_STEP
        self.rows = tuple(range(ROW_STEP, physical + 1, ROW_STEP))
        width, heads = config.gpt_n_model_channels, config.gpt_n_heads
        # A padded piece writes beyond the sequence's end, hence the room behind it.
        self._data = _buffers(
            (config.gpt_layers, 2, physical, heads, self.length + self.piece, width // heads)
        )
        self._codes = gpt.mel_embedding.weight.detach().float()
        self._positions = gpt.mel_pos_embedding.emb.weight.detach().float()
        self._head = (gpt.mel_head.weight.detach().float(), gpt.mel_head.bias.detach().float())
        self._row_of = list(range(physical))
        self._held = [0] * physical
        self._aside: dict[int, Tensor] = {}
        self._wasteful = 0
        self._steps = {rows: self._bind(0, rows, 1) for rows in self.rows}
        self._pieces: dict[int, _Bound] = {}

    def _bind(self, row: int, rows: int, positions: int) -> _Bound:
        return _Bound(
            self.session,
            self._data[:, :, row : row + rows],
            positions,
            self.config.gpt_num_audio_tokens,
        )

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """See `GptRunner.logits`. Each row is computed alone."""
        return torch.cat([F.linear(row.float(), *self._head) for row in torch.split(hidden, 1)])

    @torch.inference_mode()
    def prefill(self, slot: int, embeddings: Tensor, start: int) -> Tensor:
        """See `GptRunner.prefill`."""
        row = self._row_of[slot]
        self._claim(row, kept=start > 0)
        bound = self._pieces.get(row)
        if bound is None:
            bound = self._pieces[row] = self._bind(row, 1, self.piece)
        hidden = []
        for x in torch.split(embeddings.float(), self.piece):
            count = x.shape[0]
            bound.x[0, :count] = x
            bound.x[0, count:] = 0.0
            bound.seqlens[0] = start + self.piece - 1
            bound.total.fill_(start + self.piece)
            bound.run()
            hidden.append(bound.hidden[0, :count].clone())
            start += count
        self._held[row] = start
        return torch.cat(hidden)

    @torch.inference_mode()
    def step(
        self, slots: Tensor, codes: Tensor, code_positions: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `GptRunner.step`."""
        held = lengths.tolist()
        places = self._places(slots.tolist())
        bound = self._steps[self._rows_for(max(places) + 1)]
        taking = set(places)
        for row in range(bound.rows):
            if row not in taking and row not in self._aside and self._held[row]:
                self._aside[row] = self._data[:, :, row, :, 0].clone()
        bound.seqlens.zero_()
        for row, count in zip(places, held, strict=True):
            self._claim(row, kept=True)
            self._held[row] = count + 1
            bound.seqlens[row] = count
        bound.total.fill_(max(held) + 1)
        index = torch.tensor(places)
        bound.x[index, 0] = self._codes[codes] + self._positions[code_positions]
        bound.run()
        return bound.hidden[index, 0], bound.logits[index, 0]

    @torch.inference_mode()
    def export_prefix(self, slot: int, length: int) -> Tensor:
        """See `GptRunner.export_prefix`; shape (layers, 2, heads, length, head_dim)."""
        row = self._row_of[slot]
        self._claim(row, kept=True)
        return self._data[:, :, row, :, :length].clone()

    @torch.inference_mode()
    def copy_prefix(self, slot: int, prefix: Tensor) -> None:
        """See `GptRunner.copy_prefix`."""
        row = self._row_of[slot]
        self._claim(row, kept=False)
        self._data[:, :, row, :, : prefix.shape[3]] = prefix
        self._held[row] = prefix.shape[3]

    def _rows_for(self, count: int) -> int:
        return next(rows for rows in self.rows if rows >= count)

    def _claim(self, row: int, kept: bool) -> None:
        """Make a row's own first position current again, or forget it where it is overwritten."""
        first = self._aside.pop(row, None)
        if first is not None and kept:
            self._data[:, :, row, :, 0] = first

    def _places(self, slots: Sequence[int]) -> list[int]:
        """Rows of some slots, after moving them up where rows before them were wasted for long."""
        places = [self._row_of[slot] for slot in slots]
        least = self._rows_for(len(slots))
        if max(places) < least:
            self._wasteful = 0
            return places
        self._wasteful += 1
        if self._wasteful <= _PATIENCE:
            return places
        self._wasteful = 0
        free = [row for row in range(least) if row not in places]
        for row, other in zip(sorted(row for row in places if row >= least), free, strict=False):
            self._swap(row, other)
        return [self._row_of[slot] for slot in slots]

    def _swap(self, row: int, other: int) -> None:
        for each in (row, other):
            self._claim(each, kept=True)
        held = max(self._held[row], self._held[other])
        first, second = (self._data[:, :, r, :, :held] for r in (row, other))
        for layer in range(self.config.gpt_layers):
            kept = first[layer].clone()
            first[layer] = second[layer]
            second[layer] = kept
        a, b = self._row_of.index(row), self._row_of.index(other)
        self._row_of[a], self._row_of[b] = other, row
        self._held[row], self._held[other] = self._held[other], self._held[row]


class _Bound:
    """A run over fixed rows: its inputs and outputs as tensors that stay where they are bound."""

    def __init__(self, session: Any, data: Tensor, positions: int, codes: int) -> None:
        """Bind.

        Args:
            session: The graph.
            data: Key-value buffers, shape (layers, 2, rows, heads, length, head_dim).
            positions: Positions that a run feeds to each row.
            codes: Logits of a position.
        """
        layers, _, rows, heads, _, head_dim = data.shape
        self.rows = rows
        self.x = torch.zeros(rows, positions, heads * head_dim)
        self.seqlens = torch.zeros(rows, dtype=torch.int32)
        self.total = torch.zeros((), dtype=torch.int32)
        self.hidden = torch.zeros(rows, positions, heads * head_dim)
        self.logits = torch.zeros(rows, positions, codes)
        self._session = session
        self._binding = binding = session.io_binding()

        def bind(way: Any, name: str, tensor: Tensor) -> None:
            dtype = np.int32 if tensor.dtype == torch.int32 else np.float32
            way(name, "cpu", 0, dtype, list(tensor.shape), tensor.data_ptr())

        for name in ("x", "seqlens", "total"):
            graph_name = "seqlens_k" if name == "seqlens" else name
            bind(binding.bind_input, graph_name, getattr(self, name))
        for name in ("hidden", "logits"):
            bind(binding.bind_output, name, getattr(self, name))
        for layer in range(layers):
            for kind, buffer in zip(("key", "value"), data[layer], strict=True):
                bind(binding.bind_input, f"past.{layer}.{kind}", buffer)
                bind(binding.bind_output, f"present.{layer}.{kind}", buffer)

    def run(self) -> None:
        """Run the graph; results are in `hidden` and `logits`."""
        self._session.run_with_iobinding(self._binding)

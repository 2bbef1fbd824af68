"""Where everything lies: the packed weights, in memory or in a file that is mapped, and the table
of numbers and addresses that the machine code is given.

Weights of a linear layer lie as the products read them, from first to last: for each 16 outputs,
for each 64 inputs, the 8-bit weights (in fours along the inputs, plus 128) and 16 float32 scales.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from livekit_xtts.model.native import team
from livekit_xtts.model.native.assembly import LANES
from livekit_xtts.model.native.kernels import BLOCK, BLOCK_BYTES
from livekit_xtts.model.onnx_graph import quantise
from livekit_xtts.speech import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

    from livekit_xtts.model.config import XttsConfig

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Float32: TypeAlias = npt.NDArray[np.float32]
    Read: TypeAlias = Callable[[str], Float32]

_PAGE = 4096
# The kernels read ahead of what they use.
_MARGIN = 2 * _PAGE


def aligned(count: int, unit: int = 64) -> int:
    """The next multiple of a unit."""
    return -(-count // unit) * unit


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model, as the machine code is made for them.

    Attributes:
        layers: Blocks.
        width: Of the residual stream.
        heads: Of the attention.
        codes: Logits.
        positions: Most positions of a slot.
    """

    layers: int
    width: int
    heads: int
    codes: int
    positions: int

    @classmethod
    def of(cls, config: XttsConfig) -> Sizes:
        """Those of a model.

        Raises:
            ModelError: The kernels are not made for them.
        """
        width, heads = config.gpt_n_model_channels, config.gpt_n_heads
        if width % BLOCK or (width // heads) % LANES:
            raise ModelError(
                f"the compiled step needs a width in multiples of {BLOCK} and heads in multiples"
                f" of {LANES}, not {width} and {width // heads}"
            )
        return cls(
            config.gpt_layers, width, heads, config.gpt_num_audio_tokens, config.max_positions
        )

    @property
    def inner(self) -> int:
        """Width inside the feed-forward parts."""
        return 4 * self.width

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.width // self.heads

    @property
    def code_tiles(self) -> int:
        """Tiles of 16 logits."""
        return -(-self.codes // LANES)

    def linears(self) -> dict[str, tuple[str, int, int]]:
        """Linear layers of a block: name in the checkpoint, inputs, outputs."""
        return {
            "qkv": ("attn.c_attn", self.width, 3 * self.width),
            "projection": ("attn.c_proj", self.width, self.width),
            "inner": ("mlp.c_fc", self.width, self.inner),
            "outer": ("mlp.c_proj", self.inner, self.width),
        }

    def places(self) -> tuple[dict[str, int], int]:
        """Offset of each part of a block in its bytes, and how many bytes a block has."""
        found, at = {}, 0
        parts = {"ln_1": 8 * self.width, "ln_2": 8 * self.width}
        for name, (_, inputs, outputs) in self.linears().items():
            parts[name] = outputs // LANES * (inputs // BLOCK) * BLOCK_BYTES
            parts[f"{name}.bias"] = 4 * outputs
        for name, size in parts.items():
            found[name] = at
            at = aligned(at + size)
        return found, aligned(at, _PAGE)

    @property
    def tail_bytes(self) -> int:
        """Both final norms and the head."""
        return 16 * self.width + 64 * self.code_tiles * (self.width + 1)

    @property
    def weight_bytes(self) -> int:
        """All weights."""
        return self.layers * self.places()[1] + aligned(self.tail_bytes, _PAGE) + _MARGIN


def packed(weight: Float32) -> Bytes:
    """A linear layer's weight (inputs, outputs) in 8 bits, as its bytes lie."""
    values, scales = quantise(weight, BLOCK)
    outputs, blocks, _ = values.shape
    tiles = outputs // LANES
    result = np.empty((tiles, blocks, BLOCK_BYTES), np.uint8)
    quads = values.reshape(tiles, LANES, blocks, BLOCK // 4, 4).transpose(0, 2, 3, 1, 4)
    result[:, :, : BLOCK * LANES] = quads.reshape(tiles, blocks, BLOCK * LANES)
    by_block = np.ascontiguousarray(scales.reshape(tiles, LANES, blocks).transpose(0, 2, 1))
    result[:, :, BLOCK * LANES :] = by_block.view(np.uint8).reshape(tiles, blocks, 4 * LANES)
    return result.reshape(-1)


def write_weights(read: Read, sizes: Sizes, target: Bytes) -> None:
    """Pack a checkpoint's weights, one at a time.

    Args:
        read: Gives a float32 parameter by its name within the GPT (`gpt.h.0.ln_1.weight`).
        sizes: Of the model.
        target: `sizes.weight_bytes` bytes.
    """

    def put(at: int, array: npt.NDArray[Any]) -> int:
        data = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        target[at : at + data.size] = data
        return at + data.size

    places, size = sizes.places()
    for layer in range(sizes.layers):
        start = layer * size
        for name in ("ln_1", "ln_2"):
            at = start + places[name]
            for part in ("weight", "bias"):
                at = put(at, read(f"gpt.h.{layer}.{name}.{part}"))
        for name, (stored, _, _) in sizes.linears().items():
            put(start + places[name], packed(read(f"gpt.h.{layer}.{stored}.weight")))
            put(start + places[f"{name}.bias"], read(f"gpt.h.{layer}.{stored}.bias"))
    at = sizes.layers * size
    for name in ("gpt.ln_f", "final_norm"):
        for part in ("weight", "bias"):
            at = put(at, read(f"{name}.{part}"))
    rows = np.zeros((sizes.code_tiles * LANES, sizes.width), np.float32)
    rows[: sizes.codes] = read("mel_head.weight")
    at = put(at, rows.reshape(-1, LANES, sizes.width).transpose(0, 2, 1))
    put(at, read("mel_head.bias"))


def in_memory(read: Read, sizes: Sizes) -> Bytes:
    """Packed weights in memory."""
    memory: Bytes = np.frombuffer(mmap.mmap(-1, sizes.weight_bytes), np.uint8)
    write_weights(read, sizes, memory)
    return memory


def write_file(read: Read, sizes: Sizes, path: Path) -> None:
    """Packed weights into a file, which is there whole or not at all.

    Raises:
        OSError: It cannot be written, or the disk has no room for it.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w+b") as file:
            # All of it is reserved now: a full disk under mapped memory would end the process.
            os.posix_fallocate(file.fileno(), 0, sizes.weight_bytes)
            target: Bytes = np.frombuffer(mmap.mmap(file.fileno(), 0), np.uint8)
        write_weights(read, sizes, target)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def map_file(path: Path, sizes: Sizes) -> Bytes:
    """A file of packed weights, mapped: processes that map it share its memory.

    Raises:
        ModelError: It is not of this size.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size != sizes.weight_bytes:
            raise ModelError(f"{path} is damaged or of another model: delete it to have it remade")
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    memory.madvise(mmap.MADV_WILLNEED)
    result: Bytes = np.frombuffer(memory, np.uint8)
    return result


FIELDS = (
    *team.FIELDS,
    *("rows", "wanted"),
    *("weights", "keys", "layer_keys", "slot_keys", "length"),
    *("x", "qkv", "attended", "projected", "inner", "outer", "hidden", "logits"),
    *("slots", "positions", "private", "private_bytes"),
)
"""The table's entries, 64 bits each: numbers, and addresses of the buffers."""


@dataclass(frozen=True)
class Private:
    """What each thread has for itself, as offsets in its bytes.

    Every thread brings the rows to 8 bits for itself, so that fewer barriers are needed.
    """

    residual: int
    normed: int
    values: int
    scales: int
    corrections: int
    scores: int
    bytes: int

    @classmethod
    def of(cls, sizes: Sizes, rows: int) -> Private:
        """For so many rows."""
        blocks = sizes.inner // BLOCK
        wanted = {
            "residual": 4 * rows * sizes.width,
            "normed": 4 * sizes.inner,
            "values": rows * (sizes.inner + BLOCK),
            "scales": 4 * rows * blocks,
            "corrections": 4 * rows * blocks,
            "scores": 4 * (sizes.positions + 4 * LANES),
        }
        offsets, at = {}, 0
        for name, size in wanted.items():
            offsets[name] = at
            at = aligned(at + size)
        return cls(**offsets, bytes=aligned(at, _PAGE))

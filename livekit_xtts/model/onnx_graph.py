"""The GPT's step as one ONNX graph with 8-bit weights, written to a file that ONNX Runtime maps.

Every linear layer of the blocks is a `MatMulNBits` node: 8-bit weights in blocks along the inputs,
each block with its own float32 scale, and activations that the kernel brings to 8 bits by row and
block, so that a row's numbers never depend on another row's. Attention is `GroupQueryAttention`
over key-value buffers that the caller owns and binds in place. Norms, residuals and the head stay
in float32. Weights are read, quantised and written one at a time, so little memory is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from livekit_xtts.model.config import XttsConfig

    Float32: TypeAlias = npt.NDArray[np.float32]
    Read: TypeAlias = Callable[[str], Float32]

BLOCK = 64
"""Weights that share a scale. On the processors measured, blocks of 64 and 32 give a row the same
bits in any number of rows; 128 only among even numbers."""

FORMAT = 1
"""Changes whenever a file written before must not be used any more."""

_ALIGNMENT = 4096
_DOMAIN = "com.microsoft"
_EPSILON = 1e-5


def quantise(weight: Float32, block: int = BLOCK) -> tuple[npt.NDArray[np.uint8], Float32]:
    """Bring a weight to 8 bits in blocks, symmetric around 128.

    Args:
        weight: Shape (inputs, outputs).
        block: Weights along the inputs that share a scale.

    Returns:
        Values of shape (outputs, blocks, block) and scales (outputs, blocks): a weight is about
        `(value - 128) * scale`. Inputs that fill no block are padded with zeros.
    """
    inputs, outputs = weight.shape
    blocks = -(-inputs // block)
    rows = np.zeros((outputs, blocks * block), dtype=np.float32)
    rows[:, :inputs] = weight.T
    rows = rows.reshape(outputs, blocks, block)
    scales = np.maximum(rows.max(axis=2), -rows.min(axis=2)) * np.float32(1 / 127)
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > 0)
    rows *= inverse[:, :, None]
    # 128.5 and the cast's cut towards zero together round to the nearest; all values are positive.
    rows += np.float32(128.5)
    return rows.astype(np.uint8), scales


class _Graph:
    """Collects nodes and initialisers; the large ones go straight to the data file."""

    def __init__(self, data: BinaryIO, location: str) -> None:
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []
        self._data = data
        self._location = location

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        """Write an array to the data file, page-aligned so that it can be mapped."""
        from onnx import StringStringEntryProto, TensorProto
        from onnx.helper import np_dtype_to_tensor_dtype

        offset = -(-self._data.tell() // _ALIGNMENT) * _ALIGNMENT
        self._data.seek(offset)
        array = np.ascontiguousarray(array)
        self._data.write(array.data)
        tensor = TensorProto(
            name=name,
            dims=array.shape,
            data_type=np_dtype_to_tensor_dtype(array.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        entries = {"location": self._location, "offset": offset, "length": array.nbytes}
        tensor.external_data.extend(
            StringStringEntryProto(key=key, value=str(value)) for key, value in entries.items()
        )
        self.initialisers.append(tensor)
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        """Add a node; returns its first output."""
        from onnx import helper

        domain = "" if kind in ("LayerNormalization", "MatMul", "Add") else _DOMAIN
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def linear(self, name: str, read: Read, x: str, block: int) -> str:
        """A layer of the checkpoint, quantised."""
        weight = read(f"{name}.weight")
        values, scales = quantise(weight, block)
        inputs = [
            x,
            self.constant(f"{name}.values", values),
            self.constant(f"{name}.scales", scales),
            "",
            "",
            self.constant(f"{name}.bias", read(f"{name}.bias")),
        ]
        return self.node(
            "MatMulNBits",
            inputs,
            [f"{name}.out"],
            K=weight.shape[0],
            N=weight.shape[1],
            bits=8,
            block_size=block,
            accuracy_level=4,
        )


def write_graph(read: Read, config: XttsConfig, path: Path, *, block: int = BLOCK) -> None:
    """Write the step's graph to `path` and its weights beside it (`path` with `.data`).

    Inputs: `x` (rows, positions, width) embeddings, `seqlens_k` (rows,) positions held after the
    step less one, `total` () the largest of them plus one, and `past.N.key` / `past.N.value`
    (rows, heads, length, head_dim). Outputs: `hidden` (rows, positions, width) after both final
    norms, `logits` (rows, positions, codes), and `present.…`, to be bound to the `past.…` buffers.

    Args:
        read: Gives a float32 parameter by its name within the GPT (`gpt.h.0.ln_1.weight`).
        config: Sizes.
        path: The file to write.
        block: Weights that share a scale.
    """
    from onnx import TensorProto, helper

    heads, width = config.gpt_n_heads, config.gpt_n_model_channels
    data_path = path.with_name(path.name + ".data")
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "positions", width]),
        helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, ["rows"]),
        helper.make_tensor_value_info("total", TensorProto.INT32, []),
    ]
    outputs = [
        helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["rows", "positions", width]),
        helper.make_tensor_value_info(
            "logits", TensorProto.FLOAT, ["rows", "positions", config.gpt_num_audio_tokens]
        ),
    ]
    buffer: list[str | int | None] = ["rows", heads, "length", width // heads]
    with data_path.open("wb") as data:
        graph = _Graph(data, data_path.name)

        def norm(name: str) -> list[str]:
            parts = ("weight", "bias")
            return [graph.constant(f"{name}.{p}", read(f"{name}.{p}")) for p in parts]

        residual, branch = "x", ""
        for index in range(config.gpt_layers):
            block_name = f"gpt.h.{index}"
            normed, residual = _normed(graph, residual, branch, norm(f"{block_name}.ln_1"))
            qkv = graph.linear(f"{block_name}.attn.c_attn", read, normed, block)
            for kind in ("key", "value"):
                for end, infos in (("past", inputs), ("present", outputs)):
                    name = f"{end}.{index}.{kind}"
                    infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, buffer))
            attended = graph.node(
                "GroupQueryAttention",
                [qkv, "", "", f"past.{index}.key", f"past.{index}.value", "seqlens_k", "total"],
                [f"{block_name}.attended", f"present.{index}.key", f"present.{index}.value"],
                num_heads=heads,
                kv_num_heads=heads,
            )
            branch = graph.linear(f"{block_name}.attn.c_proj", read, attended, block)
            normed, residual = _normed(graph, residual, branch, norm(f"{block_name}.ln_2"))
            inner = graph.linear(f"{block_name}.mlp.c_fc", read, normed, block)
            inner = graph.node("FastGelu", [inner], [f"{block_name}.gelu"])
            branch = graph.linear(f"{block_name}.mlp.c_proj", read, inner, block)
        normed, _ = _normed(graph, residual, branch, norm("gpt.ln_f"))
        hidden = graph.node(
            "LayerNormalization", [normed, *norm("final_norm")], ["hidden"], epsilon=_EPSILON
        )
        head = graph.constant("mel_head.weight", read("mel_head.weight").T)
        scores = graph.node("MatMul", [hidden, head], ["scores"])
        bias = graph.constant("mel_head.bias", read("mel_head.bias"))
        graph.node("Add", [scores, bias], ["logits"])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "gpt_step", inputs, outputs, graph.initialisers),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(_DOMAIN, 1)],
        producer_name="livekit_xtts",
        ir_version=8,
    )
    path.write_bytes(model.SerializeToString())


def _normed(graph: _Graph, residual: str, branch: str, norm: list[str]) -> tuple[str, str]:
    """Add a branch to the residual and norm the sum; names of the normed sum and of the sum."""
    name = norm[0].removesuffix(".weight")
    if not branch:
        return (
            graph.node(
                "LayerNormalization", [residual, *norm], [f"{name}.normed"], epsilon=_EPSILON
            ),
            residual,
        )
    total = f"{name}.sum"
    graph.node(
        "SkipLayerNormalization",
        [residual, branch, *norm],
        [f"{name}.normed", "", "", total],
        epsilon=_EPSILON,
    )
    return f"{name}.normed", total

"""Weight files as named tensors: published `model.pth` files without pickled code, safetensors."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from livekit_xtts.speech import ModelError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LONGEST_HEADER = 100 * 1024 * 1024

# Classes of the reference implementation that old published checkpoints hold beside the weights.
# They are read into inert stand-ins; nothing of them is used.
_STAND_INS = (
    "TTS.tts.configs.xtts_config.XttsConfig",
    "TTS.tts.configs.xtts_config.XttsArgs",
    "TTS.tts.configs.xtts_config.XttsAudioConfig",
    "TTS.tts.models.xtts.XttsArgs",
    "TTS.tts.models.xtts.XttsAudioConfig",
    "TTS.config.shared_configs.BaseDatasetConfig",
)


class _StandIn:
    """Takes any state and does nothing with it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


@dataclass(frozen=True)
class Weights:
    """The tensors of an open weight file.

    Attributes:
        name: What messages call the file.
        shapes: Shape of every tensor.
        read: Reads one, into memory of its own, as stored.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], Tensor]


def open_weights(path: Path, stack: ExitStack) -> Weights:
    """Open a weight file.

    Args:
        path: A `.safetensors` file, or a PyTorch checkpoint.
        stack: Closes the file.

    Raises:
        ModelError: The file is damaged, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        return _open_safetensors(path, stack.enter_context(path.open("rb", buffering=0)))
    return _open_checkpoint(path)


def _open_checkpoint(path: Path) -> Weights:
    content: Any = None
    stand_ins = [(type(name.rpartition(".")[2], (_StandIn,), {}), name) for name in _STAND_INS]
    # Mapped, so that optimiser state and the like are never read; files older than PyTorch's zip
    # format cannot be mapped.
    for mapped in (True, False):
        try:
            with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
            break
        except pickle.UnpicklingError as error:
            if mapped:
                continue
            raise ModelError(
                f"{path} is damaged, or holds Python objects besides weights, which are not"
                f" loaded: {_first_line(error)}"
            ) from error
        except Exception as error:
            if mapped:
                continue
            raise ModelError(
                f"{path} is damaged or not a PyTorch checkpoint ({_first_line(error)}):"
                " fetch it again"
            ) from error
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise ModelError(f"{path} holds no model weights (found {type(content).__name__})")
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelError(f"{path} holds no model weights")
    return Weights(
        name=str(path),
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        read=lambda name: tensors[name].clone(memory_format=torch.contiguous_format),
    )


def _open_safetensors(path: Path, file: BinaryIO) -> Weights:
    """Read tensors straight into memory of their own: mapped ones would count twice."""
    size = path.stat().st_size
    try:
        header_size = int.from_bytes(_read_exactly(file, 8), "little")
        if not 2 <= header_size <= min(_LONGEST_HEADER, size - 8):
            raise ValueError("the header does not fit the file")
        header = json.loads(_read_exactly(file, header_size))
        header.pop("__metadata__", None)
        start = 8 + header_size
        entries = {name: _entry(name, entry, size - start) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise ModelError(f"{path} is damaged ({_first_line(error)}): fetch it again") from error

    def read(name: str) -> Tensor:
        dtype, shape, begin, end = entries[name]
        raw = torch.empty(end - begin, dtype=torch.uint8)
        view = memoryview(raw.numpy().data)
        file.seek(start + begin)
        done = 0
        while done < len(view):
            count = file.readinto(view[done:])  # type: ignore[attr-defined]
            if not count:
                raise ModelError(f"{path} is cut short: fetch it again")
            done += count
        return raw.view(dtype).view(shape)

    return Weights(str(path), {name: entry[1] for name, entry in entries.items()}, read)


def _entry(name: str, entry: Any, size: int) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    """One tensor of a safetensors header, checked."""
    dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if not all(isinstance(number, int) and number >= 0 for number in (*shape, begin, end)):
        raise ValueError(f"the entry of {name} is not made of whole numbers")
    count = 1
    for number in shape:
        count *= number
    if end > size or end - begin != count * dtype.itemsize:
        raise ValueError(f"the entry of {name} does not fit the file")
    return dtype, shape, begin, end


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if data is None or len(data) != count:
        raise EOFError("the file ends in its header")
    return data


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

"""Loading a model without the weights that the chosen precision has no use for."""

from __future__ import annotations

import ctypes
import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from livekit_xtts.model.checkpoint import CONFIG_FILE, WEIGHT_FILES, _empty_model
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.weights import open_weights
from livekit_xtts.speech import ModelError

if TYPE_CHECKING:
    from livekit_xtts.model.xtts import XttsModel


def load_without(folder: Path, pattern: str, fingerprint: str) -> XttsModel | None:
    """Load a model on the CPU in float32, but for some of its parameters.

    Args:
        folder: Holds `config.json` and `model.safetensors` with the model's own names.
        pattern: Regular expression at the start of the names that are left out; they stay on the
            "meta" device.
        fingerprint: Of the whole model.

    Returns:
        The model; None where the file is of another kind, and `load_model` has to read it.

    Raises:
        ModelError: The file is damaged.
    """
    path = folder / WEIGHT_FILES[0]
    if not path.is_file():
        return None
    model = _empty_model(XttsConfig.from_json(folder / CONFIG_FILE))
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    with ExitStack() as stack:
        try:
            weights = open_weights(path, stack)
            if any(weights.shapes.get(name) != shape for name, shape in expected.items()):
                return None
            state = {
                name: _as_float32(weights.read(name))
                for name in expected
                if not re.match(pattern, name)
            }
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
    model.load_state_dict(state, assign=True, strict=False)
    # A cached property: the value takes the place of what it would compute.
    model.__dict__["fingerprint"] = fingerprint
    return model.requires_grad_(False)


def _as_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def give_back() -> bool:
    """Return memory that was freed but is still the process's to the system.

    Loading and judging leave holes of some hundred megabytes between what stays.

    Returns:
        Whether the C library has such a call (glibc does).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is None:
        return False
    trim(0)
    return True

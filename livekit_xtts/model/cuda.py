"""What a GPU does otherwise by itself: rounded convolutions, copies that are waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, without waiting for what the device does.

    Args:
        tensor: On the host, nobody else's.
        device: Where it goes.
    """
    if device.type == "cuda":
        # From other memory than page-locked the copy waits for all that was launched before.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Keep a GPU from rounding the inputs of float32 convolutions to 10 bits, as it does by itself.

    The setting is the process's; it is as it was before when the block ends.
    """
    cudnn: Any = torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before

"""Convolutions in float32 that are computed in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


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

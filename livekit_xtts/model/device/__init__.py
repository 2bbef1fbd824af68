"""The model on a GPU: kernels written in Triton, and what is made of them."""

from __future__ import annotations

import importlib.util

import torch


def missing(device: torch.device) -> str:
    """Why the kernels cannot be had on a device; "" where they can.

    Args:
        device: Where the model is.
    """
    if device.type != "cuda":
        return "they are made for CUDA devices"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability(device) < (7, 0):
        return f"{torch.cuda.get_device_name(device)} has no units for matrix products"
    return ""

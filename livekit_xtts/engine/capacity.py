"""How many slots an engine has, and how long each is, by the memory there is.

A slot holds one request's keys and values, its latents and its sampling state. On a CPU memory is
used as far as requests have reached, so slots are as long as the model allows, and a number of them
that was asked for is never too many; a device gives all of it at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

from livekit_xtts.speech import ModelError

if TYPE_CHECKING:
    from livekit_xtts.model.config import XttsConfig

Slots: TypeAlias = "int | Literal['auto'] | None"

CPU_SLOTS = 8
"""What is taken on a CPU at most where no number is given: more than any processor sustains."""

USUAL_SLOTS, USUAL_SHARE = 64, 0.5
"""What is taken on a device where nothing is said: at most so many, in so much of what is free."""

DEVICE_SLOTS = 1024
"""What "auto" takes on a device at most."""

SHORT = 640
"""Positions of a slot that hold any segment the package cuts by itself: prompts of up to 150 ids
and 20 s of speech. Longer speech than fits is ended there, longer texts are refused."""

WANTED = 256
"""A device that has room for so many of the longest slots gets those, else short ones."""

SHARE = 0.85
"""Of the free memory; the rest is for what pieces of work need while they run."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an engine's slots are.

    Attributes:
        slots: How many.
        length: Positions of each.
        bytes: What they take at most.
    """

    slots: int
    length: int
    bytes: int


def slot_bytes(config: XttsConfig, length: int, itemsize: int) -> int:
    """Memory of one slot.

    Args:
        config: Sizes.
        length: Positions.
        itemsize: Bytes of a key's or value's number.
    """
    width = config.gpt_n_model_channels
    keys_and_values = 2 * config.gpt_layers * width * itemsize * length
    return keys_and_values + config.max_codes * (4 * width + 4) + 1024 * 16


def free_bytes(device: torch.device) -> int | None:
    """Memory that could still be had; None where that cannot be told."""
    if device.type == "cuda":
        cuda: Any = torch.cuda
        free, _ = cuda.mem_get_info(device)
        return int(free)
    if device.type != "cpu":
        return None
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def choose(
    config: XttsConfig,
    device: torch.device,
    slots: Slots,
    length: int | None = None,
    *,
    itemsize: int,
    free: int | None,
) -> Capacity:
    """Slots for an engine.

    Args:
        config: Sizes.
        device: Where keys and values are.
        slots: As asked for; a number is respected, None takes what is usual.
        length: Positions of each as asked for; None for what fits.
        itemsize: Bytes of a key's or value's number.
        free: Memory there is; None where that is unknown.

    Raises:
        ModelError: So many cannot fit; the message says what would.
    """
    longest = min(length or config.max_positions, config.max_positions)
    lengths = (longest,) if length or device.type == "cpu" else (longest, min(SHORT, longest))
    if slots is None and (device.type == "cpu" or free is None):
        slots = CPU_SLOTS
    lazy = device.type == "cpu" and slots != "auto"
    room = None if free is None or lazy else int(SHARE * free)
    most = CPU_SLOTS if device.type == "cpu" else DEVICE_SLOTS

    def fit(positions: int) -> int | None:
        return None if room is None else room // slot_bytes(config, positions, itemsize)

    if slots is None:
        assert free is not None
        for positions in lengths:
            count = int(USUAL_SHARE * free) // slot_bytes(config, positions, itemsize)
            if count >= CPU_SLOTS:
                count = min(USUAL_SLOTS, count)
                return Capacity(count, positions, count * slot_bytes(config, positions, itemsize))
        slots = CPU_SLOTS
    if slots != "auto":
        for positions in lengths:
            fitting = fit(positions)
            if fitting is None or slots <= fitting:
                return Capacity(slots, positions, slots * slot_bytes(config, positions, itemsize))
        positions = lengths[-1]
        raise ModelError(
            f"slots={slots} of {positions} positions need"
            f" {slots * slot_bytes(config, positions, itemsize) / 1e9:.2f} GB, and {device} has"
            f" {(room or 0) / 1e9:.2f} GB to spare: use slots={max(1, fit(positions) or 0)},"
            ' slots="auto", or shorter slots (slot_positions=)'
        )
    for positions in lengths:
        fitting = fit(positions)
        count = min(most, CPU_SLOTS if fitting is None else fitting)
        if count >= min(WANTED, most) or positions == lengths[-1]:
            break
    if count < 1:
        raise ModelError(
            f"{device} has no room for keys and values of a single request"
            f" ({slot_bytes(config, positions, itemsize) / 1e9:.2f} GB): use another device"
        )
    return Capacity(count, positions, count * slot_bytes(config, positions, itemsize))


def itemsize_of(precision: str, device: torch.device) -> int:
    """Bytes of a key's or value's number, as far as a precision's name tells."""
    whole = device.type == "cpu" or precision.split("+")[0] == "fp32"
    return 4 if whole else 2

"""Windows of many utterances as one packed batch: tables that say what comes from where.

All of it is whole numbers and a few weights, made on the host without a look at the device, and
goes there in one copy. Each table has room for a fixed number of entries, so that what works on it
can be captured in a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.device.convolve import Bounds
from livekit_xtts.model.streaming import Window
from livekit_xtts.model.vocoder import stretches

SPARE = 256
"""Entries of an interpolation's table beyond the frames: windows need a few more inputs each."""

Level = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Of an interpolation: left input and right input of each output, and the right one's share."""


@lru_cache(maxsize=64)
def levels(config: XttsConfig) -> int:
    """Interpolations between latents and frames, the one for the speed always among them."""
    return len(stretches(config, 1.0)) + 1


@lru_cache(maxsize=4096)
def window_levels(config: XttsConfig, window: Window) -> tuple[Level, ...]:
    """A window's interpolations, counted from its own first latent; `levels` of them."""
    made: list[Level] = []
    origin = window.code_start
    parts = stretches(config, window.speed)
    for part, (start, stop, inputs) in zip(parts, window.ranges, strict=True):
        if part.copies and part.length(inputs) == inputs:
            left = right = np.arange(start, stop)
            weight = np.zeros(stop - start, np.float32)
        else:
            left, weight = part.left[start:stop], part.weight[start:stop]
            # As `Stretch.apply`: a position that coincides with an input needs no neighbour.
            right = np.where(weight == 0, left, np.minimum(left + 1, inputs - 1))
        made.append(((left - origin).astype(np.int32), (right - origin).astype(np.int32), weight))
        origin = start
    same = np.arange(window.code_stop - window.code_start, dtype=np.int32)
    while len(made) < levels(config):
        made.insert(0, (same, same, np.zeros(len(same), np.float32)))
    return tuple(made)


class Tables:
    """Tables of a batch, on the device.

    Args:
        config: Rates.
        frames: Frames that there is room for.
        device: Where.

    Attributes:
        bounds: Where the windows lie.
        steps: For each interpolation left inputs, right inputs and the right ones' share.
    """

    def __init__(self, config: XttsConfig, frames: int, device: torch.device) -> None:
        self.config = config
        self.frames = frames
        self.room = room = frames + SPARE
        count = levels(config)
        size = 3 * room * count + 3 * frames + 1
        self._table = table = torch.zeros(size, dtype=torch.int32, device=device)
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []
        for index in range(count):
            left, right, weight = table[3 * room * index :][: 3 * room].view(3, room).unbind(0)
            self.steps.append((left, right, weight.view(torch.float32)))
        rest = table[3 * room * count :]
        firsts, ends, owners = rest[: 3 * frames].view(3, frames).unbind(0)
        self.bounds = Bounds(firsts, ends, owners, rest[3 * frames :])

    def fits(self, windows: Sequence[Window]) -> bool:
        """Whether there is room for these windows."""
        return (
            sum(window.frames for window in windows) <= self.frames
            and sum(window.code_stop - window.code_start for window in windows) <= self.room
            and sum(len(window_levels(self.config, w)[-2][0]) for w in windows) <= self.room
        )

    def fill(self, windows: Sequence[Window]) -> None:
        """Set the tables for windows that lie one after another; does not wait for the device.

        Args:
            windows: None of them empty.
        """
        room, frames = self.room, self.frames
        host = np.zeros(len(self._table), np.int32)
        parts = [window_levels(self.config, window) for window in windows]
        sizes = [window.code_stop - window.code_start for window in windows]
        for index in range(len(self.steps)):
            table = host[3 * room * index :][: 3 * room].reshape(3, room)
            at = source = 0
            for number, part in enumerate(parts):
                left, right, weight = part[index]
                stop = at + len(left)
                table[0, at:stop] = left + source
                table[1, at:stop] = right + source
                table[2, at:stop] = weight.view(np.int32)
                source += sizes[number]
                sizes[number] = len(left)
                at = stop
        rest = host[3 * room * len(self.steps) :]
        bounds = rest[: 3 * frames].reshape(3, frames)
        at = 0
        for number, size in enumerate(sizes):
            bounds[0, at : at + size] = at
            bounds[1, at : at + size] = at + size
            bounds[2, at : at + size] = number
            at += size
        rest[-1] = at
        given = torch.from_numpy(host)
        if self._table.device.type == "cuda":
            given = given.pin_memory()
        self._table.copy_(given, non_blocking=True)


def plain_bounds(batch: int, frames: int, device: torch.device) -> Bounds:
    """Bounds of signals of equal length."""
    owners = torch.arange(batch, device=device, dtype=torch.int32).repeat_interleave(frames)
    firsts = owners * frames
    total = torch.full((1,), batch * frames, dtype=torch.int32, device=device)
    return Bounds(firsts, firsts + frames, owners, total)

"""One step of all chosen rows, from the codes drawn last to the codes drawn now, on the device.

Everything a step needs from the step before stays on the device, by slot; the host only says which
slots take part and how far each is. So a step can be launched before the one before it has been
read, and can be captured in a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from livekit_xtts.engine.sampler import Sampler
from livekit_xtts.model.cuda import moved

if TYPE_CHECKING:
    from livekit_xtts.model.gpt import GptRunner


class HostCopy:
    """A tensor on its way to the host; on a CPU it is there already.

    Args:
        tensor: On any device.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._event: Any = None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            cuda: Any = torch.cuda
            self._event = cuda.Event()
            self._event.record(cuda.current_stream(tensor.device))
        else:
            self._host = tensor.detach().cpu()

    @property
    def ready(self) -> bool:
        """Whether `wait` would return at once."""
        return self._event is None or bool(self._event.query())

    def wait(self) -> Tensor:
        """The tensor on the host, waiting for the device if need be."""
        if self._event is not None:
            self._event.synchronize()
        return self._host


class HostPart:
    """A stretch of a `HostCopy` that several share; used as one.

    Args:
        copy: The whole.
        start: Where the stretch begins.
        stop: Where it ends.
    """

    def __init__(self, copy: HostCopy, start: int, stop: int) -> None:
        self._copy = copy
        self._span = slice(start, stop)

    @property
    def ready(self) -> bool:
        """Whether `wait` would return at once."""
        return self._copy.ready

    def wait(self) -> Tensor:
        """The stretch on the host, waiting for the device if need be."""
        return self._copy.wait()[self._span]


def host_copies(tensors: Sequence[Tensor]) -> Sequence[HostCopy | HostPart]:
    """One-dimensional tensors on their way to the host: from a device all in one copy."""
    if len(tensors) < 2 or tensors[0].device.type == "cpu":
        return [HostCopy(tensor) for tensor in tensors]
    copy, at = HostCopy(torch.cat(list(tensors))), 0
    parts = []
    for tensor in tensors:
        parts.append(HostPart(copy, at, at + len(tensor)))
        at += len(tensor)
    return parts


@dataclass(frozen=True, slots=True)
class Rows:
    """Which slots take part in a step, and where each of them is.

    Attributes:
        slots: Slot of each row.
        positions: Index of the code that each row draws; its input is the code before that.
        lengths: Positions of keys and values that each row has so far.
    """

    slots: tuple[int, ...]
    positions: tuple[int, ...]
    lengths: tuple[int, ...]


class Stepper:
    """Runs steps and keeps, by slot, the last codes and all latents.

    Args:
        runner: Drives the GPT.
        sampler: Draws the codes; has as many slots as the runner.
        positions: Most codes of one request.
    """

    def __init__(self, runner: GptRunner, sampler: Sampler, positions: int) -> None:
        self.runner = runner
        self.sampler = sampler
        self.device = runner.device
        self._last = torch.zeros(runner.slots, dtype=torch.long, device=self.device)
        self._positions = positions
        self._latents: Tensor | None = None

    def first(self, slots: Sequence[int], hidden: Tensor) -> HostCopy:
        """Draw requests' first codes from the last hidden states of their prompts.

        Args:
            slots: Their slots.
            hidden: Shape (requests, width).

        Returns:
            The codes, shape (requests,), on their way to the host.
        """
        none = (0,) * len(slots)
        rows, positions, _ = self.indices(Rows(tuple(slots), none, none))
        return HostCopy(self._draw(rows, positions, hidden, self.runner.logits(hidden)))

    def body(self, slots: Tensor, positions: Tensor, lengths: Tensor) -> Tensor:
        """The step itself, on tensors; what a graph captures.

        Args:
            slots: Shape (rows,), long, as `Rows` says; so are the others.
            positions: Index of the code that each row draws.
            lengths: Positions of keys and values so far.

        Returns:
            The codes drawn, shape (rows,), long; `sampler.NOT_FINITE` for a row gone wrong.
        """
        latents, logits = self.runner.step(slots, self._last[slots], positions, lengths)
        return self._draw(slots, positions, latents, logits)

    def _draw(self, slots: Tensor, positions: Tensor, latents: Tensor, logits: Tensor) -> Tensor:
        # The vocoder takes float32, whatever the runner works in.
        latents = latents.float()
        if self._latents is None:
            self._latents = latents.new_zeros(self.runner.slots, self._positions, latents.shape[-1])
        self._latents[slots, positions] = latents
        codes = self.sampler.draw(slots, logits, positions)
        self._last[slots] = codes.clamp(min=0)
        return codes

    def launch(self, rows: Rows) -> HostCopy:
        """Start a step; returns the codes on their way to the host."""
        return HostCopy(self.body(*self.indices(rows)))

    def indices(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """The rows' numbers on the device, without waiting for it."""
        table = torch.tensor([rows.slots, rows.positions, rows.lengths], dtype=torch.long)
        slots, positions, lengths = moved(table, self.device).unbind(0)
        return slots, positions, lengths

    def scratch(self) -> list[Tensor]:
        """Tensors whose contents nobody needs while no slot is taken."""
        return [
            self._last,
            *self.sampler.scratch(),
            *([] if self._latents is None else [self._latents]),
        ]

    def release(self) -> None:
        """Give up what knows addresses of weights; nothing here."""

    def latents(self, slot: int, start: int, stop: int) -> Tensor:
        """A view of a slot's latents, shape (stop - start, width)."""
        if self._latents is None:
            raise RuntimeError("no step has run yet")
        return self._latents[slot, start:stop]


def pick_bucket(buckets: Sequence[int], rows: int) -> int:
    """The smallest bucket that holds so many rows.

    Raises:
        ValueError: No bucket does.
    """
    for bucket in sorted(buckets):
        if bucket >= rows:
            return bucket
    raise ValueError(f"{rows} rows fit none of the buckets {tuple(buckets)}")

"""Steps as captured CUDA graphs, one per number of rows: one launch instead of hundreds.

A graph works on fixed tensors: the table of slots, positions and lengths is copied into them
before each replay, and rows that pad a bucket point to a scratch slot that belongs to no request.
Everything else a step touches (keys and values, last codes, sampling state, latents) is kept by
slot in tensors that never move. Without CUDA, or where a capture fails, steps run as they are.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from livekit_xtts.engine.sampler import Sampler
from livekit_xtts.engine.step import HostCopy, Rows, Stepper, pick_bucket

if TYPE_CHECKING:
    from livekit_xtts.model.runner import GptRunner

logger = logging.getLogger(__name__)

Capture: TypeAlias = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Captures a function without arguments; gives what replays it, and its result's fixed tensor."""

_SIZES = (4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_WARM_UPS = 3


def buckets(slots: int) -> tuple[int, ...]:
    """Row counts to capture for an engine of so many slots; the last holds them all."""
    smaller = tuple(size for size in _SIZES if size < slots)
    return (*smaller, -(-slots // 4) * 4)


def cuda_capture() -> Capture:
    """Captures on the current CUDA device, on one stream; graphs share one pool of memory.

    The stream is its own: torch's is of whichever device captured first, and what libraries keep
    for a stream would otherwise be made during the capture, in the graphs' memory.
    """
    cuda: Any = torch.cuda
    stream = cuda.Stream()
    live: weakref.WeakSet[Any] = weakref.WeakSet()
    pools: list[Any] = []

    def capture(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        if not live:
            # A pool that no graph uses any more cannot be joined.
            pools[:] = [cuda.graph_pool_handle()]
        stream.wait_stream(cuda.current_stream())
        graph = cuda.CUDAGraph()
        # Left in any case, also where the capture fails.
        with cuda.stream(stream):
            for _ in range(_WARM_UPS):
                work()
            with cuda.graph(graph, pool=pools[0], stream=stream, capture_error_mode="thread_local"):
                result = work()
        cuda.current_stream().wait_stream(stream)
        live.add(graph)
        return graph.replay, result

    return capture


class GraphedStepper(Stepper):
    """A `Stepper` whose steps are replayed.

    Args:
        runner: Drives the GPT; its last slot is the scratch slot.
        sampler: Has as many slots as the runner.
        positions: Most codes of one request.
        sizes: Row counts to capture; the last holds all slots but the scratch slot.
        capture: How; `cuda_capture()` on a GPU.
    """

    def __init__(
        self,
        runner: GptRunner,
        sampler: Sampler,
        positions: int,
        *,
        sizes: Sequence[int],
        capture: Capture,
    ) -> None:
        super().__init__(runner, sampler, positions)
        self._scratch = runner.slots - 1
        self._sizes = tuple(sizes)
        self._graphs: dict[int, tuple[Tensor, Callable[[], None], Tensor]] = {}
        self._capture: Capture | None = capture
        # The largest first: the smaller ones then fit into its memory.
        for size in sorted(self._sizes, reverse=True):
            self._add(size)

    @property
    def captured(self) -> tuple[int, ...]:
        """Row counts that are replayed; empty where a capture failed."""
        return tuple(sorted(self._graphs))

    def release(self) -> None:
        """Give up the graphs, which know addresses of weights that move; made again when used."""
        self._graphs.clear()

    def _add(self, size: int) -> None:
        if self._capture is None:
            return
        try:
            self._graphs[size] = self._captured(size, self._capture)
        except RuntimeError as error:
            logger.warning("steps run without CUDA graphs: capturing one failed (%s)", error)
            self._graphs.clear()
            self._capture = None

    @torch.no_grad()
    def _captured(self, size: int, capture: Capture) -> tuple[Tensor, Callable[[], None], Tensor]:
        table = self._padded(Rows((), (), ()), size).to(self.device)
        slots, positions, lengths = table.unbind(0)
        # Once outside: what is made at the first step must not be made inside a graph.
        self.body(slots, positions, lengths)
        replay, codes = capture(lambda: self.body(slots, positions, lengths))
        return table, replay, codes

    def _padded(self, rows: Rows, size: int) -> Tensor:
        missing = size - len(rows.slots)
        return torch.tensor(
            [
                (*rows.slots, *(self._scratch,) * missing),
                (*rows.positions, *(0,) * missing),
                (*rows.lengths, *(0,) * missing),
            ],
            dtype=torch.long,
        )

    def launch(self, rows: Rows) -> HostCopy:
        """Start a step; returns the codes on their way to the host."""
        size = pick_bucket(self._sizes, len(rows.slots))
        if size not in self._graphs:
            self._add(size)
        if self._capture is None:
            return super().launch(rows)
        table, replay, codes = self._graphs[size]
        given = self._padded(rows, size)
        if self.device.type == "cuda":
            given = given.pin_memory()
        table.copy_(given, non_blocking=True)
        replay()
        # In order on the stream: copied out before the next replay overwrites it.
        return HostCopy(codes[: len(rows.slots)].clone())

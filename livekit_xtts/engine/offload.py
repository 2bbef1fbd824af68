"""A model's memory given back to its device while nobody speaks, for devices shared with others.

What moves are the tensors' storages: their contents go to the host and the storages shrink to
nothing, while every tensor and every view of one stays the object it is. On the way back the
storages grow and are filled again. Weights never change, so their host copies are kept: the second
time only the device's memory has to be given back. Keys and values, latents and noise belong to no
request while nobody speaks; they are not copied, and come back as zeros.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from livekit_xtts.speech import EngineClosedError, EngineFailedError, SpeechError

logger = logging.getLogger(__name__)

_BLOCK = 1 << 28


@dataclass(frozen=True, slots=True)
class OffloadStats:
    """What offloading has done so far.

    Attributes:
        offloaded: Whether the model is on the host now.
        times: How often it went there.
        bytes: Memory of the device that it gave back the last time.
        offload_s: What that took, in seconds; NaN before the first time.
        return_s: What the last return took, in seconds; NaN before the first.
    """

    offloaded: bool = False
    times: int = 0
    bytes: int = 0
    offload_s: float = float("nan")
    return_s: float = float("nan")


def tensors_of(*roots: object) -> Iterator[Tensor]:
    """Every tensor that objects of this package and torch modules hold, at any depth.

    What has a class attribute `transient` is left out: it is given up before a model leaves.
    """
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        found = stack.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if getattr(type(found), "transient", False):
            continue
        if isinstance(found, Tensor):
            yield found
        elif isinstance(found, Mapping):
            stack.extend(found.values())
        elif isinstance(found, list | tuple | set | frozenset):
            stack.extend(found)
        elif isinstance(found, nn.Module) or type(found).__module__.startswith("livekit_xtts."):
            stack.extend(getattr(found, "__dict__", {}).values())
            slots = (
                name for kind in type(found).__mro__ for name in getattr(kind, "__slots__", ())
            )
            stack.extend(getattr(found, name, None) for name in slots)


class Residence:
    """Where a model is: on its device, or on the host for the time being.

    Only the engine's thread moves it; others that need it there use `held`.

    Args:
        after_s: Seconds without work after which it leaves.
        device: Its device.
        weights: Gives the objects whose tensors are kept.
        scratch: Gives tensors whose contents need not be kept.
        release: Called before it leaves: drops what refers to addresses (captured graphs).
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        after_s: float,
        device: torch.device,
        weights: Callable[[], Iterable[object]],
        scratch: Callable[[], Iterable[Tensor]],
        release: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.after_s = after_s
        self.stats = OffloadStats()
        self._device = device
        self._weights = weights
        self._scratch = scratch
        self._release = release
        self._clock = clock
        self._changed = threading.Condition()
        self._users = 0
        self._failure: Exception | None = None
        self._closed = False
        self._idle_since: float | None = None
        self._kept: dict[int, tuple[Any, Tensor]] = {}
        self._gone: list[tuple[Any, int, Tensor | None]] = []

    @property
    def away(self) -> bool:
        """Whether the model is on the host."""
        return self.stats.offloaded

    @property
    def wanted(self) -> bool:
        """Whether somebody beside the engine's thread needs the model on its device."""
        return self._users > 0

    @contextmanager
    def held(self, wake: Callable[[], object]) -> Iterator[None]:
        """Have the model on its device, from another thread; waits for its return.

        Args:
            wake: Makes the engine's thread look.

        Raises:
            EngineFailedError: It could not come back.
            EngineClosedError: The engine was closed.
        """
        with self._changed:
            self._users += 1
            self._failure = None
        wake()
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self.away or self._failure or self._closed)
                if self._closed:
                    raise EngineClosedError("the engine was closed")
                if self.away and self._failure is not None:
                    raise self._failure
            yield
        finally:
            with self._changed:
                self._users -= 1
            wake()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def busy(self) -> None:
        """The engine has work."""
        self._idle_since = None

    def due_s(self) -> float | None:
        """Seconds until the model leaves if there is no work; None while it does not."""
        if self.away or self.wanted or self.after_s == float("inf"):
            return None
        now = self._clock()
        if self._idle_since is None:
            self._idle_since = now
        return max(0.0, self._idle_since + self.after_s - now)

    def leave(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Move to the host; where that fails, stay, and do not try again.

        Args:
            stop: Asked between storages; true where there is work again, and the model stays.
        """
        began = self._clock()
        try:
            self._copy_out(stop)
        except (RuntimeError, MemoryError) as error:
            logger.warning("the model stays on %s: offloading it failed (%s)", self._device, error)
            self._gone.clear()
            self.after_s = float("inf")
            return
        with self._changed:
            if stop() or self.wanted or not self._gone:
                self._gone.clear()
                return
            self._release()
            for storage, _, _ in self._gone:
                storage.resize_(0)
            self._free()
            self.stats = OffloadStats(
                offloaded=True,
                times=self.stats.times + 1,
                bytes=sum(size for _, size, _ in self._gone),
                offload_s=self._clock() - began,
                return_s=self.stats.return_s,
            )
        logger.info(
            "%.2f GB of %s given back in %.2f s",
            self.stats.bytes / 1e9,
            self._device,
            self.stats.offload_s,
        )

    def come_back(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Move back to the device.

        Args:
            stop: Asked between storages; true where the engine is being closed.

        Raises:
            EngineFailedError: There is no room; the model stays on the host, and the next request
                tries again.
        """
        began = self._clock()
        grown: list[Any] = []
        try:
            for storage, size, host in self._gone:
                if stop():
                    raise EngineClosedError("the engine was closed")
                grown.append(storage)
                storage.resize_(size)
                there = _bytes(storage, self._device)
                if host is None:
                    there.zero_()
                else:
                    there.copy_(host, non_blocking=True)
            self._wait()
        except Exception as error:
            for storage in grown:
                storage.resize_(0)
            self._free()
            failure: Exception = error
            if not isinstance(failure, SpeechError):
                failure = EngineFailedError(
                    f"the model could not come back to {self._device} ({error}): try again later,"
                    " or give the engine a device of its own"
                )
            with self._changed:
                self._failure = failure
                self._changed.notify_all()
            raise failure from error
        with self._changed:
            self._gone.clear()
            self._idle_since = None
            self.stats = OffloadStats(
                offloaded=False,
                times=self.stats.times,
                bytes=self.stats.bytes,
                offload_s=self.stats.offload_s,
                return_s=self._clock() - began,
            )
            self._changed.notify_all()
        logger.info("the model is back on %s after %.2f s", self._device, self.stats.return_s)

    def _copy_out(self, stop: Callable[[], bool]) -> None:
        scratch = {storage._cdata: storage for storage in self._storages(self._scratch())}
        found = {
            storage._cdata: storage for storage in self._storages(tensors_of(*self._weights()))
        }
        # Copies of what is no longer held (a voice that was forgotten) go.
        self._kept = {key: kept for key, kept in self._kept.items() if key in found}
        new = {k: s for k, s in found.items() if k not in scratch and k not in self._kept}
        for group in _groups(new, _BLOCK):
            if stop():
                return
            # Page-locked memory comes in powers of two: small storages share a block of it.
            sizes = [new[key].nbytes() for key in group]
            block = _host(sum(sizes), self._device.type == "cuda")
            for key, host in zip(group, torch.split(block, sizes), strict=True):
                host.copy_(_bytes(new[key], self._device), non_blocking=True)
                self._kept[key] = (new[key], host)
        self._wait()
        self._gone = [(storage, storage.nbytes(), None) for storage in scratch.values()]
        self._gone += [(s, s.nbytes(), host) for key, (s, host) in self._kept.items()]

    def _storages(self, tensors: Iterable[Tensor]) -> Iterator[Any]:
        for tensor in tensors:
            if tensor.device.type == self._device.type:
                storage = tensor.untyped_storage()
                if storage.nbytes() and storage.resizable():
                    yield storage

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _free(self) -> None:
        """Give the allocator's spare memory back to the device, where others can have it."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _groups(storages: Mapping[int, Any], most: int) -> list[list[int]]:
    """Keys of storages that together have at most so many bytes; larger ones alone."""
    groups: list[list[int]] = []
    room = 0
    for key, storage in storages.items():
        if storage.nbytes() > room:
            groups.append([])
            room = most
        groups[-1].append(key)
        room -= storage.nbytes()
    return groups


def _bytes(storage: Any, device: torch.device) -> Tensor:
    """A storage as a tensor of bytes."""
    return torch.empty(0, dtype=torch.uint8, device=device).set_(storage)


def _host(size: int, pinned: bool) -> Tensor:
    """Memory of the host; page-locked where it can be had, which makes copies fast."""
    if pinned:
        try:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        except RuntimeError:
            logger.debug("no page-locked memory for %d bytes", size, exc_info=True)
    return torch.empty(size, dtype=torch.uint8)

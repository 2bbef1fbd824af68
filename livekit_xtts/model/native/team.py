"""Threads that run one function of our own side by side, again and again.

The function deals its work out in portions and meets at barriers. Between runs the workers sleep
in a semaphore; the caller is thread 0.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from livekit_xtts.model.native.assembly import Code

FIELDS = ("threads", "stop", "semaphores", "barrier", "counters", "counted")
"""What the first entries of every table are."""

LINE = 8
"""64-bit numbers in a cache line."""

DECLARATIONS = """
declare i64 @llvm.smin.i64(i64, i64)
declare void @llvm.x86.sse2.pause()
declare i32 @sem_wait(ptr)
declare i32 @sem_post(ptr)
declare i32 @sched_yield()
"""

_SEMAPHORE = 64  # bytes; the system's has 32
_SPINS = 4000


class Table:
    """Entries of a table, 64 bits each, as the code reads them.

    Args:
        code: That reads.
        fields: Names of the entries.
        pointer: Of the table.
    """

    def __init__(self, code: Code, fields: tuple[str, ...], pointer: str = "%table") -> None:
        self._code = code
        self._fields = fields
        self._pointer = pointer

    def _at(self, name: str) -> str:
        return self._code.at(self._pointer, self._fields.index(name), "i64")

    def number(self, name: str) -> str:
        """A whole number."""
        return self._code.load(self._at(name), "i64", 8)

    def pointer(self, name: str) -> str:
        """An address."""
        return self._code.load(self._at(name), "ptr", 8)


@contextmanager
def dealt(c: Code, table: Table, turn: str, count: str, each: int = 1) -> Iterator[str]:
    """Work dealt out to the threads in portions; ends when all threads have done theirs.

    Args:
        c: Where it is written.
        table: Of the team.
        turn: Which counter; each is used once in a run.
        count: Units of work.
        each: Units of a portion.
    """
    number = c.number()
    counter = c.at(table.pointer("counters"), c.times(turn, LINE), "i64")
    c.do(f"br label %deal{number}")
    c.label(f"deal{number}")
    first = c.times(c(f"atomicrmw add ptr {counter}, i64 1 monotonic"), each)
    c.branch(c(f"icmp slt i64 {first}, {count}"), f"take{number}", f"gone{number}")
    c.label(f"take{number}")
    last = c(f"call i64 @llvm.smin.i64(i64 {c.plus(first, each)}, i64 {count})")
    with c.loop(first, last) as index:
        yield index
    c.do(f"br label %deal{number}")
    c.label(f"gone{number}")
    meet(c, table)


def meet(c: Code, table: Table) -> None:
    """Wait until all threads are here."""
    threads = table.number("threads")
    with c.when(c(f"icmp sgt i64 {threads}, 1")):
        c.call("barrier", f"ptr {table.pointer('barrier')}", f"i64 {threads}")


def barrier() -> str:
    """Waits until all threads are here: a count, and 64 bytes on a number of the round."""
    c = Code("barrier", "ptr %b, i64 %n")
    round_ = c.at("%b", 64, "i8")
    before = c(f"load atomic i64, ptr {round_} acquire, align 8")
    here = c("atomicrmw add ptr %b, i64 1 acq_rel")
    c.branch(c(f"icmp eq i64 {here}, {c.plus('%n', -1)}"), "last", "wait")
    c.label("last")
    c.do("store atomic i64 0, ptr %b monotonic, align 8")
    c.do(f"store atomic i64 {c.plus(before, 1)}, ptr {round_} release, align 8")
    c.do("br label %done")
    c.label("wait")
    spins = c.variable("i64", "0")
    c.do("br label %again")
    c.label("again")
    now = c(f"load atomic i64, ptr {round_} acquire, align 8")
    c.branch(c(f"icmp ne i64 {now}, {before}"), "done", "spin")
    c.label("spin")
    count = c.plus(spins.get(), 1)
    spins.set(count)
    c.do("call void @llvm.x86.sse2.pause()")
    # On a crowded machine the thread that is waited for may need this very processor.
    c.branch(c(f"icmp slt i64 {count}, {_SPINS}"), "again", "yield")
    c.label("yield")
    c("call i32 @sched_yield()")
    c.do("br label %again")
    c.label("done")
    return c.text()


def _start(fields: tuple[str, ...]) -> str:
    """Wakes the workers and does thread 0's part."""
    c = Code("start", "ptr %table", exported=True)
    table = Table(c, fields)
    marks = table.pointer("counters")
    with c.loop("0", c.times(table.number("counted"), LINE), LINE) as i:
        c.store("0", c.at(marks, i, "i64"), "i64", 8)
    semaphores = table.pointer("semaphores")
    with c.loop("1", table.number("threads")) as thread:
        place = c.at(semaphores, c.times(thread, _SEMAPHORE), "i8")
        c(f"call i32 @sem_post(ptr {place})")
    c.call("run", "ptr %table", "i64 0")
    return c.text()


def _worker(fields: tuple[str, ...]) -> str:
    """Thread `%t`'s life: a part of each run, until told to stop."""
    c = Code("worker", "ptr %table, i64 %t", exported=True)
    table = Table(c, fields)
    semaphore = c.at(table.pointer("semaphores"), c.times("%t", _SEMAPHORE), "i8")
    c.do("br label %wait")
    c.label("wait")
    # A signal may end the wait early.
    got = c(f"call i32 @sem_wait(ptr {semaphore})")
    c.branch(c(f"icmp eq i32 {got}, 0"), "woken", "wait")
    c.label("woken")
    c.branch(c(f"icmp ne i64 {table.number('stop')}, 0"), "end", "work")
    c.label("work")
    c.call("run", "ptr %table", "i64 %t")
    c.do("br label %wait")
    c.label("end")
    return c.text()


def frame(fields: tuple[str, ...]) -> str:
    """What a module needs besides its own function `run` of the table and a thread's number."""
    assert fields[: len(FIELDS)] == FIELDS
    return "\n\n".join((barrier(), _start(fields), _worker(fields)))


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros in memory that becomes resident page by page, aligned to pages."""
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(1, count * dtype.itemsize))
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape)


class Team:
    """The threads, and the table that they are given; lives as long as any thread runs.

    Args:
        addresses: Of `start` and `worker`.
        fields: Names of the table's entries; the first are `FIELDS`.
        entries: Values of the others, by name; those that are not named are 0.
        threads: How many, the calling one included.
        counted: Portions of work are dealt out so many times in a run, at most.
        name: Of the threads.
        held: What must live as long as the threads.
    """

    def __init__(
        self,
        addresses: tuple[int, int],
        fields: tuple[str, ...],
        entries: Mapping[str, int],
        *,
        threads: int,
        counted: int,
        name: str,
        held: object = None,
    ) -> None:
        self._fields = fields
        self._threads = threads
        self._held = held
        self._memory = {
            "semaphores": zeros(threads * _SEMAPHORE, dtype=torch.uint8),
            "barrier": zeros(2 * _SEMAPHORE, dtype=torch.uint8),
            "counters": zeros(LINE * counted, dtype=torch.long),
        }
        self._table = zeros(len(fields), dtype=torch.long)
        # Entries are set before each run: numpy does it in a tenth of torch's time.
        self._entries = self._table.numpy()
        self._address = self._table.data_ptr()
        values = {"threads": threads, "counted": counted, **entries}
        values |= {name: part.data_ptr() for name, part in self._memory.items()}
        for key, value in values.items():
            self.set(key, value)
        self._libc = ctypes.CDLL(None)
        for thread in range(threads):
            self._libc.sem_init(self._semaphore(thread), 0, 0)
        self._start = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(addresses[0])
        self._life = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(addresses[1])
        for thread in range(1, threads):
            # Bound to this object, which therefore outlives the thread.
            threading.Thread(
                target=self._live, args=(thread,), name=f"{name}-{thread}", daemon=True
            ).start()

    def _semaphore(self, thread: int) -> Any:
        return ctypes.c_void_p(self._memory["semaphores"].data_ptr() + _SEMAPHORE * thread)

    def _live(self, thread: int) -> None:
        self._life(self._address, thread)

    def set(self, name: str, value: int) -> None:
        """Set an entry of the table; not while it runs."""
        self._entries[self._fields.index(name)] = value

    def run(self) -> None:
        """Run once; returns when all threads are done."""
        self._start(self._address)

    def stop(self) -> None:
        """Let the workers end; does not wait for them."""
        self.set("stop", 1)
        for thread in range(1, self._threads):
            self._libc.sem_post(self._semaphore(thread))

"""A clean end of the process while the engine's threads are at work in native code.

A daemon thread that comes back from native code when the interpreter has gone is ended by force;
with frames of C++ below it (torch, ONNX Runtime) the whole process then aborts with "terminate
called without an active exception". So at the interpreter's end the engine's threads are asked to
stop where they next touch Python, and are waited for.
"""

from __future__ import annotations

import atexit
import ctypes
import threading
import time
import weakref
from collections.abc import Iterable
from typing import Protocol

PATIENCE_S = 0.5
"""Time for a thread to end by itself before it is interrupted, and between interruptions."""

LONGEST_S = 30.0
"""No single call into native code takes longer, unless it hangs; then the process ends anyhow."""


class Leaves(Protocol):
    """Something with threads of its own."""

    def leave(self) -> None:
        """The interpreter ends: stop every thread."""
        ...


def at_exit(engine: Leaves) -> None:
    """Call the engine's `leave` when the interpreter ends, if it still exists then."""
    atexit.register(_leave, weakref.ref(engine))


def _leave(engine: weakref.ref[Leaves]) -> None:
    found = engine()
    if found is not None:
        found.leave()


def end(threads: Iterable[threading.Thread | None], longest_s: float = LONGEST_S) -> bool:
    """Stop threads that have been told to end, wherever they are in Python; then wait for them.

    Only for the interpreter's end: what they were doing is left undone.

    Args:
        threads: None and threads that have ended do no harm.
        longest_s: Seconds to wait in all.

    Returns:
        Whether all have ended.
    """
    alive = [thread for thread in threads if thread is not None]
    began = time.monotonic()
    while True:
        until = time.monotonic() + PATIENCE_S
        for thread in alive:
            thread.join(max(0.0, until - time.monotonic()))
        alive = [thread for thread in alive if thread.is_alive()]
        if not alive or time.monotonic() - began >= longest_s:
            return not alive
        for thread in alive:
            interrupt(thread)


def interrupt(thread: threading.Thread) -> None:
    """Raise `SystemExit` in a thread as soon as it runs Python code; only CPython can do it."""
    raise_in = getattr(getattr(ctypes, "pythonapi", None), "PyThreadState_SetAsyncExc", None)
    if raise_in is not None and thread.ident is not None:
        raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))

"""Numbers of CPU threads for the engine's own work, leaving the host's settings as they are.

torch keeps the number of threads by thread, and beside it a default for threads that come later.
Setting it changes both, so the default is put back from a thread that ends at once.

Forks: threads do not survive a fork, and a child of a process that has run parallel torch work
can hang in its first parallel work of its own. So nothing here, and nothing in the package, runs
torch before an engine starts; an engine belongs to the process that started it.
"""

from __future__ import annotations

import os
import sys
import threading


def available() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(count: int) -> None:
    """Let torch's work on the calling thread use `count` threads; other threads keep theirs."""
    import torch

    before = torch.get_num_threads()
    if count == before:
        return
    torch.set_num_threads(count)
    restore = threading.Thread(target=torch.set_num_threads, args=(before,), name="xtts-threads")
    restore.start()
    restore.join()


def lower_priority() -> bool:
    """Make the calling thread give way to others; False where the system has no such thing."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
    except OSError:
        return False
    return True

"""Where training runs, and the time by which it is measured."""

from __future__ import annotations

import argparse
import time

import torch


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds --device and --threads."""
    parser.add_argument("--device", help="cuda, cuda:1, cpu; a GPU where there is one, else cpu")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")


def pick(name: str | None) -> torch.device:
    """The device of that name; without one a GPU where there is one, else the CPU.

    Convolutions keep all of float32 on a GPU: the vocoder's first stages compute phases.
    """
    torch.backends.cudnn.allow_tf32 = False
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


class Stopwatch:
    """Seconds of training: of the processor on a CPU, so that other work beside it does not count,
    and of the wall on a GPU.
    """

    def __init__(self, device: torch.device, threads: int, used: float = 0.0) -> None:
        """Starts it.

        Args:
            device: What trains.
            threads: Over which the processor's time is spread.
            used: Seconds to begin with.
        """
        self._read = time.process_time if device.type == "cpu" else time.perf_counter
        self._threads = threads if device.type == "cpu" else 1
        self._began = self._read() - used * self._threads

    def seconds(self) -> float:
        """Seconds since the start, with those it began with."""
        return (self._read() - self._began) / self._threads

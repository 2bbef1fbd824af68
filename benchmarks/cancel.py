"""What an interruption costs: steps made for a request after its cancel, and time to a free slot.

Several requests speak at once; one after the other is cancelled in the midst of it and replaced.
Counted are the steps begun after the flag that still had the request's row (`steps_after_cancel`,
the most of all cancels), and the time to its last event (`free_s`). Run
`python -m benchmarks.cancel --json PATH [--quick]`.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks import common
from livekit_xtts.engine.job import Job
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.step import HostCopy, Rows
from livekit_xtts.speech import SpeechDone

STREAMS = 4
LONG = 600
PATIENCE_S = 60.0


class Watch:
    """Counts steps, and those that had a row of a cancelled request.

    Args:
        engine: Loaded.
    """

    def __init__(self, engine: LocalEngine) -> None:
        machine = engine._machine
        assert machine is not None
        self._scheduler = machine.scheduler
        self._launch = self._scheduler.stepper.launch
        self._scheduler.stepper.launch = self._counted  # type: ignore[method-assign]
        self.steps = 0
        self.late: dict[Job, int] = {}

    def _counted(self, rows: Rows) -> HostCopy:
        self.steps += 1
        speaking = {job.progress.slot: job for job in self._scheduler._speaking}
        for slot in rows.slots:
            job = speaking.get(slot)
            if job is not None and job.cancelled:
                self.late[job] = self.late.get(job, 0) + 1
        return self._launch(rows)


def wait_for_audio(listener: common.Listener, chunks: int) -> None:
    """Wait until so many chunks have come."""
    deadline = time.perf_counter() + PATIENCE_S
    while len(listener.chunks) < chunks:
        if listener.end is not None or time.perf_counter() > deadline:
            raise RuntimeError("a request ended early or made no audio")
        time.sleep(0.001)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure."""
    cancels = 8 if args.quick else 40
    engine = common.load_engine(args, slots=STREAMS, queue=STREAMS, admission=False)
    try:
        common.warm(engine)
        figures = common.facts(engine, args)
        watch = Watch(engine)
        live: list[tuple[Any, common.Listener]] = []
        free_s, late = [], []

        def begin(seed: int) -> None:
            listener = common.Listener(time.perf_counter())
            live.append((engine.submit(common.request(LONG, seed=seed), listener), listener))

        for seed in range(STREAMS):
            begin(seed)
        for number in range(cancels):
            job, listener = live.pop(0)
            wait_for_audio(listener, 1)
            began = time.perf_counter()
            job.cancel()
            if not listener.finished.wait(PATIENCE_S):
                raise RuntimeError("a cancelled request does not end")
            free_s.append(time.perf_counter() - began)
            if not isinstance(listener.end, SpeechDone) or not listener.end.cancelled:
                raise RuntimeError(f"a request ended before its cancel: {listener.end}")
            begin(STREAMS + number)
            late.append(watch.late.get(job, 0))
        return figures | {
            "streams": STREAMS,
            "cancels": cancels,
            "steps_after_cancel": max(late),
            "free_p50_s": common.quantile(free_s, 0.5),
            "free_max_s": max(free_s),
            "step_ms": 1e3 * engine._machine.times.step(STREAMS) if engine._machine else 0.0,
            "steps": watch.steps,
        }
    finally:
        engine.close()


if __name__ == "__main__":
    arguments = common.parser(__doc__).parse_args()
    common.finish(arguments, "Cancelling one of several requests", run(arguments))

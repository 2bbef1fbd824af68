"""A model that leaves its device while nobody speaks: how long that takes, and coming back.

    python -m benchmarks.offload --json PATH [--device cuda] [--quick]

First audio of a request that finds the model on its device, and of one that has to wait for its
return (its first graph is captured anew, too). On a CPU there is nothing to give back: the figures
of the moves are empty.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from benchmarks import common

IDLE_S = 0.5
"""After so long without work the model leaves."""


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure."""
    engine = common.load_engine(args, slots=args.slots, offload_after=IDLE_S)
    rounds = 3 if args.quick else 8
    try:
        common.warm(engine)
        figures = common.facts(engine, args)
        there = common.one_after_another(engine, rounds, args.codes)
        figures["first_audio_s"] = statistics.median(one.first_audio_s for one in there)
        figures |= dict.fromkeys(
            ("offload_s", "offload_first_s", "return_s", "offloaded_gb", "first_audio_returned_s")
        )
        if engine.offload_stats is None:
            return figures
        stats, firsts = [], []
        for seed in range(rounds):
            until = time.perf_counter() + 60.0
            while not engine.offload_stats.offloaded:
                if time.perf_counter() > until:
                    raise RuntimeError("the model did not leave its device")
                time.sleep(0.01)
            left = engine.offload_stats
            listener = common.ask(engine, common.request(args.codes, seed=seed))
            common.listen([listener])
            firsts.append(listener.first_audio_s)
            stats.append((left.offload_s, engine.offload_stats.return_s, left.bytes / 1e9))
    finally:
        engine.close()
    figures |= {
        # The first time, the weights are copied to the host.
        "offload_first_s": stats[0][0],
        "offload_s": statistics.median(stat[0] for stat in stats[1:]),
        "return_s": statistics.median(stat[1] for stat in stats),
        "offloaded_gb": stats[-1][2],
        "first_audio_returned_s": statistics.median(firsts),
    }
    return figures


if __name__ == "__main__":
    made = common.parser(__doc__)
    made.add_argument("--codes", type=int, default=common.SPEECH_CODES)
    made.add_argument("--slots", type=int, default=8)
    arguments = made.parse_args()
    common.finish(arguments, "Leaving the device and coming back", run(arguments))

"""Streams at once, and how many of them play without a break.

    python -m benchmarks.throughput --json PATH [--streams 1 2 4 …] [--over 0] [--quick]
                                    [--against coqui]

Closed loop: N requests, at the same moment or spread evenly over some seconds, each of 15 s of
speech or more. A stream is continuous where it was silent for 0.1 s at most in all; it counts where
its first audio came within a second (half a second on a GPU) as well. `live` is how many were being
heard at the same moment.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import common
from livekit_xtts.engine.engine import Engine
from livekit_xtts.speech import ModelError

SECONDS = 16.0
SHARE = 0.99


def together(
    engine: Engine, streams: int, codes: int, latest_s: float, over_s: float = 0.0
) -> dict[str, Any]:
    """Start so many streams, all within `over_s`."""
    began, listeners = time.perf_counter(), []
    for seed in range(streams):
        time.sleep(max(0.0, began + over_s * seed / streams - time.perf_counter()))
        listeners.append(common.ask(engine, common.request(codes, seed=seed)))
    common.listen(listeners)
    underruns = [listener.underrun_s for listener in listeners]
    firsts = [listener.first_audio_s for listener in listeners]
    good = [
        underrun <= common.CONTINUOUS_S and first <= latest_s
        for underrun, first in zip(underruns, firsts, strict=True)
    ]
    whole = max(listener.chunks[-1][0] for listener in listeners) - listeners[0].asked
    return {
        "streams": streams,
        "over_s": over_s,
        "live": most_at_once(listeners),
        "continuity": sum(good) / streams,
        "first_audio_s": common.quantile(firsts, 0.5),
        "first_audio_p95_s": common.quantile(firsts, 0.95),
        "first_audio_worst_s": max(firsts),
        "underrun_p99_s": common.quantile(underruns, 0.99),
        "underrun_worst_s": max(underruns),
        "rtf": whole / sum(listener.audio_s for listener in listeners),
    }


def most_at_once(listeners: Sequence[common.Listener]) -> int:
    """Listeners who heard something at the same moment, most of them."""
    changes = []
    for listener in listeners:
        begins = listener.chunks[0][0]
        changes += [(begins, 1), (begins + listener.underrun_s + listener.audio_s, -1)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure each number of streams; the most that are continuous is the figure."""
    model = common.load_model(args) if args.against else None
    seconds = 3.0 if args.quick else args.seconds
    codes = common.codes_for(seconds)
    try:
        engine = common.load_engine(args, slots=max(args.streams), model=model)
    except ModelError as error:
        print(error)
        engine = common.load_engine(args, slots="auto", model=model)
    try:
        common.warm(engine)
        figures: dict[str, Any] = common.facts(engine, args)
        cuda = figures["device"].startswith("cuda")
        table = []
        for streams in [count for count in args.streams if count <= engine.info.slots]:
            table.append(together(engine, streams, codes, 0.5 if cuda else 1.0, args.over))
            common.show(f"{streams} streams", table[-1])
    finally:
        engine.close()
    kept = [row for row in table if row["continuity"] >= SHARE]
    best = max(kept, key=lambda row: int(row["streams"]), default=table[0])
    figures |= best | {
        "streams": best["streams"] if kept else 0,
        "seconds": seconds,
        "table": table,
    }
    if model is not None:
        with common.coqui_engine(model, args) as (coqui, voice):
            common.warm(coqui, voice)
            theirs = common.one_after_another(coqui, 1, codes, voice)[0]
        figures |= {"coqui_rtf": theirs.rtf, "ratio_rtf": best["rtf"] / theirs.rtf}
    return figures


if __name__ == "__main__":
    made = common.parser(__doc__)
    made.add_argument("--streams", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    made.add_argument("--seconds", type=float, default=SECONDS, help="of speech, each")
    made.add_argument("--over", type=float, default=0.0, help="seconds in which they come")
    arguments = made.parse_args()
    common.finish(arguments, "Streams at once", run(arguments))

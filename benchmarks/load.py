"""Requests that arrive at random, at a steady rate, whatever the engine does (open loop).

    python -m benchmarks.load --rate 0.3 --json PATH [--quick]

First audio at the 50th, 95th and 99th percentile, continuity, and how many were refused.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from benchmarks import common
from livekit_xtts.speech import EngineBusyError


def arrivals(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Times of a Poisson process, in seconds; at least one."""
    generator = random.Random(seed)
    times: list[float] = []
    at = 0.0
    while at < seconds or not times:
        times.append(at)
        at += generator.expovariate(rate)
    return times


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure."""
    seconds = 10.0 if args.quick else args.seconds
    model = common.load_model(args) if args.against else None
    engine = common.load_engine(args, slots=args.slots, model=model)
    listeners, refused = [], 0
    try:
        common.warm(engine)
        figures: dict[str, Any] = common.facts(engine, args)
        began = time.perf_counter()
        for seed, at in enumerate(arrivals(args.rate, seconds)):
            time.sleep(max(0.0, began + at - time.perf_counter()))
            try:
                listeners.append(common.ask(engine, common.request(args.codes, seed=seed)))
            except EngineBusyError:
                refused += 1
        common.listen(listeners)
    finally:
        engine.close()
    firsts = [listener.first_audio_s for listener in listeners]
    underruns = [listener.underrun_s for listener in listeners]
    figures |= {
        "rate": args.rate,
        "requests": len(listeners) + refused,
        "refused": refused,
        "first_audio_s": common.quantile(firsts, 0.5),
        "first_audio_p95_s": common.quantile(firsts, 0.95),
        "first_audio_p99_s": common.quantile(firsts, 0.99),
        "underrun_p99_s": common.quantile(underruns, 0.99),
        "continuity": sum(u <= common.CONTINUOUS_S for u in underruns) / len(underruns),
    }
    if model is not None:
        with common.coqui_engine(model, args) as (coqui, voice):
            common.warm(coqui, voice)
            theirs = common.one_after_another(coqui, 1, args.codes, voice)[0]
        # One at a time: at this rate its queue would only grow.
        figures["coqui_first_audio_s"] = theirs.first_audio_s
        figures["ratio_first_audio"] = figures["first_audio_s"] / theirs.first_audio_s
    return figures


if __name__ == "__main__":
    made = common.parser(__doc__)
    made.add_argument("--rate", type=float, default=0.3, help="new requests a second")
    made.add_argument("--seconds", type=float, default=60.0, help="of arrivals")
    made.add_argument("--codes", type=int, default=common.SPEECH_CODES)
    made.add_argument("--slots", type=int, default=8)
    arguments = made.parse_args()
    common.finish(arguments, "Random arrivals", run(arguments))

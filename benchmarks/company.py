"""Whether a request's codes depend on its company: alone, then many together.

    python -m benchmarks.company --json PATH [--requests 32] [--quick] [--device cuda]

On a CPU they never do. On a GPU a matrix product of many rows sums in another order than one of
few, and a draw that lies within that rounding of the next code flips; what follows it then differs
as well. `flips_per_draw` counts the first difference of each request against the draws up to it.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import common
from livekit_xtts.speech import SpeechDone


def codes_of(listener: common.Listener) -> tuple[int, ...]:
    """What a request drew."""
    assert isinstance(listener.end, SpeechDone)
    return listener.end.codes


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare."""
    count, codes = (6, 24) if args.quick else (args.requests, args.codes)
    engine = common.load_engine(args, slots=count, admission=False)
    try:
        common.warm(engine)
        figures = common.facts(engine, args)
        asked = [common.request(codes, seed=seed) for seed in range(count)]
        alone = []
        for request in asked:
            listener = common.ask(engine, request)
            common.listen([listener])
            alone.append(codes_of(listener))
        listeners = [common.ask(engine, request) for request in asked]
        common.listen(listeners)
        together = [codes_of(listener) for listener in listeners]
    finally:
        engine.close()
    flips = draws = 0
    for first, second in zip(alone, together, strict=True):
        pairs = list(zip(first, second, strict=False))
        same = next((n for n, (a, b) in enumerate(pairs) if a != b), None)
        flips += same is not None
        draws += len(pairs) if same is None else same + 1
    return figures | {
        "requests": count,
        "draws": draws,
        "flips": flips,
        "flips_per_draw": flips / draws,
        "same_requests": 1.0 - flips / count,
    }


if __name__ == "__main__":
    made = common.parser(__doc__)
    made.add_argument("--requests", type=int, default=32)
    made.add_argument("--codes", type=int, default=100, help="of each request")
    arguments = made.parse_args()
    common.finish(arguments, "Alone and in company", run(arguments))

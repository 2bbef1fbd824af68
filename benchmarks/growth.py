"""Whether a second of audio costs the same in a short and in a long utterance.

    python -m benchmarks.growth --json PATH [--quick] [--against coqui]

2 s and 25 s of speech (`--quick`: 2 s and 8 s), in turns; the part before the first audio, which
both have alike, is left out.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import common
from livekit_xtts.engine.engine import Engine
from livekit_xtts.speech import Voice

SHORT_S = 2.0
LONG_S = 25.0


def cost(listener: common.Listener) -> float:
    """Seconds of work after the first chunk, for each second of audio after it."""
    (start, first), *_ = listener.chunks
    return (listener.chunks[-1][0] - start) / max(1e-9, listener.audio_s - first)


def ratio(
    engine: Engine, long_s: float, turns: int, voice: Voice | None = None
) -> dict[str, float]:
    """Cost of both lengths (the least of several turns) and their ratio."""
    short: list[float] = []
    long: list[float] = []
    for seed in range(turns):
        for seconds, costs in ((SHORT_S, short), (long_s, long)):
            asked = common.request(common.codes_for(seconds), voice=voice, seed=seed)
            listener = common.ask(engine, asked)
            common.listen([listener])
            costs.append(cost(listener))
    return {
        "cost_short": min(short),
        "cost_long": min(long),
        "ratio_long_short": min(long) / min(short),
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure."""
    long_s, turns = (8.0, 2) if args.quick else (LONG_S, 3)
    model = common.load_model(args) if args.against else None
    engine = common.load_engine(args, model=model)
    try:
        common.warm(engine)
        figures: dict[str, Any] = common.facts(engine, args)
        figures |= ratio(engine, long_s, turns)
    finally:
        engine.close()
    if model is not None:
        with common.coqui_engine(model, args) as (coqui, voice):
            common.warm(coqui, voice)
            theirs = ratio(coqui, 4.0 if args.quick else long_s, 1, voice)
        figures |= {f"coqui_{name}": value for name, value in theirs.items()}
    return figures


if __name__ == "__main__":
    arguments = common.parser(__doc__).parse_args()
    common.finish(arguments, "Cost of a second of audio, long and short", run(arguments))

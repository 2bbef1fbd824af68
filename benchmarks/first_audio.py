"""First audio, underrun and real-time factor of one stream at a time.

    python -m benchmarks.first_audio --json PATH [--quick] [--against coqui]

A 100-character text, the voice known. Also the step with one row, and how many times longer it
takes than reading its weights once would (`step_over_limit`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks import common
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.step import Rows

POSITION = 100
REPEATS = 30
ROUNDS = 5


def stream_figures(listeners: list[common.Listener]) -> dict[str, float]:
    """Medians over requests, the worst for underrun."""
    first = [listener.first_audio_s for listener in listeners]
    return {
        "first_audio_s": statistics.median(first),
        "first_audio_best_s": min(first),
        "underrun_s": max(listener.underrun_s for listener in listeners),
        "rtf": statistics.median(listener.rtf for listener in listeners),
        "rtf_best": min(listener.rtf for listener in listeners),
        "cpu_s_per_audio_s": min(listener.cpu_s / listener.audio_s for listener in listeners),
    }


def fastest(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest run."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def step_figures(engine: LocalEngine, args: argparse.Namespace) -> dict[str, float]:
    """The step of the engine's runner, one row, and the least that its weights allow.

    What memory gives changes within seconds on a shared machine, so that both are measured in turn;
    the figures are those of the round in the middle.
    """
    import torch

    machine = engine._machine
    assert machine is not None
    runner = machine.runner
    cuda = runner.device.type == "cuda"
    one = torch.ones(1, dtype=torch.long, device=runner.device)
    slots, lengths = 0 * one, POSITION * one

    rows = Rows((0,), (1,), (POSITION,))

    def step() -> None:
        if cuda:
            # As the engine does it: replayed, the draw included.
            machine.scheduler.stepper.launch(rows).wait()
        else:
            runner.step(slots, 5 * one, one, lengths)

    def prefill() -> None:
        machine.scheduler.prompts.rehearse()
        if cuda:
            torch.cuda.synchronize()

    for _ in range(4):
        prefill()
    for start in range(0, POSITION, runner.piece):
        piece = torch.randn(runner.piece, runner.config.gpt_n_model_channels, device=runner.device)
        runner.prefill(0, piece, start)
    config = runner.config
    weights = 12 * config.gpt_layers * config.gpt_n_model_channels**2
    size = {"int8": 1 + 4 / 64, "bf16": 2, "fp16": 2, "fp32": 4}
    held = weights * size[engine.info.precision.partition("+")[0]]
    rounds = []
    for _ in range(ROUNDS):
        read = common.read_gb_s(engine.info.device, args.threads)
        step_s = fastest(step)
        rounds.append((step_s * read * 1e9 / held, step_s, read))
    over, step_s, read = sorted(rounds)[ROUNDS // 2]
    return {
        "step_ms": 1e3 * step_s,
        "step_limit_ms": 1e-6 * held / read,
        "step_over_limit": over,
        "step_read_gb_s": read,
        "piece_ms": 1e3 * fastest(prefill, 6),
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure."""
    quick = args.quick
    codes = 60 if quick else common.SPEECH_CODES
    model = common.load_model(args) if args.against else None
    engine = common.load_engine(args, model=model)
    try:
        common.warm(engine)
        figures: dict[str, Any] = common.facts(engine, args)
        figures |= stream_figures(common.one_after_another(engine, 3 if quick else 7, codes))
        figures |= step_figures(engine, args)
    finally:
        engine.close()
    if model is not None:
        with common.coqui_engine(model, args) as (coqui, voice):
            common.warm(coqui, voice)
            theirs = stream_figures(
                common.one_after_another(coqui, 1 if quick else 3, codes, voice)
            )
        figures |= {f"coqui_{name}": value for name, value in theirs.items()}
        figures["ratio_first_audio"] = figures["first_audio_s"] / theirs["first_audio_s"]
        figures["ratio_rtf"] = figures["rtf"] / theirs["rtf"]
        name = "cpu_s_per_audio_s"
        figures["ratio_cpu"] = figures[name] / theirs[name]
    return figures


if __name__ == "__main__":
    arguments = common.parser(__doc__).parse_args()
    common.finish(arguments, "First audio, one stream", run(arguments))

"""What each part of a step takes, by itself: steps of many sizes, prompts, vocoder windows.

    python -m benchmarks.parts --json PATH [--rows 1 16 64 256 1024] [--positions 300] [--quick]

Beside each step stands what reading its weights and its rows' keys and values once would take at
the measured rate of the memory (`limit_ms`), beside the vocoder the rate of its products.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import common
from livekit_xtts.engine.step import Rows
from livekit_xtts.model.config import XttsConfig

WINDOW_CODES = 40
BATCHES = (1, 4, 16, 64)
TIMES = 8


def fastest(work: Callable[[], object], device: torch.device, times: int) -> float:
    """Seconds of the fastest of some runs, after one that warms up."""
    best = float("inf")
    for _ in range(times + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best


def vocoder_products(config: XttsConfig) -> float:
    """Multiplications that a frame takes."""
    channels, rate = config.decoder_upsample_initial_channel, 1
    total = 7 * config.decoder_input_dim * channels
    for up, taps in zip(
        config.decoder_upsample_rates, config.decoder_upsample_kernel_sizes, strict=True
    ):
        total += rate * taps * channels * (channels // 2)
        channels, rate = channels // 2, rate * up
        for kernel, dilations in zip(
            config.decoder_resblock_kernel_sizes,
            config.decoder_resblock_dilation_sizes,
            strict=True,
        ):
            total += rate * 2 * len(dilations) * kernel * channels * channels
    return float(total + rate * 7 * channels)


@torch.no_grad()
def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure."""
    times = 3 if args.quick else TIMES
    slots = max(args.rows)
    engine = common.load_engine(
        args, slots=slots, slot_positions=args.positions + 32, admission=False
    )
    try:
        figures = common.facts(engine, args)
        machine = engine._machine
        assert machine is not None
        runner, config, device = machine.runner, machine.model.config, machine.device
        stepper, prompts = machine.scheduler.stepper, machine.scheduler.prompts
        vocoder = machine._vocoder
        width = config.gpt_n_model_channels
        kind = engine.info.precision.split("+")[0]
        size = {"fp32": 4, "int8": 1}.get(kind, 2)
        weights = 12 * width * width * config.gpt_layers * size
        held = 2 if device.type == "cuda" and kind != "fp32" else 4
        length = min(args.positions, runner.length - 2)
        each = 2 * config.gpt_layers * width * length * held
        table: list[dict[str, Any]] = []
        for rows in args.rows:
            what = Rows(tuple(range(rows)), (1,) * rows, (length,) * rows)
            seconds = fastest(lambda what=what: stepper.launch(what).wait(), device, times)  # type: ignore[misc]
            limit = (weights + rows * each) / figures["read_gb_s"] / 1e9
            table.append({"rows": rows, "step_ms": 1e3 * seconds, "limit_ms": 1e3 * limit})
            common.show(f"a step of {rows} rows", table[-1])
        prompt_s = fastest(prompts.rehearse, device, times)
        plan = vocoder.plan(1.0)
        samples = plan.final_samples(WINDOW_CODES, True)
        latents = torch.randn(WINDOW_CODES, width, device=device)
        speaker = torch.zeros(config.d_vector_dim, device=device)
        for batch in (count for count in BATCHES if count <= vocoder.batch):

            def decode(batch: int = batch) -> None:
                vocoder.decode(
                    [
                        (latents, speaker, vocoder.plan(1.0).window(0, samples, WINDOW_CODES, True))
                        for _ in range(batch)
                    ]
                )

            seconds = fastest(decode, device, times)
            frames = batch * samples / config.output_hop_length
            table.append(
                {
                    "windows": batch,
                    "window_ms": 1e3 * seconds,
                    "us_per_code": 1e6 * seconds / (batch * WINDOW_CODES),
                    "tera_products_s": frames * vocoder_products(config) / seconds / 1e12,
                }
            )
            common.show(f"{batch} windows of {WINDOW_CODES} codes", table[-1])
    finally:
        engine.close()
    return figures | {
        "positions": length,
        "step_ms": table[0]["step_ms"],
        "prompts_ms": 1e3 * prompt_s,
        "times": str(machine.times),
        "sustained": machine.streams,
        "table": table,
    }


if __name__ == "__main__":
    made = common.parser(__doc__)
    made.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4])
    made.add_argument("--positions", type=int, default=300, help="that each row has before it")
    arguments = made.parse_args()
    common.finish(arguments, "Parts of a step", run(arguments))

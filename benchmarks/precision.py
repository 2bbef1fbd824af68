"""What each precision changes in the numbers, and what it costs.

    python -m benchmarks.precision --json PATH [--quick] [--model bundled]

The gates that `precision="auto"` asks (see `livekit_xtts.model.gates`), with the time of a step and
of a vocoder window beside them.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import common
from benchmarks.first_audio import fastest
from livekit_xtts.speech import ModelError

FRAMES = 64


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure each precision of each part that the device offers."""
    import torch

    from livekit_xtts.engine.machine import pick_device
    from livekit_xtts.model import gates, precision, processor

    common.settle(args)
    device = pick_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    model = common.load_model(args).to(device)
    voice = torch.tensor(common.random_voice(model).latents)
    wanted = precision.parse("auto", device)
    rows: list[dict[str, Any]] = []
    repeats = 3 if args.quick else 10
    cuda = device.startswith("cuda")

    def timed(work: Any) -> float:
        def whole() -> None:
            work()
            if cuda:
                torch.cuda.synchronize()

        whole()
        return 1e3 * fastest(whole, repeats)

    spoken = None
    for name in wanted.gpt:
        try:
            runner = precision.make_runner(model, name, slots=2, device=device)
        except ModelError as error:
            rows.append({"part": "gpt", "precision": name, "why_not": str(error)})
            continue
        verdict, spoken = gates.judge_gpt(model.gpt, runner, voice)
        one = torch.ones(1, dtype=torch.long, device=device)
        step_ms = timed(lambda r=runner, o=one: r.step(0 * o, 5 * o, o, 100 * o))
        rows.append({"part": "gpt", "precision": name, **verdict.to_dict(), "step_ms": step_ms})
        del runner
    speaker = torch.randn(1, model.config.d_vector_dim, device=device)
    features = torch.randn(1, model.config.decoder_input_dim, FRAMES, device=device)
    for name in wanted.vocoder:
        vocoder = precision.make_vocoder(model, name, device=device)
        verdict_ = gates.judge_vocoder(model.vocoder, vocoder, spoken)
        with torch.inference_mode():
            window_ms = timed(lambda v=vocoder: v(features, speaker))
        share = window_ms / (1e3 * FRAMES * 256 / 24_000)
        rows.append({"part": "vocoder", "precision": name, **verdict_.to_dict(), "share": share})
    for row in rows:
        common.show(f"{row['part']} {row['precision']}", row)
    return {
        "machine": torch.cuda.get_device_name() if cuda else processor.name(),
        "device": device,
        "model": args.model,
        "threads": torch.get_num_threads(),
        "dtype": ", ".join(f"{row['part']} {row['precision']}" for row in rows),
        "text": f"{gates.SPEECHES} x {gates.CODES} codes, teacher-forced",
        "read_gb_s": common.read_gb_s(device, args.threads),
        "table": rows,
    }


if __name__ == "__main__":
    arguments = common.parser(__doc__).parse_args()
    common.finish(arguments, "Precision", run(arguments))

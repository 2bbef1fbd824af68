"""Peak memory of an engine that speaks, over the interpreter with its libraries.

    python -m benchmarks.memory --json PATH [--quick] [--streams 1]

The model is put on disk and spoken with once by one process (which judges the precision and keeps
the quantised weights), then loaded by a fresh one, whose peak is the figure: `peak_gb`. On a GPU it
is the peak of the device's memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import common


def peak_bytes() -> int:
    """Most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not what `getrusage` says: that begins with what the parent had when it forked.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Import everything, note the peak, load and speak, note it again."""
    import contextlib

    import torch

    from livekit_xtts.engine import machine  # noqa: F401

    with contextlib.suppress(ImportError):
        import onnxruntime  # noqa: F401
    with contextlib.suppress(ImportError):
        import llvmlite.binding  # noqa: F401
    torch.ones(64, 64) @ torch.ones(64, 64)
    before = peak_bytes()
    engine = common.load_engine(args, slots=max(2, args.streams))
    loaded = peak_bytes()
    codes = 60 if args.quick else common.codes_for(16.0)
    listeners = [common.ask(engine, common.request(codes, seed=s)) for s in range(args.streams)]
    common.listen(listeners)
    spoken = peak_bytes()
    cuda = engine.info.device.startswith("cuda")
    figures = {
        "peak_gb": (torch.cuda.max_memory_allocated() if cuda else spoken - before) / 1e9,
        "loaded_gb": (loaded - before) / 1e9,
        "libraries_gb": before / 1e9,
        "streams": args.streams,
        **common.facts(engine, args),
    }
    engine.close()
    return figures


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure in a fresh process."""
    from livekit_xtts.engine.machine import pick_device
    from livekit_xtts.model.checkpoint import save_model

    if pick_device(args.device) != "cpu":
        return measure(args)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        if args.model in ("random", "random-small"):
            save_model(common.load_model(args), folder)
        else:
            folder = Path(args.model)
        figures: dict[str, Any] = {}
        for turn in ("first", "kept"):
            target = Path(temporary) / "figures.json"
            options = ["--model", str(folder), "--inside", "--json", str(target)]
            for name in ("device", "precision", "profile", "streams", "threads"):
                if getattr(args, name) is not None:
                    options += [f"--{name}", str(getattr(args, name))]
            options += ["--quick"] if args.quick else []
            subprocess.run([sys.executable, "-m", "benchmarks.memory", *options], check=True)
            found = json.loads(target.read_text(encoding="utf-8"))
            figures |= {"first_load_peak_gb": found["peak_gb"]} if turn == "first" else found
    return figures | {"model": args.model}


if __name__ == "__main__":
    made = common.parser(__doc__)
    made.add_argument("--streams", type=int, default=1)
    made.add_argument("--inside", action="store_true", help="measure in this process")
    arguments = made.parse_args()
    if arguments.inside:
        common.finish(arguments, "Memory, this process", measure(arguments))
    else:
        common.finish(arguments, "Memory", run(arguments))

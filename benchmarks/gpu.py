"""The GPU set in one go: `python -m benchmarks.gpu [--minutes 9] [--device cuda] [--out DIR]`.

Runs each speed benchmark in a process of its own (torch is all that it needs), stops starting new
ones when the time is nearly up, and writes the figures to `benchmarks/results/` (or the folder that
is named) as JSON and as one Markdown table. `runner` and `vocoder` tell what ran: kernels of our
own need Triton, a C compiler and Python's headers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

_MANY = ("--profile", "throughput")

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("parts", ("--rows", "1", "16", "64", "256", "1024")),
    ("first_audio", ()),
    ("throughput", ("--streams", "256", "1024", "--over", "10", "--seconds", "24", *_MANY)),
    ("load", ("--rate", "20", "--seconds", "30", "--slots", "256")),
    ("precision", ()),
    ("company", ()),
    ("growth", ()),
    ("memory", ("--streams", "8")),
    ("offload", ()),
)
"""What is run, the most telling first."""

MOST_S = 170.0
"""One benchmark takes at most so long."""

SHOWN = (
    "runner", "vocoder", "graphs",
    "first_audio_s", "first_audio_p95_s", "underrun_s", "underrun_p99_s", "rtf", "streams",
    "live", "continuity", "step_ms", "prompts_ms", "sustained", "flips_per_draw",
    "step_over_limit", "ratio_long_short", "peak_gb", "read_gb_s",
    "offload_first_s", "offload_s", "return_s", "offloaded_gb", "first_audio_returned_s",
)  # fmt: skip


def table(results: dict[str, dict[str, Any]], title: str) -> str:
    """A Markdown table, one line a benchmark and figure."""
    lines = [f"# {title}", "", "| benchmark | figure | value |", "|---|---|---|"]
    for name, figures in results.items():
        for row in figures.get("table", []):
            if "precision" in row:
                what = f"{row['part']} {row['precision']}"
                kept = {k: v for k, v in row.items() if k not in ("part", "precision")}
                lines.append(f"| {name} | {what} | {text(kept)} |")
            elif name in ("parts", "throughput"):
                what, *rest = row
                kept = {k: row[k] for k in rest}
                lines.append(f"| {name} | {row[what]} {what} | {text(kept)} |")
        lines += [
            f"| {name} | {key} | {text(figures[key])} |"
            for key in SHOWN
            if figures.get(key) is not None
        ]
        if "failed" in figures:
            lines.append(f"| {name} | failed | {figures['failed']} |")
    return "\n".join(lines) + "\n"


def text(value: Any) -> str:
    """A figure for people."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {text(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run(args: argparse.Namespace) -> Path:
    """Run what fits into the time; returns the table's path."""
    end = time.monotonic() + 60.0 * args.minutes
    results: dict[str, dict[str, Any]] = {}
    args.out.mkdir(parents=True, exist_ok=True)
    title = f"{args.device}, {time.strftime('%Y-%m-%d')}"
    path: Path = args.out / f"{args.device.replace(':', '-')}-{time.strftime('%Y%m%d')}.md"
    for name, options in STEPS:
        left = end - time.monotonic()
        if left < 20.0:
            results[name] = {"failed": "no time left"}
            continue
        target = path.with_name(f"{path.stem}-{name}.json")
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(target)]
        command += ["--device", args.device, "--model", args.model, *options]
        command += ["--quick"] if args.quick else []
        try:
            subprocess.run(command, check=True, timeout=min(left, MOST_S))
            results[name] = json.loads(target.read_text(encoding="utf-8"))
        except subprocess.TimeoutExpired:
            results[name] = {"failed": "stopped when its time was up"}
        except subprocess.CalledProcessError as error:
            results[name] = {"failed": f"exit status {error.returncode}"}
        machine = next((r["machine"] for r in results.values() if "machine" in r), "")
        path.write_text(table(results, f"{machine} ({title})"), encoding="utf-8")
    print(f"\n{path}\n\n{path.read_text(encoding='utf-8')}")
    return path


if __name__ == "__main__":
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--minutes", type=float, default=9.0)
    made.add_argument("--out", type=Path, default=RESULTS)
    made.add_argument("--device", default="cuda")
    made.add_argument("--model", default="random")
    made.add_argument("--quick", action="store_true")
    run(made.parse_args())

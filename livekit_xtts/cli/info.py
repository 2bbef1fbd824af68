"""`livekit-xtts info`: what is here, what is missing, and how to get it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from livekit_xtts.cli.play import INSTALL
from livekit_xtts.download import models_folder
from livekit_xtts.storage import home
from livekit_xtts.version import __version__

PACKAGES: tuple[tuple[str, str, str, str], ...] = (
    ("torch", "torch", "the model", "pip install livekit-xtts"),
    ("onnxruntime", "onnxruntime", "the fast step on CPUs", "pip install livekit-xtts"),
    ("llvmlite", "llvmlite", "fast step and vocoder on x86 Linux", "pip install livekit-xtts"),
    ("livekit-agents", "livekit.agents", "the LiveKit plugin", "pip install livekit-xtts"),
    ("tokenizers", "tokenizers", "text for the model", "pip install livekit-xtts"),
    ("soundfile", "soundfile", "reading recordings", "pip install livekit-xtts"),
    ("num2words", "num2words", "numbers as words", "pip install livekit-xtts"),
    ("sounddevice", "sounddevice", "playing (--play)", "pip install 'livekit-xtts[play]'"),
    ("pypinyin", "pypinyin", "Chinese", "pip install 'livekit-xtts[zh]'"),
    ("cutlet", "cutlet", "Japanese", "pip install 'livekit-xtts[ja]'"),
    ("hangul-romanize", "hangul_romanize", "Korean", "pip install 'livekit-xtts[ko]'"),
    ("coqui-tts", "TTS", "the reference engine", "pip install 'livekit-xtts[coqui]'"),
    ("matplotlib", "matplotlib", "pictures (compare)", "pip install matplotlib"),
)
"""Distribution, module, what it is for, and how to get it."""

PLACES: dict[str, tuple[str, str]] = {"llvmlite": ("Linux", "x86_64")}
"""System and machine of packages that are of no use elsewhere."""

DEAD_PLUGIN = "livekit-plugins-xtts"


def info(
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Say which device would speak, what is installed, and how to get what is missing."""
    facts = gather()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for line in _lines(facts):
        typer.echo(line)


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    yield f"livekit-xtts {facts['version']}, Python {facts['python']}, {facts['system']}"
    device = facts["device"]
    yield f"device: {device['name']}, precisions: {', '.join(device['precisions'])}"
    yield from facts["problems"]
    for package in facts["packages"]:
        state = package["version"] or f"missing: {package['get']}"
        yield f"  {package['name']:<16} {package['for']:<24} {state}"
    models = facts["models"]
    yield f"bundled voice: {'yes' if models['bundled'] else 'no'}"
    yield f"models in {models['folder']}: {', '.join(models['downloaded']) or 'none'}"
    if not models["downloaded"]:
        yield "the published XTTS-v2: livekit-xtts download (non-commercial licence)"
    yield f"voices in {facts['voices']['folder']}: {facts['voices']['count']}"


def gather() -> dict[str, Any]:
    """All facts, as JSON values."""
    folder = home()
    models = models_folder()
    bundled = Path(__file__).parent.parent / "bundled" / "model.safetensors"
    here = (platform.system(), platform.machine())
    found = models.glob("[!.]*/config.json") if models.is_dir() else ()
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": _device(),
        "packages": [
            {"name": name, "version": _version(name, module), "for": use, "get": get}
            for name, module, use, get in PACKAGES
            if PLACES.get(name, here) == here
        ],
        "models": {
            "folder": str(models),
            "bundled": bundled.is_file(),
            "downloaded": sorted(path.parent.name for path in found),
        },
        "voices": {
            "folder": str(folder / "voices"),
            "count": len(list((folder / "voices").glob("*.safetensors"))),
        },
        "problems": _problems(),
    }


def _version(distribution: str, module: str) -> str:
    """The installed version; empty where it is missing."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        root = module.partition(".")[0]
        return "?" if find_spec(root) and find_spec(module) else ""


def _device() -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {"name": "none: torch is not installed", "precisions": []}
    from livekit_xtts.model.precision import GPT_CANDIDATES
    from livekit_xtts.model.processor import has_bf16, has_int8

    able = {"int8": has_int8, "bf16": has_bf16}
    if torch.cuda.is_available():
        name, kind = f"cuda ({torch.cuda.get_device_name(0)})", "cuda"
    elif torch.backends.mps.is_available():
        name, kind = "mps", "mps"
    else:
        cores = os.cpu_count() or 1
        name, kind = f"cpu ({cores} cores, {torch.get_num_threads()} threads)", "cpu"
    offered = GPT_CANDIDATES.get(kind, ("fp32",))
    fast = [each for each in offered if kind != "cpu" or each not in able or able[each]()]
    return {"name": name, "precisions": fast}


def _problems() -> list[str]:
    problems = []
    if _version(DEAD_PLUGIN, "livekit_plugins_xtts"):
        problems.append(
            f"{DEAD_PLUGIN} is installed and owns the same folder: pip uninstall {DEAD_PLUGIN},"
            " then pip install --force-reinstall --no-deps livekit-xtts"
        )
    try:
        import sounddevice  # noqa: F401
    except ImportError:
        pass
    except OSError as error:  # the library that it stands on is missing
        problems.append(f"sounddevice: {error}; playing needs {INSTALL}")
    return problems

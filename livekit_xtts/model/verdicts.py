"""What is kept beside a checkpoint: verdicts of the gates, and the quantised weights."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from livekit_xtts.model import native_step, native_vocoder, onnx_graph, processor

logger = logging.getLogger(__name__)

FILE = "precision.json"
GRAPH_FILE = "gpt-int8.onnx"
"""Quantised weights for ONNX Runtime, most of them in the file of this name with `.data`."""
PACKED_FILE = "gpt-int8.bin"
"""Quantised weights for the compiled step."""

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass
class Verdicts:
    """Verdicts on one checkpoint on one kind of machine.

    Attributes:
        path: The file; None where nothing is kept.
        key: What they hold for: weights, processor, software.
        fingerprint: The model's, "" where unknown.
        gates: By part and precision.
    """

    path: Path | None = None
    key: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    _read: str = ""

    def place(self, name: str) -> Path | None:
        """Where quantised weights of a name are kept; None where nothing is."""
        return None if self.path is None else self.path.with_name(name)

    @property
    def weights(self) -> Path | None:
        """The quantised weights that are there; None where there are none."""
        places = (self.place(name) for name in (PACKED_FILE, GRAPH_FILE))
        return next((place for place in places if place is not None and place.is_file()), None)

    @classmethod
    def open(cls, folder: Path | None, fingerprint: str | None) -> Verdicts:
        """Read what is kept of a checkpoint; empty where nothing is, or it is of another state.

        Args:
            folder: The checkpoint's; None keeps nothing. Nothing is kept in a folder that cannot
                be written, or inside this package.
            fingerprint: The model's; None takes the one that is kept.
        """
        if folder is None or not _may_keep(folder):
            return cls(fingerprint=fingerprint or "")
        path = folder / FILE
        found = cls(path, _key(folder), fingerprint or "")
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text)
            fits = content["key"] == found.key and fingerprint in (None, content["fingerprint"])
            gates = {str(k): dict(v) for k, v in content["gates"].items()}
            kept = str(content["fingerprint"])
        except FileNotFoundError:
            fits = False
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s is damaged and is made again: %s", path, error)
            fits = False
        if fits:
            found.gates, found.fingerprint, found._read = gates, kept, text
        else:
            # Quantised weights without a record that names their source are of no use.
            for name in (PACKED_FILE, GRAPH_FILE, f"{GRAPH_FILE}.data"):
                (folder / name).unlink(missing_ok=True)
        return found

    def save(self) -> None:
        """Write what has changed; a folder that cannot be written any more is no error."""
        if self.path is None:
            return
        content = {"key": self.key, "fingerprint": self.fingerprint, "gates": self.gates}
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        if text == self._read:
            return
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(self.path)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self.path, error)
        self._read = text


def _may_keep(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and not folder.resolve().is_relative_to(_PACKAGE)


def _key(folder: Path) -> dict[str, Any]:
    """What verdicts hold for; a string or whole number each."""
    key: dict[str, Any] = {
        "format": onnx_graph.FORMAT,
        "processor": processor.name(),
        "flags": " ".join(sorted(processor.flags() & processor.RELEVANT)),
        "step": "onnxruntime" if native_step.missing() else f"compiled {native_step.FORMAT}",
    }
    if not native_vocoder.missing():
        key["vocoder"] = f"compiled {native_vocoder.FORMAT}"
    for package in ("torch", "onnxruntime", "llvmlite"):
        try:
            key[package] = version(package)
        except PackageNotFoundError:
            key[package] = ""
    for name in ("config.json", "model.safetensors", "model.pth"):
        if (folder / name).is_file():
            state = (folder / name).stat()
            key[name] = f"{state.st_size} {state.st_mtime_ns}"
    return key

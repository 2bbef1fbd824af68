"""A small model, saved by the reference implementation and loaded by both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.oracle import Reference, make_pair
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.xtts import XttsModel


@dataclass(frozen=True)
class Pair:
    """The same weights in both implementations.

    Attributes:
        folder: Where the reference saved them.
        ours: Our model.
        theirs: The reference.
    """

    folder: Path
    ours: XttsModel
    theirs: Reference


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Small models with equal weights and a planted bias on the stop code."""
    pytest.importorskip("TTS", reason="the reference implementation is not installed")
    folder = tmp_path_factory.mktemp("pair")
    return Pair(folder, *make_pair(XttsConfig.small(), folder, stop_bias=1.0))

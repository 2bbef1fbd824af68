"""A small model, saved by the reference implementation and loaded by both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from livekit_xtts.model.checkpoint import load_model
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.xtts import XttsModel
from tests.model.reference import Reference, write_random_model


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


def make_pair(config: XttsConfig, folder: Path, stop_bias: float) -> Pair:
    """Random weights, read and saved again by the reference, then loaded by us."""
    write_random_model(config, folder, stop_bias)
    theirs = Reference(config)
    theirs.load(folder / "model.pth")
    theirs.save(folder / "model.pth")
    return Pair(folder, load_model(folder), theirs)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Small models with equal weights and a planted bias on the stop code."""
    return make_pair(XttsConfig.small(), tmp_path_factory.mktemp("pair"), stop_bias=1.0)

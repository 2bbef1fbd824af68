"""A small model of random weights and engines over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.schedule import StepTimes
from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.xtts import XttsModel

TIMES = StepTimes(step_s=0.01, row_s=0.001, window_s=0.001, window_code_s=0.001, piece_s=0.02)
"""Given instead of measured, so that chunk boundaries are the same on every machine."""


@pytest.fixture(scope="session")
def small_model() -> XttsModel:
    return create_random(
        XttsConfig.small(gpt_layers=2, decoder_upsample_initial_channel=16), seed=0
    )


@pytest.fixture
def engines(small_model: XttsModel) -> Iterator[Any]:
    """Makes engines over the small model and closes them."""
    made: list[LocalEngine] = []

    def make(model: Any = small_model, **options: Any) -> LocalEngine:
        made.append(
            LocalEngine(model, **{"threads": 1, "precision": "fp32", "times": TIMES, **options})
        )
        return made[-1]

    yield make
    for engine in made:
        engine.close()

"""Small random models, and graphs of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from livekit_xtts.model import onnx_graph, onnx_step
from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.xtts import XttsModel


@pytest.fixture(scope="session")
def model() -> XttsModel:
    return create_random(XttsConfig.small(gpt_number_text_tokens=300))


@pytest.fixture(scope="session")
def session(model, tmp_path_factory):
    path: Path = tmp_path_factory.mktemp("graph") / "gpt.onnx"
    state = model.gpt.state_dict()
    onnx_graph.write_graph(lambda name: state[name].numpy(), model.config, path)
    return onnx_step.open_session(path, 1)


@pytest.fixture
def runner(model, session):
    """Fresh buffers over the shared session."""
    return onnx_step.OnnxRunner(model.gpt, session, slots=6, length=240)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield

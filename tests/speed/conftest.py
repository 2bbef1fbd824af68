"""Small random models, and graphs of them."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
import torch

from livekit_xtts.model import native_step, onnx_graph, onnx_step
from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.native import layout
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


@pytest.fixture(scope="session")
def packed(model):
    state = model.gpt.state_dict()
    return layout.in_memory(lambda name: state[name].numpy(), layout.Sizes.of(model.config))


@pytest.fixture(params=["onnxruntime", "compiled", "compiled, 2 threads"])
def make(request, model):
    """Makes runners with so many slots, fresh buffers over shared weights."""
    if request.param == "onnxruntime":
        session = request.getfixturevalue("session")
        return lambda slots: onnx_step.OnnxRunner(model.gpt, session, slots, 240)
    if why := native_step.missing():
        pytest.skip(why)
    weights, threads = request.getfixturevalue("packed"), 1 + ("2" in request.param)
    return lambda slots: native_step.NativeRunner(model.gpt, weights, slots, 240, threads)


@pytest.fixture
def runner(make):
    """One with six slots."""
    return make(6)


def long(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.long)


def embeddings(count: int, seed: int, width: int = 64) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield

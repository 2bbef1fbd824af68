"""The ONNX Runtime step: its weights, its buffers, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from livekit_xtts.model import onnx_graph, onnx_step
from livekit_xtts.speech import ModelError
from tests.speed.conftest import embeddings, resident
from tests.speed.test_steps import STEPS, Alone


@pytest.mark.parametrize("inputs", [64, 100, 256])
def test_quantised_weights_are_within_half_a_step(inputs):
    weight = np.random.default_rng(0).standard_normal((inputs, 24)).astype(np.float32)
    weight[:, 3] = 0.0
    values, scales = onnx_graph.quantise(weight)
    back = (values.astype(np.float32) - 128) * scales[:, :, None]
    flat = back.reshape(24, -1)
    error = np.abs(flat[:, :inputs].T - weight)
    bound = np.repeat(scales, onnx_graph.BLOCK, axis=1)[:, :inputs].T
    assert (error <= 0.5001 * bound).all()
    assert (flat[:, inputs:] == 0).all()
    assert (back[3] == 0).all()


def test_slots_move_up_when_rows_before_them_stay_empty(model, session):
    runner = onnx_step.OnnxRunner(model.gpt, session, slots=6, length=240)
    alone = Alone(onnx_step.OnnxRunner(model.gpt, session, slots=2, length=240), 1)
    runner.prefill(5, alone.prompts[0], 0)
    for at in range(STEPS):
        assert torch.equal(alone.step(runner, [(5, 0, at)])[0], alone.steps[0][at])
    assert runner._row_of[5] < 2


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_is_used_as_far_as_positions_are_reached(model, session):
    before = resident()
    big = onnx_step.OnnxRunner(model.gpt, session, slots=64)
    big.prefill(0, embeddings(32, 0), 0)
    assert big._data.numel() * 4 > 100e6
    assert resident() - before < 30e6


def test_a_damaged_graph_is_named(tmp_path):
    path = tmp_path / "gpt.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="ONNX Runtime cannot load"):
        onnx_step.open_session(path, 1)

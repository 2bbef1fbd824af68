"""The compiled step: arithmetic, weights in files, threads, and where it cannot be had."""

from __future__ import annotations

import gc
import math
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from livekit_xtts.model import makers, native_step, onnx_graph, onnx_step, precision, processor
from livekit_xtts.model.checkpoint import create_random, save_model
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.native import layout, program
from livekit_xtts.speech import ModelError
from tests.speed.conftest import embeddings, long, resident

pytestmark = pytest.mark.skipif(bool(native_step.missing()), reason=native_step.missing())


def runner_of(model, packed, threads=1, slots=3):
    return native_step.NativeRunner(model.gpt, packed, slots, 240, threads)


def workers() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("xtts-step")}


def test_packed_weights_are_the_quantised_ones_in_another_order():
    weight = np.random.default_rng(0).standard_normal((128, 48)).astype(np.float32)
    values, scales = onnx_graph.quantise(weight, 64)
    tiles = layout.packed(weight).reshape(3, 2, 64 * 16 + 64)
    for output, block, k in ((0, 0, 0), (17, 1, 5), (47, 1, 63)):
        tile = tiles[output // 16, block]
        assert tile[k // 4 * 64 + output % 16 * 4 + k % 4] == values[output, block, k]
        assert tile[1024:].view(np.float32)[output % 16] == scales[output, block]


def test_the_difference_to_float32_is_that_of_the_other_8_bit_step(model, session, packed):
    """Same weights in 8 bits, same scales a block of activations: what is left is rounding to half
    precision of keys and values, 2 to the -11 each, and the activations that it tips over."""
    ours = runner_of(model, packed)
    theirs = onnx_step.OnnxRunner(model.gpt, session, 2, 240)
    prompt = embeddings(70, 1)
    a, b = ours.prefill(0, prompt, 0), theirs.prefill(0, prompt, 0)
    assert (a - b).std() < 0.01 * b.std()


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_the_number_of_threads_changes_no_bit(model, packed, threads):
    one, many = runner_of(model, packed), runner_of(model, packed, threads)
    prompt = embeddings(75, 2)
    assert torch.equal(one.prefill(1, prompt, 0), many.prefill(1, prompt, 0))
    step = (long(1), long(7), long(0), long(75))
    for ours, theirs in zip(one.step(*step), many.step(*step), strict=True):
        assert torch.equal(ours, theirs)


def test_a_prompt_may_be_split_anywhere(model, packed):
    runner = runner_of(model, packed)
    prompt = embeddings(45, 3)
    whole = runner.prefill(0, prompt, 0)
    parts = [runner.prefill(1, prompt[a:b], a) for a, b in ((0, 7), (7, 41), (41, 45))]
    assert torch.equal(torch.cat(parts), whole)


def test_values_that_are_not_finite_are_not_made_finite(model, packed):
    runner = runner_of(model, packed)
    for bad in (math.nan, math.inf, -math.inf):
        prompt = embeddings(5, 4)
        prompt[4, 3] = bad
        hidden = runner.prefill(0, prompt, 0)
        assert hidden[:4].isfinite().all()
        assert not hidden[4].isfinite().any()


def test_silence_in_the_activations_is_no_division_by_zero(model, packed):
    assert runner_of(model, packed).prefill(0, torch.zeros(3, 64), 0).isfinite().all()


def test_worker_threads_end_with_their_runner(model, packed):
    before = workers()
    runner = runner_of(model, packed, threads=3)
    mine = workers() - before
    assert len(mine) == 2
    runner.prefill(0, embeddings(3, 5), 0)
    del runner
    gc.collect()
    for thread in mine:
        thread.join(10)
        assert not thread.is_alive()


def test_a_file_gives_what_memory_gives(model, packed, tmp_path):
    sizes, path = layout.Sizes.of(model.config), tmp_path / "weights.bin"
    state = model.gpt.state_dict()
    layout.write_file(lambda name: state[name].numpy(), sizes, path)
    assert np.array_equal(layout.map_file(path, sizes), packed)
    assert [found.name for found in tmp_path.iterdir()] == ["weights.bin"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="damaged or of another model"):
        layout.map_file(path, sizes)


def test_a_write_that_fails_leaves_nothing(model, tmp_path):
    def read(name):
        raise OSError("no such weight")

    with pytest.raises(OSError, match="no such weight"):
        layout.write_file(read, layout.Sizes.of(model.config), tmp_path / "weights.bin")
    assert not list(tmp_path.iterdir())


def test_precision_takes_it_and_keeps_its_weights(model, tmp_path, monkeypatch):
    monkeypatch.setattr(makers, "WORTHWHILE", {"gpt": 0, "vocoder": 10**9})
    monkeypatch.setattr("livekit_xtts.model.gates.MIN_AGREEMENT", 0.9)
    monkeypatch.setattr("livekit_xtts.model.gates.CODES", 48)
    save_model(model, tmp_path)
    first = precision.prepare(model, slots=1, length=300, folder=tmp_path)
    assert isinstance(first.runner, native_step.NativeRunner) and first.gpt == "int8"
    assert (tmp_path / "gpt-int8.bin").is_file()
    loaded = precision.load_for(tmp_path)
    assert next(loaded.gpt.gpt.h.parameters()).is_meta
    again = precision.prepare(loaded, slots=1, length=300, folder=tmp_path)
    prompt = embeddings(20, 6)
    assert torch.equal(again.runner.prefill(0, prompt, 0), first.runner.prefill(0, prompt, 0))


def test_a_full_disk_keeps_the_weights_in_memory(model, tmp_path, monkeypatch, caplog):
    def full(descriptor, start, count):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    save_model(model, tmp_path)
    parts = precision.prepare(model, precision="int8", slots=1, length=64, folder=tmp_path)
    assert isinstance(parts.runner, native_step.NativeRunner)
    assert "No space left" in caplog.text
    assert not list(tmp_path.glob("*gpt-int8*"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda patch: patch.setattr(sys, "platform", "darwin"), "Linux"),
        (lambda patch: patch.setattr(processor, "flags", lambda: {"avx2"}), "avx512_vnni"),
        (lambda patch: patch.setitem(sys.modules, "llvmlite", None), "llvmlite"),
    ],
)
def test_where_it_cannot_be_had_onnx_runtime_steps(model, monkeypatch, change, reason):
    change(monkeypatch)
    assert reason in native_step.missing()
    runner = precision.make_runner(model, "int8", slots=1, length=64)
    assert isinstance(runner, onnx_step.OnnxRunner)


def test_sizes_that_the_kernels_do_not_take(caplog):
    config = XttsConfig.small(
        gpt_n_model_channels=48, gpt_n_heads=2, decoder_input_dim=48, gpt_number_text_tokens=300
    )
    with pytest.raises(ModelError, match="multiples of 64"):
        layout.Sizes.of(config)
    with caplog.at_level("INFO"):
        runner = precision.make_runner(create_random(config), "int8", slots=1, length=64)
    assert isinstance(runner, onnx_step.OnnxRunner)
    assert "is not compiled" in caplog.text


def test_code_that_llvm_refuses_is_an_error_of_ours(model, monkeypatch):
    program._compiled.cache_clear()
    monkeypatch.setattr(program, "source", lambda sizes, rows: "define nonsense")
    with pytest.raises(ModelError, match="cannot compile"):
        program.compiled(layout.Sizes.of(model.config), 32)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_is_used_as_far_as_positions_are_reached(model, packed):
    before = resident()
    big = native_step.NativeRunner(model.gpt, packed, slots=64)
    big.prefill(0, embeddings(32, 0), 0)
    assert big._keys.numel() * 2 > 50e6
    assert resident() - before < 20e6

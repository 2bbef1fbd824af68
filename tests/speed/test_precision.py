"""Which precision is chosen: gates, refusals, fallbacks, and what is kept beside a checkpoint."""

from __future__ import annotations

import copy
import json
import sys

import pytest
import torch

from livekit_xtts.engine.source import random_voice
from livekit_xtts.model import gates, makers, onnx_step, precision, processor, verdicts
from livekit_xtts.model.checkpoint import create_random, save_model
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.runner import TorchRunner
from livekit_xtts.speech import ModelError

ABLE = frozenset({"avx2", "avx512_vnni", "avx512_bf16"})


@pytest.fixture(autouse=True)
def able_processor(monkeypatch):
    """Every processor can do everything, and every model is worth it, unless a test says no."""
    monkeypatch.setattr(processor, "flags", lambda: ABLE)
    monkeypatch.setattr(makers, "WORTHWHILE", {"gpt": 0, "vocoder": 0})


@pytest.fixture(autouse=True)
def short_gates(monkeypatch):
    monkeypatch.setattr(gates, "CODES", 48)


@pytest.fixture
def lenient(monkeypatch):
    """48 codes are too few to tell 97 from 96 %: where the gate is not the subject, it is wide."""
    monkeypatch.setattr(gates, "MIN_AGREEMENT", 0.9)
    monkeypatch.setattr(gates, "MIN_SNR_DB", 25.0)


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path)
    return tmp_path


def test_auto_takes_the_fastest_that_passes(model, lenient):
    parts = precision.prepare(model, slots=2, length=300, voice=random_voice(model))
    assert isinstance(parts.runner, onnx_step.OnnxRunner)
    assert parts.precision == "int8+bf16"
    assert parts.report["gpt int8"]["passed"] and parts.report["vocoder bf16"]["passed"]


def test_a_small_model_is_left_as_it_is(model, monkeypatch):
    monkeypatch.setattr(makers, "WORTHWHILE", {"gpt": 10**9, "vocoder": 10**9})
    assert precision.prepare(model, slots=2, length=64).precision == "fp32"


def with_outliers(model, scale: float):
    """The same model with one huge input weight in every block, and an input that cancels it.

    In float32 nothing changes much: the huge weights meet an input that the norm before them keeps
    at zero. In 8 bits they take all resolution from their neighbours.
    """
    changed = copy.deepcopy(model)
    for block in changed.gpt.gpt.h:
        for norm, layer in ((block.ln_1, block.attn.c_attn), (block.ln_2, block.mlp.c_fc)):
            norm.weight[0] = 0.0
            norm.bias[0] = 0.0
            layer.weight[0] = scale
    return changed


def test_planted_outliers_are_refused(model):
    spoilt = with_outliers(model, 60.0)
    parts = precision.prepare(spoilt, slots=2, length=300)
    assert not parts.report["gpt int8"]["passed"]
    assert parts.gpt != "int8"
    assert isinstance(parts.runner, TorchRunner)


def test_values_that_are_not_finite_are_refused(model):
    verdict = gates.GptVerdict(1.0, float("nan"), 10)
    assert not verdict.passed
    assert not gates.VocoderVerdict(float("nan")).passed

    def broken(features, speaker):
        return torch.full_like(model.vocoder(features, speaker), float("nan"))

    assert not gates.judge_vocoder(model.vocoder, broken).passed


def test_a_vocoder_below_the_gate_stays_in_float32(model, lenient, monkeypatch):
    monkeypatch.setattr(gates, "MIN_SNR_DB", 300.0)
    parts = precision.prepare(model, slots=2, length=300)
    assert parts.precision == "int8"
    assert parts.vocoder is model.vocoder


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(frozenset(), "fp32"), (frozenset({"avx2"}), "int8"), (frozenset({"avx512_bf16"}), "bf16")],
)
def test_a_processor_without_the_instructions(model, lenient, monkeypatch, flags, expected):
    monkeypatch.setattr(processor, "flags", lambda: flags)
    parts = precision.prepare(model, slots=2, length=300)
    assert parts.gpt == expected


def test_without_onnx_runtime_something_else_is_taken(model, lenient, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert precision.prepare(model, slots=2, length=300).gpt == "bf16"
    with pytest.raises(ModelError, match="onnxruntime"):
        precision.prepare(model, precision="int8", slots=2, length=300)


def test_without_its_kernels_something_else_is_taken(model, lenient, monkeypatch):
    def refuse(path, threads):
        raise ModelError("ONNX Runtime cannot load the GPT step: MatMulNBits is not implemented")

    monkeypatch.setattr(onnx_step, "open_session", refuse)
    assert precision.prepare(model, slots=2, length=300).gpt == "bf16"


@pytest.mark.parametrize(
    ("name", "kind", "vocoding"),
    [("fp32", TorchRunner, "fp32"), ("int8+bf16", onnx_step.OnnxRunner, "bf16")],
)
def test_a_precision_by_name_is_taken_without_a_gate(model, name, kind, vocoding):
    parts = precision.prepare(model, precision=name, slots=2, length=64)
    assert isinstance(parts.runner, kind)
    assert (parts.precision, parts.vocoding, parts.report) == (name, vocoding, {})


@pytest.mark.parametrize("name", ["int4", "fp16", "int8+int8", ""])
def test_an_unknown_precision_is_refused(model, name):
    with pytest.raises(ModelError, match="is not offered on cpu"):
        precision.prepare(model, precision=name)


def test_what_is_kept_is_used_again(model, folder, lenient, monkeypatch):
    first = precision.prepare(model, slots=2, length=300, folder=folder)
    kept = json.loads((folder / verdicts.FILE).read_text())
    assert kept["gates"] == first.report
    assert kept["fingerprint"] == model.fingerprint
    monkeypatch.setattr(makers, "judge_gpt", None)
    monkeypatch.setattr(makers, "judge_vocoder", None)
    loaded = precision.load_for(folder)
    assert next(loaded.gpt.gpt.h.parameters()).is_meta
    assert loaded.fingerprint == model.fingerprint
    again = precision.prepare(loaded, slots=2, length=300, folder=folder)
    prompt = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.runner.prefill(0, prompt, 0), first.runner.prefill(0, prompt, 0))


def test_other_weights_are_judged_anew(model, folder, lenient):
    precision.prepare(model, slots=2, length=300, folder=folder)
    other = create_random(model.config, seed=1)
    save_model(other, folder)
    found = verdicts.Verdicts.open(folder, None)
    assert not found.gates and found.weights is None
    assert not next(precision.load_for(folder).parameters()).is_meta


@pytest.mark.parametrize("content", ["{", "[]", '{"key": 1}', '{"key": {}, "gates": 3}'])
def test_a_damaged_record_is_made_again(model, folder, lenient, content):
    (folder / verdicts.FILE).write_text(content)
    parts = precision.prepare(model, slots=2, length=300, folder=folder)
    assert json.loads((folder / verdicts.FILE).read_text())["gates"] == parts.report


def test_nothing_is_written_inside_the_package():
    package = verdicts._PACKAGE
    assert verdicts.Verdicts.open(package / "bundled", "x").path is None
    assert verdicts.Verdicts.open(None, "x").weights is None


def test_released_blocks_leave_a_working_runner(lenient):
    own = create_random(XttsConfig.small(gpt_number_text_tokens=300), seed=2)
    parts = precision.prepare(own, slots=2, length=300, release=True)
    assert next(own.gpt.gpt.h.parameters()).is_meta
    assert parts.runner.prefill(0, torch.zeros(5, 64), 0).isfinite().all()
    with pytest.raises(ModelError, match="without its blocks"):
        precision.make_runner(own, "fp32")


def test_detection_reads_what_the_system_says(tmp_path, monkeypatch):
    monkeypatch.undo()
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 avx512_bf16\n")
    monkeypatch.setattr(processor, "_CPUINFO", info)
    processor.flags.cache_clear()
    assert processor.has_int8() and processor.has_bf16() and processor.name() == "Some CPU"
    processor.flags.cache_clear()
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(processor.platform, "machine", lambda: "arm64")
    assert processor.has_int8() and not processor.has_bf16()
    processor.flags.cache_clear()


def test_the_gate_compares_with_a_runner_that_is_exact(model):
    runner = TorchRunner(model.gpt, slots=2)
    verdict, latents = gates.judge_gpt(model.gpt, runner)
    assert verdict.agreement == 1.0 and verdict.distance < 1e-4
    assert latents.shape == (gates.CODES, 64)

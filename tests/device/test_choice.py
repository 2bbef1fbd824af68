"""Which kernels a GPU gets: our own where they run and pass, torch's where not; and compiling them
for GPUs that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from livekit_xtts.engine.step import HostCopy, HostPart, host_copies
from livekit_xtts.model import device, gates, makers, processor
from livekit_xtts.model.device.runner import DeviceRunner
from livekit_xtts.model.device.vocoder import DeviceVocoder
from livekit_xtts.model.fast_vocoder import FastVocoder
from livekit_xtts.model.makers import Makers
from livekit_xtts.model.runner import TorchRunner
from livekit_xtts.model.verdicts import Verdicts


@pytest.fixture
def made(model, plain_kernels, monkeypatch):
    """Makers on a device that takes our own kernels."""
    monkeypatch.setattr(device, "missing", lambda place: "")
    monkeypatch.setattr(processor, "has_bf16", lambda: True)
    monkeypatch.setattr(makers, "WORTHWHILE", {"gpt": 0, "vocoder": 0})
    monkeypatch.setattr(gates, "CODES", 12)
    monkeypatch.setattr(gates, "MIN_AGREEMENT", 0.5)
    monkeypatch.setattr(gates, "MAX_DISTANCE", 0.5)
    return Makers(model, 3, 100, torch.device("cpu"), 1, Verdicts.open(None, ""))


def test_own_kernels_are_taken_where_they_pass(made):
    runner, spoken = made.try_gpt("bf16", True, None)
    assert isinstance(runner, DeviceRunner) and runner.dtype == torch.bfloat16
    assert spoken is not None
    assert list(made._verdicts.gates) == ["gpt bf16, own kernels"]
    # A single slot is judged by a runner with more of them.
    alone = Makers(made._model, 1, 100, torch.device("cpu"), 1, Verdicts.open(None, ""))
    assert isinstance(alone.try_gpt("bf16", True, None)[0], DeviceRunner)


def test_kernels_that_say_something_else_are_not_taken(made, monkeypatch):
    step = DeviceRunner.step
    monkeypatch.setattr(
        DeviceRunner, "step", lambda *given: tuple(part * 0.0 for part in step(*given))
    )
    monkeypatch.setattr(DeviceRunner, "try_out", lambda self: None)
    runner, _ = made.try_gpt("bf16", True, None)
    assert isinstance(runner, TorchRunner)
    passed = {name: verdict["passed"] for name, verdict in made._verdicts.gates.items()}
    assert passed == {"gpt bf16, own kernels": False, "gpt bf16": True}


@pytest.mark.parametrize("part", ["GPT", "vocoder"])
def test_kernels_that_do_not_compile_are_not_taken(made, monkeypatch, caplog, part):
    def fail(self):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(DeviceRunner, "try_out", fail)
    monkeypatch.setattr(DeviceVocoder, "try_out", fail)
    if part == "GPT":
        assert isinstance(made.gpt("bf16"), TorchRunner)
    else:
        assert isinstance(made.vocoder("fp16"), FastVocoder)
    assert f"the {part} runs without kernels of its own" in caplog.text
    assert "Failed to find C compiler" in caplog.text


def test_a_vocoder_that_sounds_different_is_not_taken(made, monkeypatch):
    monkeypatch.setattr(DeviceVocoder, "try_out", lambda self: None)
    monkeypatch.setattr(
        DeviceVocoder, "__call__", lambda self, x, speaker: torch.zeros(1, 256 * x.shape[2])
    )
    monkeypatch.setattr(makers.native_vocoder, "missing", lambda *dtype: "no compiler")
    chosen = made.try_vocoder("bf16", True, torch.randn(6, 64), None)
    assert chosen is None or isinstance(chosen, FastVocoder)
    assert made._verdicts.gates["vocoder bf16, own kernels"]["passed"] is False
    assert "vocoder bf16" in made._verdicts.gates


def test_where_there_are_no_kernels(monkeypatch):
    cuda = torch.device("cuda")
    assert "CUDA" in device.missing(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: (9, 0))
    assert device.missing(cuda) == ""
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    assert "Triton" in device.missing(cuda)
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: "an old card")
    assert "an old card" in device.missing(cuda)


def test_several_tensors_leave_a_device_in_one_copy():
    parts = [torch.arange(3.0), torch.zeros(0), torch.arange(5.0)]
    assert all(isinstance(copy, HostCopy) for copy in host_copies(parts))
    whole = HostCopy(torch.cat(parts))
    shares = [HostPart(whole, 0, 3), HostPart(whole, 3, 3), HostPart(whole, 3, 8)]
    assert all(share.ready for share in shares)
    for share, part in zip(shares, parts, strict=True):
        assert torch.equal(share.wait(), part)


COMPILE = """
    import inspect, sys
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    import triton
    from livekit_xtts.model.device import programs

    def compile_for(capability, program, pointers, wholes, constants, warps):
        names = inspect.signature(program.fn).parameters
        kinds = {name: "constexpr" for name in constants}
        kinds |= {name: kind for name, kind in pointers.items()}
        kinds |= {name: "i32" for name in wholes}
        signature = {name: kinds[name] for name in names}
        source = ASTSource(fn=program, signature=signature, constexprs=constants)
        made = triton.compile(
            source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps}
        )
        assert made.asm["cubin"]
        return made.metadata.shared

    for capability, most in ((80, 101376), (90, 232448)):
        half = {"qkv": "*fp16", "cache": "*fp16", "out": "*fp16"}
        table = {"slots": "*i64", "positions": "*i64", "scale": "fp32"}
        compile_for(
            capability, programs.attend, half | table,
            ["slot_stride", "head_stride", "value_stride"],
            {"heads": 16, "size": 64, "block": 64, "append": True}, 4,
        )
        tables = {name: "*i32" for name in ("firsts", "ends", "owners", "total")}
        signals = {"x": "*fp16", "weight": "*fp16", "bias": "*fp32", "shift": "*fp32",
                   "residual": "*fp16", "y": "*fp16"}
        shared = compile_for(
            capability, programs.convolve, signals | tables,
            ["rate", "taps", "dilation", "reach", "up", "split", "shift_stride"],
            {"inputs": 256, "outputs": 256, "columns": 256, "slope_in": 0.1, "slope_out": 1.0,
             "shifted": False, "added": True, "summed": True, "rows_block": 128,
             "columns_block": 128, "depth": 64}, 8,
        )
        assert shared <= most, (capability, shared)
        print(capability, shared)
"""


def test_kernels_compile_for_gpus(tmp_path):
    """To machine code, with what each of them has of shared memory."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    script = tmp_path / "compile.py"
    script.write_text(textwrap.dedent(COMPILE))
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["80", "90"]

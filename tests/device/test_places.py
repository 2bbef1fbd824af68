"""Tensors without contents on a GPU that is not there: nothing is on the wrong device, and nothing
waits for a value."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from livekit_xtts.engine import batched, step
from livekit_xtts.engine.batched import BatchedPrompts
from livekit_xtts.engine.job import Progress
from livekit_xtts.engine.prompts import VoiceState
from livekit_xtts.engine.sampler import Sampler
from livekit_xtts.engine.step import Rows, Stepper
from livekit_xtts.model.device import convolve
from livekit_xtts.model.device import vocoder as device_vocoder
from livekit_xtts.model.device.convolve import Convolution
from livekit_xtts.model.device.runner import DeviceRunner
from livekit_xtts.model.device.vocoder import DeviceVocoder
from livekit_xtts.model.runner import TorchRunner
from livekit_xtts.model.streaming import stream_plan
from livekit_xtts.model.vocoder import HifiGan
from livekit_xtts.speech import Sampling

CUDA = torch.device("cuda:0")


class Copies(TorchDispatchMode):
    """Notes operations that bring a tensor of the host to the device, which waits."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        places = {
            part.device.type
            for part in tree_flatten((args, kwargs, result))[0]
            if isinstance(part, torch.Tensor)
        }
        # A number that fills a tensor is read on the host.
        if len(places) > 1 and "fill_" not in str(func):
            self.found.append(str(func))
        return result


@pytest.fixture(autouse=True)
def no_contents(plain_kernels, monkeypatch):
    """A GPU of tensors without contents; what is page-locked elsewhere is not here."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(step, "HostCopy", lambda tensor: tensor)
    monkeypatch.setattr(batched, "SIZES", (8, 16))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def stepper(model) -> Stepper:
    runner = DeviceRunner(model.gpt, 5, 60, CUDA)
    sampler = Sampler(5, 1026, 40, start_code=1024, stop_code=1025, device=CUDA)
    return Stepper(runner, sampler, 40)


def test_a_step_waits_for_nothing(model):
    made = stepper(model)
    made.sampler.assign(2, Sampling(), seed=7)
    codes = made.launch(Rows((0, 1, 2), (3, 4, 5), (40, 41, 42)))
    assert codes.device == CUDA
    assert made.latents(0, 0, 2).device == CUDA
    with pytest.raises(Exception, match="_local_scalar_dense"):
        codes.sum().item()  # So would whoever waits in a step be found out.


@pytest.mark.parametrize("kind", [DeviceRunner, TorchRunner])
def test_nothing_in_a_step_comes_from_the_host(model, kind):
    """Which a graph could not hold either."""
    runner = kind(model.gpt, 5, 60, CUDA, torch.float32)
    sampler = Sampler(5, 1026, 40, start_code=1024, stop_code=1025, device=CUDA)
    made = Stepper(runner, sampler, 40)
    rows = torch.zeros(4, dtype=torch.long, device=CUDA)
    made.body(rows, rows, rows)
    with Copies() as copies:
        made.body(rows, rows, rows)
        if kind is DeviceRunner:
            runner.read(rows, rows, rows, rows)
    assert copies.found == []
    with Copies() as copies:
        sampler._used[rows, rows] = True
    assert copies.found, "such an assignment is what this test is for"


def test_prompts_wait_for_nothing(model):
    made = stepper(model)
    prompts = BatchedPrompts(model.gpt, made.runner, 1024)
    width = model.config.gpt_n_model_channels
    voice = VoiceState(torch.empty(32, width, device=CUDA), torch.empty(32, device=CUDA))
    jobs = []
    for slot, ids in enumerate(((5, 6), (7, 8, 9))):
        job = SimpleNamespace(
            progress=Progress(slot=slot), voice=voice, prepared=SimpleNamespace(ids=ids)
        )
        job.progress.prompt = prompts.begin(job)
        jobs.append(job)
    ended, hidden = prompts.advance(prompts.together(jobs[1], jobs))
    assert ended == [jobs[1], jobs[0]]
    assert hidden.device == CUDA and hidden.shape == (2, width)
    assert made.first([1, 0], hidden).device == CUDA


def test_windows_wait_for_nothing(model, monkeypatch):
    def convolution(self, x, bounds, rate, *, shift=None, residual=None, into=None, **slopes):
        found = {part.device for part in (x, self.weight, self.bias, bounds.firsts)}
        found |= {part.device for part in (shift, residual, into) if part is not None}
        assert found == {CUDA}
        return x.new_empty(bounds.frames * rate * self.up, self.outputs)

    def sound(x, weight, bounds, rate, slope):
        return x.new_empty(bounds.frames * rate, dtype=torch.float32)

    monkeypatch.setattr(Convolution, "__call__", convolution)
    monkeypatch.setattr(device_vocoder, "sound", sound)
    assert convolve.sound is not sound
    config = model.config
    with CUDA:
        made = DeviceVocoder(HifiGan(config))
    plan = stream_plan(config, 1.0)
    items = []
    for codes in (7, 9):
        last = plan.final_samples(codes, True)
        latents = torch.empty(codes, config.gpt_n_model_channels, device=CUDA)
        speaker = torch.empty(config.d_vector_dim, device=CUDA)
        items.append((latents, speaker, plan.window(0, last, codes, True)))
    found = made.decode(items)
    assert [part.device for part in found] == [CUDA, CUDA]
    assert [len(part) for part in found] == [plan.samples(7), plan.samples(9)]

"""An engine that takes the ways of a GPU, put together of stand-ins where there is none."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from livekit_xtts.engine import batched, machine
from livekit_xtts.engine.batched import BatchedPrompts
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.schedule import StepTimes
from livekit_xtts.model.device.runner import DeviceRunner
from livekit_xtts.model.device.vocoder import DeviceVocoder
from livekit_xtts.model.precision import Parts
from livekit_xtts.speech import EngineFailedError, SpeechChunk, SpeechDone, SpeechRequest
from tests.device.conftest import DEVICE
from tests.device.test_vocoder import stand_in

TIMES = StepTimes(step_s=0.01, row_s=0.001, window_s=0.001, window_code_s=0.001, piece_s=0.001)


class Listener:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.chunks: list[SpeechChunk] = []
        self.last: Any = None
        self.ended = threading.Event()

    def __call__(self, event: Any) -> None:
        if isinstance(event, SpeechChunk):
            self.chunks.append(event)
        else:
            self.last = event
            self.ended.set()

    @property
    def audio(self) -> Tensor:
        assert self.ended.wait(120) and isinstance(self.last, SpeechDone), self.last
        return torch.cat([torch.from_numpy(chunk.audio) for chunk in self.chunks])


@pytest.fixture
def device_engine(model, plain_kernels, monkeypatch):
    """Makes engines on the ways of a GPU, in float32."""
    plain = model.vocoder
    made: list[LocalEngine] = []

    def network(self, x, speakers, bounds):
        audio = torch.zeros(len(x) * self.config.output_hop_length, device=x.device)
        for row in bounds.firsts[: int(bounds.total)].unique().tolist():
            end = int(bounds.ends[row])
            owner = int(bounds.owners[row])
            part = plain(x[row:end].T[None], speakers[owner][None])
            audio[256 * row : 256 * end] = part[0]
        return audio

    def prepare(model, *, slots, length, **options):
        runner = DeviceRunner(model.gpt, slots, length, DEVICE, torch.float32)
        return Parts(runner, DeviceVocoder(model.vocoder, torch.float32), "fp32", "fp32")

    monkeypatch.setattr(DeviceVocoder, "network", network)
    monkeypatch.setattr(machine, "on_cuda", lambda device: True)
    monkeypatch.setattr(machine, "prepare", prepare)
    monkeypatch.setattr(batched, "SIZES", (16, 64))
    if DEVICE.type == "cpu":
        monkeypatch.setattr(machine, "cuda_capture", lambda: stand_in)

    def make(**options: Any) -> LocalEngine:
        options = {"threads": 1, "times": TIMES, "slots": 6, "admission": False, **options}
        made.append(LocalEngine(model, device=str(DEVICE), **options))
        made[-1].load()
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def requests(model) -> list[SpeechRequest]:
    voice = machine.random_voice(model)
    return [
        SpeechRequest(
            "",
            voice=voice,
            ids=tuple(range(5, 8 + 9 * seed)),
            seed=seed,
            max_codes=6 + 5 * seed,
            speed=1.0 if seed < 4 else 1.2,
        )
        for seed in range(5)
    ]


def speak(engine: LocalEngine, asked: list[SpeechRequest]) -> list[Listener]:
    listeners = [Listener() for _ in asked]
    for request, listener in zip(asked, listeners, strict=True):
        engine.submit(request, listener)
    return listeners


def test_speech_is_what_a_plain_engine_speaks(model, device_engine):
    asked = requests(model)
    engine = device_engine()
    found = engine._machine
    assert isinstance(found.scheduler.prompts, BatchedPrompts)
    assert found.runner.slots == 7, "a slot for rows that fill up"
    ours = speak(engine, asked)
    plain = LocalEngine(model, device="cpu", threads=1, precision="fp32", times=TIMES)
    try:
        for listener, request in zip(ours, asked, strict=True):
            (theirs,) = speak(plain, [request])
            expected = theirs.audio
            assert listener.audio.shape == expected.shape
            assert listener.last.codes == theirs.last.codes
            assert (listener.audio - expected).abs().max() < 1e-3
    finally:
        plain.close()


def test_prompts_of_several_requests_are_read_together(model, device_engine):
    engine = device_engine(slots=4)
    scheduler = engine._machine.scheduler
    counters, tick = scheduler.counters, scheduler.tick
    waiting, gate = threading.Event(), threading.Event()

    def held() -> bool:
        waiting.set()
        gate.wait(60)
        return tick()

    # The engine's thread is held where it looks for work, until all have come.
    scheduler.tick = held
    engine._wake.set()
    assert waiting.wait(60)
    listeners = speak(engine, requests(model)[:3])
    gate.set()
    assert all(len(listener.audio) for listener in listeners)
    # 6, 15 and 24 positions: one call of up to 64; after it each speaks to its end.
    assert counters.pieces == 1


def test_a_prompt_longer_than_a_call_is_read_in_several(model, device_engine, monkeypatch):
    engine = device_engine(slots=2)
    asked = requests(model)[0]
    long = SpeechRequest("", voice=asked.voice, ids=tuple(range(5, 155)), seed=1, max_codes=4)
    (listener,) = speak(engine, [long])
    assert len(listener.audio)
    # 153 positions after the voice's, 64 a call.
    assert engine._machine.scheduler.counters.pieces == 3


def test_one_prompt_that_fails_fails_alone(model, device_engine, monkeypatch):
    engine = device_engine(slots=4)
    prompts = engine._machine.scheduler.prompts
    read = prompts._read

    def fail(table):
        if 77 in table[2]:
            raise RuntimeError("device-side assert")
        return read(table)

    monkeypatch.setattr(prompts, "_read", fail)
    first, second, third = requests(model)[:3]
    bad = SpeechRequest("", voice=second.voice, ids=(77, 5), seed=2, max_codes=5)
    listeners = speak(engine, [first, bad, third])
    assert len(listeners[0].audio) and len(listeners[2].audio)
    assert listeners[1].ended.wait(60)
    error = listeners[1].last.error
    assert isinstance(error, EngineFailedError) and "device-side assert" in str(error)


def test_graphs_are_given_up_and_made_again(model, device_engine):
    engine = device_engine(slots=2)
    found = engine._machine
    (before,) = speak(engine, requests(model)[:1])
    expected = before.audio
    for part in (found.scheduler.prompts, found._vocoder, found.scheduler.stepper):
        part.release()
    assert found.scheduler.prompts._sizes == {}
    (after,) = speak(engine, requests(model)[:1])
    assert torch.equal(after.audio, expected)


def test_the_engine_thread_works_on_its_own_device(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    machine.settle(torch.device("cuda:1"))
    machine.settle(torch.device("cpu"))
    assert chosen == [torch.device("cuda:1")]


def test_where_nothing_can_be_captured_all_runs_as_it_is(model, device_engine, monkeypatch, caplog):
    def fail(work):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(machine, "cuda_capture", lambda: fail)
    engine = device_engine(slots=2)
    for what in ("steps run", "prompts are read", "windows are decoded"):
        assert caplog.text.count(f"{what} without CUDA graphs") == 1
    (listener,) = speak(engine, requests(model)[:1])
    assert len(listener.audio)


def test_what_fills_steps_up_stays_valid_while_the_model_is_away(model, device_engine):
    """Nobody is ever given the scratch slot: its settings would stay zeros for good."""
    engine = device_engine(slots=2)
    stepper = engine._machine.scheduler.stepper
    for tensor in stepper.scratch():
        tensor.zero_()
    stepper.release()
    (listener,) = speak(engine, requests(model)[:1])
    assert len(listener.audio)


def test_step_times_are_measured_on_the_device_ways(model, device_engine):
    engine = device_engine(slots=3, times=None)
    times = engine._machine.times
    assert times.batch == 64
    assert min(times.step_s, times.piece_s) > 0.0

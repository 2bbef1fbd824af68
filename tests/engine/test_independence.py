"""The real model at a small size: a request's bits do not depend on its company."""

from __future__ import annotations

import dataclasses
import random
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.job import Job
from livekit_xtts.engine.machine import Machine
from livekit_xtts.engine.settings import Settings
from livekit_xtts.engine.source import Loaded, random_voice
from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.streaming import stream_plan
from livekit_xtts.model.xtts import XttsModel
from livekit_xtts.speech import ModelError, Sampling, SpeechDone, SpeechRequest
from tests.engine.conftest import TIMES
from tests.engine.fakes import Listener

SCHEDULES = 100
REQUESTS = 16
STOP = 1025


def make_machine(precision: str = "fp32") -> Machine:
    """Driven by the test, without a thread."""
    model = create_random(
        XttsConfig.small(gpt_layers=2, decoder_upsample_initial_channel=16), seed=0
    )
    # A push on the stop code, so that requests end by themselves at different places.
    with torch.no_grad():
        model.gpt.mel_head.bias[STOP] += 3.0
    loaded = Loaded("small", model, None, random_voice(model, 0))
    return Machine(
        loaded,
        Settings(precision=precision, times=TIMES, clock=_Ticking(), ends=Ends.off()),
    )


@pytest.fixture(scope="module")
def machine() -> Machine:
    return make_machine()


class _Ticking:
    """A clock that goes on by itself, so that leads differ from schedule to schedule."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.0007
        return self.now


def asked(model: XttsModel, seed: int) -> SpeechRequest:
    chance = random.Random(seed)
    return SpeechRequest(
        text="",
        ids=tuple(chance.randrange(2, 6000) for _ in range(chance.randrange(1, 60))),
        voice=random_voice(model, seed % 3),
        seed=seed,
        speed=chance.choice((1.0, 1.0, 0.8, 1.3)),
        max_codes=chance.randrange(1, 15),
        sampling=Sampling(do_sample=seed % 5 > 0, temperature=0.6 + 0.1 * (seed % 4)),
        streaming=seed % 6 > 0,
    )


def submit(machine: Machine, request: SpeechRequest) -> tuple[Job, Listener]:
    listener = Listener()
    job = Job(request, listener, machine.scheduler._clock, machine.scheduler.cancel)
    machine.scheduler.submit(job)
    return job, listener


def compare(machine: Machine, schedules: int) -> None:
    """Random schedules of 8 requests; whoever ends by itself has the bits it has alone."""

    @cache
    def alone(seed: int) -> Listener:
        _, listener = submit(machine, asked(machine.model, seed))
        while machine.scheduler.tick():
            pass
        return listener

    ends = [alone(seed).last for seed in range(REQUESTS)]
    assert {end.stopped for end in ends} == {True, False}  # type: ignore[union-attr]
    checked = cancelled = together = 0
    for schedule in range(schedules):
        chance = random.Random(schedule)
        seeds = [chance.randrange(REQUESTS) for _ in range(8)]
        running: list[tuple[int, Job, Listener]] = []
        while seeds or machine.scheduler.jobs:
            if seeds and chance.random() < 0.25:
                seed = seeds.pop()
                running.append((seed, *submit(machine, asked(machine.model, seed))))
            if running and chance.random() < 0.02:
                chance.choice(running)[1].cancel()
            together = max(together, machine.scheduler.taken)
            machine.scheduler.tick()
        for seed, _, listener in running:
            assert isinstance(listener.last, SpeechDone)
            expected = alone(seed)
            if listener.last.cancelled:
                cancelled += 1
                assert expected.audio.startswith(listener.audio)
                assert expected.codes[: len(listener.codes)] == listener.codes
            else:
                checked += 1
                assert listener.codes == expected.codes
                assert listener.audio == expected.audio
    assert checked > 5 * schedules and cancelled >= schedules // 3 and together >= 5


def test_hundreds_of_schedules_give_the_same_bits(machine: Machine) -> None:
    compare(machine, SCHEDULES)


@pytest.mark.parametrize("precision", ["int8+bf16", "bf16"])
def test_other_precisions_are_as_independent(precision: str) -> None:
    try:
        machine = make_machine(precision)
    except ModelError as error:
        pytest.skip(str(error))
    assert machine.info.precision == precision
    compare(machine, 12)


def test_streamed_audio_equals_the_one_shot_decode(machine: Machine) -> None:
    """Codes drawn by the engine, fed to the model at once, decoded at once."""
    for seed in (1, 2, 3, 9):
        request = asked(machine.model, seed)
        _, listener = submit(machine, dataclasses.replace(request, streaming=True))
        while machine.scheduler.tick():
            pass
        done = listener.last
        assert isinstance(done, SpeechDone)
        gpt = machine.model.gpt
        voice = request.voice
        assert voice is not None
        with torch.no_grad():
            prompt = gpt.prompt(torch.tensor(voice.latents), torch.tensor(request.ids))
            embedded = gpt.code_embeddings(torch.tensor([done.codes]), start_position=1)[0]
            hidden = gpt(torch.cat((prompt, embedded))[None])[0, len(prompt) - 1 :]
            if not done.stopped:
                hidden = hidden[:-1]  # The last code drawn at the budget is fed to nothing.
            whole = machine.model.vocoder.decode(
                hidden, torch.tensor(voice.speaker_embedding), request.speed
            )
        streamed = np.frombuffer(listener.audio, np.float32)
        assert (
            len(whole)
            == len(streamed)
            == stream_plan(machine.model.config, request.speed).samples(len(hidden))
        )
        peak = float(np.abs(streamed).max())
        assert peak > 0.05
        # Another order of sums in attention and convolutions; 1e-4 is the limit for waveforms.
        assert float(np.abs(whole.numpy() - streamed).max()) < 1e-4 * peak


def test_a_seed_repeats_and_another_differs(machine: Machine) -> None:
    def speak(seed: Any) -> bytes:
        request = SpeechRequest(
            "", ids=(5, 6, 7), voice=random_voice(machine.model), seed=seed, max_codes=8
        )
        _, listener = submit(machine, request)
        while machine.scheduler.tick():
            pass
        return listener.audio

    assert speak(1) == speak(1) != speak(2)
    assert speak(None) != speak(None)

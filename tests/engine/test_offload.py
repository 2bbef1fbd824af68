"""The model leaves its device while nobody speaks: here the CPU poses as the device."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from livekit_xtts.engine import machine as machines
from livekit_xtts.engine.graphs import GraphedStepper, buckets
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.offload import Residence, tensors_of
from livekit_xtts.model import checkpoint
from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.xtts import XttsModel
from livekit_xtts.speech import (
    EngineClosedError,
    EngineFailedError,
    ModelError,
    ReferenceAudio,
    SpeechChunk,
    SpeechDone,
)
from tests.engine import test_graphs
from tests.engine.conftest import TIMES
from tests.engine.test_local import LONG, Inbox, ids


class Moves:
    """Lets a test see and hold the moves of an engine's model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        self.before_back: Callable[[], None] = lambda: None
        self.in_leave: Callable[[], None] = lambda: None
        leave, back = Residence.leave, Residence.come_back

        def left(residence: Residence, stop: Any = lambda: False) -> None:
            def asked() -> bool:
                self.in_leave()
                return bool(stop())

            leave(residence, asked)
            self._note("left" if residence.away else "stayed")

        def came(residence: Residence, stop: Any = lambda: False) -> None:
            self._note("coming")
            self.before_back()
            back(residence, stop)
            self._note("back")

        monkeypatch.setattr(Residence, "leave", left)
        monkeypatch.setattr(Residence, "come_back", came)

    def _note(self, what: str) -> None:
        with self.changed:
            self.log.append((what, threading.current_thread().name))
            self.changed.notify_all()

    def count(self, what: str) -> int:
        return sum(entry[0] == what for entry in self.log)

    def wait(self, what: str, times: int = 1) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.count(what) >= times, LONG), self.log


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Moves:
    """The CPU poses as a device: its memory is torch's own, which can be given back."""

    def owned(*arguments: Any) -> XttsModel:
        model = create_random(*arguments)
        assert model.fingerprint  # Looks at the memory through numpy, which pins it on a CPU.
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
        return model

    monkeypatch.setattr(checkpoint, "create_random", owned)
    monkeypatch.setattr(machines, "can_offload", lambda device: True)
    return Moves(monkeypatch)


@pytest.fixture
def make() -> Iterator[Callable[..., LocalEngine]]:
    made: list[LocalEngine] = []

    def engine(after: float = 0.0, **options: Any) -> LocalEngine:
        plain = {"threads": 1, "precision": "fp32", "times": TIMES, "device": "cpu"}
        made.append(LocalEngine("random-small", offload_after=after, **{**plain, **options}))
        made[-1].load()
        return made[-1]

    yield engine
    for one in made:
        one.close()


def said(engine: LocalEngine, **changes: Any) -> bytes:
    engine.submit(ids(**changes), inbox := Inbox())
    done = inbox.wait()
    assert isinstance(done, SpeechDone), done
    return b"".join(e.audio.tobytes() for e in inbox.events if isinstance(e, SpeechChunk))


def resident(engine: LocalEngine) -> int:
    """Bytes of the model, its slots and tables that are on the device."""
    machine = engine._machine
    assert machine is not None
    held = (machine.model, machine.runner, machine.scheduler.prompts, machine.scheduler.stepper)
    tensors = [tensor for tensor in tensors_of(*held) if not tensor.is_meta]
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in tensors}
    return sum(storage.nbytes() for storage in storages.values())


def test_it_leaves_and_comes_back_with_the_same_voice(moves: Moves, make: Any) -> None:
    plain = make(math.inf)
    expected = [said(plain, seed=seed) for seed in (1, 2)]
    whole = resident(plain)
    engine = make()
    moves.wait("left")
    assert engine.offload_stats.offloaded and engine.offload_stats.times == 1
    assert resident(engine) < 0.01 * whole
    assert engine.offload_stats.bytes > 0.9 * whole
    for seed, audio in zip((1, 2), expected, strict=True):
        before = moves.count("left")
        assert said(engine, seed=seed) == audio
        moves.wait("left", before + 1)
    assert moves.count("back") == 2 and engine.offload_stats.return_s >= 0.0
    # Never on the caller's thread, an event loop's perhaps.
    assert {name for _, name in moves.log} == {"xtts-engine"}


def test_the_second_time_nothing_is_copied(moves: Moves, make: Any) -> None:
    engine = make()
    moves.wait("left")
    copies = dict(engine._machine.residence._kept)
    said(engine)
    moves.wait("left", 2)
    again = engine._machine.residence._kept
    assert all(again[key][1] is host for key, (_, host) in copies.items() if key in again)
    assert set(copies) <= set(again)


def test_a_request_during_the_move_is_not_kept_waiting(moves: Moves, make: Any) -> None:
    engine = make(math.inf)
    inbox = Inbox()

    def submit_once() -> None:
        moves.in_leave = lambda: None
        engine.submit(ids(), inbox)

    moves.in_leave = submit_once
    engine._machine.residence.after_s = 0.0
    engine._wake.set()
    assert isinstance(inbox.wait(), SpeechDone)
    assert moves.log[0][0] == "stayed" and moves.count("back") == 0
    moves.wait("left")


def test_cancel_while_it_comes_back(moves: Moves, make: Any) -> None:
    engine = make()
    moves.wait("left")
    begun, go = threading.Event(), threading.Event()
    moves.before_back = lambda: (begun.set(), go.wait(LONG))[0]  # type: ignore[func-returns-value]
    task = engine.submit(ids(max_codes=602), inbox := Inbox())
    assert begun.wait(LONG)
    task.cancel()
    go.set()
    done = inbox.wait()
    assert isinstance(done, SpeechDone) and done.cancelled and done.samples == 0
    moves.wait("left", 2)
    moves.before_back = lambda: None
    assert said(engine)


def test_a_request_cancelled_at_once_moves_nothing(moves: Moves, make: Any) -> None:
    engine = make()
    moves.wait("left")
    residence = engine._machine.residence
    inbox = Inbox()
    job = type("Cancelled", (), {"cancelled": True})()
    engine._jobs.add(job)
    assert engine._at_home(residence, engine._machine.scheduler) and residence.away
    engine._jobs.discard(job)
    assert moves.count("coming") == 0 and not inbox.events


def test_closing_while_it_is_away_or_comes_back(moves: Moves, make: Any) -> None:
    engine = make()
    moves.wait("left")
    engine.close()
    assert not engine._thread.is_alive()
    other = make()
    moves.wait("left", 2)
    begun, go = threading.Event(), threading.Event()
    moves.before_back = lambda: (begun.set(), go.wait(LONG))[0]  # type: ignore[func-returns-value]
    other.submit(ids(), inbox := Inbox())
    assert begun.wait(LONG)
    closing = threading.Thread(target=other.close)
    closing.start()
    while not other.closed:
        pass
    go.set()
    closing.join(LONG)
    assert isinstance(inbox.error(), EngineClosedError) and not other._thread.is_alive()


def test_no_room_on_the_device_is_retryable_and_the_engine_goes_on(moves: Moves, make: Any) -> None:
    engine = make()
    moves.wait("left")
    residence = engine._machine.residence
    gone = list(residence._gone)

    class Full:
        """A storage for which there is no room."""

        def resize_(self, size: int) -> None:
            if size:
                raise torch.OutOfMemoryError("CUDA out of memory")

    residence._gone.insert(3, (Full(), 8, None))
    voice = engine.clone([ReferenceAudio(np.ones(30_000, np.float32), 22_050)])
    with pytest.raises(EngineFailedError, match="out of memory"):
        voice.result(LONG)
    engine.submit(ids(), inbox := Inbox())
    error = inbox.error()
    assert isinstance(error, EngineFailedError) and error.retryable
    assert "could not come back" in str(error) and "out of memory" in str(error)
    assert residence.away and all(storage.nbytes() == 0 for storage, _, _ in gone)
    del residence._gone[3]
    assert said(engine)


def test_no_room_on_the_host_leaves_it_where_it_is(
    moves: Moves, make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*arguments: Any) -> Any:
        raise MemoryError("no memory")

    monkeypatch.setattr("livekit_xtts.engine.offload._host", none)
    engine = make()
    moves.wait("stayed")
    assert "stays on cpu" in caplog.text
    assert said(engine) and moves.count("stayed") == 1, "it is not tried again"


def test_cloning_brings_it_back(moves: Moves, make: Any) -> None:
    engine = make()
    moves.wait("left")
    generator = np.random.default_rng(0)
    samples = 0.1 * generator.standard_normal(30_000).astype(np.float32)
    voice = engine.clone([ReferenceAudio(samples, 22_050)]).result(LONG)
    assert moves.count("back") == 1 and voice.model == engine.info.fingerprint
    moves.wait("left", 2)


def test_on_a_cpu_it_is_left_alone_with_a_warning(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        engine = make()
    assert engine.offload_stats is None and "no device to free" in caplog.text
    assert said(engine)


def test_a_model_that_others_hold_is_not_moved(moves: Moves, small_model: XttsModel) -> None:
    engine = LocalEngine(small_model, offload_after=1.0, precision="fp32", times=TIMES)
    with pytest.raises(ModelError, match="offload_after"):
        engine.load()
    engine.close()
    with pytest.raises(ModelError, match="offload_after"):
        LocalEngine("random-small", offload_after=-1.0)


@torch.no_grad()
def test_graphs_given_up_are_captured_again_when_used(small_model: XttsModel) -> None:
    plain = test_graphs.steppers(small_model, test_graphs.Stepper)
    graphed: Any = test_graphs.steppers(
        small_model,
        lambda *parts: GraphedStepper(
            *parts, sizes=buckets(test_graphs.SLOTS), capture=test_graphs.stand_in
        ),
    )
    graphed.release()
    assert graphed.captured == ()
    assert test_graphs.walk(plain) == test_graphs.walk(graphed)
    assert graphed.captured == (4, 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_device_is_freed(make: Any) -> None:
    engine = make(math.inf, device="cuda")
    audio = said(engine)
    before = torch.cuda.memory_allocated()
    residence = engine._machine.residence
    residence.after_s = 0.0
    engine._wake.set()
    deadline = threading.Event()
    while not residence.away:
        deadline.wait(0.01)
    assert torch.cuda.memory_allocated() < 0.1 * before
    assert said(engine) == audio

"""CPU threads: as many as gain something, each where it is in nobody's way."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import pytest
import torch

from livekit_xtts.engine import exits, life, threads
from livekit_xtts.engine.ownthread import OwnThread
from livekit_xtts.speech import (
    ModelError,
)
from tests.engine.test_local import LONG


def test_threads_of_the_host_stay_as_they_are() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def own() -> None:
        threads.use_threads(before + 1)
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=own)
    thread.start()
    thread.join()
    assert seen == [before, before + 1] and torch.get_num_threads() == before


def test_the_engines_thread_uses_the_threads_asked_for(
    engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, str]] = []
    monkeypatch.setattr(
        life, "use_threads", lambda count: asked.append((count, threading.current_thread().name))
    )
    engines(threads=3).load()
    assert asked == [(3, "xtts-engine")]


def test_priority_is_lowered_only_where_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.sys, "platform", "win32")
    assert not threads.lower_priority()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert threads.available() >= 1


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({1: 1.0, 2: 0.55}, 2), ({1: 1.0, 2: 0.95}, 1), ({1: 1.0, 2: 10.0}, 1)],
    ids=["quiet", "no gain", "crowded"],
)
def test_as_many_threads_as_gain_something(
    seconds: dict[int, float], chosen: int, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[int] = []

    def probe(count: int) -> float:
        order.append(count)
        return seconds[count] * (50.0 if len(order) == 3 else 1.0)  # One hiccup decides nothing.

    with caplog.at_level(logging.INFO):
        assert threads.better_threads(2, probe) == chosen
    assert order == [1, 2] * threads.ROUNDS
    assert ("one thread instead of 2" in caplog.text) == (chosen == 1)
    assert threads.better_threads(1, probe) == 1 and len(order) == 2 * threads.ROUNDS


def test_the_probe_leaves_the_hosts_threads_alone() -> None:
    before = torch.get_num_threads()
    seen: list[float] = []
    thread = threading.Thread(target=lambda: seen.extend(threads.layers_s(n) for n in (1, 2)))
    thread.start()
    thread.join(LONG)
    assert all(value > 0.0 for value in seen) and len(seen) == 2
    assert torch.get_num_threads() == before


def test_work_elsewhere_has_its_own_threads_and_ends_with_them() -> None:
    before = torch.get_num_threads()
    done_by: list[threading.Thread] = []

    def work() -> int:
        done_by.append(threading.current_thread())
        return torch.get_num_threads()

    assert threads.elsewhere(work, 3) == 3
    assert threads.elsewhere(work) == before
    assert torch.get_num_threads() == before
    assert threading.current_thread() not in done_by
    assert not any(thread.is_alive() for thread in done_by)
    with pytest.raises(ModelError, match="no such weights"):
        threads.elsewhere(lambda: raises(ModelError("no such weights")))


def test_work_elsewhere_ends_with_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    guards: list[Any] = []
    monkeypatch.setattr(exits, "at_exit", guards.append)
    working, ended = threading.Event(), threading.Event()

    def work() -> None:
        working.set()
        try:
            while True:  # Until it is interrupted.
                working.wait()
        finally:
            ended.set()

    told: list[BaseException] = []

    def wait() -> None:
        try:
            threads.elsewhere(work)
        except SystemExit as error:
            told.append(error)

    outer = threading.Thread(target=wait, daemon=True)
    outer.start()
    assert working.wait(LONG)
    guards[0].leave()
    assert ended.wait(LONG)
    outer.join(LONG)
    assert not outer.is_alive() and told, "who waits learns of it"


def test_vocoding_has_a_thread_of_its_own() -> None:
    own = OwnThread(2, "own")
    assert own(torch.get_num_threads) == 2
    assert own(threading.current_thread) is own(threading.current_thread)
    assert own(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ModelError, match="broken"):
        own(lambda: raises(ModelError("broken")))


def raises(error: Exception) -> None:
    raise error


def test_threads_are_measured_only_where_nobody_chose(
    engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(threads, "better_threads", lambda most: asked.append(most) or 1)
    used: list[int] = []
    monkeypatch.setattr(life, "use_threads", used.append)
    engines(threads=2).load()
    engines(threads=None).load()
    assert asked == [] and used == [2], "with given step times audio has the same bits everywhere"
    engine = engines(threads=None, times=None)
    engine.load()
    assert asked == [3] and used == [2, 1]
    assert engine.info.threads == 3

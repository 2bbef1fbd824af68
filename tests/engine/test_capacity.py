"""Slots by the memory there is: how many, how long, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from livekit_xtts.engine import capacity
from livekit_xtts.engine.capacity import CPU_SLOTS, DEVICE_SLOTS, SHORT, choose, slot_bytes
from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.speech import InvalidRequestError, ModelError, SpeechDone
from tests.engine.test_local import Inbox, ids

FULL = XttsConfig()
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
GB = 10**9


def pick(slots: Any, free: float | None, length: int | None = None, device: Any = CUDA) -> Any:
    room = None if free is None else int(free * GB)
    return choose(FULL, device, slots, length, itemsize=2, free=room)


def test_a_slot_is_mostly_keys_and_values() -> None:
    """30 layers, keys and values, 1,024 numbers of 2 bytes: 123 kB a position."""
    more = slot_bytes(FULL, 101, 2) - slot_bytes(FULL, 100, 2)
    assert more == 30 * 2 * 1024 * 2
    assert slot_bytes(FULL, FULL.max_positions, 4) == pytest.approx(0.26 * GB, rel=0.03)


def test_auto_takes_what_fits() -> None:
    large = pick("auto", 139)
    assert large.length == FULL.max_positions and 256 <= large.slots <= DEVICE_SLOTS
    small = pick("auto", 22)
    assert small.length == SHORT and 150 < small.slots < 256
    assert small.bytes <= capacity.SHARE * 22 * GB
    assert pick("auto", 10_000).slots == DEVICE_SLOTS
    assert pick("auto", None).slots == CPU_SLOTS
    assert pick("auto", 139, 300).length == 300
    with pytest.raises(ModelError, match="no room"):
        pick("auto", 0.01)


def test_what_is_usual_leaves_half_of_a_device_to_others() -> None:
    assert pick(None, 139) == pick(64, 139)
    small = pick(None, 8)
    assert 8 <= small.slots < 64 and small.length == FULL.max_positions
    assert small.bytes <= 4 * GB
    tight = pick(None, 1.5)
    assert tight.slots == 9 and tight.length == SHORT
    assert pick(None, 1.0).slots == 8, "fewer than on a CPU are taken only where no more fit"
    with pytest.raises(ModelError, match="slots=8"):
        pick(None, 0.5)
    assert pick(None, None).slots == pick(None, 30, device=CPU).slots == CPU_SLOTS


def test_a_number_is_respected_or_refused_with_what_would_do() -> None:
    assert pick(16, 139).slots == 16 and pick(16, 139).length == FULL.max_positions
    assert pick(500, 60).length == SHORT, "so many fit only where they are shorter"
    with pytest.raises(ModelError, match=r"slots=2000 .* GB.*use slots=\d+") as no:
        pick(2000, 60)
    fits = int(str(no.value).split("use slots=")[1].split(",")[0])
    assert pick(fits, 60).slots == fits
    with pytest.raises(ModelError):
        pick(fits + 1, 60)


def test_on_a_cpu_memory_is_used_as_it_is_reached() -> None:
    """So a number is never too many; "auto" still leaves room for the longest requests."""
    assert pick(64, 1, device=CPU).slots == 64
    assert pick(64, 1, device=CPU).length == FULL.max_positions
    assert pick("auto", 1000, device=CPU).slots == CPU_SLOTS
    assert 1 <= pick("auto", 0.6, device=CPU).slots < CPU_SLOTS


def test_memory_is_told_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (capacity.free_bytes(CPU) or GB) > 0
    assert capacity.free_bytes(torch.device("meta")) is None

    def missing(*_: Any, **__: Any) -> str:
        raise OSError("no such file")

    monkeypatch.setattr(capacity.Path, "read_text", missing)
    monkeypatch.setattr(capacity.os, "sysconf", lambda name: 1000, raising=False)
    assert capacity.free_bytes(CPU) == 1_000_000
    monkeypatch.delattr(capacity.os, "sysconf")
    assert capacity.free_bytes(CPU) is None


def test_an_engine_with_auto_says_what_it_took(engines: Any) -> None:
    engine = engines(slots="auto")
    engine.load()
    assert engine.info.slots == engine._machine.info.slots == CPU_SLOTS


def test_short_slots_cut_speech_and_refuse_texts(engines: Any) -> None:
    engine = engines(slots=2, slot_positions=80, ends=Ends.off())
    engine.load()
    assert engine._machine.runner.length == 80
    # 32 of the voice, three ids, start and stop, start of the speech: 42 codes are left.
    engine.submit(ids(max_codes=None), inbox := Inbox())
    done = inbox.wait()
    assert isinstance(done, SpeechDone) and len(done.codes) == 80 - 32 - 3 - 3
    engine.submit(ids(ids=(5,) * 30), long := Inbox())
    error = long.error()
    assert isinstance(error, InvalidRequestError) and "slot_positions" in str(error)
    whole = engines(slots=2, ends=Ends.off())
    whole.submit(ids(), expected := Inbox())
    engine.submit(ids(), same := Inbox())
    for inbox in (expected, same):
        assert isinstance(inbox.wait(), SpeechDone)
    audio = [b"".join(e.audio.tobytes() for e in i.events[:-1]) for i in (expected, same)]  # type: ignore[union-attr]
    assert audio[0] == audio[1], "a slot's length changes no numbers"


def test_slots_too_short_for_anything() -> None:
    with pytest.raises(ModelError, match="slot_positions"):
        LocalEngine("random-small", slot_positions=10)

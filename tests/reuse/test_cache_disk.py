"""The disk tier: whole files or none, bounded, shared, without text."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from livekit_xtts import cachefile
from livekit_xtts.cache import Note, Piece, SpeechCache, request_key
from livekit_xtts.cachedspeech import CachedSpeech
from livekit_xtts.cachefile import pack, unpack
from livekit_xtts.speech import SpeechChunk, SpeechDone, SpeechRequest
from tests.fake_engine import FakeEngine

TEXT = "Your appointment is confirmed."
KEY = "a" * 64


def speech(samples: int = 5000, seed: int = 0) -> list[Piece]:
    audio = np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)
    half = samples // 2
    return [
        SpeechChunk(audio[:half], 0, 3),
        Note("words", (0.0, 0.25)),
        SpeechChunk(audio[half:], half, 6, final=True),
        SpeechDone(codes=(5, 7, 9), alignment=(0, 1), samples=samples, total_s=1.0),
    ]


def entry(seed: int = 0) -> CachedSpeech:
    made = CachedSpeech.of(speech(seed=seed))
    assert made is not None
    return made


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


async def nothing() -> AsyncIterator[Piece]:
    pytest.fail("generated although it is on disk")
    yield


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def test_an_entry_survives_bit_by_bit() -> None:
    read = unpack(KEY, pack(KEY, entry()))
    for first, second in zip(entry().pieces, read.pieces, strict=True):
        if isinstance(first, SpeechChunk):
            assert isinstance(second, SpeechChunk)
            np.testing.assert_array_equal(first.audio, second.audio)
            assert not second.audio.flags.writeable
            assert (first.start, first.codes, first.final) == (
                second.start,
                second.codes,
                second.final,
            )
        elif isinstance(first, SpeechDone):
            assert isinstance(second, SpeechDone)
            assert asdict(first) == asdict(second)
        else:
            assert first == second


async def test_another_process_finds_it_and_generates_nothing(tmp_path: Path) -> None:
    first = SpeechCache(folder=tmp_path / "cache")
    assert first.put(KEY, speech())
    await first.flush()
    second = SpeechCache(folder=tmp_path / "cache")
    pieces = [piece async for piece in second.stream(KEY, nothing)]
    assert len(pieces) == 4
    np.testing.assert_array_equal((await second.get(KEY)).audio, entry().audio)
    stats = second.stats()
    assert (stats.disk_hits, stats.misses, stats.entries) == (1, 0, 1)


async def test_the_folder_holds_no_text_and_is_private(tmp_path: Path) -> None:
    engine = FakeEngine()
    folder = tmp_path / "cache"
    cache = SpeechCache(folder=folder)
    request = SpeechRequest(TEXT)
    async for _ in cache.speech(engine, request):
        pass
    await cache.flush()
    (path,) = files(folder)
    assert path.name == f"{request_key(engine.info, request)}.speech"
    content = path.read_bytes().lower()
    for word in ("your", "appointment", "confirmed"):
        assert word.encode() not in content
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    engine.close()


DAMAGE = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[:-1],
    "a bit flipped": lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    "another format": lambda data: b"XTTSSPC9" + data[8:],
    "header's length": lambda data: data[:8] + b"\xff\xff\xff\xff" + data[12:],
    "another key": lambda data: pack("c" * 64, entry()),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_entry_is_a_miss_and_is_made_again(tmp_path: Path, damage: str) -> None:
    cache = SpeechCache(folder=tmp_path)
    cache.put(KEY, speech())
    await cache.flush()
    (path,) = files(tmp_path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    fresh = SpeechCache(folder=tmp_path)
    assert await fresh.get(KEY) is None
    assert not path.exists()

    async def produce() -> AsyncIterator[Piece]:
        for piece in speech():
            yield piece

    assert len([piece async for piece in fresh.stream(KEY, produce)]) == 4
    await fresh.flush()
    assert unpack(KEY, path.read_bytes())


async def test_a_failed_write_leaves_nothing_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cachefile, "write_atomically", full)
    cache = SpeechCache(folder=tmp_path)
    for number in range(3):
        assert cache.put(key(number), speech())
    await cache.flush()
    assert not files(tmp_path)
    assert caplog.text.count("not kept on disk") == 1
    assert await cache.get(key(0)) is not None  # memory has it


async def test_the_folder_is_bounded_in_bytes_by_use(tmp_path: Path) -> None:
    size = len(pack(KEY, entry()))
    now = [1000.0]
    cache = SpeechCache(
        max_bytes=0, folder=tmp_path, disk_max_bytes=3 * size + 100, clock=lambda: now[0]
    )

    async def keep(number: int) -> None:
        now[0] += 10
        cache.put(key(number), speech())
        await cache.flush()

    for number in range(3):
        await keep(number)
    now[0] += 10
    assert await cache.get(key(0)) is not None  # used, so it stays
    await keep(3)
    assert await cache.get(key(1)) is None
    assert await cache.get(key(0)) is not None
    assert len(files(tmp_path)) == 3
    assert cache.stats().disk_bytes <= 3 * size + 100
    cache.put(key(9), speech(samples=10**6))  # more than all of it
    await cache.flush()
    assert len(files(tmp_path)) == 3
    cache.clear()
    assert not files(tmp_path)


async def test_files_have_an_age_limit(tmp_path: Path) -> None:
    now = [1000.0]
    cache = SpeechCache(max_bytes=0, folder=tmp_path, disk_max_age_s=100, clock=lambda: now[0])
    cache.put(KEY, speech())
    await cache.flush()
    now[0] += 100
    assert await cache.get(KEY) is not None
    now[0] += 1
    assert await cache.get(KEY) is None
    assert not files(tmp_path)


async def test_files_too_old_go_even_when_nobody_asks(tmp_path: Path) -> None:
    now = [1000.0]
    cache = SpeechCache(folder=tmp_path, disk_max_age_s=100, clock=lambda: now[0])
    cache.put(KEY, speech())
    await cache.flush()
    now[0] += 101
    cache.put("b" * 64, speech())
    await cache.flush()
    assert [path.stem for path in files(tmp_path)] == ["b" * 64]


async def test_a_dead_writers_file_is_cleaned_up(tmp_path: Path) -> None:
    leftover = tmp_path / ".dead.partial"
    leftover.write_bytes(b"half")
    os.utime(leftover, (1, 1))
    cache = SpeechCache(folder=tmp_path)
    cache.put(KEY, speech())
    await cache.flush()
    assert not leftover.exists()


async def test_keys_cannot_be_paths(tmp_path: Path) -> None:
    cache = SpeechCache(folder=tmp_path)
    for bad in ("../" + "a" * 61, "A" * 64, "", "a" * 63):
        with pytest.raises(ValueError, match="64 hex digits"):
            await cache.get(bad)


def hammer(folder: str, seed: int) -> None:
    """One of several processes that write, read and evict the same entries."""
    size = len(pack(KEY, entry()))
    cache = SpeechCache(max_bytes=0, folder=folder, disk_max_bytes=4 * size)
    random = np.random.default_rng(seed)
    for _ in range(60):
        number = int(random.integers(8))
        found = cache.get_blocking(key(number))
        if found is not None:
            np.testing.assert_array_equal(found.audio, entry(number).audio)
        cache.put(key(number), speech(seed=number))
    cache.flush_blocking()


async def test_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=hammer, args=(str(tmp_path), 1))
    other.start()
    await asyncio.to_thread(hammer, str(tmp_path), 0)
    await asyncio.to_thread(other.join, 150)
    assert other.exitcode == 0
    for path in files(tmp_path):
        assert unpack(path.stem, path.read_bytes())

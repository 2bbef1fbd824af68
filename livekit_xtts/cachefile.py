"""The disk tier: one file for each speech, written whole or not at all, checked when read.

A file is named by its key. It holds a magic word, the length of a JSON header, the header (numbers
alone), the chunks' samples as little-endian float32, and a BLAKE2b digest of all before it. A
thread that lives while there is something to write writes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from livekit_xtts.cachedspeech import CachedSpeech, Note, Piece
from livekit_xtts.log import logger
from livekit_xtts.speech import SpeechChunk, SpeechDone
from livekit_xtts.storage import remove_stale, write_atomically

SUFFIX = ".speech"
MAGIC = b"XTTSSPC1"
DIGEST_BYTES = 16
MAX_PENDING = 64
"""Entries that wait to be written; where the disk is slower than speech, the oldest are not."""

LOOK_AGAIN_S = 60.0
"""Other processes write too: the folder is measured at least this often while writing."""


def pack(key: str, entry: CachedSpeech) -> bytes:
    """An entry as a file's content."""
    rows: list[Any] = []
    audio = []
    for piece in entry.pieces:
        if isinstance(piece, SpeechChunk):
            rows.append(["chunk", len(piece.audio), piece.start, piece.codes, piece.final])
            audio.append(piece.audio.astype("<f4", copy=False).tobytes())
        elif isinstance(piece, Note):
            rows.append(["note", piece.name, list(piece.values)])
        else:
            rows.append(["done", asdict(piece)])
    header = json.dumps({"key": key, "pieces": rows}, separators=(",", ":")).encode()
    body = b"".join([MAGIC, len(header).to_bytes(4, "little"), header, *audio])
    return body + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def unpack(key: str, data: bytes) -> CachedSpeech:
    """The entry in a file's content.

    Raises:
        ValueError: It is damaged, or belongs to another key.
    """
    body, digest = memoryview(data)[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if bytes(body[:8]) != MAGIC:
        raise ValueError("not a speech file")
    if hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:
        raise ValueError("its checksum does not match")
    start = 12 + int.from_bytes(body[8:12], "little")
    header = json.loads(bytes(body[12:start]))
    if header["key"] != key:
        raise ValueError("it belongs to another key")
    samples = np.frombuffer(body, dtype="<f4", offset=start)
    pieces: list[Piece] = []
    position = 0
    for kind, *row in header["pieces"]:
        if kind == "chunk":
            length, first, codes, final = row
            audio = samples[position : position + length]
            position += length
            pieces.append(SpeechChunk(audio=audio, start=first, codes=codes, final=final))
        elif kind == "note":
            pieces.append(Note(row[0], tuple(row[1])))
        else:
            (values,) = row
            values["codes"] = tuple(values["codes"])
            values["alignment"] = tuple(values["alignment"])
            values["words"] = tuple(values.get("words", ()))
            pieces.append(SpeechDone(**values))
    return CachedSpeech(pieces=tuple(pieces), bytes=len(data))


class DiskTier:
    """A folder of speech, bounded by bytes and age, shared with other processes.

    Args:
        folder: Created at the first write.
        max_bytes: What was used longest ago is deleted beyond it.
        max_age_s: Older files are misses, and deleted.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, folder: Path, max_bytes: int, max_age_s: float, clock: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._changed = threading.Condition()
        self._pending: OrderedDict[str, CachedSpeech] = OrderedDict()
        self._writing = False
        self._looked = float("-inf")
        self._failed = False
        self.bytes = 0

    def read(self, key: str) -> tuple[CachedSpeech, float] | None:
        """The entry and when it was written; None where it is missing, too old or damaged."""
        path = self._path(key)
        try:
            status = path.stat()
            if self._clock() - status.st_mtime > self._max_age_s:
                path.unlink(missing_ok=True)
                return None
            if status.st_size > self._max_bytes:
                return None
            entry = unpack(key, path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("a cached speech cannot be read and is made again: %s", error)
            self._delete(path)
            return None
        try:
            # The time of access orders what is deleted first; many file systems do not keep it.
            os.utime(path, (self._clock(), status.st_mtime))
        except OSError:
            pass  # another process deleted it meanwhile, or owns it
        return entry, status.st_mtime

    def write_later(self, key: str, entry: CachedSpeech) -> None:
        """Have an entry written in the background; returns at once."""
        with self._changed:
            self._pending[key] = entry
            while len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
            if self._writing:
                return
            self._writing = True
        threading.Thread(target=self._write_all, name="xtts-cache-disk", daemon=True).start()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits to be written; False where the time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._writing, timeout)

    def clear(self) -> None:
        """Delete every entry, those that wait to be written included."""
        with self._changed:
            self._pending.clear()
        self.flush()
        for path in self._folder.glob(f"*{SUFFIX}"):
            self._delete(path)
        self.bytes = 0

    def _path(self, key: str) -> Path:
        if len(key) != 64 or not set(key) <= set("0123456789abcdef"):
            raise ValueError("a key is 64 hex digits")
        return self._folder / f"{key}{SUFFIX}"

    def _write_all(self) -> None:
        while True:
            with self._changed:
                if not self._pending:
                    self._writing = False
                    self._changed.notify_all()
                    return
                key, entry = self._pending.popitem(last=False)
            try:
                self._write(key, entry)
                self._failed = False
            except OSError as error:
                if not self._failed:  # once for a disk that is full, not for every phrase
                    logger.warning("speech is not kept on disk: %s", error)
                self._failed = True

    def _write(self, key: str, entry: CachedSpeech) -> None:
        data = pack(key, entry)
        if len(data) > self._max_bytes:
            return
        path = self._path(key)
        write_atomically(path, data)
        now = self._clock()
        os.utime(path, (now, now))
        self.bytes += len(data)
        if self.bytes > self._max_bytes or now - self._looked > LOOK_AGAIN_S:
            self._prune(now)

    def _prune(self, now: float) -> None:
        """Delete what is too old, then what was used longest ago, until the rest fits."""
        self._looked = now
        remove_stale(self._folder)
        files = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if now - status.st_mtime > self._max_age_s:
                self._delete(path)
            else:
                files.append((status.st_atime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._max_bytes:
                break
            self._delete(path)
            total -= size
        self.bytes = total

    def _delete(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.debug("%s cannot be deleted: %s", path.name, error)

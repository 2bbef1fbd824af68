"""Recordings into voices, once: results are kept under a hash of what made them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from livekit_xtts.engine.engine import Engine
from livekit_xtts.log import logger
from livekit_xtts.reference import clean_reference, read_bounded, read_reference
from livekit_xtts.speech import MAX_REFERENCE_BYTES, ReferenceAudio, SpeechError, VoiceError
from livekit_xtts.storage import remove_stale
from livekit_xtts.voicefile import SUFFIX, StoredVoice, load_voice, make_voice, save_voice

Recording: TypeAlias = str | Path | bytes | ReferenceAudio

MAX_RECORDINGS = 32
KEPT_FILES = 256
"""Cloned voices kept on disk (about 130 KB each); those used longest ago go first."""


class Cloner:
    """Clones through an engine and remembers the results as files. Blocking; thread-safe.

    Args:
        engine: Does the cloning.
        folder: Says where results are kept; may raise `SpeechError` where there is no such place.
        clean: Trim silent ends and level recordings first.
    """

    def __init__(self, engine: Engine, folder: Callable[[], Path], *, clean: bool) -> None:
        self._engine = engine
        self._folder = folder
        self._clean = clean

    def clone(self, recordings: Sequence[Recording]) -> StoredVoice:
        """One voice from all of the recordings, waiting for the model to load if need be.

        Raises:
            VoiceError: A recording cannot be used, or there are none or too many.
            SpeechError: What loading the engine raises.
        """
        if not 0 < len(recordings) <= MAX_RECORDINGS:
            raise VoiceError(f"a voice is made of 1 to {MAX_RECORDINGS} recordings")
        pieces, digest = self._read(recordings)
        self._engine.load()
        model = self._engine.info.fingerprint
        settings = f"clean={int(self._clean)}"
        made_from = hashlib.sha256(f"{digest} {settings} {model}".encode()).hexdigest()
        first = recordings[0]
        name = Path(first).stem if isinstance(first, (str, Path)) else "voice"
        path = self._path(made_from)
        stored = self._kept(path, name)
        if stored is None:
            made = self._engine.clone(pieces, name=name).result()
            voice = make_voice(name, made.latents, made.speaker_embedding, made.model)
            stored = StoredVoice(voice, source=digest, settings=settings)
            self._keep(path, stored)
        return stored

    def _read(self, recordings: Sequence[Recording]) -> tuple[list[ReferenceAudio], str]:
        """The recordings decoded, and the SHA-256 of their bytes in order."""
        digest = hashlib.sha256()
        pieces = []
        budget = MAX_REFERENCE_BYTES
        for number, recording in enumerate(recordings, 1):
            label = f"recording {number}"
            if isinstance(recording, ReferenceAudio):
                piece = recording
                data = repr(piece.sample_rate).encode() + piece.samples.tobytes()
            else:
                if isinstance(recording, bytes):
                    data = recording
                else:
                    label = str(recording)
                    data = read_bounded(Path(recording), label, budget)
                piece = read_reference(data, label=label)
            budget = max(1, budget - len(data))
            digest.update(hashlib.sha256(data).digest())
            pieces.append(clean_reference(piece, label) if self._clean else piece)
        return pieces, digest.hexdigest()

    def _path(self, made_from: str) -> Path | None:
        try:
            return self._folder() / f"{made_from}{SUFFIX}"
        except SpeechError:
            return None

    def _kept(self, path: Path | None, name: str) -> StoredVoice | None:
        if path is None or not path.is_file():
            return None
        try:
            stored = load_voice(path, name=name)
            os.utime(path)  # the file used last is the one removed last
        except (VoiceError, OSError) as error:
            logger.warning("a stored voice is made again: %s", error)
            return None
        return stored

    def _keep(self, path: Path | None, stored: StoredVoice) -> None:
        if path is None:
            return
        try:
            save_voice(path, stored)
            remove_stale(path.parent)
            files = sorted(path.parent.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime)
            for old in files[:-KEPT_FILES]:
                old.unlink(missing_ok=True)
        except (VoiceError, OSError) as error:
            logger.warning("the voice is kept in memory only: %s", error)

"""What the cache holds: the pieces of one finished speech, as they were first heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from livekit_xtts.speech import SAMPLE_RATE, Float32, SpeechChunk, SpeechDone

ENTRY_OVERHEAD = 1024
"""Bytes counted for an entry beside its audio."""


@dataclass(frozen=True, slots=True)
class Note:
    """Numbers to be replayed in their place among the chunks: word times, gaps.

    Numbers alone, so that no text can get onto the disk with them; name words by their position.

    Attributes:
        name: What they are.
        values: The numbers.
    """

    name: str
    values: tuple[float, ...] = ()


Piece: TypeAlias = SpeechChunk | SpeechDone | Note


@dataclass(frozen=True, slots=True, eq=False)
class CachedSpeech:
    """One finished speech.

    Attributes:
        pieces: In order; their audio is read-only.
        bytes: What it costs to hold.
    """

    pieces: tuple[Piece, ...]
    bytes: int

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> CachedSpeech | None:
        """An entry, or None where the pieces are cancelled speech or hold no audio."""
        kept = tuple(_kept(piece) for piece in pieces)
        audio = sum(piece.audio.nbytes for piece in kept if isinstance(piece, SpeechChunk))
        if not audio or any(isinstance(piece, SpeechDone) and piece.cancelled for piece in kept):
            return None
        return cls(pieces=kept, bytes=audio + ENTRY_OVERHEAD)

    @property
    def audio(self) -> Float32:
        """All of it: mono float32 at 24 kHz, shape (samples,)."""
        return np.concatenate(
            [piece.audio for piece in self.pieces if isinstance(piece, SpeechChunk)]
        )

    @property
    def seconds(self) -> float:
        """Its length."""
        samples = sum(len(piece.audio) for piece in self.pieces if isinstance(piece, SpeechChunk))
        return samples / SAMPLE_RATE


def _kept(piece: Piece) -> Piece:
    if isinstance(piece, SpeechDone):
        # The times belong to the request that made it; a replay takes none.
        return replace(piece, queued_s=0.0, first_audio_s=0.0, total_s=0.0)
    if isinstance(piece, SpeechChunk):
        # A copy: a slice would hold all of its buffer, and a listener could write into it.
        audio = np.array(piece.audio, dtype=np.float32)
        audio.flags.writeable = False
        return replace(piece, audio=audio)
    return piece

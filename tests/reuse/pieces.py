"""Pieces of speech for the tests of the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np

from livekit_xtts.cache import Piece
from livekit_xtts.speech import SpeechChunk, SpeechRequest

REQUEST = SpeechRequest("Good morning, how can I help?")
KEY = "a" * 64
OTHER = "b" * 64


def chunk(samples: int = 1000, start: int = 0, value: float = 0.5) -> SpeechChunk:
    return SpeechChunk(audio=np.full(samples, value, np.float32), start=start, codes=1)


async def heard(pieces: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in pieces]


def audio(pieces: list[Piece]) -> np.ndarray:
    return np.concatenate([piece.audio for piece in pieces if isinstance(piece, SpeechChunk)])

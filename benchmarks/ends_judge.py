"""The judge of utterance ends: knows the text's reading by espeak-ng, and nothing of the mechanism.

A reading of ours is aligned in time with the teacher's, from its beginning up to wherever the
teacher's last sound matches best. What sounds after that place is no part of the text. Rules and
thresholds were fixed on readings with planted faults, whose true ends are known.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from benchmarks.voice_measures import HOP, RATE, Array, Track, spoken_span

SOUND_DB = -30.0
"""Frames louder than this, against the loudest, are sound."""

EXTRA_S = 0.25
"""More sound than this after the end of the text is extra speech."""

CLICK = 0.01
"""A larger step between silence and sound (-40 dB below full scale) is a click."""

_FRAME_S = HOP / RATE
_STRETCH = 0.3


def _features(track: Track) -> Array:
    weights = 1 / (1 + np.arange(track.cepstra.shape[1]) / 8)
    level = np.maximum(track.level, -50)[:, None] / 6
    return np.concatenate([track.cepstra * weights, level], 1)


def text_end(teacher: Track, ours: Track) -> int:
    """The frame of our reading that matches the teacher's last sound.

    Args:
        teacher: The text as espeak-ng reads it.
        ours: The same text, and maybe more behind it.
    """
    first, last = spoken_span(teacher, SOUND_DB)
    begin, _ = spoken_span(ours, SOUND_DB)
    x, y = _features(teacher)[first : last + 1], _features(ours)[begin:]
    cost = np.sqrt(np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T, 0))
    n, m = cost.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0.0
    for s in range(2, n + m + 1):  # anti-diagonals: each is one vector operation
        i = np.arange(max(1, s - m), min(n, s - 1) + 1)
        j = s - i
        beside = np.minimum(total[i - 1, j], total[i, j - 1]) + _STRETCH
        total[i, j] = np.minimum(total[i - 1, j - 1], beside) + cost[i - 1, j - 1]
    # The mean cost of each way to the teacher's end, from half its length to twice.
    ends = np.arange(1, m + 1)
    mean = total[n, 1:] / (n + ends)
    mean[(ends < 0.5 * n) | (ends > 2.0 * n + 10)] = np.inf
    return begin + int(mean.argmin()) if np.isfinite(mean).any() else begin + m - 1


def sound_after(ours: Track, end: int) -> float:
    """Seconds of sound after a frame."""
    return float((ours.level[end + 1 :] > SOUND_DB).sum()) * _FRAME_S


def last_sound(samples: Array, rate: int) -> float:
    """Seconds up to the end of the last 10 ms with sound in them."""
    size = rate // 100
    frames = len(samples) // size
    if not frames:
        return 0.0
    level = np.sqrt((samples[: frames * size].reshape(frames, size) ** 2).mean(1))
    loud = np.flatnonzero(level > level.max() * 10 ** (SOUND_DB / 20))
    return float(loud[-1] + 1) / 100 if len(loud) else 0.0


def clicks(pieces: list[Array]) -> int:
    """Steps between sound and silence where pieces of speech begin and end.

    Args:
        pieces: Each shape (samples,), with silence before and behind it.
    """
    edges = [edge for piece in pieces if len(piece) for edge in (piece[0], piece[-1])]
    return int(sum(abs(edge) > CLICK for edge in edges))


def loudness_db(samples: Array, rate: int) -> float:
    """Level of the sound in a piece of speech, its pauses left out, in dB."""
    size = rate // 100
    power = (samples[: len(samples) // size * size].reshape(-1, size) ** 2).mean(1)
    sound = power[power > power.max() * 10 ** (SOUND_DB / 10)]
    return float(10 * np.log10(sound.mean() + 1e-12))


def steps_db(levels: list[float]) -> list[float]:
    """Steps from each level to the next, in dB, all positive."""
    return [abs(after - before) for before, after in pairwise(levels)]

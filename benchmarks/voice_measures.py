"""Measures of speech that know nothing of the model: pitch, cepstra, time alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RATE = 16_000
HOP = 160
_WINDOW = 640  # 40 ms: two and a half periods of the lowest voice
_FFT = 2048
_LOW_HZ, _HIGH_HZ = 65.0, 400.0
_VOICED = 0.5
_CANDIDATES = 5
_MELS, _CEPSTRA = 40, 20


@dataclass(frozen=True)
class Track:
    """One value each 10 ms.

    Attributes:
        f0: Hz, also where unvoiced (the likeliest value there), (frames,).
        voiced: Whether the voice is periodic there, (frames,).
        level: dB below the loudest frame, (frames,).
        mel: Log mel powers, (frames, 40).
        cepstra: Cepstra of the log mel powers without the level, (frames, 20).
    """

    f0: Array
    voiced: npt.NDArray[np.bool_]
    level: Array
    mel: Array
    cepstra: Array


def _mel_filters() -> Array:
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 7600 / 700), _MELS + 2) / 2595) - 1)
    bins = np.arange(_FFT // 2 + 1) * RATE / _FFT
    up = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(up, down))


_FILTERS = _mel_filters()
_HANN = np.hanning(_WINDOW + 2)[1:-1]
_HANN_ACF = np.fft.irfft(np.abs(np.fft.rfft(_HANN, _FFT)) ** 2)[:_WINDOW]


def analyse(samples: Array) -> Track:
    """Analyses speech at 16 kHz.

    Args:
        samples: (n,) in -1 … 1.

    Returns:
        The track, frame k centred on sample 160 k.
    """
    x = np.asarray(samples, np.float64)
    frames = max(1, len(x) // HOP)
    padded = np.pad(x, (_WINDOW // 2, _WINDOW))
    windows = padded[np.arange(frames)[:, None] * HOP + np.arange(_WINDOW)]
    rms = np.sqrt((windows**2).mean(1)) + 1e-9
    level = 20 * np.log10(rms / rms.max())
    spectrum = np.fft.rfft((windows - windows.mean(1, keepdims=True)) * _HANN, _FFT)
    power = spectrum.real**2 + spectrum.imag**2
    mel = np.log(power @ _FILTERS.T + 1e-4 * power.max() / _FFT + 1e-12)
    order = np.arange(1, _CEPSTRA + 1)[:, None]
    basis = np.cos(np.pi * order * (np.arange(_MELS) + 0.5) / _MELS) * np.sqrt(2 / _MELS)
    acf = np.fft.irfft(power)[:, :_WINDOW]
    acf = acf / (acf[:, :1] + 1e-12) / (_HANN_ACF / _HANN_ACF[0])
    f0, strength = _follow(acf)
    voiced = (strength > _VOICED) & (level > -35)
    return Track(f0, voiced, level, mel, mel @ basis.T)


def _follow(acf: Array) -> tuple[Array, Array]:
    """The smoothest path through the peaks of the correlation (Viterbi), with their heights."""
    first, last = int(RATE / _HIGH_HZ), int(RATE / _LOW_HZ)
    inner = acf[:, first : last + 1]
    peaks = (inner >= acf[:, first - 1 : last]) & (inner >= acf[:, first + 1 : last + 2])
    # Short lags are favoured a little: twice a period correlates as well as one.
    lags = np.arange(first, last + 1)
    score = np.where(peaks, inner - 0.06 * np.log2(lags / first), -1.0)
    best = np.argsort(-score, axis=1)[:, :_CANDIDATES]
    frames = len(acf)
    rows = np.arange(frames)[:, None]
    lag = best + first
    a, b, c = acf[rows, lag - 1], acf[rows, lag], acf[rows, lag + 1]
    shift = np.clip(0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9), -0.5, 0.5)
    pitch = RATE / (lag + shift)
    gain = np.take_along_axis(score, best, 1)
    total = gain[0].copy()
    came = np.zeros((frames, _CANDIDATES), np.int64)
    for t in range(1, frames):
        jump = 1.5 * np.abs(np.log2(pitch[t][:, None] / pitch[t - 1][None]))
        options = total[None] - jump
        came[t] = options.argmax(1)
        total = options.max(1) + gain[t]
    path = np.empty(frames, np.int64)
    path[-1] = int(total.argmax())
    for t in range(frames - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    index = np.arange(frames)
    return pitch[index, path], b[index, path]


def align(a: Track, b: Track) -> tuple[npt.NDArray[np.int64], float]:
    """Aligns two readings in time by their cepstra (dynamic time warping).

    Args:
        a: A reading of n frames.
        b: Another of m frames.

    Returns:
        Pairs of frames (path, 2), and the mean log-mel distance in dB along them.
    """
    x, y = _shape(a), _shape(b)
    cost = np.sqrt(np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T, 0))
    n, m = cost.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    # Anti-diagonals are independent of each other, so each is one vector operation.
    for s in range(2, n + m + 1):
        i = np.arange(max(1, s - m), min(n, s - 1) + 1)
        j = s - i
        step = np.minimum(total[i - 1, j - 1], np.minimum(total[i - 1, j], total[i, j - 1]) + 0.3)
        total[i, j] = step + cost[i - 1, j - 1]
    path = []
    i, j = n, m
    while i > 0 and j > 0:
        path.append((i - 1, j - 1))
        options = (total[i - 1, j - 1], total[i - 1, j] + 0.3, total[i, j - 1] + 0.3)
        move = int(np.argmin(options))
        i, j = i - (move != 2), j - (move != 1)
    pairs = np.array(path[::-1])
    away = a.mel[pairs[:, 0]] - b.mel[pairs[:, 1]]
    away = away - away.mean()
    return pairs, float(np.sqrt((away**2).mean(1)).mean() * 10 / np.log(10))


def _shape(track: Track) -> Array:
    """What is aligned: cepstra, weighted towards the broad shape, and the level."""
    weights = 1 / (1 + np.arange(_CEPSTRA) / 8)
    level = np.maximum(track.level, -50)[:, None] / 6
    return np.concatenate([track.cepstra * weights, level], 1)


def signature(tracks: list[Track]) -> Array:
    """What tells speakers apart: pitch in semitones (median, spread) and cepstral statistics of
    voiced frames.
    """
    voiced = [t.voiced & (t.level > -25) for t in tracks]
    cepstra = np.concatenate([t.cepstra[v] for t, v in zip(tracks, voiced, strict=True)])
    f0 = np.concatenate([t.f0[v] for t, v in zip(tracks, voiced, strict=True)])
    if len(f0) < 3:
        return np.zeros(2 + 2 * _CEPSTRA)
    semitones = 12 * np.log2(f0 / 100)
    low, middle, high = np.percentile(semitones, [25, 50, 75])
    return np.concatenate([[middle, high - low], cepstra.mean(0), cepstra.std(0)])


def spoken_span(track: Track, floor: float = -38.0) -> tuple[int, int]:
    """First and last frame louder than floor dB under the loudest."""
    loud = np.flatnonzero(track.level > floor)
    return (int(loud[0]), int(loud[-1])) if len(loud) else (0, 0)

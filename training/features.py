"""Cepstra of the log mel spectrum: what codes are clustered on and what hidden states must
predict.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dct

from training.espeak import SAMPLE_RATE
from training.settings import CEPSTRA, FRAME_SAMPLES

_N_FFT = 1024
_MELS = 80


def _mel_filters() -> np.ndarray:
    """Triangular filters (80, 513) on the HTK mel scale, 50 Hz to 10,500 Hz, unit area."""

    def to_mel(hz: np.ndarray | float) -> np.ndarray | float:
        return 2595 * np.log10(1 + np.asarray(hz) / 700)

    points = 700 * (10 ** (np.linspace(to_mel(50.0), to_mel(10_500.0), _MELS + 2) / 2595) - 1)
    bins = np.arange(_N_FFT // 2 + 1) * SAMPLE_RATE / _N_FFT
    up = (bins - points[:-2, None]) / np.diff(points)[:-1, None]
    down = (points[2:, None] - bins) / np.diff(points)[1:, None]
    filters = np.maximum(0, np.minimum(up, down))
    return (filters / np.maximum(filters.sum(1, keepdims=True), 1e-9)).astype(np.float32)


_FILTERS = _mel_filters()
_HANN = np.hanning(_N_FFT + 1)[:-1].astype(np.float32)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Log mel power (n // 256, 80); frame k is centred on sample 256 k + 128."""
    frames = len(samples) // FRAME_SAMPLES
    half = _N_FFT // 2
    padded = np.pad(samples.astype(np.float32), (half, half))
    starts = np.arange(frames) * FRAME_SAMPLES + FRAME_SAMPLES // 2
    spectrum = np.fft.rfft(padded[starts[:, None] + np.arange(_N_FFT)] * _HANN)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.log(power @ _FILTERS.T + 1e-3)


def cepstra(samples: np.ndarray) -> np.ndarray:
    """Cepstra (n // 256, CEPSTRA), the zeroth being the level."""
    return dct(log_mel(samples), norm="ortho", axis=1)[:, :CEPSTRA].astype(np.float32)

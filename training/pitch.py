"""Pitch of the teacher's speech, and its lock to the code grid.

A HiFi-GAN of a million weights cannot keep a free-running oscillator: from features alone it does
not know
where in its period the voice is, and sounds hoarse. So the training speech is moved, by at most
half a period
a code, until a whole number of the voice's periods lies in each code (1024 samples at 22,050 Hz).
The phase of
the voice is then known at every code's edge, and the decoder learns a waveform instead of a
texture. The price is
a pitch that moves in steps of 21.5 Hz from code to code, with smooth glides between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.signal import fftconvolve, medfilt

from training.espeak import SAMPLE_RATE
from training.settings import CODE_SAMPLES, FRAME_SAMPLES, MAX_PERIODS, MIN_PERIODS

_WINDOW = 1024
_WIDE = 4096
_HANN = np.hanning(_WINDOW + 2)[1:-1].astype(np.float32)
_HANN_ACF = np.fft.irfft(np.abs(np.fft.rfft(_HANN, 2 * _WINDOW)) ** 2)[: _WINDOW // 2]


@dataclass(frozen=True)
class Pitch:
    """F0 in Hz (0 where unvoiced) and strength (height of the correlation peak) per frame of 256
    samples.
    """

    f0: np.ndarray
    strength: np.ndarray


def track(samples: np.ndarray, low: float, high: float) -> Pitch:
    """Tracks F0 by the normalised autocorrelation of centred windows of 46 ms.

    Args:
        samples: float, (n,) at 22,050 Hz.
        low: Lowest F0 in Hz.
        high: Highest F0 in Hz.

    Returns:
        Pitch of n // 256 frames, frame k centred on sample 256 k + 128.
    """
    frames = len(samples) // FRAME_SAMPLES
    half = _WINDOW // 2
    padded = np.pad(samples.astype(np.float32), (half, half))
    starts = np.arange(frames) * FRAME_SAMPLES + FRAME_SAMPLES // 2
    windows = padded[starts[:, None] + np.arange(_WINDOW)]
    rms = np.sqrt((windows**2).mean(1))
    windows = (windows - windows.mean(1, keepdims=True)) * _HANN
    spectrum = np.fft.rfft(windows, 2 * _WINDOW)
    power = spectrum.real**2 + spectrum.imag**2
    acf = np.fft.irfft(power)[:, :half]
    acf = acf / (acf[:, :1] + 1e-6) / (_HANN_ACF / _HANN_ACF[0])
    first, last = int(SAMPLE_RATE / high), int(SAMPLE_RATE / low) + 1
    peak = first + np.argmax(acf[:, first:last], 1)
    rows = np.arange(frames)
    a, b, c = acf[rows, peak - 1], acf[rows, peak], acf[rows, peak + 1]
    shift = np.clip(0.5 * (a - c) / (a - 2 * b + c - 1e-9), -0.5, 0.5)
    f0 = SAMPLE_RATE / (peak + shift)
    voiced = (b > 0.55) & (rms > 0.012)
    voiced = medfilt(voiced.astype(np.float32), 3) > 0.5
    return Pitch(np.where(voiced, f0, 0.0), b)


def _filled(f0: np.ndarray, fallback: float) -> np.ndarray:
    """F0 with straight lines through the unvoiced stretches."""
    voiced = np.flatnonzero(f0 > 0)
    if len(voiced) == 0:
        return np.full(len(f0), fallback)
    return np.interp(np.arange(len(f0)), voiced, f0[voiced])


def periods_per_code(f0: np.ndarray, codes: int) -> np.ndarray:
    """Whole periods in each code, with hysteresis so that the count does not flicker."""
    wanted = f0[: codes * 4].reshape(codes, 4).mean(1) * CODE_SAMPLES / SAMPLE_RATE
    counts = np.empty(codes, np.int64)
    current = round(float(wanted[0]))
    for i, value in enumerate(wanted):
        if abs(value - current) > 0.62:
            current = round(float(value))
        counts[i] = current
    return np.clip(counts, MIN_PERIODS, MAX_PERIODS)


def lock(samples: np.ndarray, pitch: Pitch, middle: float) -> tuple[np.ndarray, np.ndarray]:
    """Moves the periods of the speech so that a whole number of them lies in each code.

    Args:
        samples: (n,) at 22,050 Hz, n a multiple of 1024.
        pitch: What track found in it.
        middle: The voice's usual F0 in Hz, for speech with no voiced frame.

    Returns:
        The moved samples (n,), and the periods of each code (n // 1024,).
    """
    n = len(samples)
    codes = n // CODE_SAMPLES
    time = np.arange(n)
    centres = np.arange(len(pitch.f0)) * FRAME_SAMPLES + FRAME_SAMPLES / 2
    filled = _filled(pitch.f0, middle)
    f0 = np.interp(time, centres, filled)
    carrier = np.cumsum(f0) / SAMPLE_RATE
    length = int(2.5 * SAMPLE_RATE / middle) | 1
    base = fftconvolve(samples * np.exp(-2j * np.pi * carrier), np.hanning(length), mode="same")
    rest = np.unwrap(np.angle(base)) / (2 * np.pi)
    voiced = np.interp(time, centres, (pitch.f0 > 0).astype(np.float64))
    known = np.flatnonzero(voiced > 0.5)
    if len(known) == 0:
        return samples, periods_per_code(filled, codes)
    # Through unvoiced stretches the phase follows the filled-in F0.
    rest = np.interp(time, known, rest[known])
    phase = np.maximum.accumulate(carrier + rest)
    phase = phase + time * 1e-9
    counts = periods_per_code(filled, codes)
    edges = np.arange(codes + 1) * CODE_SAMPLES
    target = PchipInterpolator(edges, np.concatenate([[0], np.cumsum(counts)]))(time)

    sources = np.interp(np.arange(np.ceil(phase[0]), np.floor(phase[-1])), phase, time)
    marks = np.interp(np.arange(1, np.floor(target[-1])), target, time)
    if len(sources) < 3 or len(marks) < 3:
        return samples, counts
    nearest = np.searchsorted((sources[1:] + sources[:-1]) / 2, marks)
    nearest = np.clip(nearest, 1, len(sources) - 2)
    left = np.minimum(sources[nearest] - sources[nearest - 1], 400)
    right = np.minimum(sources[nearest + 1] - sources[nearest], 400)
    reach = int(np.ceil(max(left.max(), right.max()))) + 1
    offsets = np.arange(-reach, reach + 1)
    # Grains are taken at whole samples around the marks; the remainders cancel between source
    # and target.
    start = np.round(sources[nearest]).astype(int)
    place = np.round(marks).astype(int)
    x = np.where(offsets < 0, offsets / left[:, None], offsets / right[:, None])
    window = np.where(np.abs(x) < 1, 0.5 + 0.5 * np.cos(np.pi * x), 0.0)
    padded = np.pad(samples, reach + 1)
    grains = padded[start[:, None] + offsets + reach + 1] * window
    out = np.zeros(n + 2 * reach + 2)
    weight = np.zeros(n + 2 * reach + 2)
    index = (place[:, None] + offsets + reach + 1).ravel()
    out += np.bincount(index, grains.ravel(), len(out))
    weight += np.bincount(index, window.ravel(), len(out))
    moved = (out / np.maximum(weight, 0.3))[reach + 1 : reach + 1 + n]
    blend = np.clip(voiced * 2 - 0.3, 0, 1)
    return (blend * moved + (1 - blend) * samples).astype(np.float32), counts

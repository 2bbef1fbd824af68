"""Features of reference audio: windowed-sinc resampling, mel spectrograms. Torch only."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

_ZERO_CROSSINGS = 6
_ROLLOFF = 0.99
_BLOCK = 1 << 16


@lru_cache(maxsize=16)
def _sinc_kernel(source: int, target: int) -> tuple[Tensor, Tensor]:
    """Taps of each output phase, and the input index of each phase's first tap.

    Args:
        source: Input rate, divided by the greatest common divisor of both.
        target: Output rate, divided likewise.

    Returns:
        Kernels (target, taps) in float32 and first taps (target,), relative to the block's start.
    """
    cutoff = min(source, target) * _ROLLOFF
    width = math.ceil(_ZERO_CROSSINGS * source / cutoff)
    phase = torch.arange(target)
    first = torch.div(phase * source, target, rounding_mode="floor") - width
    taps = first[:, None] + torch.arange(2 * width + 2)
    # The phase is rounded to float32 before use: so does the kernel that voices were made with.
    offset = (phase / target).to(torch.float32).to(torch.float64)
    t = (taps.to(torch.float64) / source - offset[:, None]) * cutoff
    t = t.clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = torch.cos(t * (math.pi / _ZERO_CROSSINGS / 2)).square()
    kernel = torch.sinc(t) * window * (cutoff / source)
    return kernel.to(torch.float32), first


def resample(samples: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Resample with a Hann-windowed sinc of six zero crossings, rolled off at 99 %.

    The same filter as the one XTTS voices are made with; another resampler gives another voice.

    Args:
        samples: Shape (samples,).
        source_rate: Samples per second of `samples`.
        target_rate: Samples per second wanted.

    Returns:
        Shape (ceil(samples * target_rate / source_rate),), same dtype.
    """
    if source_rate == target_rate:
        return samples
    divisor = math.gcd(source_rate, target_rate)
    source, target = source_rate // divisor, target_rate // divisor
    kernel, first = _sinc_kernel(source, target)
    kernel = kernel.to(samples)
    first = first.to(samples.device)
    taps = kernel.shape[1]
    length = -(-samples.numel() * target // source)
    left = -int(first[0])
    padded = torch.nn.functional.pad(samples, (left, taps + source))
    output = torch.empty(length, dtype=samples.dtype, device=samples.device)
    tap = torch.arange(taps, device=samples.device)
    for start in range(0, length, _BLOCK):
        index = torch.arange(start, min(start + _BLOCK, length), device=samples.device)
        phase = index % target
        begin = torch.div(index, target, rounding_mode="floor") * source + first[phase] + left
        window = padded[begin[:, None] + tap]
        output[start : start + index.numel()] = (window * kernel[phase]).sum(dim=1)
    return output


def mel_filters(
    bins: int, mels: int, sample_rate: int, highest: float, area: bool = False
) -> Tensor:
    """Triangular filters on the HTK mel scale, from 0 Hz.

    Args:
        bins: Frequency bins of the spectrogram, n_fft // 2 + 1.
        mels: Filters.
        sample_rate: Samples per second.
        highest: Upper end of the last filter, in Hz.
        area: Divide each filter by half its width in Hz (equal areas).

    Returns:
        Shape (bins, mels).
    """
    frequencies = torch.linspace(0, sample_rate // 2, bins, device="cpu")
    top = 2595.0 * math.log10(1.0 + highest / 700.0)
    points = torch.linspace(0.0, top, mels + 2, device="cpu")
    edges = 700.0 * (10.0 ** (points / 2595.0) - 1.0)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies[:, None] - low) / (centre - low)
    falling = (high - frequencies[:, None]) / (high - centre)
    filters = torch.minimum(rising, falling).clamp(min=0.0)
    return filters * (2.0 / (high - low)) if area else filters


def power_spectrogram(samples: Tensor, window: Tensor, n_fft: int, hop: int) -> Tensor:
    """Power spectrogram of centred, reflected frames.

    Args:
        samples: Shape (samples,) or (batch, samples); longer than n_fft // 2.
        window: Shape (window length,), at most n_fft.
        n_fft: Size of the transform.
        hop: Samples between frames.

    Returns:
        Shape (..., n_fft // 2 + 1, frames).
    """
    spectrum = torch.stft(
        samples,
        n_fft,
        hop_length=hop,
        win_length=window.numel(),
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    return spectrum.abs().square()


@lru_cache(maxsize=4)
def _conditioning_filters(mels: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    return mel_filters(1025, mels, sample_rate, 8000.0, area=True), torch.hann_window(1024)


def conditioning_mel(samples: Tensor, mel_stats: Tensor, sample_rate: int = 22050) -> Tensor:
    """Normalised log-mel spectrogram that the conditioning encoder takes.

    Args:
        samples: Shape (samples,), at `sample_rate`, at least 1,025 samples.
        mel_stats: Divisor of each mel band, shape (mels,).
        sample_rate: Samples per second.

    Returns:
        Shape (mels, frames), one frame each 256 samples.
    """
    filters, window = _conditioning_filters(mel_stats.numel(), sample_rate)
    power = power_spectrogram(samples, window.to(samples), n_fft=2048, hop=256)
    mel = filters.to(samples).T @ power
    return mel.clamp(min=1e-5).log() / mel_stats.to(samples)[:, None]

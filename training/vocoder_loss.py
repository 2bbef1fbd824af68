"""What the vocoder's output is compared by: magnitudes at several resolutions, mel, and the phase
of low partials.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from livekit_xtts.model.mel import mel_filters

_RATE = 24_000
_SIZES = (2048, 1024, 512, 256)
_MEL_SIZE, _MELS = 1024, 80
# Up to here the locked periods make the waveform itself predictable.
_PHASE_SIZE, _PHASE_HZ = 1024, 700
_FRAME, _FIRST_LAG, _LAGS = 960, 60, 370
# A frame whose correlation is stronger than this at some lag is voiced.
_VOICED = 0.5


class VocoderLoss:
    """Parts of the loss by name, already weighted."""

    def __init__(self, device: torch.device | None = None) -> None:
        self._windows = {size: torch.hann_window(size, device=device) for size in _SIZES}
        self._frame_window = torch.hann_window(_FRAME, device=device)
        power = torch.fft.rfft(self._frame_window, 2048).abs().square()
        fade = torch.fft.irfft(power)[_FIRST_LAG:_LAGS]
        self._fade = fade / self._frame_window.square().sum()
        mel = mel_filters(_MEL_SIZE // 2 + 1, _MELS, _RATE, 11_000.0, area=True)
        self._mel = mel.to(device)

    def _spectrum(self, samples: Tensor, size: int) -> Tensor:
        return torch.stft(
            samples, size, size // 4, window=self._windows[size], center=False, return_complex=True
        )

    def _correlation(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Autocorrelation of frames of 40 ms over the lags of a voice, and the frames' energy."""
        frames = samples.unfold(1, _FRAME, _FRAME // 4)
        frames = (frames - frames.mean(-1, keepdim=True)) * self._frame_window
        spectrum = torch.fft.rfft(frames, 2048)
        power = spectrum.real.square() + spectrum.imag.square()
        correlation = torch.fft.irfft(power)[..., :_LAGS]
        energy = correlation[..., :1]
        return correlation[..., _FIRST_LAG:] / (energy + 1e-3), energy

    def _periodicity(self, made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """How far voiced sounds are from periodic, and unvoiced ones from aperiodic.

        Returns:
            The mean over all lags, and how far the strongest lags are from what makes a frame
            voiced or unvoiced.
        """
        a, level = self._correlation(made)
        b, energy = self._correlation(true)
        loudest = energy.amax(1, keepdim=True)
        heard = (energy > 1e-3 * loudest).float()
        mean = ((a - b).abs() * heard).sum() / (heard.sum() * a.shape[-1] + 1)
        a, b = a / self._fade, b / self._fade
        strength, lag = b.max(-1, keepdim=True)
        voiced = ((strength > _VOICED + 0.05) & (heard > 0)).float()
        unvoiced = ((strength < _VOICED - 0.05) & (level > 3e-4 * loudest)).float()
        missing = F.relu(_VOICED + 0.15 - a.gather(-1, lag)) * voiced
        surplus = F.relu(a.amax(-1, keepdim=True) - _VOICED + 0.12) * unvoiced
        return mean, (missing + surplus).mean()

    def __call__(self, made: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Compares (batch, samples) at 24 kHz."""
        convergence = made.new_zeros(())
        logarithm = made.new_zeros(())
        mel = phase = made.new_zeros(())
        for size in _SIZES:
            a, b = self._spectrum(made, size), self._spectrum(true, size)
            # The floor is near the quietest sounds of the teacher, so that digital
            # silence has no weight.
            floor = 1e-3 * (size / 1024) ** 0.5
            am = (a.real.square() + a.imag.square() + floor**2).sqrt()
            bm = (b.real.square() + b.imag.square() + floor**2).sqrt()
            convergence = convergence + ((am - bm).square().sum() / bm.square().sum()).sqrt()
            logarithm = logarithm + F.l1_loss((am + 0.01).log(), (bm + 0.01).log())
            if size == _MEL_SIZE:
                filters = self._mel.T
                mel = F.l1_loss(
                    (filters @ am.square() + 1e-5).log(), (filters @ bm.square() + 1e-5).log()
                )
            if size == _PHASE_SIZE:
                bins = _PHASE_HZ * size // _RATE
                difference = a[:, :bins] - b[:, :bins]
                scale = bm[:, :bins].square().sum().sqrt()
                phase = difference.abs().square().sum().sqrt() / scale
        periodicity, voicing = self._periodicity(made, true)
        return {
            "periodicity": periodicity * 20.0,
            "voicing": voicing * 10.0,
            "convergence": convergence / len(_SIZES),
            "log": logarithm / len(_SIZES) * 1.0,
            "mel": mel * 1.0,
            "phase": phase * 2.0,
        }

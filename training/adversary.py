"""Small judges that learn to tell the vocoder's speech from the teacher's.

They see what averages cannot: that the spectrum of a buzzing hiss is too regular, that of a blurred
voice too smooth. Few channels, since they train on a CPU beside the vocoder.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PERIODS = (2, 3, 5, 7)
_SIZES = (1024, 256)
_SLOPE = 0.2


class _Layers(nn.Module):
    """Convolutions, all of whose activations are of interest."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.utils.parametrizations.weight_norm(x) for x in layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(batch, 1, height, width) to each layer's output, the last being the verdict."""
        found = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index + 1 < len(self.layers):
                x = F.leaky_relu(x, _SLOPE)
            found.append(x)
        return found


def _by_period() -> _Layers:
    widths = (1, 16, 32, 64, 96)
    layers: list[nn.Module] = [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in pairwise(widths)]
    return _Layers([*layers, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))])


def _by_spectrum() -> _Layers:
    return _Layers(
        [
            nn.Conv2d(1, 12, (3, 9), (1, 2), (1, 4)),
            nn.Conv2d(12, 16, (3, 9), (1, 2), (1, 4)),
            nn.Conv2d(16, 24, (3, 5), (2, 2), (1, 2)),
            nn.Conv2d(24, 32, (3, 3), (1, 2), (1, 1)),
            nn.Conv2d(32, 1, (3, 3), padding=(1, 1)),
        ]
    )


class Judges(nn.Module):
    """All judges."""

    def __init__(self) -> None:
        super().__init__()
        self.periods = nn.ModuleList(_by_period() for _ in _PERIODS)
        self.spectra = nn.ModuleList(_by_spectrum() for _ in _SIZES)

    def forward(self, samples: Tensor) -> list[list[Tensor]]:
        """Activations of every judge on speech (batch, samples)."""
        found = []
        for period, judge in zip(_PERIODS, self.periods, strict=True):
            whole = samples.shape[1] // period * period
            found.append(judge(samples[:, :whole].unflatten(1, (-1, period))[:, None]))
        for size, judge in zip(_SIZES, self.spectra, strict=True):
            window = torch.hann_window(size, device=samples.device)
            spectrum = torch.stft(
                samples, size, size // 4, window=window, center=False, return_complex=True
            )
            power = spectrum.real.square() + spectrum.imag.square()
            found.append(judge((power + 1e-5).log().transpose(1, 2)[:, None] * 0.3))
        return found


def judges_loss(judges: Judges, made: Tensor, true: Tensor) -> Tensor:
    """What the judges learn from: 1 for the teacher's, 0 for the vocoder's."""
    total = made.new_zeros(())
    for fake, real in zip(judges(made.detach()), judges(true), strict=True):
        total = total + (fake[-1].float() ** 2).mean() + ((1 - real[-1].float()) ** 2).mean()
    return total / (len(_PERIODS) + len(_SIZES))


def vocoder_loss(judges: Judges, made: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """What the vocoder learns from its judges.

    Returns:
        How well it is told apart, and how far its activations are from the teacher's.
    """
    told, away = made.new_zeros(()), made.new_zeros(())
    with torch.no_grad():
        wanted = judges(true)
    for fake, real in zip(judges(made), wanted, strict=True):
        told = told + ((1 - fake[-1].float()) ** 2).mean()
        for a, b in zip(fake[:-1], real[:-1], strict=True):
            away = away + F.l1_loss(a.float(), b.float()) / (b.float().abs().mean() + 1e-3)
    count = len(_PERIODS) + len(_SIZES)
    return told / count, away / count

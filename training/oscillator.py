"""A first setting of the vocoder's first stage that already swings with the voice.

The training speech has a whole number n of periods in each code (pitch.py). So its phase is n times
the position within the code, and the position is there in the interpolated clock. But a network
that starts at random does not find a function with a dozen swings a code in the time there is. What
follows writes it into a few of the weights, from hinges alone: n is rounded by a staircase, and
multiplied with the position into a triangle wave of the right frequency and phase. Everything else
is trained around it.

With z the parity of the codes (cos of pi times the index) interpolated between their middles, the
phase in periods is v = n |z| / 2. The product is 2 |z| + the sum over k of
relu(|z| - 1 + step(n - k)) / 2, and the wave is
tri(v) = 1 - 4 v + 8 relu(v - 1/2) - 8 relu(v - 2/2) + …
"""

from __future__ import annotations

import torch
from torch import nn

from livekit_xtts.model.vocoder import HifiGan
from training.data import CLOCK, FEATURES
from training.settings import MAX_PERIODS, MIN_PERIODS

_LEAK = 0.1  # of the vocoder's leaky ReLUs
_STEEP = 4.0
_STEPS = range(MIN_PERIODS + 1, MAX_PERIODS + 1)
_FRAME_UNITS = 2 * len(_STEPS) + 2
_PRODUCT_UNITS = 4 * len(_STEPS) + 1
_WAVE_UNITS = 2 * MAX_PERIODS + 1
Z, MINUS_Z, GATES = 0, 1, 2
PHASE = GATES + len(_STEPS)
WAVE, MINUS_WAVE = PHASE + 1, PHASE + 2
PLANTED = PHASE + 3


def _clear(layer: nn.Conv1d, outputs: int) -> None:
    layer.weight[:outputs] = 0
    if layer.bias is not None:
        layer.bias[:outputs] = 0


@torch.no_grad()
def plant(vocoder: HifiGan) -> None:
    """Writes the oscillator into conv_pre, ups[0] and the first residual block.

    Args:
        vocoder: Its conv_pre takes the features of train_vocoder.true_features.
    """
    pre, up, block = vocoder.conv_pre, vocoder.ups[0], vocoder.resblocks[0]
    blocks = len(vocoder.config.decoder_resblock_kernel_sizes)
    # Frames: steps between 0.1 and 1 as differences of two hinges, and the clock with both signs.
    _clear(pre, _FRAME_UNITS)
    _clear(vocoder.cond_layer, _FRAME_UNITS)
    _clear(vocoder.conds[0], PLANTED)
    centre = pre.kernel_size[0] // 2
    parity, periods = 2 * FEATURES, 2 * FEATURES + CLOCK
    for index, k in enumerate(_STEPS):
        for side in (0, 1):
            pre.weight[2 * index + side, periods, centre] = _STEEP
            pre.bias[2 * index + side] = 0.5 - side - _STEEP * (k - 0.5)
    plus, minus = _FRAME_UNITS - 2, _FRAME_UNITS - 1
    pre.weight[plus, parity, centre], pre.weight[minus, parity, centre] = 1.0, -1.0
    # 750 Hz: straight lines between the frames.
    up.weight[:, :PLANTED] = 0
    up.bias[:PLANTED] = 0
    up.weight[:_FRAME_UNITS] *= 0.05
    taps = up.kernel_size[0]
    ramp = 1 - (torch.arange(taps) - (taps - 1) / 2).abs() / up.stride[0]
    for channel, sign in ((Z, 1.0), (MINUS_Z, -1.0)):
        up.weight[plus, channel] = sign * ramp / (1 + _LEAK)
        up.weight[minus, channel] = -sign * ramp / (1 + _LEAK)
    for index in range(len(_STEPS)):
        channel = GATES + index
        up.weight[2 * index, channel] = ramp / (1 - _LEAK)
        up.weight[2 * index + 1, channel] = -ramp / (1 - _LEAK)
        up.bias[channel] = -_LEAK / (1 - _LEAK)
    # The residual blocks leave the planted channels alone, but for what is written here.
    for other in vocoder.resblocks[:blocks]:
        for layer in other.convs2:
            _clear(layer, PLANTED)
    # relu(p) = (leaky(p) + leak * leaky(-p)) / (1 - leak^2)
    shares = ((1.0, 1 / (1 - _LEAK**2)), (-1.0, _LEAK / (1 - _LEAK**2)))
    hinge, mix = block.convs1[0], block.convs2[0]
    c1, c2 = hinge.kernel_size[0] // 2, mix.kernel_size[0] // 2
    _clear(hinge, _PRODUCT_UNITS)
    hinge.weight[0, Z, c1] = hinge.weight[0, MINUS_Z, c1] = 1 / (1 - _LEAK)
    mix.weight[PHASE, 0, c2] = MIN_PERIODS / 2
    unit = 1
    for index in range(len(_STEPS)):
        for side in (1.0, -1.0):
            for sign, share in shares:
                hinge.weight[unit, Z, c1] = sign * side / (1 + _LEAK)
                hinge.weight[unit, MINUS_Z, c1] = -sign * side / (1 + _LEAK)
                hinge.weight[unit, GATES + index, c1] = sign
                hinge.bias[unit] = -sign
                mix.weight[PHASE, unit, c2] = 0.5 * share
                unit += 1
    hinge, mix = block.convs1[1], block.convs2[1]
    c1, c2 = hinge.kernel_size[0] // 2, mix.kernel_size[0] // 2
    _clear(hinge, _WAVE_UNITS)
    hinge.weight[0, PHASE, c1] = 1.0
    # The blocks of a stage are averaged, so one of them has to speak up.
    for channel, height in ((WAVE, float(blocks)), (MINUS_WAVE, -float(blocks))):
        mix.weight[channel, 0, c2] = -4 * height
        mix.bias[channel] = height
        for k in range(1, MAX_PERIODS + 1):
            for side, (sign, share) in enumerate(shares):
                unit = 2 * k - 1 + side
                hinge.weight[unit, PHASE, c1], hinge.bias[unit] = sign, -sign * k / 2
                mix.weight[channel, unit, c2] = 8 * height * share * (1 if k % 2 else -1)


def protect(vocoder: HifiGan) -> None:
    """Takes the planted weights out of an update, which would shake the phase apart.

    Args:
        vocoder: After backward.
    """
    blocks = len(vocoder.config.decoder_resblock_kernel_sizes)
    first = vocoder.resblocks[0]
    rows: list[tuple[nn.Module, int]] = [
        (vocoder.conv_pre, _FRAME_UNITS),
        (vocoder.cond_layer, _FRAME_UNITS),
        (vocoder.conds[0], PLANTED),
        (first.convs1[0], _PRODUCT_UNITS),
        (first.convs1[1], _WAVE_UNITS),
    ]
    rows += [(layer, PLANTED) for block in vocoder.resblocks[:blocks] for layer in block.convs2]
    for layer, count in rows:
        for parameter in layer.parameters():
            if parameter.grad is not None:
                parameter.grad[:count] = 0
    up = vocoder.ups[0]
    if up.weight.grad is not None and up.bias.grad is not None:
        up.weight.grad[:, :PLANTED] = 0
        up.bias.grad[:PLANTED] = 0

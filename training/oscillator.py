"""A first setting of the vocoder's first two stages, which swings with the voice, and rustles.

The training speech has a whole number n of periods in each code (pitch.py). So its phase is n times
the position within the code, and the position is there in the interpolated clock. But a network
that starts at random does not find a function with a dozen swings a code in the time there is. What
follows writes it into a few of the weights, from hinges alone.

The clock's waves c and s (period: four codes) are straight lines between the middles of codes, with
c = 0 in the middles where s = ±1 and the other way round; a third one, z, changes its sign at every
edge. Interpolation cuts their tips off, so the position e (0 at the edges, 1 in the middles) is |z|
near the edges and 1 - 2 min(|c|, |s|) near the middles, which uses no tip. The larger of the two is
taken; like this e is 0 at the edges and 1 in the middles whatever the waves' height, which hidden
states give to within 3 %, and the phase never jumps. With one gate for each k (1 where n >= k, else
0) the phase in periods from the nearest edge is v = MIN_PERIODS e / 2 + the sum of
relu(e - 1 + gate) / 2. At 6 kHz a first zigzag folds v to 0 … 2, a second one makes a triangle wave
of it, and a last hinge a pulse a period.

Unvoiced sounds need the opposite: that no two frames are alike. Eight channels at 750 Hz are
zigzags of zigzags of c and s, at random corners: they repeat after four codes (186 ms), which no
measure of pitch takes for one. Everything else is trained around all this.
"""

from __future__ import annotations

import random
from itertools import pairwise

import torch
from torch import Tensor, nn

from livekit_xtts.model.vocoder import HifiGan
from training.data import CLOCK, FEATURES
from training.settings import GATES, MIN_PERIODS

_LEAK = 0.1  # of the vocoder's leaky ReLUs
# relu(p) = (leaky(p) + leak * leaky(-p)) / (1 - leak^2)
_SHARES = ((1.0, 1 / (1 - _LEAK**2)), (-1.0, _LEAK / (1 - _LEAK**2)))
_STEEP = 2.0
_NEAR = 2.1
_FRAME_UNITS = 2 * GATES + 6
# Channels of the first stage (750 Hz): c, -c, s, -s, gates, e + 1, v, what rustles, z, -z.
_C, _S, _GATE = 0, 2, 4
_E = _GATE + GATES
PHASE = _E + 1
NOISE = PHASE + 1
RUSTLES, _CORNERS = 8, 6
_Z = NOISE + RUSTLES
FIRST = _Z + 2
# And of the second (6 kHz).
V, W, WAVE, MINUS_WAVE, PULSE = range(5)
SECOND = 5


def _clear(layer: nn.Conv1d, outputs: int) -> None:
    layer.weight[:outputs] = 0
    if layer.bias is not None:
        layer.bias[:outputs] = 0


def _ramp(up: nn.ConvTranspose1d) -> Tensor:
    """Taps that draw straight lines between the inputs."""
    taps = up.kernel_size[0]
    return 1 - (torch.arange(taps) - (taps - 1) / 2).abs() / up.stride[0]


class _Pair:
    """The next free hidden units of one pair of convolutions in a residual block."""

    def __init__(self, block: nn.Module, index: int, units: int) -> None:
        self._hinge, self._mix = block.convs1[index], block.convs2[index]
        self._inner, self._outer = self._hinge.kernel_size[0] // 2, self._mix.kernel_size[0] // 2
        self._next = 0
        _clear(self._hinge, units)

    def unit(self, inputs: dict[int, float], bias: float, outputs: dict[int, float]) -> None:
        """outputs += leaky(inputs + bias)."""
        for channel, weight in inputs.items():
            self._hinge.weight[self._next, channel, self._inner] = weight
        self._hinge.bias[self._next] = bias
        for channel, weight in outputs.items():
            self._mix.weight[channel, self._next, self._outer] = weight
        self._next += 1

    def relu(self, inputs: dict[int, float], bias: float, outputs: dict[int, float]) -> None:
        """outputs += relu(inputs + bias), by two units."""
        for sign, share in _SHARES:
            self.unit(
                {c: sign * w for c, w in inputs.items()},
                sign * bias,
                {c: share * w for c, w in outputs.items()},
            )

    def constant(self, channel: int, value: float) -> None:
        """A channel's constant part."""
        self._mix.bias[channel] = value


# Hidden units by block and pair.
_UNITS_FIRST = ((3, 2, 1 + 2 * GATES), (RUSTLES * (_CORNERS + 2), RUSTLES * (_CORNERS + 3)))
_UNITS_SECOND = ((7, 7, 2), ())


def _blocks(vocoder: HifiGan, stage: int) -> list[nn.Module]:
    count = len(vocoder.config.decoder_resblock_kernel_sizes)
    return list(vocoder.resblocks[stage * count : (stage + 1) * count])


@torch.no_grad()
def plant(vocoder: HifiGan) -> None:
    """Writes all this into the first two stages.

    Args:
        vocoder: Its conv_pre takes the features of train_vocoder.true_features.
    """
    for stage, planted in ((0, FIRST), (1, SECOND)):
        _clear(vocoder.conds[stage], planted)
        up = vocoder.ups[stage]
        up.weight[:, :planted] = 0
        up.bias[:planted] = 0
        for block in _blocks(vocoder, stage):
            for layer in block.convs2:
                _clear(layer, planted)
            # What grows with the phase is for the wave alone.
            for layer in block.convs1:
                layer.weight[:, [PHASE] if stage == 0 else [V, W]] = 0
    _frames(vocoder)
    _phase(vocoder)
    _rustle(vocoder)
    _wave(vocoder)
    vocoder.ups[2].weight[[V, W]] = 0


def _frames(vocoder: HifiGan) -> None:
    """Gates and clock from the features, and straight lines between them up to 750 Hz."""
    pre, up = vocoder.conv_pre, vocoder.ups[0]
    _clear(pre, _FRAME_UNITS)
    _clear(vocoder.cond_layer, _FRAME_UNITS)
    centre, ramp = pre.kernel_size[0] // 2, _ramp(up)
    clock, gates = 2 * FEATURES, 2 * FEATURES + CLOCK
    up.weight[:_FRAME_UNITS] *= 0.05
    for index in range(GATES):
        for side in (0, 1):
            unit = 2 * index + side
            pre.weight[unit, gates + index, centre] = _STEEP
            pre.bias[unit] = 0.5 - side
            up.weight[unit, _GATE + index] = (1 - 2 * side) * ramp / (1 - _LEAK)
        up.bias[_GATE + index] = -_LEAK / (1 - _LEAK)
    for index, (wave, channel) in enumerate(((1, _C), (2, _S), (0, _Z))):
        for side, sign in ((0, 1.0), (1, -1.0)):
            unit = 2 * GATES + 2 * index + side
            pre.weight[unit, clock + wave, centre] = sign
            up.weight[unit, channel] = sign * ramp / (1 + _LEAK)
            up.weight[unit, channel + 1] = -sign * ramp / (1 + _LEAK)


def _phase(vocoder: HifiGan) -> None:
    """Position within the code, times the count of periods."""
    block = _blocks(vocoder, 0)[0]
    away = 1 / (1 - _LEAK)
    c, s = {_C: away, _C + 1: away}, {_S: -away, _S + 1: -away}
    pair = _Pair(block, 0, _UNITS_FIRST[0][0])
    # A little steeper than by 2, so that |z| is the larger one at the edges.
    pair.unit(c, 0.0, {_E: -_NEAR})
    pair.relu(c | s, 0.0, {_E: _NEAR})
    # Kept 1 higher: leaky ReLUs leave alone what is above 0.
    pair.constant(_E, 2.0)
    pair = _Pair(block, 1, _UNITS_FIRST[0][1])
    pair.relu({_Z: away, _Z + 1: away, _E: -1.0}, 1.0, {_E: 1.0})
    # The blocks of a stage are averaged, so one of them has to speak up.
    height = float(len(_blocks(vocoder, 0)))
    pair = _Pair(block, 2, _UNITS_FIRST[0][2])
    pair.unit({_E: 1.0}, -1.0, {PHASE: height * MIN_PERIODS / 2})
    for index in range(GATES):
        pair.relu({_E: 1.0, _GATE + index: 1.0}, -2.0, {PHASE: height / 2})


def _rustle(vocoder: HifiGan) -> None:
    """Zigzags of zigzags of the clock."""
    rng = random.Random(4)
    block = _blocks(vocoder, 0)[1]
    height = float(len(_blocks(vocoder, 0)))
    pairs = [_Pair(block, index, units) for index, units in enumerate(_UNITS_FIRST[1])]
    for channel in range(NOISE, FIRST):
        share = rng.uniform(0.08, 0.25)
        mix = [1 - share, rng.choice((-1, 1)) * share]
        if channel % 2:
            mix.reverse()
        clock = {_C: mix[0], _C + 1: -mix[0], _S: mix[1], _S + 1: -mix[1]}
        inputs = {c: w / (1 + _LEAK) for c, w in clock.items()}
        for level, pair in enumerate(pairs):
            out, shift = (height, -1.0) if level else (1.0, 0.0)
            slope, corners, turns, middle = _zigzag(rng)
            # leaky(x) - leaky(-x) = (1 + leak) x
            for sign in (1.0, -1.0):
                scaled = {c: sign * w for c, w in inputs.items()}
                weight = sign * slope / (1 + _LEAK) * out
                pair.unit(scaled, sign * shift, {channel: weight})
            for corner, turn in zip(corners, turns, strict=True):
                pair.unit(inputs, shift - corner, {channel: turn * out})
            # The first zigzag lies above 0, where leaky ReLUs leave it alone, and the second one
            # takes it away again.
            pair.constant(channel, 1.0 - middle if level == 0 else -middle * out)
            if level:
                pair.unit(inputs, 0.0, {channel: -1.0})
            inputs = {channel: 1.0}


def _zigzag(rng: random.Random) -> tuple[float, list[float], list[float], float]:
    """A line from edge to edge of -1 … 1 and back, again and again, with uneven corners.

    Returns:
        a, corners, turns, m: a x + the sum of turns leaky(x - corners) - m is the line.
    """
    gap = 2 / (_CORNERS + 1)
    corners = [-1 + gap * (k + 1 + rng.uniform(-0.35, 0.35)) for k in range(_CORNERS)]
    knots = [-1.0, *corners, 1.0]
    slopes = [(2 if k % 2 else -2) / (b - a) for k, (a, b) in enumerate(pairwise(knots))]
    turns = [(b - a) / (1 - _LEAK) for a, b in pairwise(slopes)]
    slope = slopes[0] - _LEAK * sum(turns)
    start = -slope + sum(t * _LEAK * (-1 - c) for t, c in zip(turns, corners, strict=True))
    return slope, corners, turns, start - 1


def _wave(vocoder: HifiGan) -> None:
    """A triangle wave of the phase, and pulses."""
    up = vocoder.ups[1]
    up.weight[PHASE] = 0
    up.weight[PHASE, V] = _ramp(up)
    block = _blocks(vocoder, 1)[0]
    height = float(len(_blocks(vocoder, 1)))
    units = _UNITS_SECOND[0]
    pair = _Pair(block, 0, units[0])
    pair.unit({V: 1.0}, 0.0, {W: 1.0})
    for corner, turn in ((2, -2.0), (4, 2.0), (6, -2.0)):
        pair.relu({V: 1.0}, -corner, {W: turn})
    pair = _Pair(block, 1, units[1])
    both = ((WAVE, height), (MINUS_WAVE, -height))
    pair.unit({W: 1.0}, 0.0, {c: -4 * h for c, h in both})
    for corner, turn in ((0.5, 8.0), (1.0, -8.0), (1.5, 8.0)):
        pair.relu({W: 1.0}, -corner, {c: turn * h for c, h in both})
    for channel, h in both:
        pair.constant(channel, h)
    pair = _Pair(block, 2, units[2])
    pair.relu({WAVE: 1 / height}, -0.6, {PULSE: 2.5 * height})


def protect(vocoder: HifiGan) -> None:
    """Takes the planted weights out of an update, which would shake the phase apart.

    Args:
        vocoder: After backward.
    """
    rows: list[tuple[nn.Module, int]] = [
        (vocoder.conv_pre, _FRAME_UNITS),
        (vocoder.cond_layer, _FRAME_UNITS),
    ]
    for stage, planted, units in ((0, FIRST, _UNITS_FIRST), (1, SECOND, _UNITS_SECOND)):
        rows.append((vocoder.conds[stage], planted))
        for block, counts in zip(_blocks(vocoder, stage), units, strict=True):
            rows += [(layer, planted) for layer in block.convs2]
            rows += list(zip(block.convs1, counts, strict=False))
        up = vocoder.ups[stage]
        if up.weight.grad is not None:
            up.weight.grad[:, :planted] = 0
            up.bias.grad[:planted] = 0
    for layer, count in rows:
        for parameter in layer.parameters():
            if parameter.grad is not None:
                parameter.grad[:count] = 0

"""The vocoder as signals and operations: what depends on what, how far, and where it lies.

Positions of a signal are counted from the start of the utterance. With T frames so far, the first
`rate · T - lag` positions of a signal are final. Each pass computes what became final since the
last one; of each signal it keeps what operations have yet to look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from livekit_xtts.model.native.convolve import CHANNELS, POSITIONS
from livekit_xtts.speech import ModelError

if TYPE_CHECKING:
    from livekit_xtts.model.config import XttsConfig

FRAMES = 32
"""Frames of a pass: long utterances take several, so that what a pass needs is bounded."""


def padded(channels: int) -> int:
    """Channels as they lie in memory."""
    return -(-channels // CHANNELS) * CHANNELS


@dataclass(eq=False)
class Signal:
    """What an operation computes and others look at.

    Attributes:
        channels: As they lie in memory.
        size: Bytes of a value.
        rate: Positions a frame.
        lag: Positions that are not final yet.
        looks: For each operation that looks at it, the lag of what that computes and how many
            positions before the same one it looks at.
        right: Positions behind the same one that are looked at.
        margin: Positions before the first that may be written.
        place: Where it lies in the working memory.
        kept_place: Where what is kept of it lies.
    """

    channels: int
    size: int
    rate: int
    lag: int
    looks: list[tuple[int, int]] = field(default_factory=list)
    right: int = 0
    margin: int = 0
    place: int = 0
    kept_place: int = 0

    def look(self, lag: int, left: int, right: int = 0) -> None:
        """An operation looks at it."""
        self.looks.append((lag, left))
        self.right = max(self.right, right)

    @property
    def stride(self) -> int:
        """Bytes of a position."""
        return self.channels * self.size

    @property
    def kept(self) -> int:
        """Most positions that are kept between passes."""
        return max(lag - self.lag + left for lag, left in self.looks)

    @property
    def rows(self) -> int:
        """Positions that a pass needs room for; tiles write beyond what is asked for."""
        beyond = max(self.right, 2) + POSITIONS * max(1, self.margin * 2)
        return self.margin + self.kept + self.lag + self.rate * FRAMES + beyond

    def final(self, frames: int, ended: bool) -> int:
        """Positions that are final."""
        return self.rate * frames if ended else max(0, self.rate * frames - self.lag)

    def first(self, frames: int) -> int:
        """The first position that is still looked at; below 0 there are zeros."""
        return min(max(0, self.rate * frames - lag) - left for lag, left in self.looks)


@dataclass(eq=False)
class Convolution:
    """A convolution, or one residual block's part of a stage's mean.

    Attributes:
        weight: Name of the module in the vocoder's state.
        source: What it looks at.
        lag: Positions of its output that are not final; of an upsampling, in the source's.
        taps: Positions of the source that each output looks at.
        dilation: Their distance.
        left: Positions before the same one.
        before: See `convolve.before`.
        after: See `convolve.after`.
        outputs: Channels that come out, as they lie in memory, for all phases.
        floats: Where sums go as they are.
        inputs: Where they go as inputs of the next.
        residual: What is added.
        phases: Outputs per input.
        shift: Positions by which the outputs begin before `phases` times the source's.
        chain: Operations, from this one on, whose sums are added; 0 for those that follow.
    """

    weight: str
    source: Signal
    lag: int
    taps: int
    dilation: int
    left: int
    before: str
    after: str
    outputs: int
    floats: Signal | None = None
    inputs: Signal | None = None
    residual: Signal | None = None
    phases: int = 1
    shift: int = 0
    chain: int = 1


@dataclass(eq=False)
class Stage:
    """Operations over the same working memory, in phases: those of one depend on earlier ones.

    Attributes:
        signals: All but what the stage gets.
        phases: The upsampling, then the convolutions of all blocks, layer by layer.
    """

    signals: list[Signal]
    phases: list[list[Convolution]]


class Network:
    """A vocoder's signals and operations.

    Args:
        config: Sizes.
        size: Bytes of an input of a convolution: 2 for bfloat16, 4 for float32.

    Attributes:
        size: As given.
        features: What goes in.
        pre: The first convolution.
        stages: Upsamplings and their blocks.
        last: What the last layer looks at.
        samples: Lag of what comes out.
        taps: Of the last layer.

    Raises:
        ModelError: The vocoder is of a shape that this is not made for.
    """

    def __init__(self, config: XttsConfig, size: int = 2) -> None:
        self.size = size
        kernels = config.decoder_resblock_kernel_sizes
        upsamplings = list(
            zip(config.decoder_upsample_rates, config.decoder_upsample_kernel_sizes, strict=True)
        )
        odd = all(kernel % 2 for kernel in kernels)
        whole = all(k % rate == 0 and (k - rate) % 2 == 0 for rate, k in upsamplings)
        if len(kernels) < 2 or not odd or not whole:
            raise ModelError(
                "the compiled vocoder needs two or more residual blocks a stage with odd kernels,"
                " and upsampling kernels in multiples of their rates"
            )
        channels = config.decoder_upsample_initial_channel
        self.taps = 7
        around = self.taps // 2
        self.features = Signal(padded(config.decoder_input_dim), size, 1, 0)
        x = Signal(padded(channels), size, 1, around)
        self.between = [self.features, x]
        self.features.look(around, around, around)
        self.pre = Convolution(
            "conv_pre", self.features, around, 7, 1, around, "plain", "next", x.channels, inputs=x
        )
        self.stages: list[Stage] = []
        for index, (rate, kernel) in enumerate(upsamplings):
            channels //= 2
            ending = index == len(upsamplings) - 1
            stage, x = _stage(config, index, x, rate, kernel, padded(channels), ending)
            self.stages.append(stage)
            self.between.append(x)
        self.last = x
        self.samples = x.lag + around
        x.look(self.samples, around, around)

    def signals(self) -> Iterator[Signal]:
        """All, once each."""
        yield from self.between
        for stage in self.stages:
            yield from stage.signals

    @property
    def steady(self) -> int:
        """Frames from which on every pass of the same length is alike."""
        lags = [(lag, signal.rate) for signal in self.signals() for lag, _ in signal.looks]
        return max(-(-lag // rate) for lag, rate in lags) + 1


def _stage(
    config: XttsConfig, index: int, source: Signal, rate: int, kernel: int, channels: int, end: bool
) -> tuple[Stage, Signal]:
    """One upsampling and its residual blocks, and what comes out."""
    taps, padding = kernel // rate, (kernel - rate) // 2
    all_rate, lag, size = source.rate * rate, source.lag * rate + padding, source.size
    x = Signal(channels, 4, all_rate, lag, margin=rate)
    inputs = Signal(channels, size, all_rate, lag, margin=rate)
    source.look(source.lag, taps - 1, 1)
    up = Convolution(
        f"ups.{index}",
        source,
        source.lag,
        taps,
        1,
        taps - 1,
        "plain",
        "both",
        rate * channels,
        floats=x,
        inputs=inputs,
        phases=rate,
        shift=padding,
    )
    kernels, dilations = (
        config.decoder_resblock_kernel_sizes,
        config.decoder_resblock_dilation_sizes,
    )
    reaches = [
        sum((k // 2) * (d + 1) for d in of_block)
        for k, of_block in zip(kernels, dilations, strict=True)
    ]
    behind = lag + max(reaches)
    out = Signal(channels, 4 if end else size, all_rate, behind)
    signals = [x, inputs]
    layers = max(len(of_block) for of_block in dilations)
    phases: list[list[Convolution]] = [[] for _ in range(2 * layers)]
    for number, (taps, of_block) in enumerate(zip(kernels, dilations, strict=True)):
        if len(of_block) != layers:
            raise ModelError("the compiled vocoder needs residual blocks of the same depth")
        block = f"resblocks.{index * len(kernels) + number}"
        residual, into = x, inputs
        # What is not needed yet is not computed yet: so the blocks' outputs end together.
        left_to_do = reaches[number]
        for layer, dilation in enumerate(of_block):
            near, far = taps // 2, (taps // 2) * dilation
            left_to_do -= near + far
            lags = behind - left_to_do - near, behind - left_to_do
            middle = Signal(channels, size, all_rate, lags[0])
            into.look(lags[0], far, far)
            phases[2 * layer].append(
                Convolution(
                    f"{block}.convs1.{layer}",
                    into,
                    lags[0],
                    taps,
                    dilation,
                    far,
                    "plain",
                    "next",
                    channels,
                    inputs=middle,
                )
            )
            middle.look(lags[1], near, near)
            residual.look(lags[1], 0)
            plain = Convolution(
                f"{block}.convs2.{layer}",
                middle,
                lags[1],
                taps,
                1,
                near,
                "residual",
                "both",
                channels,
                residual=residual,
            )
            phases[2 * layer + 1].append(plain)
            signals.append(middle)
            if layer < layers - 1:
                residual = plain.floats = Signal(channels, 4, all_rate, lags[1])
                into = plain.inputs = Signal(channels, size, all_rate, lags[1])
                signals += [residual, into]
                continue
            first, ending = number == 0, number == len(kernels) - 1
            plain.before = "residual" if first else "more"
            plain.after = "keep"
            plain.chain = len(kernels) if first else 0
            if ending:
                plain.after = "output" if end else "mean"
                plain.floats, plain.inputs = (out, None) if end else (None, out)
    return Stage(signals, [[up], *phases]), out

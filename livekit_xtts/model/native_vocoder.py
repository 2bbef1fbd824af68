"""The vocoder on CPUs with AVX-512: code of our own whose layers carry on.

`NativeVocoder` takes the place of `FastVocoder`. Inputs of convolutions are bfloat16 or float32,
sums and residuals float32. Every layer keeps what it needs again (see `carried`). An utterance has
the same bits in one piece and in any chunks, in any company and with any number of threads.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from livekit_xtts.model.carried import Carry
from livekit_xtts.model.fast_vocoder import FINAL_SLOPE, SLOPE
from livekit_xtts.model.native import compiler, convolve
from livekit_xtts.model.native.convolve import CHANNELS, SCRATCH_BYTES, TABLE
from livekit_xtts.model.native.network import FRAMES, Convolution, Network
from livekit_xtts.model.native.passes import Passes, Weights
from livekit_xtts.model.native.team import Team, zeros

if TYPE_CHECKING:
    from livekit_xtts.model.config import XttsConfig
    from livekit_xtts.model.vocoder import HifiGan

FORMAT = 1
"""Changes whenever verdicts on it must not be used again."""


def missing(dtype: torch.dtype = torch.bfloat16) -> str:
    """Why the compiled vocoder cannot be had here; "" where it can."""
    needed = convolve.NEEDED_BF16 if dtype == torch.bfloat16 else convolve.NEEDED
    return compiler.missing(needed)


@lru_cache(maxsize=4)
def _compiled(channels: tuple[int, ...], size: int, blocks: int) -> dict[str, int]:
    names = (
        *("start", "worker"),
        *convolve.RUNS,
        *convolve.BEFORE,
        *convolve.AFTER,
        *(f"core_{count}" for count in set(channels)),
    )
    return compiler.compiled(convolve.source(channels, size, blocks, (SLOPE, FINAL_SLOPE)), names)


_lock = Lock()


@dataclass(frozen=True, slots=True)
class Kept:
    """What the layers keep of an utterance.

    Attributes:
        bias: Of all layers, with what the speaker embedding adds.
        now: What the next pass looks at again.
        spare: Where it puts what it keeps.
    """

    bias: Tensor
    now: Tensor
    spare: Tensor


class _Packed:
    """The layers' weights as the code reads them; lives as long as any thread runs on them.

    Attributes:
        weights: Of each convolution, by its name.
        biases: Of all layers, shape (values,).
    """

    def __init__(self, vocoder: HifiGan, network: Network) -> None:
        self._packed: list[Tensor] = []
        self.weights: dict[str, Weights] = {}
        biases: list[Tensor] = []
        self._count = 0
        modules = dict(vocoder.named_modules())
        operations = [network.pre]
        for stage in network.stages:
            operations += [op for phase in stage.phases for op in phase]
        for op in operations:
            module = modules[op.weight]
            weight = _taps_of(module, op)
            bias = torch.zeros(op.phases, op.outputs // op.phases)
            if module.bias is not None:
                bias[:, : len(module.bias)] = module.bias.detach().float()
            self._add(op.weight, _packed(weight, op), bias.reshape(-1), biases)
        last = torch.zeros(network.taps, network.last.channels)
        weight = vocoder.conv_post.weight.detach().float()[0].T
        last[:, : weight.shape[1]] = weight
        self._add("conv_post", last, torch.zeros(0), biases)
        self.biases = torch.cat(biases)

    def _add(self, name: str, weight: Tensor, bias: Tensor, biases: list[Tensor]) -> None:
        memory = zeros(weight.numel(), dtype=weight.dtype)
        memory.copy_(weight.reshape(-1))
        self._packed.append(memory)
        block = weight[0].numel() * weight.element_size()
        self.weights[name] = Weights(memory.data_ptr(), block, self._count)
        biases.append(bias)
        self._count += len(bias)


def _taps_of(module: nn.Module, op: Convolution) -> Tensor:
    """A layer's weight as that of a convolution, shape (outputs, inputs, taps), padded."""
    assert isinstance(module, nn.Conv1d | nn.ConvTranspose1d)
    weight = module.weight.detach().float()
    if isinstance(module, nn.ConvTranspose1d):
        # Each output of a phase is a sum over some inputs, the newest with the first taps.
        inputs, outputs, _ = weight.shape
        weight = weight.view(inputs, outputs, op.taps, op.phases).flip(2).permute(3, 1, 0, 2)
    else:
        weight = weight[None]
    phases, outputs, inputs, taps = weight.shape
    whole = torch.zeros(phases, op.outputs // op.phases, op.source.channels, taps)
    whole[:, :outputs, :inputs] = weight
    return whole.flatten(0, 1)


def _packed(weight: Tensor, op: Convolution) -> Tensor:
    """Weights as `convolve.core` reads them: (blocks, taps, pairs, 32 outputs, 2) in bfloat16,
    (blocks, taps, inputs, 32 outputs, 1) in float32.
    """
    outputs, inputs, taps = weight.shape
    together = 4 // op.source.size
    parts = weight.view(outputs // CHANNELS, CHANNELS, inputs // together, together, taps)
    dtype = torch.bfloat16 if together == 2 else torch.float32
    return parts.permute(0, 4, 2, 1, 3).to(dtype).contiguous()


class NativeVocoder:
    """Carries utterances on; calls must not run side by side.

    Attributes:
        config: Sizes.
        dtype: Of the inputs of convolutions.
    """

    def __init__(
        self, vocoder: HifiGan, threads: int = 1, dtype: torch.dtype = torch.bfloat16
    ) -> None:
        """Pack the weights, compile, start the worker threads.

        Args:
            vocoder: The original, in float32; not changed.
            threads: Threads of a pass, the calling one included.
            dtype: Of the inputs of convolutions: bfloat16 or float32.

        Raises:
            ModelError: The code cannot be made for this model or on this machine.
        """
        self.config: XttsConfig = vocoder.config
        self.dtype = dtype
        network = Network(vocoder.config, dtype.itemsize)
        channels = (network.features.channels, *(s.channels for s in network.between[1:]))
        with _lock:
            blocks = len(vocoder.config.decoder_resblock_kernel_sizes)
            addresses = _compiled(channels, dtype.itemsize, blocks)
        packed = _Packed(vocoder, network)
        self._biases = packed.biases
        # What the speaker embedding adds, by the first of the biases that it is added to.
        self._speaker: list[tuple[int, Convolution, nn.Module]] = [
            (packed.weights["conv_pre"].bias, network.pre, vocoder.cond_layer)
        ]
        for stage, layer in zip(network.stages, vocoder.conds, strict=True):
            up = stage.phases[0][0]
            self._speaker.append((packed.weights[up.weight].bias, up, layer))
        self._passes = passes = Passes(network, addresses, packed.weights)
        work = zeros(passes.bytes, dtype=torch.uint8)
        passes.use(work.data_ptr())
        source = network.features
        frames = work[source.place : source.place + source.rows * source.stride]
        frames = frames.view(dtype).view(source.rows, source.channels)
        self._features = frames[:, : vocoder.config.decoder_input_dim]
        self._samples = work[passes.samples_place :][: 4 * passes.most_samples].view(torch.float32)
        scratch = zeros(threads * SCRATCH_BYTES, dtype=torch.uint8)
        self._team = Team(
            (addresses["start"], addresses["worker"]),
            TABLE,
            {"scratch": scratch.data_ptr()},
            threads=threads,
            counted=passes.most_phases,
            name="xtts-vocoder",
            held=(packed, work, scratch),
        )
        # The workers hold the team, not this: when that is gone, they end.
        weakref.finalize(self, self._team.stop)

    @torch.inference_mode()
    def __call__(self, features: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Frames to samples; shapes as `HifiGan.forward`, float32 in and out."""
        rows = zip(features, speaker_embedding, strict=True)
        return torch.stack([self.carry_on(Carry(), *row, last=True)[0] for row in rows])

    def begin(self, speaker: Tensor) -> Kept:
        """What an utterance keeps before its first frame.

        Args:
            speaker: Shape (d_vector_dim,).
        """
        bias = self._biases.clone()
        for first, op, layer in self._speaker:
            added = layer(speaker.float()[None, :, None])[0, :, 0]
            place = bias[first : first + op.outputs].view(op.phases, -1)
            place[:, : len(added)] += added
        size = self._passes.kept_bytes
        return Kept(bias, *(torch.zeros(size, dtype=torch.uint8) for _ in range(2)))

    def carry_on(
        self, carry: Carry, frames: Tensor, speaker: Tensor, last: bool
    ) -> tuple[Tensor, Carry]:
        """See `carried.Layers.carry_on`."""
        count = frames.shape[1]
        if carry.frames + count == 0:
            return torch.zeros(0), carry
        kept = self.begin(speaker) if carry.kept is None else carry.kept
        assert isinstance(kept, Kept)
        source, team = kept.now, self._team
        team.set("bias", kept.bias.data_ptr())
        team.set("state_out", kept.spare.data_ptr())
        done, parts = carry.frames, []
        for first in range(0, max(1, count), FRAMES):
            part = frames[:, first : first + FRAMES]
            more = part.shape[1]
            found = self._passes.get(done, more, last and first + more == count)
            self._features[found.entry : found.entry + more] = part.T
            team.set("state_in", source.data_ptr())
            team.set("ops", found.ops.ctypes.data)
            team.set("phases", found.phases)
            team.run()
            parts.append(self._samples[: found.samples].clone())
            done += more
            source = kept.spare
        ahead = Carry(done, Kept(kept.bias, kept.spare, kept.now))
        return torch.tanh(torch.cat(parts)), ahead

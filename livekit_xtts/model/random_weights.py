"""Random weights at the level of speech: varied codes, audible sound, no constant offset."""

from __future__ import annotations

import hashlib
import math
import re

import torch
from torch import Tensor

from livekit_xtts.model.xtts import XttsModel

_VOCODER = "hifigan_decoder.waveform_decoder."
_LEVEL = 0.1
"""Root mean square of the sound before the final tanh; speech at a usual level has about 0.1."""
_SHALLOW = 3
"""Layers up to which a block adds to the stream at full strength."""

# Standard deviations by name, the first that matches; `{fan}` weights are divided by √inputs.
_FIXED = (
    (r"gpt\.(text|mel)_embedding\.weight$", 1.0),
    (r"gpt\.(text|mel)_pos_embedding\.", 0.5),
    (r"gpt\.conditioning_perceiver\.latents$", 1.0),
    (r"hifigan_decoder\.(waveform_decoder|speaker_encoder)\..*bias$", 0.0),
    (r".*bias$", 0.05),
)
_FAN = (
    (r"gpt\.mel_head\.", 3.0),
    (r"hifigan_decoder\.waveform_decoder\.resblocks\..*convs", 1.4),
    (r".*", 1.0),
)
_ONES = re.compile(
    r".*(norm|ln_\w|bn\d|\.gamma|downsample\.1|attention\.2)(\.weight|\.running_var|$)"
)
_ZEROS = re.compile(r".*(running_mean|num_batches_tracked)$")


def fill_randomly(model: XttsModel, seed: int) -> None:
    """Give a model without memory random weights.

    Args:
        model: Made on the "meta" device; on the CPU afterwards.
        seed: Equal seeds give equal weights.
    """
    state = {name: t.clone() for name, t in model.state_dict().items() if not t.is_meta}
    state["mel_stats"] = torch.ones(model.config.conditioning_mels)
    for name, empty in model.state_dict().items():
        if name in state:
            continue
        # Not `to_empty`: for tensors without memory it makes torch import its compiler.
        tensor = state[name] = torch.empty(empty.shape, dtype=empty.dtype)
        if _ZEROS.match(name):
            tensor.zero_()
        elif _ONES.match(name):
            tensor.fill_(1.0)
        else:
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
            tensor.normal_(
                0.0, _deviation(name, tensor, model.config.gpt_layers), generator=generator
            )
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False)
    _set_level(model)


def _deviation(name: str, tensor: Tensor, layers: int) -> float:
    for pattern, value in _FIXED:
        if re.match(pattern, name):
            return value
    gain = next(value for pattern, value in _FAN if re.match(pattern, name))
    if name.startswith("gpt.gpt.h.") and ".c_proj." in name:
        # Deep stacks would otherwise drown the codes fed to them, and repeat themselves.
        gain *= min(1.0, math.sqrt(_SHALLOW / layers))
    return gain / math.sqrt(_fan_in(name, tensor))


def _fan_in(name: str, tensor: Tensor) -> int:
    """Inputs that one output of the layer sums over."""
    if name.startswith("gpt.gpt.h."):
        return tensor.shape[0]
    if name.startswith(_VOCODER + "ups."):
        # A transposed convolution: (inputs, outputs, taps), of which about every other one counts.
        return 2 * tensor.shape[0]
    return tensor[0].numel()


def _set_level(model: XttsModel) -> None:
    """Scale the last convolution to the level of speech, without a response to a constant."""
    vocoder = model.vocoder
    weight = vocoder.conv_post.weight
    weight.sub_(weight.mean(dim=2, keepdim=True))
    generator = torch.Generator().manual_seed(0)
    config = model.config
    latents = torch.randn(6, config.decoder_input_dim, generator=generator)
    speaker = torch.nn.functional.normalize(
        torch.randn(config.d_vector_dim, generator=generator), dim=0
    )
    # Small enough that the tanh changes nothing; a quarter of an octave's accuracy is plenty, and
    # such a step hides the rounding in which machines differ.
    weight.mul_(1e-3)
    measured = float(vocoder.decode(latents, speaker).std()) * 1e3
    weight.mul_(1e3 * 2.0 ** (round(4 * math.log2(_LEVEL / measured)) / 4))

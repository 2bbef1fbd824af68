"""Random weights at the level of speech: varied codes, audible sound, no constant offset."""

from __future__ import annotations

import hashlib
import math
import re

import torch
from torch import Tensor

from livekit_xtts.model.speaker_encoder import SpeakerMel, PreEmphasis
from livekit_xtts.model.xtts import XttsModel

_VOCODER = "hifigan_decoder.waveform_decoder."
_SPECTRUM = "hifigan_decoder.speaker_encoder.torch_spec."
_LEVEL = 0.1
"""Root mean square of the sound before the final tanh; speech at a usual level has about 0.1."""

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
_ONES = re.compile(r".*(norm|ln_\w|bn\d|\.gamma|downsample\.1|attention\.2)(\.weight|\.running_var|$)")
_ZEROS = re.compile(r".*(running_mean|num_batches_tracked)$")


def fill_randomly(model: XttsModel, seed: int) -> None:
    """Give a model without memory random weights.

    Args:
        model: Made on the "meta" device; on the CPU afterwards.
        seed: Equal seeds give equal weights.
    """
    model.to_empty(device="cpu")
    fixed = {
        _SPECTRUM + name: value
        for part, module in (("0.", PreEmphasis()), ("1.", SpeakerMel(model.config.speaker_encoder_mels)))
        for name, value in ((part + key, tensor) for key, tensor in module.state_dict().items())
    }
    fixed["mel_stats"] = torch.ones(model.config.conditioning_mels)
    for name, tensor in model.state_dict().items():
        if name in fixed:
            tensor.copy_(fixed[name])
        elif _ZEROS.match(name):
            tensor.zero_()
        elif _ONES.match(name):
            tensor.fill_(1.0)
        else:
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
            tensor.normal_(0.0, _deviation(name, tensor), generator=generator)
    _set_level(model)


def _deviation(name: str, tensor: Tensor) -> float:
    for pattern, value in _FIXED:
        if re.match(pattern, name):
            return value
    gain = next(value for pattern, value in _FAN if re.match(pattern, name))
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

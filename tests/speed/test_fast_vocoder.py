"""The vocoder laid out for speed computes what the plain one computes."""

from __future__ import annotations

import pytest
import torch

from livekit_xtts.model.fast_vocoder import FastVocoder
from livekit_xtts.model.gates import judge_vocoder
from livekit_xtts.model.streaming import decode_windows, stream_plan


def test_in_float32_it_differs_by_rounding_alone(model):
    fast = FastVocoder(model.vocoder, torch.float32)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 64, 30, generator=generator)
    speakers = torch.randn(2, 32, generator=generator)
    expected = model.vocoder(features, speakers)
    assert fast(features, speakers).shape == expected.shape
    assert (fast(features, speakers) - expected).abs().max() < 1e-4 * expected.std()


def test_windows_equal_the_whole_in_bfloat16_too(model):
    """Each window computes the same products, so only their order may differ: well within what
    bfloat16 itself changes."""
    fast = FastVocoder(model.vocoder)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(20, 64, generator=generator)
    speaker = torch.randn(32, generator=generator)
    plan = stream_plan(model.config)
    whole = plan.window(0, plan.samples(20), 20, True)
    audio = decode_windows(fast, [(latents, speaker, whole)])[0]
    middle = plan.final_samples(9, False)
    parts = []
    for first, last, codes, final in ((0, middle, 9, False), (middle, plan.samples(20), 20, True)):
        window = plan.window(first, last, codes, final)
        item = (latents[window.code_start : window.code_stop], speaker, window)
        parts.append(decode_windows(fast, [item])[0])
    plain = model.vocoder.decode(latents, speaker)
    assert (torch.cat(parts) - audio).std() < 0.3 * (audio - plain).std()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_passes_its_gate_on_ordinary_weights(model, dtype):
    assert judge_vocoder(model.vocoder, FastVocoder(model.vocoder, dtype)).passed

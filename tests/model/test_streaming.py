"""Streamed audio is the one-shot audio: for every length, schedule and speed, to rounding.

The vocoder here has the published kernels, rates and dilations, so its windows are the published
ones; only its channels are few. Its weights are at the level of speech and its output has no
constant part: otherwise far too short a window would pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.streaming import (
    StreamPlan,
    VocoderStream,
    decode_windows,
    stream_plan,
    window_features,
)
from livekit_xtts.model.vocoder import HifiGan, frame_count

CONFIG = XttsConfig.small(
    gpt_n_model_channels=16,
    gpt_n_heads=2,
    decoder_input_dim=16,
    decoder_upsample_initial_channel=16,
)
CODES = 602
EXACT = 1e-12
SINGLE = 1e-5


def make(dtype: torch.dtype) -> HifiGan:
    return create_random(CONFIG).vocoder.to(dtype)


@pytest.fixture(scope="module")
def double() -> HifiGan:
    return make(torch.float64)


@pytest.fixture(scope="module")
def single() -> HifiGan:
    return make(torch.float32)


def inputs(codes: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Latents and a speaker embedding of a model's statistics."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(codes, CONFIG.decoder_input_dim, generator=generator)
    speaker = torch.randn(CONFIG.d_vector_dim, generator=generator)
    return latents.to(dtype), torch.nn.functional.normalize(speaker, dim=0).to(dtype)


def streamed(
    vocoder: HifiGan,
    latents: Tensor,
    speaker: Tensor,
    speed: float,
    chunks: Sequence[int],
    plan: StreamPlan | None = None,
) -> Tensor:
    """Audio of chunks of so many codes each, repeated to the end."""
    stream = VocoderStream(vocoder, speaker, speed)
    stream.plan = plan or stream.plan
    pieces, start, turn = [], 0, 0
    while start < latents.shape[0]:
        stop = start + chunks[turn % len(chunks)]
        stream.push(latents[start:stop])
        pieces.append(stream.pull())
        start, turn = stop, turn + 1
    pieces.append(stream.pull(final=True))
    return torch.cat(pieces)


def difference(ours: Tensor, whole: Tensor) -> float:
    """Largest difference as a share of the peak, constant part left out."""
    assert ours.shape == whole.shape
    return float((ours - whole).abs().max() / (whole - whole.mean()).abs().max())


schedules = st.lists(st.integers(1, 60), min_size=1, max_size=12)
speeds = st.one_of(st.just(1.0), st.floats(0.5, 2.0))
lengths = st.one_of(st.integers(1, 40), st.integers(1, 120), st.integers(1, CODES))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(codes=lengths, chunks=schedules, speed=speeds, seed=st.integers(0, 1000))
@example(codes=1, chunks=[1], speed=2.0, seed=0)
@example(codes=2, chunks=[1], speed=1.0, seed=0)
@example(codes=2, chunks=[1], speed=1.9, seed=0)
@example(codes=99, chunks=[7], speed=0.99, seed=0)
@example(codes=30, chunks=[1], speed=1.0, seed=0)
@example(codes=CODES, chunks=[3, 60], speed=1.0, seed=0)
def test_streamed_equals_one_shot(
    double: HifiGan, codes: int, chunks: list[int], speed: float, seed: int
) -> None:
    latents, speaker = inputs(codes, seed=seed)
    whole = double.decode(latents, speaker, speed)
    assert difference(streamed(double, latents, speaker, speed, chunks), whole) <= EXACT


@settings(max_examples=6, deadline=None, derandomize=True)
@given(codes=lengths, chunks=schedules, speed=speeds)
def test_streamed_equals_one_shot_in_single_precision(
    single: HifiGan, codes: int, chunks: list[int], speed: float
) -> None:
    latents, speaker = inputs(codes, torch.float32)
    whole = single.decode(latents, speaker, speed)
    assert 0.2 < whole.abs().max() <= 1.0
    assert whole.mean().abs() < 0.01
    assert difference(streamed(single, latents, speaker, speed, chunks), whole) <= SINGLE


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0, 1.3, 2.0])
def test_a_window_one_frame_too_short_on_the_left_fails(double: HifiGan, speed: float) -> None:
    latents, speaker = inputs(40)
    whole = double.decode(latents, speaker, speed)
    exact = streamed(double, latents, speaker, speed, [5])
    short = streamed(double, latents, speaker, speed, [5], StreamPlan(CONFIG, speed, spare=-1))
    assert difference(exact, whole) <= EXACT
    assert difference(short, whole) > 10 * EXACT


@pytest.mark.parametrize("speed", [0.8, 1.0, 2.0])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_window_needs_both_its_outermost_frames(
    double: HifiGan, speed: float, side: str
) -> None:
    """Windows of one sample: with the first or last frame gone, some of them are wrong."""
    latents, speaker = inputs(60)
    whole = double.decode(latents, speaker, speed)
    plan = stream_plan(CONFIG, speed)
    hop, worst = CONFIG.output_hop_length, 0.0
    start = whole.numel() // 2 // hop * hop
    for first in range(start, start + hop, 16):
        window = plan.window(first, first + 1, 60, True)
        features = window_features(CONFIG, latents[window.code_start : window.code_stop], window)
        if side == "left":
            audio = double(features[None, :, 1:], speaker[None])[0][window.skip - hop]
        else:
            audio = double(features[None, :, :-1], speaker[None])[0][window.skip]
        worst = max(worst, float((audio - whole[first]).abs() / whole.abs().max()))
    assert worst > 10 * EXACT


@pytest.mark.parametrize("speed", [0.5, 0.93, 1.0, 1.7, 2.0])
def test_nothing_final_depends_on_what_follows(double: HifiGan, speed: float) -> None:
    """Final samples stay whatever comes next; the window needs every latent that it names."""
    latents, speaker = inputs(60)
    plan = stream_plan(CONFIG, speed)
    for codes in (4, 9, 33):
        final = plan.final_samples(codes, False)
        changed = latents.clone()
        changed[codes:] += 1.0
        one, other = (double.decode(x, speaker, speed) for x in (latents, changed))
        assert torch.equal(one[:final], other[:final])
        ended = double.decode(latents[:codes], speaker, speed)
        assert ended.numel() >= final


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.37, 2.0])
def test_final_samples_grow_to_the_whole(speed: float) -> None:
    plan = stream_plan(CONFIG, speed)
    counts = [plan.final_samples(codes, False) for codes in range(CODES + 1)]
    assert counts == sorted(counts)
    for codes, count in enumerate(counts):
        assert count <= plan.final_samples(codes, True)
        assert plan.final_samples(codes, True) == 256 * frame_count(CONFIG, codes, speed)
    # Held back: the reach of the convolutions (3,258 samples), and up to two inputs of each
    # interpolation (its right neighbour, and what its length is rounded down to).
    most = 3258 / 24000 + 2 * 256 / 22050 + 2 * 256 / 24000 + (2 * 1024 / 22050) * (speed != 1.0)
    held = [codes * 1024 / 22050 / speed - count / 24000 for codes, count in enumerate(counts)]
    assert max(held) < most


def test_codes_that_give_the_first_audio_at_speed_1() -> None:
    plan = stream_plan(XttsConfig(), 1.0)
    final = [round(plan.final_samples(codes, False) / 24) for codes in (3, 4, 5, 6, 8, 12)]
    assert final == [0, 24, 67, 110, 206, 398]


@pytest.mark.parametrize("speed", [1.01, 1.5, 2.0])
def test_one_code_at_a_high_speed_is_one_code_long(double: HifiGan, speed: float) -> None:
    """The reference cannot decode it: less than one latent is left."""
    latents, speaker = inputs(1)
    audio = double.decode(latents, speaker, speed)
    assert audio.numel() == double.decode(latents, speaker).numel() == 1024
    assert difference(streamed(double, latents, speaker, speed, [1]), audio) <= EXACT


def test_no_codes_no_audio(double: HifiGan) -> None:
    latents, speaker = inputs(1)
    assert double.decode(latents[:0], speaker).numel() == 0
    assert VocoderStream(double, speaker).pull(final=True).numel() == 0
    assert stream_plan(CONFIG).final_samples(0, True) == 0


def test_windows_of_several_requests_do_not_touch_each_other(single: HifiGan) -> None:
    items = []
    for seed, (codes, speed) in enumerate([(20, 1.0), (20, 1.0), (33, 1.0), (9, 1.4), (12, 0.7)]):
        latents, speaker = inputs(codes, torch.float32, seed)
        plan = stream_plan(CONFIG, speed)
        window = plan.window(0, plan.final_samples(codes, False), codes, False)
        items.append((latents[window.code_start : window.code_stop], speaker, window))
    together = decode_windows(single, items)
    for item, audio in zip(items, together, strict=True):
        assert torch.equal(decode_windows(single, [item])[0], audio)


def test_an_empty_window_is_empty_audio(single: HifiGan) -> None:
    latents, speaker = inputs(10, torch.float32)
    window = stream_plan(CONFIG).window(100, 100, 10, False)
    assert decode_windows(single, [(latents[:0], speaker, window)])[0].numel() == 0


@pytest.mark.parametrize(("first", "last"), [(-1, 5), (6, 5), (0, 10**6)])
def test_samples_that_are_not_final_are_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="final"):
        stream_plan(CONFIG).window(first, last, 10, False)


def test_plans_are_kept_per_speed() -> None:
    assert stream_plan(CONFIG, 1.25) is stream_plan(replace(CONFIG), 1.25)

"""The vocoder with layers that keep what they need again: equal to one call over everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from livekit_xtts.model.carried import CarriedPlan, decode_carried
from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.fast_vocoder import FastVocoder
from livekit_xtts.model.streaming import StreamPlan, decode_windows, stream_plan
from livekit_xtts.model.vocoder import HifiGan
from tests.model.test_streaming import SINGLE, difference

CONFIG = XttsConfig.small()


@pytest.fixture(scope="module")
def vocoder() -> HifiGan:
    return create_random(CONFIG).vocoder


def inputs(codes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(codes, CONFIG.decoder_input_dim, generator=generator)
    speaker = torch.randn(CONFIG.d_vector_dim, generator=generator)
    return latents, torch.nn.functional.normalize(speaker, dim=0)


def pieces(
    layers: Any,
    latents: Tensor,
    speaker: Tensor,
    plan: StreamPlan | CarriedPlan,
    chunks: Sequence[int],
    ends_known: bool = True,
) -> Iterator[Tensor]:
    """Audio of chunks of so many codes each, repeated to the end.

    Args:
        ends_known: Whether the last chunk is known to be the last one when it comes; else an empty
            one follows.
    """
    codes = turn = decoded = 0
    finished = False
    decode = decode_carried if isinstance(plan, CarriedPlan) else decode_windows
    while not finished:
        before, codes = codes, min(len(latents), codes + chunks[turn % len(chunks)])
        turn += 1
        finished = codes == len(latents) and (ends_known or before == codes)
        last = plan.final_samples(codes, finished)
        window = plan.window(decoded, last, codes, finished)
        part = latents[window.code_start : window.code_stop]
        (audio,) = decode(layers, [(part, speaker, window)])
        assert audio.shape == (last - decoded,)
        decoded = last
        yield audio


@pytest.mark.parametrize("laid_out", [True, False])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    codes=st.one_of(st.integers(1, 12), st.integers(1, 70)),
    chunks=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    speed=st.one_of(st.just(1.0), st.floats(0.5, 2.0)),
    ends_known=st.booleans(),
)
@example(codes=1, chunks=[1], speed=2.0, ends_known=False)
@example(codes=2, chunks=[1], speed=1.0, ends_known=True)
@example(codes=3, chunks=[1], speed=1.3, ends_known=False)
@example(codes=9, chunks=[1], speed=0.99, ends_known=True)
def test_carried_equals_one_shot(
    vocoder: HifiGan,
    laid_out: bool,
    codes: int,
    chunks: list[int],
    speed: float,
    ends_known: bool,
) -> None:
    latents, speaker = inputs(codes)
    layers = FastVocoder(vocoder, torch.float32, laid_out=laid_out)
    plan = CarriedPlan(stream_plan(CONFIG, speed))
    audio = torch.cat(list(pieces(layers, latents, speaker, plan, chunks, ends_known)))
    assert difference(audio, vocoder.decode(latents, speaker, speed)) <= SINGLE


def test_in_bfloat16_it_is_as_exact_as_windows(vocoder: HifiGan) -> None:
    layers = FastVocoder(vocoder)
    latents, speaker = inputs(40)
    whole = vocoder.decode(latents, speaker)
    errors = []
    for plan in (stream_plan(CONFIG), CarriedPlan(stream_plan(CONFIG))):
        audio = torch.cat(list(pieces(layers, latents, speaker, plan, [7])))
        errors.append(float((audio - whole).std()))
    # The same products in the same precision: only what rounding leaves differs.
    assert errors[1] <= 1.1 * errors[0]


def test_without_what_a_layer_kept_the_samples_differ(vocoder: HifiGan) -> None:
    layers = FastVocoder(vocoder, torch.float32)
    latents, speaker = inputs(30)
    whole = vocoder.decode(latents, speaker)
    for index in range(3):
        plan = CarriedPlan(stream_plan(CONFIG))
        parts = pieces(layers, latents, speaker, plan, [10])
        audio = [next(parts)]
        kept = plan.window(0, 0, 10, False).carry.kept.kept
        kept[index] = torch.zeros_like(kept[index])
        audio.extend(parts)
        assert difference(torch.cat(audio), whole) > 10 * SINGLE


def test_utterances_do_not_mix_and_come_together_as_alone(vocoder: HifiGan) -> None:
    layers = FastVocoder(vocoder, torch.float32)
    spoken = [inputs(codes, seed=codes) for codes in (12, 31, 24)]
    plans = [CarriedPlan(stream_plan(CONFIG)) for _ in spoken]
    together: list[list[Tensor]] = [[] for _ in spoken]
    decoded = [0] * len(spoken)
    for codes in (8, 12, 20, 24, 31):
        items, spans, members = [], [], []
        for index, ((latents, speaker), plan) in enumerate(zip(spoken, plans, strict=True)):
            if codes > len(latents):
                continue
            last = plan.final_samples(codes, codes == len(latents))
            window = plan.window(decoded[index], last, codes, codes == len(latents))
            items.append((latents[window.code_start : window.code_stop], speaker, window))
            spans.append(last)
            members.append(index)
        for index, last, audio in zip(members, spans, decode_carried(layers, items), strict=True):
            together[index].append(audio)
            decoded[index] = last
    for (latents, speaker), parts, chunks in zip(
        spoken, together, ([8, 4], [8, 4, 8, 4, 7], [8, 4, 8, 4]), strict=True
    ):
        plan = CarriedPlan(stream_plan(CONFIG))
        alone = list(pieces(layers, latents, speaker, plan, chunks))
        assert all(torch.equal(a, b) for a, b in zip(parts, alone, strict=True))


def test_a_call_that_failed_can_be_made_again(
    vocoder: HifiGan, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = FastVocoder(vocoder, torch.float32)
    (first, speaker), (second, _) = inputs(20), inputs(20, seed=1)
    plans = [CarriedPlan(stream_plan(CONFIG)) for _ in range(2)]

    def items(latents: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, object]]:
        last = plans[0].final_samples(20, True)
        return [
            (part, speaker, plan.window(0, last, 20, True))
            for part, plan in zip(latents, plans, strict=True)
        ]

    with pytest.raises(RuntimeError):
        decode_carried(layers, items([first, second[:, :3]]))  # type: ignore[arg-type]
    assert all(plan.window(0, 0, 20, True).carry.frames == 0 for plan in plans)
    found = decode_carried(layers, items([first, second]))  # type: ignore[arg-type]
    for audio, latents in zip(found, (first, second), strict=True):
        assert difference(audio, vocoder.decode(latents, speaker)) <= SINGLE


def test_an_utterance_without_codes_is_empty(vocoder: HifiGan) -> None:
    layers = FastVocoder(vocoder, torch.float32)
    latents, speaker = inputs(1)
    plan = CarriedPlan(stream_plan(CONFIG))
    window = plan.window(0, 0, 0, True)
    (audio,) = decode_carried(layers, [(latents[:0], speaker, window)])
    assert audio.shape == (0,)


def test_what_is_kept_stays_in_the_same_memory(vocoder: HifiGan) -> None:
    layers = FastVocoder(vocoder, torch.float32)
    latents, speaker = inputs(60)
    plan = CarriedPlan(stream_plan(CONFIG))
    used = []
    for _ in pieces(layers, latents, speaker, plan, [10]):
        used.append([place.data_ptr() for place in plan.window(0, 0, 10, False).carry.kept.places])
    assert used[1] == used[3] == used[5] and used[2] == used[4]

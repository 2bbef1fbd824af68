"""The sampler equals the reference's processors; a row is the same in any company."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from livekit_xtts.engine.ends import StopBias
from livekit_xtts.engine.hostsampler import HostSampler
from livekit_xtts.engine.sampler import NOT_FINITE, Sampler, shaped
from livekit_xtts.speech import Sampling

CODES, START, STOP = 1026, 1024, 1025

SETTINGS = [
    Sampling(),
    Sampling(temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0),
    Sampling(temperature=0.2, top_k=5, top_p=0.5, repetition_penalty=10.0),
    Sampling(temperature=1.7, top_k=1, top_p=0.99, repetition_penalty=2.0),
    Sampling(temperature=0.9, top_k=0, top_p=0.3, repetition_penalty=0.5),
    Sampling(temperature=0.9, top_k=200, top_p=1.0, repetition_penalty=5.0),
]


KINDS = [Sampler, HostSampler]


def sampler(slots: int = 1, kind: type[Sampler] = Sampler, **changes: Any) -> Sampler:
    options = {"start_code": START, "stop_code": STOP, **changes}
    return kind(slots, CODES, 64, **options)


def processed(state: Sampler, slot: int, logits: torch.Tensor, position: int) -> torch.Tensor:
    """Log-probabilities after all processing, in code order, shape (codes,)."""
    slots = torch.tensor([slot])
    scores = state.penalised(slots, logits[None], torch.tensor([position]))
    row = state._settings[slots]
    values, order = shaped(scores, row[:, 0], row[:, 6].long(), row[:, 1])
    return torch.log_softmax(torch.empty_like(values).scatter_(1, order, values), -1)[0]


@pytest.fixture(scope="module")
def reference_gpt() -> Any:
    """The reference's own GPT at a small size, with logits spread as trained ones are."""
    gpt_module = pytest.importorskip("TTS.tts.layers.xtts.gpt")
    torch.manual_seed(0)
    gpt = gpt_module.GPT(
        layers=2,
        model_dim=64,
        heads=2,
        max_text_tokens=40,
        max_mel_tokens=40,
        number_text_tokens=300,
        num_audio_tokens=CODES,
        start_audio_token=START,
        stop_audio_token=STOP,
        use_perceiver_resampler=True,
    ).eval()
    with torch.no_grad():
        gpt.mel_head.weight.normal_(0.0, 0.4)
    gpt.init_gpt_for_inference(kv_cache=True)
    return gpt


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_processed_log_probabilities_equal_the_reference(
    reference_gpt: Any, sampling: Sampling
) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        sequences, result = reference_gpt.generate(
            torch.randn(1, 32, 64),
            torch.arange(2, 14)[None],
            do_sample=True,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            num_return_sequences=1,
            num_beams=1,
            output_scores=True,
            output_logits=True,
            return_dict_in_generate=True,
        )
    assert len(result.scores) > 10
    state = sampler()
    state.assign(0, sampling, seed=0)
    for position, (raw, scores) in enumerate(zip(result.logits, result.scores, strict=True)):
        ours = processed(state, 0, raw[0].float(), position)
        theirs = torch.log_softmax(scores[0].float(), -1)
        assert torch.equal(torch.isinf(ours), torch.isinf(theirs))
        kept = torch.isfinite(theirs)
        torch.testing.assert_close(ours[kept], theirs[kept], rtol=1e-5, atol=1e-5)
        state._used[0, sequences[0, position]] = True


def test_penalty_covers_the_prompt_ids_from_the_first_step() -> None:
    state = sampler()
    state.assign(0, Sampling(repetition_penalty=5.0), seed=0)
    logits = torch.full((CODES,), 2.0)
    scores = state.penalised(torch.tensor([0]), logits[None], torch.tensor([0]))[0]
    assert scores[1] == scores[START] == pytest.approx(0.4)
    assert scores[0] == scores[2] == 2.0


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_takes_the_best_penalised_code(kind: type[Sampler]) -> None:
    state = sampler(kind=kind)
    state.assign(0, Sampling(do_sample=False, repetition_penalty=5.0), seed=0)
    logits = torch.zeros(1, CODES)
    logits[0, 7], logits[0, 9] = 4.0, 3.0
    drawn = [state.draw(torch.tensor([0]), logits, torch.tensor([p])).item() for p in range(3)]
    # After each was used once, the penalised 4 / 5 is above the penalised 3 / 5.
    assert drawn == [7, 9, 7]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_the_same_alone_and_in_any_company(kind: type[Sampler]) -> None:
    rows = 8
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(24, rows, CODES, generator=generator) * 3

    def run(batches: list[list[int]]) -> list[list[int]]:
        state = sampler(rows, kind)
        for slot in range(rows):
            state.assign(slot, SETTINGS[slot % len(SETTINGS)], seed=100 + slot)
        codes: list[list[int]] = [[] for _ in range(rows)]
        for batch in batches:
            slots = torch.tensor(batch)
            positions = torch.tensor([len(codes[slot]) for slot in batch])
            drawn = state.draw(slots, logits[positions, slots], positions)
            for slot, code in zip(batch, drawn.tolist(), strict=True):
                codes[slot].append(code)
        return codes

    together = run([list(range(rows))] * 24)
    alone = run([[slot] for slot in range(rows) for _ in range(24)])
    mixed = run([[0, 5, 2]] * 24 + [[7, 1], [1, 7]] * 12 + [[6, 4, 3]] * 24)
    assert together == alone == mixed
    assert len(set(together[0])) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_distribution(kind: type[Sampler]) -> None:
    """Chi-square over 4 codes and 20,000 draws; 16.3 is the 0.999 quantile at 3 degrees."""
    state = kind(1, 6, 20_000, start_code=4, stop_code=5)
    state.assign(0, Sampling(temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0), seed=11)
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.4])
    logits = torch.full((1, 6), -60.0)
    logits[0, :4] = probabilities.log()
    counts = torch.zeros(6)
    positions = torch.arange(20_000)
    codes = state.draw(positions * 0, logits.expand(20_000, -1), positions)
    counts += torch.bincount(codes, minlength=6)
    assert counts[4:].sum() == 0
    expected = 20_000 * probabilities
    assert float(((counts[:4] - expected) ** 2 / expected).sum()) < 16.3


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_not_finite_is_told_and_leaves_the_others_alone(kind: type[Sampler]) -> None:
    state = sampler(3, kind)
    for slot in range(3):
        state.assign(slot, Sampling(), seed=slot)
    logits = torch.randn(3, CODES, generator=torch.Generator().manual_seed(0))
    slots, positions = torch.arange(3), torch.zeros(3, dtype=torch.long)
    expected = state.draw(slots, logits, positions)
    for slot in range(3):
        state.assign(slot, Sampling(), seed=slot)
    logits[1, 40] = torch.nan
    drawn = state.draw(slots, logits, positions)
    assert drawn[1] == NOT_FINITE
    assert drawn[0] == expected[0] and drawn[2] == expected[2]


@pytest.mark.parametrize("kind", KINDS)
def test_assigning_a_slot_again_forgets_the_request_before(kind: type[Sampler]) -> None:
    logits = torch.randn(1, CODES, generator=torch.Generator().manual_seed(0)) * 4
    slot, position = torch.tensor([0]), torch.tensor([0])
    state = sampler(kind=kind)
    state.assign(0, Sampling(), seed=5)
    first = state.draw(slot, logits, position)
    state.assign(0, Sampling(temperature=5.0), seed=6)
    state.draw(slot, logits, position)
    state.assign(0, Sampling(), seed=5)
    assert state.draw(slot, logits, position) == first


def test_stop_bias_grows_with_the_excess_and_is_bounded() -> None:
    state = sampler()
    state.assign(0, Sampling(), seed=0, stop_bias=StopBias(expected=10.0, rate=4.0, limit=6.0))
    added = [
        float(
            state.penalised(torch.tensor([0]), torch.zeros(1, CODES), torch.tensor([position]))[
                0, STOP
            ]
        )
        for position in (0, 10, 15, 20, 60)
    ]
    assert added == pytest.approx([0.0, 0.0, 2.0, 4.0, 6.0])


def test_on_the_host_the_same_codes_are_drawn() -> None:
    """Float32 sums in another order move a code's share of 0 … 1 by some 1e-7: among 3,000 draws
    none is expected to fall on another code."""
    generator = torch.Generator().manual_seed(0)
    biases = (None, StopBias(5.0, 2.0, 3.0))
    states = [sampler(6, kind) for kind in KINDS]
    drawn = 0
    for trial in range(50):
        for slot, settings in enumerate(SETTINGS):
            for state in states:
                state.assign(slot, settings, seed=10 * trial + slot, stop_bias=biases[trial % 2])
        for position in range(10):
            logits = 3 * torch.randn(6, CODES, generator=generator)
            if trial % 3 == 0:
                logits = logits.round()  # Many are equal.
            slots, positions = torch.randperm(6, generator=generator), torch.full((6,), position)
            ours, theirs = (state.draw(slots, logits, positions) for state in states)
            assert torch.equal(ours, theirs)
            assert torch.equal(*(state._used for state in states))
            drawn += 6
    assert drawn == 3000

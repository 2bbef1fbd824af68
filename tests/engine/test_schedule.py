"""Chunk boundaries: earliest start that does not run dry, growth with the lead, determinism."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livekit_xtts.engine.schedule import PROFILES, ChunkSchedule, StepTimes

CODE_S = 1024 / 22_050


def final_seconds(codes: int) -> float:
    """About what the exact decoder gives: everything but the last 148 ms."""
    return max(0.0, codes * CODE_S - 0.148)


def underrun(cuts: tuple[int, ...], budget: int, times: StepTimes, slower: float = 1.0) -> float:
    """Longest hole, in seconds, that a listener hears when work takes `slower` times as long."""
    now, start, worst, done = 0.0, None, 0.0, 0
    for cut in (*cuts, budget):
        now += slower * times.chunk(cut - done)
        if start is None:
            start = now
        else:
            worst = max(worst, now - (start + final_seconds(done)))
        done = cut
    return worst


FAST_CARD = StepTimes(step_s=0.0012, row_s=1e-5, window_s=0.002, window_code_s=5e-5)
TWO_CORES = StepTimes(step_s=0.021, row_s=0.004, window_s=0.002, window_code_s=0.0055)


def test_a_fast_card_starts_with_the_first_final_audio() -> None:
    cuts, sustained = ChunkSchedule(PROFILES["latency"], FAST_CARD).boundaries(final_seconds, 602)
    assert sustained
    assert cuts[0] == 4


def test_two_cores_wait_a_few_codes_more() -> None:
    cuts, sustained = ChunkSchedule(PROFILES["latency"], TWO_CORES).boundaries(final_seconds, 602)
    assert sustained
    assert 4 < cuts[0] <= 8


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("times", [FAST_CARD, TWO_CORES])
def test_chunks_grow_to_the_profile_and_not_beyond(profile: str, times: StepTimes) -> None:
    cuts, sustained = ChunkSchedule(PROFILES[profile], times).boundaries(final_seconds, 602)
    assert sustained
    sizes = [b - a for a, b in itertools.pairwise(cuts)]
    assert max(sizes) == PROFILES[profile].most
    assert sizes.index(max(sizes)) <= 60  # Within the longest utterance on the slowest machine.
    assert all(b <= 2 * a for a, b in zip((cuts[0], *sizes), sizes, strict=False))
    assert underrun(cuts, 602, times) == 0.0
    assert underrun(cuts, 602, times, slower=PROFILES[profile].margin) == 0.0


def test_one_code_earlier_would_run_dry() -> None:
    schedule = ChunkSchedule(PROFILES["latency"], TWO_CORES)
    cuts, _ = schedule.boundaries(final_seconds, 602)
    earlier = schedule._cuts(cuts[0] - 1, 1, 1.15, final_seconds, 602)
    assert earlier is None


def test_throughput_counts_on_company() -> None:
    schedule = ChunkSchedule(PROFILES["throughput"], FAST_CARD, slots=64)
    assert schedule.streams == 32


def test_hardware_slower_than_speech_is_told_and_still_streams() -> None:
    slow = StepTimes(step_s=0.08, window_code_s=0.01)
    cuts, sustained = ChunkSchedule(PROFILES["balanced"], slow).boundaries(final_seconds, 602)
    assert not sustained
    assert cuts[0] <= 8 and cuts[-1] < 602


@settings(max_examples=150, deadline=None)
@given(
    step=st.floats(0.0005, 0.1),
    code=st.floats(0.0, 0.03),
    window=st.floats(0.0, 0.02),
    profile=st.sampled_from(sorted(PROFILES)),
    budget=st.integers(1, 602),
    slots=st.integers(1, 64),
)
def test_cuts_ascend_and_stay_inside_the_budget(
    step: float, code: float, window: float, profile: str, budget: int, slots: int
) -> None:
    times = StepTimes(step, step / 8, window, code)
    schedule = ChunkSchedule(PROFILES[profile], times, slots)
    cuts, sustained = schedule.boundaries(final_seconds, budget)
    assert list(cuts) == sorted(set(cuts))
    assert all(0 < cut < budget for cut in cuts)
    assert (cuts, sustained) == schedule.boundaries(final_seconds, budget)
    if sustained and cuts:
        assert underrun(cuts, budget, times) == 0.0

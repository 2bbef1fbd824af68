"""Where a request's audio is cut into chunks, as counts of codes.

The cuts depend on the request, the profile and the step times measured at load, never on the
company a request is in: so its audio has the same bits alone and in a full batch. The rule: the
first chunk leaves at the earliest code count from which, by those times, every later chunk
arrives before the audio ahead of it has been played; later chunks grow with the listener's lead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from livekit_xtts.speech import CODE_SECONDS, SAMPLE_RATE

CONTEXT_CODES = 8
"""Codes around a window that the vocoder computes besides the window's own (about 4 a side)."""


LONGEST_START_SECONDS = 2.0
"""A first chunk longer than this does not mend hardware that is slower than speech."""

GROWTH = 2
"""A chunk has at most so many times the codes of the one before it."""

SCANT_SECONDS = 0.4
"""A lead that a stream outgrows soonest by using all of it for a larger chunk."""


_SPEEDS = 256
"""Speeds whose cuts are kept."""


class Plan(Protocol):
    """What is final when (see `model.streaming.StreamPlan`)."""

    def final_samples(self, codes: int, finished: bool) -> int:
        """Samples that no later latent can change."""
        ...


@dataclass(frozen=True, slots=True)
class StepTimes:
    """What the engine's pieces of work take on this machine, in seconds.

    Attributes:
        step_s: One step of the GPT with the fewest rows.
        row_s: What each further row adds to a step.
        window_s: The fixed part of one vocoder window.
        window_code_s: What each code in a vocoder window adds, its context included.
        piece_s: One piece of prompt prefill.
        context_codes: Codes around a window that the vocoder computes besides the window's own;
            0 where its layers keep what they need again.
        batch: Windows that are decoded together, and share the fixed part.
    """

    step_s: float
    row_s: float = 0.0
    window_s: float = 0.0
    window_code_s: float = 0.0
    piece_s: float = 0.0
    context_codes: int = CONTEXT_CODES
    batch: int = 1

    def step(self, rows: int) -> float:
        """Seconds of a step with so many rows."""
        return self.step_s + max(0, rows - 1) * self.row_s

    def window(self, codes: int) -> float:
        """Seconds of a vocoder window that brings so many new codes."""
        return self.window_s + (codes + self.context_codes) * self.window_code_s

    def windows(self, streams: int, codes: int) -> float:
        """Seconds of a window for each of so many streams, each bringing so many new codes."""
        fixed = -(-streams // self.batch) * self.window_s
        return fixed + streams * (codes + self.context_codes) * self.window_code_s

    def chunk(self, codes: int, streams: int = 1) -> float:
        """Seconds until each of so many streams has got a chunk of so many codes."""
        return codes * self.step(streams) + self.windows(streams, codes)


@dataclass(frozen=True, slots=True)
class Profile:
    """How early and how finely audio is handed out.

    Attributes:
        first: Fewest codes of the first chunk.
        most: Most codes of a chunk.
        margin: The step times are taken this many times longer than measured.
        share: Part of a comfortable lead that the next chunk's making may use up; a lead of up to
            `SCANT_SECONDS` may be used up whole.
        streams: Part of the slots taken to be busy, at least one.
    """

    first: int
    most: int
    margin: float
    share: float
    streams: float = 0.0


PROFILES = MappingProxyType(
    {
        "latency": Profile(first=1, most=12, margin=1.15, share=0.5),
        "balanced": Profile(first=1, most=20, margin=1.4, share=0.5),
        "throughput": Profile(first=8, most=40, margin=1.4, share=0.7, streams=0.5),
    }
)


class ChunkSchedule:
    """The cuts of an engine's requests.

    Args:
        profile: One of `PROFILES`.
        times: Measured at load.
        slots: Slots of the engine.
    """

    def __init__(self, profile: Profile, times: StepTimes, slots: int = 1) -> None:
        self.profile = profile
        self.times = times
        self.streams = max(1, int(profile.streams * slots))
        self._kept: dict[tuple[float, int], tuple[int, ...]] = {}

    def cuts(self, speed: float, streaming: bool, plan: Plan, budget: int) -> tuple[int, ...]:
        """Where a request is cut; kept by speed.

        Args:
            speed: The request's.
            streaming: False for one that asks for a single chunk: cut as coarsely as can be.
            plan: What is final when, at that speed.
            budget: Most codes of a request.
        """
        if not streaming:
            return tuple(range(self.profile.most, budget, self.profile.most))
        key = (speed, budget)
        if key not in self._kept:
            if len(self._kept) > _SPEEDS:
                self._kept.clear()
            self._kept[key], _ = self.boundaries(
                lambda codes: plan.final_samples(codes, False) / SAMPLE_RATE, budget
            )
        return self._kept[key]

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of one stream's speech, in chunks of the usual size."""
        codes = self.profile.most
        return self.times.chunk(codes) / (codes * CODE_SECONDS)

    def boundaries(
        self, final_seconds: Callable[[int], float], budget: int
    ) -> tuple[tuple[int, ...], bool]:
        """Cut a request of up to `budget` codes.

        Args:
            final_seconds: Seconds of audio that are final with so many codes.
            budget: Most codes of the request.

        Returns:
            Code counts at which a chunk leaves, ascending, the budget excluded (the end of the
            request always brings the last chunk), and whether by the measured times playback
            never runs dry.
        """
        earliest = next(
            (n for n in range(self.profile.first, budget) if final_seconds(n) > 0.0), budget
        )
        # Less company, then less margin, before giving up.
        trials = [(streams, self.profile.margin) for streams in range(self.streams, 0, -1)]
        trials += [(1, margin) for margin in (1.2, 1.1, 1.0) if margin < self.profile.margin]
        for streams, margin in trials:
            for first in range(earliest, budget):
                cuts = self._cuts(first, streams, margin, final_seconds, budget)
                if cuts is not None:
                    return cuts, True
                if final_seconds(first) > LONGEST_START_SECONDS:
                    break
        return self._doubling(earliest, budget), False

    def _cuts(
        self,
        first: int,
        streams: int,
        margin: float,
        final_seconds: Callable[[int], float],
        budget: int,
    ) -> tuple[int, ...] | None:
        """Play the request through from a first chunk; None where the listener would run dry."""
        profile = self.profile
        cuts, size = [first], first
        lead = final_seconds(first)
        fixed = margin * self.times.chunk(0, streams)
        each = margin * self.times.chunk(1, streams) - fixed
        while True:
            if fixed + each > lead:
                return None
            usable = max(profile.share * lead, min(lead, SCANT_SECONDS))
            room = int((usable - fixed) / each) if each else profile.most
            codes = max(1, min(room, profile.most, GROWTH * size))
            size = codes
            position = cuts[-1] + codes
            if position >= budget:
                return tuple(cuts)
            gained = final_seconds(position) - final_seconds(cuts[-1])
            lead += gained - fixed - codes * each
            cuts.append(position)

    def _doubling(self, earliest: int, budget: int) -> tuple[int, ...]:
        """For hardware slower than speech, where the one who plays has to hold back anyway."""
        cuts, size = [], max(earliest, 4)
        position = size
        while position < budget:
            cuts.append(position)
            size = min(2 * size, self.profile.most)
            position += size
        return tuple(cuts)

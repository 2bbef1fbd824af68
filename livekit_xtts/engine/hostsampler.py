"""Drawing codes on the host: row by row, in numpy.

Between two steps of the model nothing is left in the processor's caches, and torch's thirty
operations a draw take five times as long as in a loop. The same rules on the few codes that are
left after top-k take a fraction of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from livekit_xtts.engine.sampler import NOT_FINITE, Sampler

if TYPE_CHECKING:
    from livekit_xtts.speech import Float32


class HostSampler(Sampler):
    """`Sampler` for models on the CPU: what it draws differs by float32's rounding alone.

    Args:
        slots: See `Sampler`; so are the others.
        codes: Size of the code vocabulary.
        positions: Most codes of one request.
        start_code: Covered by the repetition penalty.
        stop_code: The code that ends a request.
    """

    def __init__(
        self, slots: int, codes: int, positions: int, *, start_code: int, stop_code: int
    ) -> None:
        super().__init__(slots, codes, positions, start_code=start_code, stop_code=stop_code)
        # The same memory, without torch in between.
        self._rows = self._settings.numpy()
        self._states = (self._used.numpy(), self._noise.numpy())

    def draw(self, slots: Tensor, logits: Tensor, positions: Tensor) -> Tensor:
        """See `Sampler.draw`."""
        rows = zip(slots.tolist(), logits.float().numpy(), positions.tolist(), strict=True)
        return torch.tensor([self._draw(*row) for row in rows], dtype=torch.long)

    def _draw(self, slot: int, logits: Float32, position: int) -> int:
        if not np.isfinite(logits.sum()):
            return NOT_FINITE
        temperature, drop_mass, penalty, expected, rate, limit, top_k, do_sample = self._rows[slot]
        used, noise = self._states
        scores = logits.copy()
        before = used[slot].nonzero()[0]
        values = logits[before]
        scores[before] = np.where(values < 0, values * penalty, values / penalty)
        if rate:
            excess = max(np.float32(0.0), np.float32(position) / expected - np.float32(1.0))
            scores[self.stop_code] += min(excess * rate, limit)
        if do_sample:
            code = _sampled(scores / temperature, int(top_k), drop_mass, noise[slot, position])
        else:
            code = int(scores.argmax())
        used[slot, code] = True
        return code


def _sampled(scores: Float32, top_k: int, drop_mass: np.float32, noise: np.float32) -> int:
    """Top-k, top-p, and the code that a number in 0 … 1 picks; see `sampler.shaped`."""
    least = len(scores) - top_k
    # Scores equal to the last one kept are kept as well.
    places = (scores >= np.partition(scores, least)[least]).nonzero()[0]
    values = scores[places]
    order = values.argsort(kind="stable")
    values, places = values[order], places[order]
    weights = np.exp(values - values[-1])
    below = (weights / weights.sum()).cumsum()
    first = min(int(below.searchsorted(drop_mass, "right")), len(values) - 1)
    weights = weights[first:]
    mass = (weights / weights.sum()).cumsum()
    place = min(int(mass.searchsorted(noise * mass[-1], "right")), len(mass) - 1)
    return int(places[first + place])

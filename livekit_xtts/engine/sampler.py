"""Draws the next code of every row from its logits, each row by its own settings and its own noise.

The order of the operations is the reference's: repetition penalty, (stop bias,) temperature, top-k,
top-p. All of it is elementwise or row by row, so a row's draw does not depend on its company, and
nothing here waits for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from livekit_xtts.engine.ends import StopBias
from livekit_xtts.speech import Sampling

PROMPT_ID = 1
"""The reference fills the prompt's places with this id, and so its repetition penalty covers it."""

NOT_FINITE = -1
"""What `Sampler.draw` gives in place of a code where a row's logits are not finite."""

_SETTINGS = 8
"""Numbers of a slot's settings: temperature, what top-p drops, penalty, the stop bias (3), top-k
and whether to sample."""


def shaped(
    scores: Tensor, temperature: Tensor, top_k: Tensor, drop_mass: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply temperature, top-k and top-p, each row by its own values.

    Args:
        scores: Logits after the repetition penalty, shape (rows, codes), float32.
        temperature: Shape (rows,).
        top_k: Codes to keep, shape (rows,), long, 1 … codes.
        drop_mass: `1 - top_p`, or -1 where top-p is off; shape (rows,).

    Returns:
        Scores in ascending order with what was dropped at -inf, and the code of each place; both
        of shape (rows, codes).
    """
    # Stable, so that equal scores keep their order whatever the number of rows.
    values, order = torch.sort(scores / temperature[:, None], dim=-1, stable=True)
    threshold = values.gather(1, (values.shape[1] - top_k)[:, None])
    values = values.masked_fill(values < threshold, -torch.inf)
    dropped = torch.softmax(values, dim=-1).cumsum(dim=-1) <= drop_mass[:, None]
    dropped[:, -1] = False
    return values.masked_fill(dropped, -torch.inf), order


class Sampler:
    """Sampling state of all slots, kept on the device of the model.

    Args:
        slots: Number of slots, a scratch slot for padding rows included.
        codes: Size of the code vocabulary, start and stop codes included.
        positions: Most codes of one request.
        start_code: Covered by the repetition penalty from the first step, as in the reference.
        stop_code: The code that ends a request.
        device: Where the logits are.
    """

    def __init__(
        self,
        slots: int,
        codes: int,
        positions: int,
        *,
        start_code: int,
        stop_code: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.codes = codes
        self.positions = positions
        self.start_code = start_code
        self.stop_code = stop_code
        # One row a slot, so that a request's settings and noise go to the device in one copy.
        self._table = torch.ones(slots, _SETTINGS + positions, device=device)
        self._settings = self._table[:, :_SETTINGS]
        self._noise = self._table[:, _SETTINGS:]
        self._used = torch.zeros(slots, codes, dtype=torch.bool, device=device)
        self._unused = torch.zeros(codes, dtype=torch.bool)
        self._unused[[PROMPT_ID, start_code]] = True
        self._unused = self._unused.to(device)
        # Where it is needed: a value of Python's would be copied there, and waited for.
        self._true = torch.ones((), dtype=torch.bool, device=device)

    def scratch(self) -> list[Tensor]:
        """Tensors whose contents nobody needs while no slot is taken.

        Settings are not among them: a slot that nobody ever has must keep some that are valid.
        """
        return [self._used]

    def assign(
        self, slot: int, sampling: Sampling, seed: int, stop_bias: StopBias | None = None
    ) -> None:
        """Give a slot to a request: its settings, its noise, a clean record of used codes.

        Args:
            slot: Index of the slot.
            sampling: The request's settings.
            seed: Seeds the request's own generator; the noise is made on the CPU, so that it is
                the same on every device.
            stop_bias: None for no bias.
        """
        bias = stop_bias or StopBias()
        generator = torch.Generator().manual_seed(seed)
        row = torch.empty(self._table.shape[1])
        torch.rand(self.positions, generator=generator, out=row[_SETTINGS:])
        row[:_SETTINGS] = torch.tensor(
            [
                sampling.temperature,
                -1.0 if sampling.top_p >= 1.0 else 1.0 - sampling.top_p,
                sampling.repetition_penalty,
                bias.expected,
                bias.rate,
                bias.limit,
                min(sampling.top_k, self.codes) or self.codes,
                sampling.do_sample,
            ]
        )
        if self._table.device.type == "cuda":
            # From other memory the copy would wait for the steps before it.
            row = row.pin_memory()
        self._table[slot].copy_(row, non_blocking=True)
        self._used[slot].copy_(self._unused)

    def penalised(self, slots: Tensor, logits: Tensor, positions: Tensor) -> Tensor:
        """Apply the repetition penalty and the stop bias.

        Args:
            slots: Slot of each row, shape (rows,), long.
            logits: Shape (rows, codes), float32.
            positions: Index of the code that is drawn, shape (rows,), long.

        Returns:
            Scores of shape (rows, codes).
        """
        settings = self._settings[slots]
        penalty = settings[:, 2, None]
        lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
        scores = torch.where(self._used[slots], lowered, logits)
        excess = (positions / settings[:, 3] - 1.0).clamp(min=0.0)
        scores[:, self.stop_code] += torch.minimum(excess * settings[:, 4], settings[:, 5])
        return scores

    def draw(self, slots: Tensor, logits: Tensor, positions: Tensor) -> Tensor:
        """Draw one code a row and record it as used.

        Args:
            slots: Slot of each row, shape (rows,), long.
            logits: Shape (rows, codes), float32.
            positions: Index of the code that is drawn, shape (rows,), long.

        Returns:
            Codes of shape (rows,), long; `NOT_FINITE` where a row's logits are not finite.
        """
        scores = self.penalised(slots, logits, positions)
        settings = self._settings[slots]
        values, order = shaped(scores, settings[:, 0], settings[:, 6].long(), settings[:, 1])
        mass = torch.softmax(values, dim=-1).cumsum(dim=-1)
        # One uniform number a code picks a place on the cumulated mass; what was dropped has none.
        target = self._noise[slots, positions][:, None] * mass[:, -1:]
        place = torch.searchsorted(mass, target, right=True).clamp(max=self.codes - 1)
        drawn = order.gather(1, place)[:, 0]
        codes = torch.where(settings[:, 7] > 0, drawn, scores.argmax(dim=-1))
        self._used.index_put_((slots, codes), self._true)
        # A sum is finite only where every logit is, and costs one pass.
        return torch.where(torch.isfinite(logits.sum(dim=-1)), codes, NOT_FINITE)

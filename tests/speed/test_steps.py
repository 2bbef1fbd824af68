"""Steps with 8-bit weights: close to float32, and a row the same in every company."""

from __future__ import annotations

import random

import pytest
import torch

from livekit_xtts.model.runner import TorchRunner
from tests.speed.conftest import embeddings, long

STEPS = 12


def test_it_computes_what_float32_computes(model, runner):
    """Tolerance: 8 bits in blocks of 64 are 0.6 % of a block's largest value a product, twice, over
    12 products in a row; 5 % of the spread leaves room, and a wrong layout gives 100 % and more."""
    exact = TorchRunner(model.gpt, slots=6, length=240)
    prompt = embeddings(70, 1)
    ours, theirs = runner.prefill(2, prompt, 0), exact.prefill(2, prompt, 0)
    assert (ours - theirs).std() < 0.05 * theirs.std()
    for position, code in enumerate((5, 900, 17)):
        inputs = (long(2), long(code), long(position), long(70 + position))
        (latents, logits), (latents_, logits_) = runner.step(*inputs), exact.step(*inputs)
        assert (latents - latents_).std() < 0.05 * latents_.std()
        assert (logits - logits_).std() < 0.05 * logits_.std()
    assert torch.allclose(runner.logits(latents), logits, atol=1e-4)


class Alone:
    """What each of some sequences gives by itself."""

    def __init__(self, runner, count: int) -> None:
        draw = random.Random(0)
        self.prompts = [embeddings(draw.randint(5, 90), seed) for seed in range(count)]
        self.codes = torch.randint(0, 1024, (count, STEPS), generator=torch.Generator())
        self.hidden, self.steps = [], []
        for index in range(count):
            self.hidden.append(runner.prefill(0, self.prompts[index], 0))
            self.steps.append([self.step(runner, [(0, index, at)])[0] for at in range(STEPS)])

    def step(self, runner, rows):
        """Step (slot, sequence, position) rows."""
        latents, logits = runner.step(
            long(*(slot for slot, _, _ in rows)),
            torch.stack([self.codes[index, at] for _, index, at in rows]),
            long(*(at for _, _, at in rows)),
            long(*(len(self.prompts[index]) + at for _, index, at in rows)),
        )
        return list(torch.cat((latents, logits), dim=1))


@pytest.mark.parametrize("seed", range(6))
def test_a_row_has_the_same_bits_in_any_company(make, runner, seed):
    alone = Alone(make(2), 6)
    draw = random.Random(seed)
    slots = draw.sample(range(6), 6)
    at = [-1] * 6
    compared = 0
    while min(at) < STEPS:
        index = draw.randrange(6)
        if at[index] < 0:
            cut = 32 * draw.randint(0, len(alone.prompts[index]) // 32)
            parts = [
                runner.prefill(slots[index], part, start)
                for part, start in (
                    (alone.prompts[index][:cut], 0),
                    (alone.prompts[index][cut:], cut),
                )
                if len(part)
            ]
            assert torch.equal(torch.cat(parts), alone.hidden[index])
            at[index] = 0
        live = [i for i in range(6) if 0 <= at[i] < STEPS]
        if not live:
            continue
        company = draw.sample(live, draw.randint(1, len(live)))
        # Now and then the same rows for long: then slots move up within the buffers.
        for _ in range(draw.choice((1, 1, 10))):
            company = [i for i in company if at[i] < STEPS]
            if not company:
                break
            rows = alone.step(runner, [(slots[i], i, at[i]) for i in company])
            for i, row in zip(company, rows, strict=True):
                assert torch.equal(row, alone.steps[i][at[i]])
                at[i] += 1
                compared += 1
    assert compared == 6 * STEPS


def test_a_copied_prefix_gives_the_same_bits(runner):
    prompt = embeddings(60, 3)
    expected = runner.prefill(0, prompt, 0)
    prefix = runner.export_prefix(0, 32)
    runner.prefill(4, embeddings(50, 4), 0)
    runner.copy_prefix(4, prefix)
    assert torch.equal(runner.prefill(4, prompt[32:], 32), expected[32:])


def test_a_loud_row_does_not_change_its_neighbour(runner):
    """Activations are brought to 8 bits by row: a scale shared over rows would show here."""
    prompt = embeddings(40, 5)
    runner.prefill(0, prompt, 0)
    runner.prefill(1, 1000.0 * embeddings(40, 6), 0)
    both = runner.step(long(0, 1), long(5, 6), long(0, 0), long(40, 40))[1][0]
    runner.prefill(1, embeddings(7, 7), 0)
    other = runner.step(long(0, 1), long(5, 8), long(0, 0), long(40, 7))[1][0]
    assert torch.equal(both, other)

"""Many sequences in one step: each has the same bits whatever the others are."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.gpt import GPT, TorchRunner
from livekit_xtts.speech import InvalidRequestError

CONFIG = XttsConfig.small()
CODES = 24
SLOTS = 8


@pytest.fixture(scope="module")
def gpt() -> GPT:
    return create_random(CONFIG).gpt


@dataclass
class Sequence:
    """A request of random conditioning and text, with the codes that will be fed to it."""

    gpt: GPT
    seed: int
    slot: int = 0
    fed: int = 0
    results: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        width = self.gpt.config.gpt_n_model_channels
        latents = torch.randn(32, width, generator=generator)
        ids = torch.randint(2, 6000, (1 + 11 * self.seed % 90,), generator=generator)
        codes = torch.randint(0, 1024, (CODES - 1,), generator=generator).tolist()
        self.prompt = self.gpt.prompt(latents, ids)[:-1]
        self.codes = [self.gpt.config.gpt_start_audio_token, *codes]

    @property
    def done(self) -> bool:
        return self.fed == len(self.codes)


def run(runner: TorchRunner, sequences: list[Sequence], seed: int) -> dict[int, Tensor]:
    """Start, step and end the sequences in a random order, in random company."""
    draw = random.Random(seed)
    waiting, active, free = list(sequences), [], list(range(runner.slots))
    draw.shuffle(waiting)
    draw.shuffle(free)
    while waiting or active:
        while waiting and free and (not active or draw.random() < 0.5):
            sequence = waiting.pop()
            sequence.slot = free.pop()
            runner.prefill(sequence.slot, sequence.prompt, 0)
            active.append(sequence)
        rows = draw.sample(active, draw.randint(1, len(active)))
        latents, logits = runner.step(
            torch.tensor([s.slot for s in rows]),
            torch.tensor([s.codes[s.fed] for s in rows]),
            torch.tensor([s.fed for s in rows]),
            torch.tensor([s.prompt.shape[0] + s.fed for s in rows]),
        )
        for index, sequence in enumerate(rows):
            sequence.results.append(torch.cat((latents[index], logits[index])))
            sequence.fed += 1
            if sequence.done:
                active.remove(sequence)
                free.append(sequence.slot)
    return {s.seed: torch.stack(s.results) for s in sequences}


def test_a_row_has_the_same_bits_in_any_company(gpt: GPT) -> None:
    runner = TorchRunner(gpt, SLOTS)
    alone = {seed: run(runner, [Sequence(gpt, seed)], seed)[seed] for seed in range(10)}
    for schedule in range(40):
        draw = random.Random(schedule)
        chosen = draw.sample(range(10), draw.randint(2, 10))
        together = run(runner, [Sequence(gpt, seed) for seed in chosen], schedule)
        for seed, result in together.items():
            assert torch.equal(result, alone[seed])


def test_the_number_of_slots_changes_nothing(gpt: GPT) -> None:
    one, many = TorchRunner(gpt, 1), TorchRunner(gpt, 13)
    assert many.rows[-1] >= 13 or many.rows == (1,)
    expected = run(one, [Sequence(gpt, 3)], 0)[3]
    company = [Sequence(gpt, seed) for seed in range(13)]
    assert torch.equal(run(many, company, 5)[3], expected)


def test_steps_equal_the_full_pass(gpt: GPT) -> None:
    sequence = Sequence(gpt, 4)
    codes = gpt.code_embeddings(torch.tensor([sequence.codes]))[0]
    hidden = gpt(torch.cat((sequence.prompt, codes))[None])[0, -CODES:]
    expected = torch.cat((hidden, gpt.code_logits(hidden)), dim=1)
    result = run(TorchRunner(gpt, 2), [sequence], 0)[4]
    assert (result - expected).abs().max() < 1e-4


def test_a_difference_would_show(gpt: GPT) -> None:
    """Rows do depend on their own codes: another code gives other bits."""
    sequence, other = Sequence(gpt, 4), Sequence(gpt, 4)
    other.codes[5] = (other.codes[5] + 1) % 1024
    runner = TorchRunner(gpt, 2)
    one, two = run(runner, [sequence], 0)[4], run(runner, [other], 0)[4]
    assert torch.equal(one[:5], two[:5])
    assert not torch.equal(one[5], two[5])


class Leaky(TorchRunner):
    """A runner whose products let rows touch each other."""

    def _queries(self, layer: object, x: Tensor) -> Tensor:
        return super()._queries(layer, x) + 1e-6 * x.mean()  # type: ignore[arg-type]


def test_where_rows_touch_each_other_they_are_stepped_alone(gpt: GPT) -> None:
    runner = Leaky(gpt, 4)
    assert runner.rows == (1,)
    expected = run(runner, [Sequence(gpt, 1)], 0)[1]
    company = [Sequence(gpt, seed) for seed in range(6)]
    assert torch.equal(run(runner, company, 3)[1], expected)


def test_a_prompt_in_pieces_and_a_kept_prefix_give_the_same_bits(gpt: GPT) -> None:
    runner = TorchRunner(gpt, 3)
    prompt = Sequence(gpt, 7).prompt
    whole = runner.prefill(0, prompt, 0)
    first, second = runner.prefill(1, prompt[:32], 0), runner.prefill(1, prompt[32:], 32)
    assert torch.equal(whole, torch.cat((first, second)))
    runner.copy_prefix(2, runner.export_prefix(1, 32))
    assert torch.equal(runner.prefill(2, prompt[32:], 32), second)
    length = prompt.shape[0]
    assert torch.equal(runner.export_prefix(0, length), runner.export_prefix(2, length))


def test_an_exported_prefix_is_a_copy(gpt: GPT) -> None:
    runner = TorchRunner(gpt, 1)
    runner.prefill(0, Sequence(gpt, 1).prompt[:32], 0)
    prefix = runner.export_prefix(0, 32)
    kept = prefix.clone()
    runner.prefill(0, Sequence(gpt, 2).prompt[:32], 0)
    assert torch.equal(prefix, kept)


def test_logits_of_a_prompt(gpt: GPT) -> None:
    runner = TorchRunner(gpt, 1)
    hidden = runner.prefill(0, Sequence(gpt, 1).prompt, 0)
    assert (runner.logits(hidden) - gpt.code_logits(hidden)).abs().max() < 1e-4


def test_attention_behind_a_mask_gives_the_same(gpt: GPT) -> None:
    """The way of devices other than CPUs: one call over all slots' full length."""
    runner = TorchRunner(gpt, 4, length=160)
    runner.cache.data.zero_()
    x = torch.randn(4, CONFIG.gpt_n_model_channels)
    for slot in range(3):
        runner.prefill(slot, Sequence(gpt, slot).prompt, 0)
    slots = [2, 0, 1]
    lengths = [Sequence(gpt, slot).prompt.shape[0] for slot in slots]
    by_row = runner._step_by_row(x, slots, lengths)
    masked = runner._step_masked(x, torch.tensor(slots), torch.tensor(lengths))
    assert (by_row - masked)[:3].abs().max() < 1e-4


def test_the_cache_is_no_longer_than_the_model_allows(gpt: GPT) -> None:
    assert TorchRunner(gpt, 1, length=10**6).length == CONFIG.max_positions == 1039
    assert TorchRunner(gpt, 1, length=100).cache.data.shape[4] == 100


def test_half_precision_runs(gpt: GPT) -> None:
    runner = TorchRunner(gpt, 2, dtype=torch.bfloat16)
    result = run(runner, [Sequence(gpt, 1)], 0)[1]
    assert torch.isfinite(result).all()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(403, dtype=torch.long), "403 text ids"),
        (torch.tensor([6681]), "6681"),
        (torch.tensor([-1]), "-1"),
    ],
)
def test_text_ids_that_cannot_be_spoken(gpt: GPT, ids: Tensor, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        gpt.prompt(torch.zeros(32, CONFIG.gpt_n_model_channels), ids)


def test_a_mask_hides_padding_in_the_full_pass(gpt: GPT) -> None:
    embeddings = torch.randn(2, 20, CONFIG.gpt_n_model_channels)
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[1, :6] = False
    changed = embeddings.clone()
    changed[1, :6] += 1.0
    one, two = gpt(embeddings, mask), gpt(changed, mask)
    assert torch.equal(one[0], two[0])
    assert (one[1, 6:] - two[1, 6:]).abs().max() < 1e-6

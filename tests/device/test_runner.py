"""The GPT on kernels of our own: against the plain runner, prompts together."""

from __future__ import annotations

import pytest
import torch

from livekit_xtts.model.device.runner import DeviceRunner
from livekit_xtts.model.runner import BatchRunner, TorchRunner
from tests.device.conftest import DEVICE

PROMPTS = ((5, 6, 7, 8), (30, 31, 40, 41, 42, 43, 44))


def spoken(model, runner, together: bool):
    """Hidden states of two prompts and of three steps after them."""
    generator = torch.Generator().manual_seed(1)
    width = model.config.gpt_n_model_channels
    latents = torch.randn(model.config.perceiver_latents, width, generator=generator).to(DEVICE)
    border = len(latents)
    hidden, table = [], ([], [], [], [])
    for slot, ids in enumerate(PROMPTS):
        prompt = model.gpt.prompt(latents, torch.tensor(ids))
        if not together:
            hidden.append(runner.prefill(slot, prompt, 0)[border:])
            continue
        runner.prefill(slot, latents, 0)
        fed, places = runner.tokens(ids)
        new = ([slot] * len(fed), range(border, border + len(fed)), fed, places)
        for values, more in zip(table, new, strict=True):
            values += more
    if together:
        hidden.append(runner.read(*(torch.tensor(values, device=DEVICE) for values in table)))
    lengths = torch.tensor([border + len(ids) + 3 for ids in PROMPTS], device=DEVICE)
    slots = torch.arange(2, device=DEVICE)
    for step in range(1, 4):
        at = torch.full((2,), step, device=DEVICE)
        codes = torch.tensor([7 * step, 11 * step], device=DEVICE)
        latent, logits = runner.step(slots, codes, at, lengths + step - 1)
        hidden += [latent.float(), logits]
    return hidden


# 2 blocks of some hundred rounded sums each; the values are up to 12.
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 2e-5), (torch.float16, 3e-2)])
def test_it_says_what_the_plain_runner_says(model, dtype, most):
    runner = DeviceRunner(model.gpt, 3, 60, DEVICE, dtype)
    assert isinstance(runner, BatchRunner)
    assert not isinstance(TorchRunner(model.gpt, 1, 8), BatchRunner)
    found = spoken(model, runner, together=True)
    plain = spoken(model, TorchRunner(model.gpt, 3, 60, DEVICE), together=False)
    expected = [torch.cat(plain[:2]), *plain[2:]]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).abs().max() < most


def test_a_prefix_moves_between_slots(model, plain_kernels):
    runner = DeviceRunner(model.gpt, 3, 60, DEVICE, torch.float32)
    x = torch.randn(6, model.config.gpt_n_model_channels, device=DEVICE)
    runner.prefill(0, x, 0)
    runner.copy_prefix(2, runner.export_prefix(0, 4))
    again = runner.prefill(2, x[4:], 4)
    assert torch.allclose(again, runner.prefill(0, x[4:], 4), atol=1e-6)
    other = runner.with_slots(model.gpt, 2)
    assert (other.slots, other.length, other.dtype) == (2, runner.length, runner.dtype)


def test_trying_out_runs_and_raises_what_a_compiler_raises(model, plain_kernels, monkeypatch):
    from livekit_xtts.model.device import attention

    runner = DeviceRunner(model.gpt, 2, 40, DEVICE)
    runner.try_out()

    def fail(*args, **kwargs):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(attention, "attend", fail)
    with pytest.raises(RuntimeError, match="C compiler"):
        runner.try_out()

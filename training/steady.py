"""Makes the clock that the hidden states show exact.

The vocoder computes the voice's phase from it, ten periods a code, so 2 % of error are heard. What
stands in the way are the layers that write over it, and the norms at the end, whose divisor depends
on everything else in the hidden state. So no layer may write where the clock is, and a large
constant is added before both norms, beside which the rest of the divisor counts little; their
gains and biases take it away again.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from livekit_xtts.model.gpt import GPT
from training.data import CLOCK, clock

_HEIGHT = 0.5
_HELD = CLOCK + 1  # the last one is zero: beside it the mean that a norm takes away is seen
_TIMES = 8.0  # the constant's size, in standard deviations of what it is added to


def _writers(gpt: GPT) -> Iterator[nn.Module]:
    for block in gpt.gpt.h:
        yield block.attn.c_proj
        yield block.mlp.c_proj


@torch.no_grad()
def hold(gpt: GPT) -> None:
    """Takes back what an update has done to the clock; called after each.

    Args:
        gpt: Its residual stream has the clock in the first CLOCK channels, and zero beside it.
    """
    for layer in _writers(gpt):
        layer.weight[:, :_HELD] = 0
        layer.bias[:_HELD] = 0
    gpt.mel_embedding.weight[:, :_HELD] = 0
    table = gpt.mel_pos_embedding.emb.weight
    table[:, :CLOCK] = _HEIGHT * clock(torch.arange(len(table), device=table.device))
    table[:, CLOCK] = 0


def _quiet(x: Tensor) -> Tensor:
    """The direction in which x (n, width) varies least, apart from what is held and the mean."""
    free = (x - x.mean(0))[:, _HELD:].double()
    covariance = free.T @ free / len(free)
    ones = torch.ones_like(covariance[0])
    covariance += torch.outer(ones, ones) * covariance.trace()
    vector = torch.linalg.eigh(covariance).eigenvectors[:, 0]
    result = torch.zeros_like(x[0])
    result[_HELD:] = (vector - vector.mean()).to(x.dtype)
    return result / result.square().mean().sqrt()


@torch.no_grad()
def steady(gpt: GPT, before: Tensor) -> None:
    """Adds the constants.

    Args:
        gpt: Trained.
        before: What comes to the first of the two last norms, (n, width).
    """
    first, last, end = gpt.gpt.ln_f, gpt.final_norm, gpt.gpt.h[-1].mlp.c_proj
    after = first(before)
    for norm, source, x in ((first, end, before), (last, first, after)):
        spread = x.std(1).mean()
        constant = _TIMES * spread * _quiet(x)
        whole = (spread.square() + constant.square().mean()).sqrt()
        source.bias += constant
        norm.weight *= whole / spread
        norm.bias -= norm.weight * constant / whole

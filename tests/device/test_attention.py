"""What lies between the GPT's matrix products: against torch, alone and in company."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmarks import roundings
from livekit_xtts.model.device import attention
from tests.device.conftest import DEVICE

HEADS, SIZE, SLOTS, LENGTH = 2, 16, 5, 150
EPSILON = {torch.float32: 2.0**-23, torch.float16: 2.0**-10}


def rows(count: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3 * HEADS * SIZE, generator=generator).to(DEVICE, dtype)


def full_cache(dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(2, SLOTS, HEADS, LENGTH, SIZE, generator=generator).to(DEVICE, dtype)


def long(*values: int) -> torch.Tensor:
    return torch.tensor(values, device=DEVICE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("append", [True, False])
def test_rows_attend_to_what_is_before_them_in_their_slots(dtype, append):
    slots, positions = long(3, 0, 4, 1), long(0, 63, 64, 149)
    qkv = rows(4, dtype)
    cache = full_cache(dtype)
    for slot, position in zip(slots, positions, strict=True):
        cache[:, slot, :, position:] = torch.nan  # Whoever looks there is found out.
    if not append:
        attention.append(qkv, cache, slots, positions, HEADS)
    before = cache.clone()
    found = attention.attend(qkv, cache, slots, positions, HEADS, append=append)
    expected = roundings.attend(qkv.float(), before.float(), slots, positions, HEADS, append=append)
    # Some 150 products and sums, rounded like the inputs at the end.
    assert (found - expected).abs().max() < 8 * EPSILON[dtype] * expected.abs().max()
    if append:
        assert torch.equal(cache[0, 3, :, 0].flatten(), qkv[0, HEADS * SIZE :][: HEADS * SIZE])
        assert torch.equal(cache[1, 3, :, 0].flatten(), qkv[0, 2 * HEADS * SIZE :])
        assert cache[:, 3, :, 1:].isnan().all()
        assert torch.equal(cache[:, 2], before[:, 2])


def test_a_row_is_the_same_in_any_company():
    slots, positions = long(3, 0, 4, 1, 2), long(7, 63, 64, 140, 20)
    qkv = rows(5, torch.float16)
    cache = full_cache(torch.float16)
    together = attention.attend(qkv, cache, slots, positions, HEADS, append=True)
    for row in (3, 0):
        alone = attention.attend(
            qkv[row : row + 1],
            cache,
            slots[row : row + 1],
            positions[row : row + 1],
            HEADS,
            append=True,
        )
        assert torch.equal(alone[0], together[row])


def test_positions_of_one_prompt_see_each_other_in_one_call():
    qkv = rows(9, torch.float32)
    cache = torch.full((2, SLOTS, HEADS, LENGTH, SIZE), torch.nan, device=DEVICE)
    slots, positions = torch.full((9,), 2, device=DEVICE), torch.arange(9, device=DEVICE)
    attention.append(qkv, cache, slots, positions, HEADS)
    found = attention.attend(qkv, cache, slots, positions, HEADS, append=False)
    q, k, v = qkv.view(9, 3, HEADS, SIZE).permute(1, 2, 0, 3)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).flatten(1)
    assert (found - expected).abs().max() < 1e-6 * 9


@pytest.mark.parametrize("twice", [False, True])
def test_the_residual_stream_is_added_to_and_normed(twice):
    width = 48  # No power of two.
    x, y = torch.randn(3, width, device=DEVICE), torch.randn(3, width, device=DEVICE).half()
    norms = [
        (torch.randn(width, device=DEVICE), torch.randn(width, device=DEVICE)) for _ in range(2)
    ]
    stream = x.clone()
    found = attention.add_norm(stream, y, norms[0], torch.float32, norms[1] if twice else None)
    expected = F.layer_norm(x + y.float(), (width,), *norms[0])
    if twice:
        expected = F.layer_norm(expected, (width,), *norms[1])
    assert torch.equal(stream, x + y.float())
    assert (found - expected).abs().max() < 64 * EPSILON[torch.float32] * expected.abs().max()
    again = attention.add_norm(stream, None, norms[0], torch.float16)
    assert again.dtype == torch.float16 and torch.equal(stream, x + y.float())

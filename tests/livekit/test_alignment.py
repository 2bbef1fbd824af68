"""Heads that follow the text are found among those that do not, and words get their codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from livekit_xtts.alignment import (
    align,
    best_path,
    find_heads,
    id_characters,
    text_attention,
    word_codes,
)
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.gpt import GPT

IDS, CODES = 12, 40


def following(seed: int, sharpness: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Attention that walks through the text at an uneven pace, and where it is at each code."""
    random = np.random.default_rng(seed)
    durations = 1 + random.multinomial(CODES - IDS, np.ones(IDS) / IDS)
    truth = np.repeat(np.arange(IDS), durations)
    distance = np.abs(np.arange(IDS) - truth[:, None])
    scores = -sharpness * distance + random.normal(0, 0.5, (CODES, IDS))
    weights = np.exp(scores)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32), truth


def noise(seed: int) -> np.ndarray:
    weights = np.random.default_rng(seed).exponential(size=(CODES, IDS))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def constant(index: int) -> np.ndarray:
    weights = np.full((CODES, IDS), 0.01)
    weights[:, index] = 1.0
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def test_the_path_is_the_walk() -> None:
    attention, truth = following(0)
    path, score = best_path(attention)
    assert np.mean(path == truth) > 0.95
    assert np.all(np.diff(path) >= 0)
    assert score > 0.8
    assert best_path(noise(0))[1] < 0.35


def test_heads_that_follow_are_found_and_others_are_not() -> None:
    examples = []
    for seed in range(3):
        walk, _ = following(seed)
        heads = [noise(seed), constant(0), walk, noise(seed + 9), walk[::-1].copy(), constant(5)]
        examples.append(np.stack(heads).reshape(2, 3, CODES, IDS))
    found = find_heads(examples)
    assert [(head.layer, head.head) for head in found] == [(0, 2)]
    plain = [np.stack([noise(seed), constant(3)]).reshape(1, 2, CODES, IDS) for seed in range(3)]
    assert find_heads(plain) == []


def test_each_id_begins_where_the_walk_reaches_it() -> None:
    walk, truth = following(4)
    attention = np.stack([noise(1), walk]).reshape(1, 2, CODES, IDS)
    (head,) = find_heads([attention])
    found = align(attention, [head])
    wanted = [int(np.flatnonzero(truth == index)[0]) for index in range(IDS)]
    assert len(found) == IDS
    assert list(found) == sorted(found)
    assert np.max(np.abs(np.array(found) - wanted)) <= 1


def test_words_get_the_codes_of_their_ids() -> None:
    text, spoken = "I paid 27 euros.", "i paid twenty seven euros."
    tokens = ["[en]", "i", "[SPACE]", "paid", "[SPACE]", "twenty", "[SPACE]", "seven", "[SPACE]"]
    tokens += ["euro", "s", "."]
    characters = id_characters(tokens)
    assert [spoken[c : c + 1] for c in characters[1:]] == list("i p t s es.")
    alignment = list(range(0, 10 * len(tokens), 10))
    assert word_codes(text, spoken, characters, alignment) == [10, 30, 50, 90]
    assert word_codes("", "", [], []) == []


@pytest.mark.parametrize("layers", [None, 1])
def test_attention_of_a_real_gpt_is_what_its_layers_do(layers: int | None) -> None:
    torch.manual_seed(0)
    config = XttsConfig.small()
    gpt = GPT(config).eval()
    latents = torch.randn(config.perceiver_latents, config.gpt_n_model_channels)
    ids, codes = [5, 6, 7, 8], [11, 12, 13, 14, 15, 16]
    attention = text_attention(gpt, latents, ids, codes, layers=layers)
    count = layers or config.gpt_layers
    assert attention.shape == (count, config.gpt_n_heads, len(codes), len(ids))
    assert np.allclose(attention.sum(-1), 1.0, atol=1e-5)
    # What follows a code cannot change what it attends to; other text does.
    longer = text_attention(gpt, latents, ids, [*codes, 17], layers=layers)
    assert np.allclose(longer[:, :, : len(codes)], attention, atol=1e-5)
    other = text_attention(gpt, latents, [5, 6, 9, 8], codes, layers=layers)
    assert not np.allclose(other, attention, atol=1e-3)

"""When each text id is spoken, read from the model's own attention to the text.

Some heads of the GPT look, while a code is drawn, at the text that this code speaks. They are found
by what they do (`find_heads`): a path through the text that never goes back explains most of their
attention. Which heads they are belongs to the checkpoint, so they are found once for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from livekit_xtts.model.gpt import GPT, Block
from livekit_xtts.timings import word_places

GOOD_SCORE = 0.35
"""A head explains less of its attention than this: it does not follow the text."""

_MOST_HEADS = 4
_FLOOR = 1e-3
_COVERED = 0.8


@dataclass(frozen=True, slots=True)
class Head:
    """A head that follows the text.

    Attributes:
        layer: Counted from 0.
        head: Counted from 0.
        score: Mean share of its attention to the text on the best path, 0 … 1.
    """

    layer: int
    head: int
    score: float


@torch.no_grad()
def text_attention(
    gpt: GPT,
    latents: Tensor,
    ids: Sequence[int],
    codes: Sequence[int],
    *,
    layers: int | None = None,
) -> npt.NDArray[np.float32]:
    """Attention of every head from the codes to the text, in one pass over a finished request.

    Args:
        gpt: The model.
        latents: Conditioning latents of the voice, shape (32, width).
        ids: Text ids, without start and stop.
        codes: The audio codes, without the stop code.
        layers: Only the first so many layers; None for all.

    Returns:
        Shape (layers, heads, codes, ids), each row of the last axis summing to 1. Row i belongs
        to the position that draws code i.
    """
    device = gpt.mel_head.weight.device
    text = torch.tensor(list(ids), dtype=torch.long)
    drawn = torch.tensor([list(codes[:-1])], dtype=torch.long, device=device)
    prompt = gpt.prompt(latents.to(device), text)
    x = torch.cat((prompt, gpt.code_embeddings(drawn, 1)[0]))[None]
    first = latents.shape[0] + 1  # behind the conditioning and the start id
    at = prompt.shape[0] - 1
    found = []
    for module in list(gpt.gpt.h)[:layers]:
        block = cast(Block, module)
        attention = block.attn
        qkv = attention.c_attn(block.ln_1(x))[0].view(x.shape[1], 3, attention.heads, -1)
        q, k = qkv[at:, 0].transpose(0, 1), qkv[first : first + len(text), 1].transpose(0, 1)
        scores = (q.float() @ k.float().transpose(1, 2)) * q.shape[-1] ** -0.5
        found.append(scores.softmax(-1).cpu().numpy())
        x = block(x, None)
    return np.stack(found).astype(np.float32)


def best_path(attention: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], float]:
    """The way through the text that never goes back and explains most of the attention.

    Args:
        attention: Shape (codes, ids).

    Returns:
        The id spoken at each code, shape (codes,); and the mean attention on the way.
    """
    codes, ids = attention.shape
    gain = np.log(np.maximum(attention, _FLOOR))
    total = np.full(ids, -np.inf)
    total[0] = gain[0, 0]
    total[1:3] = gain[0, 1:3] - 1.0  # a language tag and a space in front are not spoken
    came = np.zeros((codes, ids), dtype=np.int64)
    steps = np.arange(ids)
    for code in range(1, codes):
        # Stay, or go on by one id or by a few: several ids may share a code.
        options = np.full((4, ids), -np.inf)
        options[0] = total
        for step in (1, 2, 3):
            options[step, step:] = total[:-step] - 0.3 * (step - 1)
        choice = options.argmax(0)
        came[code] = steps - choice
        total = options[choice, steps] + gain[code]
    path = np.empty(codes, dtype=np.int64)
    path[-1] = int(total.argmax())
    for code in range(codes - 1, 0, -1):
        path[code - 1] = came[code, path[code]]
    return path, float(attention[np.arange(codes), path].mean())


def find_heads(examples: Sequence[npt.NDArray[np.float32]]) -> list[Head]:
    """The heads that follow the text, best first; none where the model has none.

    Args:
        examples: What `text_attention` gives for a few finished requests.
    """
    layers, heads = examples[0].shape[:2]
    found = []
    for layer in range(layers):
        for head in range(heads):
            paths = [best_path(example[layer, head]) for example in examples]
            covered = [
                path[-1] / max(1, example.shape[-1] - 1)
                for (path, _), example in zip(paths, examples, strict=True)
            ]
            # A head that always looks at one place has a good path that goes nowhere.
            if np.mean(covered) < _COVERED:
                continue
            score = float(np.mean([share for _, share in paths]))
            if score >= GOOD_SCORE:
                found.append(Head(layer, head, score))
    return sorted(found, key=lambda head: -head.score)[:_MOST_HEADS]


def align(attention: npt.NDArray[np.float32], heads: Sequence[Head]) -> tuple[int, ...]:
    """The code at which each text id begins to be spoken.

    Args:
        attention: What `text_attention` gives.
        heads: From `find_heads`, at least one.

    Returns:
        One code index for each id, never falling.
    """
    weights = np.array([head.score for head in heads], dtype=np.float32)
    chosen = np.stack([attention[head.layer, head.head] for head in heads])
    mean = (weights[:, None, None] * chosen).sum(0) / weights.sum()
    path, _ = best_path(mean)
    return tuple(int(code) for code in np.searchsorted(path, np.arange(attention.shape[-1])))


def id_characters(tokens: Sequence[str]) -> list[int]:
    """The character of the spoken text at which each text id begins.

    Args:
        tokens: The vocabulary's entries of the ids: "[en]", "[SPACE]", pieces of words.
    """
    starts, position = [], 0
    for token in tokens:
        starts.append(position)
        if token == "[SPACE]":
            position += 1
        elif not (token.startswith("[") and token.endswith("]")):
            position += len(token)
    return starts


def word_codes(
    text: str,
    spoken: str,
    characters: Sequence[int],
    alignment: Sequence[int],
    language: str = "en",
) -> list[int]:
    """The code at which each word of the original text begins to be spoken.

    Args:
        text: The original text.
        spoken: What was made of it for the model: lower case, numbers in words.
        characters: From `id_characters`.
        alignment: From `align`.
        language: Says how words are split.

    Returns:
        One code index for each of `split_words(text, language)`, never falling.
    """
    found: list[int] = []
    for place in word_places(text, spoken, language):
        # The last id that begins there or before; tags have no characters, so they come first.
        index = int(np.searchsorted(characters, place, side="right")) - 1
        code = alignment[max(index, 0)] if alignment else 0
        found.append(max(code, found[-1] if found else 0))
    return found

"""The prepared speech as one set in memory, and batches of similar length."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.codes import load_part
from training.settings import CEPSTRA, GATES, MAX_PERIODS, MIN_PERIODS, WORK

PERIOD_CLASSES = MAX_PERIODS - MIN_PERIODS + 2  # the first stands for unvoiced
FEATURES = 4 * CEPSTRA + 4 + PERIOD_CLASSES
CLOCK = 3


@dataclass(frozen=True)
class Utterance:
    """One reading: text ids, codes, and the features of every code.

    Attributes:
        ids: Text ids with the language tag first.
        voice: Index into settings.VOICES.
        codes: (n,) int64.
        position: Index of the text id being spoken at each code, (n,) float32.
        start: First code of the reading within its set.
        length: n.
    """

    text: str
    ids: list[int]
    voice: int
    position: np.ndarray
    start: int
    length: int


class SpeechSet:
    """All parts of a split."""

    def __init__(self, split: str, limit: int | None = None) -> None:
        """Loads the parts that exist.

        Args:
            split: train or dev.
            limit: At most so many parts.
        """
        with np.load(WORK / "codes.npz") as fitted:
            self._mean, self._std = fitted["mean"], fitted["std"]
        tokenizer = Tokenizer.from_file(str(WORK / "vocab.json"))
        self.items: list[Utterance] = []
        self.sample_files: list[tuple[str, int]] = []
        self.middles = np.zeros(0)
        codes, features, offset = [], [], 0
        paths = sorted(p for p in (WORK / "speech").glob(f"{split}*.npz") if ".tmp" not in p.name)
        for path in [p for p in paths if p.with_suffix(".codes.npy").exists()][:limit]:
            part = load_part(path)
            codes.append(np.load(path.with_suffix(".codes.npy")))
            features.append(self._features(part))
            self.middles = part["middles"]
            words = json.loads(str(part["words"]))
            begin = 0
            for text, voice, length, times in zip(
                part["texts"], part["voices"], part["codes"], words, strict=True
            ):
                text, length = str(text), int(length)
                encoded = tokenizer.encode("[en]" + text.replace(" ", "[SPACE]"))
                position = _positions(text, encoded.tokens, times, length)
                self.items.append(
                    Utterance(text, encoded.ids, int(voice), position, offset + begin, length)
                )
                self.sample_files.append((path.stem, begin))
                begin += length
            offset += begin
        self.codes = torch.from_numpy(np.concatenate(codes))
        self.features = torch.from_numpy(np.concatenate(features))

    def _features(self, part: dict[str, np.ndarray]) -> np.ndarray:
        frames = (part["cepstra"].astype(np.float32) - self._mean) / self._std
        voicing = part["voicing"].reshape(-1, 4).astype(np.float32)
        periods = part["periods"].astype(np.int64)
        kinds = np.where(periods > 0, periods - MIN_PERIODS + 1, 0)
        onehot = np.eye(PERIOD_CLASSES, dtype=np.float32)[kinds]
        joined = [frames.reshape(-1, 4 * CEPSTRA), voicing, onehot]
        return np.concatenate(joined, 1).astype(np.float16)

    def batches(self, tokens: int, seed: int) -> Iterator[list[int]]:
        """Endless batches of indices: utterances of like length, in random order, each once a
        round.
        """
        rng = random.Random(seed)
        while True:
            keys = {i: u.length + rng.random() * 8 for i, u in enumerate(self.items)}
            order = sorted(keys, key=keys.__getitem__)
            groups: list[list[int]] = [[]]
            longest_text = 0
            for i in order:
                text = max(longest_text, len(self.items[i].ids))
                size = 32 + text + 3 + self.items[i].length
                if groups[-1] and size * (len(groups[-1]) + 1) > tokens:
                    groups.append([])
                    text = len(self.items[i].ids)
                longest_text = text
                groups[-1].append(i)
            rng.shuffle(groups)
            yield from groups


def clock(positions: Tensor) -> Tensor:
    """A period of four codes as three waves: tells the decoder where in a code a sample lies."""
    angle = positions.float() * (torch.pi / 2)
    return torch.stack([torch.cos(2 * angle), torch.cos(angle), torch.sin(angle)], -1)


def period_gates(features: Tensor) -> Tensor:
    """Whether each code has at least 5, 6, … periods, as -1 or 1: (n, GATES).

    Unvoiced codes, whose count is not known, have what lies between those of their neighbours.
    """
    kinds = features[:, -PERIOD_CLASSES:].argmax(1).numpy()
    known = np.flatnonzero(kinds > 0)
    if len(known) == 0:
        return torch.full((len(kinds), GATES), -1.0)
    counts = np.rint(np.interp(np.arange(len(kinds)), known, kinds[known])).astype(np.int64)
    steps = np.where(counts[:, None] > np.arange(1, GATES + 1), 1.0, -1.0)
    return torch.from_numpy(steps.astype(np.float32))


def _positions(text: str, tokens: list[str], times: list[list[float]], length: int) -> np.ndarray:
    """Index of the text id spoken at the middle of each code, by espeak-ng's word times."""
    ends = np.cumsum([0 if t == "[en]" else 1 if t == "[SPACE]" else len(t) for t in tokens])
    seconds = (np.arange(length) + 0.5) * 1024 / 22_050
    knots_t, knots_c = [0.0], [0.0]
    total = length * 1024 / 22_050
    for k, (start, size, at) in enumerate(times):
        following = times[k + 1][2] if k + 1 < len(times) else total - 0.1
        for t, c in ((at, start), (following - 1e-3, start + size)):
            if t > knots_t[-1] and c >= knots_c[-1]:
                knots_t.append(t)
                knots_c.append(c)
    characters = np.interp(seconds, knots_t, knots_c)
    # +1: the sequence begins with the start id, which is not among the tokens.
    return (
        (np.searchsorted(ends, characters, side="right") + 1)
        .clip(1, len(tokens))
        .astype(np.float32)
    )

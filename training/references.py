"""Reference clips of every voice, as the teacher speaks them: what the two encoders are trained
on.
"""

from __future__ import annotations

import json
import random

import numpy as np
import torch
from torch import Tensor

from livekit_xtts.model.mel import conditioning_mel
from training.espeak import Espeak
from training.prepare import trimmed
from training.settings import VOICES, WORK


def clips(split: str = "train", each: int = 100, seed: int = 5) -> list[list[np.ndarray]]:
    """Clips of each voice, float32 at 22,050 Hz, of about 4 to 8 s (two or three sentences)."""
    sentences = [t for t, _ in json.loads((WORK / "sentences.json").read_text())[split]]
    rng = random.Random(seed)
    espeak = Espeak()
    found = []
    for voice in VOICES:
        mine = []
        for _ in range(each):
            parts = [
                trimmed(espeak.speak(rng.choice(sentences), voice).samples)[0] for _ in range(3)
            ]
            mine.append(np.concatenate(parts)[: 8 * 22_050])
        found.append(mine)
    return found


class MelPool:
    """Conditioning mels of the clips, and random crops of them: one crop per voice and call."""

    def __init__(self, split: str = "train", each: int = 40) -> None:
        stats = torch.ones(80)
        self._mels = [
            [conditioning_mel(torch.from_numpy(clip), stats) for clip in mine]
            for mine in clips(split, each)
        ]

    def draw(self, rng: random.Random) -> Tensor:
        """One crop of each voice, of the same random length of 1.4 to 4 s, at a random level.

        Returns:
            (voices, 80, frames)
        """
        frames = rng.randrange(120, 345, 24)
        chosen = []
        for mine in self._mels:
            mel = rng.choice(mine)
            while mel.shape[1] < frames:
                mel = torch.cat((mel, rng.choice(mine)), 1)
            start = rng.randrange(mel.shape[1] - frames + 1)
            level = rng.uniform(-1.5, 0.7)
            chosen.append((mel[:, start : start + frames] + level).clamp(min=-11.5129))
        return torch.stack(chosen)

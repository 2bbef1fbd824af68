"""Stage 5, the speaker encoder: which of the teacher's voices is a clip of?

    python -m training.train_speaker [--minutes 4] [--device cuda]

Writes WORK/speaker.pt. The embeddings are unit vectors, pulled towards a direction of their voice.
"""

from __future__ import annotations

import argparse
import random

import numpy as np
import torch
import torch.nn.functional as F

from livekit_xtts.model.mel import resample
from livekit_xtts.model.speaker_encoder import SpeakerEncoder
from training.device import Stopwatch, add_options, pick
from training.model import CONFIG
from training.references import clips
from training.settings import VOICES, WORK

_SCALE, _MARGIN = 12.0, 0.2


def clips_16k(split: str, each: int) -> list[list[torch.Tensor]]:
    """The reference clips at 16 kHz, resampled as cloning does it."""
    return [
        [resample(torch.from_numpy(clip), 22_050, 16_000) for clip in mine]
        for mine in clips(split, each)
    ]


def draw(pool: list[list[torch.Tensor]], rng: random.Random, each: int) -> torch.Tensor:
    """Crops of one random length, `each` of every voice in turn, with a little noise."""
    length = rng.randrange(16_000, 56_000, 4_000)
    rows = []
    for mine in pool:
        for _ in range(each):
            clip = rng.choice(mine)
            while len(clip) < length:
                clip = torch.cat((clip, rng.choice(mine)))
            start = rng.randrange(len(clip) - length + 1)
            noise = torch.randn(length) * 10 ** rng.uniform(-5, -2.7)
            rows.append(clip[start : start + length] * rng.uniform(0.2, 1.0) + noise)
    return torch.stack(rows)


def main() -> None:
    """Trains and reports the accuracy on dev clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4)
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick(options.device)
    torch.manual_seed(8)
    rng = random.Random(8)
    pool, dev = clips_16k("train", 60), clips_16k("dev", 8)
    encoder = SpeakerEncoder(CONFIG).to(device)
    centres = torch.nn.Parameter(torch.randn(len(VOICES), CONFIG.d_vector_dim).to(device))
    optimizer = torch.optim.AdamW([*encoder.parameters(), centres], lr=2e-3, weight_decay=1e-3)
    labels = torch.arange(len(VOICES), device=device).repeat_interleave(3)
    watch, step = Stopwatch(device, options.threads), 0
    while (share := watch.seconds() / (options.minutes * 60)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - share) + 1e-5
        with torch.autocast(device.type, torch.bfloat16):
            embeddings = encoder(draw(pool, rng, 3).to(device))
        cosine = embeddings.float() @ F.normalize(centres, dim=1).T
        cosine = cosine - _MARGIN * F.one_hot(labels, len(VOICES))
        loss = F.cross_entropy(_SCALE * cosine, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 25 == 0:
            print(step, f"{loss.item():.3f}", f"{watch.seconds():.0f} s", flush=True)
    encoder.cpu().eval()
    centres = centres.detach().cpu()
    with torch.no_grad():
        right = [
            int(
                (encoder(clip[None, : 16_000 * 3])[0] @ F.normalize(centres, dim=1).T).argmax() == v
            )
            for v, mine in enumerate(dev)
            for clip in mine
        ]
    print(f"{step} steps, dev accuracy {np.mean(right):.3f}")
    torch.save(encoder.state_dict(), WORK / "speaker.pt")


if __name__ == "__main__":
    main()

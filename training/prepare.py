"""Stage 2, the speech: espeak-ng reads the sentences; pitch, lock, cepstra.

    python -m training.prepare [--count 28000] [--workers 2]

Writes WORK/speech/PART.npz (arrays over all utterances of a part, with offsets) and PART.i16 (the
samples).
A part that exists is not made again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import time

import numpy as np

from training.espeak import Espeak
from training.features import cepstra
from training.pitch import lock, track
from training.settings import CODE_SAMPLES, VOICES, WORK

_PART = 1000
# The silence left after the last sound, and before the first.
_TAIL = 2_000
_HEAD = 600


def voice_middles(espeak: Espeak) -> list[float]:
    """The usual F0 of each voice in Hz, by its own reading of a few sentences."""
    texts = (
        "where are you going with all those old green bottles?",
        "many years ago, we were all away.",
    )
    middles = []
    for voice in VOICES:
        samples = np.concatenate([espeak.speak(text, voice).samples for text in texts])
        f0 = track(samples, 70, 330).f0
        middles.append(float(np.median(f0[f0 > 0])))
    return middles


def trimmed(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Cuts the silence at both ends and fills up to whole codes; also how many samples went in
    front.
    """
    loud = np.flatnonzero(np.abs(samples) > 0.004)
    if len(loud) == 0:
        return np.zeros(0, np.float32), 0
    first = max(0, loud[0] - _HEAD)
    samples = samples[first : loud[-1] + _TAIL]
    samples = np.pad(samples, (0, max(0, loud[-1] - first + _TAIL - len(samples))))
    return np.pad(samples, (0, -len(samples) % CODE_SAMPLES)), int(first)


def _make(job: tuple[str, list[tuple[str, int]]]) -> str:
    part, items = job
    espeak = Espeak()
    middles = voice_middles(espeak)
    kept, all_samples, all_cepstra, all_periods, all_voicing, all_words = [], [], [], [], [], []
    for text, v in items:
        speech = espeak.speak(text, VOICES[v])
        samples, first = trimmed(speech.samples)
        codes = len(samples) // CODE_SAMPLES
        if not 6 <= codes <= 300:
            continue
        pitch = track(samples, middles[v] * 0.6, middles[v] * 1.6)
        moved, periods = lock(samples, pitch, middles[v])
        voiced = pitch.f0[: codes * 4] > 0
        kept.append((text, v, codes))
        all_samples.append((np.clip(moved, -1, 1) * 32767).astype(np.int16))
        all_cepstra.append(cepstra(moved).astype(np.float16))
        all_periods.append(
            np.where(voiced.reshape(codes, 4).mean(1) > 0.3, periods, 0).astype(np.int8)
        )
        all_voicing.append(voiced)
        all_words.append([(c, n, s - first / 22_050) for c, n, s in speech.words])
    folder = WORK / "speech"
    np.concatenate(all_samples).tofile(folder / f"{part}.i16")
    np.savez(
        folder / f"{part}.tmp.npz",
        texts=np.array([k[0] for k in kept]),
        voices=np.array([k[1] for k in kept]),
        codes=np.array([k[2] for k in kept]),
        cepstra=np.concatenate(all_cepstra),
        periods=np.concatenate(all_periods),
        voicing=np.concatenate(all_voicing),
        words=np.array(json.dumps(all_words)),
        middles=np.array(middles),
    )
    (folder / f"{part}.tmp.npz").rename(folder / f"{part}.npz")
    return part


def main() -> None:
    """Makes all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=28_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    (WORK / "speech").mkdir(parents=True, exist_ok=True)
    splits = json.loads((WORK / "sentences.json").read_text())
    rng = random.Random(2)
    jobs = []
    train = [(text, rng.randrange(len(VOICES))) for text, _ in splits["train"][: options.count]]
    dev = [(text, rng.randrange(len(VOICES))) for text, _ in splits["dev"]]
    for name, items in (("dev", dev), ("train", train)):
        for i in range(0, len(items), _PART):
            part = f"{name}{i // _PART:03d}"
            if not (WORK / "speech" / f"{part}.npz").exists():
                jobs.append((part, items[i : i + _PART]))
    start = time.time()
    # A fresh process per part: espeak-ng keeps state, and a part then does not depend on who
    # made the last.
    with multiprocessing.get_context("fork").Pool(options.workers, maxtasksperchild=1) as pool:
        for part in pool.imap_unordered(_make, jobs):
            print(part, f"{time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""Stage 3, codes and vocabulary.

    python -m training.codes

Clusters the cepstra of whole codes (k-means, 1,024 centres) and trains the BPE vocabulary. Writes
WORK/codes.npz (centres, scales), WORK/vocab.json, and per part of speech
WORK/speech/PART.codes.npy.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from scipy.fft import dct
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from training.settings import CEPSTRA, CODE_SAMPLES, CODES, VOCABULARY, WORK

_USED = 14
_TERMS = 3
# The level would otherwise outweigh all other differences; pitch is a hint, so that a path of
# codes keeps its tune.
_LEVEL, _PITCH = 0.35, 9.0


def code_vectors(part: dict[str, np.ndarray], means: np.ndarray) -> np.ndarray:
    """What is clustered: slow DCT terms over a code's four frames of cepstra, less the voice's
    mean, and pitch.
    """
    codes = part["codes"]
    voice = np.repeat(part["voices"], codes)
    frames = part["cepstra"].astype(np.float32).reshape(-1, 4, CEPSTRA)[:, :, :_USED]
    frames = frames - means[voice][:, None]
    frames[:, :, 0] *= _LEVEL
    terms = dct(frames, norm="ortho", axis=1)[:, :_TERMS].reshape(len(frames), -1)
    periods = part["periods"].astype(np.float32)
    relative = periods * (22_050 / CODE_SAMPLES) / part["middles"][voice] - 1
    pitch = np.where(periods > 0, np.clip(relative, -0.5, 0.5), 0.0) * _PITCH * 2
    return np.concatenate([terms, pitch[:, None]], 1).astype(np.float32)


def voice_means(parts: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Mean cepstra of each voice over its voiced frames, (voices, 14)."""
    voices = int(max(p["voices"].max() for p in parts)) + 1
    total, count = np.zeros((voices, _USED)), np.zeros((voices, 1))
    for part in parts:
        voice = np.repeat(part["voices"], part["codes"] * 4)
        for v in range(voices):
            chosen = part["cepstra"][(voice == v) & part["voicing"]][:, :_USED].astype(np.float64)
            total[v] += chosen.sum(0)
            count[v] += len(chosen)
    return (total / count).astype(np.float32)


def kmeans(vectors: torch.Tensor, centres: int, rounds: int, seed: int) -> torch.Tensor:
    """Lloyd's algorithm from random vectors; centres that hold little are set anew beside large
    ones.
    """
    generator = torch.Generator().manual_seed(seed)
    found = vectors[torch.randperm(len(vectors), generator=generator)[:centres]].clone()
    for step in range(rounds):
        label = nearest(vectors, found)
        count = torch.bincount(label, minlength=centres).float()
        sums = torch.zeros_like(found).index_add_(0, label, vectors)
        found = torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], found)
        if step < rounds - 4:
            poor = torch.nonzero(count < len(vectors) / centres * 0.05)[:, 0]
            rich = count.argsort(descending=True)[: len(poor)]
            noise = torch.randn(len(poor), found.shape[1], generator=generator)
            found[poor] = found[rich] + 0.05 * noise * vectors.std(0)
    return found


def nearest(vectors: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Index of the nearest centre of each vector."""
    half = 0.5 * (centres**2).sum(1)
    return torch.cat([(c @ centres.T - half).argmax(1) for c in vectors.split(20_000)])


def train_vocabulary(texts: list[str], path: Path, size: int) -> None:
    """A BPE vocabulary with XTTS's special entries; merges never cross a space."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["[STOP]", "[UNK]", "[SPACE]", "[START]", "[en]"],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz'-,.;:!?"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    path.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


def load_part(path: Path) -> dict[str, np.ndarray]:
    """One file of prepare.py as a dict of arrays."""
    with np.load(path) as data:
        return {key: data[key] for key in data.files}


def main() -> None:
    """Clusters, encodes every part, trains the vocabulary."""
    start = time.time()
    paths = sorted(p for p in (WORK / "speech").glob("*.npz") if ".tmp" not in p.name)
    fitted = WORK / "codes.npz"
    if not fitted.exists():
        parts = [load_part(p) for p in paths if p.name.startswith("train")][:8]
        means = voice_means(parts)
        vectors = torch.from_numpy(np.concatenate([code_vectors(p, means) for p in parts]))
        pick = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(3))[:250_000]
        centres = kmeans(vectors[pick], CODES, 30, seed=4)
        label = nearest(vectors, centres)
        share = torch.bincount(label, minlength=CODES).float() / len(label)
        perplexity = float((-(share * (share + 1e-12).log()).sum()).exp())
        residual = float(
            ((vectors - centres[label]) ** 2).sum() / ((vectors - vectors.mean(0)) ** 2).sum()
        )
        frames = np.concatenate([p["cepstra"] for p in parts]).astype(np.float32)
        np.savez(
            fitted, means=means, centres=centres.numpy(), mean=frames.mean(0), std=frames.std(0)
        )
        print(
            f"perplexity {perplexity:.0f}, residual {residual:.3f}, {time.time() - start:.0f} s",
            flush=True,
        )
    with np.load(fitted) as data:
        means, centres = data["means"], torch.from_numpy(data["centres"])
    if not (WORK / "vocab.json").exists():
        sentences = [t for t, _ in json.loads((WORK / "sentences.json").read_text())["train"]]
        train_vocabulary(sentences, WORK / "vocab.json", VOCABULARY)
    for path in paths:
        target = path.with_suffix(".codes.npy")
        if not target.exists():
            part = load_part(path)
            np.save(target, nearest(torch.from_numpy(code_vectors(part, means)), centres).numpy())
    print(f"{len(paths)} parts encoded, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()

"""Stage 8, the model folder: weights in fp16, configuration, vocabulary, named voices.

    python -m training.export [--folder livekit_xtts/bundled]

Puts the trained parts together, loads the result as any model is loaded, and clones the named
voices with it
from the teacher's readings of dev sentences.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
from pathlib import Path

import numpy as np
import torch

from livekit_xtts.model.checkpoint import load_model, save_model
from livekit_xtts.model.xtts import XttsModel
from livekit_xtts.voicefile import StoredVoice, make_voice, save_voice
from training.data import SpeechSet
from training.model import CONFIG
from training.references import clips
from training.settings import ROOT, VOICES, WORK
from training.train_vocoder import HiddenSource, compose, for_features

_CLIPS = 3  # some 15 s of every voice


def assemble(gpt: Path, vocoder: Path, speaker: Path) -> XttsModel:
    """The whole model of its three trained parts."""
    model = XttsModel(CONFIG)
    model.gpt.load_state_dict(torch.load(gpt, weights_only=True)["gpt"])
    state = torch.load(vocoder, weights_only=True)
    features = for_features()
    features.load_state_dict(state["vocoder"])
    source = HiddenSource(gpt, SpeechSet("train", 2), random.Random(10), torch.device("cpu"))
    composed = compose(features, *source.readout())
    model.vocoder.load_state_dict(composed.state_dict())
    model.speaker_encoder.load_state_dict(torch.load(speaker, weights_only=True))
    return model.eval()


def write_voices(folder: Path) -> None:
    """Clones every voice of the teacher and keeps it under its name in folder/voices."""
    model = load_model(folder)
    for voice, mine in zip(VOICES, clips("dev", _CLIPS, seed=6), strict=True):
        latents, embedding = model.clone([(torch.from_numpy(c), 22_050) for c in mine])
        source = hashlib.sha256(b"".join(c.tobytes() for c in mine)).hexdigest()
        stored = StoredVoice(
            make_voice(voice.name, np.asarray(latents), np.asarray(embedding), model.fingerprint),
            language="en",
            source=source,
            settings=f"espeak-ng {voice.variant}, pitch {voice.pitch}, range {voice.range}",
        )
        save_voice(folder / "voices" / f"{voice.name}.safetensors", stored)


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "livekit_xtts" / "bundled")
    parser.add_argument("--gpt", type=Path, default=WORK / "gpt.pt")
    parser.add_argument("--vocoder", type=Path, default=WORK / "vocoder_hidden.pt")
    parser.add_argument("--speaker", type=Path, default=WORK / "speaker.pt")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "voices").mkdir(exist_ok=True)
    save_model(
        assemble(options.gpt, options.vocoder, options.speaker), options.folder, torch.float16
    )
    (options.folder / "model.safetensors").chmod(0o644)
    shutil.copyfile(WORK / "vocab.json", options.folder / "vocab.json")
    write_voices(options.folder)
    size = sum(p.stat().st_size for p in options.folder.rglob("*") if p.is_file())
    print(f"{options.folder}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()

"""Stages 6 and 7, the vocoder.

    python -m training.train_vocoder teacher [--minutes 40]     # on the true features, beside
    the GPT's training
    python -m training.train_vocoder hidden [--minutes 25]      # on the GPT's hidden states

Stage 6 feeds the features that the GPT's heads predict. Stage 7 starts by composing the heads
with the first
convolution, so that the vocoder takes hidden states from then on, and goes on training on those
of disturbed codes.
Both resume from their files (WORK/vocoder_teacher.pt, WORK/vocoder_hidden.pt).
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livekit_xtts.model.gpt import GPT
from livekit_xtts.model.speaker_encoder import SpeakerEncoder
from livekit_xtts.model.vocoder import HifiGan
from training.adversary import Judges, judges_loss, vocoder_loss
from training.data import CLOCK, FEATURES, SpeechSet, clock, period_gates
from training.device import Stopwatch, add_options, pick
from training.model import CONFIG
from training.oscillator import plant, protect
from training.references import MelPool
from training.settings import CEPSTRA, CODE_SAMPLES, GATES, WORK
from training.train_gpt import collate, hidden_states
from training.train_speaker import clips_16k
from training.vocoder_loss import VocoderLoss

INPUTS = 2 * FEATURES + CLOCK + GATES
_CROP = 84  # frames of 256 samples at 24 kHz
_ROWS = 4
_MARGIN = 8  # frames at a crop's ends which lack context
# How far the GPT's prediction of a code it has not read yet is from the truth, roughly, in units
# of the features.
_BLIND, _SEEN = 0.30, 0.15


class Waves:
    """The moved speech at 24 kHz, resampled when first used."""

    def __init__(self, speech: SpeechSet) -> None:
        self._speech = speech
        self._files: dict[str, np.ndarray] = {}
        self._kept: dict[int, np.ndarray] = {}

    def __call__(self, index: int) -> Tensor:
        """Samples of utterance `index`, float32."""
        if index not in self._kept:
            name, begin = self._speech.sample_files[index]
            if name not in self._files:
                self._files[name] = np.memmap(WORK / "speech" / f"{name}.i16", np.int16, "r")
            length = self._speech.items[index].length
            samples = self._files[name][begin * CODE_SAMPLES : (begin + length) * CODE_SAMPLES]
            self._kept[index] = soxr.resample(np.asarray(samples), 22_050, 24_000)
        return torch.from_numpy(self._kept[index]).float() / 32768


def embeddings(encoder: SpeakerEncoder, split: str = "train", each: int = 12) -> Tensor:
    """Speaker embeddings of clips, (voices, clips, d)."""
    encoder.eval()
    with torch.no_grad():
        return torch.stack(
            [torch.cat([encoder(c[None]) for c in mine]) for mine in clips_16k(split, each)]
        )


def true_features(speech: SpeechSet, index: int, disturbed: bool = True) -> Tensor:
    """What is linear in the hidden states, or would be if they were perfect: (n, INPUTS).

    Args:
        speech: The set.
        index: Of the utterance.
        disturbed: With noise like the error of the GPT's prediction.
    """
    item = speech.items[index]
    current = speech.features[item.start : item.start + item.length].float()
    previous = torch.cat((current[:1] * 0, current[:-1]))
    ticks, gates = clock(torch.arange(len(current))), period_gates(current)
    if disturbed:
        frames = 4 * CEPSTRA
        blind, seen = torch.ones(FEATURES) * _BLIND, torch.ones(FEATURES) * _SEEN
        blind[frames:], seen[frames:] = 0.12, 0.06
        current = current + torch.randn_like(current) * blind
        previous = previous + torch.randn_like(previous) * seen
        ticks = ticks + torch.randn_like(ticks) * 0.006
        gates = gates + torch.randn_like(gates) * 0.05
    return torch.cat((current, previous, ticks, gates), 1)


def seen_features(
    speech: SpeechSet, index: int, hidden: Tensor, readout: dict[str, Tensor]
) -> Tensor:
    """The features that the hidden states give, but for clock and periods, which are the true ones.

    A period more or less than the teacher's is as good a reading; compared with the teacher's
    waveform it would only teach the vocoder to blur.
    """
    result = hidden @ readout["weight"].T + readout["bias"]
    true = true_features(speech, index)
    result[:, 2 * FEATURES :] = true[:, 2 * FEATURES :]
    return result


def for_features() -> HifiGan:
    """A vocoder whose first convolution takes features instead of hidden states."""
    vocoder = HifiGan(CONFIG)
    channels = CONFIG.decoder_upsample_initial_channel
    vocoder.conv_pre = nn.Conv1d(INPUTS, channels, 7, padding=3)
    return vocoder


def compose(vocoder: HifiGan, weight: Tensor, bias: Tensor) -> HifiGan:
    """The vocoder with a linear map in front of its first convolution: it takes hidden states."""
    result = HifiGan(CONFIG)
    state = vocoder.state_dict()
    first = state["conv_pre.weight"]
    state["conv_pre.weight"] = torch.einsum("ofk,fh->ohk", first, weight)
    state["conv_pre.bias"] = state["conv_pre.bias"] + first.sum(2) @ bias
    result.load_state_dict(state)
    return result


def generate(vocoder: HifiGan, x: Tensor, speaker: Tensor) -> Tensor:
    """HifiGan.forward, its first stage (where phases are computed) in full precision."""
    blocks = len(CONFIG.decoder_resblock_kernel_sizes)
    embedding = speaker[:, :, None]
    x = vocoder.conv_pre(x) + vocoder.cond_layer(embedding)
    for stage, (up, cond) in enumerate(zip(vocoder.ups, vocoder.conds, strict=True)):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=stage > 0):
            x = up(F.leaky_relu(x, 0.1)) + cond(embedding)
            parts = vocoder.resblocks[stage * blocks : (stage + 1) * blocks]
            x = sum((part(x) for part in parts[1:]), parts[0](x)) / blocks
    return torch.tanh(vocoder.conv_post(F.leaky_relu(x.float(), 0.01)))[:, 0]


def crop_batch(
    vocoder: HifiGan, inputs: list[Tensor], waves: list[Tensor], rng: random.Random, edge: str
) -> tuple[Tensor, Tensor]:
    """Random crops of interpolated inputs and of the speech they belong to."""
    xs, ys = [], []
    for rows, wave in zip(inputs, waves, strict=True):
        x = vocoder.features(rows)
        frames = min(x.shape[1], len(wave) // 256)
        if frames < _CROP:
            # Short ones are filled up in front with what they begin with: silence.
            x = F.pad(x[:, :frames], (_CROP - frames, 0), mode="replicate")
            wave = F.pad(wave[: frames * 256], ((_CROP - frames) * 256, 0))
            frames = _CROP
        # At its own ends an utterance has no context, neither here nor when it is spoken.
        last = frames - _CROP
        start = {"start": 0, "end": last}.get(edge, rng.randrange(last + 1))
        xs.append(x[:, start : start + _CROP])
        ys.append(wave[start * 256 : (start + _CROP) * 256])
    return torch.stack(xs), torch.stack(ys)


class HiddenSource:
    """Hidden states of whole batches of utterances, computed as needed, from true and from
    disturbed codes.
    """

    def __init__(
        self, path: Path, speech: SpeechSet, rng: random.Random, device: torch.device
    ) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.gpt = GPT(CONFIG).to(device)
        self._device = device
        # As it will ship: what rounding shifts, the readout takes into account.
        self.gpt.load_state_dict({k: v.half().float() for k, v in state["gpt"].items()})
        self._gates = state["heads"]["gates.weight"], state["heads"]["gates.bias"]
        self._speech, self._rng, self._pool = speech, rng, MelPool(each=30)
        self._batches = speech.batches(4000, seed=rng.randrange(1000))
        self._ready: list[tuple[int, Tensor]] = []

    def readout(self, batches: int = 24) -> tuple[Tensor, Tensor]:
        """The best linear map from hidden states to the true features, by least squares.

        But the count of periods is read as the GPT was trained to decide it: a mean of counts is
        none.
        """
        width = CONFIG.gpt_n_model_channels + 1
        gram = torch.zeros(width, width, dtype=torch.float64)
        cross = torch.zeros(width, INPUTS, dtype=torch.float64)
        for _ in range(batches * 25):
            ((index, hidden),) = self.draw(1)
            x = torch.cat((hidden, torch.ones(len(hidden), 1)), 1).double()
            gram += x.T @ x
            cross += x.T @ true_features(self._speech, index, disturbed=False).double()
        found = torch.linalg.solve(gram + 1e-2 * torch.eye(width, dtype=torch.float64), cross)
        weight, bias = found[:-1].T.float().contiguous(), found[-1].float()
        weight[-GATES:], bias[-GATES:] = self._gates
        return weight, bias

    @torch.no_grad()
    def draw(self, count: int) -> list[tuple[int, Tensor]]:
        """Indices and hidden states (n, width) of `count` utterances."""
        while len(self._ready) < count + 40:
            indices = next(self._batches)
            batch = collate(self._speech, indices, self._rng if self._rng.random() < 0.5 else None)
            batch = batch.to(self._device)
            with torch.autocast(self._device.type, torch.bfloat16):
                latents = self.gpt.conditioning(self._pool.draw(self._rng).to(self._device))
                hidden = hidden_states(self.gpt, batch, latents, None).float().cpu()
            self._ready += [
                (i, row[: self._speech.items[i].length].clone())
                for i, row in zip(indices, hidden, strict=True)
            ]
            self._rng.shuffle(self._ready)
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken


class Opponents:
    """The judges and their own training."""

    def __init__(self, device: torch.device, rate: float = 4e-4) -> None:
        self._judges = Judges().to(device)
        self._optimizer = torch.optim.AdamW(self._judges.parameters(), lr=rate, betas=(0.8, 0.98))

    def judge(self, made: Tensor, true: Tensor, step: int) -> dict[str, Tensor]:
        """Trains the judges in every second step, and returns the vocoder's parts of the loss."""
        result = {}
        with torch.autocast(made.device.type, torch.bfloat16):
            if step % 2 == 0:
                lost = judges_loss(self._judges, made, true)
                self._optimizer.zero_grad(set_to_none=True)
                lost.backward()
                self._optimizer.step()
                result["judges"] = 2 * lost.detach()
            told, away = vocoder_loss(self._judges, made, true)
        # Judges that know nothing yet say nothing.
        share = min(1.0, step / 100)
        return result | {"told": 0.5 * share * told, "away": share * away}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"judges": self._judges.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self._judges.load_state_dict(state["judges"])
        self._optimizer.load_state_dict(state["optimizer"])


def main() -> None:
    """Trains one of the two stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("teacher", "hidden"))
    parser.add_argument("--minutes", type=float, default=40)
    add_options(parser)
    parser.add_argument("--parts", type=int, default=6)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--gpt", type=Path, default=WORK / "gpt.pt")
    parser.add_argument("--start", type=Path, default=WORK / "vocoder_teacher.pt")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--judges", action="store_true", help="add small adversaries to the loss")
    options = parser.parse_args()
    out = options.out or WORK / f"vocoder_{options.stage}.pt"
    torch.set_num_threads(options.threads)
    device = pick(options.device)
    torch.manual_seed(9)
    rng = random.Random(9)
    encoder = SpeakerEncoder(CONFIG)
    encoder.load_state_dict(torch.load(WORK / "speaker.pt", weights_only=True))
    speakers = embeddings(encoder)
    speech = SpeechSet("train", options.parts)
    waves = Waves(speech)
    # A vocoder for the features differs from the one that ships in its first convolution alone.
    vocoder = for_features()
    source = None
    readout = {}
    if options.stage == "teacher":
        plant(vocoder)
    else:
        source = HiddenSource(options.gpt, speech, rng, device)
    step, used = 0, 0.0
    if out.exists():
        state = torch.load(out, map_location="cpu", weights_only=True)
        vocoder.load_state_dict(state["vocoder"])
        step, used = state["step"], state["used"]
        readout = {key: state[key] for key in ("weight", "bias") if key in state}
    elif source is not None:
        vocoder.load_state_dict(
            torch.load(options.start, map_location="cpu", weights_only=True)["vocoder"]
        )
        weight, bias = source.readout()
        readout = {"weight": weight, "bias": bias}
        print("readout found", flush=True)
    vocoder.to(device)
    optimizer = torch.optim.AdamW(
        vocoder.parameters(), lr=options.rate, betas=(0.8, 0.98), weight_decay=0.0
    )
    opponents = Opponents(device) if options.judges else None
    if out.exists():
        optimizer.load_state_dict(state["optimizer"])
        if opponents is not None and "opponents" in state:
            opponents.load_state_dict(state["opponents"])
    measure = VocoderLoss(device)
    watch = Stopwatch(device, options.threads, used)
    sums: dict[str, float] = {}
    count, logged, saved = 0, watch.seconds(), watch.seconds()
    while (used := watch.seconds()) < options.minutes * 60:
        share = used / (options.minutes * 60)
        rate = options.rate * min(1, (count + 1) / 100) * (1 - share * 0.97)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if source is None:
            chosen = [rng.randrange(len(speech.items)) for _ in range(_ROWS)]
            inputs = [true_features(speech, i) for i in chosen]
        else:
            drawn = source.draw(_ROWS)
            chosen = [i for i, _ in drawn]
            inputs = [seen_features(speech, i, h, readout) for i, h in drawn]
        edge = rng.choice(("", "", "start", "end"))
        x, y = crop_batch(vocoder, inputs, [waves(i) for i in chosen], rng, edge)
        speaker = torch.stack(
            [speakers[speech.items[i].voice, rng.randrange(speakers.shape[1])] for i in chosen]
        )
        x, y, speaker = x.to(device), y.to(device), speaker.to(device)
        made = generate(vocoder, x, speaker)
        first, last = (edge != "start") * _MARGIN, _CROP - (edge != "end") * _MARGIN
        middle = slice(first * 256, last * 256)
        parts = measure(made.float()[:, middle], y[:, middle])
        if opponents is not None:
            parts |= opponents.judge(made.float()[:, middle], y[:, middle], step)
        loss = sum(parts.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        protect(vocoder)
        nn.utils.clip_grad_norm_(vocoder.parameters(), 5.0)
        optimizer.step()
        step += 1
        count += 1
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if step % 50 == 0:
            shown = " ".join(f"{k} {v / 50:.3f}" for k, v in sums.items())
            each = (watch.seconds() - logged) / 50
            print(f"{step} {used / 60:.1f} min {each:.2f} s/step {shown}", flush=True)
            sums, logged = {}, watch.seconds()
        if used - saved > 120 or used + 3 > options.minutes * 60:
            saved = used
            state = {
                "vocoder": vocoder.state_dict(),
                **readout,
                "optimizer": optimizer.state_dict(),
                "config": dataclasses.asdict(CONFIG)["decoder_upsample_initial_channel"],
                "step": step,
                "used": watch.seconds(),
            }
            if opponents is not None:
                state["opponents"] = opponents.state_dict()
            torch.save(state, out.with_suffix(".tmp"))
            out.with_suffix(".tmp").rename(out)


if __name__ == "__main__":
    main()

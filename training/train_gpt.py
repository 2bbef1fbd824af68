"""Stage 4, the GPT with its conditioning encoder and perceiver.

    python -m training.train_gpt [--minutes 60] [--threads 1]

Resumes from WORK/gpt.pt when it exists. The learning rate follows the share of the minutes that
is used up, so the
same command gives a finished model on a slow and on a fast machine.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livekit_xtts.model.gpt import GPT
from training.data import FEATURES, PERIOD_CLASSES, SpeechSet, clock, period_gates
from training.device import Stopwatch, add_options, pick
from training.model import CONFIG, Heads, initialise, pad_to, trunk
from training.muon import Muon
from training.references import MelPool
from training.settings import CEPSTRA, CODES, GATES, WORK
from training.steady import hold, steady

_STOP_PERIOD = 0.25  # share of texts that lose their final full stop: callers often send none
_REPLACED = 0.12
_GUIDED_LAYERS = (2, 3)
_GUIDE_WIDTH = 3.0


@dataclass
class Batch:
    """Padded tensors of one step; shapes (b, text), (b, codes + 1) and so on."""

    text: Tensor
    text_mask: Tensor
    inputs: Tensor
    targets: Tensor
    current: Tensor
    previous: Tensor
    gates: Tensor
    valid: Tensor
    position: Tensor
    voices: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def collate(speech: SpeechSet, indices: list[int], rng: random.Random | None) -> Batch:
    """Pads utterances; with rng, inputs are disturbed as in training."""
    items = [speech.items[i] for i in indices]
    rows = []
    for item in items:
        ids = item.ids
        if rng and rng.random() < _STOP_PERIOD and item.text[-1] == ".":
            ids = ids[:-1]
        rows.append([CONFIG.gpt_start_text_token, *ids, CONFIG.gpt_stop_text_token])
    text_length = pad_to(max(map(len, rows)), 8)
    audio_length = pad_to(max(item.length for item in items) + 1, 16)
    b = len(items)
    text = torch.zeros(b, text_length, dtype=torch.long)
    text_mask = torch.zeros(b, text_length, dtype=torch.bool)
    inputs = torch.full((b, audio_length), CONFIG.gpt_stop_audio_token)
    targets = torch.full((b, audio_length), -100)
    current = torch.zeros(b, audio_length, FEATURES)
    previous = torch.zeros(b, audio_length, FEATURES)
    gates = torch.zeros(b, audio_length, GATES)
    valid = torch.zeros(b, audio_length, dtype=torch.bool)
    position = torch.zeros(b, audio_length)
    for row, item in enumerate(items):
        n = item.length
        text[row, : len(rows[row])] = torch.tensor(rows[row])
        text_mask[row, : len(rows[row])] = True
        codes = speech.codes[item.start : item.start + n]
        features = speech.features[item.start : item.start + n].float()
        inputs[row, 0] = CONFIG.gpt_start_audio_token
        inputs[row, 1 : n + 1] = codes
        targets[row, :n] = codes
        targets[row, n] = CONFIG.gpt_stop_audio_token
        current[row, :n] = features
        previous[row, 1 : n + 1] = features
        gates[row, :n] = period_gates(features)
        valid[row, :n] = True
        position[row, :n] = torch.from_numpy(item.position)
    if rng:
        noise = torch.rand(inputs.shape) < _REPLACED
        noise[:, 0] = False
        inputs = torch.where(noise & (inputs < CODES), torch.randint(CODES, inputs.shape), inputs)
    voices = torch.tensor([item.voice for item in items])
    return Batch(
        text, text_mask, inputs, targets, current, previous, gates, valid, position, voices
    )


def attention_bias(text_mask: Tensor, audio: int) -> Tensor:
    """Additive causal mask of [32 latents | text, padded | audio], (b, 1, time, time)."""
    b, text = text_mask.shape
    latents = CONFIG.perceiver_latents
    time_ = latents + text + audio
    device = text_mask.device
    keys = torch.ones(b, time_, dtype=torch.bool, device=device)
    keys[:, latents : latents + text] = text_mask
    allowed = torch.ones(time_, time_, dtype=torch.bool, device=device).tril() & keys[:, None]
    return torch.zeros(b, 1, time_, time_, device=device).masked_fill_(~allowed[:, None], -1e4)


def embed(gpt: GPT, batch: Batch, latents: Tensor) -> Tensor:
    """Embeddings of the whole sequence."""
    text = gpt.text_embedding(batch.text)
    text = text + gpt.text_pos_embedding.emb.weight[: batch.text.shape[1]]
    audio = gpt.code_embeddings(batch.inputs)
    return torch.cat((latents[batch.voices], text, audio), 1)


def hidden_states(
    gpt: GPT, batch: Batch, latents: Tensor, attention: list[Tensor] | None
) -> Tensor:
    """Hidden states of the audio positions."""
    bias = attention_bias(batch.text_mask, batch.inputs.shape[1])
    hidden = trunk(gpt, embed(gpt, batch, latents), bias, attention=attention)
    return hidden[:, -batch.inputs.shape[1] :]


@torch.no_grad()
def before_norms(gpt: GPT, batch: Batch, pool: MelPool) -> Tensor:
    """What comes to the last two norms at the audio positions of a batch, (n, width)."""
    device = gpt.final_norm.weight.device
    kept: list[Tensor] = []
    hook = gpt.gpt.ln_f.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    batch = batch.to(device)
    latents = gpt.conditioning(pool.draw(random.Random(0)).to(device))
    hidden = hidden_states(gpt, batch, latents, None)
    hook.remove()
    return kept[0][:, -hidden.shape[1] :][batch.valid]


_FEATURE_WEIGHT = torch.cat(
    [
        (1 / (1 + torch.arange(CEPSTRA) / 10)).repeat(4),
        torch.ones(4) * 2,
        torch.ones(PERIOD_CLASSES) * 3,
    ]
)


def losses(gpt: GPT, heads: Heads, batch: Batch, latents: Tensor) -> dict[str, Tensor]:
    """All parts of the training loss."""
    attention: list[Tensor] = []
    hidden = hidden_states(gpt, batch, latents, attention)
    logits = gpt.code_logits(hidden).float()
    code = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=-100)
    features = _FEATURE_WEIGHT.to(hidden.device)
    weight = features * batch.valid[..., None]
    scale = 1 / (batch.valid.sum() * FEATURES)
    current = (((heads.current(hidden).float() - batch.current) ** 2) * weight).sum() * scale
    shifted = torch.zeros_like(batch.valid)
    shifted[:, 1:] = batch.valid[:, :-1]
    weight = features * shifted[..., None]
    previous = (((heads.previous(hidden).float() - batch.previous) ** 2) * weight).sum() * scale
    steps = torch.arange(hidden.shape[1], device=hidden.device)
    ticks = clock(steps).expand(len(hidden), -1, -1)
    # The median of what may be is a decision, where a mean would be none; the well takes it there.
    gates = heads.gates(hidden).float()
    sure = 0.3 + 0.7 * (batch.current[..., -PERIOD_CLASSES] < 0.5)
    wrong = (gates - batch.gates).abs() + 0.5 * (gates.square() - 1).square().clamp(max=4.0)
    gate = (wrong.mean(-1) * sure)[batch.valid].mean()
    tick = ((heads.clock(hidden).float() - ticks) ** 2)[batch.valid].mean()
    latents_count, text_length = CONFIG.perceiver_latents, batch.text.shape[1]
    offset = torch.arange(text_length, device=hidden.device) - batch.position[..., None]
    far = 1 - torch.exp(-(offset**2) / (2 * _GUIDE_WIDTH**2))
    # Mass outside the text counts as far too.
    guide = hidden.new_zeros(())
    for layer in _GUIDED_LAYERS:
        mass = attention[layer][
            :, 0, -hidden.shape[1] :, latents_count : latents_count + text_length
        ]
        near = (mass.float() * (1 - far)).sum(-1)
        guide = guide + (1 - near)[batch.valid].mean()
    return {
        "code": code,
        "current": current,
        "previous": previous,
        "clock": tick,
        "gates": gate,
        "guide": guide,
    }


WEIGHTS = {
    "code": 1.0,
    "current": 1.0,
    "previous": 0.7,
    "clock": 500.0,
    "gates": 0.7,
    "guide": 0.15,
}


@torch.no_grad()
def free_run(gpt: GPT, batch: Batch, latents: Tensor, most: int) -> list[list[int]]:
    """Greedy codes of each row, up to the stop code or most."""
    start = torch.full_like(batch.text[:, :1], CONFIG.gpt_start_audio_token)
    prompt = Batch(**{**batch.__dict__, "inputs": start})
    cache: list[tuple[Tensor, Tensor]] = []
    bias = attention_bias(batch.text_mask, 1)
    hidden = trunk(gpt, embed(gpt, prompt, latents), bias, cache)[:, -1:]
    keys = bias[:, :, -1:]
    rows: list[list[int]] = [[] for _ in start]
    done = [False] * len(rows)
    for step in range(1, most):
        codes = gpt.code_logits(hidden)[:, -1].argmax(-1)
        for row, code in enumerate(codes.tolist()):
            if code >= CODES:
                done[row] = True
            elif not done[row]:
                rows[row].append(code)
        if all(done):
            break
        keys = F.pad(keys, (0, 1))
        hidden = trunk(gpt, gpt.code_embeddings(codes[:, None], step), keys, cache)
    return rows


@torch.no_grad()
def evaluate(gpt: GPT, heads: Heads, dev: SpeechSet, pool: MelPool) -> dict[str, float]:
    """Losses on dev batches, and how greedy free runs compare in length."""
    gpt.eval()
    device = gpt.final_norm.weight.device
    latents = gpt.conditioning(pool.draw(random.Random(0)).to(device))
    chosen = [i for i, u in enumerate(dev.items) if 20 <= u.length <= 120][:128]
    total: dict[str, float] = {}
    for k in range(0, 128, 32):
        for name, value in losses(
            gpt, heads, collate(dev, chosen[k : k + 32], None).to(device), latents
        ).items():
            total[name] = total.get(name, 0.0) + float(value) / 4
    batch = collate(dev, chosen[:32], None).to(device)
    rows = free_run(gpt, batch, latents, 200)
    ratios = np.array([len(r) / dev.items[i].length for r, i in zip(rows, chosen, strict=False)])
    total["within20"] = float((abs(ratios - 1) < 0.2).mean())
    total["ratio"] = float(np.median(ratios))
    gpt.train()
    return total


def main() -> None:
    """Trains until the minutes are over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    add_options(parser)
    parser.add_argument("--tokens", type=int, default=3400)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--parts", type=int, default=None)
    parser.add_argument("--out", type=Path, default=WORK / "gpt.pt")
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--steady", action="store_true", help="make the clock exact (steady.py)")
    parser.add_argument("--last", type=int, help="train this many last layers alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick(options.device)
    torch.manual_seed(7)
    rng = random.Random(7)
    speech, dev = SpeechSet("train", options.parts), SpeechSet("dev", 1)
    pool = MelPool()
    print(
        f"{len(speech.items)} utterances, {len(speech.codes) * 1024 / 22050 / 3600:.1f} h",
        flush=True,
    )
    gpt, heads = GPT(CONFIG), Heads(CONFIG.gpt_n_model_channels)
    initialise(gpt)
    gpt.to(device)
    heads.to(device)
    print(f"{sum(p.numel() for p in gpt.parameters()) / 1e6:.2f} M parameters", flush=True)
    trained = nn.ModuleList([gpt])
    if options.last is not None:
        gpt.requires_grad_(False)
        layers = gpt.gpt.h[CONFIG.gpt_layers - options.last :]
        trained = nn.ModuleList([*layers, gpt.gpt.ln_f, gpt.final_norm, gpt.mel_head])
        trained.requires_grad_(True)
    parameters = [*trained.parameters(), *heads.parameters()]
    matrices = [p for p in gpt.gpt.parameters() if p.dim() == 2 and p.requires_grad]
    chosen = {id(p) for p in matrices}
    others = [p for p in parameters if id(p) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, options.rate),
        torch.optim.AdamW(others, lr=options.rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    step, used = 0, 0.0
    if options.out.exists():
        state = torch.load(options.out, map_location=device, weights_only=True)
        gpt.load_state_dict(state["gpt"])
        heads.load_state_dict(state["heads"])
        for optimizer, saved_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        step, used = state["step"], state["used"]
    elif options.start:
        state = torch.load(options.start, map_location=device, weights_only=True)
        gpt.load_state_dict(state["gpt"])
        heads.load_state_dict(state["heads"], strict=False)
        if options.steady and not state.get("steady"):
            hold(gpt)
            steady(
                gpt, before_norms(gpt, collate(speech, next(speech.batches(6000, 1)), rng), pool)
            )
    batches = speech.batches(options.tokens, seed=11 + step)
    watch = Stopwatch(device, options.threads, used)
    logged = saved = watch.seconds()
    sums: dict[str, float] = {}
    count = 0
    while (used := watch.seconds()) < options.minutes * 60:
        share = used / (options.minutes * 60)
        rate = (
            options.rate
            * min(1, (step + 1) / 200)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        )
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        batch = collate(speech, next(batches), rng).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            latents = gpt.conditioning(pool.draw(rng).to(device))
            parts = losses(gpt, heads, batch, latents)
        loss = sum(WEIGHTS[name] * value for name, value in parts.items())
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if not torch.isfinite(norm):
            texts, lengths = batch.text.shape, batch.inputs.shape
            print(f"step {step}: gradient not finite, skipped {texts} {lengths}", flush=True)
            step += 1
            continue
        for optimizer in optimizers:
            optimizer.step()
        if options.steady:
            hold(gpt)
        step += 1
        count += 1
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if step % 100 == 0:
            shown = " ".join(f"{k} {v / count:.3f}" for k, v in sums.items())
            each = (watch.seconds() - logged) / count
            print(f"{step} {used / 60:.1f} min {each:.2f} s/step lr {rate:.1e} {shown}", flush=True)
            sums, count, logged = {}, 0, watch.seconds()
        if used - saved > 240 or used + 5 > options.minutes * 60:
            saved = used
            with torch.autocast(device.type, torch.bfloat16):
                report = evaluate(gpt, heads, dev, pool)
            print("dev", json.dumps({k: round(v, 3) for k, v in report.items()}), flush=True)
            logged = watch.seconds()
            state = {
                "gpt": gpt.state_dict(),
                "heads": heads.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "step": step,
                "used": watch.seconds(),
                "steady": options.steady,
            }
            if math.isnan(report["code"]):
                raise SystemExit("the loss is not a number; the last checkpoint is kept")
            torch.save(state, options.out.with_suffix(".tmp"))
            options.out.with_suffix(".tmp").rename(options.out)


if __name__ == "__main__":
    main()

"""Parts of the recipe that other parts rely on: planted weights, the steady clock, judges."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from livekit_xtts.model.gpt import GPT
from training.adversary import Judges, judges_loss, vocoder_loss
from training.data import CLOCK, FEATURES, PERIOD_CLASSES, clock, period_gates
from training.device import Stopwatch, add_options, pick
from training.model import CONFIG, initialise
from training.oscillator import FIRST, NOISE, WAVE, plant, protect
from training.settings import GATES, MIN_PERIODS
from training.steady import hold, steady
from training.train_vocoder import INPUTS, for_features
from training.vocoder_loss import VocoderLoss

_CODE = 1024 / 22_050  # s


def stages(features: Tensor) -> tuple[Tensor, Tensor]:
    """What the planted first two stages make of features (codes, INPUTS): 750 Hz and 6 kHz."""
    torch.manual_seed(0)
    vocoder = for_features()
    plant(vocoder)
    speaker = torch.zeros(1, CONFIG.d_vector_dim, 1)
    found = []
    with torch.inference_mode():
        x = vocoder.conv_pre(vocoder.features(features)[None]) + vocoder.cond_layer(speaker)
        for stage in range(2):
            x = vocoder.ups[stage](F.leaky_relu(x, 0.1)) + vocoder.conds[stage](speaker)
            x = (vocoder.resblocks[2 * stage](x) + vocoder.resblocks[2 * stage + 1](x)) / 2
            found.append(x[0])
    return found[0], found[1]


def steady_voice(periods: int, codes: int = 40) -> Tensor:
    features = torch.zeros(codes, INPUTS)
    features[:, 2 * FEATURES : 2 * FEATURES + CLOCK] = clock(torch.arange(codes))
    features[:, -GATES:] = torch.where(torch.arange(1, GATES + 1) + MIN_PERIODS <= periods, 1.0, -1)
    return features


@pytest.mark.parametrize("periods", [4, 7, 10, 14])
def test_the_planted_wave_has_the_periods_of_a_code_and_peaks_at_its_edges(periods: int) -> None:
    wave = stages(steady_voice(periods))[1][WAVE].numpy()
    # Away from the ends, a whole number of codes.
    first, count = 6, 20
    start, stop = (round(6000 * _CODE * (first + k)) for k in (0, count))
    piece = wave[start:stop] - wave[start:stop].mean()
    peaks = np.abs(np.fft.rfft(piece * np.hanning(len(piece))))
    assert abs(int(peaks.argmax()) - periods * count) <= 1
    edges = [round(6000 * _CODE * (first + k)) for k in range(count)]
    # A peak may lie between samples at 6 kHz, and a corner between those at 750 Hz.
    assert np.mean([wave[e - 2 : e + 3].max() for e in edges]) > 0.5


def test_a_clock_of_another_height_moves_no_peak_away_from_the_edges() -> None:
    features = steady_voice(8)
    right = stages(features)[1][WAVE]
    features[:, 2 * FEATURES : 2 * FEATURES + CLOCK] *= 0.97
    low = stages(features)[1][WAVE]
    assert float((right - low).abs().mean()) < 0.25 * float(right.abs().mean())


def test_what_rustles_is_alike_at_no_lag_of_a_voice() -> None:
    noise = stages(steady_voice(8))[0][NOISE : NOISE + 8].numpy()[:, 60:]
    noise = noise - noise.mean(1, keepdims=True)
    power = (noise * noise).mean()
    # Lags of 65 to 375 Hz, among them the frames' 94 Hz.
    alike = [abs((noise[:, :-k] * noise[:, k:]).mean()) / power for k in range(2, 12)]
    assert max(alike) < 0.35
    assert noise.std(1).min() > 0.2


def test_training_leaves_the_planted_weights_alone() -> None:
    torch.manual_seed(0)
    vocoder = for_features()
    plant(vocoder)
    before = {k: v.clone() for k, v in vocoder.state_dict().items()}
    made = vocoder(vocoder.features(steady_voice(6))[None], torch.zeros(1, CONFIG.d_vector_dim))
    made.square().mean().backward()
    protect(vocoder)
    torch.optim.AdamW(vocoder.parameters(), lr=1e-2, weight_decay=0.0).step()
    after = vocoder.state_dict()
    assert torch.equal(after["ups.0.weight"][:, :FIRST], before["ups.0.weight"][:, :FIRST])
    assert not torch.equal(after["ups.0.weight"], before["ups.0.weight"])
    for name in ("resblocks.0.convs1.1", "resblocks.2.convs1.0"):
        assert torch.equal(after[f"{name}.weight"][:2], before[f"{name}.weight"][:2])


def test_gates_say_how_many_periods_at_least_also_between_voiced_codes() -> None:
    features = torch.zeros(5, FEATURES)
    kinds = [0, 3, 0, 5, 0]  # unvoiced, 6 periods, unvoiced, 8, unvoiced
    features[torch.arange(5), FEATURES - PERIOD_CLASSES + torch.tensor(kinds)] = 1.0
    counts = MIN_PERIODS + (period_gates(features) > 0).sum(1)
    assert counts.tolist() == [6, 6, 7, 8, 8]
    silent = torch.zeros(2, FEATURES)
    silent[:, -PERIOD_CLASSES] = 1.0
    assert (period_gates(silent) == -1).all()


def test_the_clock_is_exact_in_what_a_held_and_steadied_gpt_shows() -> None:
    torch.manual_seed(0)
    gpt = GPT(CONFIG)
    initialise(gpt)
    for layer in gpt.gpt.h:  # far from quiet, as trained ones are
        layer.mlp.c_proj.weight.data *= 20
    codes = torch.randint(1000, (20, 60))
    target = torch.cat([clock(torch.arange(60))] * 20)

    def error() -> tuple[float, Tensor]:
        kept: list[Tensor] = []
        hook = gpt.gpt.ln_f.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        with torch.inference_mode():
            hidden = gpt(gpt.code_embeddings(codes)).flatten(0, 1)
        hook.remove()
        x = torch.cat((hidden, torch.ones(len(hidden), 1)), 1).double()
        found = torch.linalg.lstsq(x[:900], target[:900].double()).solution
        missed = float((x[900:] @ found - target[900:]).square().mean().sqrt())
        return missed, kept[0].flatten(0, 1).clone()

    before, _ = error()
    hold(gpt)
    steady(gpt, error()[1])
    after, _ = error()
    assert after < 0.05
    assert after < 0.3 * before


def test_judges_learn_and_teach() -> None:
    torch.manual_seed(0)
    judges = Judges()
    optimizer = torch.optim.AdamW(judges.parameters(), lr=2e-3)
    true = torch.sin(torch.arange(2 * 6144) * 0.05).view(2, -1) * 0.3
    made = (torch.randn(2, 6144) * 0.3).requires_grad_()
    lost = []
    for _ in range(8):
        loss = judges_loss(judges, made, true)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lost.append(loss.item())
    assert made.grad is None, "the vocoder is not moved by its judges' training"
    assert lost[-1] < 0.7 * lost[0]
    told, away = vocoder_loss(judges, made, true)
    (told + away).backward()
    assert made.grad is not None and float(made.grad.abs().sum()) > 0
    assert vocoder_loss(judges, true, true)[1].item() < 1e-6


def test_the_loss_hears_buzz_and_missing_voice() -> None:
    loss = VocoderLoss()
    time = torch.arange(24_000) / 24_000
    voice = sum(torch.sin(2 * torch.pi * 150 * k * time) / k for k in range(1, 12))[None] * 0.1
    torch.manual_seed(0)
    hiss = torch.randn(1, 24_000) * 0.1
    assert loss(voice, voice)["voicing"] < 1e-3
    assert loss(voice, hiss)["voicing"] > 10 * loss(hiss, hiss)["voicing"] + 1
    assert loss(hiss, voice)["voicing"] > 1


def test_device_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert parser.parse_args([]).device is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick(None).type == "cuda"
    assert pick(parser.parse_args(["--device", "cpu"]).device).type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick(None).type == "cpu"
    watch = Stopwatch(torch.device("cpu"), threads=2, used=30.0)
    assert 30.0 <= watch.seconds() < 31.0

"""The packed vocoder: convolutions that know where signals end, windows of any lengths together."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmarks import roundings
from livekit_xtts.engine.offload import tensors_of
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.device import vocoder as device_vocoder
from livekit_xtts.model.device.convolve import Convolution, sound
from livekit_xtts.model.device.packing import SPARE, Tables, window_levels
from livekit_xtts.model.device.vocoder import DeviceVocoder
from livekit_xtts.model.streaming import decode_windows, stream_plan
from tests.device.conftest import DEVICE

LENGTHS = (5, 1, 9)
CLOSE = 3e-6
"""Float32 sums of some hundred products, of values of about 1."""


def bounds(room: int = 20):
    """Three signals one after another, and room behind them."""
    tables = Tables(XttsConfig.small(), room, DEVICE)
    firsts, ends, owners = tables.bounds.firsts, tables.bounds.ends, tables.bounds.owners
    at = 0
    for index, length in enumerate(LENGTHS):
        span = slice(at, at + length)
        firsts[span], ends[span], owners[span] = at, at + length, index
        at += length
    tables.bounds.total.fill_(at)
    return tables.bounds


def signals(x: torch.Tensor, rate: int) -> list[torch.Tensor]:
    """The signals of a packed matrix, each (1, channels, time)."""
    parts = x[: rate * sum(LENGTHS)].split([rate * length for length in LENGTHS])
    return [part.T[None] for part in parts]


def packed(rate: int, channels: int, seed: int) -> torch.Tensor:
    """Numbers for all frames that there is room for; those behind the signals must not matter."""
    x = torch.randn(20 * rate, channels, generator=torch.Generator().manual_seed(seed))
    x[rate * sum(LENGTHS) :] = torch.nan
    return x.to(DEVICE)


@pytest.mark.parametrize(("taps", "dilation"), [(3, 1), (7, 5)])
def test_a_convolution_ends_where_its_signal_ends(taps, dilation):
    rate = 2
    weight, bias = torch.randn(24, 20, taps, device=DEVICE), torch.randn(24, device=DEVICE)
    x, shift = packed(rate, 20, 0), torch.randn(3, 24, device=DEVICE)
    layer = Convolution.of(weight, bias, dilation, torch.float32)
    found = layer(x, bounds(), rate, slope_in=0.1, slope_out=0.1, shift=shift)
    parts = zip(signals(x, rate), signals(found, rate), shift, strict=True)
    for signal, ours, add in parts:
        padding = dilation * (taps // 2)
        theirs = F.conv1d(F.leaky_relu(signal, 0.1), weight, bias, 1, padding, dilation)
        theirs = F.leaky_relu(theirs + add[:, None], 0.1)
        assert (ours - theirs).abs().max() < CLOSE * theirs.abs().max() * 8


def test_a_convolution_adds_to_what_is_there():
    weight, bias = torch.randn(16, 16, 3, device=DEVICE), torch.randn(16, device=DEVICE)
    x, residual, total = packed(1, 16, 0), packed(1, 16, 1), packed(1, 16, 2)
    layer = Convolution.of(weight, bias, 1, torch.float32)
    expected = layer(x, bounds(), 1)[:15] + residual[:15] + total[:15]
    found = layer(x, bounds(), 1, residual=residual, into=total)
    assert found is total
    assert torch.allclose(found[:15], expected, atol=1e-5)
    assert found[15:].isnan().all()


@pytest.mark.parametrize(("rate", "taps"), [(8, 16), (2, 4)])
def test_a_transposed_convolution_ends_where_its_signal_ends(rate, taps):
    weight, bias = torch.randn(12, 16, taps, device=DEVICE), torch.randn(16, device=DEVICE)
    x = packed(3, 12, 0)
    layer = Convolution.of_transposed(weight, bias, rate, torch.float32)
    found = layer(x, bounds(), 3)
    for signal, ours in zip(signals(x, 3), signals(found, 3 * rate), strict=True):
        padding = (taps - rate) // 2
        theirs = F.conv_transpose1d(signal, weight, bias, stride=rate, padding=padding)
        assert (ours - theirs).abs().max() < CLOSE * theirs.abs().max() * 8


def test_other_transposed_convolutions_are_refused():
    with pytest.raises(ValueError, match="by 4 with 12 taps"):
        Convolution.of_transposed(torch.zeros(4, 4, 12), torch.zeros(4), 4, torch.float32)


def test_the_sound_ends_where_its_signal_ends():
    weight, x = torch.randn(7, 6, device=DEVICE), packed(4, 6, 0)
    found = sound(x, weight, bounds(), 4, 0.01)
    for signal, ours in zip(signals(x, 4), signals(found[:, None], 4), strict=True):
        theirs = F.conv1d(F.leaky_relu(signal, 0.01), weight.T[None], padding=3).tanh()
        assert (ours - theirs).abs().max() < CLOSE


def windows(model, *asked: tuple[int, float, bool]):
    """First windows of utterances of so many codes, and last ones where they end."""
    items = []
    for seed, (codes, speed, whole) in enumerate(asked):
        generator = torch.Generator().manual_seed(seed)
        config = model.config
        latents = torch.randn(codes, config.gpt_n_model_channels, generator=generator)
        speaker = torch.randn(config.d_vector_dim, generator=generator)
        plan = stream_plan(config, speed)
        middle = plan.final_samples(codes - 2, False)
        spans = [(0, plan.samples(codes), codes, True)]
        if not whole:
            spans = [(0, middle, codes - 2, False), (middle, plan.samples(codes), codes, True)]
        for span in spans:
            window = plan.window(*span)
            part = latents[window.code_start : window.code_stop]
            items.append((part.to(DEVICE), speaker.to(DEVICE), window))
    return items


def compare(model, made, items):
    # Sixteen layers one after another, of values of up to 10 and a rounding of 1e-7 each; where a
    # signal's end was missed, the difference is 0.1 and more.
    most = 1e-4
    expected = decode_windows(model.vocoder, items)
    for ours, theirs in zip(made.decode(items), expected, strict=True):
        assert ours.shape == theirs.shape
        assert not len(ours) or (ours - theirs).abs().max() < most


def test_windows_of_any_lengths_and_speeds_go_through_together(model):
    made = DeviceVocoder(model.vocoder, torch.float32)
    items = windows(model, (8, 1.0, False), (7, 1.3, False), (1, 1.0, True), (5, 0.8, True))
    plan = stream_plan(model.config, 1.0)
    nothing = (items[0][0][:0], items[0][1], plan.window(0, 0, 4, False))
    compare(model, made, [items[0], nothing, *items[1:]])
    made.try_out()


def stand_in(work):
    """Runs the work again at each replay and writes to where the captured result was."""
    result = work().clone()
    return lambda: (result.copy_(work()), None)[1], result


def test_batches_are_replayed_split_and_made_again(model, monkeypatch):
    monkeypatch.setattr(device_vocoder, "SIZES", (16, 32))
    made = DeviceVocoder(model.vocoder, torch.float32)
    made.capture(stand_in, (16, 32))
    # More than fit together, and one that fits no batch.
    items = windows(model, (3, 1.0, True), (4, 1.0, True), (9, 1.0, True))
    assert items[-1][2].frames > 32
    compare(model, made, items)
    held = {id(tensor) for tensor in tensors_of(made)}
    assert id(made._pre.weight) in held, "moves where the model is offloaded"
    assert not any(id(batch._latents) in held for batch in made._batches.values())
    made.release()
    assert made._batches == {}
    compare(model, made, items[:1])


def test_half_precision_passes_its_gate(model):
    from livekit_xtts.model.gates import judge_vocoder

    made = DeviceVocoder(model.vocoder)
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(2, model.config.decoder_input_dim, generator=generator)
    verdict = judge_vocoder(model.vocoder, made, latents)
    # 2^-11 a rounding is -66 dB; some 30 of them one after another, and a few bits for the sums.
    assert verdict.snr_db > 45.0


def test_tables_say_when_they_are_full(model):
    items = windows(model, (8, 1.0, True), (8, 1.0, True))
    each = [window for _, _, window in items]
    frames = each[0].frames
    assert Tables(model.config, 2 * frames, DEVICE).fits(each)
    assert not Tables(model.config, 2 * frames - 1, DEVICE).fits(each)
    fast = stream_plan(model.config, 2.0)
    short = [fast.window(0, fast.samples(600), 600, True)]
    assert len(window_levels(model.config, short[0])[0][0]) < 600 < short[0].frames + SPARE


def test_roundings_are_judged_by_the_same_arithmetic(model, monkeypatch):
    """`benchmarks.roundings` stands for these programs: in float32 both give the same."""
    made = DeviceVocoder(model.vocoder, torch.float32)
    frames = torch.randn(1, model.config.decoder_input_dim, 3, device=DEVICE)
    speaker = torch.randn(1, model.config.d_vector_dim, device=DEVICE)
    expected = made(frames, speaker)
    monkeypatch.setattr(Convolution, "__call__", roundings.convolve)
    monkeypatch.setattr(device_vocoder, "sound", roundings.sound)
    assert (made(frames, speaker) - expected).abs().max() < 1e-4

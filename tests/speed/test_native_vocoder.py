"""The compiled vocoder: what it computes, in any chunks and company, and where it cannot be had."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from livekit_xtts.engine.vocoding import carrying
from livekit_xtts.model import gates, makers, native_vocoder, precision, processor, verdicts
from livekit_xtts.model.carried import CarriedPlan, Carry, decode_carried
from livekit_xtts.model.checkpoint import create_random, save_model
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.fast_vocoder import FINAL_SLOPE, SLOPE, FastVocoder
from livekit_xtts.model.native.convolve import POSITIONS
from livekit_xtts.model.native.network import FRAMES, Network
from livekit_xtts.model.native.passes import KEPT, Passes, Weights, _made, _Writer
from livekit_xtts.model.native_vocoder import NativeVocoder
from livekit_xtts.model.streaming import stream_plan
from livekit_xtts.model.vocoder import HifiGan
from livekit_xtts.speech import ModelError
from tests.model.test_carried import pieces as carried_pieces
from tests.model.test_streaming import SINGLE, difference

pytestmark = pytest.mark.skipif(bool(native_vocoder.missing()), reason=native_vocoder.missing())

CONFIGS = {
    "small": XttsConfig.small(),
    "several blocks of channels": XttsConfig.small(
        decoder_upsample_initial_channel=160,
        decoder_upsample_rates=(64, 4),
        decoder_upsample_kernel_sizes=(128, 8),
        decoder_resblock_kernel_sizes=(3, 5),
        decoder_resblock_dilation_sizes=((2,), (3,)),
    ),
    "other rates and kernels": XttsConfig.small(
        decoder_upsample_rates=(4, 16, 4),
        decoder_upsample_kernel_sizes=(12, 16, 8),
        decoder_resblock_kernel_sizes=(5, 3),
        decoder_resblock_dilation_sizes=((1, 2), (2, 7)),
    ),
}


@pytest.fixture(scope="module", params=CONFIGS)
def vocoder(request: Any) -> HifiGan:
    return create_random(CONFIGS[request.param]).vocoder


@pytest.fixture(scope="module")
def compiled(vocoder: HifiGan) -> NativeVocoder:
    return NativeVocoder(vocoder)


def inputs(config: XttsConfig, codes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(codes, config.decoder_input_dim, generator=generator)
    speaker = torch.randn(config.d_vector_dim, generator=generator)
    return latents, F.normalize(speaker, dim=0)


def rounded(x: Tensor) -> Tensor:
    return x.bfloat16().double()


def reference(vocoder: HifiGan, features: Tensor, speaker: Tensor) -> Tensor:
    """The same network in float64, inputs and weights of each convolution rounded to bfloat16."""

    def bias(layer: torch.nn.Module) -> Tensor | None:
        return None if layer.bias is None else layer.bias.double()  # type: ignore[operator, union-attr]

    def convolve(layer: Any, x: Tensor) -> Tensor:
        weight = rounded(layer.weight)
        if isinstance(layer, torch.nn.ConvTranspose1d):
            return F.conv_transpose1d(
                rounded(x), weight, bias(layer), stride=layer.stride, padding=layer.padding
            )
        return F.conv1d(
            rounded(x), weight, bias(layer), padding=layer.padding, dilation=layer.dilation
        )

    def shift(layer: Any) -> Tensor:
        return layer(speaker[None, :, None]).double()  # type: ignore[no-any-return]

    kernels = len(vocoder.config.decoder_resblock_kernel_sizes)
    x = convolve(vocoder.conv_pre, features[None]) + shift(vocoder.cond_layer)
    for stage, (up, cond) in enumerate(zip(vocoder.ups, vocoder.conds, strict=True)):
        x = convolve(up, F.leaky_relu(x, SLOPE)) + shift(cond)
        total: Any = 0.0
        for block in list(vocoder.resblocks)[stage * kernels : (stage + 1) * kernels]:
            y = x
            for a, b in zip(block.convs1, block.convs2, strict=True):  # type: ignore[arg-type]
                y = y + convolve(b, F.leaky_relu(convolve(a, F.leaky_relu(y, SLOPE)), SLOPE))
            total = total + y
        x = total / kernels
    last = F.conv1d(F.leaky_relu(x, FINAL_SLOPE), vocoder.conv_post.weight.double(), padding=3)
    return torch.tanh(last)[0, 0]


def decibels(expected: Tensor, found: Tensor) -> float:
    noise = (found.double() - expected.double()).square().mean().clamp(min=1e-30)
    return float(10 * torch.log10(expected.double().var() / noise))


@pytest.mark.parametrize("frames", [1, 2, 3, 13, FRAMES, FRAMES + 1, 2 * FRAMES + 7])
@torch.inference_mode()
def test_it_computes_the_network_in_bfloat16(
    vocoder: HifiGan, compiled: NativeVocoder, frames: int
) -> None:
    """A float32 sum that is rounded to bfloat16 otherwise than the exact one is off by 2^-8, and
    that spreads: torch's float32 sums end as far off. Long signals have some such sums, but stay
    closer to this network than to the one in float32. Among short ones there are some without:
    there what is left is float32's own rounding.
    """
    width = vocoder.config.decoder_input_dim
    _, speaker = inputs(vocoder.config, 1)
    closest = 0.0
    for seed in range(8 if frames < FRAMES else 1):
        features = torch.randn(width, frames, generator=torch.Generator().manual_seed(seed))
        found = compiled(features[None], speaker[None])[0]
        expected = reference(vocoder, features, speaker)
        assert found.shape == expected.shape
        beside = decibels(vocoder(features[None], speaker[None])[0], found)
        closest = max(closest, decibels(expected, found))
        assert closest > beside > gates.MIN_SNR_DB
    assert frames >= FRAMES or closest > 70.0


def pieces(
    layers: NativeVocoder,
    latents: Tensor,
    speaker: Tensor,
    chunks: Sequence[int],
    speed: float = 1.0,
    ends_known: bool = True,
) -> Iterator[Tensor]:
    """Audio of chunks of so many codes each; see `test_carried.pieces`."""
    plan = CarriedPlan(stream_plan(layers.config, speed))
    return carried_pieces(layers, latents, speaker, plan, chunks, ends_known)


@pytest.mark.parametrize("frames", [1, 2, 3, 13, FRAMES, FRAMES + 1, 2 * FRAMES + 7])
@torch.inference_mode()
def test_in_float32_it_differs_by_rounding_alone(vocoder: HifiGan, frames: int) -> None:
    width = vocoder.config.decoder_input_dim
    _, speaker = inputs(vocoder.config, 1)
    features = torch.randn(width, frames, generator=torch.Generator().manual_seed(frames))
    layers = NativeVocoder(vocoder, 2, torch.float32)
    found = layers(features[None], speaker[None])
    expected = vocoder(features[None], speaker[None])
    assert found.shape == expected.shape
    assert difference(found, expected) <= SINGLE
    latents, speaker = inputs(vocoder.config, 25)
    whole = layers(vocoder.features(latents)[None], speaker[None])[0]
    assert torch.equal(torch.cat(list(pieces(layers, latents, speaker, [3, 9]))), whole)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    codes=st.one_of(st.integers(1, 12), st.integers(1, 60)),
    chunks=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    speed=st.one_of(st.just(1.0), st.floats(0.5, 2.0)),
    ends_known=st.booleans(),
)
@example(codes=1, chunks=[1], speed=2.0, ends_known=False)
@example(codes=2, chunks=[1], speed=1.0, ends_known=True)
@example(codes=9, chunks=[1], speed=0.99, ends_known=True)
def test_any_chunks_give_the_bits_of_the_whole(
    vocoder: HifiGan,
    compiled: NativeVocoder,
    codes: int,
    chunks: list[int],
    speed: float,
    ends_known: bool,
) -> None:
    latents, speaker = inputs(vocoder.config, codes)
    found = torch.cat(list(pieces(compiled, latents, speaker, chunks, speed, ends_known)))
    whole = compiled(vocoder.features(latents, speed)[None], speaker[None])[0]
    assert torch.equal(found, whole)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(
    vocoder: HifiGan, compiled: NativeVocoder, threads: int
) -> None:
    many = NativeVocoder(vocoder, threads)
    latents, speaker = inputs(vocoder.config, 25)
    one = torch.cat(list(pieces(compiled, latents, speaker, [3, 9])))
    assert torch.equal(torch.cat(list(pieces(many, latents, speaker, [3, 9]))), one)


def test_utterances_in_turn_do_not_mix(compiled: NativeVocoder) -> None:
    spoken = [inputs(compiled.config, codes, seed=codes) for codes in (12, 31, 24)]
    streams = [pieces(compiled, *each, [4]) for each in spoken]
    found: list[list[Tensor]] = [[] for _ in spoken]
    for turn in itertools.zip_longest(*streams):
        for parts, audio in zip(found, turn, strict=True):
            parts += [] if audio is None else [audio]
    for parts, each in zip(found, spoken, strict=True):
        alone = list(pieces(compiled, *each, [4]))
        assert all(torch.equal(a, b) for a, b in zip(parts, alone, strict=True))


def test_a_call_that_failed_can_be_made_again(compiled: NativeVocoder) -> None:
    (first, speaker), (second, _) = inputs(compiled.config, 60), inputs(compiled.config, 60, 1)
    plans = [CarriedPlan(stream_plan(compiled.config)) for _ in range(2)]
    decoded = 0

    def items(latents: Sequence[Tensor], codes: int) -> list[tuple[Tensor, Tensor, Any]]:
        last = plans[0].final_samples(codes, codes == 60)
        windows = [plan.window(decoded, last, codes, codes == 60) for plan in plans]
        return [
            (part[window.code_start : window.code_stop], speaker, window)
            for part, window in zip(latents, windows, strict=True)
        ]

    parts = [decode_carried(compiled, items([first, second], 20))]
    decoded = plans[0].final_samples(20, False)
    with pytest.raises(RuntimeError):
        # The first has gone through, in two passes, when the second fails.
        decode_carried(compiled, items([first, second[:, :3]], 60))
    parts.append(decode_carried(compiled, items([first, second], 60)))
    for index, latents in enumerate((first, second)):
        alone = torch.cat(list(pieces(compiled, latents, speaker, [20, 40])))
        assert torch.equal(torch.cat([part[index] for part in parts]), alone)


def test_what_is_not_finite_comes_out_as_such(compiled: NativeVocoder) -> None:
    latents, speaker = inputs(compiled.config, 20)
    latents[10, 3] = float("nan")
    audio = torch.cat(list(pieces(compiled, latents, speaker, [20])))
    assert audio.isnan().any()
    clean, _ = inputs(compiled.config, 20)
    assert torch.cat(list(pieces(compiled, clean, speaker, [20]))).isfinite().all()


def test_an_utterance_without_frames_is_empty(compiled: NativeVocoder) -> None:
    frames = torch.zeros(compiled.config.decoder_input_dim, 0)
    _, speaker = inputs(compiled.config, 1)
    carry = Carry()
    audio, ahead = compiled.carry_on(carry, frames, speaker, last=True)
    assert audio.shape == (0,) and ahead is carry


def test_tables_of_passes_are_bounded(compiled: NativeVocoder) -> None:
    passes = compiled._passes
    for more in range(1, FRAMES + 1):
        for frames in (0, 1, 2, 100):
            passes.get(frames, more, False)
    assert len(passes._kept) == KEPT
    assert passes.get(100, FRAMES, False) is passes.get(10_000, FRAMES, False)
    assert all(one.phases <= passes.most_phases for one in passes._kept.values())


def test_threads_end_with_the_vocoder(vocoder: HifiGan) -> None:
    def workers() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name.startswith("xtts-vocoder")}

    gc.collect()
    before = workers()
    made = NativeVocoder(vocoder, 3)
    mine = workers() - before
    assert len(mine) == 2
    latents, speaker = inputs(vocoder.config, 5)
    assert list(pieces(made, latents, speaker, [5]))
    del made
    gc.collect()
    for thread in mine:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda patch: patch.setattr(sys, "platform", "darwin"), "Linux"),
        (lambda patch: patch.setattr(processor, "flags", lambda: {"avx512f"}), "avx512_bf16"),
        (lambda patch: patch.setitem(sys.modules, "llvmlite", None), "llvmlite"),
    ],
)
def test_where_it_cannot_be_had_torch_decodes(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], reason: str
) -> None:
    change(monkeypatch)
    assert reason in native_vocoder.missing()
    model = create_random(XttsConfig.small())
    assert isinstance(precision.make_vocoder(model, "bf16"), FastVocoder)


def test_engines_take_the_float32_one_where_nobody_is_in_its_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = create_random(XttsConfig.small())
    compiled = carrying(model.vocoder, 1)
    assert isinstance(compiled, NativeVocoder) and compiled.dtype == torch.float32
    assert carrying(compiled, None) is compiled
    assert isinstance(carrying(model.vocoder, None), FastVocoder)
    single = XttsConfig.small(
        decoder_resblock_kernel_sizes=(3,), decoder_resblock_dilation_sizes=((1, 3, 5),)
    )
    with caplog.at_level("INFO"):
        assert isinstance(carrying(create_random(single).vocoder, 1), FastVocoder)
    assert "the vocoder is not compiled" in caplog.text
    flags = processor.flags() - {"avx512_bf16"}
    monkeypatch.setattr(processor, "flags", lambda: flags)
    assert native_vocoder.missing() and not native_vocoder.missing(torch.float32)
    monkeypatch.setattr(processor, "flags", lambda: {"avx2"})
    assert isinstance(carrying(model.vocoder, 1), FastVocoder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"decoder_resblock_kernel_sizes": (3, 4, 11)}, "odd kernels"),
        (
            {
                "decoder_resblock_kernel_sizes": (3,),
                "decoder_resblock_dilation_sizes": ((1, 3, 5),),
            },
            "two or more",
        ),
        ({"decoder_upsample_kernel_sizes": (16, 16, 4, 5)}, "multiples of their rates"),
        ({"decoder_resblock_dilation_sizes": ((1, 3, 5), (1, 3), (1, 3, 5))}, "same depth"),
    ],
)
def test_shapes_that_it_is_not_made_for(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        Network(XttsConfig.small(**changes))


def test_a_shape_that_it_is_not_made_for_is_left_to_torch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = XttsConfig.small(
        decoder_resblock_kernel_sizes=(3,), decoder_resblock_dilation_sizes=((1, 3, 5),)
    )
    with caplog.at_level("INFO"):
        found = precision.make_vocoder(create_random(config), "bf16")
    assert isinstance(found, FastVocoder)
    assert "the vocoder is not compiled" in caplog.text


def test_precision_takes_it_and_judges_it_again_where_it_is_new(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(makers, "WORTHWHILE", {"gpt": 10**9, "vocoder": 0})
    model = create_random(XttsConfig.small())
    save_model(model, tmp_path)
    parts = precision.prepare(model, slots=1, length=64, folder=tmp_path)
    assert isinstance(parts.vocoder, NativeVocoder) and parts.vocoding == "bf16"
    assert parts.report["vocoder bf16, compiled"]["passed"]
    kept = verdicts.Verdicts.open(tmp_path, model.fingerprint)
    assert "vocoder bf16, compiled" in kept.gates
    monkeypatch.setattr(native_vocoder, "FORMAT", native_vocoder.FORMAT + 1)
    assert not verdicts.Verdicts.open(tmp_path, model.fingerprint).gates


@pytest.mark.parametrize(("torchs", "kind"), [(0.5, FastVocoder), (2.0, NativeVocoder)])
def test_with_tiles_of_bfloat16_the_quickest_is_taken(
    monkeypatch: pytest.MonkeyPatch, torchs: float, kind: type
) -> None:
    seconds = makers.seconds_of
    asked: list[type] = []

    def told(vocoder: Any) -> float:
        asked.append(type(vocoder))
        assert 0.0 < seconds(vocoder) < 60.0
        return torchs if isinstance(vocoder, FastVocoder) else 1.0

    monkeypatch.setattr(makers, "seconds_of", told)
    model = create_random(XttsConfig.small())
    assert isinstance(precision.make_vocoder(model, "bf16"), NativeVocoder) and not asked
    flags = processor.flags() | {"amx_bf16"}
    monkeypatch.setattr(processor, "flags", lambda: flags)
    assert type(precision.make_vocoder(model, "bf16")) is kind
    assert asked == [NativeVocoder, FastVocoder]


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("config", [*CONFIGS.values(), XttsConfig()], ids=[*CONFIGS, "full size"])
def test_tiles_write_nowhere_but_in_their_signals(config: XttsConfig, size: int) -> None:
    """Tiles go beyond what is asked for, and machine code that goes too far tells nobody."""
    network = Network(config, size)
    passes = Passes(network, defaultdict(int), defaultdict(lambda: Weights(0, 0, 0)))
    for stage in network.stages:
        spans = sorted((s.place, s.rows * s.stride) for s in [*network.between, *stage.signals])
        assert all(place + length <= after for (place, length), (after, _) in pairwise(spans))
    operations = [network.pre, *(op for s in network.stages for phase in s.phases for op in phase)]
    lengths = itertools.product((0, 1, 2, 3, 5, 8, 20, 100), (0, 1, 2, 3, 7, FRAMES), (True, False))
    for frames, more, last in lengths:
        writer = _Writer(passes, min(frames, network.steady), more, last)
        for op in operations:
            done, end = writer._range(op)
            tiled = -(-max(0, end - done) // POSITIONS) * POSITIONS
            for signal in _made([op]) if tiled else ():
                first = writer._row(signal, op.phases * done - op.shift) - signal.place
                assert first >= 0
                assert first + tiled * op.phases * signal.stride <= signal.rows * signal.stride
            read = writer._row(op.source, done - op.left)
            rows = tiled + (op.taps - 1) * op.dilation
            assert not tiled or 0 <= read <= passes.bytes - rows * op.source.stride
        found = passes.get(frames, more, last)
        assert found.phases <= passes.most_phases and found.samples <= passes.most_samples

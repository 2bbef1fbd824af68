"""Models from and to disk: both spellings, both formats, and every way a file can be wrong."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from livekit_xtts.model.checkpoint import convert, create_random, load_model, save_model
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.xtts import XttsModel
from livekit_xtts.speech import ModelError
from tests.model.conftest import Pair
from tests.model.published import PUBLISHED_CONFIG

CONFIG = XttsConfig.small()
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def model() -> XttsModel:
    return create_random(CONFIG)


@pytest.fixture(scope="module")
def published(model: XttsModel, tmp_path_factory: pytest.TempPathFactory) -> State:
    """The state dict of a `model.pth`, with the reference's names."""
    folder = tmp_path_factory.mktemp("published")
    save_model(model, folder)
    convert(folder, folder / "model.pth")
    state: State = torch.load(folder / "model.pth", weights_only=True)["model"]
    return state


def write(folder: Path, state: State, config: XttsConfig = CONFIG, **beside: Any) -> Path:
    config.to_json(folder / "config.json")
    torch.save({"model": state, **beside}, folder / "model.pth")
    return folder


def assert_same(ours: XttsModel, theirs: XttsModel, tolerance: float = 1e-6) -> None:
    for (name, one), other in zip(
        ours.state_dict().items(), theirs.state_dict().values(), strict=True
    ):
        assert (one - other).abs().max() <= tolerance * max(1.0, float(other.abs().max())), name


def test_a_checkpoint_of_the_reference_loads(pair: Pair) -> None:
    """It holds the GPT a second time, as the reference has it after its own load."""
    stored = torch.load(pair.folder / "model.pth", weights_only=True)["model"]
    assert any(name.startswith("gpt.gpt_inference.") for name in stored)
    assert any("parametrizations.weight.original0" in name for name in stored)
    assert not pair.ours.training
    assert not any(p.requires_grad for p in pair.ours.parameters())


def test_both_spellings_of_weight_norm(model: XttsModel, published: State, tmp_path: Path) -> None:
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in published.items()
    }
    assert any(name.endswith("weight_g") for name in old)
    assert_same(load_model(write(tmp_path, old)), model)


@pytest.mark.parametrize("prefix", ["xtts.", "module.", "module.xtts."])
def test_what_trainers_add_is_passed_over(
    model: XttsModel, published: State, tmp_path: Path, prefix: str
) -> None:
    state = {prefix + name: value for name, value in published.items()}
    state["torch_mel_spectrogram_dvae.mel_stft.window"] = torch.ones(4)
    state[prefix + "torch_mel_spectrogram_style_encoder.fb"] = torch.ones(4)
    state["dvae.encoder.0.weight"] = torch.ones(4)
    state[prefix + "gpt.gpt.wte.weight"] = torch.ones(4)
    state[prefix + "gpt.gpt.h.0.attn.bias"] = torch.ones(4)
    folder = write(tmp_path, state, optimizer={"state": [torch.ones(3)]}, step=7)
    assert_same(load_model(folder), model)


def test_old_checkpoints_hold_configuration_objects(
    pair: Pair, model: XttsModel, published: State, tmp_path: Path
) -> None:
    """They load without those classes, and without running their code."""
    from TTS.tts.configs.xtts_config import XttsConfig as ReferenceConfig

    CONFIG.to_json(tmp_path / "config.json")
    torch.save({"model": published, "config": ReferenceConfig()}, tmp_path / "model.pth")
    assert_same(load_model(tmp_path), model)


def test_safetensors_round_trip(model: XttsModel, tmp_path: Path) -> None:
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.fingerprint == model.fingerprint
    assert loaded.config == model.config
    assert_same(loaded, model, 0.0)


def test_half_precision_storage(model: XttsModel, tmp_path: Path) -> None:
    save_model(model, tmp_path, torch.float16)
    loaded = load_model(tmp_path)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    assert_same(loaded, model, 1e-3)
    assert loaded.fingerprint != model.fingerprint
    assert load_model(tmp_path, dtype=torch.bfloat16).fingerprint == loaded.fingerprint


@pytest.mark.parametrize("target", ["folder", "weights.safetensors", "weights.pth"])
def test_convert(model: XttsModel, published: State, tmp_path: Path, target: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write(source, published)
    (source / "vocab.json").write_text("{}")
    convert(source, tmp_path / target)
    folder = tmp_path / target
    if folder.is_file():
        folder = tmp_path / "new"
        folder.mkdir()
        (tmp_path / target).rename(folder / target.replace("weights", "model"))
        CONFIG.to_json(folder / "config.json")
    else:
        assert (folder / "vocab.json").read_text() == "{}"
    assert_same(load_model(folder), model)
    assert not list(tmp_path.rglob("*.part"))


def test_equal_seeds_equal_weights() -> None:
    prints = {create_random(CONFIG, seed).fingerprint for seed in (0, 0, 1)}
    assert len(prints) == 2
    wider = XttsConfig.small(gpt_layers=4)
    assert create_random(wider).config.gpt_layers == 4


def test_random_weights_are_audible(model: XttsModel) -> None:
    latents = torch.randn(40, CONFIG.decoder_input_dim, generator=torch.Generator().manual_seed(1))
    speaker = torch.nn.functional.normalize(torch.ones(CONFIG.d_vector_dim), dim=0)
    audio = model.vocoder.decode(latents, speaker)
    assert 0.05 < audio.std() < 0.4
    assert audio.mean().abs() < 0.02


def test_building_without_memory_imports_no_compiler() -> None:
    code = (
        "import sys\n"
        "from livekit_xtts.model.checkpoint import create_random\n"
        "from livekit_xtts.model.config import XttsConfig\n"
        "create_random(XttsConfig.small())\n"
        "found = {'torch._dynamo', 'sympy', 'transformers', 'TTS'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


_PEAK = """
import sys, threading, time
from pathlib import Path
import torch
from livekit_xtts.model.checkpoint import load_model

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

torch.set_num_threads(1)
load_model(sys.argv[1])
before, peak, done = resident(), 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, resident())
        time.sleep(0.0005)

thread = threading.Thread(target=watch)
thread.start()
model = load_model(sys.argv[2])
done = True
thread.join()
print(sum(t.nbytes for t in model.state_dict().values()), max(peak, resident()) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_loading_holds_one_copy(tmp_path: Path, name: str) -> None:
    """At a thirtieth of the full size: never more than the weights and a little."""
    small, large = tmp_path / "small", tmp_path / "large"
    save_model(create_random(CONFIG), small)
    config = XttsConfig.small(gpt_layers=16, gpt_n_model_channels=256, decoder_input_dim=256)
    save_model(create_random(config), large)
    if name == "model.pth":
        convert(large, large / name)
        (large / "model.safetensors").unlink()
    command = [sys.executable, "-c", _PEAK, str(small), str(large)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    weights, peak = map(int, output.split())
    assert weights > 50e6
    assert peak < 1.25 * weights


def missing(state: State) -> None:
    del state["gpt.gpt.h.1.mlp.c_fc.bias"]


def misshapen(state: State) -> None:
    state["gpt.mel_head.weight"] = torch.zeros(1026, 63)


def half_a_norm(state: State) -> None:
    del state["hifigan_decoder.waveform_decoder.ups.0.parametrizations.weight.original0"]


def misshapen_norm(state: State) -> None:
    name = "hifigan_decoder.waveform_decoder.ups.0.parametrizations.weight.original0"
    state[name] = torch.ones(3, 1, 1)


def unknown(state: State) -> None:
    state["gpt.new_part.weight"] = torch.ones(1)


def other(state: State) -> None:
    state.clear()
    state["encoder.layers.0.weight"] = torch.ones(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (missing, r"lacks the key 'gpt\.gpt\.h\.1\.mlp\.c_fc\.bias'"),
        (misshapen, r"'gpt\.mel_head\.weight' has shape \(1026, 63\).*\(1026, 64\)"),
        (half_a_norm, r"lacks the key '.*ups\.0\.weight'"),
        (misshapen_norm, r"ups\.0\.parametrizations\.weight\.original0' has shape"),
        (unknown, r"unknown key 'gpt\.new_part\.weight'"),
        (other, r"another architecture.*'encoder\.layers\.0\.weight'"),
    ],
)
def test_keys_that_do_not_fit(
    published: State, tmp_path: Path, change: Callable[[State], None], message: str
) -> None:
    state = dict(published)
    change(state)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(write(tmp_path, state))
    assert not caught.value.retryable


def test_missing_files(model: XttsModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere does not exist"):
        load_model(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ModelError, match="is a file"):
        load_model(file)
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model(tmp_path)
    CONFIG.to_json(tmp_path / "config.json")
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor model\.pth"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="not the folder"):
        convert(tmp_path / "nowhere", tmp_path / "target")


class Harmful:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code of a checkpoint was run')",))


def test_pickled_code_is_never_run(published: State, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Python objects"):
        load_model(write(tmp_path, published, extra=Harmful()))


@pytest.mark.parametrize("keep", [0, 3, 1000, 100_000])
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_files_cut_short(
    model: XttsModel, published: State, tmp_path: Path, name: str, keep: int
) -> None:
    if name == "model.pth":
        write(tmp_path, published)
    else:
        save_model(model, tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=name):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[]",
        json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode(),
        json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}).encode(),
        json.dumps({"a": {"dtype": "X", "shape": [2], "data_offsets": [0, 8]}}).encode(),
        json.dumps({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}}).encode(),
        json.dumps({"a": {"dtype": "F32"}}).encode(),
        json.dumps({"a": 7}).encode(),
    ],
)
def test_damaged_safetensors(tmp_path: Path, header: bytes) -> None:
    CONFIG.to_json(tmp_path / "config.json")
    data = struct.pack("<Q", len(header)) + header + bytes(8)
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [{"model": {}}, {"model": [1, 2]}, [1, 2], {"epoch": 3}])
def test_checkpoints_without_weights(tmp_path: Path, content: Any) -> None:
    CONFIG.to_json(tmp_path / "config.json")
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(ModelError, match="no model weights"):
        load_model(tmp_path)


def test_a_failed_write_leaves_the_old_file(
    model: XttsModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(model, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_model(model, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_the_published_configuration_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PUBLISHED_CONFIG))
    assert XttsConfig.from_json(path) == XttsConfig()
    config = XttsConfig()
    assert (config.max_codes, config.max_positions) == (602, 1039)
    assert config.sampling.repetition_penalty == 5.0


@pytest.mark.parametrize("config", [XttsConfig(), XttsConfig.small(temperature=0.3)])
def test_configurations_round_trip(tmp_path: Path, config: XttsConfig) -> None:
    config.to_json(tmp_path / "config.json")
    assert XttsConfig.from_json(tmp_path / "config.json") == config
    assert hash(config) == hash(XttsConfig.from_json(tmp_path / "config.json"))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model",), "vits", "'vits'"),
        (("model_args",), None, "model_args"),
        (("model_args", "gpt_use_perceiver_resampler"), False, "version 1"),
        (("model_args", "gpt_layers"), "30", "gpt_layers='30'"),
        (("model_args", "gpt_layers"), 0, "gpt_layers=0"),
        (("model_args", "gpt_n_heads"), 7, "gpt_n_heads=7"),
        (("model_args", "decoder_input_dim"), 5, "decoder_input_dim=5"),
        (("model_args", "output_hop_length"), 128, "multiply to 256"),
        (("model_args", "gpt_stop_audio_token"), 1026, "gpt_num_audio_tokens"),
        (("temperature",), "hot", "temperature='hot'"),
        (("languages",), [], "languages"),
    ],
)
def test_configurations_that_do_not_fit(
    tmp_path: Path, path: tuple[str, ...], value: Any, message: str
) -> None:
    data = json.loads(json.dumps(PUBLISHED_CONFIG))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(ModelError, match=message):
        XttsConfig.from_json(tmp_path / "config.json")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"7"])
def test_configurations_that_are_not_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        XttsConfig.from_json(tmp_path / "config.json")

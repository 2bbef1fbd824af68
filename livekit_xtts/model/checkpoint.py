"""Models from and to disk, and at random."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.random_weights import fill_randomly
from livekit_xtts.model.weights import Weights, open_weights
from livekit_xtts.model.xtts import XttsModel
from livekit_xtts.speech import ModelError

CONFIG_FILE = "config.json"
VOCABULARY_FILE = "vocab.json"
WEIGHT_FILES = ("model.safetensors", "model.pth")
"""Names of weight files in a model's folder; the first one there is taken."""

TRAINER_PREFIXES = ("module.", "xtts.")
"""What trainers put before every name."""

IGNORED_KEYS = re.compile(
    r"torch_mel_spectrogram_(style_encoder|dvae)\.|dvae\."  # the trainer's own feature extractors
    r"|gpt\.gpt_inference\."  # the same weights a second time
    r"|gpt\.gpt\.(wte|wpe)\.|gpt\.gpt\.h\.\d+\.attn\.(bias|masked_bias)$"  # GPT-2's, unused
)
"""Names that a checkpoint may have beyond the model's own."""

# Both spellings of a weight-normed convolution: (magnitude, direction).
_WEIGHT_NORM = (
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ("weight_g", "weight_v"),
)
_NORMED = re.compile(
    r"(hifigan_decoder\.waveform_decoder\.(?:ups\.\d+|resblocks\.\d+\.convs[12]\.\d+)\.)weight$"
)


def load_model(
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> XttsModel:
    """Load a model; its weights are in memory once.

    Args:
        folder: Holds `config.json` and `model.safetensors` or the published `model.pth`.
        device: Where the weights go.
        dtype: Of all floating-point weights, however they are stored.

    Returns:
        The model in inference mode, without gradients. Its fingerprint is of the weights as
        stored, so it does not depend on `device` and `dtype`.

    Raises:
        ModelError: Something is missing, damaged, or of another architecture; the message names
            it and says what to do.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not" if folder.exists() else "does not exist: give"
        raise ModelError(f"{folder} {what} the folder of an XTTS-v2 model")
    config = XttsConfig.from_json(folder / CONFIG_FILE)
    model = _read_model(config, _weight_file(folder))
    # Computed here: what changes weights in place later must not change whose voices fit.
    _ = model.fingerprint
    return model.to(device=device, dtype=dtype)


def create_random(config: XttsConfig | None = None, seed: int = 0) -> XttsModel:
    """A model of random weights, of any size, that makes audible sound and varied codes.

    Args:
        config: Sizes; None for XTTS-v2's.
        seed: Equal seeds give equal weights.
    """
    model = _empty_model(config or XttsConfig())
    fill_randomly(model, seed)
    return model


def save_model(model: XttsModel, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write `config.json` and `model.safetensors`.

    Args:
        model: The model.
        folder: Made if missing. An existing file is replaced once the new one is whole.
        dtype: Store floating-point weights so (`torch.float16` halves the file); None as they are.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_safetensors(_stored(model, dtype), folder / WEIGHT_FILES[0])
    model.config.to_json(folder / CONFIG_FILE)


def convert(source: str | Path, target: str | Path, dtype: torch.dtype | None = None) -> None:
    """Convert between the published `model.pth` and `model.safetensors`.

    Args:
        source: A model's folder.
        target: A folder, which gets `config.json`, `model.safetensors` and the source's
            `vocab.json`; or a path that ends in `.safetensors` or `.pth`, which gets the weights
            alone, as `.pth` with the names of the reference implementation.
        dtype: Store floating-point weights so; None as they are in the source.

    Raises:
        ModelError: As for `load_model`.
    """
    source, target = Path(source), Path(target)
    if not source.is_dir():
        raise ModelError(f"{source} is not the folder of an XTTS-v2 model")
    model = _read_model(XttsConfig.from_json(source / CONFIG_FILE), _weight_file(source))
    if target.suffix == ".pth":
        state = dict(_with_weight_norm(_stored(model, dtype)))
        with _replacing(target) as part:
            torch.save({"model": state, "config": model.config.to_dict()}, part)
    elif target.suffix == ".safetensors":
        _write_safetensors(_stored(model, dtype), target)
    else:
        save_model(model, target, dtype)
        vocabulary = source / VOCABULARY_FILE
        if vocabulary.is_file() and not (target / VOCABULARY_FILE).exists():
            shutil.copyfile(vocabulary, target / VOCABULARY_FILE)


def _empty_model(config: XttsConfig) -> XttsModel:
    """A model without memory, without gradients, in inference mode."""
    with torch.device("meta"), _NoInitialisation():
        model = XttsModel(config)
    return model.eval().requires_grad_(False)


class _NoInitialisation(TorchFunctionMode):
    """Skips random initialisation: there is no memory to fill, and torch would import its compiler
    (several seconds) to find that out."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def _weight_file(folder: Path) -> Path:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder} has neither {' nor '.join(WEIGHT_FILES)}: the weights are missing")


def _read_model(config: XttsConfig, path: Path) -> XttsModel:
    model = _empty_model(config)
    with ExitStack() as stack:
        try:
            weights = open_weights(path, stack)
            state = dict(_matched(model, weights))
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False)


def _matched(model: XttsModel, weights: Weights) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors, read one by one once all names and shapes are known to fit."""
    names = {_plain_name(name): name for name in weights.shapes}
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    sources = {name: _sources(name, names) for name in expected}
    missing = [name for name, found in sources.items() if not found]
    if len(missing) > len(expected) // 2:
        raise ModelError(
            f"{weights.name} is of another architecture than XTTS-v2: it lacks {missing[0]!r} and"
            f" {len(missing) - 1} more of {len(expected)} keys; it begins with"
            f" {next(iter(names))!r}"
        )
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"{weights.name} lacks the key {missing[0]!r}{more}")
    used = {source for found in sources.values() for source in found}
    unknown = [n for n in names if n not in used and not IGNORED_KEYS.match(n)]
    if unknown:
        raise ModelError(
            f"{weights.name} has the unknown key {unknown[0]!r}"
            f" ({len(unknown)} of them): it is not an XTTS-v2 checkpoint of this version"
        )
    for name, shape in expected.items():
        last = sources[name][-1]
        stored = weights.shapes[names[last]]
        if stored != shape:
            raise ModelError(
                f"{weights.name}: {last!r} has shape {stored}, the configuration asks for {shape}"
            )
    for name, found in sources.items():
        tensors = [weights.read(names[source]) for source in found]
        if len(tensors) == 1:
            yield name, tensors[0]
        else:
            yield name, _folded(found[0], *tensors)


def _plain_name(name: str) -> str:
    for prefix in TRAINER_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _sources(name: str, names: dict[str, str]) -> tuple[str, ...]:
    """The stored names behind one of the model's: itself, magnitude and direction, or nothing."""
    if name in names:
        return (name,)
    stem = name.removesuffix("weight")
    pairs = (tuple(stem + part for part in pair) for pair in _WEIGHT_NORM)
    return next((pair for pair in pairs if all(part in names for part in pair)), ())


def _folded(name: str, magnitude: Tensor, direction: Tensor) -> Tensor:
    """The weight that a weight norm stands for, in the dtype it is stored in."""
    count = direction.shape[0]
    if magnitude.numel() != count:
        raise ModelError(f"{name!r} has shape {tuple(magnitude.shape)}, {count} values are needed")
    magnitude = magnitude.view(count, *(1 for _ in direction.shape[1:]))
    weight = torch._weight_norm(direction.float(), magnitude.float(), 0)
    return weight.to(direction.dtype)


def _with_weight_norm(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors as the reference implementation names and splits them."""
    magnitude, direction = _WEIGHT_NORM[0]
    for name, tensor in state.items():
        normed = _NORMED.match(name)
        if normed:
            norm = tensor.float().flatten(1).norm(dim=1).view(-1, *(1 for _ in tensor.shape[1:]))
            yield normed[1] + magnitude, norm.to(tensor.dtype)
            yield normed[1] + direction, tensor
        else:
            yield name, tensor


def _stored(model: XttsModel, dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in model.state_dict().items()
    }


def _write_safetensors(state: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    with _replacing(path) as part:
        save_file(state, part, metadata={"format": "pt"})


class _replacing:
    """A path to write to, which takes the place of `path` once the block ends well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

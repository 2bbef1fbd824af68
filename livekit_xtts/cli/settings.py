"""The options that speaking commands share, and what is opened with them."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from livekit_xtts.cli.exits import UsageError, interruptible
from livekit_xtts.cloning import Recording
from livekit_xtts.engine.engine import Engine
from livekit_xtts.events import SpeakOptions
from livekit_xtts.pipeline import Pipeline
from livekit_xtts.speech import EngineInfo, Sampling, Voice
from livekit_xtts.voices import VoiceLibrary

R = TypeVar("R")

BUILT_IN = ("bundled", "random", "random-small")
"""Models that are no folder: the voice of the package, and random weights for trials."""

_VOICE = "Voice"
_MODEL = "Model"
_SPEECH = "Speech"


def _option(*names: str, panel: str, help: str, env: str | None = None) -> Any:
    return typer.Option(*names, help=help, envvar=env, rich_help_panel=panel, show_default=False)


@dataclass(frozen=True)
class Settings:
    """See each option's help."""

    voice: Annotated[
        str | None,
        _option(
            "--voice",
            "-v",
            panel=_VOICE,
            help="Name of a voice (voices list), or a file.",
            env="LIVEKIT_XTTS_VOICE",
        ),
    ] = None
    reference: Annotated[
        list[Path] | None,
        _option(
            "--reference",
            "-r",
            panel=_VOICE,
            help="Recording to clone the voice from; give several to use them together.",
        ),
    ] = None
    clean: Annotated[
        bool,
        _option("--clean", panel=_VOICE, help="Trim and level recordings before cloning."),
    ] = False
    language: Annotated[
        str,
        _option(
            "--language",
            "-l",
            panel=_VOICE,
            help="Language of the text. Default: en.",
            env="LIVEKIT_XTTS_LANGUAGE",
        ),
    ] = "en"
    model: Annotated[
        str | None,
        _option(
            "--model",
            "-m",
            panel=_MODEL,
            help="Folder of a model, or xtts-v2 after download. Default: the bundled voice.",
            env="LIVEKIT_XTTS_MODEL",
        ),
    ] = None
    config: Annotated[
        Path | None,
        _option("--config", panel=_MODEL, help="config.json, where the parts lie apart."),
    ] = None
    weights: Annotated[
        Path | None,
        _option("--weights", panel=_MODEL, help="model.safetensors or model.pth, likewise."),
    ] = None
    vocab: Annotated[
        Path | None, _option("--vocab", panel=_MODEL, help="vocab.json, likewise.")
    ] = None
    speakers: Annotated[
        Path | None, _option("--speakers", panel=_MODEL, help="speakers_xtts.pth, likewise.")
    ] = None
    device: Annotated[
        str,
        _option(
            "--device",
            "-d",
            panel=_MODEL,
            help="auto, cpu, cuda, cuda:1, mps. Default: auto.",
            env="LIVEKIT_XTTS_DEVICE",
        ),
    ] = "auto"
    precision: Annotated[
        str,
        _option(
            "--precision",
            "-p",
            panel=_MODEL,
            help="auto, fp32, bf16, int8 … Default: auto.",
            env="LIVEKIT_XTTS_PRECISION",
        ),
    ] = "auto"
    profile: Annotated[
        str,
        _option("--profile", panel=_MODEL, help="latency, balanced (default) or throughput."),
    ] = "balanced"
    temperature: Annotated[
        float | None, _option("--temperature", panel=_SPEECH, help="Liveliness; above 0.")
    ] = None
    top_k: Annotated[
        int | None, _option("--top-k", panel=_SPEECH, help="Best codes that stay; 0 keeps all.")
    ] = None
    top_p: Annotated[
        float | None, _option("--top-p", panel=_SPEECH, help="Probability that stays, up to 1.")
    ] = None
    repetition_penalty: Annotated[
        float | None,
        _option("--repetition-penalty", panel=_SPEECH, help="Weakens used codes; 1 is off."),
    ] = None
    speed: Annotated[
        float,
        _option("--speed", panel=_SPEECH, help="0.5 to 2. Default: 1.", env="LIVEKIT_XTTS_SPEED"),
    ] = 1.0
    seed: Annotated[
        int | None,
        _option("--seed", panel=_SPEECH, help="Makes speech repeatable.", env="LIVEKIT_XTTS_SEED"),
    ] = None

    def voice_source(self) -> str | list[Recording] | None:
        """What names the voice.

        Raises:
            UsageError: Both a voice and a reference are given.
        """
        if self.reference:
            if self.voice and not os.environ.get("LIVEKIT_XTTS_VOICE"):
                raise UsageError("give --voice or --reference, not both")
            return [Path(path) for path in self.reference]
        return self.voice

    def sampling(self, info: EngineInfo) -> Sampling | None:
        """The checkpoint's own with what was given; None where nothing was."""
        names = ("temperature", "top_k", "top_p", "repetition_penalty")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(info.sampling, **given) if given else None


LIBRARY_OPTIONS = ("clean", "language", "model", "config", "weights", "vocab", "speakers", "device")
"""What concerns the making and keeping of voices."""


def with_settings(
    command: Callable[..., R], *, only: Sequence[str] | None = None
) -> Callable[..., R]:
    """Replace a command's `settings` parameter by options.

    Args:
        command: Takes `settings`, and parameters of its own with typer's annotations.
        only: Names of `Settings` to offer; all by default.
    """
    hints = typing.get_type_hints(Settings, include_extras=True)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(Settings)
        if only is None or field.name in only
    ]
    own_hints = typing.get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=own_hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(command).parameters.values()
        if parameter.name != "settings"
    ]

    @functools.wraps(command)
    def wrapped(**values: Any) -> R:
        settings = Settings(**{option.name: values.pop(option.name) for option in options})
        return command(settings=settings, **values)

    parameters = [*own, *options]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


@dataclass(frozen=True)
class Opened:
    """What a command speaks with.

    Attributes:
        engine: Loaded.
        library: Its voices.
        pipeline: Over the engine.
        options: Voice, language, sampling, speed and seed as asked for.
    """

    engine: Engine
    library: VoiceLibrary
    pipeline: Pipeline
    options: SpeakOptions

    def with_voice(self, voice: Voice | None) -> SpeakOptions:
        """The same options in another voice."""
        return replace(self.options, voice=voice)


@contextmanager
def model_place(settings: Settings) -> Iterator[str | Path | None]:
    """The model as an engine takes it: None, a built-in name, or a folder.

    Parts that lie apart are linked into a temporary folder.

    Raises:
        UsageError: Some parts are missing.
        ModelError: There is no such model.
    """
    from livekit_xtts.download import find_model

    parts = {
        "config.json": settings.config,
        "weights": settings.weights,
        "vocab.json": settings.vocab,
    }
    given = {name: path for name, path in parts.items() if path is not None}
    if not given:
        if settings.model is None or settings.model in BUILT_IN:
            yield None if settings.model == "bundled" else settings.model
        else:
            yield find_model(settings.model)
        return
    if len(given) < len(parts):
        raise UsageError("a model in parts needs --config, --weights and --vocab together")
    with tempfile.TemporaryDirectory(prefix="livekit-xtts-") as temporary:
        # The folder's name is the model's in messages.
        folder = Path(temporary) / (given["weights"].resolve().parent.name or "model")
        folder.mkdir()
        for name, path in {**given, "speakers_xtts.pth": settings.speakers}.items():
            if path is None:
                continue
            if not path.is_file():
                raise UsageError(f"{path}: there is no such file")
            target = f"model{path.suffix}" if name == "weights" else name
            _link(path.resolve(), folder / target)
        yield folder


def _link(source: Path, target: Path) -> None:
    for make in (target.symlink_to, target.hardlink_to):
        try:
            make(source)
        except (OSError, NotImplementedError):
            continue  # not allowed, or another volume
        return
    shutil.copyfile(source, target)


def create_engine(model: str | Path | None, settings: Settings) -> Engine:
    """The engine of a command; nothing is loaded yet."""
    from livekit_xtts.engine.local import LocalEngine
    from livekit_xtts.engine.schedule import PROFILES

    if settings.profile not in PROFILES:
        raise UsageError(f"--profile {settings.profile}: use one of {', '.join(PROFILES)}")
    return LocalEngine(
        model,
        device=settings.device,
        precision=settings.precision,
        profile=settings.profile,
        max_wait=None,
    )


@contextmanager
def opened_library(settings: Settings) -> Iterator[tuple[Engine, VoiceLibrary]]:
    """The engine, not loaded, and its voices; closed at the end."""
    with interruptible(), ExitStack() as stack:
        model = stack.enter_context(model_place(settings))
        engine = create_engine(model, settings)
        stack.callback(engine.close)
        folder = model if isinstance(model, Path) else None
        yield engine, VoiceLibrary(engine, model_folder=folder, clean=settings.clean)


@contextmanager
def opened(settings: Settings) -> Iterator[Opened]:
    """Engine loaded, voice resolved; closed at the end. Blocking.

    Raises:
        SpeechError: Model or voice cannot be used.
    """
    from livekit_xtts.text.languages import canonical_language

    language = canonical_language(settings.language)
    source = settings.voice_source()
    with opened_library(settings) as (engine, library):
        with status("loading the model"):
            engine.load()
        voice = None
        if source is not None:
            with status("resolving the voice"):
                voice = library.resolve(source).result()
        options = SpeakOptions(
            voice=voice,
            language=language,
            sampling=settings.sampling(engine.info),
            seed=settings.seed,
            speed=settings.speed,
        )
        options.request("check")  # refuses values out of range before anything is made
        yield Opened(engine, library, Pipeline(engine), options)


@contextmanager
def status(text: str) -> Iterator[None]:
    """A spinner while something is waited for, where somebody looks."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{text} …"):
        yield

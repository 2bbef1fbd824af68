"""Which model an engine speaks with, and its parts: weights, tokenizer, a voice of its own."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from livekit_xtts.download import find_model
from livekit_xtts.engine.bytetext import ByteTokenizer
from livekit_xtts.engine.prepare import Tokenizer
from livekit_xtts.speech import ModelError, SpeechError, Voice
from livekit_xtts.text.tokenizer import TextTokenizer
from livekit_xtts.voicefile import load_voice, make_voice

if TYPE_CHECKING:
    from livekit_xtts.model.config import XttsConfig
    from livekit_xtts.model.xtts import XttsModel

logger = logging.getLogger(__name__)

ModelSource: TypeAlias = "str | Path | XttsModel | None"

BUNDLED = Path(__file__).resolve().parent.parent / "bundled"
RANDOM = ("random-small", "random")
"""Names of seeded random models: a small one, and one of the full size of XTTS-v2."""

_warned, _told = threading.Event(), threading.Event()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with what it needs to speak.

    Attributes:
        name: For people.
        model: Weights and configuration.
        tokenizer: None where the folder has no vocabulary.
        voice: The default voice, None where there is none.
        folder: Where it came from, None for models from memory.
        owned: Whether nobody else holds the model, so that parts of it may be given up.
        trained: False for random weights, whose speech never ends by itself.
    """

    name: str
    model: XttsModel
    tokenizer: Tokenizer | None
    voice: Voice | None
    folder: Path | None = None
    owned: bool = False
    trained: bool = True


def chosen(source: ModelSource) -> str | Path | XttsModel:
    """The model that None stands for: the bundled voice, or a small random one with a warning.

    Once a process the log says what else there is.
    """
    if source is not None:
        return source
    if (BUNDLED / "model.safetensors").is_file():
        if not _told.is_set():
            _told.set()
            logger.info(
                "speaking with the small bundled voice; `livekit-xtts download` fetches XTTS-v2"
            )
        return BUNDLED
    if not _warned.is_set():
        _warned.set()
        logger.warning(
            "no bundled voice is installed: speaking with a small random model, which makes noise"
        )
    return RANDOM[0]


def name_of(source: ModelSource) -> str:
    """What to call a model before it is loaded."""
    if source is None:
        return "bundled"
    if isinstance(source, str | Path):
        return str(source) if str(source) in RANDOM else Path(source).name
    return "model"


def configuration(source: ModelSource) -> XttsConfig | None:
    """What a model's configuration says, before anything is loaded; None where it cannot be read.

    Loading says what is wrong with it.
    """
    from livekit_xtts.model.config import XttsConfig

    if source is None:
        source = BUNDLED if (BUNDLED / "config.json").is_file() else RANDOM[0]
    if not isinstance(source, str | Path):
        return source.config
    if str(source) in RANDOM:
        return XttsConfig.small() if str(source) == RANDOM[0] else XttsConfig()
    try:
        return XttsConfig.from_json(find_model(source) / "config.json")
    except SpeechError:
        return None


def load(
    source: ModelSource, *, device: str = "cpu", seed: int = 0, precision: str = "auto"
) -> Loaded:
    """Load a model.

    Args:
        source: A folder, the name of a downloaded model, a name of `RANDOM`, a model, or None for
            the bundled one.
        device: Where the weights go.
        precision: What will be asked for: what it does not need is left out.
        seed: Of random weights.

    Raises:
        ModelError: Something is missing or damaged; the message names it and the remedy.
    """
    from livekit_xtts.model.checkpoint import create_random
    from livekit_xtts.model.config import XttsConfig
    from livekit_xtts.model.precision import load_for

    wanted = chosen(source)
    if not isinstance(wanted, str | Path):
        model = wanted.to(device)
        return Loaded("model", model, _stand_in(model), random_voice(model, seed))
    if str(wanted) in RANDOM:
        config = XttsConfig.small() if str(wanted) == RANDOM[0] else XttsConfig()
        model = create_random(config, seed).to(device)
        return Loaded(
            str(wanted),
            model,
            ByteTokenizer(),
            random_voice(model, seed),
            owned=True,
            trained=False,
        )
    folder = Path(wanted).expanduser()
    if not folder.exists():
        folder = find_model(wanted)
    model = load_for(folder, device=device, precision=precision)
    return Loaded(
        "bundled" if folder == BUNDLED else folder.name,
        model,
        _vocabulary(folder, model),
        _own_voice(folder, model),
        folder=folder,
        owned=True,
    )


def random_voice(model: XttsModel, seed: int = 0) -> Voice:
    """A voice of random numbers, for models that have no other."""
    config = model.config
    generator = np.random.default_rng(seed)
    shape = (config.perceiver_latents, config.gpt_n_model_channels)
    speaker = generator.standard_normal(config.d_vector_dim)
    return make_voice(
        "random",
        generator.standard_normal(shape).astype(np.float32),
        (speaker / np.linalg.norm(speaker)).astype(np.float32),
        model.fingerprint,
    )


def _stand_in(model: XttsModel) -> Tokenizer | None:
    fits = model.config.gpt_number_text_tokens >= ByteTokenizer.vocab_size
    return ByteTokenizer() if fits else None


def _vocabulary(folder: Path, model: XttsModel) -> Tokenizer | None:
    if not (folder / "vocab.json").is_file():
        logger.warning("%s has no vocab.json: only ready-made text ids can be spoken", folder)
        return None
    tokenizer = TextTokenizer(folder)
    if tokenizer.vocab_size > model.config.gpt_number_text_tokens:
        raise ModelError(
            f"{folder}/vocab.json has {tokenizer.vocab_size} entries, the model's table"
            f" {model.config.gpt_number_text_tokens}: it belongs to another model"
        )
    return tokenizer


def _own_voice(folder: Path, model: XttsModel) -> Voice | None:
    """The first voice in the folder's `voices/` that belongs to the model."""
    for path in sorted((folder / "voices").glob("*.safetensors")):
        voice = load_voice(path).voice
        if voice.model in ("", model.fingerprint):
            return make_voice(voice.name, voice.latents, voice.speaker_embedding, model.fingerprint)
        logger.warning("voice %s is another model's and is left out", path)
    return None

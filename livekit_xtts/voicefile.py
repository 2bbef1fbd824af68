"""A voice as a file: safetensors, read without pickle, checked, with what made it written beside.

Tensors: `latents` (positions, width) and `speaker_embedding` (width,), float32 (float16 is read
too). Metadata: `format`, `name`, `model` (fingerprint of the model it belongs to), `language`,
`source` (SHA-256 of the recordings), `settings`, `sha256` (of both tensors as float32).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from livekit_xtts.reference import read_bounded
from livekit_xtts.speech import Float32, Voice, VoiceError
from livekit_xtts.storage import write_atomically

FORMAT = "livekit-xtts voice 1"
SUFFIX = ".safetensors"
MAX_VOICE_BYTES = 16 * 2**20
STUDIO_FILE = "speakers_xtts.pth"


@dataclass(frozen=True, slots=True)
class StoredVoice:
    """A voice and what is known of its making.

    Attributes:
        voice: Ready to speak.
        language: Language of its recordings; empty where nobody said.
        source: Hex SHA-256 of the recordings; empty where unknown.
        settings: How the recordings were prepared, as text.
    """

    voice: Voice
    language: str = ""
    source: str = ""
    settings: str = ""


def make_voice(name: str, latents: Any, speaker_embedding: Any, model: str) -> Voice:
    """A `Voice` from two arrays, its fingerprint computed and both arrays made read-only.

    Args:
        name: For logs and lists.
        latents: Shape (positions, width).
        speaker_embedding: Shape (width,).
        model: Fingerprint of the model that made them.

    Raises:
        VoiceError: Wrong shapes, or values that are not finite.
    """
    first = np.array(latents, dtype=np.float32, order="C")
    second = np.array(speaker_embedding, dtype=np.float32, order="C")
    if first.ndim != 2 or second.ndim != 1 or not first.size or not second.size:
        raise VoiceError(
            f"voice {name!r} has tensors of shapes {first.shape} and {second.shape};"
            " (positions, width) and (width,) are needed"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise VoiceError(f"voice {name!r} is damaged: it holds values that are not finite numbers")
    first.flags.writeable = second.flags.writeable = False
    return Voice(
        name=name,
        latents=first,
        speaker_embedding=second,
        fingerprint=_digest(first, second),
        model=model,
    )


def _digest(latents: Float32, speaker_embedding: Float32) -> str:
    digest = hashlib.sha256()
    for array in (latents, speaker_embedding):
        digest.update(repr(array.shape).encode())
        digest.update(array.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def save_voice(path: Path, stored: StoredVoice) -> None:
    """Write a voice whole or not at all, replacing a file of that name.

    Raises:
        VoiceError: The file cannot be written.
    """
    from safetensors.numpy import save

    voice = stored.voice
    metadata = {
        "format": FORMAT,
        "name": voice.name,
        "model": voice.model,
        "language": stored.language,
        "source": stored.source,
        "settings": stored.settings,
        "sha256": voice.fingerprint,
    }
    tensors = {
        # A plain copy: safetensors takes a read-only array's buffer for writable.
        "latents": np.array(voice.latents),
        "speaker_embedding": np.array(voice.speaker_embedding),
    }
    try:
        write_atomically(path, save(tensors, metadata=metadata))
    except OSError as error:
        raise VoiceError(f"{path} cannot be written: {error.strerror or error}") from error


def load_voice(source: Path | bytes, *, name: str | None = None) -> StoredVoice:
    """Read and check a voice file.

    Args:
        source: Its path, or its content.
        name: What to call the voice; by default the name in the file, else the file's own.

    Raises:
        VoiceError: Missing, empty, too big, not a voice, or damaged.
    """
    what = str(source) if isinstance(source, Path) else "the voice file"
    data = read_bounded(source, what, MAX_VOICE_BYTES) if isinstance(source, Path) else source
    if len(data) > MAX_VOICE_BYTES:
        raise VoiceError(f"{what} is bigger than a voice can be ({MAX_VOICE_BYTES // 2**20} MiB)")
    tensors, metadata = _parse(data, what)
    stem = source.stem if isinstance(source, Path) else "voice"
    voice = make_voice(
        name or metadata.get("name") or stem,
        tensors["latents"],
        tensors["speaker_embedding"],
        metadata.get("model", ""),
    )
    expected = metadata.get("sha256")
    if expected and expected != voice.fingerprint:
        raise VoiceError(f"{what} is damaged: its content does not match its own checksum")
    return StoredVoice(
        voice=voice,
        language=metadata.get("language", ""),
        source=metadata.get("source", ""),
        settings=metadata.get("settings", ""),
    )


def is_voice_file(data: bytes) -> bool:
    """Whether bytes begin like safetensors: a header's length, then JSON."""
    return len(data) > 9 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data)


def _parse(data: bytes, what: str) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise VoiceError(
            f"{what} is damaged or not a voice file ({SUFFIX[1:]} with latents and"
            " speaker_embedding)"
        ) from error
    if missing := {"latents", "speaker_embedding"} - set(tensors):
        raise VoiceError(f"{what} is not a voice: {' and '.join(sorted(missing))} not in it")
    return tensors, metadata


def load_studio(path: Path, model: str) -> dict[str, Voice]:
    """The published studio speakers of XTTS-v2, by name.

    Args:
        path: `speakers_xtts.pth`: for each name `gpt_cond_latent` (1, 32, 1024) and
            `speaker_embedding` (1, 512, 1).
        model: Fingerprint of the model they were published with.

    Raises:
        VoiceError: The file is damaged, holds code, or has another layout.
    """
    import torch

    problem = f"{path} is damaged or not the published studio speakers; fetch it again:"
    try:
        speakers = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise whatever the reader stumbles over
        raise VoiceError(f"{problem} livekit-xtts download") from error
    try:
        return {
            str(name): make_voice(
                str(name),
                values["gpt_cond_latent"].float().squeeze(0).numpy(),
                values["speaker_embedding"].float().reshape(-1).numpy(),
                model,
            )
            for name, values in speakers.items()
        }
    except (KeyError, TypeError, AttributeError, VoiceError) as error:
        raise VoiceError(f"{problem} livekit-xtts download") from error

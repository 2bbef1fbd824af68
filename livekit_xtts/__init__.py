"""XTTS-v2 for LiveKit Agents: a cloned voice on your own machine.

    from livekit_xtts import TTS

    session = AgentSession(tts=TTS(voice="anna.wav"), ...)

Importing this package is cheap and safe before a fork: names are resolved on first use, torch is
imported by the first local engine, and the plugin registers when LiveKit Agents is imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from livekit_xtts import plugin as _plugin
from livekit_xtts.speech import (
    EngineBusyError,
    EngineClosedError,
    EngineFailedError,
    InvalidRequestError,
    ModelError,
    ReferenceAudio,
    Sampling,
    SpeechError,
    SpeechRequest,
    Voice,
    VoiceError,
)
from livekit_xtts.version import __version__

if TYPE_CHECKING:
    from livekit_xtts.cache import SpeechCache
    from livekit_xtts.engine.engine import Engine
    from livekit_xtts.engine.local import LocalEngine as LocalEngine
    from livekit_xtts.loading import load
    from livekit_xtts.pacing import SpeechStats
    from livekit_xtts.pipeline import Pipeline
    from livekit_xtts.room import Speaker
    from livekit_xtts.streams import ChunkedStream, SynthesizeStream
    from livekit_xtts.tts import TTS
    from livekit_xtts.voices import VoiceLibrary

__all__ = [
    "TTS",
    "ChunkedStream",
    "Engine",
    "EngineBusyError",
    "EngineClosedError",
    "EngineFailedError",
    "InvalidRequestError",
    "ModelError",
    "Pipeline",
    "ReferenceAudio",
    "Sampling",
    "Speaker",
    "SpeechCache",
    "SpeechError",
    "SpeechRequest",
    "SpeechStats",
    "SynthesizeStream",
    "Voice",
    "VoiceError",
    "VoiceLibrary",
    "__version__",
    "load",
]

_WHERE = {
    "TTS": "tts",
    "ChunkedStream": "streams",
    "SynthesizeStream": "streams",
    "Engine": "engine.engine",
    "Pipeline": "pipeline",
    "SpeechCache": "cache",
    "SpeechStats": "pacing",
    "VoiceLibrary": "voices",
    # Not in __all__: a star import (the alias below livekit.plugins) must not import torch.
    "LocalEngine": "engine.local",
    "Speaker": "room",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    """Resolve a public name on first use."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})


_plugin.arrange()

"""What a voice can be asked for as, and which requests for it are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from livekit_xtts.cloning import Recording
from livekit_xtts.speech import ReferenceAudio, Voice
from livekit_xtts.voicefile import SUFFIX

VoiceSource: TypeAlias = Recording | Sequence[Recording] | Voice
"""What a voice can be asked for as."""

KINDS = ("library", "bundled", "studio")
_AUDIO_SUFFIXES = frozenset([".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"])


def item_key(item: Recording) -> str:
    """Names a recording, or a file in the state it is in now."""
    if isinstance(item, ReferenceAudio):
        return f"a {item.sample_rate} {hashlib.sha256(item.samples.tobytes()).hexdigest()}"
    if isinstance(item, bytes):
        return "b " + hashlib.sha256(item).hexdigest()
    try:
        status = Path(item).stat()
    except (OSError, ValueError):
        return f"n {item}"
    return f"f {item} {status.st_mtime_ns} {status.st_size} {status.st_ino}"


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for what no file system takes as a name."""
    try:
        return path.is_file()
    except OSError:
        return False


def looks_like_path(text: str) -> bool:
    """Whether a text is meant as a path rather than a name."""
    kind, slash, _ = text.partition("/")
    if slash and kind in KINDS:
        return False
    path = Path(text)
    return "/" in text or os.sep in text or path.suffix.lower() in {*_AUDIO_SUFFIXES, SUFFIX}

"""Where this package keeps its files, and how it writes them: whole or not at all.

Everything lives under one folder, `home()`: `voices/` (the voice library) and `models/` (downloaded
checkpoints). `LIVEKIT_XTTS_HOME` moves it, for containers and for images that carry their models.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from livekit_xtts.speech import SpeechError

HOME_VARIABLE = "LIVEKIT_XTTS_HOME"
TEMPORARY_SUFFIX = ".partial"
STALE_SECONDS = 3600.0
"""A temporary file older than this belongs to a process that died while writing."""

_NAME = re.compile(r"\w[\w \-.]{0,63}")
# Windows opens devices under these names in every folder, whatever the suffix.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)


class StorageError(SpeechError):
    """A folder of this package cannot be found or written; the message says which."""


def home(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of this package's own files; not created here.

    `LIVEKIT_XTTS_HOME` if set; else the platform's data folder: `$XDG_DATA_HOME` or
    `~/.local/share` on Linux, `~/Library/Application Support` on macOS, `%LOCALAPPDATA%` on
    Windows, each with `livekit-xtts` below.

    Raises:
        StorageError: The user has no home folder and the variable is not set.
    """
    values = os.environ if environment is None else environment
    if chosen := values.get(HOME_VARIABLE):
        return Path(chosen).expanduser()
    try:
        base = _data_folder(values)
    except RuntimeError as error:
        raise StorageError(
            f"there is no home folder to keep voices and models in: set {HOME_VARIABLE}"
        ) from error
    return base / "livekit-xtts"


def _data_folder(values: Mapping[str, str]) -> Path:
    if sys.platform == "win32":
        return Path(values.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(values.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def safe_name(name: str) -> str | None:
    """The name as a file's stem (Unicode NFC), or None where it could name anything else.

    Letters, digits, `_`, `-`, `.` and single spaces, at most 64 characters, beginning with a letter
    or digit: no separator, no drive, no parent folder, no device name can be written that way.
    """
    normal = unicodedata.normalize("NFC", name)
    if not _NAME.fullmatch(normal) or normal[-1] in " ." or "  " in normal:
        return None
    if normal.split(".")[0].strip().casefold() in _DEVICES:
        return None
    return normal


def write_atomically(path: Path, *pieces: bytes | memoryview, private: bool = True) -> None:
    """Write a file so that readers, other processes included, see all of it or nothing.

    Creates the folder if need be.

    Args:
        path: The file; what is there is replaced.
        *pieces: Its content.
        private: File and new folder are readable by their owner only; False leaves that to the
            process's umask, as for any file that a user asks for.

    Raises:
        OSError: Nothing was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
    temporary = path.parent / f".{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    mode = 0o600 if private else 0o666
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            for piece in pieces:
                file.write(piece)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_stale(folder: Path, *, now: float | None = None) -> None:
    """Delete temporary files that a dead process left behind; never raises."""
    limit = (time.time() if now is None else now) - STALE_SECONDS
    try:
        for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
            if path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)
    except OSError:
        return  # another process is cleaning the same folder, or it is not ours to clean

"""What went wrong, as an exit code and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from livekit_xtts.download import LicenseNotAcceptedError
from livekit_xtts.speech import InvalidRequestError, ModelError, SpeechError, VoiceError

FAILED = 1
USAGE = 2
VOICE = 3
MODEL = 4
LICENSE = 5
PARTIAL = 6
INTERRUPTED = 130


class UsageError(InvalidRequestError):
    """Options or an input file that make no sense together."""


class InterruptedByUserError(SpeechError):
    """Ctrl-C."""


_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (InterruptedByUserError, INTERRUPTED),
    (InvalidRequestError, USAGE),
    (VoiceError, VOICE),
    (ModelError, MODEL),
    (LicenseNotAcceptedError, LICENSE),
    (SpeechError, FAILED),
    (TimeoutError, FAILED),
    (OSError, FAILED),
)


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes Ctrl-C in the block an error with an exit code of its own."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedByUserError("interrupted") from None


def check_file(path: Path) -> None:
    """Refuse a folder where a file is to be written, before anything is made.

    Raises:
        UsageError: There is a folder of that name.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give a file's name")


def create_folder(path: Path) -> None:
    """Create the folder that results go to.

    Raises:
        UsageError: There is a file of that name.
        OSError: It cannot be created.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file: give a folder's name")
    path.mkdir(parents=True, exist_ok=True)


def exit_code(error: BaseException) -> int | None:
    """The code of an error that a user can meet; None for anything else."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)


def message(error: BaseException) -> str:
    """What to say about it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__

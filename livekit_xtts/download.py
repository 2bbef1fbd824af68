"""The published XTTS-v2: fetched once its licence is accepted, checked, converted, kept.

    livekit-xtts download                      # asks
    livekit-xtts download --accept-license     # where nobody can answer
    XTTS_ACCEPT_LICENSE=1 python -m livekit.agents download-files

The model's folder is `home()/models/xtts-v2` (see `livekit_xtts.storage`). A transfer that broke
off goes on where it stopped. Nothing is ever fetched during a request.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from livekit_xtts.fetch import DownloadError, Progress, RemoteFile, fetch, list_files
from livekit_xtts.log import logger
from livekit_xtts.speech import ModelError, SpeechError
from livekit_xtts.storage import HOME_VARIABLE, home, safe_name
from livekit_xtts.voicefile import STUDIO_FILE

__all__ = [
    "LICENSE_NOTICE",
    "DownloadError",
    "LicenseNotAcceptedError",
    "download",
    "download_files",
    "find_model",
    "license_accepted",
    "models_folder",
]

REPOSITORY = "coqui/XTTS-v2"
PUBLISHED = "xtts-v2"
"""The name under which the published model is kept."""

NEEDED = ("config.json", "vocab.json", STUDIO_FILE, "model.pth")
WELCOME = ("LICENSE.txt",)
LICENSE_VARIABLE = "XTTS_ACCEPT_LICENSE"
LICENSE_NOTICE = (
    "The weights of XTTS-v2 are published by Coqui under the Coqui Public Model License 1.0.0.\n"
    "It allows non-commercial use only, of the model and of what it speaks.\n"
    f"Read it: https://huggingface.co/{REPOSITORY}/blob/main/LICENSE.txt"
)
_SPARE_BYTES = 64 << 20


class LicenseNotAcceptedError(SpeechError):
    """The licence of the weights has not been accepted; the message says how to."""


def models_folder() -> Path:
    """Where downloaded models are kept: `home()/models`."""
    return home() / "models"


def find_model(model: str | Path = PUBLISHED) -> Path:
    """The folder of a model: a path to one, or the name of one that was downloaded.

    Raises:
        ModelError: There is none; the message says how to get it.
    """
    given = Path(model).expanduser()
    if (given / "config.json").is_file():
        return given
    safe = safe_name(str(model))
    if safe is not None and (models_folder() / safe / "config.json").is_file():
        return models_folder() / safe
    if given.is_dir():
        raise ModelError(f"{model} is not a model's folder: config.json is not in it")
    if safe is not None and safe.lower() == PUBLISHED:
        raise ModelError(
            f"XTTS-v2 is not on this machine: run livekit-xtts download"
            f" (it will be kept in {models_folder()}; {HOME_VARIABLE} moves it)"
        )
    raise ModelError(
        f"there is no model {str(model)!r}: give a folder with config.json, vocab.json and"
        f" model.safetensors or model.pth, or {PUBLISHED!r} after livekit-xtts download"
    )


def license_accepted(environment: Mapping[str, str] | None = None) -> bool:
    """Whether `XTTS_ACCEPT_LICENSE` says yes (1, true, yes)."""
    values = os.environ if environment is None else environment
    return values.get(LICENSE_VARIABLE, "").strip().lower() in ("1", "true", "yes")


def download(
    *,
    accept_license: bool = False,
    ask: Callable[[str], bool] | None = None,
    name: str = PUBLISHED,
    repository: str = REPOSITORY,
    revision: str = "main",
    keep_checkpoint: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Fetch the published model, check every file and convert it; returns its folder.

    Args:
        accept_license: The user has accepted the licence; so does `XTTS_ACCEPT_LICENSE=1`.
        ask: Shows the notice to a person and returns their answer; used if nothing else accepts.
        name: Folder's name below `models_folder()`.
        repository: Of the model on the hub that `HF_ENDPOINT` names.
        revision: Branch, tag or commit.
        keep_checkpoint: Keep `model.pth` beside the converted weights (1.9 GB more).
        progress: Told as bytes arrive.

    Raises:
        LicenseNotAcceptedError: Nothing accepted it; nothing was fetched.
        DownloadError: Network, hub or content; running it again goes on from there.
        ModelError: The checkpoint cannot be converted.
        SpeechError: The name is not usable, or the disk is full.
    """
    safe = safe_name(name)
    if safe is None:
        raise SpeechError(f"{name!r} cannot be a model's name")
    target = models_folder() / safe
    if _complete(target):
        return target
    accepted = accept_license or license_accepted() or (ask is not None and ask(LICENSE_NOTICE))
    if not accepted:
        raise LicenseNotAcceptedError(
            f"{LICENSE_NOTICE}\nTo accept it: livekit-xtts download --accept-license,"
            f" or set {LICENSE_VARIABLE}=1"
        )
    commit, listed = list_files(repository, revision)
    if missing := [file for file in NEEDED if file not in listed]:
        raise DownloadError(f"{repository} has no {' and no '.join(missing)}")
    files = [listed[file] for file in (*WELCOME, *NEEDED) if file in listed]
    staging = models_folder() / f".{safe}-{commit[:12]}"
    try:
        staging.mkdir(parents=True, exist_ok=True)
        _check_space(staging, files)
        for file in files:
            fetch(repository, commit, file, staging, progress=progress)
        _convert(staging)
        _move(staging, target)
        if not keep_checkpoint:
            (target / "model.pth").unlink(missing_ok=True)
    except OSError as error:
        raise SpeechError(f"{models_folder()} cannot be written: {error}") from error
    return target


def download_files() -> None:
    """What LiveKit's `download-files` calls: without acceptance it says what to do, and succeeds.

    Raises:
        SpeechError: The licence was accepted, and the download failed.
    """
    if _complete(models_folder() / PUBLISHED):
        logger.info("XTTS-v2 is there: %s", models_folder() / PUBLISHED)
        return
    if not license_accepted():
        logger.warning(
            "XTTS-v2 was not downloaded, because its licence was not accepted.\n%s\n"
            "To accept it, set %s=1 and run download-files again. Without it, the small voice that"
            " comes with the package speaks.",
            LICENSE_NOTICE,
            LICENSE_VARIABLE,
        )
        return
    told: dict[str, int] = {}

    def progress(name: str, done: int, size: int) -> None:
        tenth = 10 * done // max(size, 1)
        if tenth > told.get(name, -1):
            told[name] = tenth
            logger.info("%s: %d %% of %.1f MB", name, 10 * tenth, size / 1e6)

    logger.info("XTTS-v2 is ready: %s", download(progress=progress))


def _complete(folder: Path) -> bool:
    """Folders get their final name when everything is in them."""
    return (folder / "config.json").is_file() and (
        (folder / "model.safetensors").is_file() or (folder / "model.pth").is_file()
    )


def _check_space(folder: Path, files: list[RemoteFile]) -> None:
    there = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    # The converted weights are written while the checkpoint is still there.
    weights = next(file.size for file in files if file.name == "model.pth")
    needed = sum(file.size for file in files) + weights - there + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SpeechError(
            f"{folder.parent} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed;"
            f" {HOME_VARIABLE} moves it to another disk"
        )


def _convert(folder: Path) -> None:
    from livekit_xtts.model.checkpoint import convert

    try:
        convert(folder, folder)
    except ModelError as error:
        raise ModelError(f"the downloaded checkpoint cannot be used: {error}") from error


def _move(staging: Path, target: Path) -> None:
    try:
        staging.replace(target)
    except OSError:
        if not _complete(target):
            raise
        shutil.rmtree(staging, ignore_errors=True)  # another process was first
    for old in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(old, ignore_errors=True)

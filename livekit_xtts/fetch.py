"""Files from a model hub: listed with their hashes, fetched with resume, checked.

Plain HTTP over the standard library. The hub's own client keeps no part of a transfer that broke
off, and a model is 1.9 GB. Only public files are asked for, so no key is ever sent.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from livekit_xtts.speech import SpeechError

PUBLIC_HUB = "https://huggingface.co"
TIMEOUT_S = 30.0
TRIES = 5
"""A transfer that breaks off is taken up again; so many times in a row without a byte, it fails."""

_BLOCK = 1 << 20

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that are there, and its size."""


class DownloadError(SpeechError):
    """A file could not be fetched; what has arrived is kept and used by the next try."""

    retryable = True


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the hub lists it.

    Attributes:
        name: Path in the repository.
        size: In bytes.
        sha256: Of its content, for large files; empty for small ones.
        git_sha1: Of git's blob of it, for small files.
    """

    name: str
    size: int
    sha256: str
    git_sha1: str

    def hasher(self) -> Any:
        """A hash object that takes the content and ends in `self.digest`."""
        if self.sha256:
            return hashlib.sha256()
        return hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)

    @property
    def digest(self) -> str:
        """What the hash must come to."""
        return self.sha256 or self.git_sha1


def hub() -> str:
    """The hub's address: `HF_ENDPOINT`, else the public one.

    Raises:
        DownloadError: `HF_HUB_OFFLINE` forbids the network.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on"):
        raise DownloadError("HF_HUB_OFFLINE is set: nothing is fetched from the network")
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or PUBLIC_HUB


def list_files(repository: str, revision: str = "main") -> tuple[str, dict[str, RemoteFile]]:
    """A repository's commit and files.

    Raises:
        DownloadError: No answer, or not a hub's answer.
    """
    place = f"{hub()}/api/models/{repository}/revision/{urllib.parse.quote(revision, safe='')}"
    with _open(f"{place}?blobs=true", {}) as answer:
        content = answer.read(16 << 20)
    try:
        listed = json.loads(content)
        files = [
            RemoteFile(
                name=str(entry["rfilename"]),
                size=int(entry["size"]),
                sha256=str((entry.get("lfs") or {}).get("sha256", "")),
                git_sha1=str(entry.get("blobId", "")),
            )
            for entry in listed["siblings"]
        ]
        return str(listed["sha"]), {file.name: file for file in files}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(f"{hub()} does not answer like a model hub (HF_ENDPOINT?)") from error


def fetch(
    repository: str,
    commit: str,
    file: RemoteFile,
    folder: Path,
    *,
    progress: Progress | None = None,
    pause_s: float = 1.0,
) -> Path:
    """One file, taking up what an earlier try left, its hash checked before it gets its name.

    Args:
        repository: "owner/name".
        commit: Its commit, so that all files are of one version.
        file: As `list_files` says.
        folder: Where it is put; a part waits there as `NAME.part`.
        progress: Told as bytes arrive.
        pause_s: Wait before a broken transfer is taken up again.

    Raises:
        DownloadError: The network or the hub failed, or the content is not what was listed.
        OSError: It cannot be written.
    """
    target = folder / file.name
    if target.is_file() and target.stat().st_size == file.size:
        return target
    part = folder / f"{file.name}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    url = f"{hub()}/{repository}/resolve/{commit}/{urllib.parse.quote(file.name)}"
    tries = TRIES
    while (have := part.stat().st_size if part.exists() else 0) < file.size:
        try:
            _transfer(url, part, have, file, progress)
        except (DownloadError, http.client.HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None and not _of_network(error):
                raise
            arrived = part.stat().st_size if part.exists() else 0
            tries = TRIES if arrived > have else tries - 1
            if tries == 0 or not getattr(error, "retryable", True):
                raise DownloadError(
                    f"{file.name} stopped at {arrived} of {file.size} bytes ({error});"
                    " run the same command again to go on from there"
                ) from error
            time.sleep(pause_s)
    _check(part, file)
    part.replace(target)
    return target


def _of_network(error: OSError) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError, urllib.error.URLError, ssl.SSLError))


def _transfer(url: str, part: Path, have: int, file: RemoteFile, progress: Progress | None) -> None:
    """Fetch from byte `have` on, to the end or until it breaks off."""
    with _open(url, {"Range": f"bytes={have}-"} if have else {}) as answer:
        if have and answer.status != 206:
            have = 0  # the server sends all of it again
        with part.open("r+b" if have else "wb") as target:
            target.seek(have)
            while have < file.size and (block := answer.read(min(_BLOCK, file.size - have))):
                target.write(block)
                have += len(block)
                if progress is not None:
                    progress(file.name, have, file.size)
    if have < file.size:
        raise DownloadError("the connection was closed")


def _check(part: Path, file: RemoteFile) -> None:
    digest = file.hasher()
    with part.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != file.digest:
        part.unlink()
        raise DownloadError(
            f"{file.name} arrived damaged (its hash differs from the hub's) and was deleted;"
            " run the same command again"
        )


def _open(url: str, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "livekit-xtts", **headers})
    context = _certificates() if url.startswith("https:") else None
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context)
    except urllib.error.HTTPError as error:
        failure = DownloadError(f"{url} answers {error.code} {error.reason}")
        if error.code < 500 and error.code not in (408, 429):
            failure.retryable = False
        raise failure from error
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{urllib.parse.urlsplit(url).netloc} cannot be reached: {reason}"
        ) from error


def _certificates() -> ssl.SSLContext:
    """The system's authorities; certifi's where Python finds none (macOS)."""
    context = ssl.create_default_context()
    if not context.get_ca_certs():
        try:
            import certifi
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context

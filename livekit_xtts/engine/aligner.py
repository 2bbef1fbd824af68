"""When each word of a finished request is spoken, read beside live requests on a thread of its own.

The codes of a request are complete before its last audio is decoded, so its words are usually known
when that audio is. Nothing waits for them in the engine: where they are late or cannot be had, the
request ends without them, and whoever wants word times estimates them.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from livekit_xtts.alignment import (
    Head,
    align,
    find_heads,
    id_characters,
    text_attention,
    word_codes,
)
from livekit_xtts.engine.exits import at_exit, end
from livekit_xtts.engine.job import Job, SpokenWords
from livekit_xtts.engine.threads import use_threads
from livekit_xtts.model.gpt import GPT
from livekit_xtts.text.normalize import normalize

logger = logging.getLogger(__name__)

FILE = "alignment.json"
EXAMPLES = 8
"""Requests from which the heads of a checkpoint are found, where no file names them."""

MOST_WAITING = 4
"""Requests that wait for their words; further ones go without."""

IDLE_S = 60.0
"""The thread ends when nothing has come for so long."""

_LEAST_IDS = 12
_PACKAGE = Path(__file__).resolve().parent.parent


class Vocabulary(Protocol):
    """What the ids stand for."""

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's entries of ids."""
        ...


class Aligner:
    """Tells for each word at which code it begins.

    Args:
        gpt: In this process, its blocks with their weights.
        vocabulary: Of the model.
        fingerprint: Of the model: heads are found for one checkpoint.
        folder: The checkpoint's; the heads are kept there where it can be written.
    """

    def __init__(
        self, gpt: GPT, vocabulary: Vocabulary, fingerprint: str, folder: Path | None
    ) -> None:
        self._gpt = gpt
        self._vocabulary = vocabulary
        self._fingerprint = fingerprint
        self._folder = folder
        self._heads = read_heads(folder, fingerprint)
        self._examples: list[npt.NDArray[np.float32]] = []
        self._waiting: deque[tuple[Job, Future[SpokenWords | None]]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._left = False
        at_exit(self)

    def leave(self) -> None:
        """The interpreter ends: stop the thread."""
        with self._changed:
            self._left = True
            self._waiting.clear()
            self._changed.notify()
        end([self._thread])

    def submit(self, job: Job) -> None:
        """Have the words of a request found, whose codes are complete; returns at once."""
        job.words = None
        if self._heads == () or not job.progress.codes or job.request.ids is not None:
            return
        with self._changed:
            if self._left or len(self._waiting) >= MOST_WAITING:
                return
            job.words = Future()
            self._waiting.append((job, job.words))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="xtts-align", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        use_threads(1)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._left, IDLE_S)
                if not self._waiting:
                    self._thread = None
                    return
                job, future = self._waiting.popleft()
            words: SpokenWords | None = None
            try:
                if not job.done:
                    words = self._words(job)
            except Exception:
                logger.warning("word times could not be read", exc_info=True)
            future.set_result(words)

    def _words(self, job: Job) -> SpokenWords | None:
        assert job.prepared is not None
        ids, codes, request = job.prepared.ids, tuple(job.progress.codes), job.request
        layers = None if self._heads is None else 1 + max(head.layer for head in self._heads)
        latents = torch.from_numpy(np.array(job.prepared.voice.latents, np.float32))
        attention = text_attention(self._gpt, latents, ids, codes, layers=layers)
        if self._heads is None:
            if len(ids) >= _LEAST_IDS and job.progress.stopped:
                self._learn(attention)
            return None
        alignment = align(attention, self._heads)
        text = request.text
        spoken = text if request.normalized else normalize(text, request.language)
        characters = id_characters(self._vocabulary.tokens(ids))
        return SpokenWords(
            alignment, tuple(word_codes(text, spoken, characters, alignment, request.language))
        )

    def _learn(self, attention: npt.NDArray[np.float32]) -> None:
        self._examples.append(attention)
        if len(self._examples) < EXAMPLES:
            return
        self._heads = tuple(find_heads(self._examples))
        self._examples.clear()
        if not self._heads:
            logger.info(
                "no attention head of this model follows the text: word times are estimates"
            )
        if self._folder is not None and not self._folder.resolve().is_relative_to(_PACKAGE):
            write_heads(self._folder, self._fingerprint, self._heads)


def read_heads(folder: Path | None, fingerprint: str) -> tuple[Head, ...] | None:
    """The heads kept beside a checkpoint; None where none are, or they are another state's."""
    if folder is None:
        return None
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["fingerprint"] != fingerprint:
            return None
        return tuple(Head(int(a), int(b), float(score)) for a, b, score in content["heads"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged and is made again: %s", path, error)
        return None


def write_heads(folder: Path, fingerprint: str, heads: Sequence[Head]) -> None:
    """Keep a checkpoint's heads beside it; a folder that cannot be written is no error."""
    if not os.access(folder, os.W_OK):
        return
    path = folder / FILE
    rows = [[head.layer, head.head, round(head.score, 4)] for head in heads]
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps({"fingerprint": fingerprint, "heads": rows}) + "\n")
        part.replace(path)
    except OSError as error:
        logger.warning("%s cannot be written: %s", path, error)


def aligner_for(
    gpt: GPT, vocabulary: object, fingerprint: str, folder: Path | None
) -> Aligner | None:
    """An aligner, or None where words cannot be read: no vocabulary, or no weights to read with.

    Quantised and half-precision runners hold weights of their own, and the model has given up
    its: word times are estimates there.
    """
    if not hasattr(vocabulary, "tokens"):
        return None
    if next(gpt.gpt.h.parameters()).is_meta:
        logger.info("word times are estimates: this precision keeps no weights to read them with")
        return None
    return Aligner(gpt, vocabulary, fingerprint, folder)

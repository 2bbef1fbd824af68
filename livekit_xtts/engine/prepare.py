"""A request checked and brought into the model's terms."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

import numpy as np

from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.job import Job, Prepared
from livekit_xtts.engine.length import expected_codes_of_ids, reading
from livekit_xtts.speech import (
    CODE_SECONDS,
    EngineInfo,
    InvalidRequestError,
    ModelError,
    SpeechRequest,
    Voice,
    VoiceError,
)
from livekit_xtts.text.normalize import speakable


class Tokenizer(Protocol):
    """Text to ids."""

    languages: tuple[str, ...]

    def encode(self, text: str, language: str, *, normalized: bool = False) -> list[int]:
        """See `text.tokenizer.TextTokenizer.encode`."""
        ...

    def count(self, text: str, language: str, *, normalized: bool = False) -> int:
        """See `text.tokenizer.TextTokenizer.count`."""
        ...


class Preparer:
    """What `Scheduler` calls for each request it admits.

    Args:
        info: The engine.
        tokenizer: None where the model has no vocabulary; then only ready-made ids can be spoken.
        voice: The default voice, None where there is none.
        shapes: Shapes of a voice's latents and speaker embedding.
        text_ids: Size of the model's table of text ids.
        positions: Most steps of one request.
        length: Positions of a slot; None where every request fits.
        trained: False for random weights, whose speech never ends by itself: the budget of codes
            then follows from the text.
        ends: How requests may end; None as the model gives it.
        align: Finds the words of a request whose codes are complete; None where that cannot be.
    """

    def __init__(
        self,
        info: EngineInfo,
        tokenizer: Tokenizer | None,
        voice: Voice | None,
        *,
        shapes: tuple[tuple[int, ...], tuple[int, ...]],
        text_ids: int,
        positions: int,
        length: int | None = None,
        trained: bool = True,
        ends: Ends | None = None,
        align: Callable[[Job], None] | None = None,
    ) -> None:
        self._info = info
        self._tokenizer = tokenizer
        self._voice = voice
        self._shapes = shapes
        self._text_ids = text_ids
        self._positions = positions
        self._length = length
        self._trained = trained
        self._ends = ends or Ends.off()
        self._align = align

    def __call__(self, job: Job) -> Prepared:
        """Check a request.

        Raises:
            InvalidRequestError: Language, text or ids; the message names what and why.
            VoiceError: No voice, another model's, or a damaged one.
            ModelError: Text, and a model without vocabulary.
        """
        request = job.request
        ids = self._ids(request)
        known = reading(request.text, request.language) if request.ids is None else None
        expected = known.seconds / CODE_SECONDS if known else expected_codes_of_ids(len(ids))
        limits = [self._positions, request.max_codes, self._ends.limit(expected)]
        if self._length is not None:
            limits.append(self._room(len(ids), expected))
        if not self._trained and request.ids is None:
            limits.append(round(expected))
        return Prepared(
            ids=ids,
            voice=self._checked(request.voice or self._voice),
            sampling=request.sampling or self._info.sampling,
            seed=secrets.randbits(63) if request.seed is None else request.seed,
            budget=min(limit for limit in limits if limit),
            stop_bias=self._ends.bias(expected),
            reading=known,
            align=self._align if request.align else None,
        )

    def _room(self, ids: int, expected: float) -> int:
        """Codes that fit into a slot behind a prompt; what the text is expected to take must."""
        assert self._length is not None
        # Conditioning, start and stop of the text, start of the speech.
        room = self._length - (self._shapes[0][0] + ids + 2 + 1)
        if room < min(expected, self._positions):
            raise InvalidRequestError(
                f"the text is too long for this engine's slots of {self._length} positions: {ids}"
                f" ids and about {expected:.0f} codes of speech do not fit; cut it into segments,"
                " or give the engine longer slots (slot_positions=)"
            )
        return room

    def _ids(self, request: SpeechRequest) -> tuple[int, ...]:
        ids = self._given_ids(request)
        most = self._info.max_text_ids
        if not 0 < len(ids) <= most:
            raise InvalidRequestError(
                f"a request takes 1 to {most} text ids, not {len(ids)}: cut the text into segments"
            )
        return ids

    def _given_ids(self, request: SpeechRequest) -> tuple[int, ...]:
        if request.ids is not None:
            ids = tuple(request.ids)
            wrong = next((i for i in ids if not 0 <= i < self._text_ids), None)
            if wrong is not None:
                raise InvalidRequestError(
                    f"text id {wrong} is not in the model's table of {self._text_ids}"
                )
            return ids
        if self._tokenizer is None:
            raise ModelError(
                f"model {self._info.model!r} has no vocab.json: put the file beside its weights,"
                " or send ready-made ids"
            )
        if not speakable(request.text):
            raise InvalidRequestError("the text has nothing in it that can be spoken")
        return tuple(
            self._tokenizer.encode(request.text, request.language, normalized=request.normalized)
        )

    def _checked(self, voice: Voice | None) -> Voice:
        if voice is None:
            raise VoiceError(
                f"model {self._info.model!r} has no voice of its own: name one, or clone one from a"
                " recording (voice=; --voice or --reference on the command line)"
            )
        if voice.model != self._info.fingerprint:
            raise VoiceError(
                f"voice {voice.name!r} was made by another model ({voice.model[:12] or 'unknown'},"
                f" this is {self._info.fingerprint[:12]}): clone it again from its reference audio"
            )
        if (voice.latents.shape, voice.speaker_embedding.shape) != self._shapes:
            raise VoiceError(
                f"voice {voice.name!r} has shapes {voice.latents.shape} and"
                f" {voice.speaker_embedding.shape}, the model takes {self._shapes[0]} and"
                f" {self._shapes[1]}"
            )
        if not (np.isfinite(voice.latents).all() and np.isfinite(voice.speaker_embedding).all()):
            raise VoiceError(f"voice {voice.name!r} is damaged: it has values that are not finite")
        return voice

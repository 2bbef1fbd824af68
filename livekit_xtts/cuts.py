"""How finished texts are cut into segments; what was cut before is remembered."""

from __future__ import annotations

from livekit_xtts.engine.engine import Engine
from livekit_xtts.parts import id_counter
from livekit_xtts.text.pronunciation import Pronunciations
from livekit_xtts.text.segment import Segment, Segmenter

REMEMBERED = 1024
LONGEST = 500
"""Characters of a text that is remembered: a phrase that is said again, and no more."""


class KnownCuts:
    """Cuts finished texts for one engine. Belongs to no event loop; thread-safe.

    Args:
        engine: Says how long a segment may be.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[tuple[object, ...], tuple[Segment, ...]] = {}

    def segments(
        self, text: str, language: str, pronunciations: Pronunciations | None
    ) -> tuple[Segment, ...]:
        """The segments of a text; joined they are the text.

        Raises:
            InvalidRequestError: The language is unknown.
        """
        info = self._engine.info
        # By object: a map cannot be changed. An engine may learn its limits when it loads.
        key = (text, language, pronunciations, info.fingerprint)
        if (known := self._known.get(key)) is not None:
            return known
        segmenter = Segmenter(
            language,
            first=None,
            char_limit=dict(info.char_limits).get(language),
            ids_limit=info.max_text_ids,
            count_ids=id_counter(self._engine, language, pronunciations),
            protected=pronunciations or (),
        )
        made = (*segmenter.push(text), *segmenter.flush())
        if len(text) <= LONGEST and info.fingerprint:
            if len(self._known) >= REMEMBERED:
                self._known = {}
            self._known[key] = made
        return made

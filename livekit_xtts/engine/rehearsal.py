"""A request that nobody hears, so that the first that somebody hears finds its way warm."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from livekit_xtts.engine.job import Job
from livekit_xtts.speech import SpeechRequest

if TYPE_CHECKING:
    from livekit_xtts.engine.machine import Machine

TEXT = "Hello!"


def rehearse(machine: Machine) -> None:
    """Bring a text into an engine's slots as a caller's would come: vocabulary and own voice.

    `Machine.warm_up` speaks ready-made ids in a voice of random numbers, and says what is left:
    the vocabulary's first use, the text front end, and the keys and values of the conditioning
    positions, which are kept for the engine's own voice from here on. A single code is made of it.
    A model without a vocabulary or a voice refuses the request, and nothing is lost.

    Args:
        machine: Not in use yet.
    """
    languages = machine.info.languages
    language = "en" if "en" in languages or not languages else languages[0]
    request = SpeechRequest(TEXT, language=language, seed=0, max_codes=1, streaming=False)
    machine.scheduler.submit(Job(request, lambda event: None, time.perf_counter))
    while machine.scheduler.tick():
        pass

"""The example agent with a voice of known signals, as a file that LiveKit's commands can run."""

from functools import partial

import livekit_xtts
from tests.fake_engine import FakeEngine

livekit_xtts.TTS = partial(  # type: ignore[misc, assignment]
    livekit_xtts.TTS, engine=FakeEngine(signal="chirps"), cache=False
)

from agent_example.agent import server  # noqa: E402, F401

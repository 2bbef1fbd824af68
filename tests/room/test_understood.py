"""The listener understands what is said: a recogniser at the other end of a real room."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr

from benchmarks.voice_recognise import ClosedSet
from livekit_xtts.engine.engine import Engine
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.engine.source import BUNDLED
from livekit_xtts.speech import SAMPLE_RATE, SpeechRequest
from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine
from tests.livekit_server.server import LiveKitServer
from tests.room.listening import Audio
from tests.room.test_room import heard_in

pytestmark = pytest.mark.server

SENTENCES: list[str] = json.loads(
    (Path(__file__).parents[2] / "benchmarks" / "voice_sentences.json").read_text()
)["sentences"][:8]
SAID = 1
"""A short one of the sentences that no training saw."""


class Reader(FakeEngine):
    """Reads with espeak-ng: speech that is known to be understood."""

    def expected(self, request: SpeechRequest) -> Audio:
        """espeak-ng's reading at 24 kHz."""
        command = ["espeak-ng", "-v", "en-us", "--stdout", request.text]
        read = subprocess.run(command, capture_output=True, check=True).stdout
        with wave.open(io.BytesIO(read)) as file:
            pcm = np.frombuffer(file.readframes(-1), np.int16).astype(np.float32) / 32768
            audio: Audio = soxr.resample(pcm, file.getframerate(), SAMPLE_RATE)
            return audio


@pytest.fixture(params=["espeak-ng", "bundled"])
def speaking(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine that speaks English."""
    if request.param == "espeak-ng":
        if not shutil.which("espeak-ng"):
            pytest.skip("espeak-ng is not installed")
        engine: Engine = Reader()
    else:
        if not (BUNDLED / "model.safetensors").is_file():
            pytest.skip("no bundled voice is installed")
        engine = LocalEngine()
    engine.load()
    yield engine
    engine.close()


async def test_the_right_sentence_is_recognised(
    server: LiveKitServer, room_name: str, speaking: Engine
) -> None:
    tts = TTS(engine=speaking, cache=False, seed=1)
    async with heard_in(server, room_name, tts) as (speaker, heard):
        await speaker.say(SENTENCES[SAID])
        await heard.quiet(0.6)
    await tts.aclose()
    recording = soxr.resample(heard.recording, SAMPLE_RATE, 16_000).astype(np.float64)
    understood, _ = ClosedSet(SENTENCES).judge(recording, SAID)
    assert understood

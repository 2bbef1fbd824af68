"""Hear the voice: `python -m livekit_xtts.demo`.

Speaks a sentence through a LiveKit `AgentSession` with no server and no key, plays it where there
is a sound device, writes `demo.wav` and prints what was measured. With `--room` it joins a room on
a LiveKit server instead and speaks to whoever comes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from dotenv import load_dotenv
from livekit.agents import Agent, AgentSession, APIConnectOptions, ErrorEvent
from livekit.agents.voice import io
from livekit.agents.voice.agent_session import SessionConnectOptions
from rich.console import Console
from rich.table import Table

from livekit import api, rtc
from livekit_xtts.audio import from_pcm16, write_wav
from livekit_xtts.room import Speaker, SpeakerStats
from livekit_xtts.speech import SpeechError
from livekit_xtts.tts import TTS

TEXT = (
    "Hello! This is a cloned voice, running on your own machine."
    " It speaks while it is still thinking about the end of the sentence."
)
ROOM = "xtts-demo"
CHAT_TOPIC = "lk.chat"
PATIENT = APIConnectOptions(max_retry=0, timeout=60.0)
"""A demo has time: slow hardware is to show how slow it is."""

DEV_SERVER = {
    "LIVEKIT_URL": "ws://127.0.0.1:7880",
    "LIVEKIT_API_KEY": "devkey",
    "LIVEKIT_API_SECRET": "secret",
}
"""What `livekit-server --dev` listens to."""


class Player(Protocol):
    """Plays PCM as it comes."""

    def write(self, pcm: bytes) -> None:
        """Queue 16-bit mono PCM; returns at once."""
        ...

    def drain(self) -> None:
        """Wait until all of it has been heard."""
        ...


class SoundDevice:
    """The machine's sound device, fed from a buffer by PortAudio's own thread.

    Args:
        sample_rate: Samples per second of the PCM.

    Raises:
        Exception: There is no sounddevice package, no PortAudio library or no device.
    """

    def __init__(self, sample_rate: int) -> None:
        import sounddevice

        self._pcm = bytearray()
        self._empty = threading.Event()
        self._lock = threading.Lock()
        self._stream = sounddevice.RawOutputStream(
            samplerate=sample_rate, channels=1, dtype="int16", callback=self._fill
        )
        self._stream.start()

    def _fill(self, out: Any, frames: int, clock: Any, status: Any) -> None:
        with self._lock:
            part = bytes(self._pcm[: len(out)])
            del self._pcm[: len(part)]
        out[:] = part.ljust(len(out), b"\0")
        if not part:
            self._empty.set()

    def write(self, pcm: bytes) -> None:
        with self._lock:
            self._pcm += pcm
            self._empty.clear()

    def drain(self) -> None:
        self._empty.wait()
        self._stream.stop()
        self._stream.close()


def sound_device(sample_rate: int) -> tuple[Player | None, str]:
    """The sound device, or None and the reason why there is none."""
    try:
        return SoundDevice(sample_rate), ""
    except ImportError:
        return None, "no: pip install 'livekit-xtts[play]'"
    except Exception as error:
        # PortAudio says by many kinds of errors that there is no library or no device.
        return None, f"no: {str(error).splitlines()[0]}"


class Recording(io.AudioOutput):
    """An `AgentSession`'s output that keeps what it gets and passes it to a player.

    Args:
        player: None keeps it only.

    Attributes:
        pcm: What came, 16-bit mono PCM.
        first_at: When the first of it came, by `time.perf_counter()`; None before it.
    """

    def __init__(self, player: Player | None = None) -> None:
        super().__init__(label="demo", capabilities=io.AudioOutputCapabilities(pause=True))
        self.pcm = bytearray()
        self.first_at: float | None = None
        self._player = player
        self._segment = 0
        self._rate = 0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Take a frame; see `AudioOutput.capture_frame`."""
        await super().capture_frame(frame)
        if self.first_at is None:
            self.first_at = time.perf_counter()
        data = bytes(frame.data)
        self.pcm += data
        self._segment += frame.samples_per_channel
        self._rate = frame.sample_rate
        if self._player is not None:
            self._player.write(data)

    def flush(self) -> None:
        """The segment is complete: the session's turn ends, whatever the player still has."""
        super().flush()
        self._finish(interrupted=False)

    def clear_buffer(self) -> None:
        """An interruption; nobody interrupts the demo."""
        self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool) -> None:
        if self._segment:
            seconds, self._segment = self._segment / self._rate, 0
            self.on_playback_finished(playback_position=seconds, interrupted=interrupted)


@dataclass
class Result:
    """What the demo measured.

    Attributes:
        model: Name of the model.
        device: Device and precision.
        load_s: Seconds until the engine was ready.
        first_audio_s: Seconds from `session.say` to the first frame.
        duration_s: Seconds of speech.
        real_time_factor: Seconds of work for a second of speech; NaN where unknown.
        pcm: 16-bit mono PCM.
        sample_rate: Of `pcm`.
    """

    model: str
    device: str
    load_s: float
    first_audio_s: float
    duration_s: float
    real_time_factor: float
    pcm: bytes = field(repr=False)
    sample_rate: int


async def speak(tts: TTS, text: str, player: Player | None = None) -> Result:
    """Speak a text through an `AgentSession` that has this voice and nothing else.

    Raises:
        SpeechError: The model or the voice cannot be used.
        RuntimeError: The voice failed in the session.
    """
    began = time.perf_counter()
    await asyncio.to_thread(tts.load)
    load_s = time.perf_counter() - began
    output = Recording(player)
    # Neither ears nor a mind: no voice activity and no turn detection are loaded.
    session: AgentSession[None] = AgentSession(
        tts=tts,
        vad=None,
        turn_handling={"turn_detection": None},
        conn_options=SessionConnectOptions(tts_conn_options=PATIENT),
    )
    failures: list[ErrorEvent] = []
    session.on("error", failures.append)
    session.output.audio = output
    try:
        await session.start(Agent(instructions="Speak."))
        said = time.perf_counter()
        await session.say(text)
    finally:
        await session.aclose()
    if failures or output.first_at is None:
        cause = getattr(failures[0].error, "error", None) if failures else None
        raise RuntimeError(f"the voice failed: {cause or 'the session gave no audio'}")
    engine = tts._backend.engine
    assert engine is not None, "a loaded TTS has an engine"
    info = engine.info
    return Result(
        model=info.model,
        device=f"{info.device}, {info.precision}",
        load_s=load_s,
        first_audio_s=output.first_at - said,
        duration_s=len(output.pcm) / 2 / tts.sample_rate,
        real_time_factor=tts.stats()["real_time_factor"] or float("nan"),
        pcm=bytes(output.pcm),
        sample_rate=tts.sample_rate,
    )


def table(result: Result, out: Path, played: str) -> Table:
    """The figures for people."""
    rows = Table(show_header=False)
    rows.add_row("model", result.model)
    rows.add_row("device", result.device)
    rows.add_row("first audio", f"{result.first_audio_s * 1000:.0f} ms")
    rows.add_row("real-time factor", f"{result.real_time_factor:.2f}")
    rows.add_row("duration", f"{result.duration_s:.2f} s")
    rows.add_row("loading", f"{result.load_s:.1f} s")
    rows.add_row("file", str(out))
    rows.add_row("played", played)
    return rows


async def speak_in_room(
    tts: TTS, text: str, room_name: str, say: Callable[[str], None]
) -> SpeakerStats:
    """Join a room, speak to the first who comes, then read out the room's text messages.

    Ends when everybody else has left.

    Args:
        tts: The voice.
        text: What is said first.
        room_name: The room.
        say: Told how to listen and what happens.

    Raises:
        ConnectionError: There is no server, or it refuses the key.
        SpeechError: The model or the voice cannot be used.
    """
    url, key, secret = (os.environ.get(name) or value for name, value in DEV_SERVER.items())
    room = rtc.Room()
    alone = asyncio.Event()

    def left(_: rtc.RemoteParticipant) -> None:
        if not room.remote_participants:
            alone.set()

    room.on("participant_disconnected", left)
    room.on("disconnected", lambda _: alone.set())
    await asyncio.to_thread(tts.load)
    try:
        await room.connect(url, _token(key, secret, room_name, "xtts"))
    except rtc.ConnectError as error:
        raise ConnectionError(
            f"no LiveKit room at {url} ({error}). Start a server with `livekit-server --dev`,"
            f" or set {', '.join(DEV_SERVER)}"
        ) from error
    listen = {"liveKitUrl": url, "token": _token(key, secret, room_name, "listener")}
    say(
        f"In room {room_name!r} on {url}. To listen, open\n"
        f"  https://meet.livekit.io/custom?{urlencode(listen)}\n"
        "or join it with any LiveKit client. Messages in its chat are read out."
    )
    try:
        async with Speaker(room, tts) as speaker:
            reading: set[asyncio.Task[None]] = set()

            async def read(message: rtc.TextStreamReader, sender: str) -> None:
                written = await message.read_all()
                say(f"{sender}: {written}")
                speaker.interrupt()
                speaker.say(written)

            def on_message(message: rtc.TextStreamReader, sender: str) -> None:
                task = asyncio.create_task(read(message, sender))
                reading.add(task)
                task.add_done_callback(reading.discard)

            room.register_text_stream_handler(CHAT_TOPIC, on_message)
            speaker.say(text)
            await alone.wait()
            return speaker.stats
    finally:
        await room.disconnect()


def _token(key: str, secret: str, room_name: str, identity: str) -> str:
    grants = api.VideoGrants(room_join=True, room=room_name)
    token = api.AccessToken(key, secret).with_identity(identity).with_grants(grants)
    with warnings.catch_warnings():
        # The secret of `livekit-server --dev` is short, and meant to be.
        warnings.filterwarnings("ignore", "The HMAC key is")
        return token.with_ttl(timedelta(days=1)).to_jwt()


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m livekit_xtts.demo", description="Hear the voice."
    )
    parser.add_argument("--text", default=TEXT, help="what to say")
    parser.add_argument("--voice", help="a name, or a recording of 6 to 30 s to clone")
    parser.add_argument("--language", help="language of the text")
    parser.add_argument("--model", help="folder of a model")
    parser.add_argument("--device", help="auto, cpu, cuda, …")
    parser.add_argument("--out", type=Path, default=Path("demo.wav"), help="the file to write")
    parser.add_argument("--no-play", action="store_true", help="write the file only")
    parser.add_argument(
        "--room", nargs="?", const=ROOM, help=f"speak into this LiveKit room (default {ROOM!r})"
    )
    return parser.parse_args(argv)


async def run(options: argparse.Namespace, console: Console) -> None:
    """What the command line asks for."""
    given = {name: getattr(options, name) for name in ("voice", "language", "model", "device")}
    tts = TTS(**{name: value for name, value in given.items() if value is not None})
    try:
        if options.room is not None:
            stats = await speak_in_room(tts, options.text, options.room, console.print)
            console.print(f"{stats.utterances} utterances, {stats.played_s:.1f} s heard")
        else:
            await speak_here(tts, options, console)
        if tts.model.startswith("random"):
            console.print(
                "This model is random: it shows that everything runs, and speaks no language."
                " `livekit-xtts download` fetches XTTS-v2."
            )
    finally:
        await tts.aclose()


async def speak_here(tts: TTS, options: argparse.Namespace, console: Console) -> None:
    """Speak without a server: sound device, file, table."""
    player, reason = (None, "no: --no-play") if options.no_play else sound_device(tts.sample_rate)
    result = await speak(tts, options.text, player)
    await asyncio.to_thread(write_wav, options.out, from_pcm16(result.pcm), result.sample_rate)
    console.print(table(result, options.out, reason or "yes"))
    if player is not None:
        await asyncio.to_thread(player.drain)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    load_dotenv()
    options = arguments(argv)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        asyncio.run(run(options, console))
    except KeyboardInterrupt:
        return 130
    except (SpeechError, RuntimeError, TimeoutError, OSError) as error:
        console.print(f"error: {error}", style="red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The example agent: against a real server, under LiveKit's own commands, with and without keys."""

from __future__ import annotations

import asyncio
import functools
import os
import struct
import sys
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit.agents import AgentServer, JobExecutorType, llm
from livekit.agents.types import TOPIC_CHAT
from livekit.protocol.agent_pb import agent_session as console_messages

import livekit_xtts
from agent_example import agent
from livekit_xtts.speech import SpeechRequest
from tests.fake_engine import FakeEngine
from tests.livekit_server.server import LiveKitServer
from tests.room.listening import Audio, compare, listener

ROOT = Path(__file__).parents[2]
EXAMPLE = "agent_example/agent.py"
FAKE_VOICE = "tests/room/agent_with_fake_voice.py"
MESSAGE = "Read this to the room."
PATIENCE_S = 90.0

Message = console_messages.AgentSessionMessage


REGISTERED = "registered worker"
"""What a worker logs when the server will give it jobs: a room opened before that gets none."""


@asynccontextmanager
async def running(
    *command: str, ready: str | None = None, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process in the repository's root, ended with the block.

    Args:
        command: Arguments of the interpreter.
        ready: Wait until this is printed.
        variables: Added to the environment.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "LIVEKIT_URL"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        env={**inherited, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed = asyncio.Event()
    reading = asyncio.create_task(read(process, ready or "", printed))
    try:
        if ready is not None:
            async with asyncio.timeout(PATIENCE_S):
                await printed.wait()
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading


async def read(process: asyncio.subprocess.Process, phrase: str, printed: asyncio.Event) -> None:
    """Pass on what a process prints and notice the phrase."""
    assert process.stdout is not None
    async for line in process.stdout:
        text = line.decode(errors="replace")
        print(text, end="")
        if phrase in text:
            printed.set()


def address(server: LiveKitServer) -> dict[str, str]:
    """The server for an agent's environment."""
    return {
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
    }


def said(text: str) -> Audio:
    """What the fake voice says."""
    return FakeEngine(signal="chirps").expected(SpeechRequest(text=text))


@asynccontextmanager
async def working(server: LiveKitServer) -> AsyncIterator[None]:
    """The example's own server object, registered and working in this process."""
    registered = asyncio.Event()
    agent.server.once("worker_registered", lambda *_: registered.set())
    agent.server.update_options(
        ws_url=server.url, api_key=server.api_key, api_secret=server.api_secret
    )
    work = asyncio.create_task(agent.server.run(devmode=True))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await registered.wait()
        yield
    finally:
        await agent.server.aclose()
        await work


@pytest.mark.server
async def test_it_greets_and_speaks_messages(
    server: LiveKitServer, room_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(signal="chirps", seconds_per_character=0.03)
    voice = functools.partial(livekit_xtts.TTS, engine=engine, cache=False)
    monkeypatch.setattr(livekit_xtts, "TTS", voice)
    async with working(server), listener(server, room_name) as heard:
        await heard.silence(1.0)
        assert " ".join(request.text for request in engine.requests) == agent.GREETING
        greeting = len(engine.requests)
        start = len(heard.recording)
        await heard.room.local_participant.send_text(MESSAGE, topic=TOPIC_CHAT)
        await heard.signal()
        await heard.quiet()
        assert [request.text for request in engine.requests[greeting:]] == [MESSAGE]
        said = engine.expected(SpeechRequest(text=MESSAGE))
        assert compare(said, heard.recording[start:]).correlation >= 0.95
    engine.close()


@pytest.mark.server
@pytest.mark.parametrize("executor", ["threads", pytest.param("processes", marks=pytest.mark.full)])
async def test_the_real_voice_speaks_under_dev(
    server: LiveKitServer, room_name: str, executor: str
) -> None:
    variables = {**address(server), "AGENT_EXECUTOR": executor, "OMP_NUM_THREADS": "1"}
    async with (
        running(EXAMPLE, "dev", ready=REGISTERED, **variables),
        listener(server, room_name) as heard,
    ):
        await heard.signal()


async def test_it_runs_under_the_console() -> None:
    talking: asyncio.Queue[Console] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.put_nowait(Console(reader, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as tcp:
        port = tcp.sockets[0].getsockname()[1]
        command = ("-m", "livekit.agents", "console", FAKE_VOICE)
        async with running(*command, "--connect-addr", f"127.0.0.1:{port}"):
            async with asyncio.timeout(PATIENCE_S):
                console = await talking.get()
                greeting = await console.utterance()
                assert greeting.size / 48_000 > 1.0
                console.ask(MESSAGE)
                answer = await console.utterance()
                # LiveKit's resampler for the console keeps some milliseconds to itself.
                seconds = said(MESSAGE).size / 24_000
                assert answer.size / 48_000 == pytest.approx(seconds, abs=0.15)
            console.writer.close()


class Console:
    """LiveKit's command line program, as far as the agent sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def utterance(self) -> np.ndarray[Any, Any]:
        """The samples up to the next end of an utterance, at 48 kHz; told to be played."""
        pcm = b""
        while True:
            (size,) = struct.unpack(">I", await self.reader.readexactly(4))
            message = Message.FromString(await self.reader.readexactly(size))
            if message.HasField("audio_output"):
                pcm += message.audio_output.data
            if message.HasField("audio_playback_flush") and pcm:
                self.send(
                    Message(audio_playback_finished=Message.ConsoleIO.AudioPlaybackFinished())
                )
                return np.frombuffer(pcm, np.int16)

    def ask(self, text: str) -> None:
        """Type a line."""
        run = console_messages.SessionRequest.RunInput(text=text)
        self.send(Message(request=console_messages.SessionRequest(request_id="1", run_input=run)))

    def send(self, message: Message) -> None:
        data = message.SerializeToString()
        self.writer.write(struct.pack(">I", len(data)) + data)


async def test_without_a_model_it_answers_with_the_users_words() -> None:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="first")
    context.add_message(role="assistant", content="first")
    context.add_message(role="user", content="Say this.")
    reply = await agent.Echo().chat(chat_ctx=context).collect()
    assert reply.text == "Say this."
    silent = await agent.Echo().chat(chat_ctx=llm.ChatContext.empty()).collect()
    assert silent.text == "I have nothing to say yet."


@pytest.mark.parametrize("value", ["", "  "])
def test_an_unset_component_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AGENT_STT", value)
    assert agent.component("AGENT_STT")() is None


def test_a_component_is_named_by_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_STT", "deepgram/nova-3")
    assert agent.component("AGENT_STT")() == "deepgram/nova-3"


def test_a_component_is_named_by_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_LLM", "livekit.plugins.xtts:SpeechRequest?text=Hi&speed=1.5&seed=3")
    made = agent.component("AGENT_LLM")()
    assert made == SpeechRequest(text="Hi", speed=1.5, seed=3)


@pytest.mark.parametrize("value", ["livekit.plugins.not_there:STT", "livekit.plugins.xtts:STT"])
def test_a_component_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("AGENT_STT", value)
    with pytest.raises(ValueError, match=r"AGENT_STT=.*pip install livekit-plugins-"):
        agent.component("AGENT_STT")


def test_the_load_is_the_share_of_conversations() -> None:
    jobs: Any = types.SimpleNamespace(active_jobs=[object()] * (agent.MOST_JOBS // 2))
    assert agent.load(jobs) == 0.5


def test_the_settings_of_a_local_model() -> None:
    """Each is a real argument of this LiveKit version and reaches the server."""
    server = AgentServer(**agent.COMMON, **agent.EXECUTORS["processes"])
    assert server._initialize_process_timeout == 300
    assert server._num_idle_processes == 1
    assert server._job_executor_type is JobExecutorType.PROCESS
    assert server._job_memory_warn_mb < server._job_memory_limit_mb
    assert server._preload_modules == ["livekit_xtts.preload"]
    threads = AgentServer(**agent.COMMON, **agent.EXECUTORS["threads"])
    assert threads._job_executor_type is JobExecutorType.THREAD

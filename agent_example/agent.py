"""A LiveKit agent with a voice of its own: `livekit_xtts.TTS` in an `AgentServer`.

Without any key it greets whoever joins and speaks the room's text messages (chat topic `lk.chat`)
back in the voice. With an STT and an LLM named in `.env` it holds a conversation. README.md in this
folder has the commands and the settings.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dotenv import load_dotenv
from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    Agent,
    AgentServer,
    AgentSession,
    APIConnectOptions,
    JobContext,
    JobExecutorType,
    JobProcess,
    NotGivenOr,
    cli,
    llm,
    room_io,
)

import livekit_xtts  # here, not in a job: LiveKit registers plugins on the main thread only

load_dotenv()

GREETING = "Hello! I have a voice of my own now. Write me a message and I will read it to you."
INSTRUCTIONS = (
    "You are a friendly voice assistant. Answer in one or two short sentences of plain text,"
    " without lists, emojis or markup: everything you write is spoken."
)


class Echo(llm.LLM[str]):
    """Answers with the user's own words, so that the agent runs without a language model."""

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> llm.LLMStream:
        """The reply to the conversation so far; see `livekit.agents.llm.LLM.chat`."""
        return _EchoStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _EchoStream(llm.LLMStream):
    async def _run(self) -> None:
        said = [item for item in self._chat_ctx.messages() if item.role == "user"]
        text = said[-1].text_content if said else None
        delta = llm.ChoiceDelta(role="assistant", content=text or "I have nothing to say yet.")
        self._event_ch.send_nowait(llm.ChatChunk(id="echo", delta=delta))


def component(name: str) -> Callable[[], Any]:
    """What makes the component that an environment variable names.

    Two spellings:

    - `deepgram/nova-3`: a model of LiveKit Inference; needs LiveKit Cloud's key and secret.
    - `livekit.plugins.openai:LLM?model=gpt-4.1-mini&temperature=0.3`: any installed plugin's
      class with its arguments. The plugin takes its key from its own variable.

    Returns:
        A function that makes the component for one job; it returns None where the variable is
        unset or empty.

    Raises:
        ValueError: The plugin or its class is not there; the message names the package.
    """
    value = os.environ.get(name, "").strip()
    module, _, rest = value.partition(":")
    if not module.startswith("livekit.plugins."):
        return lambda: value or None
    parts = urlsplit(rest)
    try:
        factory = getattr(importlib.import_module(module), parts.path)
    except (ImportError, AttributeError) as error:
        package = module.replace(".", "-")
        raise ValueError(f"{name}={value}: {error}; try `pip install {package}`") from error
    arguments = {key: _value(text) for key, text in parse_qsl(parts.query)}
    return lambda: factory(**arguments)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


# At import, because LiveKit registers plugins on the main thread only.
make_stt = component("AGENT_STT")
make_llm = component("AGENT_LLM")

MOST_JOBS = int(os.environ.get("AGENT_MOST_JOBS", "8"))
"""Conversations at once; the server sends further ones to other workers."""


def setup(process: JobProcess) -> None:
    """Load the voice before the first job. Here blocking is allowed; in a job it would not be."""
    livekit_xtts.TTS().load()


def load(server: AgentServer) -> float:
    """Share of the conversations that this worker can hold.

    LiveKit's default is the CPU load, which a voice on a CPU raises to the limit with one call.
    """
    return len(server.active_jobs) / MOST_JOBS


# What both ways need. A job's set-up loads the model, which takes longer than the 10 s that LiveKit
# gives by default (it would end the process and begin again, for ever), and one job that waits
# ready is enough where the default in production is one for each CPU core.
COMMON: dict[str, Any] = {
    "setup_fnc": setup,
    "initialize_process_timeout": 300,
    "num_idle_processes": 1,
    "load_fnc": load,
    "load_threshold": 1.0,
}

EXECUTORS: dict[str, dict[str, Any]] = {
    # One process, one model: every job is a thread with an event loop of its own, and all of them
    # share one engine, which speaks their sentences in one batch. LiveKit's memory limits and
    # preloaded modules do nothing here: there is no child process.
    "threads": {"job_executor_type": JobExecutorType.THREAD},
    # One process for each job, each with a model of its own: jobs cannot harm each other, memory is
    # paid for each. `preload_modules` imports what is slow to import once, before processes fork.
    # The limits are for XTTS-v2 in 8 bit; the warning's default of 1000 MB would always be on.
    "processes": {
        "job_executor_type": JobExecutorType.PROCESS,
        "preload_modules": ["livekit_xtts.preload"],
        "job_memory_warn_mb": 3000,
        "job_memory_limit_mb": 6000,
    },
}

server = AgentServer(**COMMON, **EXECUTORS[os.environ.get("AGENT_EXECUTOR", "threads")])


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    """One conversation in one room."""
    stt = make_stt()
    hearing: dict[str, Any] = {"stt": stt}
    if stt is None:
        # Nobody would use what the microphone sends: no voice activity, no turn detection.
        hearing = {"vad": None, "turn_handling": {"turn_detection": None}}
    session: AgentSession[None] = AgentSession(
        llm=make_llm() or Echo(),
        tts=livekit_xtts.TTS(),  # voice, language, … come from LIVEKIT_XTTS_… in .env
        **hearing,
    )
    options = room_io.RoomOptions(audio_input=NOT_GIVEN if stt else False)
    await session.start(Agent(instructions=INSTRUCTIONS), room=ctx.room, room_options=options)
    session.say(GREETING)


if __name__ == "__main__":
    cli.run_app(server)

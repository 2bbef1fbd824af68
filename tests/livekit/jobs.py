"""Workers that the executor tests run: in each kind a job speaks, and writes what came.

    python -m tests.livekit.jobs FOLDER

Kept in a module of its own, as job processes import it again.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import Any

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobExecutorType, JobProcess

import livekit_xtts
from tests.fake_engine import FakeEngine
from tests.livekit.helpers import Capped, Output

KINDS = ("forkserver", "spawn", "thread")
FOLDER, KIND = "XTTS_TEST_FOLDER", "XTTS_TEST_KIND"


def setup(process: JobProcess) -> None:
    """Once in each process (or thread), before its job."""
    if os.environ[KIND] == "forkserver":
        process.userdata["engine"] = livekit_xtts.load("random-small", device="cpu")
    else:
        process.userdata["engine"] = FakeEngine()


def parallel_work() -> dict[str, Any]:
    """Torch on several threads: a child forked from a process that did so before would hang."""
    import torch

    from livekit_xtts.engine.shared import shared_engine

    product = torch.randn(600, 600) @ torch.randn(600, 600)
    return {
        "torch_threads": torch.get_num_threads(),
        "finite": bool(product.isfinite().all()),
        "shared": shared_engine("random-small", "cpu").ready,
    }


async def speak(context: JobContext) -> None:
    """The job: a session with our TTS into an output that keeps what it hears."""
    result: dict[str, Any] = {
        "process": multiprocessing.current_process().name,
        "pid": os.getpid(),
        "worker": int(os.environ["XTTS_TEST_WORKER"]),
        "thread": threading.current_thread() is not threading.main_thread(),
        "torch_before": "torch" in sys.modules,
    }
    try:
        if os.environ[KIND] == "forkserver":
            result |= parallel_work()
        engine = context.proc.userdata["engine"]
        tts = livekit_xtts.TTS(engine=Capped(engine), cache=False, seed=1)
        session = AgentSession(tts=tts, vad=None, turn_handling={"turn_detection": None})
        output = Output()
        session.output.audio = output
        await session.start(Agent(instructions="speak"))
        await session.say("A job speaks.")
        await session.aclose()
        result["seconds"] = sum(frame.duration for frame in output.segments[0])
        engine.close()
    except Exception as error:
        result["error"] = repr(error)
    path = Path(os.environ[FOLDER]) / os.environ[KIND]
    path.with_suffix(".part").write_text(json.dumps(result))
    path.with_suffix(".part").replace(path)
    context.shutdown()


def server(kind: str) -> AgentServer:
    """The settings that a local model needs; see the README."""
    settings: dict[str, Any] = {
        "setup_fnc": setup,
        "initialize_process_timeout": 170.0,
        "num_idle_processes": 0,
        "job_memory_warn_mb": 6000,
        "host": "127.0.0.1",
        "port": 0,
        "ws_url": "ws://127.0.0.1:9",
        "api_key": "devkey",
        "api_secret": "secret" * 8,
        "job_executor_type": JobExecutorType.PROCESS,
    }
    if kind == "thread":
        settings["job_executor_type"] = JobExecutorType.THREAD
    else:
        settings["multiprocessing_context"] = kind
    known = inspect.signature(AgentServer.__init__).parameters
    if kind == "forkserver" and "preload_modules" in known:
        settings["preload_modules"] = ["livekit_xtts.preload"]
    return AgentServer(**settings)


async def run(kind: str, folder: Path) -> None:
    """Start a worker without a LiveKit server, run one job, and leave when it has written."""
    os.environ |= {FOLDER: str(folder), KIND: kind, "XTTS_TEST_WORKER": str(os.getpid())}
    worker = server(kind)
    worker.rtc_session(speak)
    started = asyncio.Event()
    worker.once("worker_started", started.set)
    running = asyncio.create_task(worker.run(devmode=True, unregistered=True))
    await started.wait()
    await worker.simulate_job("room", fake_job=True)
    # The job may be in another process: there is only the file to look at.
    while not (folder / kind).exists() and not running.done():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await worker.aclose()
    await running


async def main(folder: Path) -> None:
    """One kind after the other, in one worker process."""
    for kind in KINDS:
        await run(kind, folder)


if __name__ == "__main__":
    # Under the module's own name: what a job process imports is not `__main__`.
    from tests.livekit import jobs

    asyncio.run(jobs.main(Path(sys.argv[1])))

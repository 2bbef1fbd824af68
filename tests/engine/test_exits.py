"""Processes that end while the engine's threads are at work in native code."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from livekit_xtts.engine import exits

BEGIN = """
import threading
import torch
from livekit_xtts.engine import source
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.speech import ReferenceAudio, SpeechRequest

engine = LocalEngine("random-small", threads=1, precision="fp32")
begun = threading.Event()
matrix = torch.randn(300, 300)

def at_work(*arguments, **options):
    while True:
        torch.linalg.svd(matrix)  # Some 0.05 s without the interpreter's lock, frames of C++ below.
        begun.set()
"""

CASES = {
    "loading": "source.load = at_work\nengine.start()\n",
    "setting up": "engine._assemble = at_work\nengine.start()\n",
    "a step": (
        "engine.load()\n"
        "engine._machine.runner.step = at_work\n"
        "engine.submit(SpeechRequest('', ids=(5,)), lambda event: None)\n"
    ),
    "cloning": (
        "import numpy as np\n"
        "engine.load()\n"
        "engine._machine.model.clone = at_work\n"
        "engine.clone([ReferenceAudio(np.ones(30_000, np.float32), 22_050)])\n"
    ),
    "asyncio": (
        "import asyncio\n"
        "from livekit_xtts.engine.stream import speak\n"
        "engine.load()\n"
        "async def main():\n"
        "    request = SpeechRequest('', ids=(5,), max_codes=602)\n"
        "    async for chunk in speak(engine, request):\n"
        "        begun.set()\n"
        "        break\n"
        "asyncio.run(main())\n"
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_leaving_during_native_work_is_clean(case: str) -> None:
    code = BEGIN + CASES[case] + "assert begun.wait(60)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_exit_code_stays() -> None:
    code = BEGIN + CASES["loading"] + "assert begun.wait(60)\nraise SystemExit(3)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_a_call_that_never_returns_does_not_keep_the_process() -> None:
    release = threading.Event()
    stuck = threading.Thread(target=release.wait, daemon=True)
    stuck.start()
    assert not exits.end((stuck, None), longest_s=0.0)
    release.set()
    assert exits.end((stuck,))


def test_without_a_way_to_interrupt_threads_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(exits.ctypes, "pythonapi")
    release = threading.Event()
    thread = threading.Thread(target=release.wait, daemon=True)
    thread.start()
    exits.interrupt(thread)
    release.set()
    assert exits.end((thread,))

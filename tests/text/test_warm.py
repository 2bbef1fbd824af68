"""A language's text front end is there before the first text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from livekit_xtts.speech import LANGUAGES
from livekit_xtts.text import warm as module
from livekit_xtts.text.warm import warm, warm_ahead

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"

SCRIPT = """
import re, sys
from livekit_xtts.text.normalize import normalize
from livekit_xtts.text.segment import Segmenter
from livekit_xtts.text.warm import warm

language, warmed, *texts = sys.argv[1:]
made = []
compiled = re._compiler.compile
re._compiler.compile = lambda *given: made.append(given) or compiled(*given)
if warmed == "warm":
    warm(language)
made.clear()
modules = set(sys.modules)
for text in texts:
    segmenter = Segmenter(language)
    for segment in (*segmenter.push(text), *segmenter.flush()):
        normalize(segment.text, language)
print(len(made), len(set(sys.modules) - modules))
"""


def cold(language: str, warmed: str) -> tuple[int, int]:
    """Patterns and modules that the language's corpus still makes in a process of its own."""
    lines = (CORPUS / f"{language}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.split("\t")[1] for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, language, warmed, *texts],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    patterns, modules = map(int, done.stdout.split())
    return patterns, modules


@pytest.mark.skipif(not hasattr(re, "_compiler"), reason="counts what `re` compiles")
@pytest.mark.parametrize("language", ["en", "de", "ja", "zh-cn", "ko"])
def test_after_it_a_text_makes_next_to_nothing(language: str) -> None:
    before_patterns, before_modules = cold(language, "cold")
    patterns, modules = cold(language, "warm")
    assert before_modules and before_patterns > 20
    assert modules == 0
    assert patterns <= before_patterns / 5


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_runs_in_every_language(language: str) -> None:
    warm(language)


def test_what_stands_in_the_way_is_left_to_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    warm("klingon")
    assert warm_ahead("klingon").result(10) is None

    def broken(language: str) -> None:
        raise RuntimeError("a library is broken")

    monkeypatch.setattr(module, "warm", broken)
    assert warm_ahead("also klingon").result(10) is None


def test_ahead_it_runs_once_and_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    go, asked = threading.Event(), []

    def held(language: str) -> None:
        asked.append((language, threading.current_thread()))
        assert go.wait(30)

    monkeypatch.setattr(module, "warm", held)
    monkeypatch.setattr(module, "_warming", {})
    first = warm_ahead("de")
    assert warm_ahead("de") is first and not first.done()
    go.set()
    first.result(30)
    assert warm_ahead("de") is first
    ((language, thread),) = asked
    assert language == "de" and thread is not threading.current_thread()

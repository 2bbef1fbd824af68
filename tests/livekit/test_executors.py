"""A job speaks in each of LiveKit's executors: forked, spawned, in a thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.livekit.jobs import KINDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the jobs wrote, by executor; one worker process runs them all."""
    folder = tmp_path_factory.mktemp("jobs")
    done = subprocess.run(
        [sys.executable, "-m", "tests.livekit.jobs", str(folder)],
        cwd=ROOT,
        env={
            **os.environ,
            # Two threads, so that parallel work is parallel; they sleep while they wait.
            "OMP_NUM_THREADS": "2",
            "OMP_WAIT_POLICY": "passive",
            "LIVEKIT_XTTS_HOME": str(folder / "home"),
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {kind: json.loads((folder / kind).read_text()) for kind in KINDS}


@pytest.mark.timeout(600)
def test_a_forked_job_with_preload_speaks_through_the_real_engine(jobs: dict[str, Any]) -> None:
    job = jobs["forkserver"]
    assert "error" not in job
    assert job["pid"] != job["worker"]
    assert job["torch_threads"] == 2  # parallel work in the child did not hang
    assert job["finite"]
    assert job["shared"]  # what `load` made in the set-up is what every TTS gets
    assert job["seconds"] > 0.1


@pytest.mark.timeout(600)
def test_a_spawned_job_speaks_and_needs_no_torch_for_another_engine(jobs: dict[str, Any]) -> None:
    job = jobs["spawn"]
    assert "error" not in job
    assert job["pid"] != job["worker"]
    assert not job["torch_before"]
    assert job["seconds"] == pytest.approx(len("A job speaks.") * 0.06)


@pytest.mark.timeout(600)
def test_a_job_in_a_thread_speaks_on_its_own_event_loop(jobs: dict[str, Any]) -> None:
    job = jobs["thread"]
    assert "error" not in job
    assert job["pid"] == job["worker"]
    assert job["thread"]
    assert job["seconds"] == pytest.approx(len("A job speaks.") * 0.06)

"""Importing, registering, and the alias below `livekit.plugins`, each in a process of its own."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from livekit.agents import Plugin

import livekit_xtts
from livekit_xtts import plugin

ROOT = Path(__file__).parents[2]

BLOCKER = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    """Runs a script in a fresh interpreter and returns what it printed."""

    def run(script: str, *, blocked: tuple[str, ...] = (), path: tuple[Path, ...] = ()) -> str:
        blocker = BLOCKER.format(blocked=blocked) if blocked else ""
        done = subprocess.run(
            [sys.executable, "-c", blocker + textwrap.dedent(script)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


def test_the_import_is_light(python: Callable[..., str]) -> None:
    python("""
        import sys, threading
        import livekit_xtts
        heavy = {"torch", "numpy", "livekit.agents", "soxr", "soundfile"} & set(sys.modules)
        assert not heavy, heavy
        assert threading.active_count() == 1
        assert livekit_xtts.__version__
    """)


def test_the_face_needs_no_torch_and_registers_when_livekit_comes_later(
    python: Callable[..., str],
) -> None:
    python(
        """
        import sys, threading
        import livekit_xtts
        assert "livekit.agents" not in sys.modules
        from livekit.agents import Plugin
        (plugin,) = Plugin.registered_plugins
        assert (plugin.title, plugin.package) == ("livekit_xtts", "livekit_xtts")
        assert plugin.version == livekit_xtts.__version__
        assert plugin.logger.name == "livekit.plugins.xtts"
        assert not any("WhenImported" in type(finder).__name__ for finder in sys.meta_path)
        from livekit_xtts import TTS, Speaker, VoiceLibrary, SpeechCache
        tts = TTS(voice="bundled/anna", temperature=0.5)
        assert tts.describe_options()["voice"] == "bundled/anna"
        from livekit.plugins import xtts
        assert xtts.TTS is TTS
        assert len(Plugin.registered_plugins) == 1
        assert threading.active_count() == 1
        """,
        blocked=("torch",),
    )


LIGHT = """
import sys, threading
from livekit_xtts.tts import TTS
from tests.fake_engine import FakeEngine
names = "livekit_xtts.text.data.de", "num2words"
engine = FakeEngine()
tts = TTS(engine=engine, language="de", cache=False)
assert not set(names) & set(sys.modules)
assert not engine.loads and threading.active_count() == 1
"""


@pytest.mark.parametrize("how", ["tts.load(30)", "tts.prewarm(); warm_ahead('de').result(30)"])
def test_the_text_of_a_loaded_tts_is_there_before_the_first_request(
    python: Callable[..., str], how: str
) -> None:
    python(
        LIGHT
        + f"""
from livekit_xtts.text.warm import warm_ahead
{how}
assert set(names) <= set(sys.modules)
tts.update_options(language="fr")
warm_ahead("fr").result(30)
assert "livekit_xtts.text.data.fr" in sys.modules
engine.close()
""",
        path=(ROOT,),
    )


def test_a_fork_server_prepares_text_and_starts_no_thread(python: Callable[..., str]) -> None:
    python(
        """
        import os, sys, threading
        os.environ["LIVEKIT_XTTS_LANGUAGE"] = "de"
        import livekit_xtts.preload
        assert {"livekit_xtts.text.data.de", "num2words"} <= set(sys.modules)
        assert "livekit_xtts.text.data.en" not in sys.modules
        assert threading.active_count() == 1
        """,
        path=(ROOT,),
    )


def test_loading_in_a_set_up_prepares_text(python: Callable[..., str]) -> None:
    python(
        """
        import os, sys
        os.environ["LIVEKIT_XTTS_LANGUAGE"] = "de"
        from livekit_xtts.loading import load
        engine = load("random-small", precision="fp32")
        assert engine.ready
        assert {"livekit_xtts.text.data.de", "num2words"} <= set(sys.modules)
        engine.close()
        """,
        path=(ROOT,),
    )


def test_the_rest_needs_no_livekit(python: Callable[..., str]) -> None:
    python(
        """
        import livekit_xtts, livekit_xtts.pipeline, livekit_xtts.voices, livekit_xtts.cache
        import livekit_xtts.engine.engine, livekit_xtts.engine.shared, livekit_xtts.text.segment
        try:
            livekit_xtts.TTS
        except ImportError as error:
            assert "livekit" in str(error)
        else:
            raise AssertionError("TTS came without LiveKit")
        """,
        blocked=("livekit", "aiohttp", "soxr", "soundfile", "torch"),
    )


def test_another_thread_registers_nothing_and_does_not_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugin, "_registered", False)
    before = list(Plugin.registered_plugins)
    thread = threading.Thread(target=plugin.register)
    thread.start()
    thread.join()
    assert Plugin.registered_plugins == before
    assert not plugin._registered


def test_every_public_name_is_there() -> None:
    for name in [*livekit_xtts.__all__, "LocalEngine"]:
        assert getattr(livekit_xtts, name) is not None
        assert name in dir(livekit_xtts)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = livekit_xtts.Nothing


def test_the_dead_distribution_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        plugin._warn_of_dead_distribution()
        assert not caplog.records
        info = tmp_path / "livekit_plugins_xtts-0.1.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Name: livekit-plugins-xtts\nVersion: 0.1.9\n")
        assert importlib.metadata.version(plugin.DEAD_DISTRIBUTION) == "0.1.9"
        plugin._warn_of_dead_distribution()
    assert "pip uninstall livekit-plugins-xtts" in caplog.text


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the built wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=170,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_the_package_and_the_alias(installed: Path) -> None:
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*.py")}
    assert {"livekit_xtts/tts.py", "livekit/plugins/xtts/__init__.py"} <= files
    # PEP 420: a file here would hide everybody else's `livekit` packages.
    assert not {"livekit/__init__.py", "livekit/plugins/__init__.py"} & files
    assert not any(name.startswith("tests/") for name in files)
    assert (installed / "livekit_xtts" / "py.typed").exists()


def test_download_files_finds_the_alias_of_the_wheel(
    installed: Path, python: Callable[..., str]
) -> None:
    told = python(
        """
        import runpy, sys
        from livekit.plugins import xtts
        import livekit_xtts
        print(xtts.__file__, livekit_xtts.__file__)
        assert xtts.TTS is livekit_xtts.TTS
        assert xtts.__version__ == livekit_xtts.__version__
        sys.argv = ["livekit.agents", "download-files"]
        try:
            runpy.run_module("livekit.agents", run_name="__main__", alter_sys=True)
        except SystemExit as done:
            assert not done.code, done.code
        """,
        path=(installed,),
    )
    assert told.count(str(installed)) >= 2
    assert "livekit_xtts" in told.replace(str(installed / "livekit_xtts"), "")

"""LiveKit's registry of plugins: `download-files` and the job processes find this package there."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import threading
from collections.abc import Sequence
from types import ModuleType

from livekit_xtts.log import logger
from livekit_xtts.version import __version__

DEAD_DISTRIBUTION = "livekit-plugins-xtts"
_AGENTS = "livekit.agents"
_registered = False


def arrange() -> None:
    """Register now if LiveKit Agents is imported already, else as soon as it is.

    Importing it takes seconds, which nobody should pay who only wants the model or the engine.
    """
    if _AGENTS in sys.modules:
        register()
    elif not any(isinstance(finder, _WhenImported) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenImported())


def register() -> None:
    """Register with LiveKit Agents, once; on the main thread only, as LiveKit asks for it."""
    global _registered
    if _registered or threading.current_thread() is not threading.main_thread():
        return
    from livekit.agents import Plugin

    class XttsPlugin(Plugin):
        """What LiveKit knows of this package."""

        def __init__(self) -> None:
            super().__init__("livekit_xtts", __version__, "livekit_xtts", logger)

        def download_files(self) -> None:
            """Fetch the model, if its licence was accepted; else say what to do, and succeed."""
            from livekit_xtts.download import download_files

            download_files()

    _registered = True
    Plugin.register_plugin(XttsPlugin())
    _warn_of_dead_distribution()


def _warn_of_dead_distribution() -> None:
    """`livekit-plugins-xtts` owns the folder of our alias and cannot run on LiveKit Agents 1.x."""
    try:
        importlib.metadata.distribution(DEAD_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return
    logger.warning(
        "%s is installed beside livekit-xtts: it does not run on LiveKit Agents 1.x, and both"
        " own the folder livekit/plugins/xtts. Remove it and install this one again:"
        " pip uninstall %s && pip install --force-reinstall --no-deps livekit-xtts",
        DEAD_DISTRIBUTION,
        DEAD_DISTRIBUTION,
    )


class _WhenImported(importlib.abc.MetaPathFinder):
    """Waits in `sys.meta_path` for LiveKit Agents, and leaves once it has been found."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """The usual spec, with a loader that registers the plugin after the import."""
        if fullname != _AGENTS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                register()

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec

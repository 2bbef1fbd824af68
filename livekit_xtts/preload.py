"""What a fork server prepares, so that the job processes forked from it start at once.

`AgentServer(preload_modules=["livekit_xtts.preload"])` imports this module once, in LiveKit's fork
server. The import makes the text tables of `LIVEKIT_XTTS_LANGUAGE`, else of English, too. It starts
no thread, touches no GPU and does no parallel work: threads do not survive a fork, and a child
whose torch believes that its threads are there hangs at its first parallel operation. So the model
is loaded in each process, by `load` in `setup_fnc`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os

from livekit_xtts.loading import load
from livekit_xtts.text.warm import warm

__all__ = ["load"]

for _name in ("livekit_xtts.tts", "torch", "livekit_xtts.engine.local"):
    if importlib.util.find_spec(_name) is not None:
        importlib.import_module(_name)

warm(os.environ.get("LIVEKIT_XTTS_LANGUAGE") or "en")

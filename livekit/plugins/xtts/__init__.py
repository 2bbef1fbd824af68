from livekit_xtts import *  # noqa: F403
from livekit_xtts import __all__, __version__  # noqa: F401

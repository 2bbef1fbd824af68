"""The package's logger, named as LiveKit names its plugins' loggers."""

import logging

logger = logging.getLogger("livekit.plugins.xtts")

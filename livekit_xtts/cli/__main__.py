"""`python -m livekit_xtts.cli` is `livekit-xtts`."""

from livekit_xtts.cli import main

main()

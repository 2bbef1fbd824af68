"""`livekit-xtts`: the voice from a terminal and from scripts.

Exit codes: 0 done; 1 speech, download or file failed; 2 wrong usage or value; 3 a voice cannot be
used; 4 a model is missing or cannot be used; 5 the licence was not accepted; 6 a batch ended with
failures in it; 130 interrupted. Messages go to stderr; results (paths, lists, JSON) to stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; always ends in `SystemExit`.

    Args:
        arguments: Without the program's name; `sys.argv` by default.
    """
    try:
        from livekit_xtts.cli.exits import exit_code, message
    except KeyboardInterrupt:
        _interrupted()
    try:
        from livekit_xtts.cli.app import app

        app(args=None if arguments is None else list(arguments), prog_name="livekit-xtts")
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise  # a fault of this package: its traceback is what a report needs
        print(f"livekit-xtts: {message(error)}", file=sys.stderr)
        raise SystemExit(code) from None
    except KeyboardInterrupt:
        _interrupted()


def _interrupted() -> NoReturn:
    """Ctrl-C where no command could take it: while the program itself is being imported."""
    print("livekit-xtts: interrupted", file=sys.stderr)
    raise SystemExit(130) from None

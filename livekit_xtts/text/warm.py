"""A language's tables, patterns and libraries, made before the first text asks for them.

They are made when first used, which takes 30 to 600 ms by language: the first sentence of a
conversation would wait for it.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future

from livekit_xtts.log import logger
from livekit_xtts.speech import InvalidRequestError
from livekit_xtts.text.languages import canonical_language
from livekit_xtts.text.normalize import normalize
from livekit_xtts.text.segment import Segmenter

_TEXT = (
    "On 3/5/2024 at 10:30 (the 2nd), Dr. A. Bee of the ABC paid $5.20 or 4 € for 3 kg and 20 %"
    " of -4.5 … see https://example.com/a or a_b@example.com! "
)
"""Something for every step of `normalize`."""

_SCRIPTS = {"zh-cn": "你好，2024年。", "ja": "こんにちは、3人です。", "ko": "안녕하세요, 3시."}
"""Scripts that libraries of their own read."""

_lock = threading.Lock()
_warming: dict[tuple[int, str], Future[None]] = {}


def warm(language: str) -> None:
    """Run a language's text front end once, on the calling thread.

    What stands in the way, an unknown language say, is left for the request to tell.

    Args:
        language: Any spelling that `canonical_language` takes.
    """
    try:
        name = canonical_language(language)
        text = _TEXT + _SCRIPTS.get(name, "")
        segmenter = Segmenter(name)
        for segment in (*segmenter.push(text), *segmenter.flush()):
            normalize(segment.text, name)
    except InvalidRequestError as error:
        logger.debug("text of %s is not warm: %s", language, error)


def warm_ahead(language: str) -> Future[None]:
    """Run a language's text front end once a process, in the background; returns at once.

    Args:
        language: See `warm`.

    Returns:
        Done when it has run; it has no exception.
    """
    # A forked child has none of its parent's threads.
    key = (os.getpid(), language)
    with _lock:
        if (known := _warming.get(key)) is not None:
            return known
        future = _warming[key] = Future()

    def run() -> None:
        try:
            warm(language)
        except Exception:
            logger.warning("text of %s could not be made warm", language, exc_info=True)
        finally:
            future.set_result(None)

    threading.Thread(target=run, name="xtts-text", daemon=True).start()
    return future

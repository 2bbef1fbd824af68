"""Language names: what a caller may write, and what the vocabulary calls it."""

from __future__ import annotations

from collections.abc import Sequence

from livekit_xtts.speech import LANGUAGES, InvalidRequestError

CHAR_LIMITS: dict[str, int] = {
    "en": 250, "de": 253, "fr": 273, "es": 239, "it": 213, "pt": 203, "pl": 224, "tr": 226,
    "ru": 182, "nl": 251, "cs": 186, "ar": 166, "zh-cn": 82, "hu": 224, "ko": 95, "ja": 71,
    "hi": 150,
}  # fmt: skip
"""Longest text, in characters, that XTTS-v2 was trained for; longer text may glitch."""


def canonical_language(language: str, known: Sequence[str] = LANGUAGES) -> str:
    """Give a language the name that the vocabulary has for it.

    Args:
        language: "de", "de-AT", "pt_BR", "zh", "zh-Hans", …; upper or lower case.
        known: The languages to choose from.

    Returns:
        The name in `known`: the same tag, or the one that shares its primary subtag.

    Raises:
        InvalidRequestError: No language of `known` fits; the message lists them.
    """
    tag = str(language).strip().lower().replace("_", "-")
    if tag in known:
        return tag
    primary = tag.split("-", 1)[0]
    for name in known:
        if primary and name.split("-", 1)[0] == primary:
            return name
    raise InvalidRequestError(
        f"language={language!r} is not supported; the model knows: {', '.join(sorted(known))}"
    )

"""Written text to spoken text, per language."""

from __future__ import annotations

from typing import Any

from livekit_xtts.text.languages import canonical_language


def normalize(text: str, language: str, *, pronunciations: Any = None) -> str:
    """Write text out the way it is spoken."""
    canonical_language(language)
    return " ".join(text.lower().split())


def speakable(text: str) -> bool:
    """Whether anything of a text can be spoken."""
    return any(character.isalnum() for character in text)

"""Tables per language: what the code around them reads."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """A table of words, written as one text with spaces between."""
    return tuple(text.split())

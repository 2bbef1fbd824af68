"""A stand-in tokenizer for models that come without a vocabulary: random ones.

One id a byte of the UTF-8 text, after the language's tag. Deterministic and good for nothing but
trying things out: no trained model knows these ids.
"""

from __future__ import annotations

from livekit_xtts.speech import LANGUAGES, MAX_TEXT_IDS, InvalidRequestError
from livekit_xtts.text.languages import canonical_language
from livekit_xtts.text.normalize import normalize

FIRST_TAG = 2
FIRST_BYTE = 262
"""Ids of bytes begin after the start id (261) of XTTS-v2."""


class ByteTokenizer:
    """Has the methods of `text.tokenizer.TextTokenizer` that engines and segmenters use.

    Ids: 2 … 18 for the languages' tags in the order of `LANGUAGES`, 262 … 517 for bytes.
    """

    languages: tuple[str, ...] = LANGUAGES
    vocab_size = FIRST_BYTE + 256

    def encode(self, text: str, language: str, *, normalized: bool = False) -> list[int]:
        """Turn text into ids, the language tag first.

        Args:
            text: The text as written, or as `normalize` left it.
            language: A language of `languages`.
            normalized: True when `text` has already been through `normalize`.

        Raises:
            InvalidRequestError: Unknown language, or more than 400 ids.
        """
        tag = canonical_language(language, self.languages)
        if not normalized:
            text = normalize(text, tag)
        ids = [FIRST_TAG + LANGUAGES.index(tag), *(FIRST_BYTE + byte for byte in text.encode())]
        if len(ids) > MAX_TEXT_IDS:
            raise InvalidRequestError(
                f"text is too long: {len(ids)} bytes, a model without vocabulary takes"
                f" {MAX_TEXT_IDS} (it begins {text[:40]!r}); cut it into segments"
            )
        return ids

    def count(self, text: str, language: str, *, normalized: bool = False) -> int:
        """How many ids a text has; also one that is too long for `encode`."""
        tag = canonical_language(language, self.languages)
        return 1 + len((text if normalized else normalize(text, tag)).encode())

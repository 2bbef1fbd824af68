"""Text to the ids that the GPT reads: byte-pair encoding with a language tag in front."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from livekit_xtts.speech import LANGUAGES, MAX_TEXT_IDS, InvalidRequestError, ModelError
from livekit_xtts.text.languages import canonical_language
from livekit_xtts.text.normalize import normalize
from livekit_xtts.text.pronunciation import Pronunciations

_SPACE = "[SPACE]"
_TAG = re.compile(r"\[([a-z]{2,3}(?:-[a-z]+)?)\]")


class TextTokenizer:
    """A vocabulary file and the conventions around it. Thread-safe; nothing changes after loading.

    Ids begin with the language's tag; every space is the id of `[SPACE]`; start and stop are the
    model's business and not added here.
    """

    def __init__(self, vocab_path: str | Path) -> None:
        """Read a `vocab.json` in the format of the `tokenizers` library.

        Args:
            vocab_path: The file, or the model folder with `vocab.json` in it.

        Raises:
            ModelError: The file is missing, cannot be read, or is not such a vocabulary.
        """
        path = Path(vocab_path)
        if path.is_dir():
            path = path / "vocab.json"
        if not path.is_file():
            raise ModelError(f"vocabulary not found: {path} (a model folder has a vocab.json)")
        self.path = path
        self._tokenizer = _read(path)
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        if not vocabulary or _SPACE not in vocabulary:
            raise ModelError(f"{path} is not a vocabulary for speech: it has no {_SPACE} entry")
        tags = {match[1] for entry in vocabulary if (match := _TAG.fullmatch(entry))}
        if not tags:
            raise ModelError(f"{path} is not a vocabulary for speech: no language tag such as [en]")
        self.vocab_size = max(vocabulary.values()) + 1
        """One more than the largest id."""
        self.languages: tuple[str, ...] = tuple(
            sorted(tags, key=lambda tag: (LANGUAGES.index(tag) if tag in LANGUAGES else 99, tag))
        )
        """The languages with a tag in the vocabulary, in the order of `speech.LANGUAGES`."""
        self._unknown: int | None = vocabulary.get("[UNK]")

    def encode(
        self,
        text: str,
        language: str,
        *,
        normalized: bool = False,
        pronunciations: Pronunciations | None = None,
    ) -> list[int]:
        """Turn text into ids, the language tag first.

        Args:
            text: The text as written, or as `normalize` left it.
            language: A language of `languages`, in any spelling `canonical_language` takes.
            normalized: True when `text` has already been through `normalize`.
            pronunciations: A `Pronunciations` map for `normalize`.

        Returns:
            At most `speech.MAX_TEXT_IDS` ids.

        Raises:
            InvalidRequestError: Unknown language, too many ids, or a language extra is missing.
        """
        ids = self._ids(text, language, normalized, pronunciations)
        if len(ids) > MAX_TEXT_IDS:
            raise InvalidRequestError(
                f"text is too long: {len(ids)} text ids, the model takes {MAX_TEXT_IDS}"
                f" ({len(text)} characters, beginning {text[:40]!r}); cut it into segments"
            )
        return ids

    def count(self, text: str, language: str, *, normalized: bool = False) -> int:
        """How many ids `encode` would make; also of text that is too long for it.

        Raises:
            InvalidRequestError: Unknown language, or a language extra is missing.
        """
        return len(self._ids(text, language, normalized, None))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's entries of ids; "" for an id that has none."""
        return [self._tokenizer.id_to_token(index) or "" for index in ids]

    def _ids(
        self, text: str, language: str, normalized: bool, pronunciations: Pronunciations | None
    ) -> list[int]:
        tag = canonical_language(language, self.languages)
        if not normalized:
            text = normalize(text, tag, pronunciations=pronunciations)
        # What a person typed must not become a control id such as [STOP].
        text = text.replace("[", "").replace("]", "")
        encoded = self._tokenizer.encode(f"[{tag}]{text.replace(' ', _SPACE)}")
        return list(encoded.ids)


def _read(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ModelError("the tokenizers package is missing: pip install tokenizers") from error
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # the library raises bare Exception for whatever it cannot parse
        raise ModelError(f"{path} is damaged or not a vocabulary: {error}") from error

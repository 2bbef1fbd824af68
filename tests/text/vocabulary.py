"""A vocabulary for tests: the published one where it is at hand, else a seeded stand-in."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

from livekit_xtts.speech import LANGUAGES

ENTRIES = 6681
_SPECIAL = {
    "[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[en]": 259, "[de]": 260, "[START]": 261, "[fr]": 262,
    "[ru]": 267, "[es]": 284, "[it]": 285, "[pt]": 286, "[cs]": 293, "[pl]": 294, "[tr]": 295,
    "[nl]": 297, "[ar]": 5022, "[zh-cn]": 5023, "[ja]": 5412, "[hu]": 5753, "[ko]": 6152,
    "[hi]": 6680,
}  # fmt: skip
_RANGES = [
    (0x21, 0x22), (0x24, 0x3C), (0x3F, 0x40), (0x61, 0x7B), (0xDF, 0x180), (0x218, 0x21C),
    (0x430, 0x460), (0x60C, 0x60D), (0x61B, 0x61C), (0x61F, 0x620), (0x621, 0x656),
    (0x901, 0x970), (0x300, 0x305),
]  # fmt: skip


def published() -> Path | None:
    """The published XTTS-v2 vocabulary, or None where it is not at hand."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "xtts_v2_vocab.json"
    path = Path(os.environ.get("XTTS_VOCAB", beside))
    return path if path.is_file() else None


def stand_in(folder: Path, seed: int = 0) -> Path:
    """Write a vocabulary of the published size, with its control ids and seeded merges."""
    draw = random.Random(seed)
    assert {name[1:-1] for name in _SPECIAL} >= set(LANGUAGES)
    characters = [chr(code) for first, last in _RANGES for code in range(first, last)]
    entries = list(characters)
    known = set(entries) | set(_SPECIAL)
    merges = []
    letters = [c for c in characters if c.isalpha()]
    while len(entries) < ENTRIES - len(_SPECIAL):
        left = draw.choice(letters if draw.random() < 0.5 else entries)
        right = draw.choice(letters)
        if (left + right) in known or not left.isalpha() or len(left) > 5:
            continue
        known.add(left + right)
        entries.append(left + right)
        merges.append(f"{left} {right}")
    free = iter(sorted(set(range(ENTRIES)) - set(_SPECIAL.values())))
    vocab = dict(_SPECIAL) | {entry: next(free) for entry in entries}
    added = [
        {"id": number, "special": True, "content": name, "single_word": False,
         "lstrip": False, "rstrip": False, "normalized": False}
        for name, number in sorted(_SPECIAL.items(), key=lambda item: item[1])
    ]  # fmt: skip
    path = folder / "vocab.json"
    path.write_text(
        json.dumps(
            {
                "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
                "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
                "post_processor": None, "decoder": None,
                "model": {
                    "type": "BPE", "dropout": None, "unk_token": "[UNK]",
                    "continuing_subword_prefix": None, "end_of_word_suffix": None,
                    "fuse_unk": False, "vocab": vocab, "merges": merges,
                },
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    return path

"""Stage 0 of judging: fixes the sentences that benchmarks/voice.py judges by, before anything is
trained.

    python -m training.heldout

Takes them from the held-out split of corpus.py (chosen by a hash of the text; training never
reads it) and writes
benchmarks/voice_sentences.json. Every word must be in the recogniser's dictionary. A pair is a
sentence and the same
sentence with one content word exchanged for another common word of as many syllables that sounds
different
in at least two phonemes.
"""

from __future__ import annotations

import collections
import json
import random
import re
from pathlib import Path

import pocketsphinx

from training.settings import ROOT, WORK

_COUNT, _PAIRS = 120, 50
_TARGET = ROOT.parent / "benchmarks" / "voice_sentences.json"


def pronunciations() -> dict[str, list[str]]:
    """First pronunciation of each word of the recogniser's dictionary."""
    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    found = {}
    for line in path.read_text().splitlines():
        word, *phones = line.split()
        if "(" not in word:
            found[word] = phones
    return found


def words_of(text: str) -> list[str]:
    """Lower-case words, hyphens as spaces."""
    return re.findall(r"[a-z']+", text.replace("-", " "))


def _distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def _syllables(phones: list[str]) -> int:
    return sum(p[0] in "AEIOU" for p in phones)


def main() -> None:
    """Writes the file; refuses to write it twice, because it must not change."""
    if _TARGET.exists():
        raise SystemExit(f"{_TARGET} exists: the held-out set is fixed")
    said = pronunciations()
    splits = json.loads((WORK / "sentences.json").read_text())
    frequent = collections.Counter(w for t, _ in splits["train"] for w in words_of(t))
    usable = [
        text
        for text, source in splits["heldout"]
        if source != "templates"
        and 2 <= len(words_of(text)) <= 25
        and ":" not in text
        and "'" not in text
        and all(w in said for w in words_of(text))
    ]
    rng = random.Random(20)
    strata: dict[int, list[str]] = {}
    for text in usable:
        strata.setdefault(min(len(words_of(text)) // 3, 7), []).append(text)
    chosen: list[str] = []
    while len(chosen) < _COUNT:
        for key in sorted(strata):
            if strata[key] and len(chosen) < _COUNT:
                chosen.append(strata[key].pop())
    common = [w for w, n in frequent.items() if n >= 40 and w in said and len(w) > 3]
    pairs = []
    for text in (t for t in usable if t not in chosen and 4 <= len(words_of(t)) <= 12):
        words = [w for w in re.findall(r"[a-z]+", text) if len(w) > 3 and frequent[w] >= 10]
        if not words:
            continue
        old = rng.choice(words)
        new = rng.choice(
            [
                w
                for w in common
                if _syllables(said[w]) == _syllables(said[old])
                and _distance(said[w], said[old]) >= 2
            ]
        )
        other = re.sub(rf"\b{old}\b", new, text, count=1)
        pairs.append([text, other])
        if len(pairs) == _PAIRS:
            break
    _TARGET.write_text(json.dumps({"sentences": chosen, "pairs": pairs}, indent=1) + "\n")
    print(len(usable), len(chosen), len(pairs))


if __name__ == "__main__":
    main()

"""Recognition by pocketsphinx: the right one of a closed set, and free phonemes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def words_of(text: str) -> list[str]:
    """Lower-case words; a hyphen parts words."""
    return re.findall(r"[a-z']+", text.lower().replace("-", " "))


def _decoder(**settings: Any) -> Any:
    from pocketsphinx import Decoder

    # The dither is what made scores move between runs: its seed is fixed. Beams are wide, because a
    # grammar of long sentences loses its right path to the default ones; the second pass over the
    # word graph is off, because it loses the last word of any voice.
    wide: dict[str, Any] = {
        "beam": 1e-64,
        "wbeam": 1e-60,
        "pbeam": 1e-64,
        "maxhmmpf": -1,
        "bestpath": False,
    }
    return Decoder(loglevel="FATAL", seed=1, dither=True, **(wide | settings))


def _pcm(samples: npt.NDArray[np.float64]) -> bytes:
    """16-bit samples at 16 kHz, with a third of a second of silence at both ends."""
    scaled = np.asarray(samples) / max(1e-6, float(np.abs(samples).max())) * 0.7
    padded = np.pad(scaled, 5_300)
    return (padded * 32767).astype("<i2").tobytes()


class ClosedSet:
    """Picks one of a set of sentences; a result counts when it fits the right sentence alone."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self._words = [words_of(s) for s in sentences]
        options = " | ".join("( " + " ".join(words) + " )" for words in self._words)
        # No language model beside the grammar.
        self._decoder = _decoder(lm=None)
        self._decoder.add_jsgf_string("set", f"#JSGF V1.0; grammar set; public <s> = {options};")
        self._decoder.activate_search("set")

    def judge(self, samples: npt.NDArray[np.float64], index: int) -> tuple[bool, bool]:
        """Recognises speech that should be sentence `index`.

        The recogniser may drop the last word, of any voice: so a result is right when it is the
        beginning of the right sentence and of no other; strictly, when it is all of it.

        Returns:
            Right by the rule, and right strictly.
        """
        self._decoder.start_utt()
        self._decoder.process_raw(_pcm(samples), no_search=False, full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        heard = hypothesis.hypstr.split() if hypothesis else []
        fits = [k for k, words in enumerate(self._words) if heard and words[: len(heard)] == heard]
        return fits == [index], heard == self._words[index]


class Phonemes:
    """Free recognition of phonemes, and their error rate against the dictionary."""

    def __init__(self) -> None:
        from pocketsphinx import get_model_path

        folder = Path(get_model_path("en-us"))
        self._said: dict[str, list[list[str]]] = {}
        for line in (folder / "cmudict-en-us.dict").read_text().splitlines():
            word, *phones = line.split()
            self._said.setdefault(word.split("(")[0], []).append(phones)
        self._decoder = _decoder(
            allphone=str(folder / "en-us-phone.lm.bin"),
            lw=2.0,
            beam=1e-20,
            pbeam=1e-20,
            wbeam=1e-20,
        )

    def errors(self, samples: npt.NDArray[np.float64], text: str) -> tuple[int, int]:
        """Edit distance of what is heard from the text's phonemes, and how many it has."""
        self._decoder.start_utt()
        self._decoder.process_raw(_pcm(samples), no_search=False, full_utt=True)
        self._decoder.end_utt()
        heard = [s.word for s in self._decoder.seg() or () if s.word.isalpha() and s.word.isupper()]
        heard = [p for p in heard if p != "SIL"]
        wanted = [p for word in words_of(text) for p in self._said[word][0]]
        row = list(range(len(wanted) + 1))
        for i, x in enumerate(heard, 1):
            last, row[0] = row[0], i
            for j, y in enumerate(wanted, 1):
                last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
        return row[-1], len(wanted)

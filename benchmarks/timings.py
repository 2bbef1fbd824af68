"""How well word times are known: `python -m benchmarks.timings --json PATH [--quick]`.

The bundled voice speaks held-out sentences in the voices it was cloned from. When each word begins
is read from the model's attention to the text (`livekit_xtts.alignment`), and estimated from the
lengths of the words alone (`livekit_xtts.timings`, what a stream without attention is given). The
judge is espeak-ng, the voice's teacher: its own word events for the same text and voice, stretched
to the length of what was spoken. Needs libespeak-ng and a model that it has taught.
"""

from __future__ import annotations

import argparse
import json
import platform
import queue
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from livekit_xtts.alignment import align, find_heads, id_characters, text_attention, word_codes
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.model.checkpoint import load_model
from livekit_xtts.speech import CODE_SECONDS, SpeechDone, SpeechFailed, SpeechRequest, Voice
from livekit_xtts.text.normalize import normalize
from livekit_xtts.text.tokenizer import TextTokenizer
from livekit_xtts.timings import proportional, split_words
from training.espeak import Espeak
from training.prepare import trimmed
from training.settings import VOICES

BUNDLED = Path(__file__).parent.parent / "livekit_xtts" / "bundled"
SENTENCES = Path(__file__).parent / "voice_sentences.json"
CALIBRATION = 8
LIMIT_S = 0.08


@dataclass(frozen=True)
class Spoken:
    """A sentence that the model has spoken, and the teacher's word times for it.

    Attributes:
        text: The sentence.
        voice: Index into the teacher's voices.
        codes: What the model spoke.
        words: Seconds at which words begin, by their number, as stretched from the teacher; it has
            no event for some (it runs "of the" together).
    """

    text: str
    voice: int
    codes: tuple[int, ...]
    words: dict[int, float]


def teacher_words(espeak: Espeak, text: str, voice: int, seconds: float) -> dict[int, float]:
    """The teacher's word starts, stretched; the first word, which begins at 0 for all, left out."""
    speech = espeak.speak(text, VOICES[voice])
    samples, first = trimmed(speech.samples)
    found = {start: at for start, _, at in speech.words}
    stretch = seconds / (samples.size / 22_050)
    words, position = {}, 0
    for number, word in enumerate(split_words(text)):
        at = found.get(position + len(word) - len(word.lstrip()))
        position += len(word)
        if number and at is not None:
            words[number] = (at - first / 22_050) * stretch
    return words


def speak(engine: LocalEngine, text: str, voice: Voice) -> tuple[int, ...]:
    """The codes of a sentence."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    engine.submit(SpeechRequest(text, voice=voice, seed=0), events.put)
    while True:
        event = events.get()
        if isinstance(event, SpeechFailed):
            raise event.error
        if isinstance(event, SpeechDone):
            return event.codes if event.stopped else ()


class Bench:
    """The model, its tokenizer, its voices."""

    def __init__(self, folder: Path) -> None:
        self.gpt = load_model(folder).gpt
        self.encode = TextTokenizer(folder).encode
        self.vocabulary = Tokenizer.from_file(str(folder / "vocab.json"))
        self.engine = LocalEngine(folder, device="cpu")
        self.engine.load()
        self.espeak = Espeak()
        self.voices = [self._clone(index) for index in range(len(VOICES))]

    def _clone(self, index: int) -> Voice:
        from livekit_xtts.speech import ReferenceAudio

        text = "The weather was fine, and we walked along the river until the evening came."
        samples, _ = trimmed(self.espeak.speak(text, VOICES[index]).samples)
        reference = ReferenceAudio(samples.astype(np.float32), 22_050)
        return self.engine.clone([reference], name=VOICES[index].name).result()

    def spoken(self, texts: list[str]) -> list[Spoken]:
        """Speak the sentences, each in the next voice; those that cannot be judged are left out."""
        made = []
        for number, text in enumerate(texts):
            voice = number % len(VOICES)
            codes = speak(self.engine, text, self.voices[voice])
            words = teacher_words(self.espeak, text, voice, len(codes) * CODE_SECONDS)
            if codes and words:
                made.append(Spoken(text, voice, codes, words))
        return made

    def attention(self, item: Spoken) -> Any:
        """The attention of all heads from an item's codes to its text."""
        latents = torch.from_numpy(np.array(self.voices[item.voice].latents))
        return text_attention(self.gpt, latents, self.encode(item.text, "en"), item.codes)

    def tokens(self, text: str) -> list[str]:
        """The vocabulary's entries of a text's ids."""
        return [self.vocabulary.id_to_token(i) or "" for i in self.encode(text, "en")]


def measure(bench: Bench, texts: list[str]) -> dict[str, Any]:
    """The figures, over all words that the teacher has times for."""
    items = bench.spoken(texts)
    heads = find_heads([bench.attention(item) for item in items[:CALIBRATION]])
    aligned: list[float] = []
    estimated: list[float] = []
    for item in items[CALIBRATION:]:
        seconds = len(item.codes) * CODE_SECONDS
        timed = proportional(item.text, "en", 0.0, seconds)
        estimated += [abs(timed[number].start_s - at) for number, at in item.words.items()]
        if heads:
            starts = word_codes(
                item.text,
                normalize(item.text, "en"),
                id_characters(bench.tokens(item.text)),
                align(bench.attention(item), heads),
            )
            aligned += [
                abs(starts[number] * CODE_SECONDS - at) for number, at in item.words.items()
            ]
    return {
        "word_error_median_s": statistics.median(aligned or estimated),
        "word_error_p90_s": float(np.quantile(aligned or estimated, 0.9)),
        "proportional_median_s": statistics.median(estimated),
        "proportional_p90_s": float(np.quantile(estimated, 0.9)),
        "from_attention": bool(heads),
        "heads": [[head.layer, head.head, round(head.score, 3)] for head in heads],
        "words": len(estimated),
        "sentences": len(items) - CALIBRATION,
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="fewer sentences")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of the model")
    options = parser.parse_args()
    if not (options.model / "model.safetensors").is_file():
        sys.exit(f"no model in {options.model}: the word times of random weights mean nothing")
    sentences = [t for t in json.loads(SENTENCES.read_text())["sentences"] if len(t.split()) >= 4]
    bench = Bench(options.model)
    figures = measure(bench, sentences[: CALIBRATION + (24 if options.quick else 100)])
    info = bench.engine.info
    bench.engine.close()
    figures |= {
        "model": info.model,
        "dtype": info.precision,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "text": SENTENCES.name,
    }
    for name, value in figures.items():
        print(f"{name:24} {value:.4f}" if isinstance(value, float) else f"{name:24} {value}")
    met = figures["word_error_median_s"] <= LIMIT_S
    print("met" if met else "not met", f"word_error_median_s <= {LIMIT_S}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

"""How well word times are known: `python -m benchmarks.timings --json PATH [--quick]`.

The bundled voice speaks held-out sentences in the voices it was cloned from. When each word begins
is what the engine tells at a request's end, read from the model's attention to the text, beside an
estimate from the lengths of the words alone (`livekit_xtts.timings`, what a stream is given where
the engine cannot tell). The heads that follow the text are those kept beside the model, else found
on the first sentences, which are not counted; `--write` finds them anew and keeps them. The judge
is espeak-ng, the voice's teacher: its own word events for the same text and voice, stretched to the
length of what was spoken. Needs libespeak-ng and a model that it has taught.
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

from livekit_xtts.alignment import find_heads, text_attention
from livekit_xtts.engine.aligner import read_heads, write_heads
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.model.checkpoint import load_model
from livekit_xtts.speech import CODE_SECONDS, SpeechDone, SpeechFailed, SpeechRequest, Voice
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
        starts: Codes at which words begin, as the engine told; empty where it could not.
    """

    text: str
    voice: int
    codes: tuple[int, ...]
    words: dict[int, float]
    starts: tuple[int, ...]


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


def speak(engine: LocalEngine, text: str, voice: Voice) -> SpeechDone:
    """What the engine says at the end of a sentence."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    engine.submit(SpeechRequest(text, voice=voice, seed=0, align=True), events.put)
    while True:
        event = events.get()
        if isinstance(event, SpeechFailed):
            raise event.error
        if isinstance(event, SpeechDone):
            return event


class Bench:
    """The model, its tokenizer, its voices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.encode = TextTokenizer(folder).encode
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
            done = speak(self.engine, text, self.voices[voice])
            words = teacher_words(self.espeak, text, voice, len(done.codes) * CODE_SECONDS)
            if done.stopped and words:
                made.append(Spoken(text, voice, done.codes, words, done.words))
        return made

    def find_heads(self, items: list[Spoken]) -> None:
        """Find the heads that follow the text, and keep them beside the model."""
        model = load_model(self.folder)
        examples = []
        for item in items:
            latents = torch.from_numpy(np.array(self.voices[item.voice].latents))
            ids = self.encode(item.text, "en")
            examples.append(text_attention(model.gpt, latents, ids, item.codes))
        write_heads(self.folder, model.fingerprint, find_heads(examples))


def measure(bench: Bench, texts: list[str]) -> dict[str, Any]:
    """The figures, over all words that the teacher has times for."""
    items = bench.spoken(texts)
    aligned: list[float] = []
    estimated: list[float] = []
    for item in items[CALIBRATION:]:
        timed = proportional(item.text, "en", 0.0, len(item.codes) * CODE_SECONDS)
        estimated += [abs(timed[number].start_s - at) for number, at in item.words.items()]
        if item.starts:
            aligned += [
                abs(item.starts[number] * CODE_SECONDS - at) for number, at in item.words.items()
            ]
    heads = read_heads(bench.folder, bench.engine.info.fingerprint) or ()
    return {
        "word_error_median_s": statistics.median(aligned or estimated),
        "word_error_p90_s": float(np.quantile(aligned or estimated, 0.9)),
        "proportional_median_s": statistics.median(estimated),
        "proportional_p90_s": float(np.quantile(estimated, 0.9)),
        "from_attention": len(aligned) / len(estimated),
        "heads": [[head.layer, head.head, round(head.score, 3)] for head in heads],
        "words": len(estimated),
        "sentences": len(items) - CALIBRATION,
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="fewer sentences")
    parser.add_argument("--write", action="store_true", help="find the heads anew and keep them")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of the model")
    options = parser.parse_args()
    if not (options.model / "model.safetensors").is_file():
        sys.exit(f"no model in {options.model}: the word times of random weights mean nothing")
    sentences = [t for t in json.loads(SENTENCES.read_text())["sentences"] if len(t.split()) >= 4]
    bench = Bench(options.model)
    if options.write:
        bench.find_heads(bench.spoken(sentences[:CALIBRATION]))
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

"""How well the bundled voice speaks: judged on held-out sentences beside espeak-ng, its teacher.

    python -m benchmarks.voice [--json PATH] [--quick] [--picture PATH] [--model FOLDER]

Every sentence is read by a voice cloned from a recording of espeak-ng, in turn by each of the
teacher's voices, and by espeak-ng itself with the same text. Sentences and rules were fixed before
training; the recogniser's beams were set again on espeak-ng's own dev readings after a first dev
run of this voice, before any run on the held-out set:

- intelligible: pocketsphinx with a grammar of exactly the sentences finds the right one (see
  voice_recognise.py; the strict score and espeak-ng's own stand beside it). intelligible_pairs:
  both readings of pairs of sentences that differ in one word of as many syllables, in a grammar
  of the two.
- phoneme_error: free phonemes of the recogniser against the dictionary's.
- stopped_by_itself: the stop code came, and no more than 0.25 s of sound follow the time-aligned
  end of the text.
- duration_within_20pct: from first to last sound, against espeak-ng's.
- right_voice: the voice whose pitch and cepstral statistics are nearest is the one cloned. The
  model's own speaker embedding is beside it, and decides nothing: right_voice_by_embedding.
- gross_f0_error, voicing_equal: frame by frame after time alignment with espeak-ng's reading.

The engine runs with its clean-up of ends switched off: what is judged is what the model does.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from benchmarks.voice_measures import (
    HOP,
    RATE,
    Array,
    Track,
    align,
    analyse,
    signature,
    spoken_span,
)
from benchmarks.voice_recognise import ClosedSet, Phonemes
from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.local import LocalEngine
from livekit_xtts.model.checkpoint import load_model
from livekit_xtts.model.xtts import XttsModel
from livekit_xtts.speech import (
    SAMPLE_RATE,
    ReferenceAudio,
    SpeechChunk,
    SpeechDone,
    SpeechEvent,
    SpeechFailed,
    SpeechRequest,
    Voice,
)
from training.espeak import Espeak
from training.settings import VOICES

_SENTENCES = Path(__file__).with_name("voice_sentences.json")
_BUNDLED = Path(__file__).parent.parent / "livekit_xtts" / "bundled"
_QUICK, _QUICK_PAIRS = 24, 6
# What a clone is made from, and what the voices' signatures are taken from: texts of neither
# training nor judging.
_REFERENCE = (
    "the harbour was quiet when the first boats came home.",
    "we painted the old kitchen green, and nobody liked it.",
)
_SIGNATURE = (
    "a narrow path leads from the village to the lake.",
    "my brother plays the guitar in a small band.",
    "do you remember the summer when it never rained?",
    "several people asked the same question before lunch.",
    "the museum opens at nine, and closes at half past six.",
    "bring an umbrella, because the weather may change.",
)
_AFTER_S, _AFTER_DB = 0.25, -30.0


class Speaker:
    """The engine, and clones of the teacher's voices."""

    def __init__(self, model: Path, espeak: Espeak, precision: str) -> None:
        self._engine = LocalEngine(
            model, slots=8, queue=512, max_wait=None, ends=Ends.off(), precision=precision
        )
        self._engine.load()
        self.precision = self._engine.info.precision
        self.voices: list[Voice] = []
        for voice in VOICES:
            clips = [
                ReferenceAudio(espeak.speak(text, voice).samples, 22_050) for text in _REFERENCE
            ]
            self.voices.append(self._engine.clone(clips, name=voice.name).result())

    def speak(self, items: Sequence[tuple[str, int]]) -> list[tuple[Array, bool]]:
        """Speaks texts, each with a voice of VOICES, several at once.

        Returns:
            Per text its samples at 16 kHz, and whether the stop code came by itself.
        """
        waiting = [self._submit(text, self.voices[voice]) for text, voice in items]
        return [future.result() for future in waiting]

    def _submit(self, text: str, voice: Voice) -> Future[tuple[Array, bool]]:
        future: Future[tuple[Array, bool]] = Future()
        pieces: list[Any] = []

        def sink(event: SpeechEvent) -> None:
            if isinstance(event, SpeechChunk):
                pieces.append(event.audio)
            elif isinstance(event, SpeechDone):
                audio = np.concatenate(pieces) if pieces else np.zeros(1600, np.float32)
                future.set_result((to_16k(audio, SAMPLE_RATE), event.stopped))
            elif isinstance(event, SpeechFailed):
                future.set_exception(event.error)

        request = SpeechRequest(text, voice=voice, seed=1, streaming=False, normalized=True)
        self._engine.submit(request, sink)
        return future

    def close(self) -> None:
        """Ends the engine."""
        self._engine.close()


def to_16k(samples: Any, rate: int) -> Array:
    """Samples at 16 kHz in float64."""
    return np.asarray(soxr.resample(np.asarray(samples, np.float64), rate, RATE), np.float64)


def trailing_sound(ours: Track, pairs: Any, theirs: Track) -> float:
    """Seconds of sound in our reading after the frame that matches the last sound of the
    teacher's.
    """
    _, last = spoken_span(theirs, _AFTER_DB)
    end = int(pairs[pairs[:, 0] <= last][-1, 1])
    return float((ours.level[end + 1 :] > _AFTER_DB).sum()) * HOP / RATE


def measure_prosody(theirs: list[Track], ours: list[Track]) -> dict[str, float]:
    """Duration, pitch, voicing and distance of our readings, aligned with the teacher's."""
    ratios, wrong, voiced_frames, equal, frames, distances, others = [], 0, 0, 0, 0, [], []
    cents: list[Array] = []
    trailing = []
    for k, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        (a0, a1), (b0, b1) = spoken_span(a), spoken_span(b)
        ratios.append((b1 - b0 + 1) / (a1 - a0 + 1))
        pairs, distance = align(a, b)
        distances.append(distance)
        others.append(align(theirs[(k + 1) % len(theirs)], b)[1])
        trailing.append(trailing_sound(b, pairs, a))
        va, vb = a.voiced[pairs[:, 0]], b.voiced[pairs[:, 1]]
        both = va & vb
        ratio = b.f0[pairs[both, 1]] / a.f0[pairs[both, 0]]
        wrong += int((np.abs(ratio - 1) > 0.2).sum())
        voiced_frames += int(both.sum())
        equal += int((va == vb).sum())
        frames += len(pairs)
        cents.append(np.abs(1200 * np.log2(ratio)))
    ratio_array = np.array(ratios)
    return {
        "duration_within_20pct": float((np.abs(ratio_array - 1) <= 0.2).mean()),
        "duration_ratio_median": float(np.median(ratio_array)),
        "gross_f0_error": wrong / max(1, voiced_frames),
        "f0_median_error_cents": float(np.median(np.concatenate(cents))),
        "voicing_equal": equal / max(1, frames),
        "voiced_share": float(np.concatenate([t.voiced for t in ours]).mean()),
        "voiced_share_reference": float(np.concatenate([t.voiced for t in theirs]).mean()),
        "mel_distance_db": float(np.mean(distances)),
        "mel_distance_other_sentence_db": float(np.mean(others)),
        "no_sound_after_end": float((np.array(trailing) <= _AFTER_S).mean()),
        "_clean": [t <= _AFTER_S for t in trailing],  # type: ignore[dict-item]
    }


def nearest_voice(references: list[list[Track]], ours: list[Track]) -> list[int]:
    """The teacher's voice that each of our readings is nearest to, by standardised signatures."""
    points = np.array([[signature([t]) for t in tracks] for tracks in references])
    centres = points.mean(1)
    spread = np.sqrt(((points - centres[:, None]) ** 2).mean((0, 1))) + 1e-3
    found = []
    for track in ours:
        away = (signature([track]) - centres) / spread
        # The two values of pitch weigh as much as the forty of timbre.
        weights = np.concatenate([[10.0, 0.0], np.ones(20), np.zeros(20)])
        found.append(int((np.minimum(away**2, 25) * weights).sum(1).argmin()))
    return found


def by_embedding(
    model: XttsModel, voices: Sequence[Voice], heard: Sequence[Array]
) -> tuple[list[int], Array]:
    """What the model's own speaker encoder says of speech.

    Args:
        model: Whose encoder it is.
        voices: That it may be.
        heard: Samples at 16 kHz.

    Returns:
        The likeliest voice of each, and the cosines with all of them, (heard, voices).
    """
    known = np.stack([voice.speaker_embedding for voice in voices]).astype(np.float64)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    cosines = []
    with torch.inference_mode():
        for samples in heard:
            # The encoder refuses what is shorter than a third of a second.
            padded = np.pad(samples, (0, max(0, RATE // 2 - len(samples))))
            found = model.speaker_embedding(torch.from_numpy(padded).float(), RATE)
            point = found.double().numpy()
            cosines.append(known @ (point / max(1e-9, float(np.linalg.norm(point)))))
    table = np.array(cosines)
    return [int(k) for k in table.argmax(1)], table


def draw_picture(path: Path, rows: list[tuple[str, Array, Array]]) -> None:
    """Spectrograms of a few sentences, espeak-ng above and the bundled voice below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(rows), figsize=(6 * len(rows), 6), squeeze=False)
    for column, (text, theirs, ours) in enumerate(rows):
        for row, (name, samples) in enumerate((("espeak-ng", theirs), ("bundled voice", ours))):
            axis = axes[row][column]
            level = samples / max(1e-6, float(np.abs(samples).max()))
            axis.specgram(level, NFFT=512, Fs=RATE, noverlap=384, vmin=-130, vmax=-30)
            axis.set_ylim(0, 6000)
            axis.set_title(f"{name}: {text[:44]}", fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def run(
    model: Path,
    quick: bool,
    picture: Path | None,
    texts: dict[str, Any],
    precision: str = "auto",
) -> dict[str, Any]:
    """All measures.

    Args:
        model: Folder of the model.
        quick: Fewer sentences and pairs.
        picture: Where to draw spectrograms; None for none.
        texts: `sentences`, and `pairs` of sentences.
        precision: As the engine is asked for it.

    Returns:
        The keys of the report.
    """
    sentences: list[str] = texts["sentences"][:_QUICK] if quick else texts["sentences"]
    pairs: list[list[str]] = texts["pairs"][:_QUICK_PAIRS] if quick else texts["pairs"]
    espeak = Espeak()
    speaker = Speaker(model, espeak, precision)
    count = len(VOICES)
    items = [(text, k % count) for k, text in enumerate(sentences)]
    began = time.perf_counter()
    made = speaker.speak(items)
    elapsed = time.perf_counter() - began
    pair_items = [(text, k % count) for k, pair in enumerate(pairs) for text in pair]
    pair_made = speaker.speak(pair_items)
    speaker.close()

    def teacher(text: str, voice: int) -> Array:
        return to_16k(espeak.speak(text, VOICES[voice]).samples, 22_050)

    read = [teacher(text, voice) for text, voice in items]
    ours, theirs = [analyse(a) for a, _ in made], [analyse(a) for a in read]
    closed, phonemes = ClosedSet(sentences), Phonemes()
    judged = [closed.judge(audio, k) for k, (audio, _) in enumerate(made)]
    judged_reference = [closed.judge(audio, k) for k, audio in enumerate(read)]
    errors = np.array([phonemes.errors(a, t) for (a, _), t in zip(made, sentences, strict=True)])
    reference = np.array([phonemes.errors(a, t) for a, t in zip(read, sentences, strict=True)])
    pair_right, pair_reference = [], []
    for k, pair in enumerate(pairs):
        two = ClosedSet(pair)
        for side in (0, 1):
            pair_right.append(two.judge(pair_made[2 * k + side][0], side)[0])
            pair_reference.append(two.judge(teacher(pair[side], k % count), side)[0])
    prosody: dict[str, Any] = measure_prosody(theirs, ours)
    clean = prosody.pop("_clean")
    stopped = [s for _, s in made]
    signatures = [[analyse(teacher(t, v)) for t in _SIGNATURE] for v in range(count)]
    voices = [v for _, v in items]
    right = np.array(nearest_voice(signatures, ours)) == voices
    right_reference = np.array(nearest_voice(signatures, theirs)) == voices
    told, cosines = by_embedding(load_model(model), speaker.voices, [a for a, _ in made])
    own = cosines[np.arange(len(voices)), voices]
    if picture is not None:
        shown = [k for k in (3, 10, 12, 20) if k < len(items)]
        draw_picture(picture, [(sentences[k], read[k], made[k][0]) for k in shown])
    share = [np.array(x, float) for x in (judged, judged_reference)]
    return {
        "sentences": len(sentences),
        "pairs": len(pairs),
        "intelligible": float(share[0][:, 0].mean()),
        "intelligible_strict": float(share[0][:, 1].mean()),
        "intelligible_reference": float(share[1][:, 0].mean()),
        "intelligible_strict_reference": float(share[1][:, 1].mean()),
        "intelligible_pairs": float(np.mean(pair_right)),
        "intelligible_pairs_reference": float(np.mean(pair_reference)),
        "phoneme_error": float(errors[:, 0].sum() / errors[:, 1].sum()),
        "phoneme_error_reference": float(reference[:, 0].sum() / reference[:, 1].sum()),
        "stopped_by_itself": float(np.mean([s and c for s, c in zip(stopped, clean, strict=True)])),
        "stop_code_came": float(np.mean(stopped)),
        **prosody,
        "right_voice": float(right.mean()),
        "right_voice_reference": float(right_reference.mean()),
        "right_voice_by_embedding": float((np.array(told) == voices).mean()),
        "speaker_similarity": float(own.mean()),
        "speaker_similarity_other_voices": float((cosines.sum(1) - own).mean() / (count - 1)),
        "real_time_factor_batch_8": elapsed / max(1e-9, sum(len(a) for a, _ in made) / RATE),
        "machine": platform.processor() or platform.machine(),
        "dtype": f"fp16 weights, {speaker.precision}",
        "threads": torch.get_num_threads(),
        "text": f"{len(sentences)} held-out sentences, {len(pairs)} pairs",
    }


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="a part of the sentences")
    parser.add_argument(
        "--picture", type=Path, help="write spectrograms (PNG) here; beside the JSON if not given"
    )
    parser.add_argument("--model", type=Path, default=_BUNDLED, help="folder of the model")
    parser.add_argument("--precision", default="auto", help="int8+bf16, …; default: auto")
    parser.add_argument("--texts", type=Path, default=_SENTENCES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    texts = json.loads(options.texts.read_text(encoding="utf-8"))
    picture = options.picture or (options.json and options.json.with_suffix(".png"))
    report = run(options.model, options.quick, picture, texts, options.precision)
    for key, value in report.items():
        print(f"{key:32} {value:.3f}" if isinstance(value, float) else f"{key:32} {value}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

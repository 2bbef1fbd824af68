"""How exact the model is: streamed against one-shot, and against the reference implementation.

`python -m benchmarks.fidelity --json PATH [--quick]`. The comparison with the reference needs the
`TTS` package (`livekit-xtts[coqui]`); without it only the streaming is measured. Quick: a small
model of random weights; otherwise the published sizes, random weights too.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import tempfile
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from benchmarks.oracle import make_pair, relative, speak, speech_like, text_ids
from livekit_xtts.model.carried import CarriedPlan, decode_carried
from livekit_xtts.model.checkpoint import create_random
from livekit_xtts.model.config import XttsConfig
from livekit_xtts.model.fast_vocoder import FastVocoder
from livekit_xtts.model.streaming import VocoderStream, stream_plan
from livekit_xtts.model.vocoder import HifiGan

SPEEDS = (1.0, 0.5, 0.8, 1.3, 2.0)
# (configuration, codes to stream, text lengths, codes of each, stop bias)
QUICK = (XttsConfig.small(), (1, 7, 40, 150), (1, 8, 30, 100, 200, 400), 602, 1.0)
FULL = (XttsConfig(), (1, 12, 64), (3, 10, 25, 60, 150, 400), 64, -30.0)


def carried(
    vocoder: HifiGan, latents: Tensor, speaker: Tensor, speed: float, draw: random.Random
) -> Tensor:
    """Audio of layers that keep what they need again, as an engine on a CPU makes it."""
    layers = FastVocoder(vocoder, torch.float32, laid_out=False)
    plan = CarriedPlan(stream_plan(vocoder.config, speed))
    pieces: list[Tensor] = []
    codes = decoded = 0
    while codes < len(latents):
        codes = min(len(latents), codes + draw.choice((1, 2, 4, 8, 16)))
        finished = codes == len(latents)
        last = plan.final_samples(codes, finished)
        window = plan.window(decoded, last, codes, finished)
        part = latents[window.code_start : window.code_stop]
        pieces += decode_carried(layers, [(part, speaker, window)])
        decoded = last
    return torch.cat(pieces)


@torch.no_grad()
def streamed_difference(vocoder: HifiGan, lengths: tuple[int, ...]) -> float:
    """Largest difference of streamed and one-shot audio over random schedules and all speeds.

    As a share of the peak, the constant part left out; float32.
    """
    draw = random.Random(0)
    config, worst = vocoder.config, 0.0
    generator = torch.Generator().manual_seed(0)
    speaker = torch.randn(config.d_vector_dim, generator=generator)
    speaker = torch.nn.functional.normalize(speaker, dim=0)
    for codes in lengths:
        latents = torch.randn(codes, config.decoder_input_dim, generator=generator)
        for speed in SPEEDS:
            whole = vocoder.decode(latents, speaker, speed)
            stream, pieces, start = VocoderStream(vocoder, speaker, speed), [], 0
            while start < codes:
                stop = start + draw.choice((1, 2, 4, 8, 16))
                stream.push(latents[start:stop])
                pieces.append(stream.pull())
                start = stop
            pieces.append(stream.pull(final=True))
            peak = float((whole - whole.mean()).abs().max())
            for audio in (torch.cat(pieces), carried(vocoder, latents, speaker, speed, draw)):
                worst = max(worst, float((audio - whole).abs().max()) / peak)
    return worst


@torch.no_grad()
def reference_differences(
    config: XttsConfig, lengths: tuple[int, ...], most: int, stop_bias: float
) -> dict[str, float]:
    """Codes, waveforms and latents beside the reference's, on the same weights and texts."""
    import soundfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = make_pair(config, folder, stop_bias)
        path = folder / "voice.wav"
        soundfile.write(path, speech_like(9.3, 24000), 24000)
        samples, rate = soundfile.read(path, dtype="float32")
        voice = theirs.clone(path)
    our_voice = ours.clone([(torch.from_numpy(samples), rate)])
    latents = [relative(a, b) for a, b in zip(our_voice, voice, strict=True)]
    equal, total, waveforms = 0, 0, []
    for length in lengths:
        ids = text_ids(length)
        codes = theirs.greedy(voice[0], ids, most)
        best, hidden = speak(ours, voice[0], ids, forced=codes, most=len(codes))
        equal += sum(a == b for a, b in zip(best, codes, strict=True))
        total += len(codes)
        their_hidden = theirs.hidden(voice[0], ids, codes)
        latents.append(relative(hidden, their_hidden))
        audio: Tensor = theirs.waveform(their_hidden, voice[1])
        waveforms.append(relative(ours.vocoder.decode(hidden, voice[1]), audio))
    return {
        "greedy_codes_equal": equal / total,
        "codes": total,
        "waveform_max_difference": max(waveforms),
        "latents_max_difference": max(latents),
    }


def measure(quick: bool) -> dict[str, Any]:
    """All figures.

    Args:
        quick: A small model instead of the published sizes.
    """
    config, codes, lengths, most, stop_bias = QUICK if quick else FULL
    started = perf_counter()
    result: dict[str, Any] = {
        "streamed_max_difference": streamed_difference(create_random(config).vocoder, codes)
    }
    if find_spec("TTS") is None:
        result |= dict.fromkeys(
            ("greedy_codes_equal", "waveform_max_difference", "latents_max_difference")
        )
    else:
        result |= reference_differences(config, lengths, most, stop_bias)
    return result | {
        "model": "small, random weights" if quick else "published sizes, random weights",
        "texts": list(lengths),
        "machine": f"{platform.machine()} {platform.system()}",
        "device": "cpu",
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": round(perf_counter() - started, 1),
    }


def main() -> None:
    """Run, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--quick", action="store_true", help="a small model, under a minute")
    arguments = parser.parse_args()
    result = measure(arguments.quick)
    for key, value in result.items():
        print(f"{key:26} {value:.3g}" if isinstance(value, float) else f"{key:26} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

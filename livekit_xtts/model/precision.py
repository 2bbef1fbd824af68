"""Which precision each part of the model runs in, and what runs it.

An engine calls `prepare` with a loaded model (better: one from `load_for`, which leaves out what
the chosen precision does not need) and gets the runner of the GPT and the vocoder to decode with:

    model = load_for(folder, device=device, precision="auto")
    parts = prepare(model, precision="auto", slots=8, device=device, threads=2, folder=folder)
    parts.runner        # a GptRunner
    parts.vocoder       # takes HifiGan's place in decode_windows
    parts.precision     # "int8+bf16": the GPT's, and the vocoder's where it is not float32

"auto" takes, for each part, the first candidate of its device that the machine has instructions
and kernels for and that passes its gate on these weights (`gates.py`); norms and logits stay in
float32. Verdicts, and the quantised weights, are kept beside the checkpoint and used again as long
as weights, processor and ONNX Runtime are the same. A precision asked for by name is taken without
a gate. "fp32" is always possible, and what "auto" leaves small models in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from livekit_xtts.model import processor
from livekit_xtts.model.makers import Makers, Vocoder, release_copies
from livekit_xtts.model.verdicts import Verdicts
from livekit_xtts.speech import ModelError, Voice

if TYPE_CHECKING:
    from livekit_xtts.model.gpt import GptRunner
    from livekit_xtts.model.xtts import XttsModel

GPT_CANDIDATES = {"cpu": ("int8", "bf16", "fp32"), "cuda": ("bf16", "fp16", "fp32")}
"""What "auto" tries for the GPT, in this order; other devices get float32."""

VOCODER_CANDIDATES = {"cpu": ("bf16", "fp32"), "cuda": ("fp16", "fp32")}
"""What "auto" tries for the vocoder."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs a model.

    Attributes:
        runner: Of the GPT.
        vocoder: Of windows.
        gpt: Precision of the GPT.
        vocoding: Precision of the vocoder.
        report: Verdict of every gate that was asked, by part and precision.
    """

    runner: GptRunner
    vocoder: Vocoder
    gpt: str
    vocoding: str
    report: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """Both in one word: "fp32", "int8", "int8+bf16"."""
        return self.gpt if self.vocoding == "fp32" else f"{self.gpt}+{self.vocoding}"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Candidates of each part, and whether they are judged."""

    gpt: tuple[str, ...]
    vocoder: tuple[str, ...]
    judged: bool


def parse(precision: str, device: str) -> _Wanted:
    """What a precision's name stands for.

    Args:
        precision: "auto", "fp32", "bf16", "fp16" or "int8", a second one after "+" for the
            vocoder (float32 without it).
        device: As torch names it.

    Raises:
        ModelError: The device does not offer it; the message names what it does.
    """
    kind = torch.device(device).type
    gpt, vocoder = GPT_CANDIDATES.get(kind, ("fp32",)), VOCODER_CANDIDATES.get(kind, ("fp32",))
    if precision == "auto":
        return _Wanted(gpt, vocoder, True)
    first, _, second = precision.partition("+")
    second = second or "fp32"
    if first not in gpt or second not in vocoder:
        raise ModelError(
            f"precision={precision!r} is not offered on {kind}: use auto, or one of"
            f" {', '.join(gpt)}, with +{' or +'.join(vocoder)} for the vocoder"
        )
    return _Wanted((first,), (second,), False)


def prepare(
    model: XttsModel,
    *,
    precision: str = "auto",
    slots: int = 8,
    length: int | None = None,
    device: torch.device | str = "cpu",
    threads: int | None = None,
    folder: Path | None = None,
    voice: Voice | None = None,
    release: bool = False,
) -> Parts:
    """Choose the precision of each part and make what runs it.

    Args:
        model: In float32, or from `load_for`.
        precision: See `parse`.
        slots: Sequences at once.
        length: Positions of each; None for the longest.
        device: Where to run.
        threads: Of a step on a CPU; None for as many as torch uses.
        folder: Where the model came from: verdicts and quantised weights are kept there, unless
            it cannot be written or belongs to the package.
        voice: To judge with; None for a random one.
        release: The caller needs the model for cloning and prompts alone: give back the memory of
            what the runner and the vocoder have copies of.

    Raises:
        ModelError: A precision asked for by name cannot run here; for "auto" that is no error.
    """
    device = torch.device(device)
    wanted = parse(precision, str(device))
    verdicts = Verdicts.open(folder, model.fingerprint)
    makers = Makers(model, slots, length, device, threads or torch.get_num_threads(), verdicts)
    latents = speaker = spoken = None
    if voice is not None:
        latents, speaker = torch.tensor(voice.latents), torch.tensor(voice.speaker_embedding)
    for gpt in wanted.gpt if makers.worthwhile("gpt", wanted.judged) else ("fp32",):
        runner, spoken = makers.try_gpt(gpt, wanted.judged, latents)
        if runner is not None:
            break
    else:
        raise ModelError(
            f"precision={precision!r} cannot run here: {makers.reason};"
            ' use precision="auto" or "fp32"'
        )
    for vocoding in wanted.vocoder if makers.worthwhile("vocoder", wanted.judged) else ("fp32",):
        vocoder = makers.try_vocoder(vocoding, wanted.judged, spoken, speaker)
        if vocoder is not None:
            break
    else:
        raise ModelError(f"precision={precision!r} cannot run here: {makers.reason}")
    verdicts.save()
    if release:
        release_copies(model, gpt != "fp32", vocoding != "fp32")
    return Parts(runner, vocoder, gpt, vocoding, verdicts.gates)


def make_runner(
    model: XttsModel,
    precision: str = "fp32",
    slots: int = 8,
    length: int | None = None,
    device: torch.device | str = "cpu",
    threads: int | None = None,
) -> GptRunner:
    """A runner of one precision, without a gate.

    Args:
        model: In float32.
        precision: "fp32", "bf16", "fp16" or "int8".
        slots: Sequences at once.
        length: Positions of each; None for the longest.
        device: Where to run.
        threads: Of a step on a CPU; None for as many as torch uses.

    Raises:
        ModelError: It cannot run here.
    """
    return _makers(model, slots, length, device, threads).gpt(precision)


def make_vocoder(
    model: XttsModel,
    precision: str = "fp32",
    device: torch.device | str = "cpu",
    threads: int | None = None,
) -> Vocoder:
    """A vocoder of one precision, without a gate.

    Args:
        model: In float32.
        precision: "fp32", "bf16" or "fp16".
        device: Where to run.
        threads: See `make_runner`.
    """
    if precision == "fp32":
        return model.vocoder
    return _makers(model, 1, None, device, threads).vocoder(precision)


def _makers(
    model: XttsModel,
    slots: int,
    length: int | None,
    device: torch.device | str,
    threads: int | None,
) -> Makers:
    count = threads or torch.get_num_threads()
    return Makers(model, slots, length, torch.device(device), count, Verdicts.open(None, ""))


def load_for(
    folder: str | Path, *, device: torch.device | str = "cpu", precision: str = "auto"
) -> XttsModel:
    """Load a model, leaving out the GPT's blocks where 8-bit weights of them are kept and will do.

    Args:
        folder: See `checkpoint.load_model`.
        device: Where the weights go.
        precision: What `prepare` will be asked for.

    Raises:
        ModelError: As `checkpoint.load_model`.
    """
    from livekit_xtts.model.checkpoint import load_model
    from livekit_xtts.model.lean import load_without

    folder = Path(folder)
    candidates = parse(precision, str(device)).gpt
    if torch.device(device).type == "cpu" and candidates[0] == "int8" and processor.has_int8():
        verdicts = Verdicts.open(folder, None)
        passed = precision != "auto" or verdicts.gates.get("gpt int8", {}).get("passed")
        if passed and verdicts.fingerprint and verdicts.weights is not None:
            model = load_without(folder, r"gpt\.gpt\.h\.", verdicts.fingerprint)
            if model is not None:
                return model
    return load_model(folder, device=device)

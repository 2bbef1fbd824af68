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

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from livekit_xtts.model import native_step, onnx_graph, onnx_step, processor
from livekit_xtts.model.fast_vocoder import FastVocoder
from livekit_xtts.model.gates import SPEECHES, judge_gpt, judge_vocoder
from livekit_xtts.model.native import layout
from livekit_xtts.model.runner import TorchRunner
from livekit_xtts.model.verdicts import GRAPH_FILE, PACKED_FILE, Verdicts
from livekit_xtts.speech import ModelError, Voice

if TYPE_CHECKING:
    from livekit_xtts.model.config import XttsConfig
    from livekit_xtts.model.gpt import GptRunner
    from livekit_xtts.model.xtts import XttsModel

logger = logging.getLogger(__name__)

GPT_CANDIDATES = {"cpu": ("int8", "bf16", "fp32"), "cuda": ("fp16", "bf16", "fp32")}
"""What "auto" tries for the GPT, in this order; other devices get float32."""

VOCODER_CANDIDATES = {"cpu": ("bf16", "fp32"), "cuda": ("fp16", "fp32")}
"""What "auto" tries for the vocoder."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

WORTHWHILE = {"gpt": 16_000_000, "vocoder": 2_000_000}
"""Parameters from which "auto" reduces a part; less are read in a millisecond as they are."""

_NEEDS: dict[tuple[str, str], Callable[[], bool]] = {
    ("cpu", "int8"): processor.has_int8,
    ("cpu", "bf16"): processor.has_bf16,
}


class Vocoder(Protocol):
    """What `decode_windows` needs of a vocoder."""

    config: XttsConfig

    def __call__(self, features: Tensor, speaker_embedding: Tensor) -> Tensor:
        """Frames (batch, width, frames) and speakers (batch, d_vector_dim) to samples."""
        ...


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
    makers = _Makers(model, slots, length, device, threads or torch.get_num_threads(), verdicts)
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
        _release(model, gpt != "fp32", vocoding != "fp32")
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
    count = threads or torch.get_num_threads()
    verdicts = Verdicts.open(None, "")
    return _Makers(model, slots, length, torch.device(device), count, verdicts).gpt(precision)


class _Makers:
    """Makes candidates, and tells why one cannot be had."""

    def __init__(
        self,
        model: XttsModel,
        slots: int,
        length: int | None,
        device: torch.device,
        threads: int,
        verdicts: Verdicts,
    ) -> None:
        self.reason = ""
        self._model = model
        self._slots = slots
        self._length = length
        self._device = device
        self._threads = threads
        self._verdicts = verdicts

    def worthwhile(self, part: str, judged: bool) -> bool:
        """Whether reducing a part can gain anything; what was asked for by name always does."""
        module = self._model.gpt.gpt if part == "gpt" else self._model.vocoder
        return not judged or sum(p.numel() for p in module.parameters()) >= WORTHWHILE[part]

    def gpt(self, precision: str) -> GptRunner:
        """A runner; `ModelError` where there is none."""
        return self._int8() if precision == "int8" else self._torch(DTYPES[precision])

    def try_gpt(
        self, precision: str, judged: bool, latents: Tensor | None
    ) -> tuple[GptRunner | None, Tensor | None]:
        """A runner and some latents that it made; None where it is refused."""
        if judged and not self._possible(precision):
            return None, None
        try:
            runner = self.gpt(precision)
        except ModelError as error:
            self._refuse(f"{precision} of the GPT", str(error))
            return None, None
        if not judged or precision == "fp32":
            return runner, None
        name, spoken = f"gpt {precision}", None
        if name not in self._verdicts.gates:
            judging = runner if runner.slots >= SPEECHES else self._judging(runner)
            verdict, spoken = judge_gpt(self._model.gpt, judging, latents)
            self._verdicts.gates[name] = verdict.to_dict()
        found = self._verdicts.gates[name]
        if not found["passed"]:
            self._refuse(f"{precision} of the GPT", f"it did not pass its gate {found}")
            return None, None
        return runner, spoken

    def try_vocoder(
        self, precision: str, judged: bool, latents: Tensor | None, speaker: Tensor | None
    ) -> Vocoder | None:
        """A vocoder, or None where it is refused."""
        if precision == "fp32":
            return self._model.vocoder
        if judged and not self._possible(precision):
            return None
        vocoder = FastVocoder(self._model.vocoder, DTYPES[precision])
        name = f"vocoder {precision}"
        if judged and name not in self._verdicts.gates:
            verdict = judge_vocoder(self._model.vocoder, vocoder, latents, speaker)
            self._verdicts.gates[name] = verdict.to_dict()
        found = self._verdicts.gates.get(name, {})
        if judged and not found["passed"]:
            self._refuse(f"{precision} of the vocoder", f"it did not pass its gate {found}")
            return None
        return vocoder

    def _refuse(self, what: str, why: str) -> None:
        self.reason = why
        logger.info("%s is not used: %s", what, why)

    def _possible(self, precision: str) -> bool:
        needed = _NEEDS.get((self._device.type, precision))
        if needed is None or needed():
            return True
        self._refuse(precision, "the processor has no instructions for it")
        return False

    def _torch(self, dtype: torch.dtype) -> TorchRunner:
        if _released(self._model):
            raise ModelError("the model was loaded without its blocks, for 8-bit weights")
        return TorchRunner(self._model.gpt, self._slots, self._length, self._device, dtype)

    def _judging(self, runner: GptRunner) -> GptRunner:
        """A runner like `runner` with enough slots to judge it by."""
        makers = _Makers(
            self._model, SPEECHES, self._length, self._device, self._threads, self._verdicts
        )
        if isinstance(runner, native_step.NativeRunner):
            return native_step.NativeRunner(
                self._model.gpt, runner.weights, SPEECHES, self._length, self._threads
            )
        if isinstance(runner, onnx_step.OnnxRunner):
            return onnx_step.OnnxRunner(self._model.gpt, runner.session, SPEECHES, self._length)
        assert isinstance(runner, TorchRunner)
        return makers._torch(runner.dtype)

    def _int8(self) -> GptRunner:
        if self._device.type != "cpu":
            raise ModelError("8-bit weights run on the CPU alone")
        why = native_step.missing()
        if not why:
            try:
                return self._native()
            except ModelError as error:
                why = str(error)
        logger.info("the step is not compiled: %s", why)
        return self._onnx()

    def _native(self) -> native_step.NativeRunner:
        sizes = layout.Sizes.of(self._model.config)
        kept = self._verdicts.place(PACKED_FILE)
        if kept is not None and not kept.is_file():
            try:
                layout.write_file(self._reader(), sizes, kept)
            except OSError as error:
                logger.warning("the quantised weights cannot be kept in %s: %s", kept, error)
                kept = None
        weights = (
            layout.in_memory(self._reader(), sizes)
            if kept is None
            else layout.map_file(kept, sizes)
        )
        return native_step.NativeRunner(
            self._model.gpt, weights, self._slots, self._length, self._threads
        )

    def _reader(self) -> Callable[[str], Any]:
        """Gives the GPT's parameters in float32, as numpy arrays."""
        if _released(self._model):
            raise ModelError("the quantised weights are gone: load the model again")
        state = self._model.gpt.state_dict()
        return lambda name: state[name].detach().float().numpy()

    def _onnx(self) -> onnx_step.OnnxRunner:
        kept = self._verdicts.place(GRAPH_FILE)
        if kept is not None and kept.is_file():
            session = onnx_step.open_session(kept, self._threads)
            return onnx_step.OnnxRunner(self._model.gpt, session, self._slots, self._length)
        read = self._reader()
        onnx_step.require_libraries()
        place = None if kept is None else kept.parent
        with tempfile.TemporaryDirectory(
            prefix=".precision-", dir=place, ignore_cleanup_errors=True
        ) as temporary:
            path = Path(temporary) / GRAPH_FILE
            onnx_graph.write_graph(read, self._model.config, path)
            if kept is not None:
                # The graph last: where it is, its data is whole.
                for name in (f"{GRAPH_FILE}.data", GRAPH_FILE):
                    path.with_name(name).replace(kept.with_name(name))
                path = kept
            session = onnx_step.open_session(path, self._threads)
        return onnx_step.OnnxRunner(self._model.gpt, session, self._slots, self._length)


def _release(model: XttsModel, gpt: bool, vocoder: bool) -> None:
    """Give up what speaking does not need, and what the runner and vocoder have copies of."""
    model.gpt.text_head.to("meta")
    if gpt:
        model.gpt.gpt.h.to("meta")
    if vocoder:
        for part in (model.vocoder.conv_pre, model.vocoder.ups, model.vocoder.resblocks):
            part.to("meta")


def _released(model: XttsModel) -> bool:
    return next(model.gpt.gpt.h.parameters()).is_meta


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

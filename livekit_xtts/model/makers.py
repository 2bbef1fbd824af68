"""What runs each part of a model in a precision: makes it, judges it, keeps what was found out."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from livekit_xtts.model import (
    device,
    native_step,
    native_vocoder,
    onnx_graph,
    onnx_step,
    processor,
)
from livekit_xtts.model.carried import Carry, Layers
from livekit_xtts.model.fast_vocoder import FastVocoder
from livekit_xtts.model.gates import SPEECHES, judge_gpt, judge_vocoder
from livekit_xtts.model.native import layout
from livekit_xtts.model.runner import BatchRunner, TorchRunner
from livekit_xtts.model.verdicts import GRAPH_FILE, PACKED_FILE, Verdicts
from livekit_xtts.speech import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livekit_xtts.model.config import XttsConfig
    from livekit_xtts.model.gpt import GptRunner
    from livekit_xtts.model.streaming import Window
    from livekit_xtts.model.xtts import XttsModel

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

WORTHWHILE = {"gpt": 16_000_000, "vocoder": 2_000_000}
"""Parameters from which "auto" reduces a part; less are read in a millisecond as they are."""

_TIMED_FRAMES, _TIMES = 40, 3

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


@runtime_checkable
class BatchVocoder(Vocoder, Protocol):
    """A vocoder that decodes windows of any lengths together."""

    def decode(self, items: Sequence[tuple[Tensor, Tensor, Window]]) -> list[Tensor]:
        """See `streaming.decode_windows`."""
        ...

    def capture(self, capture: Any) -> None:
        """Have batches replayed from graphs.

        Args:
            capture: See `engine.graphs.Capture`.
        """
        ...

    def release(self) -> None:
        """Give up graphs and what they work on; made again when used."""
        ...


class Makers:
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
        if precision == "int8":
            return self._int8()
        return self._on_kernels(precision) or self._torch(DTYPES[precision])

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
        passed, spoken = self._judged(runner, precision, latents)
        if not passed and isinstance(runner, BatchRunner):
            # Perhaps it is the kernels, not the precision. Not both in memory at the same time.
            del runner
            runner = self._torch(DTYPES[precision])
            passed, spoken = self._judged(runner, precision, latents)
        return (runner, spoken) if passed else (None, None)

    def _judged(
        self, runner: GptRunner, precision: str, latents: Tensor | None
    ) -> tuple[bool, Tensor | None]:
        """Whether a runner passes its gate, and latents that it made if it was asked to speak."""
        name, spoken = f"gpt {precision}{self._where(isinstance(runner, BatchRunner))}", None
        if name not in self._verdicts.gates:
            judging = runner if runner.slots >= SPEECHES else self._judging(runner)
            verdict, spoken = judge_gpt(self._model.gpt, judging, latents)
            self._verdicts.gates[name] = verdict.to_dict()
        found = self._verdicts.gates[name]
        if not found["passed"]:
            self._refuse(name.replace("gpt", "the GPT in"), f"it did not pass its gate {found}")
        return bool(found["passed"]), spoken

    def _where(self, kernels: bool) -> str:
        """What a verdict holds for beside the precision: which GPU, and whose kernels."""
        cuda = self._device.type == "cuda"
        place = f" on {torch.cuda.get_device_name(self._device)}" if cuda else ""
        return place + ", own kernels" * kernels

    def try_vocoder(
        self, precision: str, judged: bool, latents: Tensor | None, speaker: Tensor | None
    ) -> Vocoder | None:
        """A vocoder, or None where it is refused."""
        if precision == "fp32":
            return self._model.vocoder
        if judged and not self._possible(precision):
            return None
        vocoder = self.vocoder(precision)
        if not judged or self._sounds(vocoder, precision, latents, speaker):
            return vocoder
        if isinstance(vocoder, BatchVocoder):
            # Perhaps it is the kernels, not the precision.
            vocoder = FastVocoder(self._model.vocoder, DTYPES[precision])
            if self._sounds(vocoder, precision, latents, speaker):
                return vocoder
        return None

    def _sounds(
        self, vocoder: Vocoder, precision: str, latents: Tensor | None, speaker: Tensor | None
    ) -> bool:
        """Whether a vocoder passes its gate."""
        name = f"vocoder {precision}{self._where(isinstance(vocoder, BatchVocoder))}"
        if isinstance(vocoder, native_vocoder.NativeVocoder):
            name += ", compiled"
        if name not in self._verdicts.gates:
            verdict = judge_vocoder(self._model.vocoder, vocoder, latents, speaker)
            self._verdicts.gates[name] = verdict.to_dict()
        found = self._verdicts.gates[name]
        if not found["passed"]:
            self._refuse(f"the {name}", f"it did not pass its gate {found}")
        return bool(found["passed"])

    def vocoder(self, precision: str) -> Vocoder:
        """A vocoder in reduced precision."""
        if self._device.type == "cpu" and precision == "bf16":
            why = native_vocoder.missing()
            if not why:
                try:
                    return self._quickest(
                        native_vocoder.NativeVocoder(self._model.vocoder, self._threads)
                    )
                except ModelError as error:
                    why = str(error)
            logger.info("the vocoder is not compiled: %s", why)
        kernels = self._vocoder_on_kernels(precision)
        return kernels or FastVocoder(self._model.vocoder, DTYPES[precision])

    def _quickest(self, compiled: native_vocoder.NativeVocoder) -> Vocoder:
        """The compiled vocoder, unless torch's kernels are seen to be faster.

        They may be where the processor multiplies tiles of bfloat16, which is many times the rate
        of the vectors that the compiled one is made of.
        """
        if not processor.has_tiles():
            return compiled
        others = FastVocoder(self._model.vocoder, torch.bfloat16)
        ours, theirs = seconds_of(compiled), seconds_of(others)
        logger.info("vocoder: compiled %.1f ms, by torch %.1f ms", 1e3 * ours, 1e3 * theirs)
        return compiled if ours <= theirs else others

    def _refuse(self, what: str, why: str) -> None:
        self.reason = why
        logger.info("%s is not used: %s", what, why)

    def _possible(self, precision: str) -> bool:
        needed = _NEEDS.get((self._device.type, precision))
        if needed is None or needed():
            return True
        self._refuse(precision, "the processor has no instructions for it")
        return False

    def _on_kernels(self, precision: str) -> BatchRunner | None:
        """A runner on kernels of our own, seen to run; None where there is none."""
        if _released(self._model) or not self._has_kernels(precision):
            return None
        try:
            from livekit_xtts.model.device.runner import DeviceRunner

            made = DeviceRunner(
                self._model.gpt, self._slots, self._length, self._device, DTYPES[precision]
            )
            made.try_out()
        except Exception as error:  # Compilers and drivers fail in many ways.
            self._without_kernels("GPT", error)
            return None
        return made

    def _vocoder_on_kernels(self, precision: str) -> BatchVocoder | None:
        """A vocoder on kernels of our own, seen to run; None where there is none."""
        if not self._has_kernels(precision):
            return None
        try:
            from livekit_xtts.model.device.vocoder import DeviceVocoder

            made = DeviceVocoder(self._model.vocoder, DTYPES[precision])
            made.try_out()
        except Exception as error:
            self._without_kernels("vocoder", error)
            return None
        return made

    def _has_kernels(self, precision: str) -> bool:
        return precision in ("fp16", "bf16") and not device.missing(self._device)

    def _without_kernels(self, part: str, error: Exception) -> None:
        logger.warning(
            "the %s runs without kernels of its own, and slower: %s."
            " They need Triton, which comes with torch on Linux, a C compiler and Python's headers",
            part,
            str(error) or type(error).__name__,
        )

    def _torch(self, dtype: torch.dtype) -> TorchRunner:
        if _released(self._model):
            raise ModelError("the model was loaded without its blocks, for 8-bit weights")
        return TorchRunner(self._model.gpt, self._slots, self._length, self._device, dtype)

    def _judging(self, runner: GptRunner) -> GptRunner:
        """A runner like `runner` with enough slots to judge it by."""
        makers = Makers(
            self._model, SPEECHES, self._length, self._device, self._threads, self._verdicts
        )
        if isinstance(runner, native_step.NativeRunner):
            return native_step.NativeRunner(
                self._model.gpt, runner.weights, SPEECHES, self._length, self._threads
            )
        if isinstance(runner, onnx_step.OnnxRunner):
            return onnx_step.OnnxRunner(self._model.gpt, runner.session, SPEECHES, self._length)
        if isinstance(runner, BatchRunner):
            return runner.with_slots(self._model.gpt, SPEECHES)
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


def seconds_of(vocoder: Layers) -> float:
    """Seconds that a vocoder takes for a chunk of usual length: the fastest of a few."""
    frames = torch.zeros(vocoder.config.decoder_input_dim, _TIMED_FRAMES)
    speaker = torch.zeros(vocoder.config.d_vector_dim)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(_TIMES + 1):
            start = time.perf_counter()
            vocoder.carry_on(Carry(), frames, speaker, last=True)
            best = min(best, time.perf_counter() - start)
    return best


def release_copies(model: XttsModel, gpt: bool, vocoder: bool) -> None:
    """Give up what speaking does not need, and what the runner and vocoder have copies of."""
    model.gpt.text_head.to("meta")
    if gpt:
        model.gpt.gpt.h.to("meta")
    if vocoder:
        for part in (model.vocoder.conv_pre, model.vocoder.ups, model.vocoder.resblocks):
            part.to("meta")


def _released(model: XttsModel) -> bool:
    return next(model.gpt.gpt.h.parameters()).is_meta

"""An engine over a model in this process."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from livekit_xtts.engine import source as models
from livekit_xtts.engine.ends import Ends
from livekit_xtts.engine.life import ThreadedEngine
from livekit_xtts.engine.schedule import PROFILES, StepTimes
from livekit_xtts.engine.settings import Settings
from livekit_xtts.speech import EngineInfo, ModelError

if TYPE_CHECKING:
    from livekit_xtts.engine.capacity import Slots
    from livekit_xtts.engine.machine import Machine
    from livekit_xtts.engine.offload import OffloadStats

LEAST_POSITIONS = 64
"""A voice, a short text and a second of speech."""


class LocalEngine(ThreadedEngine):
    """Speaks with a model in this process; many requests at once, independent of each other.

    Nothing is loaded, and no thread started, before `start()`, `load()` or the first request; torch
    is not imported before that either. An engine that has started belongs to its process: a forked
    child makes its own, and may do so only if the parent has not run one (a child of a process
    with parallel torch work behind it can hang).

    Args:
        model: A folder with `config.json`, `vocab.json` and `model.safetensors` or `model.pth`;
            "random-small" or "random" for seeded random weights; a model; None for the bundled
            voice, or, where none is installed, "random-small" with a warning.
        device: As torch names it; "auto" takes a CUDA device where there is one, else the CPU.
        precision: "auto" takes the fastest that the machine has instructions for and that passes
            its gate on these weights; or by name: "fp32", "int8+bf16" (GPT and vocoder), ….
        slots: Requests that are spoken at once. None takes 8 on a CPU, on a device 8 to 64, as
            many as half of its free memory holds; "auto" what fits into the memory there is, at
            most 1,024 on a device and 8 on a CPU. More than fit on a device are an error. On a CPU
            memory for a slot's keys and values is used as far as its longest request so far went:
            on the full-size model in fp32 246 kB a position, 60 MB for a typical request, 255 MB
            for the longest.
        slot_positions: Positions of a slot: 32 of the voice, text ids + 3, and the codes (21.5 a
            second). None for the model's longest (28 s after the longest text) where that many fit;
            else 640, which hold any segment that the package cuts by itself. What a slot cannot
            hold is refused, speech beyond its end is cut.
        queue: Further requests that wait for a slot; beyond that they are refused.
        max_wait: Seconds that a request may wait for a slot, once the model is loaded; None for as
            long as it takes. A request that, behind those before it, could not start in time is
            refused at once (`EngineBusyError`, retryable); one whose time runs out, then.
        profile: "latency", "balanced" or "throughput": how early and how finely audio comes.
        threads: CPU threads of the engine's own work; None for the number that torch uses, or one
            where the machine is so busy at load that several would wait for each other (measured,
            unless `times` are given). The host's settings stay as they are.
        load_timeout: Seconds that loading may take; then waiting requests fail, loading goes on.
        times: Step times instead of measured ones. The chunk boundaries follow from them, so with
            given times streamed audio has the same bits on every start; else only to rounding.
        ends: How requests may end: budget, stop bias, silence, fade; None for the defaults,
            `Ends.off()` for what the model gives.
        admission: Let only as many requests speak at once as the measured step times sustain in
            real time; others wait in the queue, slots or no slots.
        graphs: On CUDA devices, replay steps as captured graphs.
        offload_after: Seconds without work after which the model leaves its device for the host,
            so that others can use the device's memory; the next request brings it back, which
            delays its first audio by what `offload_stats` tells. The host keeps a copy (page-locked
            for CUDA). None for never; on a CPU there is nothing to free, and it is left alone with
            a warning.
        seed: Of random weights.
    """

    _machine: Machine | None

    def __init__(
        self,
        model: models.ModelSource = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        slots: Slots = None,
        slot_positions: int | None = None,
        queue: int = 16,
        max_wait: float | None = 10.0,
        profile: str = "balanced",
        threads: int | None = None,
        load_timeout: float = 300.0,
        times: StepTimes | None = None,
        ends: Ends | None = None,
        admission: bool = True,
        graphs: bool = True,
        offload_after: float | None = None,
        seed: int = 0,
    ) -> None:
        if profile not in PROFILES:
            raise ModelError(f"profile={profile!r} is unknown: use one of {', '.join(PROFILES)}")
        if slot_positions is not None and slot_positions < LEAST_POSITIONS:
            raise ModelError(
                f"slot_positions={slot_positions}: use {LEAST_POSITIONS} or more, or None"
            )
        if offload_after is not None and not offload_after >= 0.0:
            raise ModelError(f"offload_after={offload_after}: use seconds, 0 or more, or None")
        if max_wait is not None and not max_wait >= 0.0:
            raise ModelError(f"max_wait={max_wait}: use seconds, 0 or more, or None")
        info = EngineInfo(
            model=models.name_of(model),
            fingerprint="",
            device=device,
            precision=precision,
            slots=slots if isinstance(slots, int) else 8,
            queue=queue,
        )
        if (config := models.configuration(model)) is not None:
            # Text may be cut for this engine before it is loaded.
            limits, ids = config.char_limits, config.max_text_ids
            info = replace(info, char_limits=limits, max_text_ids=ids)
        super().__init__(
            info,
            threads=threads,
            load_timeout=load_timeout,
            max_wait_s=math.inf if max_wait is None else max_wait,
        )
        self._source = model
        self._seed = seed
        self._settings = Settings(
            device=device,
            precision=precision,
            slots=slots,
            slot_positions=slot_positions,
            queue=queue,
            profile=profile,
            times=times,
            ends=ends or Ends(),
            admission=admission,
            graphs=graphs,
            offload_after=offload_after,
        )

    @property
    def offload_stats(self) -> OffloadStats | None:
        """Where the model is and how long it took to move; None where it never leaves."""
        machine = self._machine
        return None if machine is None or machine.residence is None else machine.residence.stats

    def _wanted_threads(self, loaded: models.Loaded) -> int | None:
        from livekit_xtts.engine.threads import better_threads

        given = self._threads is not None or self._settings.times is not None
        if given or loaded.model.gpt.mel_head.weight.device.type != "cpu":
            return self._threads
        import torch

        return better_threads(torch.get_num_threads())

    def _wait_s(self) -> float:
        machine = self._machine
        return 0.0 if machine is None else machine.scheduler.wait_s(len(self._jobs))

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for a second of one stream's speech, by the step times measured at load.

        None before. Above 1 speech is made slower than it is heard.
        """
        return None if self._machine is None else self._machine.schedule.real_time_factor

    def count_ids(self, text: str, language: str) -> int | None:
        """Text ids of a text, the language tag included; also of one that is too long to speak.

        Args:
            text: As a person wrote it.
            language: A language of the model.

        Returns:
            None while the model is not loaded, and where it has no vocabulary.

        Raises:
            InvalidRequestError: Unknown language, or a language extra is missing.
        """
        tokenizer = None if self._machine is None else self._machine.tokenizer
        return None if tokenizer is None else tokenizer.count(text, language)

    def _load(self) -> models.Loaded:
        from livekit_xtts.engine.machine import pick_device

        device = pick_device(self._settings.device)
        return models.load(
            self._source,
            device=device,
            seed=self._seed,
            precision=self._settings.precision,
        )

    def _assemble(self, loaded: models.Loaded) -> Machine:
        from livekit_xtts.engine.machine import Machine
        from livekit_xtts.engine.rehearsal import rehearse

        machine = Machine(loaded, self._settings)
        # First, since `warm_up` begins the counters anew and gives freed memory back.
        rehearse(machine)
        machine.warm_up()
        return machine

"""Passes of frames through the compiled vocoder, as tables of operations.

Passes of equal length in the midst of utterances are alike, so their tables are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from livekit_xtts.model.native.convolve import CHANNELS, OP, POSITIONS
from livekit_xtts.model.native.network import FRAMES, Convolution, Network, Signal, Stage

if TYPE_CHECKING:
    import numpy.typing as npt

    Ops: TypeAlias = npt.NDArray[np.int64]

KEPT = 48
"""Passes whose tables are kept."""

_UNIT = 80_000
"""Processor cycles of a portion of work: enough to be worth its asking for, and few enough that
no thread waits long for another's last one."""

_TILE_CYCLES = 200
_SAMPLES = 1024
_ALIGN = 64


def aligned(count: int, unit: int = _ALIGN) -> int:
    """The next multiple of a unit."""
    return -(-count // unit) * unit


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a convolution's weights and biases are.

    Attributes:
        weights: Address.
        block_bytes: Of the weights of 32 outputs.
        bias: Its first value, counted from the first of all biases.
    """

    weights: int
    block_bytes: int
    bias: int


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass does.

    Attributes:
        ops: The operations, one a row, as `convolve.OP` names their entries.
        phases: Phases of work.
        entry: First of the frames' rows that is new.
        samples: Samples that become final.
    """

    ops: Ops
    phases: int
    entry: int
    samples: int


class Passes:
    """Makes the tables of passes.

    Args:
        network: Signals and operations.
        addresses: Of the compiled functions.
        weights: Of each convolution, by its name, and of the last layer ("conv_post").
    """

    def __init__(
        self, network: Network, addresses: Mapping[str, int], weights: Mapping[str, Weights]
    ) -> None:
        self.network = network
        self._at = addresses
        self._weights = weights
        self._kept: dict[tuple[int, int, bool], Pass] = {}
        self._steady = network.steady
        self._base = 0
        self.bytes, self.kept_bytes = self._lay_out()

    def _lay_out(self) -> tuple[int, int]:
        """Give every signal its places; stages, which come one after the other, share theirs."""
        at = kept = 0
        for signal in self.network.between:
            signal.place = at
            at = aligned(at + signal.rows * signal.stride)
        self._samples = at
        most = at = aligned(at + 4 * self.most_samples)
        for stage in self.network.stages:
            place = at
            for signal in stage.signals:
                signal.place = place
                place = aligned(place + signal.rows * signal.stride)
            most = max(most, place)
        for signal in self.network.signals():
            signal.kept_place = kept
            kept = aligned(kept + signal.kept * signal.stride)
        # Tiles read beyond what is there.
        return most + (1 << 16), kept

    @property
    def _rate(self) -> int:
        return self.network.last.rate

    @property
    def most_samples(self) -> int:
        """Samples of a pass, at most."""
        return self._rate * FRAMES + self.network.samples

    @property
    def most_phases(self) -> int:
        """Phases of a pass, at most."""
        return 6 + sum(2 + 2 * len(stage.phases) for stage in self.network.stages)

    @property
    def samples_place(self) -> int:
        """Where the samples lie in the working memory."""
        return self._samples

    def use(self, base: int) -> None:
        """Where the working memory lies."""
        self._base = base
        self._kept.clear()

    def get(self, frames: int, more: int, last: bool) -> Pass:
        """The pass of so many more frames.

        Args:
            frames: That went before.
            more: At most `FRAMES`.
            last: Whether they are the last of the utterance.
        """
        key = (min(frames, self._steady), more, last)
        found = self._kept.pop(key, None)
        if found is None:
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            found = _Writer(self, *key).write()
        self._kept[key] = found  # The last to be thrown out.
        return found


class _Writer:
    """Writes one table.

    Args:
        passes: Has addresses and places.
        frames: Before the pass.
        more: In it.
        last: Whether they are the last.
    """

    def __init__(self, passes: Passes, frames: int, more: int, last: bool) -> None:
        self._p = passes
        self._from, self._to, self._last = frames, frames + more, last
        self._rows: list[list[dict[str, int]]] = []

    def write(self) -> Pass:
        """The whole pass."""
        network = self._p.network
        loaded = self._moved("load", network.between)
        self._phase(loaded + self._behind([network.features]))
        self._phase(self._convolved([network.pre]))
        self._phase(self._behind(_made([network.pre])))
        for stage in network.stages:
            self._stage(stage)
        samples = self._finish()
        if not self._last:
            self._phase(self._moved("save", network.between))
        rows = [row for phase in self._rows for row in phase]
        table = np.zeros((len(rows), len(OP)), np.int64)
        for index, row in enumerate(rows):
            for name, value in row.items():
                table[index, OP.index(name)] = value
        return Pass(table, len(self._rows), self._entry(), samples)

    def _stage(self, stage: Stage) -> None:
        self._phase(self._moved("load", stage.signals))
        for phase in stage.phases:
            self._phase(self._convolved(phase))
            self._phase(self._behind(_made(phase)) + self._ahead(phase))
        if not self._last:
            self._phase(self._moved("save", stage.signals))

    def _phase(self, rows: list[dict[str, int]]) -> None:
        """Let operations be done side by side, after all that came before."""
        rows = [row for row in rows if row["units"] or not row["chain"]]
        if any(row["units"] for row in rows):
            rows[-1]["last"] = 1
            self._rows.append(rows)

    # ---- places ---------------------------------------------------------------------------

    def _row(self, signal: Signal, position: int) -> int:
        """Where a position lies."""
        row = position - signal.first(self._from) + signal.margin
        return self._p._base + signal.place + row * signal.stride

    def _entry(self) -> int:
        features = self._p.network.features
        return features.final(self._from, False) - features.first(self._from)

    def _final(self, signal: Signal) -> int:
        return signal.final(self._to, self._last)

    # ---- operations -----------------------------------------------------------------------

    def _moved(self, name: str, signals: Iterable[Signal]) -> list[dict[str, int]]:
        """Bring what was kept, or keep what will be looked at again."""
        rows = []
        for signal in signals:
            frames = self._from if name == "load" else self._to
            first, end = signal.first(frames), signal.final(frames, False)
            place = self._row(signal, first)
            row = {"run": self._p._at[name], "bytes": (end - first) * signal.stride}
            if name == "load":
                row |= {"input": signal.kept_place, "floats": place}
            else:
                row |= {"input": place, "floats": signal.kept_place}
            rows.append(row | {"units": int(end > first), "chain": 1})
        return rows

    def _behind(self, signals: Iterable[Signal]) -> list[dict[str, int]]:
        """Zeros behind the end of the utterance, over what tiles have written there."""
        if not self._last:
            return []
        return [self._clear(s, self._final(s), s.right) for s in signals if s.right]

    def _ahead(self, operations: list[Convolution]) -> list[dict[str, int]]:
        """Zeros before its beginning, where an upsampling has written."""
        return [
            self._clear(signal, -op.shift, op.shift)
            for op in operations
            if op.shift and self._range(op)[0] == 0
            for signal in _made([op])
        ]

    def _clear(self, signal: Signal, first: int, count: int) -> dict[str, int]:
        row = {"run": self._p._at["clear"], "units": 1, "chain": 1}
        return row | {"floats": self._row(signal, first), "bytes": count * signal.stride}

    def _convolved(self, operations: list[Convolution]) -> list[dict[str, int]]:
        rows = [self._convolution(op) for op in operations]
        if any(op.chain != 1 for op in operations):
            return rows
        return sorted(rows, key=lambda row: -row["taps"])

    def _convolution(self, op: Convolution) -> dict[str, int]:
        source, found = op.source, self._p._weights[op.weight]
        done, end = self._range(op)
        count = end - done
        tiles, blocks = -(-count // POSITIONS), op.outputs // CHANNELS
        cycles = op.taps * source.stride // 4 * POSITIONS + _TILE_CYCLES
        each = max(1, min(tiles, _UNIT // cycles))
        groups = -(-tiles // each)
        at = self._p._at
        row = {
            "run": at["convolve"],
            "units": groups * blocks if op.chain else 0,
            "chain": op.chain,
            "groups": groups,
            "tiles": tiles,
            "each": each,
            "before": at[op.before],
            "core": at[f"core_{source.channels}"],
            "after": at[op.after],
            "input": self._row(source, done - op.left),
            "input_stride": source.stride,
            "taps": op.taps,
            "tap_step": op.dilation * source.stride,
            "weights": found.weights,
            "block_bytes": found.block_bytes,
            "bias": found.bias,
        }
        if count <= 0:
            return row | {"units": 0, "tiles": 0}
        out = op.phases * done - op.shift
        for name, signal in (("floats", op.floats), ("inputs", op.inputs)):
            if signal is not None:
                row[name] = self._row(signal, out)
                row[f"{name}_stride"] = op.phases * signal.stride
        if op.residual is not None:
            row["residual"] = self._row(op.residual, done)
            row["residual_stride"] = op.residual.stride
        return row

    def _range(self, op: Convolution) -> tuple[int, int]:
        """Outputs that become final, counted in the source's positions."""
        rate = op.source.rate
        done = max(0, rate * self._from - op.lag)
        if not self._last:
            return done, max(0, rate * self._to - op.lag)
        # An upsampling's outputs begin `shift` early, so one more is needed at the end.
        return done, rate * self._to + (1 if op.shift else 0)

    def _finish(self) -> int:
        network = self._p.network
        source, found = network.last, self._p._weights["conv_post"]
        done = max(0, source.rate * self._from - network.samples)
        end = source.rate * self._to
        count = (end if self._last else max(0, end - network.samples)) - done
        self._phase(
            [
                {
                    "run": self._p._at["finish"],
                    "units": -(-count // _SAMPLES),
                    "chain": 1,
                    "tiles": count,
                    "each": _SAMPLES,
                    "input": self._row(source, done - network.taps // 2),
                    "input_stride": source.stride,
                    "taps": network.taps,
                    "weights": found.weights,
                    "floats": self._p._base + self._p.samples_place,
                }
            ]
        )
        return count


def _made(operations: list[Convolution]) -> list[Signal]:
    """What operations compute."""
    return [s for op in operations for s in (op.floats, op.inputs) if s is not None]

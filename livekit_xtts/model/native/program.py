"""The whole step as one function that all threads run side by side, and its compilation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock

from livekit_xtts.model.native import compiler, kernels, products, team
from livekit_xtts.model.native.assembly import LANES, Code
from livekit_xtts.model.native.kernels import BLOCK, BLOCK_BYTES
from livekit_xtts.model.native.layout import FIELDS, Private, Sizes
from livekit_xtts.model.native.products import TILES
from livekit_xtts.model.native.team import Table

NEEDED = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"})
"""Processor flags, as Linux names them, that the code is written for."""

COUNTERS_A_LAYER = 5
_TILES_AT_ONCE = 16


class _Step:
    """Writes the function `run`, thread `%t`'s part of a step.

    Linear layers and heads are dealt out to the threads in portions as they come for them; what is
    cheap (norms, 8-bit values) every thread computes for itself.
    """

    def __init__(self, sizes: Sizes, rows: int) -> None:
        self.sizes = sizes
        self.c = c = Code("run", "ptr %table, i64 %t")
        self.table = table = Table(c, FIELDS)
        self.rows = table.number("rows")
        self.threads = table.number("threads")
        self.places, self.layer_bytes = sizes.places()
        private = Private.of(sizes, rows)
        mine = c.times("%t", table.number("private_bytes"))
        base = c.at(table.pointer("private"), mine, "i8")

        def place(offset: int) -> str:
            return c.at(base, offset, "i8")

        self.residual, self.normed = place(private.residual), place(private.normed)
        self.values, self.scales = place(private.values), place(private.scales)
        self.corrections, self.scores = place(private.corrections), place(private.scores)
        self.turn = c.variable("i64", "0")

    def write(self) -> str:
        """The function."""
        c, sizes, table = self.c, self.sizes, self.table
        width = sizes.width
        weights = table.pointer("weights")
        with c.loop("0", c.times(self.rows, width), LANES) as i:
            x = c.load(c.at(table.pointer("x"), i))
            c.store(x, c.at(self.residual, i))
        with c.loop("0", str(sizes.layers)) as layer:
            self._layer(layer, c.at(weights, c.times(layer, self.layer_bytes), "i8"))
        tail = c.at(weights, sizes.layers * self.layer_bytes, "i8")
        with self._each_row() as row:
            x = self._row(self.residual, row)
            self._norm(tail, x, self.normed)
            self._norm(c.at(tail, 2 * width), self.normed, x)
        with c.when(c("icmp eq i64 %t, 0")):
            hidden = table.pointer("hidden")
            with c.loop("0", c.times(self.rows, width), LANES) as i:
                c.store(c.load(c.at(self.residual, i)), c.at(hidden, i))
        with c.when(c(f"icmp ne i64 {table.number('wanted')}, 0")):
            self._head(c.at(tail, 4 * width))
        team.meet(c, table)
        return c.text()

    def _layer(self, layer: str, weights: str) -> None:
        c, sizes, table = self.c, self.sizes, self.table
        qkv, attended = table.pointer("qkv"), table.pointer("attended")
        with self._each_row() as row:
            self._norm_and_quantise(weights, "ln_1", row)
        self._linear(weights, "qkv", qkv)
        size = table.number("layer_keys")
        keys = c.at(table.pointer("keys"), c.times(c.times(layer, 2), size), "half")
        with self._shared(str(sizes.heads), 1) as head:
            c.call(
                "attend",
                f"ptr {qkv}",
                f"i64 {self.rows}",
                f"ptr {keys}",
                f"ptr {c.at(keys, size, 'half')}",
                f"ptr {table.pointer('slots')}",
                f"ptr {table.pointer('positions')}",
                f"i64 {table.number('slot_keys')}",
                f"i64 {table.number('length')}",
                f"i64 {head}",
                f"i64 {sizes.width}",
                f"ptr {self.scores}",
                f"ptr {attended}",
            )
        with self._each_row() as row:
            self._quantise(row, self._row(attended, row), sizes.width)
        projected, inner = table.pointer("projected"), table.pointer("inner")
        self._linear(weights, "projection", projected)
        with self._each_row() as row:
            self._add(projected, row)
            self._norm_and_quantise(weights, "ln_2", row)
        self._linear(weights, "inner", inner, activated=True)
        with self._each_row() as row:
            self._quantise(row, self._row(inner, row, sizes.inner), sizes.inner)
        outer = table.pointer("outer")
        self._linear(weights, "outer", outer)
        with self._each_row() as row:
            self._add(outer, row)

    def _head(self, weights: str) -> None:
        c, sizes = self.c, self.sizes
        tiles, width = sizes.code_tiles, sizes.width
        bias = c.at(weights, LANES * tiles * width)
        logits = self.table.pointer("logits")
        with self._shared(str(tiles), _TILES_AT_ONCE) as tile:
            column = c.times(tile, LANES)
            with self._each_row() as row:
                place = c.plus(c.times(row, LANES * tiles), column)
                c.call(
                    "head",
                    f"ptr {c.at(weights, c.times(tile, LANES * width))}",
                    f"ptr {self._row(self.residual, row)}",
                    f"i64 {width}",
                    f"ptr {c.at(bias, column)}",
                    f"ptr {c.at(logits, place)}",
                )

    def _linear(self, weights: str, name: str, out: str, activated: bool = False) -> None:
        c = self.c
        _, inputs, outputs = self.sizes.linears()[name]
        blocks = inputs // BLOCK
        each = max(1, _TILES_AT_ONCE * self.sizes.width // inputs // TILES)
        with self._shared(str(outputs // LANES // TILES), each) as index:
            tile = c.times(index, TILES)
            place = c.plus(c.times(tile, blocks * BLOCK_BYTES), self.places[name])
            column = c.times(tile, LANES)
            bias = c.at(c.at(weights, self.places[f"{name}.bias"], "i8"), column)
            c.call(
                f"tile_rows_{int(activated)}",
                f"ptr {c.at(weights, place, 'i8')}",
                f"i64 {blocks}",
                f"ptr {self.values}",
                f"i64 {inputs + BLOCK}",
                f"ptr {self.scales}",
                f"ptr {self.corrections}",
                f"i64 {blocks}",
                f"ptr {c.at(out, column)}",
                f"i64 {outputs}",
                f"ptr {bias}",
                f"i64 {self.rows}",
            )

    def _norm_and_quantise(self, weights: str, name: str, row: str) -> None:
        place = self.c.at(weights, self.places[name], "i8")
        self._norm(place, self._row(self.residual, row), self.normed)
        self._quantise(row, self.normed, self.sizes.width)

    def _norm(self, weights: str, x: str, out: str) -> None:
        width = self.sizes.width
        bias = self.c.at(weights, width)
        self.c.call(
            "norm", f"ptr {x}", f"ptr {weights}", f"ptr {bias}", f"ptr {out}", f"i64 {width}"
        )

    def _quantise(self, row: str, x: str, inputs: int) -> None:
        # Rows lie a block further apart than their length: at powers of two they would fall on
        # the same lines of the cache.
        c, blocks = self.c, inputs // BLOCK
        at = c.times(row, blocks)
        c.call(
            "quantise",
            f"ptr {x}",
            f"ptr {c.at(self.values, c.times(row, inputs + BLOCK), 'i8')}",
            f"ptr {c.at(self.scales, at)}",
            f"ptr {c.at(self.corrections, at, 'i32')}",
            f"i64 {blocks}",
        )

    def _add(self, branch: str, row: str) -> None:
        c, x, y = self.c, self._row(self.residual, row), self._row(branch, row)
        with c.loop("0", str(self.sizes.width), LANES) as i:
            c.store(c.add(c.load(c.at(x, i)), c.load(c.at(y, i))), c.at(x, i))

    def _row(self, rows: str, row: str, width: int | None = None) -> str:
        return self.c.at(rows, self.c.times(row, width or self.sizes.width))

    @contextmanager
    def _each_row(self) -> Iterator[str]:
        with self.c.loop("0", self.rows) as row:
            yield row

    @contextmanager
    def _shared(self, count: str, each: int) -> Iterator[str]:
        """Work dealt out in portions of `each`; ends when all threads have done theirs."""
        c, turn = self.c, self.turn.get()
        self.turn.set(c.plus(turn, 1))
        with team.dealt(c, self.table, turn, count, each) as index:
            yield index


def counters(sizes: Sizes) -> int:
    """Times that work is dealt out in one step."""
    return COUNTERS_A_LAYER * sizes.layers + 1


def source(sizes: Sizes, rows: int) -> str:
    """The module as LLVM's text, for up to so many rows."""
    parts = [kernels.DECLARATIONS, kernels.norm(), kernels.quantise()]
    for activated in (False, True):
        parts += [*products.tiles(activated), products.tile_rows(activated)]
    parts += [kernels.attend(sizes.head_dim), kernels.head(), _Step(sizes, rows).write()]
    return "\n\n".join([*parts, team.DECLARATIONS, team.frame(FIELDS), compiler.ATTRIBUTES])


_lock = Lock()


def compiled(sizes: Sizes, rows: int) -> tuple[int, int]:
    """Addresses of `start` and `worker`; made once for each size.

    Raises:
        ModelError: There is no llvmlite, or it cannot make code for this processor.
    """
    with _lock:
        return _compiled(sizes, rows)


@lru_cache(maxsize=16)
def _compiled(sizes: Sizes, rows: int) -> tuple[int, int]:
    found = compiler.compiled(source(sizes, rows), ("start", "worker"))
    return found["start"], found["worker"]

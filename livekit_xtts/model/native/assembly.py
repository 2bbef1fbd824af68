"""A small writer of LLVM's textual intermediate representation.

Functions are written top to bottom by calls; variables live in memory, from where LLVM's optimiser
takes them into registers, so that loops need no phi nodes. Vectors have 16 elements of 32 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

LANES = 16
FLOATS, INTS, HALVES = "<16 x float>", "<16 x i32>", "<16 x half>"
SHORTS, PAIRS = "<16 x bfloat>", "<32 x bfloat>"


def constant(value: float) -> str:
    """A float32 as LLVM writes it: the bits of the double of the same value."""
    (bits,) = struct.unpack("<Q", struct.pack("<d", float(np.float32(value))))
    return f"0x{bits:016X}"


class Variable:
    """A place for values of one type; made by `Code.variable`."""

    def __init__(self, code: Code, kind: str, slot: str) -> None:
        self._code, self._kind, self._slot = code, kind, slot

    def get(self) -> str:
        """The value now."""
        return self._code(f"load {self._kind}, ptr {self._slot}")

    def set(self, value: str) -> None:
        """Put another value there."""
        self._code.do(f"store {self._kind} {value}, ptr {self._slot}")


class Code:
    """One function. Values are names of LLVM ("%v7", "%argument") or literals ("0").

    Args:
        name: Of the function.
        arguments: As LLVM writes them: "ptr %x, i64 %n".
        exported: Whether Python looks it up.
    """

    def __init__(self, name: str, arguments: str, exported: bool = False) -> None:
        linkage = "" if exported else "internal "
        self._head = f"define {linkage}void @{name}({arguments}) #0 {{"
        self._places: list[str] = []
        self._lines: list[str] = []
        self._count = 0

    def __call__(self, instruction: str) -> str:
        """Add an instruction; returns the name of its result."""
        name = f"%v{self.number()}"
        self._lines.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        """Add an instruction without a result."""
        self._lines.append(f"  {instruction}")

    def label(self, name: str) -> None:
        """Begin a block."""
        self._lines.append(f"{name}:")

    def number(self) -> int:
        """One that no other name in this function has."""
        self._count += 1
        return self._count

    def text(self) -> str:
        """The whole function."""
        return "\n".join([self._head, "entry:", *self._places, *self._lines, "  ret void", "}"])

    # ---- variables and control ------------------------------------------------------------

    def variable(self, kind: str, start: str) -> Variable:
        """A new variable and its first value."""
        slot = f"%s{self.number()}"
        self._places.append(f"  {slot} = alloca {kind}, align 64")
        made = Variable(self, kind, slot)
        made.set(start)
        return made

    @contextmanager
    def loop(self, start: str, stop: str, step: int = 1) -> Iterator[str]:
        """What is written inside runs with the value start, start + step, … below stop."""
        number = self.number()
        index = self.variable("i64", start)
        self.do(f"br label %head{number}")
        self.label(f"head{number}")
        value = index.get()
        self.branch(self(f"icmp slt i64 {value}, {stop}"), f"body{number}", f"end{number}")
        self.label(f"body{number}")
        yield value
        index.set(self.plus(value, str(step)))
        self.do(f"br label %head{number}")
        self.label(f"end{number}")

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """What is written inside runs where the condition holds."""
        number = self.number()
        self.branch(condition, f"yes{number}", f"no{number}")
        self.label(f"yes{number}")
        yield
        self.do(f"br label %no{number}")
        self.label(f"no{number}")

    def branch(self, condition: str, yes: str, no: str) -> None:
        """End a block."""
        self.do(f"br i1 {condition}, label %{yes}, label %{no}")

    def call(self, function: str, *arguments: str) -> None:
        """Call one of our functions; arguments with their types."""
        self.do(f"call void @{function}({', '.join(arguments)})")

    # ---- whole numbers and memory ---------------------------------------------------------

    def times(self, a: str, b: str | int) -> str:
        """Product of 64-bit numbers."""
        return self(f"mul i64 {a}, {b}")

    def plus(self, a: str, b: str | int) -> str:
        """Sum of 64-bit numbers."""
        return self(f"add i64 {a}, {b}")

    def at(self, pointer: str, index: str | int, kind: str = "float") -> str:
        """The address of an element."""
        return self(f"getelementptr {kind}, ptr {pointer}, i64 {index}")

    def load(self, pointer: str, kind: str = FLOATS, align: int = 4) -> str:
        """Read."""
        return self(f"load {kind}, ptr {pointer}, align {align}")

    def store(self, value: str, pointer: str, kind: str = FLOATS, align: int = 4) -> None:
        """Write."""
        self.do(f"store {kind} {value}, ptr {pointer}, align {align}")

    # ---- vectors --------------------------------------------------------------------------

    def splat(self, value: str, kind: str = "float") -> str:
        """A vector of one value."""
        vector = f"<{LANES} x {kind}>"
        one = self(f"insertelement {vector} poison, {kind} {value}, i64 0")
        return self(f"shufflevector {vector} {one}, {vector} poison, {INTS} zeroinitializer")

    def number_splat(self, value: float) -> str:
        """A vector of one number."""
        return self.splat(constant(value))

    def combine(self, operation: str, a: str, b: str, kind: str = FLOATS) -> str:
        """An instruction of two operands: "fsub", "fdiv", "add", …"""
        return self(f"{operation} {kind} {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        """Product of floats."""
        return self.combine("fmul", a, b)

    def add(self, a: str, b: str) -> str:
        """Sum of floats."""
        return self.combine("fadd", a, b)

    def fma(self, a: str, b: str, c: str) -> str:
        """The product of a and b, and c, rounded once."""
        return self(f"call {FLOATS} @llvm.fma.v16f32({FLOATS} {a}, {FLOATS} {b}, {FLOATS} {c})")

    def unary(self, name: str, a: str) -> str:
        """An intrinsic of one operand: "rint"."""
        return self(f"call {FLOATS} @llvm.{name}.v16f32({FLOATS} {a})")

    def binary(self, name: str, a: str, b: str) -> str:
        """An intrinsic of two operands: "maxnum", "minnum"."""
        return self(f"call {FLOATS} @llvm.{name}.v16f32({FLOATS} {a}, {FLOATS} {b})")

    def total(self, a: str) -> str:
        """Sum of a vector's elements, in an order of the compiler's choice, always the same."""
        return self(f"call reassoc float @llvm.vector.reduce.fadd.v16f32(float 0.0, {FLOATS} {a})")

    def half(self, pointer: str) -> str:
        """Sixteen float16 values as floats."""
        return self(f"fpext {HALVES} {self.load(pointer, HALVES, 2)} to {FLOATS}")

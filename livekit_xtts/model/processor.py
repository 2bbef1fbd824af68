"""What the processor can do, as far as the choice of a precision depends on it."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

# Kernels for 8-bit weights exist for each of these; without them they run, slower than float32.
_INT8_FLAGS = frozenset({"avx2", "avx512_vnni", "avx_vnni", "asimddp", "i8mm"})
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})

RELEVANT = _INT8_FLAGS | _BF16_FLAGS
"""The flags that a choice depends on."""


@lru_cache(maxsize=1)
def flags() -> frozenset[str]:
    """Instruction sets by the names that Linux uses; from torch where there is no such list."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return _from_torch()


def _from_torch() -> frozenset[str]:
    """For systems without `/proc/cpuinfo`; every Apple processor with 64-bit ARM has `asimddp`."""
    import torch

    if platform.machine() in ("arm64", "aarch64"):
        return frozenset({"asimddp"})
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return frozenset({"avx2"} if capability.startswith("avx") else set())


def has_int8() -> bool:
    """Whether 8-bit kernels gain here."""
    return bool(flags() & _INT8_FLAGS)


def has_bf16() -> bool:
    """Whether bfloat16 products have instructions here."""
    return bool(flags() & _BF16_FLAGS)


def has_tiles() -> bool:
    """Whether the processor multiplies tiles of bfloat16, at many times its vectors' rate."""
    return "amx_bf16" in flags()


def name() -> str:
    """Of the processor, for people and for records."""
    try:
        for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

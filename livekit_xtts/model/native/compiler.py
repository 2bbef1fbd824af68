"""LLVM's text into machine code for the processor at hand."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from livekit_xtts.model import processor
from livekit_xtts.speech import ModelError

# Vectors of 512 bits stay whole.
ATTRIBUTES = (
    'attributes #0 = { nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512" }'
)


def missing(needed: frozenset[str]) -> str:
    """Why code for some processor flags cannot be had here; "" where it can.

    Args:
        needed: As Linux names them.
    """
    lacking = needed - processor.flags()
    if not sys.platform.startswith("linux"):
        return "it is made for Linux"
    if lacking:
        return f"the processor lacks {', '.join(sorted(lacking))}"
    if importlib.util.find_spec("llvmlite") is None:
        return "llvmlite is not installed"
    return ""


def compiled(source: str, names: tuple[str, ...]) -> dict[str, int]:
    """Compile a module, which stays in memory as long as the process.

    Args:
        source: LLVM's intermediate representation.
        names: Functions that are wanted.

    Returns:
        Their addresses.

    Raises:
        ModelError: There is no llvmlite, or it cannot make code for this processor.
    """
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise ModelError(f"compiling needs llvmlite: {error}") from error
    try:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(),
            features=llvm.get_host_cpu_features().flatten(),
            opt=3,
        )
        module = llvm.parse_assembly(source)
        module.verify()
        _optimise(llvm, machine, module)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        found = {name: int(engine.get_function_address(name)) for name in names}
    except (RuntimeError, AttributeError) as error:
        raise ModelError(f"llvmlite cannot compile: {error}") from error
    # Threads may still run the code when the interpreter takes its modules apart.
    engine.detach()
    return found


def _optimise(llvm: Any, machine: Any, module: Any) -> None:
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    # The loops are as they should be.
    tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)

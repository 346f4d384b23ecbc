"""Chooses how the steps of a fit are computed. The minimum budgets follow from compile times on one machine."""

from __future__ import annotations

import torch

from ..fields import FieldSpec, kernel_passes
from ..kernel import library
from .budget import Budget
from .engine.background_compile import compilation_key, cpp_compiler, is_compiled

COMPILE_MIN_SECONDS, COMPILED_MIN_SECONDS = 45.0, 12.0
"""Minimum budgets (s) for which torch.compile pays off: if it has to compile, and if the code is on disk already."""

MAX_COMPILED_CHUNK = 8192
"""Maximum points of a compiled step, for architectures that split longer batches themselves (``gradient_chunk``)."""


SLOWER_WITHOUT_KERNEL = (
    "the compiled kernel is not installed: steps take 2 to 7 times as long (docs/troubleshooting.md)"
)


def kernel_runs(spec: FieldSpec, precision: str) -> bool:
    """Whether the compiled kernel computes a field in ``precision`` (fp32, fp32-fast or bf16) on this processor."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return kernel_passes.instructions_of(spec, dtype) is not None


def lacks_kernel(spec: FieldSpec, device: torch.device) -> bool:
    """Whether the compiled kernel would compute a field on ``device`` if it had been installed."""
    return device.type == "cpu" and not library.available() and spec.formula.kernel_activation(spec.inputs) is not None


def choose_engine(
    spec: FieldSpec,
    device: torch.device,
    budget: Budget,
    dtype: torch.dtype,
    batch: int | None,
) -> tuple[str, str]:
    """How steps are computed: autograd, analytic, kernel, compiled or cuda-graph (``engine/step.py``), and the
    reason."""
    traits = spec.formula.TRAITS
    if not traits.own_gradients:
        return "autograd", "this architecture has no analytic backward pass"
    instructions = None if device.type == "cuda" else kernel_passes.instructions_of(spec, dtype)
    if instructions is not None:
        return "kernel", f"compiled code that stays within the cache, for {instructions}"
    if not traits.same_shapes:
        return "analytic", "this architecture sorts its points in every step, which cannot be compiled"
    if device.type == "cuda":
        return "cuda-graph", "one launch per step"
    if budget.seconds is None:
        return "analytic", "budget in steps: nothing is compiled unless the user asks for it"
    if cpp_compiler() is None:
        return "analytic", "there is no C++ compiler"
    on_disk = is_compiled(compilation_key(spec, dtype, batch or 0))
    if budget.seconds < (COMPILED_MIN_SECONDS if on_disk else COMPILE_MIN_SECONDS):
        first, later = f"{COMPILE_MIN_SECONDS:.0f} s", f"{COMPILED_MIN_SECONDS:.0f} s"
        return "analytic", f"compiling pays off from a budget of {first}, compiled code from {later}"
    if traits.gradient_chunk is not None and not 0 < (batch or 0) <= MAX_COMPILED_CHUNK:
        return (
            "analytic",
            f"a step of more than {MAX_COMPILED_CHUNK:,} points is split, and each part would be compiled",
        )
    return "compiled", "1.3 times as fast once compiled, some seconds into the fit"

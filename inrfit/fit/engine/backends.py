"""Back ends: how residuals and gradients of one batch are computed.

They are computed by autograd, by the architecture's own backward pass, by the compiled kernel (``inrfit.kernel``) or by
code of torch.compile. The back end is chosen once for a fit. All of them give the same results up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...fields import Architecture, FieldSpec, architecture, kernel_passes
from .background_compile import Compilation, ExtraGradient, Gradients, torch_compilation

CheckCancelled = Callable[[], None]
"""Raises an exception if the fit is cancelled."""


class Backend(Protocol):
    """Computes residuals and gradients."""

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        extra_gradient: ExtraGradient | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Residuals (n, c) at ``coords`` (n, d), and the gradients of sum(loss_weights * residual^2) and further terms.
        ``loss_weights`` is (n, 1)."""

    @property
    def compiling(self) -> bool:
        """Whether a compilation is running. The number of threads should not change meanwhile."""

    def describe(self) -> str:
        """How gradients are computed at present, for the provenance."""

    def without_compiled_code(self, gradients: Gradients) -> Backend:
        """A back end that uses ``gradients`` and no compiled code from now on."""


@dataclass(frozen=True)
class DirectBackend:
    """Calls one function. Nothing is compiled."""

    gradients: Gradients
    name: str
    compiling: bool = False

    def describe(self) -> str:
        """The name of the engine."""
        return self.name

    def without_compiled_code(self, gradients: Gradients) -> DirectBackend:
        """The same with another function."""
        return DirectBackend(gradients, self.name)


class KernelBackend:
    """Calls the compiled kernel, and for further loss terms the architecture's own backward pass."""

    compiling = False

    def __init__(self, formula: Architecture, instructions: str, analytic: Gradients) -> None:
        self.formula, self.instructions, self._analytic = formula, instructions, analytic

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        extra_gradient: ExtraGradient | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """By the kernel."""
        if extra_gradient is not None:
            return self._analytic(weights, coords, values, loss_weights, extra_gradient)
        return kernel_passes.gradients(self.formula, weights, coords, values, loss_weights, self.instructions)

    def gradients_of_many(
        self, weights: Sequence[Mapping[str, Tensor]], points: Sequence[tuple[Tensor, Tensor, Tensor]]
    ) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """``gradients`` of several fields at once; ``points`` are coords, values and loss weights of each."""
        return kernel_passes.gradients_of_many(self.formula, weights, points, self.instructions)

    def describe(self) -> str:
        """``kernel``, and the instruction set."""
        return f"kernel ({self.instructions})"

    def without_compiled_code(self, gradients: Gradients) -> DirectBackend:
        """Nothing but ``gradients``."""
        return DirectBackend(gradients, "analytic")


class CompiledBackend:
    """Calls compiled code as soon as there is some. Until then, and for further loss terms, it calls the architecture's
    own backward pass.

    ``wait_for_compiler``: the first batch waits for the compilation, so that the same steps give the same field."""

    def __init__(self, spec: FieldSpec, precision: torch.dtype, analytic: Gradients, wait_for_compiler: bool) -> None:
        self._spec, self._precision, self._analytic = spec, precision, analytic
        self._wait_for_compiler = wait_for_compiler
        self.compilation: Compilation | None = None
        self.compiled_calls = 0

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        extra_gradient: ExtraGradient | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Calls the compiled function if there is one for this number of points."""
        if extra_gradient is not None:
            return self._analytic(weights, coords, values, loss_weights, extra_gradient)
        n = coords.shape[0]
        if self.compilation is None:
            self.compilation = torch_compilation(self._spec, self._precision, n, self._analytic)
        if self._wait_for_compiler:
            self.compilation.wait()
        if self.compilation.function is not None and self.compilation.supports(n):
            self.compiled_calls += 1
            return self.compilation.function(weights, coords, values, loss_weights)
        return self._analytic(weights, coords, values, loss_weights)

    @property
    def compiling(self) -> bool:
        """Whether the compiler is running."""
        return self.compilation is not None and not self.compilation.finished

    def describe(self) -> str:
        """``compiled``, or ``analytic`` and the reason."""
        if self.compiled_calls:
            return "compiled"
        return f"analytic ({(self.compilation.error or 'still compiling') if self.compilation else 'not compiled'})"

    def without_compiled_code(self, gradients: Gradients) -> DirectBackend:
        """Nothing is compiled anew during a fit."""
        return DirectBackend(gradients, "compiled" if self.compiled_calls else "analytic (not compiled)")


def autograd_gradients(formula: Architecture, precision: torch.dtype) -> Gradients:
    """Gradients by autograd on the architecture's forward pass."""
    return lambda weights, coords, values, loss_weights, extra_gradient=None: architecture.autograd_gradients(
        formula, weights, coords, values, loss_weights, precision, extra_gradient
    )


def analytic_gradients(formula: Architecture, precision: torch.dtype) -> Gradients:
    """Gradients by the architecture's own backward pass, or by autograd if it has none."""
    gradients = formula.gradients
    return lambda weights, coords, values, loss_weights, extra_gradient=None: gradients(
        weights, coords, values, loss_weights, precision, extra_gradient
    )


def uncompiled_gradients(engine: str, formula: Architecture, precision: torch.dtype) -> Gradients:
    """The uncompiled gradient function of ``engine`` (autograd, analytic, kernel, compiled, cuda-graph)."""
    return (autograd_gradients if engine == "autograd" else analytic_gradients)(formula, precision)


def create_backend(
    engine: str, spec: FieldSpec, formula: Architecture, precision: torch.dtype, wait_for_compiler: bool
) -> Backend:
    """The back end of ``engine``; analytic gradients where there is no kernel for this field."""
    gradients = uncompiled_gradients(engine, formula, precision)
    if engine == "kernel":
        instructions = kernel_passes.instructions_of(spec, precision)
        return (
            DirectBackend(gradients, "analytic")
            if instructions is None
            else KernelBackend(formula, instructions, gradients)
        )
    if engine == "compiled":
        return CompiledBackend(spec, precision, gradients, wait_for_compiler)
    return DirectBackend(gradients, engine)

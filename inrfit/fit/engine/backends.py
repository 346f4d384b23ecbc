"""Back ends: how residuals and gradients of one batch are computed.

They are computed by autograd, by the architecture's own backward pass, or by compiled code. The back end is chosen once
for a fit. All of them give the same results up to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...fields import Architecture, FieldSpec, architecture
from . import cpp_kernel
from .background_compile import (
    POLL_SECONDS,
    Compilation,
    ExtraGradient,
    Gradients,
    kernel_compilation,
    torch_compilation,
)

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

    def wait(self, seconds: float, check_cancelled: CheckCancelled) -> None:
        """Waits at most ``seconds`` for a compilation that is worth waiting for."""

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

    def wait(self, seconds: float, check_cancelled: CheckCancelled) -> None:
        """Returns at once."""

    def describe(self) -> str:
        """The name of the engine."""
        return self.name

    def without_compiled_code(self, gradients: Gradients) -> DirectBackend:
        """The same with another function."""
        return DirectBackend(gradients, self.name)


class CompiledBackend:
    """Calls compiled code as soon as there is some. Until then, and for further loss terms, it calls the architecture's
    own backward pass.

    ``wait_for_compiler``: the first batch waits for the compilation, so that the same steps give the same field."""

    def __init__(self, spec: FieldSpec, precision: torch.dtype, analytic: Gradients, wait_for_compiler: bool) -> None:
        self._spec, self._precision, self._analytic = spec, precision, analytic
        self._wait_for_compiler = wait_for_compiler
        kernel = cpp_kernel.is_supported(spec, precision)
        self.compilation: Compilation | None = kernel_compilation(spec) if kernel else None
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

    def wait(self, seconds: float, check_cancelled: CheckCancelled) -> None:
        """Waits at most ``seconds`` for the C++ kernel: analytic steps meanwhile would delay its compiler by more than
        they gain. torch.compile takes longer and is not waited for."""
        compilation, deadline = self.compilation, time.monotonic() + seconds
        if compilation is None or compilation.n_points is not None:
            return
        while not compilation.finished and time.monotonic() < deadline:
            compilation.wait(POLL_SECONDS)
            check_cancelled()

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
    """The uncompiled gradient function of ``engine`` (autograd, analytic, compiled, cuda-graph)."""
    return (autograd_gradients if engine == "autograd" else analytic_gradients)(formula, precision)


def create_backend(
    engine: str, spec: FieldSpec, formula: Architecture, precision: torch.dtype, wait_for_compiler: bool
) -> Backend:
    """The back end of ``engine``."""
    gradients = uncompiled_gradients(engine, formula, precision)
    if engine == "compiled":
        return CompiledBackend(spec, precision, gradients, wait_for_compiler)
    return DirectBackend(gradients, engine)

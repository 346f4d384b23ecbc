"""How residuals and gradients of one batch are computed: autograd, the architecture's own backward pass, compiled code.

A back end is chosen once for a fit. All of them compute the same to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...fields import Architecture, FieldSpec
from ...fields.architecture import autograd_gradients as differentiated
from . import cpp_kernel
from .background_compile import Compilation, ExtraGradient, Gradients, by_torch, of_kernel

POLL_SECONDS = 0.05
"""Time between two looks for a cancelled fit while a compiler is waited for."""

CheckCancelled = Callable[[], None]
"""Raises to end the work now."""


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
        """Residuals (n, c) at ``coords`` (n, d), and the gradients of sum(loss_weights * residual^2) and further terms;
        ``loss_weights`` is (n, 1)."""

    @property
    def compiling(self) -> bool:
        """Whether a compilation is under way, during which the number of threads should stay."""

    def wait(self, seconds: float, check_cancelled: CheckCancelled) -> None:
        """Waits at most ``seconds`` for what is worth waiting for."""

    def describe(self) -> str:
        """How gradients are computed now, for the record."""

    def uncompiled(self, gradients: Gradients) -> Backend:
        """The back end that goes on with ``gradients``, without compiled code."""


@dataclass(frozen=True)
class Direct:
    """Calls one function; nothing is compiled."""

    gradients: Gradients
    name: str
    compiling: bool = False

    def wait(self, seconds: float, check_cancelled: CheckCancelled) -> None:
        """There is nothing to wait for."""

    def describe(self) -> str:
        """Its name."""
        return self.name

    def uncompiled(self, gradients: Gradients) -> Direct:
        """The same with another function."""
        return Direct(gradients, self.name)


class Compiled:
    """Compiled code once it is there, the architecture's own backward pass until then, and for further loss terms.

    ``patient``: the first batch waits for the compiler, so that the same steps give the same field."""

    def __init__(self, spec: FieldSpec, precision: torch.dtype, analytic: Gradients, patient: bool) -> None:
        self._spec, self._precision, self._analytic, self._patient = spec, precision, analytic, patient
        self.compilation: Compilation | None = of_kernel(spec) if cpp_kernel.suits(spec, precision) else None
        self.calls = 0

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        extra_gradient: ExtraGradient | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """By the compiled function, where there is one for this number of points."""
        if extra_gradient is not None:
            return self._analytic(weights, coords, values, loss_weights, extra_gradient)
        if self.compilation is None:
            self.compilation = by_torch(self._spec, self._precision, coords.shape[0], self._analytic)
        if self._patient:
            self.compilation.wait()
        if self.compilation.ready is not None and self.compilation.fits(coords.shape[0]):
            self.calls += 1
            return self.compilation.ready(weights, coords, values, loss_weights)
        return self._analytic(weights, coords, values, loss_weights)

    @property
    def compiling(self) -> bool:
        """Whether the compiler is at work."""
        return self.compilation is not None and not self.compilation.finished

    def wait(self, seconds: float, check_cancelled: CheckCancelled) -> None:
        """Waits for the C++ kernel: explicit steps meanwhile would slow its compiler down by more than they are worth.
        torch.compile takes longer and is not waited for."""
        made, until = self.compilation, time.monotonic() + seconds
        while made is not None and made.size is None and not made.finished and time.monotonic() < until:
            made.wait(POLL_SECONDS)
            check_cancelled()

    def describe(self) -> str:
        """``compiled``, or ``explicit`` and why."""
        if self.calls:
            return "compiled"
        return f"analytic ({(self.compilation.failed or 'still compiling') if self.compilation else 'not compiled'})"

    def uncompiled(self, gradients: Gradients) -> Direct:
        """For a change in the midst of a fit nothing is compiled."""
        return Direct(gradients, "compiled" if self.calls else "analytic (not compiled)")


def autograd_gradients(formula: Architecture, precision: torch.dtype) -> Gradients:
    """Autograd on the architecture's formula."""
    return lambda weights, coords, values, loss_weights, extra_gradient=None: differentiated(
        formula, weights, coords, values, loss_weights, precision, extra_gradient
    )


def analytic_gradients(formula: Architecture, precision: torch.dtype) -> Gradients:
    """The architecture's own backward pass, where it has one; autograd where it has not."""
    own = formula.gradients
    return lambda weights, coords, values, loss_weights, extra_gradient=None: own(
        weights, coords, values, loss_weights, precision, extra_gradient
    )


def gradients_of(engine: str, formula: Architecture, precision: torch.dtype) -> Gradients:
    """The uncompiled function of ``engine`` (plain, explicit, compiled, graph)."""
    return (autograd_gradients if engine == "autograd" else analytic_gradients)(formula, precision)


def backend_of(engine: str, spec: FieldSpec, formula: Architecture, precision: torch.dtype, patient: bool) -> Backend:
    """The back end of ``engine``."""
    uncompiled = gradients_of(engine, formula, precision)
    if engine == "compiled":
        return Compiled(spec, precision, uncompiled, patient)
    return Direct(uncompiled, engine)

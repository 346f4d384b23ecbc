"""How one optimiser step is made on a device.

``plain`` is autograd, the reference; ``explicit`` the architecture's own backward pass; ``compiled`` the kernel
(``cpp_kernel.py``) or that pass through torch.compile, made in the background, with explicit steps until it is there;
``graph`` the whole step (gather, gradients, update) as one CUDA graph. All make the same step to rounding. The loss is
sum(mass * squared residual) with mass = weight / (sum of weights * channels), so points of weight 0 pad a batch to a
fixed size without changing anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import UsageError
from ...fields import Architecture
from ...fields.architecture import by_autograd as differentiated
from ...fields.module import Field
from ...samplers.loss_terms import Laplacian
from ...signal import Samples
from ..recipe import Recipe
from . import cpp_kernel
from .background_compile import Compilation, Extra, Gradients, by_torch, of_kernel
from .cuda_graph import Capture, Throttle
from .optimizer import Optimiser

LARGEST_PIECE = {"cpu": 8192, "cuda": 262_144}
"""Points differentiated at a time by a field of PIECE_WIDTH units, by narrower ones in proportion more, up to 8 times;
a larger batch is accumulated, so memory does not grow with it."""

PIECE_WIDTH = 256


WAITED = 0.05
"""Seconds between two looks whether to go on waiting."""

LITTLE = 4096
"""A captured step of so few points is replayed for however few."""


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one; MPS is not offered until its results are checked."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: choose auto, cpu, cuda or cuda:N", "device") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: only cpu and cuda are supported", "device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there is no such CUDA device here (use --device cpu)", "device")
    return device


def by_autograd(architecture: Architecture, precision: torch.dtype) -> Gradients:
    """Autograd on the architecture's formula."""
    return lambda weights, coords, values, mass, extra=None: differentiated(
        architecture, weights, coords, values, mass, precision, extra
    )


def by_hand(architecture: Architecture, precision: torch.dtype) -> Gradients:
    """The architecture's own backward pass, where it has one; autograd where it has not."""
    own = architecture.gradients
    return lambda weights, coords, values, mass, extra=None: own(weights, coords, values, mass, precision, extra)


def _derivatives(terms: Sequence[Laplacian], indices: Tensor, residuals: Tensor) -> Tensor:
    """Derivatives of all terms with respect to the residuals of a step."""
    return torch.stack([term.extra(indices, residuals) for term in terms]).sum(0)


def _constant(found: Tensor) -> Extra:
    """Derivatives that are known already."""
    return lambda residuals: found


class Engine:
    """Steps of one field on one signal, made as ``recipe.engine`` says."""

    def __init__(self, field: Field, samples: Samples, recipe: Recipe) -> None:
        self.field = field
        self.samples = samples
        self.recipe = recipe
        self.weights: Mapping[str, Tensor] = {name: weight.detach() for name, weight in field.weights.items()}
        architecture, device = field.formula, field.device
        self.optimiser = Optimiser(
            self.weights,
            architecture.rates(),
            architecture.matrices(),
            recipe.adam_rate,
            recipe.muon_rate,
            recipe.momentum,
            recipe.second_beta,
            recipe.epsilon,
        )
        usual = LARGEST_PIECE[device.type] * min(max(1, PIECE_WIDTH // field.spec.width), 8)
        self.piece: int = architecture.TRAITS.gradient_chunk or usual
        self.factor = torch.zeros((), device=device)
        self.throttle = Throttle() if device.type == "cuda" else None
        self.tick: Callable[[], None] = lambda: None
        self.patient = False
        self.compiled_steps = 0
        self.compilation: Compilation | None = None
        self.use(recipe.dtype)
        self.may_compile = recipe.engine == "compiled"
        if self.may_compile and cpp_kernel.suits(field.spec, recipe.dtype):
            self.may_compile, self.compilation = False, of_kernel(field.spec)

    def use(self, precision: torch.dtype) -> None:
        """From now on hidden layers in ``precision``; for a change in the midst of a fit nothing is compiled."""
        self.precision = precision
        make = by_autograd if self.recipe.engine == "plain" else by_hand
        self.gradients = make(self.field.formula, precision)
        self.compilation = None
        self.captures: list[Capture] = []

    @property
    def compiling(self) -> bool:
        """Whether a compilation is under way, during which the number of threads should stay."""
        return self.compilation is not None and not self.compilation.finished

    def wait(self, seconds: float) -> None:
        """For the kernel, but no longer than ``seconds``: explicit steps would slow its compiler down by more than they
        are worth."""
        made, until = self.compilation, time.monotonic() + seconds
        while made is not None and made.size is None and not made.finished and time.monotonic() < until:
            made.wait(WAITED)
            self.tick()

    def close(self) -> None:
        """Lets go of what holds the engine and the run together."""
        self.tick = lambda: None
        self.captures = []

    def told(self) -> str:
        """How steps are made now, for the record."""
        if self.recipe.engine != "compiled" or self.compiled_steps:
            return self.recipe.engine
        made = self.compilation
        return f"explicit ({(made.failed or 'still compiling') if made else 'not compiled'})"

    @torch.no_grad()
    def step(
        self,
        indices: Int[Tensor, "b"],
        weights: Float[Tensor, "b"] | None,
        factor: float,
        terms: Sequence[Laplacian] = (),
    ) -> Float[Tensor, "b c"]:
        """One update at ``factor`` of the full rates; the residuals before it. With further loss ``terms`` steps are
        made explicitly: what they need changes from selection to selection."""
        self.factor.fill_(factor)
        if terms:
            residuals = self._whole(indices, weights, terms)
        elif self.recipe.engine == "graph":
            residuals = self._captured(indices.shape[0]).replay(indices, weights)
        else:
            residuals = self._whole(indices, weights)
        if self.throttle is not None:
            self.throttle.passed()
        return residuals

    def _captured(self, count: int) -> Capture:
        """The step for batches of ``count`` points: the smallest captured one with room for them that does not compute
        twice as many; or a new one, for a growing batch with room to grow."""
        roomy = [made for made in self.captures if made.size >= count and made.size <= max(2 * count, LITTLE)]
        if roomy:
            return min(roomy, key=lambda made: made.size)
        largest = max(self.captures, key=lambda made: made.size, default=None)
        if largest is not None and count > largest.size:
            count, largest = 1 << (count - 1).bit_length(), None
        self.captures = [] if largest is None else [largest]  # their memory first
        state = [*self.weights.values(), *self.optimiser.state()]
        self.captures.append(Capture(self._whole, count, state, self.field.device))
        return self.captures[-1]

    def _whole(self, indices: Tensor, weights: Tensor | None, terms: Sequence[Laplacian] = ()) -> Tensor:
        """Gather, gradients, update; the residuals before it."""
        count, channels = indices.shape[0], self.samples.signal.channels
        if weights is None:
            mass = torch.full((count, 1), 1 / (count * channels), device=indices.device)
        else:
            mass = (weights / (weights.sum() * channels))[:, None]
        extra = self._extra(terms, indices) if terms and count > self.piece else None
        total: dict[str, Tensor] = {}
        residuals = []
        for start in range(0, count, self.piece):
            if start and self.recipe.engine != "graph":  # no way out of the middle of a capture
                self.tick()
            part = slice(start, start + self.piece)
            coords, values = self.samples.take(indices[part])
            if not terms:
                residual, found = self._differentiate(coords, values, mass[part])
            else:
                pull = partial(_derivatives, terms, indices) if extra is None else _constant(extra[part])
                residual, found = self.gradients(self.weights, coords, values, mass[part], pull)
            total = {name: total[name] + found[name] for name in found} if total else found
            residuals.append(residual)
        self.optimiser.step(total, self.factor)
        return residuals[0] if len(residuals) == 1 else torch.cat(residuals)

    def _extra(self, terms: Sequence[Laplacian], indices: Tensor) -> Tensor:
        """Derivatives of all terms in a step of several pieces: they need the residuals of all its points at once, for
        which these are evaluated once more."""
        residuals = []
        for part in indices.split(self.piece):
            coords, values = self.samples.take(part)
            residuals.append(self.field(coords, self.precision) - values)
            self.tick()
        return _derivatives(terms, indices, torch.cat(residuals))

    def _differentiate(self, coords: Tensor, values: Tensor, mass: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self.may_compile:
            self.may_compile = False
            self.compilation = by_torch(self.field.spec, self.precision, coords.shape[0], self.gradients)
        made = self.compilation
        if made is not None and self.patient:
            made.wait()
        if made is not None and made.ready is not None and made.fits(coords.shape[0]):
            self.compiled_steps += 1
            return made.ready(self.weights, coords, values, mass)
        return self.gradients(self.weights, coords, values, mass)

    def halve(self) -> None:
        """Out of memory: from now on half as many points at a time."""
        self.piece = max(1, self.piece // 2)
        self.captures, self.compilation = [], None
        if self.field.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over ``weights`` and forget the moments."""
        for name, weight in weights.items():
            self.weights[name].copy_(weight)
        self.optimiser.reset()

    @torch.no_grad()
    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the weights."""
        return {name: weight.clone() for name, weight in self.weights.items()}

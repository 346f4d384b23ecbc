"""How one optimiser step is made on a device: gather, gradients (``backends.py``), update (``optimizer.py``).

``plain`` is autograd, the reference; ``explicit`` the architecture's own backward pass; ``compiled`` the C++ kernel
(``cpp_kernel.py``) or that pass through torch.compile, made in the background, with explicit steps until it is there;
``graph`` the whole step as one CUDA graph. All make the same step to rounding. The loss is the weighted mean of the
squared residuals (``normalized_weights``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import UsageError
from ...fields.module import Field
from ...samplers.loss_terms import LaplacianLoss
from ...signal import Samples
from .backends import CheckCancelled, backend_of, gradients_of
from .background_compile import ExtraGradient
from .config import TrainingConfig
from .cuda_graph import Captures, Throttle
from .optimizer import Optimiser

LARGEST_PIECE = {"cpu": 8192, "cuda": 262_144}
"""Points differentiated at a time by a field of PIECE_WIDTH units, by narrower ones in proportion more, up to 8 times;
a larger batch is accumulated, so memory does not grow with it."""

PIECE_WIDTH = 256


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


def _derivatives(loss_terms: Sequence[LaplacianLoss], indices: Tensor, residuals: Tensor) -> Tensor:
    """Derivatives of all terms with respect to the residuals of a step."""
    return torch.stack([term.gradient(indices, residuals) for term in loss_terms]).sum(0)


def _constant(found: Tensor) -> ExtraGradient:
    """Derivatives that are known already."""
    return lambda residuals: found


class Engine:
    """Makes the optimiser steps of one field on one signal. It works in place on the weights of ``field`` and on the
    tensors of ``optimiser``.

    ``patient``: the first step waits for compiled code. ``check_cancelled`` is called between the chunks of a long
    step, and raises to end it."""

    def __init__(
        self,
        field: Field,
        samples: Samples,
        config: TrainingConfig,
        patient: bool = False,
        check_cancelled: CheckCancelled = lambda: None,
    ) -> None:
        self.field, self.samples, self.config, self.precision = field, samples, config, config.dtype
        self.weights: Mapping[str, Tensor] = {name: weight.detach() for name, weight in field.weights.items()}
        architecture, device = field.formula, field.device
        self.optimiser = Optimiser(
            self.weights,
            architecture.rates(),
            architecture.muon_tensors(),
            adam_rate=config.adam_rate,
            muon_rate=config.muon_rate,
            momentum=config.momentum,
            second_beta=config.second_beta,
            epsilon=config.epsilon,
        )
        usual = LARGEST_PIECE[device.type] * min(max(1, PIECE_WIDTH // field.spec.width), 8)
        self.piece: int = architecture.TRAITS.gradient_chunk or usual
        self.backend = backend_of(config.engine, field.spec, architecture, config.dtype, patient)
        self.check_cancelled = check_cancelled
        self.factor = torch.zeros((), device=device)
        state = [*self.weights.values(), *self.optimiser.state().values()]
        self.captures = Captures(state, device) if config.engine == "cuda-graph" else None
        self.throttle = Throttle() if device.type == "cuda" else None

    def use(self, precision: torch.dtype) -> None:
        """From now on hidden layers in ``precision``."""
        self.precision = precision
        self._without_compiled_code()

    def _without_compiled_code(self) -> None:
        gradients = gradients_of(self.config.engine, self.field.formula, self.precision)
        self.backend = self.backend.uncompiled(gradients)
        if self.captures is not None:
            self.captures.clear()

    @torch.no_grad()
    def step(
        self,
        indices: Int[Tensor, "b"],
        weights: Float[Tensor, "b"] | None,
        factor: float,
        loss_terms: Sequence[LaplacianLoss] = (),
    ) -> Float[Tensor, "b c"]:
        """One update at ``factor`` of the full rates; the residuals before it. With ``loss_terms`` steps are made
        explicitly: what they need changes from selection to selection."""
        self.factor.fill_(factor)
        if self.captures is None or loss_terms:
            residuals = self._whole(indices, weights, loss_terms)
        else:
            residuals = self.captures.step(self._whole, indices, weights)
        if self.throttle is not None:
            self.throttle.passed()
        return residuals

    def _whole(self, indices: Tensor, weights: Tensor | None, loss_terms: Sequence[LaplacianLoss] = ()) -> Tensor:
        """Gather, gradients, update; the residuals before it."""
        loss_weights = normalized_weights(indices, weights, self.samples.signal.channels)
        extra = self._loss_term_gradient(loss_terms, indices) if loss_terms and indices.shape[0] > self.piece else None
        total: dict[str, Tensor] = {}
        residuals = []
        for start in range(0, indices.shape[0], self.piece):
            if start and self.captures is None:  # a capture cannot be left in its middle
                self.check_cancelled()
            part = slice(start, start + self.piece)
            coords, values = self.samples.take(indices[part])
            extra_gradient = None
            if loss_terms:
                extra_gradient = partial(_derivatives, loss_terms, indices) if extra is None else _constant(extra[part])
            residual, found = self.backend.gradients(self.weights, coords, values, loss_weights[part], extra_gradient)
            total = {name: total[name] + found[name] for name in found} if total else found
            residuals.append(residual)
        self.optimiser.step(total, self.factor)
        return residuals[0] if len(residuals) == 1 else torch.cat(residuals)

    def _loss_term_gradient(self, loss_terms: Sequence[LaplacianLoss], indices: Tensor) -> Tensor:
        """Derivatives of all terms in a step of several pieces: they need the residuals of all its points at once, for
        which these are evaluated once more."""
        residuals = []
        for part in indices.split(self.piece):
            coords, values = self.samples.take(part)
            residuals.append(self.field(coords, self.precision) - values)
            self.check_cancelled()
        return _derivatives(loss_terms, indices, torch.cat(residuals))

    def halve(self) -> None:
        """Out of memory: from now on half as many points at a time."""
        self.piece = max(1, self.piece // 2)
        self._without_compiled_code()
        if self.field.device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Frees the captured steps, which refer to the engine: a folder of files must not pile up in memory."""
        if self.captures is not None:
            self.captures.clear()

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


def normalized_weights(indices: Tensor, weights: Tensor | None, channels: int) -> Tensor:
    """The factors (k, 1) of the squared residuals in the loss, which is their weighted mean over points and channels:
    weight / (sum of weights * channels). Points of weight 0 pad a batch without changing anything."""
    if weights is None:
        count = indices.shape[0]
        return torch.full((count, 1), 1 / (count * channels), device=indices.device)
    return (weights / (weights.sum() * channels))[:, None]

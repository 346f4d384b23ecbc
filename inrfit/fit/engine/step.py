"""Optimiser steps on a device: take the samples, compute gradients (``backends.py``), update (``optimizer.py``).

The engines make the same step up to rounding. ``autograd`` is the reference. ``analytic`` uses the architecture's own
backward pass. ``kernel`` uses compiled code of our own (``inrfit.kernel``). ``compiled`` uses the backward pass through
torch.compile; steps are analytic until the background compilation has finished. ``cuda-graph`` captures the whole step
as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import UsageError
from ...fields.module import Field
from ...samplers.loss_terms import LaplacianLoss
from ...signal import Samples
from .backends import CheckCancelled, create_backend, uncompiled_gradients
from .background_compile import ExtraGradient
from .config import TrainingConfig
from .cuda_graph import Captures, Throttle
from .optimizer import Optimiser

CHUNK_POINTS = {"cpu": 8192, "cuda": 262_144}
"""Number of points whose gradients are computed at a time, for a field of CHUNK_WIDTH units. Narrower fields have
proportionally larger chunks, up to 8 times. The gradients of a larger batch are summed over its chunks, so that memory
does not grow with the batch."""

CHUNK_WIDTH = 256


class Step(NamedTuple):
    """The points of an optimiser step by their ``indices`` (n,), their ``weights`` (n,), or None if all are equal, the
    share of the peak learning rates, and further loss terms."""

    indices: Int[Tensor, "n"]
    weights: Float[Tensor, "n"] | None
    lr_factor: float
    loss_terms: Sequence[LaplacianLoss] = ()


def choose_device(name: str | torch.device) -> torch.device:
    """The device ``name`` (auto, cpu, cuda or cuda:N); ``auto`` is CUDA if available. MPS is not supported
    because its results have not been verified. Raises ``UsageError``."""
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


def _loss_term_gradient(
    loss_terms: Sequence[LaplacianLoss], indices: Int[Tensor, "n"], residuals: Float[Tensor, "n c"]
) -> Float[Tensor, "n c"]:
    """Gradient of all ``loss_terms`` with respect to the residuals of a step."""
    return torch.stack([term.gradient(indices, residuals) for term in loss_terms]).sum(0)


def _constant(gradient: Float[Tensor, "n c"]) -> ExtraGradient:
    """A function that returns ``gradient`` for any residuals."""
    return lambda residuals: gradient


class Engine:
    """Makes the optimiser steps of one field on one signal. It changes the weights of ``field`` in place.

    ``wait_for_compiler``: the first step waits for compiled code. ``check_cancelled`` is called between the chunks of a
    step and raises an exception to end it."""

    def __init__(
        self,
        field: Field,
        samples: Samples,
        config: TrainingConfig,
        wait_for_compiler: bool = False,
        check_cancelled: CheckCancelled = lambda: None,
    ) -> None:
        self.field, self.samples, self.config, self.precision = field, samples, config, config.dtype
        self.weights: Mapping[str, Tensor] = {name: weight.detach() for name, weight in field.weights.items()}
        architecture, device = field.formula, field.device
        self.optimiser = Optimiser(
            self.weights,
            config.limited_rates(architecture.rates()),
            architecture.muon_tensors(),
            adam_rate=config.adam_rate,
            muon_rate=config.muon_rate,
            momentum=config.momentum,
            second_beta=config.second_beta,
            epsilon=config.epsilon,
        )
        default_chunk = CHUNK_POINTS[device.type] * min(max(1, CHUNK_WIDTH // field.spec.width), 8)
        self.chunk_size: int = architecture.TRAITS.gradient_chunk or default_chunk
        self.backend = create_backend(config.engine, field.spec, architecture, config.dtype, wait_for_compiler)
        self.check_cancelled = check_cancelled
        self.lr_factor = torch.zeros((), device=device)
        state = [*self.weights.values(), *self.optimiser.state().values()]
        self.captures = Captures(state, device) if config.engine == "cuda-graph" else None
        self.throttle = Throttle() if device.type == "cuda" else None

    def set_precision(self, precision: torch.dtype) -> None:
        """Computes hidden layers in ``precision`` from now on, without code that is compiled during the fit."""
        self.precision = precision
        if self.config.engine == "kernel":
            self.backend = create_backend("kernel", self.field.spec, self.field.formula, precision, False)
        else:
            self._drop_compiled_code()

    def _drop_compiled_code(self) -> None:
        gradients = uncompiled_gradients(self.config.engine, self.field.formula, self.precision)
        self.backend = self.backend.without_compiled_code(gradients)
        if self.captures is not None:
            self.captures.clear()

    @torch.no_grad()
    def step(
        self,
        indices: Int[Tensor, "n"],
        weights: Float[Tensor, "n"] | None,
        lr_factor: float,
        loss_terms: Sequence[LaplacianLoss] = (),
    ) -> Float[Tensor, "n c"]:
        """Makes one update at ``lr_factor`` of the peak learning rates; returns the residuals before it. Steps with
        further ``loss_terms`` are analytic, because the data of the terms change with the selection."""
        self.lr_factor.fill_(lr_factor)
        if self.captures is None or loss_terms:
            residuals = self._step(indices, weights, loss_terms)
        else:
            residuals = self.captures.step(self._step, indices, weights)
        if self.throttle is not None:
            self.throttle.record_step()
        return residuals

    def _step(
        self,
        indices: Int[Tensor, "n"],
        weights: Float[Tensor, "n"] | None,
        loss_terms: Sequence[LaplacianLoss] = (),
    ) -> Float[Tensor, "n c"]:
        """Computes gradients in chunks and makes the update; returns the residuals before it."""
        loss_weights = normalized_weights(indices, weights, self.samples.signal.channels)
        several_chunks = indices.shape[0] > self.chunk_size
        extra = self._extra_gradient(loss_terms, indices) if loss_terms and several_chunks else None
        total: dict[str, Tensor] = {}
        residuals = []
        for start in range(0, indices.shape[0], self.chunk_size):
            if start and self.captures is None:  # a capture cannot be interrupted
                self.check_cancelled()
            part = slice(start, start + self.chunk_size)
            coords, values = self.samples.take(indices[part] if several_chunks else indices)
            extra_gradient: ExtraGradient | None = None
            if loss_terms:
                whole_step = partial(_loss_term_gradient, loss_terms, indices)
                extra_gradient = whole_step if extra is None else _constant(extra[part])
            residual, gradients = self.backend.gradients(
                self.weights, coords, values, loss_weights[part], extra_gradient
            )
            total = {name: total[name] + gradients[name] for name in gradients} if total else gradients
            residuals.append(residual)
        self.optimiser.step(total, self.lr_factor)
        return residuals[0] if len(residuals) == 1 else torch.cat(residuals)

    def _extra_gradient(self, loss_terms: Sequence[LaplacianLoss], indices: Int[Tensor, "n"]) -> Float[Tensor, "n c"]:
        """Gradient of all ``loss_terms`` with respect to the residuals of a step of several chunks. It depends on the
        residuals of all points of the step, which are computed by an additional forward pass."""
        residuals = []
        for part in indices.split(self.chunk_size):
            coords, values = self.samples.take(part)
            residuals.append(self.field(coords, self.precision) - values)
            self.check_cancelled()
        return _loss_term_gradient(loss_terms, indices, torch.cat(residuals))

    def halve_chunk_size(self) -> None:
        """Halves the memory that a step needs, after an allocation has failed."""
        self.chunk_size = max(1, self.chunk_size // 2)
        self._drop_compiled_code()
        if self.field.device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Frees the captured steps, which refer to the engine and would keep its memory allocated."""
        if self.captures is not None:
            self.captures.clear()

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copies ``weights`` into the field and resets the optimiser."""
        for name, weight in weights.items():
            self.weights[name].copy_(weight)
        self.optimiser.reset()

    @torch.no_grad()
    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the weights."""
        return {name: weight.clone() for name, weight in self.weights.items()}


def normalized_weights(
    indices: Int[Tensor, "n"], weights: Float[Tensor, "n"] | None, channels: int
) -> Float[Tensor, "n 1"]:
    """The factor of every point's squared residuals in the loss, weight / (sum of weights * channels). The loss is the
    weighted mean of the squared residuals over points and channels. Points of weight 0 pad a batch without effect."""
    if weights is None:
        count = indices.shape[0]
        return torch.full((count, 1), 1 / (count * channels), device=indices.device)
    return (weights / (weights.sum() * channels))[:, None]

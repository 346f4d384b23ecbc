"""Chooses the steps to which weights are rounded, by how much the decoded values depend on them.

A step d in a group of weights adds about h d^2 / 12 to the squared error of a value, where h is the mean square of the
value's derivatives with respect to these weights. The error is smallest for a given number of bits if h d^2 is the same
in all groups, so that one number, the ``scale``, determines all steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..fields import FieldSpec
from ..fields.module import Field
from ..fit.evaluation import EVALUATION_CHUNK_SIZE, EvaluationSet, MeasureCancelled, predict
from ..modalities import MODALITIES
from . import quantisation, weight_dtypes
from .artifact import Artifact
from .quantisation import Steps
from .weight_dtypes import CODED_BITS, Weights

_LEAST_SENSITIVITY = 0.01
"""Least mean square derivative of a group, as a share of that of its tensor. Points that were not tried may depend on
weights that seem to have no effect."""

_TRIALS = 6
"""Largest number of measured roundings in a search."""


_MARGIN, _LARGEST_MARGIN = 0.1, 0.05
"""Share of the largest loss that is not used, and its limit: on all samples the loss is not that on the points."""

_NEAR = 0.02
"""Largest part of a loss, in its unit, that a search leaves unused."""

_CHANGED_SIDES = 1 / 3
"""Share of the points changing sides that counts as lost. Of all of them, a fifth was lost on three meshes
(docs/benchmarks.md), and 65,536 points hold a few of them only."""

_WORTH_CODING = 0.9
"""Coded weights are kept if they take at most this share of the bytes of fp16, or of fp32 where fp16 loses too much."""


def stored_as(
    artifact: Artifact,
    store: str,
    points: EvaluationSet,
    max_loss: float,
    room: int | None,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
) -> Artifact:
    """``artifact``, whose weights are those of the fit, in a store that rounds them: one of CODED_BITS, or that which
    "auto" chooses: the smallest whose loss of quality at ``points`` is at most ``max_loss``.

    With ``room``, the coded weights take at most so many bytes, and "auto" chooses the finest steps for which they
    do. Raises ``MeasureCancelled`` if ``should_stop()`` becomes true meanwhile."""
    rounding = Rounding(artifact.spec, artifact.weights, points, device, should_stop)
    scale = rounding.within_bytes(CODED_BITS.get(store, CODED_BITS["int8"]) / 8 * rounding.weight_count)
    if room is not None:
        return _within(artifact, rounding, room, 0.0 if store == "auto" else scale)
    nothing_to_lose = rounding.quality == 0 or math.isnan(rounding.quality)  # the IoU of a field without a surface
    if store != "auto" or nothing_to_lose:
        return replace(artifact, store="int", steps=rounding.steps(scale))
    found = rounding.within_loss(max_loss - min(_MARGIN * max_loss, _LARGEST_MARGIN), scale)
    plain, bytes_per_weight = "fp16", 2
    if found is None or found.bytes > _WORTH_CODING * 2 * rounding.weight_count:
        half = weight_dtypes.rounded(artifact.weights, "fp16", artifact.spec.fp32_tensors)
        if rounding.loss_of(half) > max_loss:
            plain, bytes_per_weight = "fp32", 4
    if found is not None and found.bytes <= _WORTH_CODING * bytes_per_weight * rounding.weight_count:
        return replace(artifact, store="int", steps=found.steps)
    return replace(artifact, store=plain)


def _within(artifact: Artifact, rounding: Rounding, room: int, least_scale: float) -> Artifact:
    """``artifact`` with the finest steps, but none finer than at ``least_scale``, whose coded weights have at most
    ``room`` bytes."""
    estimate = room
    while True:
        steps = rounding.steps(max(rounding.within_bytes(estimate), least_scale))
        excess = len(quantisation.pack(artifact.weights, rounding.groups, steps)) - room
        if excess <= 0 or estimate <= 0:
            return replace(artifact, store="int", steps=steps)
        estimate -= excess + 8


@dataclass(frozen=True)
class Rounded:
    """Rounded weights: their steps, the bytes of their code (within a percent), and the loss of quality."""

    steps: Steps
    bytes: float
    loss: float


class Rounding:
    """The roundings of one field's weights, measured on ``points``."""

    def __init__(
        self,
        spec: FieldSpec,
        weights: Weights,
        points: EvaluationSet,
        device: torch.device,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._should_stop = should_stop
        self.spec, self.weights, self.points, self.groups = spec, weights, points, spec.rounding_groups
        self._field = Field(spec, {name: torch.tensor(weights[name], device=device) for name in spec.shapes})
        with torch.no_grad():
            self._exact = self._predict()
        self.quality = float(points.quality_of(self._exact))
        """The quality of the weights as they are, in float32."""
        self.weight_count = sum(map(sum, self.groups.values()))
        """Number of weights that are rounded."""
        self._sensitivity = self._sensitivities()
        self._peaks = {
            name: _per_group(np.abs(weights[name]), sizes, np.maximum) for name, sizes in self.groups.items()
        }

    def at(self, scale: float) -> Rounded:
        """The rounding at one scale, measured."""
        steps = self.steps(scale)
        loss = self.loss_of(quantisation.rounded(self.weights, self.groups, steps))
        return Rounded(steps, self._bytes(steps), loss)

    def steps(self, scale: float) -> Steps:
        """The steps at one scale."""
        return {
            name: quantisation.storable(scale / np.sqrt(self._sensitivity[name]), self._peaks[name])
            for name in self.groups
        }

    def within_bytes(self, limit: float) -> float:
        """About the smallest scale at which the code takes at most about ``limit`` bytes. A weight takes one bit less
        for each doubling of the scale, as long as it takes several."""
        low, high, exponent = -60.0, 60.0, 0.0
        while high - low > 0.02:
            excess = self._bytes(self.steps(2.0**exponent)) - limit
            low, high = (exponent, high) if excess > 0 else (low, exponent)
            if -0.004 * limit <= excess <= 0:
                break
            exponent += 8 * excess / self.weight_count + 0.005
            if not low < exponent < high:
                exponent = (low + high) / 2
        return float(2.0**high)

    def within_loss(self, limit: float, first_scale: float) -> Rounded | None:
        """The coarsest rounding found whose loss is at most ``limit``; None if none was. The error that is added is
        proportional to the square of the scale."""
        best, scale, low, high = None, first_scale, 0.0, math.inf
        for _ in range(_TRIALS):
            found = self.at(scale)
            if found.loss <= limit:
                best, low = found, scale
                if found.loss > limit - min(0.05 * limit, _NEAR):
                    break
            else:
                high = scale
            scale *= min(max(math.sqrt(self._added(0.98 * limit) / max(self._added(found.loss), 1e-12)), 2e-3), 4.0)
            if not low < scale < high:
                scale = math.sqrt(low * high) if low else high / 2
        return best

    def _added(self, loss: float) -> float:
        """The error that was added, as a share of the error before, for a loss in decibels; in proportion to it for
        others."""
        if MODALITIES[self.points.signal.modality].unit != "dB":
            return loss
        return 10 ** (min(loss, 300.0) / 10) - 1

    def _bytes(self, steps: Steps) -> float:
        return quantisation.coded_bytes(quantisation.to_integers(self.weights, self.groups, steps), self.groups)

    @torch.no_grad()
    def loss_of(self, weights: Weights) -> float:
        """How much worse ``weights`` are than those of the fit; 0 if they are not, inf if a perfect fit is lost.

        Of a measure without unit, which counts points, it is at least the share _CHANGED_SIDES of the points that
        change sides: among the few next to a surface those that gain would hide those that lose."""
        for name, weight in self._field.weights.items():
            weight.copy_(torch.tensor(weights[name]))
        predicted = self._predict()
        quality, least = float(self.points.quality_of(predicted)), 0.0
        if not MODALITIES[self.points.signal.modality].unit:
            agreement = float(self.points.estimate(predicted, self._exact, self.points.signal))
            least = _CHANGED_SIDES * (1.0 - agreement)
        loss: float = self.quality - quality
        return least if quality >= self.quality else max(least, loss)

    def _predict(self) -> Tensor:
        return predict(self._field, self.points.coords, EVALUATION_CHUNK_SIZE, lambda fraction: self._check())

    def _check(self) -> None:
        if self._should_stop():
            raise MeasureCancelled

    def _sensitivities(self) -> dict[str, npt.NDArray[np.float64]]:
        """The mean square derivative of a value with respect to the weights of each group."""
        found, total = {}, self._squared_derivatives()
        for name, sizes in self.groups.items():
            squares = total[name].cpu().double().numpy() / self.points.values.numel()
            means = _per_group(squares, sizes, np.add) / np.array(sizes)
            found[name] = np.maximum(means, _LEAST_SENSITIVITY * squares.mean()) + np.finfo(np.float32).tiny
        return found

    @torch.no_grad()
    def _squared_derivatives(self) -> dict[str, Tensor]:
        """The sum over all values of the squared derivative with respect to each weight, estimated with random signs
        (Hutchinson): the squared derivatives of a sum in which every value has a random sign."""
        generator = torch.Generator().manual_seed(0)
        weights = {name: weight.detach() for name, weight in self._field.weights.items()}
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for start in range(0, self.points.coords.shape[0], EVALUATION_CHUNK_SIZE):
            part = slice(start, start + EVALUATION_CHUNK_SIZE)
            coords, values = self.points.coords[part], self.points.values[part]
            self._check()
            signs = (torch.randint(0, 2, values.shape, generator=generator) * 2.0 - 1.0).to(coords.device)
            no_loss = torch.zeros(coords.shape[0], 1, device=coords.device)
            _, gradients = self.spec.formula.gradients(
                weights, coords, values, no_loss, torch.float32, partial(_constant, signs)
            )
            for name, gradient in gradients.items():
                total[name] += gradient.square()
        return total


def _constant(gradient: Tensor, residuals: Tensor) -> Tensor:
    """``gradient``, whatever the residuals."""
    return gradient


def _per_group(values: npt.NDArray[np.generic], sizes: tuple[int, ...], reduce: np.ufunc) -> npt.NDArray[np.float64]:
    """``values`` reduced over each group."""
    starts = np.cumsum((0, *sizes[:-1]))
    return np.asarray(reduce.reduceat(values.reshape(-1), starts), np.float64)

"""Measures how good a field is: on fixed points during the fit, on the whole signal afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..fields.module import Field
from ..modalities import MODALITIES
from ..signal import Samples, Signal

FIT_EVALUATION_POINTS, BUSY_EVALUATION_POINTS = 16_384, 2048
"""Number of points by which the weights of a fit are compared, and that on a busy machine with a short budget."""

EVALUATION_CHUNK_SIZE = 8192
"""Points evaluated at a time when quality is estimated after the fit: 8 MB for a width of 256."""

FULL_MEASURE_LIMIT, FULL_MEASURE_SECONDS = 16_000_000, 10.0
"""The whole decoded signal is measured if it has at most so many samples, or if that is predicted to take at most so
many seconds, or half the budget. Otherwise a sample of it is."""

SAMPLE_POINTS = 1 << 20
"""Number of points by which a longer signal is measured."""

INTERRUPTED_POINTS = 16_384
"""Number of points by which the result of an interrupted fit is measured, which must be written within two seconds."""

ESTIMATE_POINTS = (SAMPLE_POINTS, INTERRUPTED_POINTS, BUSY_EVALUATION_POINTS, 65_536, 1_000_000)
"""Numbers of points by which a quality is estimated; the last two by earlier versions."""


def stratified(n: int, count: int) -> Tensor:
    """``count`` distinct indices spread evenly over 0..n-1, int64, sorted; all of them if ``n <= count``.

    There is one in each of ``count`` strata. Its offset in the stratum follows a golden-ratio sequence, so that no
    column of a raster is favoured. The result depends only on ``n`` and ``count``."""
    if n <= count:
        return torch.arange(n)
    strata = torch.arange(count)
    start, end = strata * n // count, (strata + 1) * n // count
    offsets = (strata.double() * 0.6180339887498949) % 1.0
    return start + (offsets * (end - start)).long()


@torch.no_grad()
def predict(
    field: Field, coords: Tensor, chunk_size: int, on_progress: Callable[[float], None] = lambda fraction: None
) -> Tensor:
    """Values (n, c) of ``field`` at ``coords`` (n, d), evaluated ``chunk_size`` points at a time. ``on_progress`` is
    called after each chunk with the fraction done."""
    values = []
    for chunk in coords.split(chunk_size):
        values.append(field.evaluate(chunk))
        on_progress(len(values) * chunk_size / coords.shape[0])
    return torch.cat(values)


@dataclass(frozen=True)
class EvaluationSet:
    """Fixed points that stand for a whole ``signal``: ``coords`` (n, d) and true ``values`` (n, c).
    ``estimate(predicted, values, signal)`` is the main quality measure of the modality, in its unit."""

    coords: Tensor
    values: Tensor
    signal: Signal
    estimate: Callable[[Tensor, Tensor, Signal], float]

    def quality(
        self, field: Field, chunk_size: int, on_progress: Callable[[float], None] = lambda fraction: None
    ) -> float:
        """The quality of ``field``. ``chunk_size`` points are evaluated at a time, which bounds the memory and may
        change the last bit; ``on_progress`` is called with the fraction done."""
        return self.quality_of(predict(field, self.coords, chunk_size, on_progress))

    def quality_of(self, predicted: Tensor) -> float:
        """The quality of values (n, c) predicted at ``coords``."""
        return self.estimate(predicted, self.values, self.signal)


def evaluation_set(signal: Signal, count: int, device: torch.device) -> EvaluationSet:
    """About ``count`` fixed points of ``signal``, always the same ones: stratified samples, or the points of the
    modality's ``probe`` if its samples are not spread evenly (those of a shape lie near its surface)."""
    modality = MODALITIES[signal.modality]
    if modality.probe is None:
        coords, values = signal.on(device).take(stratified(signal.n, count).to(device))
    else:
        coords, values = (torch.from_numpy(array).to(device) for array in modality.probe(signal, count))
    return EvaluationSet(coords, values, signal, modality.estimate)


class FitEvaluator:
    """Compares the weights of a fit, by their error and quality on fixed points of the signal.

    ``indices`` are the points; ``cost`` is the number of points that an evaluation computes; ``mean`` (c,) is the best
    constant at these points, ``constant_error`` its mean squared error, ``quality_points`` the number of points of the
    quality."""

    def __init__(self, signal: Signal, samples: Samples, count: int = FIT_EVALUATION_POINTS) -> None:
        """The weights are compared on ``count`` points."""
        modality, device = MODALITIES[signal.modality], samples.raw.device
        self.indices = stratified(signal.n, count).to(device)
        self.coords, self.values = samples.take(self.indices)
        self._own = EvaluationSet(self.coords, self.values, signal, modality.estimate)
        self._probed = None if modality.probe is None else evaluation_set(signal, count, device)
        self.cost = self.indices.shape[0] + (0 if self._probed is None else self._probed.values.shape[0])
        self.quality_points = int((self._probed or self._own).coords.shape[0])
        self.mean = self.values.double().mean(0).float()
        self.constant_error = float((self.values - self.mean).square().mean())

    def evaluate(self, field: Field, chunk_size: int) -> tuple[float, float]:
        """Mean squared error and quality of ``field``, evaluated ``chunk_size`` points at a time. The quality is
        measured at the points of the modality's ``probe`` if it has one."""
        predicted = predict(field, self.coords, chunk_size)
        error = float((predicted - self.values).square().mean())
        if self._probed is None:
            return error, self._own.quality_of(predicted)
        return error, self._probed.quality(field, chunk_size)


class MeasureCancelled(Exception):
    """Raised between chunks to cut a measurement short."""


def verification(samples: int, predicted_seconds: float | None, budget_seconds: float | None) -> str:
    """Whether so many samples are measured in "full" or by a "sample", given the seconds that decoding them is
    predicted to take."""
    allowed = max(FULL_MEASURE_SECONDS, (budget_seconds or 0.0) / 2)
    quick = predicted_seconds is not None and predicted_seconds <= allowed
    return "full" if samples <= FULL_MEASURE_LIMIT or quick else "sample"


def measure(
    field: Field,
    signal: Signal,
    verify: str,
    interrupted: bool,
    should_stop: Callable[[], bool],
    on_progress: Callable[[float], None],
) -> dict[str, Any]:
    """The quality of ``field`` as JSON: every measure of the whole signal, or the main one of a sample of its points,
    marked as an estimate.

    ``verify`` is "full" or "sample" (``verification``). If the fit was ``interrupted``, or ``should_stop`` becomes true
    meanwhile, INTERRUPTED_POINTS are measured. ``on_progress`` is called with the fraction done."""
    modality = MODALITIES[signal.modality]

    def check_and_report(fraction: float) -> None:
        if should_stop():
            raise MeasureCancelled
        on_progress(fraction)

    if not interrupted and verify == "full":
        try:
            return modality.measure(field, signal, check_and_report) | {"samples": signal.n, "estimate": False}
        except MeasureCancelled:
            interrupted = True
    if not interrupted:
        try:
            return estimate(field, signal, SAMPLE_POINTS, check_and_report)
        except MeasureCancelled:
            pass
    return estimate(field, signal, INTERRUPTED_POINTS, lambda fraction: None)


def estimate(field: Field, signal: Signal, count: int, on_progress: Callable[[float], None]) -> dict[str, Any]:
    """The main quality measure of the modality on about ``count`` fixed points, as JSON."""
    points = evaluation_set(signal, count, field.device)
    quality = points.quality(field, EVALUATION_CHUNK_SIZE, on_progress)
    return {MODALITIES[signal.modality].main_measure: quality, "samples": int(points.coords.shape[0]), "estimate": True}

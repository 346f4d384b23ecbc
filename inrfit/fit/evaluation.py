"""How good a field is: a fixed subset judges its weights while it is fitted, the whole signal what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..fields.module import Field
from ..modalities import MODALITIES
from ..signal import Samples, Scale, Signal

EVALUATED = 16_384
"""Points of the subset that decides which weights are best."""

PIECE = 8192
"""Points evaluated at a time where quality is estimated after the fit: 8 MB for a width of 256."""


def stratified(n: int, count: int) -> Tensor:
    """``count`` distinct indices spread evenly over 0..n-1, one of each stratum, the same ones always: the offset
    inside the stratum runs through a golden-ratio sequence, so that no raster column is favoured."""
    if n <= count:
        return torch.arange(n)
    strata = torch.arange(count)
    first, after = strata * n // count, (strata + 1) * n // count
    offsets = (strata.double() * 0.6180339887498949) % 1.0
    return first + (offsets * (after - first)).long()


@torch.no_grad()
def predict(field: Field, coords: Tensor, piece: int, tick: Callable[[float], None] = lambda share: None) -> Tensor:
    """Values (n, c) of ``field`` at ``coords`` (n, d), evaluated ``piece`` points at a time; ``tick`` is told the share
    done."""
    found = []
    for part in coords.split(piece):
        found.append(field(part))
        tick(len(found) * piece / coords.shape[0])
    return torch.cat(found)


@dataclass(frozen=True)
class EvaluationSet:
    """Fixed points that stand for a whole signal: ``coords`` (n, d) and true ``values`` (n, c). ``estimate`` is the
    modality's main measure of values predicted there, in its unit."""

    coords: Tensor
    values: Tensor
    scale: Scale
    estimate: Callable[[Tensor, Tensor, Scale], float]

    def quality(self, field: Field, piece: int, tick: Callable[[float], None] = lambda share: None) -> float:
        """The modality's main measure of ``field``. ``piece`` points are evaluated at a time, which bounds the memory
        and may change the last bit; ``tick`` is told the share done."""
        return self.of(predict(field, self.coords, piece, tick))

    def of(self, predicted: Tensor) -> float:
        """The modality's main measure of values (n, c) predicted at ``coords``."""
        return self.estimate(predicted, self.values, self.scale)


def evaluation_set(signal: Signal, count: int, device: torch.device) -> EvaluationSet:
    """About ``count`` fixed points of ``signal``, the same ones always: stratified samples of it, or what the modality
    says where its samples lie unevenly (a shape's lie near its surface)."""
    modality = MODALITIES[signal.modality]
    if modality.probe is None:
        coords, values = signal.on(device).take(stratified(signal.n, count).to(device))
    else:
        coords, values = (torch.from_numpy(found).to(device) for found in modality.probe(signal, count))
    return EvaluationSet(coords, values, signal.scale, modality.estimate)


class Subset:
    """A fixed, stratified subset of a signal, by which the weights of a fit are compared; ``cost`` is how many points
    that takes. ``mean`` (c,) is the best constant there, ``constant_error`` its mean squared error."""

    def __init__(self, signal: Signal, samples: Samples) -> None:
        modality, device = MODALITIES[signal.modality], samples.raw.device
        self.indices = stratified(signal.n, EVALUATED).to(device)
        self.coords, self.values = samples.take(self.indices)
        self._own = EvaluationSet(self.coords, self.values, signal.scale, modality.estimate)
        self._probed = None if modality.probe is None else evaluation_set(signal, EVALUATED, device)
        self.cost = self.indices.shape[0] + (0 if self._probed is None else self._probed.values.shape[0])
        self.mean = self.values.double().mean(0).float()
        self.constant_error = float((self.values - self.mean).square().mean())

    def judge(self, field: Field, piece: int) -> tuple[float, float]:
        """Mean squared error, and quality by the modality's measure, of ``field``, ``piece`` points at a time."""
        predicted = predict(field, self.coords, piece)
        error = float((predicted - self.values).square().mean())
        return error, self._own.of(predicted) if self._probed is None else self._probed.quality(field, piece)


FULL_CHECK = 16_000_000
"""Up to this many samples the decoded signal is measured whole; above, by SAMPLED stratified ones."""

SAMPLED = 1_000_000
ESTIMATED = 65_536
"""Samples that judge an interrupted fit, which must be written within two seconds."""


class Hurry(Exception):
    """Raised between chunks when there is no time left for the whole."""


def measure(
    field: Field,
    signal: Signal,
    verify: str | None,
    hurried: bool,
    stop: Callable[[], bool],
    checking: Callable[[float], None],
) -> dict[str, Any]:
    """Every measure of the whole signal; or the main one of a sample, marked as an estimate, when ``hurried`` or when
    ``stop`` becomes true on the way. ``verify`` is ``full``, ``sample`` or None (full up to FULL_CHECK samples)."""
    modality = MODALITIES[signal.modality]

    def tick(share: float) -> None:
        if stop():
            raise Hurry
        checking(share)

    if not hurried and (verify == "full" or (verify is None and signal.n <= FULL_CHECK)):
        try:
            return modality.measure(field, signal, tick) | {"samples": signal.n, "estimate": False}
        except Hurry:
            hurried = True
    if not hurried:
        try:
            return estimate(field, signal, SAMPLED, tick)
        except Hurry:
            pass
    return estimate(field, signal, ESTIMATED, lambda share: None)


def estimate(field: Field, signal: Signal, count: int, tick: Callable[[float], None]) -> dict[str, Any]:
    """The modality's main measure over ``count`` fixed points."""
    points = evaluation_set(signal, count, field.device)
    quality = points.quality(field, PIECE, tick)
    return {MODALITIES[signal.modality].quality: quality, "samples": int(points.coords.shape[0]), "estimate": True}

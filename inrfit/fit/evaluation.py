"""How good a field is: a fixed subset judges its weights while it is fitted, the whole signal what was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..fields.module import Field
from ..modalities import MODALITIES
from ..signal import Samples, Signal

EVALUATED = 16_384
"""Points of the subset that decides which weights are best."""


def stratified(n: int, count: int) -> Tensor:
    """``count`` distinct indices spread evenly over 0..n-1, one of each stratum, the same ones always: the offset
    inside the stratum runs through a golden-ratio sequence, so that no raster column is favoured."""
    if n <= count:
        return torch.arange(n)
    strata = torch.arange(count)
    first, after = strata * n // count, (strata + 1) * n // count
    offsets = (strata.double() * 0.6180339887498949) % 1.0
    return first + (offsets * (after - first)).long()


def judged_points(signal: Signal, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates and values at ``count`` fixed points that stand for the whole signal: stratified samples of it, or
    what the modality says where its samples are drawn unevenly (a shape's lie near its surface)."""
    modality = MODALITIES[signal.modality]
    if modality.PROBED:
        coords, values = modality.probe(signal, count)
        return torch.from_numpy(coords).to(device), torch.from_numpy(values).to(device)
    return signal.on(device).take(stratified(signal.n, count).to(device))


class Subset:
    """A fixed, stratified subset of a signal, by which the weights of a fit are compared; ``cost`` is how many points
    that takes. ``mean`` (c,) is the best constant there, ``constant_error`` its mean squared error."""

    def __init__(self, signal: Signal, samples: Samples) -> None:
        self.signal, self.modality = signal, MODALITIES[signal.modality]
        device = samples.raw.device
        self.indices = stratified(signal.n, EVALUATED).to(device)
        self.coords, self.values = samples.take(self.indices)
        self.probed = judged_points(signal, EVALUATED, device) if self.modality.PROBED else None
        self.cost = self.indices.shape[0] + (0 if self.probed is None else self.probed[1].shape[0])
        self.mean = self.values.double().mean(0).float()
        self.constant_error = float((self.values - self.mean).square().mean())

    @torch.no_grad()
    def judge(self, field: Field, piece: int) -> tuple[float, float]:
        """Mean squared error, and quality by the modality's measure, of ``field``, ``piece`` points at a time."""
        predicted = torch.cat([field(part) for part in self.coords.split(piece)])
        error, values = float((predicted - self.values).square().mean()), self.values
        if self.probed is not None:
            values = self.probed[1]
            predicted = torch.cat([field(part) for part in self.probed[0].split(piece)])
        return error, self.modality.estimate(predicted, values, self.signal.scale)


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


@torch.no_grad()
def estimate(field: Field, signal: Signal, count: int, tick: Callable[[float], None]) -> dict[str, Any]:
    """The modality's main measure over ``count`` stratified points."""
    modality = MODALITIES[signal.modality]
    coords, values = judged_points(signal, count, field.device)
    predicted = []
    for piece in coords.split(8192):
        predicted.append(field(piece))
        tick(len(predicted) * 8192 / coords.shape[0])
    quality = modality.estimate(torch.cat(predicted), values, signal.scale)
    return {modality.QUALITY: quality, "samples": int(coords.shape[0]), "estimate": True}

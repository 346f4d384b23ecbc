"""Fixed points that stand for a whole signal."""

from __future__ import annotations

import torch
from torch import Tensor

from .fields.field import Field
from .modalities import MODALITIES
from .signal import Samples, Signal

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

"""Fixed points that stand for a whole signal."""

from __future__ import annotations

import torch
from torch import Tensor

from .modalities import MODALITIES
from .signal import Signal


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

"""Loss terms that a selection may ask for besides the squared error: frozen data in, derivatives out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Grey of the first three channels (ITU-R BT.601); of fewer channels the first is the grey."""

GREY_LEVELS = 127.5
"""Grey levels of an 8-bit picture in one unit of a field's values."""

FARTHEST = 4.0
"""Residuals lie between -2 and 2 while field and picture are in range."""


@dataclass(frozen=True)
class LaplacianLoss:
    """``coefficient`` times the mean over the taught pixels of the squared Laplacian (four neighbours, zeros around the
    picture) of the grey residuals, in squared grey levels: EVOS's cross-frequency supervision. The Laplacian is linear,
    so that of prediction minus picture is that of the residuals. ``residuals`` (h, w), grey, in units of the field's
    values, are the last known ones; a step puts those of its own points in before it looks at their neighbours."""

    coefficient: float
    residuals: Tensor

    def gradient(self, indices: Tensor, residuals: Tensor) -> Tensor:
        """Derivatives (k, c) of this term with respect to ``residuals`` (k, c) at the flat ``indices`` (k,), which are
        all the points of a step."""
        import torch

        mix = grey_mix(residuals)
        curved = laplacian_at(self.with_residuals(indices, residuals).residuals, indices)
        scratch = torch.zeros_like(self.residuals)
        scratch.view(-1)[indices] = curved
        adjoint = laplacian_at(scratch, indices)  # the Laplacian is its own adjoint
        return (2 * self.coefficient * GREY_LEVELS**2 / indices.shape[0]) * adjoint[:, None] * mix

    def with_residuals(self, indices: Tensor, residuals: Tensor) -> LaplacianLoss:
        """The term for the next step, once ``residuals`` (k, c) at ``indices`` (k,) are known."""
        known = self.residuals.clone()
        known.view(-1)[indices] = grey_of(residuals)
        return LaplacianLoss(self.coefficient, known)


def grey_mix(like: Tensor) -> Tensor:
    """Weights (c,) of the channels of ``like`` (k, c) in grey."""
    import torch

    channels = like.shape[-1]
    weights = (*LUMA, *(0.0,) * (channels - 3)) if channels >= 3 else (1.0, *(0.0,) * (channels - 1))
    return torch.tensor(weights, device=like.device)


def grey_of(residuals: Tensor) -> Tensor:
    """The grey (k,) of ``residuals`` (k, c); of a fit gone astray at most FARTHEST, undefined ones 0."""
    grey: Tensor = (residuals.float() @ grey_mix(residuals)).nan_to_num(0.0).clamp(-FARTHEST, FARTHEST)
    return grey


def laplacian_at(raster: Tensor, indices: Tensor) -> Tensor:
    """Sum of the four neighbours less four times the pixel, zeros outside, of ``raster`` (h, w) at flat ``indices``."""
    height, width = raster.shape
    flat = raster.reshape(-1)
    row, column = indices // width, indices % width
    total = -4 * flat[indices]
    for step, inside in ((-width, row > 0), (width, row < height - 1), (-1, column > 0), (1, column < width - 1)):
        total += flat[(indices + step).clamp(0, flat.shape[0] - 1)] * inside
    return total

"""Loss terms that a selection may add to the squared error, with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601). With fewer than three channels, the first one is grey."""

GREY_LEVELS = 127.5
"""Grey levels of an 8-bit image per unit of a field's values."""

MAX_GREY_RESIDUAL = 4.0
"""Grey residuals are clamped to plus or minus this; they lie in [-2, 2] while field and image are in range."""


@dataclass(frozen=True)
class LaplacianLoss:
    """The cross-frequency supervision of EVOS (arXiv:2412.10153): ``coefficient`` times the mean, over the trained
    samples, of the squared difference of the grey Laplacians of prediction and signal, in squared grey levels.

    The Laplacian takes the two neighbours along each axis, and zeros outside the raster. It is linear, so that the
    difference is the Laplacian of the residuals."""

    coefficient: float
    residuals: Float[Tensor, "..."]
    """Last known grey residuals of all samples, in the shape of the raster, in units of the field's values. Before a
    step looks at the neighbours of its points, it writes the residuals of its own points into a copy."""

    def gradient(self, indices: Int[Tensor, "k"], residuals: Float[Tensor, "k c"]) -> Float[Tensor, "k c"]:
        """Derivatives of this term with respect to ``residuals`` at the flat ``indices``, all points of a step."""
        import torch

        laplacian = laplacian_at(self.with_residuals(indices, residuals).residuals, indices)
        scattered = torch.zeros_like(self.residuals)
        scattered.view(-1)[indices] = laplacian
        adjoint = laplacian_at(scattered, indices)  # the Laplacian is its own adjoint
        return (2 * self.coefficient * GREY_LEVELS**2 / indices.shape[0]) * adjoint[:, None] * grey_weights(residuals)

    def with_residuals(self, indices: Int[Tensor, "k"], residuals: Float[Tensor, "k c"]) -> LaplacianLoss:
        """The term for the next step, given the ``residuals`` at the flat ``indices``."""
        updated = self.residuals.clone()
        updated.view(-1)[indices] = grey_residuals(residuals)
        return LaplacianLoss(self.coefficient, updated)


def grey_weights(residuals: Float[Tensor, "k c"]) -> Float[Tensor, "c"]:
    """Weights of the channels of ``residuals`` in grey."""
    import torch

    channels = residuals.shape[-1]
    weights = (*LUMA, *(0.0,) * (channels - 3)) if channels >= 3 else (1.0, *(0.0,) * (channels - 1))
    return torch.tensor(weights, device=residuals.device)


def grey_residuals(residuals: Float[Tensor, "k c"]) -> Float[Tensor, "k"]:
    """Grey of the residuals, clamped to plus or minus MAX_GREY_RESIDUAL, with 0 for NaN: a fit that diverged leaves no
    lasting trace in the map."""
    # Added channel by channel: the last bit of a matrix product depends on where in memory the residuals are.
    red, *others = (residuals.float() * grey_weights(residuals))[:, : len(LUMA)].unbind(-1)
    grey: Tensor = sum(others, start=red)
    return grey.nan_to_num(0.0).clamp(-MAX_GREY_RESIDUAL, MAX_GREY_RESIDUAL)


def laplacian_at(raster: Float[Tensor, "..."], indices: Int[Tensor, "k"]) -> Float[Tensor, "k"]:
    """Laplacian at the flat ``indices``: the sum of the two neighbours along each axis minus as many times the sample,
    zeros outside."""
    flat = raster.reshape(-1)
    total = -2 * raster.dim() * flat[indices]
    for neighbours, inside in neighbours_along_axes(raster.shape, indices):
        total += flat[neighbours] * inside
    return total


def neighbours_along_axes(
    shape: Sequence[int], indices: Int[Tensor, "k"]
) -> Iterator[tuple[Int[Tensor, "k"], Bool[Tensor, "k"]]]:
    """Flat indices of the neighbours before and after along each axis of a raster, and whether they are inside it;
    those outside are the samples themselves."""
    stride = math.prod(shape)
    for length in shape:
        stride //= length
        place = indices // stride % length
        for step, inside in ((-stride, place > 0), (stride, place < length - 1)):
            yield indices + step * inside, inside

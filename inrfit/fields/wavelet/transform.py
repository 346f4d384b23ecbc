"""The biorthogonal 9/7 wavelet transform of rasters by lifting (Cohen, Daubechies, Feauveau 1992; Daubechies, Sweldens
1998, "Factoring wavelet transforms into lifting steps"), with symmetric extension at the edges.

The functions of all bands have about the norm 1, so that an error of a coefficient is the same error of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .bands import ORIENTATIONS

if TYPE_CHECKING:
    from torch import Tensor

LIFTING = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
"""The factors of the four lifting steps, which change odd and even samples in turn."""

SCALE = 1.230174104914001 / 2**0.5
LOW_NORM, HIGH_NORM = 1.3102777168623538, 0.8872770756359072
"""The norms of the functions that a low and a high coefficient stand for after the steps and SCALE."""


def analysis(samples: Tensor, levels: int) -> dict[str, Tensor]:
    """The coefficients of rasters (c, rows, columns), by the names of ``bands.bands``: (c, *band shape)."""
    found, low = {}, samples
    for level in range(levels):
        left, right = _split(low)
        low, found[f"v{level}"] = (part.mT for part in _split(left.mT))
        found[f"h{level}"], found[f"d{level}"] = (part.mT for part in _split(right.mT))
    return {"low": low, **found}


def synthesis(coefficients: Mapping[str, Tensor], levels: int) -> Tensor:
    """The rasters (c, rows, columns) that have these ``coefficients``: the inverse of ``analysis``."""
    low = coefficients["low"]
    for level in reversed(range(levels)):
        horizontal, vertical, diagonal = (coefficients[f"{name}{level}"] for name in ORIENTATIONS)
        low = _merged(_merged(low.mT, vertical.mT).mT, _merged(horizontal.mT, diagonal.mT).mT)
    return low


def _split(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Low and high coefficients along the last axis."""
    even, odd = samples[..., 0::2], samples[..., 1::2]
    first, second, third, fourth = LIFTING
    odd = odd + first * _sums_at_odd(even, odd.shape[-1])
    even = even + second * _sums_at_even(odd, even.shape[-1])
    odd = odd + third * _sums_at_odd(even, odd.shape[-1])
    even = even + fourth * _sums_at_even(odd, even.shape[-1])
    return even * (SCALE * LOW_NORM), odd * HIGH_NORM


def _merged(low: Tensor, high: Tensor) -> Tensor:
    """The samples along the last axis: the inverse of ``_split``."""
    even, odd = low / (SCALE * LOW_NORM), high / HIGH_NORM
    first, second, third, fourth = LIFTING
    even = even - fourth * _sums_at_even(odd, even.shape[-1])
    odd = odd - third * _sums_at_odd(even, odd.shape[-1])
    even = even - second * _sums_at_even(odd, even.shape[-1])
    odd = odd - first * _sums_at_odd(even, odd.shape[-1])
    samples = even.new_empty(*even.shape[:-1], even.shape[-1] + odd.shape[-1])
    samples[..., 0::2], samples[..., 1::2] = even, odd
    return samples


def _sums_at_odd(even: Tensor, count: int) -> Tensor:
    """For each of ``count`` odd samples the sum of the even ones beside it; at the end the last one counts twice."""
    import torch

    following = even[..., 1:] if even.shape[-1] > count else torch.cat([even[..., 1:], even[..., -1:]], -1)
    return even[..., :count] + following


def _sums_at_even(odd: Tensor, count: int) -> Tensor:
    """For each of ``count`` even samples the sum of the odd ones beside it; at an end the outermost counts twice."""
    import torch

    after = odd if odd.shape[-1] == count else torch.cat([odd, odd[..., -1:]], -1)
    return torch.cat([odd[..., :1], odd], -1)[..., :count] + after

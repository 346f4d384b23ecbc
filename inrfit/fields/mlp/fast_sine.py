"""Sine and cosine: those of torch, or polynomials in compiled steps.

torch.compile turns torch's sine into a library function that is exact for all angles. The polynomials here are faster.
They take the angle reduced to [-pi, pi] and have an error of at most 6e-7 for angles up to 100 and 1e-6 up to 10,000.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SINE = (0.99999958, -0.16666554, 0.0083324080, -1.9808741e-04, 2.6998227e-06, -2.0366231e-08)
"""Coefficients of x, x^3, x^5, ... that minimise the largest error over [-pi, pi], which is 1e-7."""

COSINE = (1.0, -0.49999988, 0.041666489, -0.0013887808, 2.4769967e-05, -2.7079776e-07, 1.7247607e-09)
"""Coefficients of 1, x^2, x^4, ..., likewise; the largest error is 1e-8."""

TURN = 6.28125, 2 * math.pi - 6.28125
"""2 pi as the sum of two numbers. Multiples of the first by up to 2^16 are exact in float32."""


def sine(phase: Float[Tensor, "*shape"], inplace: bool = False) -> Float[Tensor, "*shape"]:
    """The sine of ``phase`` (radians), in the same number type. With ``inplace``, ``phase`` may be overwritten."""
    import torch

    if torch.compiler.is_compiling():
        angle = _reduced(phase)
        return (angle * _polynomial(angle * angle, SINE)).to(phase.dtype)
    return phase.sin_() if inplace else phase.sin()


def cosine_(phase: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The cosine of ``phase`` (radians), in the same number type. ``phase`` may be overwritten."""
    import torch

    if torch.compiler.is_compiling():
        angle = _reduced(phase)
        return _polynomial(angle * angle, COSINE).to(phase.dtype)
    return phase.cos_()


def _reduced(phase: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``phase`` in float32, reduced to [-pi, pi]."""
    phase = phase.float()
    turns = (phase * (1 / (2 * math.pi))).round()
    return phase - turns * TURN[0] - turns * TURN[1]


def _polynomial(square: Float[Tensor, "*shape"], coefficients: tuple[float, ...]) -> Float[Tensor, "*shape"]:
    """The polynomial with ``coefficients`` in ``square``, by Horner's rule."""
    value = square * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * square + coefficient
    return value

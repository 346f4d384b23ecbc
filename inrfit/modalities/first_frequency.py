"""The initial frequencies of a SIREN's first layer on rasters."""

from __future__ import annotations

from collections.abc import Sequence

OMEGA_PER_SAMPLE, LOWEST_OMEGA, HIGHEST_OMEGA = 0.3, 30.0, 120.0
"""Constants of ``of_raster``, chosen by tests/bench/omega.py (docs/benchmarks.md)."""

OMEGA_SOURCE = "0.3 of the side of each axis in samples, from 30 to 120 (tests/bench/omega.py)"


def of_raster(shape: Sequence[int]) -> tuple[float, ...]:
    """Frequency factor of a SIREN's first layer for each axis of a raster of ``shape``, in radians per unit of an axis
    from -1 to 1: 0.3 of its side in samples, from 30 to 120. An axis of one sample has the lowest of the others.

    Higher frequencies fit the samples faster, but lose quality between them, when a small image is decoded at a larger
    size. That sets the upper bound."""
    omegas = [min(max(OMEGA_PER_SAMPLE * side, LOWEST_OMEGA), HIGHEST_OMEGA) for side in shape]
    lowest = min((omega for omega, side in zip(omegas, shape, strict=True) if side > 1), default=LOWEST_OMEGA)
    return tuple(omega if side > 1 else lowest for omega, side in zip(omegas, shape, strict=True))

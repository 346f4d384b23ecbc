"""What is known of a wavelet coefficient before it is decoded, in small integers.

A band is decoded in four phases, each on every second row and column. The context of a coefficient are those of its
band that earlier phases decoded, within two rows and columns; and around the same place the coefficients of the same
orientation on the next coarser level, of earlier orientations, of earlier channels, and the low band."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from .integer_wavelets import FRACTION, Ints
from .stencil import Small

PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""The first row and column of each phase."""

MAPS = 8
"""Maps that contexts are taken from: own coefficients and their magnitudes; magnitudes of the coarser level, of two
earlier orientations and of two earlier channels; the low band against its surroundings."""

AROUND = tuple(
    [(k, row, column) for k in (0, 1, MAPS - 1) for row in range(5) for column in range(5)]
    + [(k, row, column) for k in range(2, MAPS - 1) for row in (1, 2, 3) for column in (1, 2, 3)]
)
"""The map, row and column of each number of what surrounds a coefficient when all are known."""

_LARGEST = 4096
_TABLE = np.minimum(np.rint(24 * np.log1p(np.arange(_LARGEST))), 127).astype(np.int8)
_FINE = np.minimum(np.rint(24 * np.log1p(np.arange(_LARGEST) / 8)), 127).astype(np.int8)


@cache
def places(phase: int) -> tuple[tuple[int, int, int], ...]:
    """The map, row and column (0 to 4, 2 is the coefficient's own) of each number of a context."""
    own_row, own_column = PHASES[phase]
    known = [
        (row, column)
        for row in range(5)
        for column in range(5)
        if ((own_row + row) % 2, (own_column + column) % 2) in PHASES[:phase]
    ]
    near = [(row, column) for row in (1, 2, 3) for column in (1, 2, 3)]
    others = [(k, *place) for k in range(2, MAPS) for place in near]
    return tuple([(own, *place) for own in (0, 1) for place in known] + others)


def magnitudes(integers: Ints) -> Small:
    """The magnitudes of coefficients on a logarithmic scale, 0 to 127."""
    found: Small = _TABLE[np.minimum(np.abs(integers), _LARGEST - 1)]
    return found


def _signed(integers: Ints) -> Small:
    return (np.sign(integers) * magnitudes(integers)).astype(np.int8)


def phase_shape(padded: tuple[int, ...], phase: int) -> tuple[int, int]:
    """Rows and columns of the coefficients of a phase in a band whose maps have the shape ``padded``."""
    row, column = PHASES[phase]
    return (padded[1] - 4 - row + 1) // 2, (padded[2] - 4 - column + 1) // 2


class BandMaps:
    """The padded maps of a band, of which the first two are filled as its coefficients become known."""

    def __init__(
        self,
        shape: tuple[int, int],
        coarser: Ints | None,
        earlier: Sequence[Ints],
        before: Sequence[Ints],
        low: Ints,
    ) -> None:
        """``coarser``, the band of the same orientation; ``earlier`` orientations; the same band of channels
        ``before``; the ``low`` band of this level in 1 / FRACTION steps."""
        self.shape, self.padded = shape, np.zeros((MAPS, shape[0] + 4, shape[1] + 4), np.int8)
        self._inside = self.padded[:, 2:-2, 2:-2]
        if coarser is not None:
            self._inside[2] = _fitted(magnitudes(coarser).repeat(2, 0).repeat(2, 1), shape)
        for k, band in enumerate(earlier):
            self._inside[3 + k] = _fitted(magnitudes(band), shape)
        for k, band in enumerate(before):
            self._inside[5 + k] = magnitudes(band)
        self._inside[7] = _fitted(_against_surroundings(low), shape)

    def fill(self, phase: int, integers: Ints) -> None:
        """Enters the coefficients of a phase (n,)."""
        row, column = PHASES[phase]
        part = self._inside[:2, row::2, column::2]
        part[0] = _signed(integers).reshape(part.shape[1:])
        part[1] = np.abs(part[0])


def _fitted(band: npt.NDArray[np.int8], shape: tuple[int, int]) -> npt.NDArray[np.int8]:
    """A band cut, or continued by its last row and column, to ``shape``, from which it differs by one or so."""
    rows, columns = (max(0, side - own) for side, own in zip(shape, band.shape, strict=True))
    return np.pad(band, ((0, rows), (0, columns)), "edge")[: shape[0], : shape[1]]


def _against_surroundings(low: Ints) -> Small:
    """Each coefficient of a low band less the mean of the 5x5 around it, signed, on a logarithmic scale."""
    sums = np.pad(low, 2, "edge").cumsum(0).cumsum(1)
    sums = np.pad(sums, ((1, 0), (1, 0)))
    total = sums[5:, 5:] - sums[:-5, 5:] - sums[5:, :-5] + sums[:-5, :-5]
    difference = 25 * low - total
    eighths = np.abs(difference) * 8 // (25 * FRACTION)
    found: Small = (np.sign(difference) * _FINE[np.minimum(eighths, _LARGEST - 1)]).astype(np.int8)
    return found

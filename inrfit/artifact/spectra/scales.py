"""The scale of the distribution of a coefficient, from the magnitudes of those that are decoded before it.

The frequencies of a frame are decoded in three phases. The scale is a weighted sum of the magnitudes around, plus a
bias by frequency; weights and biases are fitted to each file. All is computed in integers, so that every machine has
the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..latents.integer_wavelets import Ints
from ..latents.laplace import SCALES

Floats = npt.NDArray[np.float64]

PHASES = ((0, 4), (2, 4), (1, 2))
"""The first frequency of each phase, and the distance to the next."""

LAGS = 4
"""Number of frames that a context has, with its own."""

PAD = 6
"""Frequencies beyond the ends of a frame that contexts may name; they are 0."""

BANDS = 8
"""Number of biases: one for each octave of 255 f / hop + 1, where f is the number of the frequency."""

_EARLIER = ((1, (0,)), (1, (-1, 1)), (1, (-2, 2)), (2, (0,)), (2, (-1, 1)), (3, (0,)))
_OWN: tuple[tuple[tuple[int, tuple[int, ...]], ...], ...] = (
    (),
    ((0, (-2, 2)), (0, (-6, 6))),
    ((0, (-1, 1)), (0, (-3, 3))),
)
_BEFORE = ((0,), (-1, 1))
"""Around a coefficient: the frame, counted back from its own, and the frequencies whose magnitudes are added. Those in
earlier frames, those in its own by phase; and those in its own frame of the channel before."""

WEIGHT, ONE = 128, 1024
"""A weight is a whole number of 1 / WEIGHT, a scale one of 1 / ONE steps."""

_SCALES = np.rint(ONE / 32 * 2.0 ** (np.arange(SCALES) / 4)).astype(np.int64)
_THRESHOLDS = np.rint(ONE / 32 * 2.0 ** ((np.arange(1, SCALES) - 0.5) / 4)).astype(np.int64)


class Part(NamedTuple):
    """The parameters of one phase: ``weights`` (k,) and ``biases`` (BANDS,), as bytes."""

    weights: Ints
    biases: Ints


def weight_count(phase: int, first: bool) -> int:
    """Number of weights of a phase, of the ``first`` channel or of a further one."""
    return len(_EARLIER) + len(_OWN[phase]) + (0 if first else len(_BEFORE))


def bands(hop: int, used: int, phase: int) -> Ints:
    """The bias of each of the frequencies of a phase, of which ``used`` are coded."""
    start, step = PHASES[phase]
    octaves = [(255 * frequency // hop + 1).bit_length() - 1 for frequency in range(start, used, step)]
    return np.array(octaves, np.int64)


def surroundings(rows: Sequence[Ints], before: Ints | None, phase: int) -> list[Ints]:
    """The sums of magnitudes around the coefficients of a phase, each (..., n). ``rows`` are the padded magnitudes
    (..., frequencies + 2 PAD) of its own frame and of those before, the last one first; ``before`` is its frame in the
    channel before."""
    start, step = PHASES[phase]

    def around(row: Ints, shifts: tuple[int, ...]) -> Ints:
        end = row.shape[-1] - PAD
        total = row[..., PAD + start + shifts[0] : end + shifts[0] : step]
        for shift in shifts[1:]:
            total = total + row[..., PAD + start + shift : end + shift : step]
        return total

    found = [around(rows[lag], shifts) for lag, shifts in (*_EARLIER, *_OWN[phase])]
    return found if before is None else [*found, *(around(before, shifts) for shifts in _BEFORE)]


def scale_numbers(sums: Sequence[Ints], part: Part, octaves: Ints) -> Ints:
    """The number (..., n) of the scale of each coefficient (``laplace``)."""
    total = np.broadcast_to(_SCALES[part.biases[octaves]], sums[0].shape)
    for weight, sum_of_magnitudes in zip(part.weights.tolist(), sums, strict=True):
        if weight:
            total = total + ONE // WEIGHT * weight * sum_of_magnitudes
    found: Ints = _THRESHOLDS.searchsorted(total, "right")
    return found


@dataclass(frozen=True)
class Sample:
    """Coefficients of one phase from which its parameters are fitted: ``sums`` (n, k), the ``octave`` (n,) and the
    ``magnitude`` (n,) of each."""

    sums: Floats
    octave: Ints
    magnitude: Floats

    def fitted(self) -> Part:
        """The parameters for which a Laplace distribution takes the fewest bits."""
        from scipy.optimize import minimize

        count = self.sums.shape[1]
        start = np.concatenate([np.full(count, 0.08), np.full(BANDS, 0.2)])
        bounds = [(0.0, 255 / WEIGHT)] * count + [(1 / 32, 256.0)] * BANDS
        found = minimize(self._bits, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40}).x
        weights = np.rint(WEIGHT * found[:count]).astype(np.int64)
        biases = np.rint(4 * np.log2(32 * found[count:])).astype(np.int64)
        return Part(weights, biases.clip(0, SCALES - 1))

    def _bits(self, parameters: Floats) -> tuple[float, Floats]:
        """The mean of the bits, less a constant, and its derivatives."""
        count = self.sums.shape[1]
        scale = self.sums @ parameters[:count] + parameters[count:][self.octave]
        zero, excess = self.magnitude == 0, self.magnitude - 0.5
        tail = np.exp(np.where(zero, -0.5, -1.0) / scale)
        bits = np.where(zero, 0.0, excess / scale) - np.log1p(-tail)
        slope = (np.where(zero, 0.5, 1.0) * tail / (1 - tail) - np.where(zero, 0.0, excess)) / scale**2
        slopes = np.concatenate([slope @ self.sums, np.bincount(self.octave, slope, BANDS)])
        return float(bits.mean()), slopes / len(scale)

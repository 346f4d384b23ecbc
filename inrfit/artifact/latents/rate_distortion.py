"""Rounds coefficients for the least sum of squared error and bits (rate-distortion optimised quantisation)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from . import laplace
from .integer_wavelets import Ints
from .latent_code import NETWORK, Coefficients, Place, walk
from .network import network
from .stencil import Floats

TRADE = 0.09
"""Squared steps that a bit is worth. At high rates 6 ln 2 / 36 = 0.1155 is what bits buy; a little less is better,
because what is decoded is the context of what follows."""

CHANGED = 0.6
"""Share of the coefficients that may change in all passes but the last: neighbours that change at once mislead each
other."""

SEED = 0


def optimised(
    exact: Mapping[str, Floats], coefficients: Coefficients, passes: int, trade: float = TRADE
) -> dict[str, Ints]:
    """The integers near ``exact`` coefficients (c, rows, columns), in steps, that cost least with the bits that they
    take in the context of the others."""
    chance = np.random.default_rng(SEED)
    integers = {name: np.rint(values).astype(np.int32) for name, values in exact.items()}
    for left in reversed(range(passes)):
        visit = _Pass(exact, integers, trade, chance if left else None)
        walk(coefficients, network(NETWORK), integers["low"], visit)
        integers = visit.chosen
    return integers


class _Pass:
    """Chooses integers in the context of those of the pass before, or, in the last one (without ``chance``), in that of
    the chosen ones."""

    def __init__(
        self, exact: Mapping[str, Floats], before: Mapping[str, Ints], trade: float, chance: np.random.Generator | None
    ) -> None:
        self._exact, self._before, self._trade, self._chance = exact, before, trade, chance
        self.chosen: dict[str, Ints] = {name: values.copy() for name, values in before.items()}

    def __call__(self, means: Ints, scales: Ints, place: Place) -> Ints:
        before = place.of(self._before).reshape(-1)
        best = cheapest(place.of(self._exact).reshape(-1), means, scales, self._trade)
        if self._chance is not None:
            best = np.where(self._chance.random(len(best)) < CHANGED, best, before)
        part = place.of(self.chosen)
        part[...] = best.reshape(part.shape)
        return best if self._chance is None else before


def cheapest(values: Floats, means: Ints, scales: Ints, trade: float) -> Ints:
    """For each of the ``values`` (n,) that of the integers beside it, and 0, which costs least."""
    best = np.rint(values).astype(np.int32)
    chosen = np.flatnonzero(best)  # others have no choice
    values, means, scales, nearest = values[chosen], means[chosen], scales[chosen], best[chosen]
    least = np.full(len(values), np.inf)
    for candidate in (nearest, nearest - np.sign(nearest), np.zeros_like(nearest)):
        cost = np.square(candidate - values) + trade * laplace.bits(candidate, means, scales)
        best[chosen] = np.where(cost < least, candidate, best[chosen])
        least = np.minimum(cost, least)
    return best

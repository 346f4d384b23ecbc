"""Rounds coefficients for the least sum of squared error and bits (rate-distortion optimised quantisation)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..latents.integer_wavelets import Ints
from ..latents.rate_distortion import CHANGED, SEED, TRADE, cheapest
from .scales import PHASES
from .spectrum_code import fitted, scale_numbers, used_frequencies


def optimised(exact: npt.NDArray[np.float32], passes: int, trade: float = TRADE) -> Ints:
    """The integers near ``exact`` coefficients (channels, frames, frequencies), in steps, that cost least with the bits
    that they take in the context of those of the pass before."""
    chance = np.random.default_rng(SEED)
    integers = np.rint(exact).astype(np.int32)
    for left in reversed(range(passes)):
        used = used_frequencies(integers)
        numbers = scale_numbers(integers, fitted(integers, used), used)
        for phase, (start, step) in enumerate(PHASES):
            for channel, of_channel in enumerate(numbers[phase]):
                own = integers[channel, :, start:used:step]
                scale, values = of_channel.reshape(-1), exact[channel, :, start:used:step].reshape(-1)
                best = cheapest(values, np.zeros_like(scale), scale, trade).reshape(own.shape)
                own[...] = np.where(chance.random(own.shape) < CHANGED, best, own) if left else best
    return integers

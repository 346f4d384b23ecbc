"""What coefficients probably were before they were rounded, from all that surrounds them.

An offset from the integer, in float32: other machines may differ in the last bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ...fields.wavelet.bands import ORIENTATIONS, Band
from .contexts import PHASES, BandMaps
from .integer_wavelets import FRACTION, Ints, finer
from .network import Network, part_of
from .stencil import Floats


def surroundings(integers: Mapping[str, Ints], layout: tuple[Band, ...]) -> Iterator[tuple[Band, int, BandMaps]]:
    """Every detail band of every channel, with its maps filled."""
    fine = integers["low"] * FRACTION
    for first in range(1, len(layout), 3):
        three = layout[first : first + 3]
        level = three[0].level
        for channel in range(len(fine)):
            for band in three:
                coarser = integers.get(f"{ORIENTATIONS[band.orientation]}{level + 1}")
                maps = BandMaps(
                    band.shape,
                    None if coarser is None else coarser[channel],
                    [integers[other.name][channel] for other in three if other is not band],
                    [integers[band.name][before] for before in range(max(0, channel - 2), channel)],
                    fine[channel],
                )
                for phase, (row, column) in enumerate(PHASES):
                    maps.fill(phase, integers[band.name][channel, row::2, column::2].reshape(-1))
                yield band, channel, maps
        fine = finer(fine, [integers[band.name] for band in three])


def restored(integers: Mapping[str, Ints], layout: tuple[Band, ...], known: Network) -> dict[str, Floats]:
    """The coefficients in steps."""
    found = {name: values.astype(np.float32) for name, values in integers.items()}
    for band, channel, maps in surroundings(integers, layout):
        found[band.name][channel] += known.offsets(*part_of(band.orientation, band.level, channel), maps.padded)
    return found

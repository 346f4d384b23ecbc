"""The shipped networks: the distribution of a coefficient from its context, in integers, so that every machine has the
same; and what a coefficient probably was before it was rounded.

A network has parts for each orientation, separately for the first channel and the others. It was trained on
photographs by tests/bench/wavelet_networks.py, which sees to it that the integers of the first kind stay below 2^24 in
all sums, so that float32 holds them exactly, in whatever order they are added."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from . import contexts, stencil
from .integer_wavelets import Ints
from .laplace import SCALES
from .stencil import Floats, Layers, Places, Rounding, Small

Arrays = Mapping[str, npt.NDArray[Any]]

LEVELS, CHANNELS = 6, 3
"""Levels and channels that the networks tell apart; further channels are taken for the last one."""

CONTEXT_BITS, WEIGHT_BITS, UNIT_BITS, LAST_BITS = 5, 9, 6, 6
"""Binary places of the numbers of contexts; of the weights of both hidden layers; of their units; of the last weights.
"""

LARGEST_UNIT = 1023
LARGEST_OFFSET = 0.45
"""Largest offset: the integer stays the nearest one."""

_RESTORATION = "restoration."
_ROUNDING = Rounding(2.0 ** (UNIT_BITS - CONTEXT_BITS - WEIGHT_BITS), 2.0**-WEIGHT_BITS, LARGEST_UNIT)


class Network:
    """One of the networks, by its id."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = {name: array.astype(np.float32) for name, array in arrays.items()}

    def distributions(self, kind: int, phase: int, place: int, step: int, maps: Small) -> tuple[Ints, Ints]:
        """The means, in ``laplace.PARTS`` of a step, and the scales of the coefficients of a phase, from the ``padded``
        maps of their band. ``kind`` and ``place`` are those of ``part_of``, ``step`` is that of
        ``Coefficients.step_class``."""
        places = Places(contexts.places(phase), contexts.PHASES[phase], 2, contexts.phase_shape(maps.shape, phase))
        found = stencil.outputs(maps, places, self._of_contexts(kind, phase, place, step), _ROUNDING)
        found = np.floor(found * np.float32(2.0 ** -(UNIT_BITS + LAST_BITS)) + np.float32(0.5))
        means, scales = found.astype(np.int32)
        return means, scales.clip(0, SCALES - 1)

    def offsets(self, kind: int, place: int, maps: Small) -> Floats:
        """The offsets (rows, columns), in steps, of the coefficients of a band from its ``padded`` maps, all filled."""
        shape = maps.shape[1] - 4, maps.shape[2] - 4
        places = Places(contexts.AROUND, (0, 0), 1, shape)
        found = stencil.outputs(maps, places, self._of_restoration(kind, place)).reshape(shape)
        found += self._arrays[_RESTORATION + "sign"][kind, place] * np.sign(maps[0, 2:-2, 2:-2])
        return found.clip(-LARGEST_OFFSET, LARGEST_OFFSET)

    def _of_contexts(self, kind: int, phase: int, place: int, step: int) -> Layers:
        own, part = self._arrays, f"{kind}.{phase}"
        first_bias = own[f"first.bias.{part}"][:, place] + own[f"first.step.{part}"] * np.float32(step)
        return Layers(
            own[f"first.weight.{part}"],
            first_bias[:, None],
            own["second.weight"][kind],
            own["second.bias"][kind][:, None],
            own["last.weight"][kind],
            own["last.bias"][kind][:, place, None],
        )

    def _of_restoration(self, kind: int, place: int) -> Layers:
        own = {name: self._arrays[_RESTORATION + name] for name in _RESTORATION_LAYERS}
        return Layers(
            own["first.weight"][kind] * np.float32(2.0**-CONTEXT_BITS),
            own["first.bias"][kind][:, place, None],
            own["second.weight"][kind],
            own["second.bias"][kind][:, None],
            own["last.weight"][kind][None],
            np.zeros((1, 1), np.float32),
        )


_RESTORATION_LAYERS = ("first.weight", "first.bias", "second.weight", "second.bias", "last.weight")


def part_of(orientation: int, level: int, channel: int) -> tuple[int, int]:
    """The kind and the place of a band: which layers it has, and which of their biases."""
    place = min(channel, CHANNELS - 1) * LEVELS + min(level, LEVELS - 1)
    return 2 * orientation + (channel > 0), place


@cache
def network(number: int) -> Network:
    """The shipped network of this number."""
    with resources.files(__package__).joinpath(f"network-{number}.npz").open("rb") as file, np.load(file) as arrays:
        return Network(dict(arrays))

"""Looks for the number of nodes of a field of signed distances, for a quality or for a number of bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from ..fields.tsdf.tsdf import MAX_NODES, NODES, REACH
from ..modalities import MODALITIES
from ..signal import Grid, Signal
from . import weight_code
from .artifact import Artifact
from .distances import distance_weights

if TYPE_CHECKING:
    from ..fields.tsdf.tsdf import Tsdf
    from .coefficient_search import Wanted

USUAL_QUALITY = 0.995
"""The IoU of a field whose bytes and quality nobody asked for."""

_FEWEST, _FIRST = 8, 96
"""Fewest nodes along an axis, and those that are tried first."""

_TRIALS = 10
"""Most numbers of nodes that are tried."""

_NEAR = 0.02
"""Logarithm of the bytes, or of 1 - IoU, that may remain unused."""

_MEASURED = 128
"""Cells along an axis of the grid on which the IoU is measured meanwhile."""

_QUALITY_POWER, _BYTES_POWER = 1.7, -2.0
"""About the powers of the number of nodes that 1 / (1 - IoU) and 1 / bytes grow with."""


class Shape:
    """Roundings of the field of a shape with any number of nodes."""

    def __init__(self, artifact: Artifact, signal: Signal) -> None:
        values_on = MODALITIES[signal.modality].values_on
        assert values_on is not None
        self._artifact, self._signal, self._values_on = artifact, signal, values_on
        self._reference = torch.from_numpy(values_on(signal, _MEASURED, 1.0))

    def rounded(self, nodes: int) -> Artifact:
        """The field with so many nodes, as its readers have it."""
        options = {**self._artifact.spec.options, "nodes": nodes}
        spec = replace(self._artifact.spec, options=options)
        spacing = cast("Tsdf", spec.formula).spacing
        exact = self._values_on(self._signal, nodes, REACH * spacing).reshape((nodes,) * 3)
        weight = distance_weights.rounded(exact, spacing)
        weight.flags.writeable = False  # so that its code can be kept (weight_code)
        step = distance_weights.step_of(spacing)
        return replace(self._artifact, spec=spec, weights={NODES: weight}, store="int", steps={NODES: (step,)})

    def quality(self, artifact: Artifact) -> float:
        """The IoU on the cells of a grid."""
        grid, formula = Grid((_MEASURED,) * 3), artifact.spec.formula
        weights = {name: torch.tensor(weight) for name, weight in artifact.weights.items()}
        found = formula.on_grid(weights, grid, 0, grid.n)
        return float(MODALITIES[self._signal.modality].estimate(found, self._reference, self._signal))


def coded_shape(
    artifact: Artifact, signal: Signal, wanted: Wanted, asked: Collection[str], should_stop: Callable[[], bool]
) -> Artifact:
    """The field with the fewest nodes that has the wanted quality, with the most whose code has at most ``room`` bytes,
    or with the nodes that were ``asked`` for. Fewer numbers are tried once the seconds are over or ``should_stop()`` is
    true."""
    started_at, shape, room = time.monotonic(), Shape(artifact, signal), wanted.room
    if "nodes" in asked:
        return shape.rounded(cast("Tsdf", artifact.spec.formula).nodes)
    quality = USUAL_QUALITY if wanted.quality is None else wanted.quality

    def excess(found: Artifact) -> float:
        if room is not None:
            return math.log(room / len(weight_code.pack(found.spec, found.weights, found.steps)))
        return math.log(max(1 - quality, 1e-9) / max(1 - shape.quality(found), 1e-9))

    power = _QUALITY_POWER if room is None else _BYTES_POWER
    best, fallback, least, nodes, bounds = None, None, -math.inf, _FIRST, [_FEWEST - 1, MAX_NODES + 1]
    for _ in range(_TRIALS):
        begun_at = time.monotonic()
        found = shape.rounded(nodes)
        surplus = excess(found)
        if surplus >= 0:
            best = found
        elif surplus > least:
            fallback, least = found, surplus
        bounds[(surplus >= 0) == (power > 0)] = nodes
        if bounds[1] - bounds[0] < 2 or 0 <= surplus < _NEAR or should_stop():
            break
        target = nodes * math.exp(-surplus / power)
        following = int(np.clip(round(target), bounds[0] + 1, bounds[1] - 1))
        now = time.monotonic()
        cost = (now - begun_at) * (following / nodes) ** 3
        if started_at + wanted.seconds < now + cost and (best is not None or room is None):
            break
        nodes = following
    if best is None and room is not None:
        return shape.rounded(_FEWEST)
    return best or fallback or shape.rounded(nodes)

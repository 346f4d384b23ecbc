"""The coded form of the weights of a field of signed distances: the step, and the signs and distances of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from ...fields import FieldSpec
from ...fields.tsdf.tsdf import NODES, REACH
from ..quantisation import Steps
from ..weight_dtypes import Weights, pack_step, unpack_step
from . import distance_code, magnitudes
from .magnitudes import LEVELS

if TYPE_CHECKING:
    from ...fields.tsdf.tsdf import Tsdf

MAIN = NODES
"""The tensor whose step is that of all distances."""


def pack(spec: FieldSpec, weights: Weights, step: float) -> bytes:
    """The code of the weights."""
    values = weights[NODES]
    sides = np.where(values < 0, -1, 1).astype(np.int8)
    numbers = np.where(magnitudes.beside_surface(sides), np.abs(values) // np.float32(step), 0)
    return distance_code.pack(sides, numbers.clip(0, LEVELS - 1).astype(np.int16))


def unpack(code: bytes, spec: FieldSpec) -> tuple[dict[str, npt.NDArray[np.float32]], Steps]:
    """The weights, and their step. Raises ``UnreadableFile`` for a damaged code."""
    formula = cast("Tsdf", spec.formula)
    sides, numbers = distance_code.unpack(code, formula.nodes)
    step = step_of(formula.spacing)
    return {NODES: restored(sides, numbers, step)}, {NODES: (step,)}


def step_of(spacing: float) -> float:
    """The step of distances where nodes are ``spacing`` apart, a number of bfloat16."""
    return unpack_step(pack_step(spacing / LEVELS))


def rounded(values: npt.NDArray[np.float32], spacing: float) -> npt.NDArray[np.float32]:
    """``values`` (n, n, n) as readers have them, where nodes are ``spacing`` apart."""
    sides = np.where(values < 0, -1, 1).astype(np.int8)
    numbers = (np.abs(values) * (LEVELS / spacing)).astype(np.int16).clip(0, LEVELS - 1)
    return restored(sides, numbers, step_of(spacing))


def restored(
    sides: npt.NDArray[np.int8], numbers: npt.NDArray[np.integer[Any]], step: float
) -> npt.NDArray[np.float32]:
    """The values: those beside the surface in the middle of their level; of others about their distance."""
    from scipy.ndimage import distance_transform_edt

    beside, reach = magnitudes.beside_surface(sides), REACH * LEVELS
    if not beside.any():
        return (sides * (reach * step)).astype(np.float32)
    near = np.where(beside, numbers + 0.5, 0.0)
    away, nearest = distance_transform_edt(~beside, return_indices=True)
    far = np.minimum(LEVELS * away + _SLANT * near[tuple(nearest)], reach)
    return (sides * np.where(beside, near, far) * step).astype(np.float32)


_SLANT = 0.7
"""Part of the distance of the nearest node beside the surface that counts for those behind it: the way to the surface
is not straight through that node."""

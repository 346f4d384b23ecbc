"""The coded form of the weights of a field of lapped cosines: step, angle of stereo channels, and coefficients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile
from ...fields import FieldSpec
from ...fields.mdct.mdct import ANGLE, ANGLE_STEP, SPECTRUM
from ..quantisation import Steps
from ..weight_dtypes import Weights, pack_step, unpack_step
from . import spectrum_code

MAIN = SPECTRUM
"""The tensor whose step is that of all coefficients."""


def pack(spec: FieldSpec, weights: Weights, step: float) -> bytes:
    """The code of the weights."""
    angle = np.rint(weights[ANGLE] / ANGLE_STEP).astype("<i2").tobytes() if ANGLE in weights else b""
    integers = np.rint(weights[SPECTRUM].astype(np.float64) / step).astype(np.int32)
    return pack_step(step) + angle + spectrum_code.pack(integers)


def unpack(code: bytes, spec: FieldSpec) -> tuple[dict[str, npt.NDArray[np.float32]], Steps]:
    """The weights, and their steps. Raises ``UnreadableFile`` for a damaged code."""
    angle = 2 if ANGLE in spec.shapes else 0
    if len(code) < 2 + angle:
        raise UnreadableFile("damaged: the coded weights are cut", "code")
    step = unpack_step(code)
    channels, frames, hop = spec.shapes[SPECTRUM]
    integers = spectrum_code.unpack(code[2 + angle :], (channels, frames, hop))
    weights = {SPECTRUM: integers * np.float32(step)}
    steps: dict[str, tuple[float, ...]] = {SPECTRUM: (step,)}
    if angle:
        weights[ANGLE] = (np.frombuffer(code, "<i2", 1, 2) * ANGLE_STEP).astype(np.float32)
        steps[ANGLE] = (ANGLE_STEP,)
    return weights, steps

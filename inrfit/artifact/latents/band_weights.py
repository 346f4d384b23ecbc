"""The coded form of the weights of a field of wavelets: step, angles of the colours, and bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile
from ...fields import FieldSpec
from ...fields.wavelet.colours import ANGLE
from ...fields.wavelet.wavelet import COLOUR
from ..quantisation import Steps
from ..weight_dtypes import Weights, pack_step, unpack_step
from . import latent_code, restoration
from .latent_code import Coefficients
from .network import network

if TYPE_CHECKING:
    from ...fields.wavelet.wavelet import Wavelet

MAIN = "low"
"""A tensor whose step is that of all coefficients."""


def pack(spec: FieldSpec, weights: Weights, step: float) -> bytes:
    """The code of the weights."""
    angles = np.rint(weights[COLOUR] / ANGLE).astype("<i2").tobytes() if COLOUR in weights else b""
    integers = {name: np.rint(weight.astype(np.float64) / step).astype(np.int32) for name, weight in weights.items()}
    return pack_step(step) + angles + latent_code.pack(integers, coefficients(spec, step))


def unpack(code: bytes, spec: FieldSpec) -> tuple[dict[str, npt.NDArray[np.float32]], Steps]:
    """The weights, and their steps. Raises ``UnreadableFile`` for a damaged code."""
    colour = 6 if spec.outputs >= 3 else 0
    if len(code) < 2 + colour:
        raise UnreadableFile("damaged: the coded weights are cut", "code")
    step = unpack_step(code)
    known = coefficients(spec, step)
    found = latent_code.unpack(code[2 + colour :], known)
    in_steps = restoration.restored(found, known.layout, network(latent_code.NETWORK))
    weights = {name: values * np.float32(step) for name, values in in_steps.items()}
    steps: dict[str, tuple[float, ...]] = dict.fromkeys(found, (step,))
    if colour:
        weights[COLOUR] = (np.frombuffer(code, "<i2", 3, 2) * ANGLE).astype(np.float32)
        steps[COLOUR] = (ANGLE,)
    return weights, steps


def coefficients(spec: FieldSpec, step: float) -> Coefficients:
    """The sizes of the bands."""
    return Coefficients(cast("Wavelet", spec.formula).layout(), spec.outputs, step)

"""The coded form of the weights of a field: of bands by contexts (``latents``), of all others in blocks
(``quantisation``)."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from ..errors import UnreadableFile
from ..fields import FieldSpec
from . import quantisation
from .quantisation import Steps
from .weight_dtypes import Weights
from .weight_dtypes import pack as pack_floats
from .weight_dtypes import unpack as unpack_floats

if TYPE_CHECKING:
    from ..fields.wavelet.wavelet import Wavelet
    from .latents.latent_code import Coefficients


@dataclass(frozen=True)
class _Coded:
    """The code of arrays that nobody can change. Coding a large picture takes seconds, and is asked for several times:
    for its size, for its quality and for the file."""

    arrays: tuple[weakref.ref[npt.NDArray[np.float32]], ...]
    step: float
    code: bytes


_coded: dict[int, _Coded] = {}
"""By the identity of the first array, as long as that exists."""


def _remember(weights: Weights, step: float, code: bytes) -> None:
    arrays = list(weights.values())
    if not any(array.flags.writeable for array in arrays):
        key = id(arrays[0])
        weakref.finalize(arrays[0], _coded.pop, key, None)
        _coded[key] = _Coded(tuple(map(weakref.ref, arrays)), step, code)


def _remembered(weights: Weights, step: float) -> bytes | None:
    arrays = list(weights.values())
    known = _coded.get(id(arrays[0]))
    if known is None or known.step != step or len(known.arrays) != len(arrays):
        return None
    return known.code if all(ref() is array for ref, array in zip(known.arrays, arrays, strict=True)) else None


def pack(spec: FieldSpec, weights: Weights, steps: Steps) -> bytes:
    """The coded form of the tensors in ``spec.rounding_groups``."""
    if not spec.formula.TRAITS.band_coded:
        return quantisation.pack(weights, spec.rounding_groups, steps)
    (step,) = steps["low"]
    code = _remembered(weights, step)
    if code is None:
        code = _packed_bands(spec, weights, step)
        _remember(weights, step, code)
    return code


def _packed_bands(spec: FieldSpec, weights: Weights, step: float) -> bytes:
    from ..fields.wavelet.colours import ANGLE
    from ..fields.wavelet.wavelet import COLOUR
    from .latents import latent_code

    angles = np.rint(weights[COLOUR] / ANGLE).astype("<i2").tobytes() if COLOUR in weights else b""
    head = pack_floats(np.array([step], np.float32), "bf16").tobytes() + angles
    integers = {name: np.rint(weight.astype(np.float64) / step).astype(np.int32) for name, weight in weights.items()}
    return head + latent_code.pack(integers, _coefficients(spec, step))


def _coefficients(spec: FieldSpec, step: float) -> Coefficients:
    from .latents.latent_code import Coefficients

    return Coefficients(cast("Wavelet", spec.formula).layout(), spec.outputs, step)


def unpack(code: bytes, spec: FieldSpec) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, tuple[float, ...]]]:
    """The weights of the tensors in ``spec.rounding_groups``, and their steps. Raises ``UnreadableFile`` for a damaged
    code."""
    if not spec.formula.TRAITS.band_coded:
        return quantisation.unpack(code, spec.shapes, spec.rounding_groups)
    from ..fields.wavelet.colours import ANGLE
    from ..fields.wavelet.wavelet import COLOUR
    from .latents import latent_code, restoration
    from .latents.network import network

    colour = 6 if spec.outputs >= 3 else 0
    if len(code) < 2 + colour:
        raise UnreadableFile("damaged: the coded weights are cut", "code")
    step = float(unpack_floats(code[:2], (1,), "bf16")[0])
    if not (math.isfinite(step) and step > 0):
        raise UnreadableFile("damaged: the step of the weights is not a positive number", "code")
    coefficients = _coefficients(spec, step)
    found = latent_code.unpack(code[2 + colour :], coefficients)
    in_steps = restoration.restored(found, coefficients.layout, network(latent_code.NETWORK))
    weights = {name: values * np.float32(step) for name, values in in_steps.items()}
    steps: dict[str, tuple[float, ...]] = dict.fromkeys(found, (step,))
    if colour:
        weights[COLOUR] = (np.frombuffer(code, "<i2", 3, 2) * ANGLE).astype(np.float32)
        steps[COLOUR] = (ANGLE,)
    ordered = {name: weights[name] for name in spec.shapes}
    for weight in ordered.values():
        weight.flags.writeable = False  # the quality is that of these weights
    _remember(ordered, step, code)
    return ordered, steps

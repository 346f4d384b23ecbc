"""The coded form of the weights of a field: of coefficients by contexts (``latents``, ``spectra``), of all others in
blocks (``quantisation``)."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from ..fields import FieldSpec
from . import quantisation
from .quantisation import Steps
from .weight_dtypes import Weights


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
    form = _coded_form(spec)
    if form is None:
        return quantisation.pack(weights, spec.rounding_groups, steps)
    (step,) = steps[form.MAIN]
    code = _remembered(weights, step)
    if code is None:
        code = form.pack(spec, weights, step)
        _remember(weights, step, code)
    return code


def unpack(code: bytes, spec: FieldSpec) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, tuple[float, ...]]]:
    """The weights of the tensors in ``spec.rounding_groups``, and their steps. Raises ``UnreadableFile`` for a damaged
    code."""
    form = _coded_form(spec)
    if form is None:
        return quantisation.unpack(code, spec.shapes, spec.rounding_groups)
    weights, steps = form.unpack(code, spec)
    ordered = {name: weights[name] for name in spec.shapes}
    for weight in ordered.values():
        weight.flags.writeable = False  # the quality is that of these weights
    _remember(ordered, steps[form.MAIN][0], code)
    return ordered, dict(steps)


class _CodedForm(Protocol):
    """A module that codes the coefficients of a transform; ``MAIN`` is a tensor with the step of all coefficients."""

    MAIN: str

    def pack(self, spec: FieldSpec, weights: Weights, step: float) -> bytes: ...

    def unpack(self, code: bytes, spec: FieldSpec) -> tuple[Weights, Steps]: ...


def _coded_form(spec: FieldSpec) -> _CodedForm | None:
    """How the coefficients of a field are coded; None if its weights are none."""
    kind = spec.formula.TRAITS.coefficients
    if kind == "bands":
        from .latents import band_weights

        return cast("_CodedForm", band_weights)
    if kind == "distances":
        from .distances import distance_weights

        return cast("_CodedForm", distance_weights)
    if kind == "spectrum":
        from .spectra import spectrum_weights

        return cast("_CodedForm", spectrum_weights)
    return None

"""Roundings of the coefficients of a field of lapped cosines."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..fields.mdct.mdct import ANGLE, ANGLE_STEP, HOPS, SPECTRUM, Mdct
from ..fit.evaluation import stratified
from ..modalities import MODALITIES
from ..signal import Signal
from . import quantisation
from .artifact import Artifact
from .spectra import spectrum_rate
from .weight_dtypes import Weights

_DEAD_ZONE = 0.15
"""Part of a step by which magnitudes are made smaller before they are rounded in the first search: zeros are cheap."""

_EXCERPTS, _EXCERPT = 16, 1 << 16
"""Number of excerpts that stand for a long sound in the first searches, and their samples."""

_QUALITY_POINTS = 1 << 22
"""Samples on which the quality of roundings is measured."""


class Spectrum:
    """The exact coefficients of a field, and roundings of them. ``values`` (n, c) are all samples of ``signal``."""

    def __init__(self, artifact: Artifact, values: Tensor, signal: Signal) -> None:
        self._artifact, self._signal, self._all_values = artifact, signal, values
        self._formula = cast("Mdct", artifact.spec.formula)
        self.cells = self._formula.samples
        self._indices = stratified(self.cells, _QUALITY_POINTS)
        self._values = values[self._indices]
        self._peak = np.array([max(float(np.abs(artifact.weights[SPECTRUM]).max()), np.finfo(np.float32).tiny)])

    def sampled(self) -> Spectrum:
        """Those of excerpts that are spread over a long sound; the same for a short one."""
        if self.cells <= _EXCERPTS * _EXCERPT:
            return self
        values = _excerpts(self._all_values)
        artifact = _with_options(self._artifact, values, self._formula.hop)
        return Spectrum(artifact, values, self._signal)

    def rounded(self, step: float, passes: int) -> Artifact:
        """The field with its coefficients rounded to multiples of about ``step``. They are rounded for the least of
        error and bits in so many ``passes``, if any."""
        (step,) = quantisation.storable(np.array([step]), self._peak)
        exact = self._artifact.weights[SPECTRUM] / np.float32(step)
        if passes:
            integers = spectrum_rate.optimised(exact, passes)
        else:
            integers = (np.sign(exact) * np.floor(np.abs(exact) + np.float32(0.5 - _DEAD_ZONE))).astype(np.int32)
        angles = {name: weight.copy() for name, weight in self._artifact.weights.items() if name == ANGLE}
        weights: Weights = {**angles, SPECTRUM: integers * np.float32(step)}
        steps = {name: (ANGLE_STEP if name == ANGLE else step,) for name in weights}
        for weight in weights.values():
            weight.flags.writeable = False  # so that their code can be kept (weight_code)
        return replace(self._artifact, weights=weights, store="int", steps=steps)

    @torch.no_grad()
    def quality(self, artifact: Artifact) -> float:
        """The main measure of the modality for a rounded field, on at most _QUALITY_POINTS samples."""
        weights = {name: torch.tensor(weight) for name, weight in artifact.weights.items()}
        found = self._formula.synthesised(weights, 0, self.cells)
        estimate = MODALITIES[self._signal.modality].estimate
        return float(estimate(found[self._indices], self._values, self._signal))


def with_best_hop(artifact: Artifact, values: Tensor, quality: float) -> Artifact:
    """``artifact`` with the hop for which the coefficients of a sound with these ``values`` (n, c) probably take the
    fewest bits at a ``quality`` in decibels."""
    part = values if len(values) <= _EXCERPTS * _EXCERPT else _excerpts(values)
    noise = float(part.double().square().mean()) * 10 ** (-quality / 10)
    step = max((12 * noise) ** 0.5, np.finfo(np.float32).tiny)

    def bits(hop: int) -> float:
        spectrum = _with_options(artifact, part, hop).weights[SPECTRUM]
        return float(np.log2(1 + np.abs(spectrum) / step).sum())

    hops = [hop for hop in HOPS if hop <= max(HOPS[0], len(values))]
    return _with_options(artifact, values, min(hops, key=bits))


def _excerpts(values: Tensor) -> Tensor:
    starts = [k * (len(values) - _EXCERPT) // (_EXCERPTS - 1) for k in range(_EXCERPTS)]
    return torch.cat([values[start : start + _EXCERPT] for start in starts])


def _with_options(artifact: Artifact, values: Tensor, hop: int) -> Artifact:
    """``artifact`` with the exact coefficients of ``values`` for a hop."""
    spec = replace(artifact.spec, options={"samples": len(values), "hop": hop})
    closed_form = spec.formula.TRAITS.closed_form
    assert closed_form is not None
    return replace(artifact, spec=spec, weights={name: w.numpy() for name, w in closed_form(spec, values).items()})

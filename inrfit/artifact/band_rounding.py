"""Roundings of the coefficients of a field of wavelets."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from ..fields.wavelet.colours import ANGLE
from ..fields.wavelet.wavelet import COLOUR
from ..fit.evaluation import stratified
from ..modalities import MODALITIES
from ..signal import Signal
from . import quantisation
from .artifact import Artifact
from .latents import rate_distortion, restoration
from .latents.integer_wavelets import Ints
from .latents.latent_code import NETWORK, Coefficients
from .latents.network import network
from .latents.stencil import Floats
from .weight_dtypes import Weights

if TYPE_CHECKING:
    from ..fields.wavelet.wavelet import Wavelet

_DEAD_ZONE = 0.08
"""Part of a step by which magnitudes are made smaller before they are rounded in the first search: zeros are cheap."""

_TILES, _TILE = 6, 192
"""Number along each axis, and size, of the tiles that stand for a large picture in the first searches."""

_QUALITY_POINTS = 1 << 22
"""Samples on which the quality of roundings is measured."""


class Bands:
    """The exact coefficients of a field, and roundings of them. ``values`` (n, c) are those of all cells of its raster,
    samples of ``signal``."""

    def __init__(self, artifact: Artifact, values: Tensor, signal: Signal) -> None:
        self._artifact, self._signal = artifact, signal
        self.formula = cast("Wavelet", artifact.spec.formula)
        self.cells = math.prod(self.formula.shape)
        self._layout = self.formula.layout()
        self._peak = np.array([max(float(np.abs(weight).max()) for weight in artifact.weights.values())])
        self._all_values, self._indices = values, stratified(self.cells, _QUALITY_POINTS)
        self._values = values[self._indices]

    def sampled(self) -> Bands:
        """Those of a picture of _TILES x _TILES tiles, which are spread over a large one; the same for a small one."""
        if self.cells <= (rows := _TILES * _TILE) ** 2:
            return self
        starts = [[k * (side - _TILE) // (_TILES - 1) for k in range(_TILES)] for side in self.formula.shape]
        if min(starts[0] + starts[1]) < 0:
            return self
        raster = self._all_values.T.reshape(-1, *self.formula.shape)
        bars = [torch.cat([raster[:, y : y + _TILE, x : x + _TILE] for x in starts[1]], 2) for y in starts[0]]
        values = torch.cat(bars, 1).flatten(1).T
        spec = replace(self._artifact.spec, options={"cells": f"{rows}x{rows}"})
        closed_form = self.formula.TRAITS.closed_form
        assert closed_form is not None
        weights = {name: weight.numpy() for name, weight in closed_form(spec, values).items()}
        return Bands(replace(self._artifact, spec=spec, weights=weights), values, self._signal)

    def rounded(self, step: float, passes: int) -> Artifact:
        """The field with its coefficients rounded to multiples of about ``step``, and restored as its readers do it.
        They are rounded for the least of error and bits in so many ``passes``, if any."""
        (step,) = quantisation.storable(np.array([step]), self._peak)
        exact = {name: weight / np.float32(step) for name, weight in self._artifact.weights.items() if name != COLOUR}
        if passes:
            coefficients = Coefficients(self._layout, self._artifact.spec.outputs, step)
            integers = rate_distortion.optimised(exact, coefficients, passes)
        else:
            zones = {name: 0.0 if name == "low" else _DEAD_ZONE for name in exact}
            integers = {name: _rounded(values, zones[name]) for name, values in exact.items()}
        restored = restoration.restored(integers, self._layout, network(NETWORK))
        weights: Weights = {name: values * np.float32(step) for name, values in restored.items()}
        steps = dict.fromkeys(weights, (step,))
        if COLOUR in self._artifact.weights:
            weights = {COLOUR: self._artifact.weights[COLOUR].copy(), **weights}
            steps = {COLOUR: (ANGLE,), **steps}
        for weight in weights.values():
            weight.flags.writeable = False  # so that their code can be kept (weight_code)
        return replace(self._artifact, weights=weights, store="int", steps=steps)

    @torch.no_grad()
    def quality(self, artifact: Artifact) -> float:
        """The main measure of the modality for a rounded field, on at most _QUALITY_POINTS samples."""
        raster = self.formula.synthesised({name: torch.tensor(weight) for name, weight in artifact.weights.items()})
        estimate = MODALITIES[self._signal.modality].estimate
        return float(estimate(raster.flatten(1)[:, self._indices].T, self._values, self._signal))


def _rounded(values: Floats, zone: float) -> Ints:
    """The nearest integers to ``values`` whose magnitudes are ``zone`` less."""
    return (np.sign(values) * np.floor(np.abs(values) + np.float32(0.5 - zone))).astype(np.int32)

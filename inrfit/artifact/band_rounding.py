"""Rounds the coefficients of bands to multiples of one step, for a quality or for a number of bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ..fields.wavelet.colours import ANGLE
from ..fields.wavelet.wavelet import COLOUR
from ..fit.evaluation import stratified
from ..modalities import MODALITIES
from ..signal import Signal
from . import quantisation, weight_code
from .artifact import Artifact
from .latents import rate_distortion, restoration
from .latents.integer_wavelets import Ints
from .latents.latent_code import NETWORK, Coefficients
from .latents.network import network
from .latents.stencil import Floats
from .weight_dtypes import Weights

if TYPE_CHECKING:
    from ..fields.wavelet.wavelet import Wavelet

USUAL_QUALITY = 40.0
"""The quality, in decibels, of a field whose bytes and quality nobody asked for."""

LARGEST_STEP = 4.0
"""Twice the range of the samples: everything is rounded to 0."""

_DEAD_ZONE = 0.08
"""Part of a step by which magnitudes are made smaller before they are rounded in the first search: zeros are cheap."""

_PASSES = 3
"""Passes that round coefficients for the least of error and bits."""

_TRIALS = 12
"""Most roundings in a search. Photographs need three or four, noise most."""

_TILES, _TILE = 6, 192
"""Number along each axis, and size, of the tiles that stand for a large picture in the first searches."""

_FINEST = 2.0**-9
"""Part of an octave that is not divided: steps have eight binary digits."""

_QUALITY_POINTS = 1 << 22
"""Samples on which the quality of roundings is measured."""

_QUALITY_SLOPE, _BYTES_SLOPE = -5.0, 1.0
"""About the change of the quality, in decibels, and of log2(room / bytes), for a step twice as large."""


@dataclass(frozen=True)
class Wanted:
    """What the coefficients are rounded for: a ``quality``, or at most ``room`` bytes of code, within ``seconds``."""

    quality: float | None
    room: int | None
    seconds: float


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


def coded_for(artifact: Artifact, signal: Signal, wanted: Wanted, should_stop: Callable[[], bool]) -> Artifact:
    """``artifact`` with its coefficients rounded to multiples of about the largest step with which it has the wanted
    quality, or the smallest with which its code has at most ``room`` bytes. Fewer steps are tried once the seconds are
    over or ``should_stop()`` is true."""
    started_at = time.monotonic()
    whole = Bands(artifact, signal.on(torch.device("cpu")).take(torch.arange(signal.n))[1], signal)
    sample = whole.sampled()
    times = whole.cells / sample.cells

    def excess(bands: Bands, found: Artifact) -> float:
        if wanted.room is None:
            return bands.quality(found) - (USUAL_QUALITY if wanted.quality is None else wanted.quality)
        code = len(weight_code.pack(found.spec, found.weights, found.steps))
        return math.log2(wanted.room * bands.cells / whole.cells / code)

    def seconds_left() -> float:
        return -math.inf if should_stop() else wanted.seconds - (time.monotonic() - started_at)

    def search(bands: Bands, passes: int, slope: float, near: float, place: float) -> _Search:
        run = _Search(lambda step: bands.rounded(step, passes), partial(excess, bands), slope, near, seconds_left)
        run.run(place)
        return run

    slope, near = (_QUALITY_SLOPE, 0.05) if wanted.room is None else (_BYTES_SLOPE, 0.015)
    plain = search(sample, 0, slope, 8 * near, math.log2(0.05))
    affordable = seconds_left() > (_PASSES + 1) * times * plain.seconds
    passes, place = (_PASSES, plain.place - 0.25) if affordable else (0, plain.place)
    if sample is not whole and affordable:
        place = search(sample, passes, plain.slope, 2 * near, place).place
    elif sample is whole and not affordable and plain.best is not None:
        return plain.best
    best = search(whole, passes, plain.slope, near, place).best
    return best or whole.rounded(LARGEST_STEP if wanted.room is not None else 0.0, 0)


class _Tried(NamedTuple):
    """The log2 of a step, and the excess that it has."""

    place: float
    excess: float


class _Search:
    """Looks for the log2 of a step whose ``excess`` is from 0 to ``near`` by secants."""

    def __init__(
        self,
        make: Callable[[float], Artifact],
        excess: Callable[[Artifact], float],
        slope: float,
        near: float,
        seconds_left: Callable[[], float],
    ) -> None:
        self._make, self._excess, self._usual, self._near, self._left = make, excess, slope, near, seconds_left
        self.slope, self.place, self.seconds = slope, 0.0, 0.0
        self.best: Artifact | None = None
        """The rounding with the least excess that is not negative."""
        self._inside: _Tried | None = None
        self._outside: _Tried | None = None

    def run(self, place: float) -> None:
        """Begins at ``place``."""
        least, before = math.inf, None
        for trial in range(_TRIALS):
            self.place, started_at = place, time.monotonic()
            found = self._make(2.0**place)
            excess = max(-64.0, min(self._excess(found), 64.0))
            self.seconds = time.monotonic() - started_at
            if 0 <= excess < least:
                least, self.best, self._inside = excess, found, _Tried(place, excess)
            if excess < 0:
                self._outside = _Tried(place, excess)
            if before is not None and place != before[0]:
                steepness = (excess - before[1]) / (place - before[0]) / self._usual
                self.slope = self._usual * max(0.4, min(steepness, 2.5))
            before = place, excess
            place = self._next(place, excess)
            left = self._left()
            over = left < 1.2 * self.seconds and (self.best is not None or trial > 5 or left == -math.inf)
            if least <= self._near or over or abs(place - self.place) < _FINEST:
                return

    def _next(self, place: float, excess: float) -> float:
        if self._inside is not None and self._outside is not None:
            inside, outside = self._inside, self._outside
            share = (self._near / 3 - inside.excess) / (outside.excess - inside.excess)
            return inside.place + max(0.1, min(share, 0.9)) * (outside.place - inside.place)
        following = place + (self._near / 3 - excess) / self.slope
        return max(math.log2(1e-7), min(following, math.log2(LARGEST_STEP)))

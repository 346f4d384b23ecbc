"""A signal: n samples of a function of the coordinates. Samples are taken by index; the coordinates of a raster are
computed from the index and never stored.

This module imports neither NumPy nor torch before an array or a tensor is needed: help and error messages then need not
wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from .io.json_schema import Schema, number, one_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

CHUNK = 32_768
"""Points evaluated at a time when a whole signal is evaluated: 32 MB for a width of 256."""


@dataclass(frozen=True)
class Grid:
    """A regular raster, in row-major order. Coordinates are the centres of the cells, in [-1, 1] per axis, first axis
    first; an axis of length 1 has the coordinate 0. They are computed in float64 from integer positions and rounded
    once to float32, so that neighbours are distinct up to 2^24 cells per axis."""

    shape: tuple[int, ...]

    @property
    def n(self) -> int:
        """Number of cells."""
        return prod(self.shape)

    def coords(self, indices: Tensor) -> Tensor:
        """Coordinates (k, d), float32, of flat row-major ``indices`` (k,), int64."""
        import torch

        axes = []
        rest = indices.double()  # exact for integers below 2^52, and vectorised, which integer division is not
        for length in reversed(self.shape):
            upper = (rest / length).floor_()
            position = rest.sub_(upper, alpha=length)
            rest = upper
            axes.append(position.mul_(2.0).add_(1.0).div_(length).sub_(1.0).float())
        return torch.stack(axes[::-1], dim=-1)


@dataclass(frozen=True)
class Scale:
    """The relation between raw samples and the values of a field: ``value = raw * factor + offset``.

    ``dtype`` is the NumPy type of the raw samples, ``low`` and ``high`` are their valid range and ``step`` is the
    multiple they are rounded to (0: not rounded), all in raw units."""

    dtype: str
    factor: float
    offset: float
    low: float
    high: float
    step: float

    def values(self, raw: Tensor) -> Tensor:
        """The float32 values of raw samples."""
        return (raw.double() * self.factor + self.offset).float()

    def raw(self, values: Tensor) -> Tensor:
        """The raw samples of values, in float64, rounded and clamped to the valid range."""
        raw = (values.double() - self.offset) / self.factor
        if self.step:
            raw = (raw / self.step).round() * self.step
        return raw.clamp(self.low, self.high)


SCALE: Mapping[str, Schema] = {
    "dtype": one_of("uint8", "int16", "int32", "float32", "float64"),
    "factor": number(),
    "offset": number(),
    "low": number(),
    "high": number(),
    "step": number(0),
}
"""The JSON schema of a ``Scale``."""

IDENTITY = Scale("float32", 1.0, 0.0, -3.4e38, 3.4e38, 0.0)


class PointSource(Protocol):
    """Draws the points of a signal that has none of its own (a shape). Its random numbers come from the generator that
    it was made with."""

    @property
    def default_count(self) -> int:
        """Number of points for a budget without a limit in seconds."""

    def max_count(self, far_share: float) -> int:
        """Maximum number of points of any budget, if ``draw_far`` adds ``far_share`` times as many."""

    def draw(self, start: int, end: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Points (k, d) and raw samples (k, c) from number ``start`` on, before ``end``; the source chooses k. Each
        call must start where the last one ended."""

    def draw_far(self, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """``count`` further points, and raw samples, where the value is known without computing a distance; none if
        there are no such places."""


@dataclass(frozen=True)
class Surface:
    """The surface that a signal of points describes: the points where the value is ``level``. Inside, values are below
    ``level`` if ``inside_below``, else above it."""

    level: float
    inside_below: bool


@dataclass(frozen=True)
class Signal:
    """The data to encode: samples of a function at the points of a raster, or at points of their own.

    - ``modality``: a name in ``modalities.MODALITIES``. A modality's ``load`` leaves it empty and the plan sets it
      (``named``), so that a loader does not depend on the name under which it is registered.
    - ``samples`` (n, c): the numbers of the file in the number type of the file; ``scale`` converts them to values.
    - ``meta``: all that is needed to write the file back, as JSON.
    - ``grid``: the raster; None if the samples have points of their own.
    - ``points`` (n, d), float32: these points; None for a raster.
    - ``notes``: what cannot be kept, for the user.
    - ``point_source(generator)``: draws the points of a signal that has none of its own (``fit/point_pool.py``).
    - ``reference``: what quality is measured against if the samples are not enough (the mesh of a shape).
    - ``surface``: the surface that the points describe, if any."""

    modality: str
    samples: npt.NDArray[Any]
    scale: Scale
    meta: Mapping[str, Any]
    grid: Grid | None = None
    points: npt.NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()
    point_source: Callable[[torch.Generator], PointSource] | None = None
    reference: Any = field(default=None, repr=False)
    surface: Surface | None = None

    def named(self, modality: str) -> Signal:
        """A copy with the name of its modality."""
        return replace(self, modality=modality)

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.samples.shape[0])

    @property
    def channels(self) -> int:
        """Number of values per sample."""
        return int(self.samples.shape[1])

    @property
    def dimensions(self) -> int:
        """Number of coordinates per sample."""
        if self.grid is not None:
            return len(self.grid.shape)
        assert self.points is not None
        return int(self.points.shape[1])

    def on(self, device: torch.device) -> Samples:
        """The signal on ``device``: raw samples and points are copied there once."""
        import torch

        points = None if self.points is None else torch.from_numpy(self.points).to(device)
        return Samples(self, torch.from_numpy(self.samples).to(device), points)


@dataclass(frozen=True)
class Samples:
    """A signal with its raw samples (n, c) and points (n, d) on a device; points are None for a raster."""

    signal: Signal
    raw: Tensor
    points: Tensor | None

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (k, d) and values (k, c), both float32, of the samples at ``indices`` (k,)."""
        values = self.signal.scale.values(self.raw.index_select(0, indices))
        if self.points is not None:
            return self.points[indices], values
        assert self.signal.grid is not None
        return self.signal.grid.coords(indices), values

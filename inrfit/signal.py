"""A signal: n samples of a function, taken by index, never held as coordinates.

This module imports neither NumPy nor torch before an array or a tensor is needed: help and refusals are instant.
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
"""Points evaluated at a time wherever a whole signal is walked through: 32 MB for a width of 256."""


@dataclass(frozen=True)
class Grid:
    """A regular raster. Coordinates are cell centres in [-1, 1] per axis, row-major, first axis first;
    an axis of length 1 sits at 0. They are computed from integer positions in float64 and rounded once
    to float32, so neighbours stay distinct up to 2^24 cells per axis."""

    shape: tuple[int, ...]

    @property
    def n(self) -> int:
        """Number of cells."""
        return prod(self.shape)

    def coords(self, indices: Tensor) -> Tensor:
        """Coordinates (k, d), float32, of flat row-major ``indices`` (k,), int64."""
        import torch

        axes = []
        rest = indices.double()  # whole numbers below 2^52: exact, and divided many at a time as integers are not
        for length in reversed(self.shape):
            upper = (rest / length).floor_()
            position = rest.sub_(upper, alpha=length)
            rest = upper
            axes.append(position.mul_(2.0).add_(1.0).div_(length).sub_(1.0).float())
        return torch.stack(axes[::-1], dim=-1)


@dataclass(frozen=True)
class Scale:
    """How raw samples and field values relate: ``value = raw * factor + offset``.

    ``dtype`` is the NumPy type of the raw samples; ``low`` and ``high`` are their legal range (raw units),
    ``step`` the quantum they are rounded to (0: not rounded)."""

    dtype: str
    factor: float
    offset: float
    low: float
    high: float
    step: float

    def values(self, raw: Tensor) -> Tensor:
        """Raw samples as float32 values."""
        return (raw.double() * self.factor + self.offset).float()

    def raw(self, values: Tensor) -> Tensor:
        """Values as float64 raw samples, clamped and rounded to what the source could hold."""
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
"""The schema of a ``Scale`` as JSON."""

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
    """The surface that a signal of points describes: where values are ``level``. Inside is below or above it."""

    level: float
    inside_below: bool


@dataclass(frozen=True)
class Signal:
    """The thing encoded.

    ``samples`` (n, c) are the file's own numbers in the file's own type; ``points`` (n, d), float32, is None for
    a grid signal. ``meta`` is JSON: all that is needed to write the file back. ``notes`` name what cannot be kept.
    A signal without points of its own has ``point_source(generator)``, which draws them (``fit/point_pool.py``).
    ``reference`` is what quality is measured against where the samples are not enough (the input mesh).
    ``surface`` is what the points describe, if they describe one. ``modality`` is a name in ``modalities.MODALITIES``:
    a modality's ``load`` leaves it empty and the plan enters it (``named``), so that no loader depends on the name
    under which it is registered."""

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
        """The same as a signal of ``modality``."""
        return replace(self, modality=modality)

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.samples.shape[0])

    @property
    def channels(self) -> int:
        """Values per sample."""
        return int(self.samples.shape[1])

    @property
    def dimensions(self) -> int:
        """Coordinates per sample."""
        if self.grid is not None:
            return len(self.grid.shape)
        assert self.points is not None
        return int(self.points.shape[1])

    def on(self, device: torch.device) -> Samples:
        """The same signal, ready to be taken from on ``device``: raw samples are copied there once."""
        import torch

        points = None if self.points is None else torch.from_numpy(self.points).to(device)
        return Samples(self, torch.from_numpy(self.samples).to(device), points)


@dataclass(frozen=True)
class Samples:
    """A signal on a device."""

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

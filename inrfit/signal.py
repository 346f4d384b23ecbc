"""A signal: n samples of a function of the coordinates. Samples are taken by index; the coordinates of a raster are
computed from the index and never stored.

This module imports neither NumPy nor torch before an array or a tensor is needed: help and error messages then need not
wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from .io.json_schema import Schema, either, items, number, one_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

CHUNK = 32_768
"""Points evaluated at a time when a whole signal is evaluated: 32 MB for a width of 256."""


MAX_KEPT_SAMPLES = 1 << 18
"""Signals of at most so many samples keep the coordinates and values of all."""


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


PerChannel = float | tuple[float, ...]
"""One number for all channels, or one for each."""

SAMPLE_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")
"""NumPy types of raw samples."""

_UNSIGNED_BITS = {"uint16": 16, "uint32": 32}
"""Unsigned types that PyTorch hardly supports: their bits are kept in a signed tensor of the same size."""


@dataclass(frozen=True)
class Scale:
    """The relation between raw samples and the values of a field: ``value = curve(raw) * factor + offset``.

    - ``dtype``: the NumPy type of the raw samples, one of SAMPLE_TYPES.
    - ``factor``, ``offset``: numbers for all channels, or one for each channel.
    - ``low``, ``high``: valid range of the raw samples, likewise.
    - ``step``: the multiple that raw samples are rounded to; 0: they are not rounded.
    - ``knee``: 0 for a linear curve; otherwise ``curve(raw) = asinh(raw / knee)``, which is linear well below ``knee``
      and logarithmic well above it (high dynamic range)."""

    dtype: str
    factor: PerChannel
    offset: PerChannel
    low: PerChannel
    high: PerChannel
    step: float
    knee: float = 0.0

    @staticmethod
    def from_json(scale: Mapping[str, Any]) -> Scale:
        """The scale that ``json`` returned."""
        values: dict[str, Any] = {
            name: tuple(map(float, v)) if isinstance(v, list) else float(v)
            for name, v in scale.items()
            if name != "dtype"
        }
        return Scale(scale["dtype"], **values)

    def json(self) -> dict[str, Any]:
        """The scale as JSON values with the schema SCALE."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def values(self, raw: Tensor) -> Tensor:
        """The float32 values of raw samples (..., c) as ``Signal.on`` has them."""
        if self.dtype in _UNSIGNED_BITS and not raw.is_floating_point():
            raw = raw.long() & ((1 << _UNSIGNED_BITS[self.dtype]) - 1)
        curved = raw.double()
        if self.knee:
            curved = (curved / self.knee).asinh_()
        return (curved * _on(self.factor, raw) + _on(self.offset, raw)).float()

    def raw(self, values: Tensor) -> Tensor:
        """The raw samples of values (..., c), in float64, rounded and clamped to the valid range."""
        raw = (values.double() - _on(self.offset, values)) / _on(self.factor, values)
        if self.knee:
            raw = raw.sinh_() * self.knee
        if self.step:
            raw = (raw / self.step).round() * self.step
        if isinstance(self.low, tuple) or isinstance(self.high, tuple):
            return raw.maximum(_as_tensor(self.low, raw)).minimum(_as_tensor(self.high, raw))
        return raw.clamp(self.low, self.high)

    def unit(self, raw: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Values of raw samples (..., c) on a range from 0 to 1, for displays."""
        import numpy as np

        curved = np.arcsinh(raw / self.knee) if self.knee else raw.astype(np.float64)
        values = curved * np.array(self.factor) + np.array(self.offset)
        unit: npt.NDArray[np.float32] = ((values + 1) / 2).clip(0, 1).astype(np.float32)
        return unit


def _on(constant: PerChannel, like: Tensor) -> float | Tensor:
    """``constant`` as it is if it is one number, else as a float64 tensor (c,) on the device of ``like``."""
    return _as_tensor(constant, like) if isinstance(constant, tuple) else constant


def _as_tensor(constant: PerChannel, like: Tensor) -> Tensor:
    """``constant`` as a float64 tensor on the device of ``like``."""
    return _constant(constant, like.device)


@lru_cache(64)
def _constant(constant: PerChannel, device: torch.device) -> Tensor:
    """``constant`` on ``device``, which is copied there once."""
    import torch

    return torch.tensor(constant, dtype=torch.float64, device=device)


_PER_CHANNEL = either(items(number(), 1, 65_535), number())
SCALE: Mapping[str, Schema] = {
    "dtype": one_of(*SAMPLE_TYPES),
    "factor": _PER_CHANNEL,
    "offset": _PER_CHANNEL,
    "low": _PER_CHANNEL,
    "high": _PER_CHANNEL,
    "step": number(0),
    "knee": number(0),
}
"""The JSON schema of a ``Scale``."""

SCALE_BEFORE_3: Mapping[str, Schema] = {
    "dtype": one_of("uint8", "int16", "int32", "float32", "float64"),
    "factor": number(),
    "offset": number(),
    "low": number(),
    "high": number(),
    "step": number(0),
}
"""The JSON schema of a ``Scale`` in the format versions 1 and 2."""

IDENTITY = Scale("float32", 1.0, 0.0, -3.4e38, 3.4e38, 0.0)


class PointSource(Protocol):
    """Draws the points of a signal that has none of its own (a shape). Its random numbers come from the generator that
    it was made with."""

    @property
    def default_count(self) -> int:
        """Number of points for a budget without a limit in seconds."""

    def max_count(self, far_share: float) -> int:
        """The most points that any budget may draw; ``draw_far`` adds ``far_share`` times as many."""

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
    - ``notes``: what cannot be kept, for the user, the most important first.
    - ``attachments``: data of the file that are saved as they are, such as a colour profile, by name.
    - ``point_source(generator)``: draws the points of a signal that has none of its own (``fit/point_pool.py``).
    - ``reference``: what quality is measured against if the samples are not enough: the mesh of a shape, or the file's
      own samples if ``samples`` differ from them.
    - ``surface``: the surface that the points describe, if any."""

    modality: str
    samples: npt.NDArray[Any]
    scale: Scale
    meta: Mapping[str, Any]
    grid: Grid | None = None
    points: npt.NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    point_source: Callable[[torch.Generator], PointSource] | None = None
    reference: Any = field(default=None, repr=False)
    surface: Surface | None = None

    def named(self, modality: str) -> Signal:
        """A copy with the name of its modality."""
        return replace(self, modality=modality)

    @property
    def plain_distances(self) -> bool:
        """Whether the values are signed distances to a surface, without colours."""
        return self.surface is not None and self.surface.level == 0 and self.surface.inside_below and self.channels == 1

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
        samples = self.samples
        if samples.dtype.name in _UNSIGNED_BITS:
            samples = samples.view(samples.dtype.name.removeprefix("u"))
        return Samples(self, torch.from_numpy(samples).to(device), points)


@dataclass(frozen=True)
class Samples:
    """A signal with its raw samples (n, c) and points (n, d) on a device; points are None for a raster."""

    signal: Signal
    raw: Tensor
    points: Tensor | None

    @cached_property
    def all_indices(self) -> Tensor:
        """The indices of all samples (n,), in order."""
        import torch

        return torch.arange(self.signal.n, device=self.raw.device)

    @cached_property
    def _everything(self) -> tuple[Tensor, Tensor]:
        return self._taken(self.all_indices)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (k, d) and values (k, c), both float32, of the samples at ``indices`` (k,). Those of the tensor
        ``all_indices`` itself are kept, because fits to few samples take them in every step."""
        if self.__dict__.get("all_indices") is indices and self.signal.n <= MAX_KEPT_SAMPLES:
            return self._everything
        return self._taken(indices)

    def _taken(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        values = self.signal.scale.values(self.raw.index_select(0, indices))
        if self.points is not None:
            return self.points[indices], values
        assert self.signal.grid is not None
        return self.signal.grid.coords(indices), values

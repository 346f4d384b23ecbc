"""A part of a field's domain, evaluated as if it were the whole: only the points that are asked for are computed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from ..signal import Grid
from . import architecture

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from .module import Field


@dataclass(frozen=True)
class Window:
    """A box of a raster of ``source`` cells per axis, from ``start`` to ``stop`` in cells: cell i lies between i and
    i + 1."""

    source: tuple[int, ...]
    start: tuple[float, ...]
    stop: tuple[float, ...]

    @property
    def sides(self) -> tuple[float, ...]:
        """The extent along each axis, in cells of the source."""
        return tuple(stop - start for start, stop in zip(self.start, self.stop, strict=True))

    def unit(self, shape: tuple[int, ...], indices: Tensor) -> Tensor:
        """Coordinates (k, d) from -1 to 1 over the source, in float64, of the flat row-major ``indices`` (k,) of a grid
        of ``shape`` cells over the window. For cells of the source, rounded to float32 they are those of
        ``Grid.coords``."""
        import torch

        axes, rest = [], indices.double()
        for axis in reversed(range(len(shape))):
            upper = (rest / shape[axis]).floor_()
            position = (rest - upper * shape[axis] + 0.5) * (self.sides[axis] / shape[axis]) + self.start[axis]
            axes.append(2 * position / self.source[axis] - 1)
            rest = upper
        return torch.stack(axes[::-1], dim=-1)


@dataclass(frozen=True)
class _WindowGrid(Grid):
    """The cells of a grid over a window."""

    window: Window

    def coords(self, indices: Tensor) -> Tensor:
        """Coordinates (k, d), float32, as ``Window.unit``."""
        return self.window.unit(self.shape, indices).float()


class WindowedField:
    """``field`` on ``window``, which takes the place of its whole domain. Decoders use it like a ``Field``."""

    def __init__(self, field: Field, window: Window) -> None:
        self.field, self.window, self.spec = field, window, field.spec

    @property
    def decode_chunk(self) -> int:
        """Preferred number of cells per call of ``on_grid``."""
        return self.field.decode_chunk

    def on_grid(self, grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values in float32 of the cells start..stop (flat, row-major) of ``grid`` over the window, on the CPU. A field
        that is defined on the cells of a raster only is resampled within the window where these are others."""
        import torch

        net, weights = self.field.formula, self.field.weights
        with torch.no_grad():
            if not net.TRAITS.raster_only or grid.shape == self.window.sides:
                cells = _WindowGrid(grid.shape, self.window)
                return architecture.forward_in_chunks(net, weights, cells, start, stop).cpu()
            from .asmr.resample import resample

            shape = tuple(round(side) for side in self.window.sides)
            cells, row = _WindowGrid(shape, self.window), prod(shape[1:])

            def read_rows(first: int, last: int) -> Float[Tensor, "rows *axes c"]:
                values = architecture.forward_in_chunks(net, weights, cells, first * row, last * row)
                return values.view(last - first, *shape[1:], -1)

            return resample(read_rows, shape, grid, start, stop).cpu()

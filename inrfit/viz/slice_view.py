"""The view of volumes and clips: visits over some slices, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, prod, sqrt
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from ..fields.module import Field
from ..signal import Grid, Signal
from .drawing import Floats
from .image_view import ImageView

if TYPE_CHECKING:
    from PIL import Image

MOST_SLICES = 9
"""Most slices that are shown."""


@dataclass(frozen=True)
class SliceView:
    """Slices along the last two axes, evenly spread over the others, as one picture. Each stands for those around it,
    whose visits are added up."""

    signal: Signal
    max_bins: int

    def __post_init__(self) -> None:
        if self.signal.grid is None:
            raise UsageError("sampling cannot be drawn for a volume with samples that have no value", "modality")

    @property
    def grid(self) -> tuple[int, ...]:
        """Sides of the signal's grid, two at least."""
        assert self.signal.grid is not None
        shape = self.signal.grid.shape
        return (1,) * (2 - len(shape)) + shape

    @property
    def slices(self) -> int:
        """Slices of the signal."""
        return prod(self.grid[:-2])

    @property
    def shown(self) -> int:
        """Slices of the picture."""
        return min(MOST_SLICES, self.slices)

    @property
    def columns(self) -> int:
        """Slices beside each other."""
        return ceil(sqrt(self.shown))

    @cached_property
    def picture(self) -> ImageView:
        """The view of the picture that the slices in the middle of each group make."""
        height, width = self.grid[-2:]
        rows = ceil(self.shown / self.columns)
        samples = self.signal.samples.reshape(self.slices, height, width, -1)
        whole = np.zeros((rows * height, self.columns * width, samples.shape[-1]), samples.dtype)
        for number in range(self.shown):
            top, left = number // self.columns * height, number % self.columns * width
            whole[top : top + height, left : left + width] = samples[self.middle(number)]
        image = replace(self.signal, samples=whole.reshape(-1, samples.shape[-1]), grid=Grid(whole.shape[:2]))
        return ImageView(image, self.max_bins)

    def middle(self, number: int) -> int:
        """The slice in the middle of a group."""
        return int((number + 0.5) * self.slices / self.shown)

    @property
    def bins(self) -> int:
        return self.picture.bins

    def bin_of(self, indices: Tensor) -> Tensor:
        height, width = self.grid[-2:]
        position = indices % (height * width)
        group = indices // (height * width) * self.shown // self.slices
        row = group // self.columns * height + position // width
        return self.picture.bin_of(row * (self.columns * width) + group % self.columns * width + position % width)

    def visits(self, counts: Tensor) -> Tensor:
        return self.picture.visits(counts) / (self.slices / self.shown)

    def thumbnail(self, visits: Tensor) -> Tensor:
        return self.picture.thumbnail(visits)

    def panel_values(self, thumbnail: Floats) -> Floats:
        return self.picture.panel_values(thumbnail)

    def draw_map(self, visits: Floats, caption: str) -> Image.Image:
        return self.picture.draw_map(visits, f"{caption}; {self.shown} of {self.slices} slices")

    def draw_reconstruction(self, field: Field) -> Image.Image:
        return self.picture.draw_reconstruction(cast("Field", _Picture(self, field)))

    def draw_visits(self, values: Floats, limit: float) -> Image.Image:
        return self.picture.draw_visits(values, limit)


@dataclass(frozen=True)
class _Picture:
    """The slices of a field as one picture."""

    view: SliceView
    field: Field

    def on_grid(self, grid: Grid, start: int, stop: int) -> Tensor:
        """Values (n, c) of the cells start..stop of a grid over the picture."""
        view, device = self.view, self.field.device
        height, side = view.grid[-2], grid.coords(torch.arange(start, stop)).double()
        rows = view.picture.size[0] // height
        counts = torch.tensor([rows, view.columns])
        place = (side + 1) / 2 * counts
        cell = place.long().minimum(counts - 1)
        number = (cell[:, 0] * view.columns + cell[:, 1]).clamp_(max=view.shown - 1)
        leading = ((number + 0.5) * view.slices / view.shown).long()
        coords = [2 * (place - cell) - 1]
        for length in reversed(view.grid[:-2]):
            coords.insert(0, ((2 * (leading % length) + 1) / length - 1)[:, None])
            leading = leading // length
        assert view.signal.grid is not None
        points = torch.cat(coords, 1)[:, -len(view.signal.grid.shape) :].float().to(device)
        return torch.cat([self.field.evaluate(part) for part in points.split(self.field.point_chunk)]).cpu()

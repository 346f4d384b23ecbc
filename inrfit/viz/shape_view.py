"""Shapes: the points of the pool from three sides, and the field's surface, lit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from ..fields.module import Field
from ..signal import Grid, Signal
from . import drawing
from .drawing import Numbers
from .heatmap import PANEL, SMALLEST, hottest, smoothed, window

if TYPE_CHECKING:
    from PIL import Image

SIDES = (
    ("front", (0, 1), (1, -1), (2, -1)),
    ("side", (2, -1), (1, -1), (0, -1)),
    ("top", (0, 1), (2, 1), (1, -1)),
)
"""Name, and (axis, direction) of what runs to the right, down, and away from who looks."""

VOLUME = 48
"""Cells per side of the grid that a frame shows a shape from: as many evaluations as a picture's frame takes."""

THUMBED = 1 << 17
"""Points of a shape that a video's heat is made of; they are in random order, so the first stand for all."""

SPREAD = 0.45
"""Least share of a shape's points that is spread evenly over its box, so that every window has some."""


@dataclass(frozen=True)
class Shape:
    """A shape: one counter a point of the pool; of a larger pool the first points, which are in random order."""

    signal: Signal
    most: int

    @property
    def cells(self) -> int:
        return min(self.signal.n, self.most)

    def cell(self, indices: Tensor) -> Tensor:
        return indices if self.signal.n <= self.most else indices[indices < self.most]

    def times(self, counts: Tensor) -> Tensor:
        return counts.float()

    def thumbnail(self, times: Tensor) -> Tensor:
        return times[:THUMBED].clone()

    def shown(self, thumbnail: Numbers) -> Numbers:
        return self._projected(thumbnail, _dots_per_side(len(thumbnail), 96))

    def map(self, times: Numbers, words: str) -> Image.Image:
        side, gap, head = 360, 12, 44
        image, pen = drawing.canvas(3 * side + 4 * gap, side + head + gap)
        views = self._projected(times, _dots_per_side(len(times), 180))
        hot = hottest(views)
        words += "; means of the points behind each dot; pale: where many points are"
        pen.text((gap, 14), words, drawing.INK, drawing.font(13), anchor="lm")
        drawing.key(image, image.width - gap, 14, hot, 13)
        for number, dots in enumerate(self._dots(views, hot, side)):
            left = gap + number * (side + gap)
            image.paste(dots, (left, head))
            pen.text((left, head - 4), _named(SIDES[number]), drawing.INK, drawing.font(12), anchor="ls")
        return image

    def _projected(self, times: Numbers, side: int) -> Numbers:
        """Mean times taught (3, side, side) of the points behind each dot and around it."""
        there, taught = self._piled(np.ones_like(times), side), self._piled(times, side)
        width = window(SPREAD * float(taught[0].mean()), side)
        return smoothed(taught, width) / np.maximum(smoothed(there, width), 1e-9)

    def _piled(self, numbers: Numbers, side: int) -> Numbers:
        """Sums (3, side, side) of ``numbers``, one a point, over the points behind each dot."""
        assert self.signal.points is not None
        points = self.signal.points[: len(numbers)]
        views = []
        for _, right, down, _ in SIDES:
            column, row = (
                np.clip((sign * points[:, axis] + 1) / 2 * side, 0, side - 1).astype(np.int64)
                for axis, sign in (right, down)
            )
            views.append(np.bincount(row * side + column, numbers, side * side).reshape(side, side))
        return np.stack(views)

    def reconstruction(self, field: Field) -> Image.Image:
        grid = Grid((VOLUME,) * 3)
        values = field.on_grid(grid, 0, grid.n).nan_to_num()[:, 0].reshape(grid.shape)
        surface = self.signal.surface
        assert surface is not None
        outside = values - surface.level if surface.inside_below else surface.level - values
        return _stacked([_lit(outside, side, PANEL // 2) for side in SIDES])

    def taught(self, shown: Numbers, top: float) -> Image.Image:
        return _stacked(self._dots(shown, top, PANEL // 2))

    def _dots(self, views: Numbers, top: float, side: int) -> list[Image.Image]:
        """Projections in colours, ``side`` pixels square, over the density of the points."""
        from PIL import Image

        density = self._piled(np.ones(min(self.signal.n, THUMBED)), views.shape[1])
        grey = (np.sqrt(density / density.max()) * 255).astype(np.uint8)
        pictures = (
            Image.fromarray(drawing.glowing(*pair)) for pair in zip(grey, drawing.heat(views / top), strict=True)
        )
        return [picture.resize((side, side), Image.Resampling.NEAREST) for picture in pictures]


def _dots_per_side(points: int, most: int) -> int:
    """Of a view of so many points."""
    return int(np.clip(np.sqrt(points / 12), 12, most))


Side = tuple[str, tuple[int, int], tuple[int, int], tuple[int, int]]


def _named(side: Side) -> str:
    """Such as ``front: x to the right, y up``."""
    name, (right, right_sign), (down, down_sign), _ = side
    words = f"{'' if right_sign > 0 else '-'}{'xyz'[right]} to the right"
    return f"{name}: {words}, {'xyz'[down]} {'down' if down_sign > 0 else 'up'}"


def _stacked(images: list[Image.Image]) -> Image.Image:
    """One above the other, each with its name."""
    side = images[0].width
    image, pen = drawing.canvas(max(side, SMALLEST), 3 * (side + 4))
    for number, part in enumerate(images):
        image.paste(part, ((image.width - side) // 2, number * (side + 4)))
        pen.text((2, number * (side + 4) + 2), SIDES[number][0], drawing.INK, drawing.font(11))
    return image


def _lit(outside: Tensor, side: Side, size: int) -> Image.Image:
    """The surface where ``outside`` (x, y, z) falls below 0, seen from a side: shaded by the slope of its depth."""
    from PIL import Image

    right, down, away = side[1:]
    turned = outside.permute(away[0], down[0], right[0])
    turned = turned.flip([axis for axis, (_, sign) in enumerate((away, down, right)) if sign < 0])
    fine = interpolate(turned[None], size=(size, size), mode="bilinear")[0].numpy()
    inside = fine < 0
    first = inside.argmax(0)
    near, far = (np.take_along_axis(fine, index[None], 0)[0] for index in (np.maximum(first - 1, 0), first))
    part = np.where(first > 0, near / np.maximum(near - far, 1e-9), 0.0)
    depth = np.where(inside.any(0), np.maximum(first - 1, 0) + part, len(fine))
    slopes = np.gradient(depth * (size / len(fine)))
    light = (0.82 - 0.45 * slopes[0] - 0.35 * slopes[1]) / np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)
    shade = np.where(inside.any(0), 0.2 + 0.8 * np.clip(light, 0, 1), 0.0)[..., None]
    pixels = np.where(shade > 0, shade * np.array((226, 214, 196)), drawing.BACKGROUND)
    return Image.fromarray(pixels.astype(np.uint8))

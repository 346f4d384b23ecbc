"""The view of shapes: visits of the points, and the surface of the field with shading, from three sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from ..fields.module import Field
from ..signal import Grid, Signal
from . import drawing
from .drawing import Floats
from .heatmap import MIN_PANEL_SIDE, PANEL_SIDE, colour_limit, smooth, smoothing_width

if TYPE_CHECKING:
    from PIL import Image

SIDES = (
    ("front", (0, 1), (1, -1), (2, -1)),
    ("side", (2, -1), (1, -1), (0, -1)),
    ("top", (0, 1), (2, 1), (1, -1)),
)
"""Name of each side, and (axis, direction) of what points to the right, down, and away from the viewer."""

GRID_SIDE = 48
"""Points per side of the grid on which a frame evaluates the field; as many evaluations as for a frame of an image."""

MAX_VIDEO_POINTS = 1 << 17
"""Most points whose visits a video shows; points are in random order, so the first ones are a random sample."""

UNIFORM_SHARE = 0.45
"""Smallest share of the points of a shape that is uniform in its bounding box, so that every window has some."""


@dataclass(frozen=True)
class ShapeView:
    """A shape with one bin per point, for at most ``max_bins`` points; points are in random order, so the first ones
    are a random sample."""

    signal: Signal
    max_bins: int

    @property
    def bins(self) -> int:
        return min(self.signal.n, self.max_bins)

    def bin_of(self, indices: Tensor) -> Tensor:
        return indices if self.signal.n <= self.max_bins else indices[indices < self.max_bins]

    def visits(self, counts: Tensor) -> Tensor:
        return counts.float()

    def thumbnail(self, visits: Tensor) -> Tensor:
        return visits[:MAX_VIDEO_POINTS].clone()

    def panel_values(self, thumbnail: Floats) -> Floats:
        return self._projected(thumbnail, _dots_per_side(len(thumbnail), 96))

    def draw_map(self, visits: Floats, caption: str) -> Image.Image:
        side, gap, head = 360, 12, 44
        image, pen = drawing.new_canvas(3 * side + 4 * gap, side + head + gap)
        views = self._projected(visits, _dots_per_side(len(visits), 180))
        limit = colour_limit(views)
        caption += "; means of the points behind each dot; pale: many points"
        pen.text((gap, 14), caption, drawing.INK, drawing.default_font(13), anchor="lm")
        drawing.draw_colour_bar(image, image.width - gap, 14, limit, 13)
        for number, dots in enumerate(self._dots(views, limit, side)):
            left = gap + number * (side + gap)
            image.paste(dots, (left, head))
            pen.text((left, head - 4), _caption(SIDES[number]), drawing.INK, drawing.default_font(12), anchor="ls")
        return image

    def _projected(self, visits: Floats, side: int) -> Floats:
        """Mean visits (3, side, side) of the points behind and around each dot."""
        point_counts, visit_sums = self._projected_sums(np.ones_like(visits), side), self._projected_sums(visits, side)
        width = smoothing_width(UNIFORM_SHARE * float(visit_sums[0].mean()), side)
        return smooth(visit_sums, width) / np.maximum(smooth(point_counts, width), 1e-9)

    def _projected_sums(self, values: Floats, side: int) -> Floats:
        """Sums (3, side, side) of ``values``, one per point, over the points behind each dot."""
        assert self.signal.points is not None
        points = self.signal.points[: len(values)]
        views = []
        for _, right, down, _ in SIDES:
            column, row = (
                np.clip((sign * points[:, axis] + 1) / 2 * side, 0, side - 1).astype(np.int64)
                for axis, sign in (right, down)
            )
            views.append(np.bincount(row * side + column, values, side * side).reshape(side, side))
        return np.stack(views)

    def draw_reconstruction(self, field: Field) -> Image.Image:
        grid = Grid((GRID_SIDE,) * 3)
        values = field.on_grid(grid, 0, grid.n).nan_to_num()[:, 0].reshape(grid.shape)
        surface = self.signal.surface
        assert surface is not None
        outside = values - surface.level if surface.inside_below else surface.level - values
        return _stacked([_shaded(outside, side, PANEL_SIDE // 2) for side in SIDES])

    def draw_visits(self, values: Floats, limit: float) -> Image.Image:
        return _stacked(self._dots(values, limit, PANEL_SIDE // 2))

    def _dots(self, views: Floats, limit: float, side: int) -> list[Image.Image]:
        """One image of ``side`` x ``side`` pixels per view: its colours over the density of the points."""
        from PIL import Image

        density = self._projected_sums(np.ones(min(self.signal.n, MAX_VIDEO_POINTS)), views.shape[1])
        grey = (np.sqrt(density / density.max()) * 255).astype(np.uint8)
        pictures = (
            Image.fromarray(drawing.screen_over_grey(*pair))
            for pair in zip(grey, drawing.heat_colours(views / limit), strict=True)
        )
        return [picture.resize((side, side), Image.Resampling.NEAREST) for picture in pictures]


def _dots_per_side(points: int, most: int) -> int:
    """Dots per side of a view of ``points`` points; about 12 points per dot, within 12 and ``most``."""
    return int(np.clip(np.sqrt(points / 12), 12, most))


Side = tuple[str, tuple[int, int], tuple[int, int], tuple[int, int]]


def _caption(side: Side) -> str:
    """The name and the axes of a side, such as ``front: x to the right, y up``."""
    name, (right, right_sign), (down, down_sign), _ = side
    horizontal = f"{'' if right_sign > 0 else '-'}{'xyz'[right]} to the right"
    return f"{name}: {horizontal}, {'xyz'[down]} {'down' if down_sign > 0 else 'up'}"


def _stacked(images: list[Image.Image]) -> Image.Image:
    """The images one above the other, each with the name of its side."""
    side = images[0].width
    image, pen = drawing.new_canvas(max(side, MIN_PANEL_SIDE), 3 * (side + 4))
    for number, part in enumerate(images):
        image.paste(part, ((image.width - side) // 2, number * (side + 4)))
        pen.text((2, number * (side + 4) + 2), SIDES[number][0], drawing.INK, drawing.default_font(11))
    return image


def _shaded(outside: Tensor, side: Side, size: int) -> Image.Image:
    """The surface where ``outside`` (x, y, z) falls below 0, seen from a side and shaded by the slope of its depth."""
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

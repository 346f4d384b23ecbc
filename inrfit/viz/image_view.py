"""The view of images: visits per pixel, over the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..fields.module import Field
from ..signal import Grid, Scale, Signal
from . import drawing
from .drawing import Floats, Pixels
from .heatmap import MIN_PANEL_SIDE, PANEL_SIDE, colour_limit, smooth, smoothing_width

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class ImageView:
    """An image with one bin per pixel, or per square of pixels if there would be more than ``max_bins``."""

    signal: Signal
    max_bins: int

    @cached_property
    def block(self) -> int:
        """Side of a bin in pixels."""
        (height, width), side = self.size, 1
        while ceil(height / side) * ceil(width / side) > self.max_bins:
            side += 1
        return side

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        assert self.signal.grid is not None
        height, width = self.signal.grid.shape
        return height, width

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of bins."""
        return ceil(self.size[0] / self.block), ceil(self.size[1] / self.block)

    @property
    def bins(self) -> int:
        return self.shape[0] * self.shape[1]

    def bin_of(self, indices: Tensor) -> Tensor:
        if self.block == 1:
            return indices
        width = self.size[1]
        return indices // width // self.block * self.shape[1] + indices % width // self.block

    def visits(self, counts: Tensor) -> Tensor:
        visits = counts.reshape(self.shape).float()
        if self.block == 1:
            return visits
        rows, columns = (
            (length - self.block * torch.arange(bins, device=counts.device)).clamp(max=self.block)
            for bins, length in zip(self.shape, self.size, strict=True)
        )
        return visits.div_(rows[:, None]).div_(columns)

    @property
    def panel(self) -> tuple[int, int]:
        """Height and width of a panel of a video, before a small image is enlarged."""
        shrunk = min(1.0, PANEL_SIDE / max(self.size))
        return max(1, round(self.size[0] * shrunk)), max(1, round(self.size[1] * shrunk))

    def thumbnail(self, visits: Tensor) -> Tensor:
        return adaptive_avg_pool2d(visits[None], self.panel)[0]

    def panel_values(self, thumbnail: Floats) -> Floats:
        pixels_per_dot = self.size[0] * self.size[1] / thumbnail.size
        return smooth(thumbnail, smoothing_width(float(thumbnail.mean()) * pixels_per_dot, min(thumbnail.shape)))

    def draw_map(self, visits: Floats, caption: str) -> Image.Image:
        from PIL import Image

        width = smoothing_width(float(visits.mean()) * self.block**2, min(visits.shape))
        values = smooth(visits, width)
        limit = colour_limit(values)
        image = Image.fromarray(drawing.screen_over_grey(self._grey(self.shape), drawing.heat_colours(values / limit)))
        side = width * self.block
        drawing.draw_corner_legend(
            image, limit, [caption, *([f"smoothed over {side}x{side} pixels"] if side > 1 else [])]
        )
        return image

    def _grey(self, size: tuple[int, int]) -> Pixels:
        """The source in grey, subsampled to ``size`` (rows, columns), without alpha."""
        indices = [np.arange(few) * many // few for few, many in zip(size, self.size, strict=True)]
        pixels = self.signal.samples.reshape(*self.size, -1)[np.ix_(*indices)]
        grey: Pixels = _colours(_displayed(pixels, self.signal.scale)).mean(-1).astype(np.uint8)
        return grey

    def draw_reconstruction(self, field: Field) -> Image.Image:
        grid = Grid(self.panel)
        raw = self.signal.scale.raw(field.on_grid(grid, 0, grid.n).nan_to_num())
        return self._enlarged(_colours(_displayed(raw.numpy().reshape(*self.panel, -1), self.signal.scale)))

    def draw_visits(self, values: Floats, limit: float) -> Image.Image:
        return self._enlarged(drawing.screen_over_grey(self._grey(self.panel), drawing.heat_colours(values / limit)))

    def _enlarged(self, pixels: Pixels) -> Image.Image:
        """A panel of an image, enlarged by a whole factor if it is small."""
        from PIL import Image

        factor = max(1, MIN_PANEL_SIDE // max(self.panel))
        return Image.fromarray(np.ascontiguousarray(pixels.repeat(factor, 0).repeat(factor, 1)))


def _displayed(raw: npt.NDArray[Any], scale: Scale) -> Pixels:
    """Raw samples (h, w, c) as 8-bit ones, by their place in the range of ``scale``."""
    pixels: Pixels = (scale.unit(raw) * 255).round().astype(np.uint8)
    return pixels


def _colours(pixels: Pixels) -> Pixels:
    """Colours (h, w, 3) of an image with 1 to 4 channels, without alpha."""
    return pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, -1)

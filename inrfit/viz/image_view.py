"""Images: the counts over the image, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..fields.module import Field
from ..signal import Grid, Signal
from . import drawing
from .drawing import Numbers, Raster
from .heatmap import PANEL, SMALLEST, hottest, smoothed, window

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Picture:
    """An image: one counter a pixel, or a square of pixels."""

    signal: Signal
    most: int

    @cached_property
    def block(self) -> int:
        """Pixels per side of a cell."""
        (height, width), side = self.size, 1
        while ceil(height / side) * ceil(width / side) > self.most:
            side += 1
        return side

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        assert self.signal.grid is not None
        height, width = self.signal.grid.shape
        return height, width

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return ceil(self.size[0] / self.block), ceil(self.size[1] / self.block)

    @property
    def cells(self) -> int:
        return self.shape[0] * self.shape[1]

    def cell(self, indices: Tensor) -> Tensor:
        if self.block == 1:
            return indices
        width = self.size[1]
        return indices // width // self.block * self.shape[1] + indices % width // self.block

    def times(self, counts: Tensor) -> Tensor:
        times = counts.reshape(self.shape).float()
        if self.block == 1:
            return times
        rows, columns = (
            (length - self.block * torch.arange(cells, device=counts.device)).clamp(max=self.block)
            for cells, length in zip(self.shape, self.size, strict=True)
        )
        return times.div_(rows[:, None]).div_(columns)

    @property
    def panel(self) -> tuple[int, int]:
        """Height and width of what a frame shows, before a small picture is enlarged."""
        shrunk = min(1.0, PANEL / max(self.size))
        return max(1, round(self.size[0] * shrunk)), max(1, round(self.size[1] * shrunk))

    def thumbnail(self, times: Tensor) -> Tensor:
        return adaptive_avg_pool2d(times[None], self.panel)[0]

    def shown(self, thumbnail: Numbers) -> Numbers:
        each = self.size[0] * self.size[1] / thumbnail.size
        return smoothed(thumbnail, window(float(thumbnail.mean()) * each, min(thumbnail.shape)))

    def map(self, times: Numbers, words: str) -> Image.Image:
        from PIL import Image

        width = window(float(times.mean()) * self.block**2, min(times.shape))
        shown = smoothed(times, width)
        top = hottest(shown)
        image = Image.fromarray(drawing.glowing(self._grey(self.shape), drawing.heat(shown / top)))
        side = width * self.block
        drawing.corner_key(image, top, [words, *([f"smoothed over {side}x{side} pixels"] if side > 1 else [])])
        return image

    def _grey(self, size: tuple[int, int]) -> Raster:
        """The source in ``size`` rows and columns of its own pixels, without colour and alpha."""
        picked = [np.arange(few) * many // few for few, many in zip(size, self.size, strict=True)]
        pixels = self.signal.samples.reshape(*self.size, -1)[np.ix_(*picked)]
        grey: Raster = _colours(pixels).mean(-1).astype(np.uint8)
        return grey

    def reconstruction(self, field: Field) -> Image.Image:
        grid = Grid(self.panel)
        raw = self.signal.scale.raw(field.on_grid(grid, 0, grid.n).nan_to_num())
        return self._enlarged(_colours(raw.byte().numpy().reshape(*self.panel, -1)))

    def taught(self, shown: Numbers, top: float) -> Image.Image:
        return self._enlarged(drawing.glowing(self._grey(self.panel), drawing.heat(shown / top)))

    def _enlarged(self, pixels: Raster) -> Image.Image:
        from PIL import Image

        factor = max(1, SMALLEST // max(self.panel))
        return Image.fromarray(np.ascontiguousarray(pixels.repeat(factor, 0).repeat(factor, 1)))


def _colours(pixels: Raster) -> Raster:
    """(h, w, 3) of a picture with 1 to 4 channels; alpha is left out."""
    return pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, -1)

"""Sounds: the counts over time, under the wave."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from ..fields.module import Field
from ..modalities import MODALITIES
from ..signal import Grid, Signal
from . import drawing
from .drawing import Numbers
from .heatmap import PANEL, hottest

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Sound:
    """A sound: one counter a sample, or a stretch of samples."""

    signal: Signal
    most: int

    @property
    def block(self) -> int:
        """Samples per cell."""
        return ceil(self.signal.n / self.most)

    @property
    def cells(self) -> int:
        return ceil(self.signal.n / self.block)

    @property
    def seconds(self) -> float:
        """Duration."""
        sample_rate = MODALITIES[self.signal.modality].sample_rate
        assert sample_rate is not None
        return self.signal.n / sample_rate(self.signal.meta)

    def cell(self, indices: Tensor) -> Tensor:
        return indices // self.block

    def times(self, counts: Tensor) -> Tensor:
        rest = self.signal.n - self.block * torch.arange(self.cells, device=counts.device)
        return counts / rest.clamp(max=self.block)

    def thumbnail(self, times: Tensor) -> Tensor:
        return adaptive_avg_pool1d(times[None], PANEL)[0]

    def shown(self, thumbnail: Numbers) -> Numbers:
        return thumbnail

    def map(self, times: Numbers, words: str) -> Image.Image:
        image, pen = drawing.canvas(960, 520)
        upper, lower = (64, 34, 940, 214), (64, 280, 940, 470)
        drawing.axes(pen, upper, "amplitude, as a share of the peak, over seconds", self.seconds, (-1, 1))
        drawing.wave(pen, upper, self._wave, drawing.INK)
        columns = adaptive_avg_pool1d(torch.from_numpy(times)[None], lower[2] - lower[0] + 1)[0].numpy()
        height = hottest(columns)
        drawing.axes(pen, lower, f"{words}, over seconds", self.seconds, (0, height))
        drawing.bars(pen, lower, columns, height)
        return image

    @cached_property
    def _wave(self) -> Numbers:
        """All channels' mean, as a share of the peak."""
        mean: Numbers = self.signal.samples.mean(1, dtype=np.float64) * self.signal.scale.factor
        return mean

    def reconstruction(self, field: Field) -> Image.Image:
        image, pen = drawing.canvas(PANEL, 280)
        box = (44, 30, PANEL - 12, 250)
        drawing.axes(pen, box, "amplitude over seconds; pale: the source", self.seconds, (-1, 1))
        drawing.wave(pen, box, self._wave, drawing.PALE)
        grid = Grid((min(self.signal.n, 64 * PANEL),))
        drawing.wave(pen, box, field.on_grid(grid, 0, grid.n).nan_to_num().mean(1).numpy(), (249, 140, 10))
        return image

    def taught(self, shown: Numbers, top: float) -> Image.Image:
        image, pen = drawing.canvas(PANEL, 280)
        box = (44, 30, PANEL - 12, 250)
        drawing.axes(pen, box, "times taught over seconds", self.seconds, (0, top))
        drawing.bars(pen, box, shown, top)
        return image

"""The view of sounds: visits over time, below the waveform."""

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
from .drawing import Floats
from .heatmap import PANEL_SIDE, colour_limit

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class AudioView:
    """A sound with one bin per sample, or per stretch of samples if there would be more than ``max_bins``."""

    signal: Signal
    max_bins: int

    @property
    def block(self) -> int:
        """Samples per bin."""
        return ceil(self.signal.n / self.max_bins)

    @property
    def bins(self) -> int:
        return ceil(self.signal.n / self.block)

    @property
    def seconds(self) -> float:
        """Duration of the sound."""
        sample_rate = MODALITIES[self.signal.modality].sample_rate
        assert sample_rate is not None
        return self.signal.n / sample_rate(self.signal.meta)

    def bin_of(self, indices: Tensor) -> Tensor:
        return indices // self.block

    def visits(self, counts: Tensor) -> Tensor:
        rest = self.signal.n - self.block * torch.arange(self.bins, device=counts.device)
        return counts / rest.clamp(max=self.block)

    def thumbnail(self, visits: Tensor) -> Tensor:
        return adaptive_avg_pool1d(visits[None], PANEL_SIDE)[0]

    def panel_values(self, thumbnail: Floats) -> Floats:
        return thumbnail

    def draw_map(self, visits: Floats, caption: str) -> Image.Image:
        image, pen = drawing.new_canvas(960, 520)
        upper, lower = (64, 34, 940, 214), (64, 280, 940, 470)
        drawing.draw_axes(pen, upper, "amplitude, as a share of the peak, over seconds", self.seconds, (-1, 1))
        drawing.draw_wave(pen, upper, self._wave, drawing.INK)
        columns = adaptive_avg_pool1d(torch.from_numpy(visits)[None], lower[2] - lower[0] + 1)[0].numpy()
        limit = colour_limit(columns)
        drawing.draw_axes(pen, lower, f"{caption}, over seconds", self.seconds, (0, limit))
        drawing.draw_bars(pen, lower, columns, limit)
        return image

    @cached_property
    def _wave(self) -> Floats:
        """Mean over the channels, as a share of the peak."""
        mean: Floats = self.signal.samples.mean(1, dtype=np.float64) * self.signal.scale.factor
        return mean

    def draw_reconstruction(self, field: Field) -> Image.Image:
        image, pen = drawing.new_canvas(PANEL_SIDE, 280)
        box = (44, 30, PANEL_SIDE - 12, 250)
        drawing.draw_axes(pen, box, "amplitude over seconds; pale: the source", self.seconds, (-1, 1))
        drawing.draw_wave(pen, box, self._wave, drawing.PALE)
        grid = Grid((min(self.signal.n, 64 * PANEL_SIDE),))
        drawing.draw_wave(pen, box, field.on_grid(grid, 0, grid.n).nan_to_num().mean(1).numpy(), (249, 140, 10))
        return image

    def draw_visits(self, values: Floats, limit: float) -> Image.Image:
        image, pen = drawing.new_canvas(PANEL_SIDE, 280)
        box = (44, 30, PANEL_SIDE - 12, 250)
        drawing.draw_axes(pen, box, "times trained over seconds", self.seconds, (0, limit))
        drawing.draw_bars(pen, box, values, limit)
        return image

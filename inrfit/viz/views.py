"""Views: how the visits of samples are counted and drawn, over an image, over time, over slices, or from three
sides of a shape.

A view for another layout of samples is one file here and one line in ``VIEWS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ..errors import UsageError
from ..fields.module import Field
from ..modalities import MODALITIES
from ..modalities.modality import Layout
from ..signal import Signal
from .audio_view import AudioView
from .drawing import Floats
from .image_view import ImageView
from .shape_view import ShapeView
from .slice_view import SliceView

if TYPE_CHECKING:
    from PIL import Image

MAX_BINS = 1 << 22
"""Most bins; in a longer signal several samples share a bin."""


class View(Protocol):
    """Counts and draws how often the samples of a signal were trained. ``visits`` (float32) is the number of times a
    sample was trained, as a mean over the samples of a bin."""

    @property
    def signal(self) -> Signal:
        """The signal of the fit."""

    @property
    def bins(self) -> int:
        """Number of bins, each with one counter."""

    def bin_of(self, indices: Tensor) -> Tensor:
        """Bins of the samples at ``indices`` (k,); samples without a bin are left out."""

    def visits(self, counts: Tensor) -> Tensor:
        """Visits per sample, in the shape of the view, from ``counts`` (bins,)."""

    def thumbnail(self, visits: Tensor) -> Tensor:
        """``visits`` reduced to the size of a panel of a video."""

    def panel_values(self, thumbnail: Floats) -> Floats:
        """The values that ``draw_visits`` shows for a thumbnail."""

    def draw_map(self, visits: Floats, caption: str) -> Image.Image:
        """A still image of all visits; ``caption`` explains the colours."""

    def draw_reconstruction(self, field: Field) -> Image.Image:
        """A panel with the output of ``field``."""

    def draw_visits(self, values: Floats, limit: float) -> Image.Image:
        """A panel of the same size with ``values``; the brightest colour stands for ``limit``."""


VIEWS: dict[Layout, type[ImageView] | type[AudioView] | type[ShapeView] | type[SliceView]] = {
    "raster": ImageView,
    "timeline": AudioView,
    "points": ShapeView,
    "volume": SliceView,
    "clip": SliceView,
}
"""Views by the layout of samples (``Modality.layout``)."""


def view_of(signal: Signal, max_bins: int = MAX_BINS) -> View:
    """The view of ``signal``, with at most ``max_bins`` bins. Raises ``UsageError`` if its modality has none."""
    check_modality(signal.modality)
    return VIEWS[MODALITIES[signal.modality].layout](signal, max_bins)


def check_modality(modality: str) -> None:
    """Raises ``UsageError`` if signals of ``modality`` have no view."""
    if MODALITIES[modality].layout not in VIEWS:
        drawable = ", ".join(name for name, entry in MODALITIES.items() if entry.layout in VIEWS)
        raise UsageError(f"sampling cannot be drawn for the modality {modality}; choose from: {drawable}", "modality")

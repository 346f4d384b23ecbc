"""How a signal's samples are counted and shown: a picture over itself, a sound over time, a shape from three sides.

To show samples that lie in another way: one file here, one line in ``VIEWS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ..errors import UsageError
from ..fields.module import Field
from ..modalities import MODALITIES
from ..modalities.modality import Layout
from ..signal import Signal
from .audio_view import Sound
from .drawing import Numbers
from .image_view import Picture
from .shape_view import Shape

if TYPE_CHECKING:
    from PIL import Image

CELLS = 1 << 22
"""Most counters; a longer signal is counted in cells of several samples."""


class View(Protocol):
    """What a kind of signal offers to be watched. ``times`` are float32: how often each sample (of a cell, on average)
    was taught."""

    @property
    def signal(self) -> Signal:
        """What is watched."""

    @property
    def cells(self) -> int:
        """Number of counters."""

    def cell(self, indices: Tensor) -> Tensor:
        """The counters of the samples ``indices`` (k,); not more than there are indices."""

    def times(self, counts: Tensor) -> Tensor:
        """Counts (cells,) per sample, in the view's own shape."""

    def thumbnail(self, times: Tensor) -> Tensor:
        """``times`` at the size of a video's panel: little to compute and to keep."""

    def shown(self, thumbnail: Numbers) -> Numbers:
        """The numbers that a panel shows of a thumbnail."""

    def map(self, times: Numbers, words: str) -> Image.Image:
        """All that was taught, as a still picture; ``words`` say what the colours are."""

    def reconstruction(self, field: Field) -> Image.Image:
        """A panel: what the field is now."""

    def taught(self, shown: Numbers, top: float) -> Image.Image:
        """A panel of the same size: what was taught; ``top`` is the hottest."""


VIEWS: dict[Layout, type[Picture] | type[Sound] | type[Shape]] = {
    "raster": Picture,
    "timeline": Sound,
    "points": Shape,
}
"""By how a modality's samples lie (``Modality.layout``)."""


def view_of(signal: Signal, most: int = CELLS) -> View:
    """How ``signal`` is watched, with at most ``most`` counters. Raises ``UsageError`` for a kind that is not."""
    check(signal.modality)
    return VIEWS[MODALITIES[signal.modality].layout](signal, most)


def check(modality: str) -> None:
    """Raises ``UsageError`` for a kind of signal that cannot be watched."""
    if MODALITIES[modality].layout not in VIEWS:
        shown = ", ".join(name for name, known in MODALITIES.items() if known.layout in VIEWS)
        raise UsageError(f"the teaching is shown of: {shown}; this is: {modality}", "modality")

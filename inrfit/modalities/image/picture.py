"""A picture as it was read from a file, before it becomes a signal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Raster = npt.NDArray[Any]
"""Samples of an image (h, w, c) in the number type of the file."""

CHANNELS_BY_MODE = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "CMYKA": 5}
"""Number of channels by mode. The mode "bands" has any number: channels without a meaning that inrfit knows."""

MODES_WITH_ALPHA = ("LA", "RGBA", "CMYKA")

MAX_BANDS = 64
"""Largest number of channels of an image."""

MAX_SIDE = 1 << 24
"""Maximum pixels per side. Beyond it, neighbouring pixels would have equal float32 coordinates."""


@dataclass(frozen=True)
class Colour:
    """What the samples of an image mean as colours, as far as the file says it in numbers (an ICC profile is an
    attachment): ``gamma``, the exponent of PNG's gAMA chunk; ``chromaticities``, x and y of white, red, green and blue
    (cHRM); ``cicp``, the four code points of ITU-T H.273. ``srgb``: the rendering
    intent, 0 to 3, of a file that is marked as sRGB."""

    gamma: float | None = None
    chromaticities: tuple[float, ...] | None = None
    cicp: tuple[int, ...] | None = None
    srgb: int | None = None


@dataclass(frozen=True)
class Density:
    """Pixels per unit along x and y. ``unit``: "inch", "metre", or "" if only their ratio is known."""

    x: float
    y: float
    unit: str


@dataclass(frozen=True)
class Picture:
    """An image file's content.

    ``raster``: samples (h, w, c), upright, in the machine's byte order. ``mode``: a key of CHANNELS_BY_MODE, or
    "bands". ``bits``: bits per sample in the file (a 12-bit sample is stored in 16). ``palette``: colours (n, 3 or 4),
    uint8, of a file that stores indices; ``raster`` then holds the colours. ``icc``, ``exif``: as in the file, without
    the orientation. ``notes``: what is not kept."""

    raster: Raster
    mode: str
    bits: int = 8
    palette: npt.NDArray[np.uint8] | None = None
    colour: Colour = Colour()
    density: Density | None = None
    icc: bytes = b""
    exif: bytes = b""
    notes: list[str] = field(default_factory=list)


def mode_of(channels: int, alpha: bool) -> str:
    """The mode of an image with so many channels, the last of which is alpha if ``alpha``."""
    return {(1, False): "L", (2, True): "LA", (3, False): "RGB", (4, True): "RGBA"}.get((channels, alpha), "bands")

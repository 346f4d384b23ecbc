"""How many bytes a JPEG file of the same PSNR takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from ...signal import Signal
from ..metrics import psnr
from .codecs import holds_samples, lossy_file
from .picture import Raster
from .quality import source_raster
from .writing import FORMATS

_PIXELS = 1 << 18
"""Largest number of pixels that are tried: of a larger picture a part in its middle, which takes about 0.1 s."""


def jpeg_bytes(signal: Signal, quality: Mapping[str, Any]) -> tuple[str, int] | None:
    """("JPEG", about the bytes of the smallest file with at least the PSNR in ``quality``), of pictures of 8 bits, grey
    or RGB; None if there is no such file."""
    wanted, meta = quality.get("psnr"), signal.meta
    if not holds_samples(meta) or wanted is None or not math.isfinite(wanted):
        return None
    if max(meta["width"], meta["height"]) > FORMATS[".jpg"].max_side:
        return None
    part = _middle(source_raster(signal))
    for subsampling in ("4:2:0", "4:4:4"):
        found = _smallest(part, subsampling, wanted)
        if found is not None:
            share = part.shape[0] * part.shape[1] / (meta["width"] * meta["height"])
            fixed = _trial(part[:8, :8], subsampling, 50)[0]  # the header and the tables, about
            return "JPEG", found if share == 1 else round(fixed + max(0, found - fixed) / share)
    return None


def _middle(raster: Raster) -> Raster:
    """The middle of a picture, at most _PIXELS, in its aspect."""
    share = min(1.0, math.sqrt(_PIXELS / (raster.shape[0] * raster.shape[1])))
    height, width = (max(1, int(share * side)) for side in raster.shape[:2])
    top, left = (raster.shape[0] - height) // 2, (raster.shape[1] - width) // 2
    return np.ascontiguousarray(raster[top : top + height, left : left + width])


def _smallest(raster: Raster, subsampling: str, wanted: float) -> int | None:
    """Bytes at the lowest JPEG quality that reaches the PSNR ``wanted``."""
    low, high, found = 0, 101, None
    while high - low > 1:
        middle = (low + high) // 2
        size, reached = _trial(raster, subsampling, middle)
        low, high, found = (low, middle, size) if reached >= wanted else (middle, high, found)
    return found


def _trial(raster: Raster, subsampling: str, quality: int) -> tuple[int, float]:
    """Bytes and PSNR of a JPEG file."""
    from PIL import Image

    data = lossy_file(raster, "JPEG", quality=quality, subsampling=subsampling, optimize=True)
    decoded = np.asarray(Image.open(BytesIO(data))).reshape(raster.shape)
    return len(data), psnr(decoded, raster, 255.0)

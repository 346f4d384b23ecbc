"""A slice of a volume as a picture to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UsageError
from ...signal import Scale
from ..image.png_writer import write_png
from .raw_volume import Array

SUFFIX = ".png"

NOTE = "a picture of 8 bits over the range of the samples, to look at; .npy, .nii and others hold the samples"


def check(shape: tuple[int, ...], meta: Mapping[str, Any]) -> None:
    """Raises ``UsageError`` unless a grid of ``shape`` is a single slice of a few channels."""
    long = [axis for axis, side in zip(meta["axes"], shape, strict=True) if side > 1]
    if len(long) > 2:
        sides, example = "x".join(map(str, shape)), f"{meta['axes'][0]}={shape[0] // 2}"
        raise UsageError(
            f"{SUFFIX}: a picture has two axes, this is a volume of {sides} ({meta['axes']}); take a slice with inrfit "
            f"query --slice {example}",
            "suffix",
        )
    if meta["channels"] not in (1, 3, 4) or meta["dtype"].startswith("complex"):
        raise UsageError(
            f"{SUFFIX}: a picture has 1, 3 or 4 channels, not {meta['channels']} of {meta['dtype']}", "suffix"
        )


def png(samples: Array, meta: Mapping[str, Any]) -> bytes:
    """The bytes of a PNG file of a slice; samples without a value are black."""
    sides = [side for side in samples.shape[:-1] if side > 1]
    height, width = (1,) * (2 - len(sides)) + tuple(sides)
    unit = Scale.from_json(meta["scale"]).unit(np.nan_to_num(samples.astype(np.float64)))
    pixels = (unit * 255).round().astype(np.uint8).reshape(height, width, -1)
    return write_png(pixels, {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[-1]], 8)

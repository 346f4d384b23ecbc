"""RGB from luma and chroma, and back (ITU-T H.273)."""

from __future__ import annotations

import numpy as np

from ...errors import UnsupportedInput
from .clip import UNSPECIFIED, Array, Colours

_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
MATRICES = {1: _BT709, 4: (0.30, 0.11), 5: _BT601, 6: _BT601, 7: (0.212, 0.087), 9: _BT2020, 10: _BT2020}
"""Weights of red and blue in luma, by the code of the matrix in H.273."""

UNNAMED = (0, UNSPECIFIED)
"""Codes without a matrix: RGB, and none."""

HD_HEIGHT = 720
"""Frames of so many rows are taken for BT.709 if the file names no matrix, smaller ones for BT.601, as players do."""

SUBSAMPLED = {"420": (2, 2), "422": (1, 2), "444": (1, 1), "411": (1, 4), "410": (4, 4), "440": (2, 1)}
"""Rows and columns of luma for each of chroma."""


def weights_of(code: int, height: int) -> tuple[float, float]:
    """The weights of red and blue of a matrix, or those that readers assume for frames of so many rows. Raises
    ``UnsupportedInput`` for other ways to code colours."""
    if code not in MATRICES and code not in UNNAMED:
        raise UnsupportedInput(f"colours coded by the matrix {code} of H.273 are not supported", "colour")
    return MATRICES.get(code, _BT709 if height >= HD_HEIGHT else _BT601)


def to_rgb(planes: list[Array], bits: int, colours: Colours, centred: bool) -> Array:
    """The frame (h, w, c) of luma (h, w) and, unless it is grey, two planes of chroma. ``centred``: chroma lies between
    columns of luma, as in JPEG, instead of on every second one. Grey is taken to have the full range whatever the file
    says, as FFmpeg does."""
    if len(planes) == 1:
        return planes[0][..., None].astype(np.uint8 if bits <= 8 else np.uint16)
    luma = planes[0].astype(np.float32)
    peak, (low, span, chroma_span) = (1 << bits) - 1, _ranges(bits, bool(colours.full_range))
    luma = (luma - low) / span
    rows, columns = SUBSAMPLED[colours.chroma]
    middle = 1 << (bits - 1)
    blue, red = ((_grown(p.astype(np.float32), luma.shape, rows, columns, centred) - middle) / chroma_span
                 for p in planes[1:3])  # fmt: skip
    kr, kb = weights_of(colours.matrix, luma.shape[0])
    rgb = np.empty((*luma.shape, 3), np.float32)
    rgb[..., 0] = luma + 2 * (1 - kr) * red
    rgb[..., 2] = luma + 2 * (1 - kb) * blue
    rgb[..., 1] = (luma - kr * rgb[..., 0] - kb * rgb[..., 2]) / (1 - kr - kb)
    return _rounded(rgb, peak)


def from_rgb(frame: Array, bits: int, colours: Colours, centred: bool) -> list[Array]:
    """The planes of a frame (h, w, 3) or (h, w, 1): the inverse of ``to_rgb``."""
    if frame.shape[-1] == 1:
        return [frame[..., 0]]
    peak, (low, span, chroma_span) = (1 << bits) - 1, _ranges(bits, bool(colours.full_range))
    values = frame.astype(np.float32) / peak
    kr, kb = weights_of(colours.matrix, frame.shape[0])
    luma = kr * values[..., 0] + (1 - kr - kb) * values[..., 1] + kb * values[..., 2]
    rows, columns = SUBSAMPLED[colours.chroma]
    middle = 1 << (bits - 1)
    chroma = [(values[..., 2] - luma) / (2 * (1 - kb)), (values[..., 0] - luma) / (2 * (1 - kr))]
    shrunk = [_shrunk(plane, rows, columns, centred) * chroma_span + middle for plane in chroma]
    return [_coded(luma * span + low, bits), *(_coded(plane, bits) for plane in shrunk)]


def _ranges(bits: int, full: bool) -> tuple[float, float, float]:
    """Luma of black, and the spans of luma and chroma."""
    if full:
        return 0.0, float((1 << bits) - 1), float((1 << bits) - 1)
    unit = 1 << (bits - 8)
    return 16.0 * unit, 219.0 * unit, 224.0 * unit


def _rounded(values: Array, peak: int) -> Array:
    """Values on a range from 0 to 1 as samples."""
    return np.round(values.clip(0, 1) * peak).astype(np.uint8 if peak < 256 else np.uint16)


def _coded(values: Array, bits: int) -> Array:
    return np.round(values).clip(0, (1 << bits) - 1).astype(np.uint8 if bits <= 8 else np.uint16)


def _grown(plane: Array, shape: tuple[int, ...], rows: int, columns: int, centred: bool) -> Array:
    """Chroma at every sample of luma: linear between its own, along columns and then along rows."""
    plane = _interpolated(plane, columns, 1, shape[1], centred or columns == 4)
    return _interpolated(plane, rows, 0, shape[0], True)


def _interpolated(plane: Array, factor: int, axis: int, length: int, centred: bool) -> Array:
    """``plane`` with ``length`` samples along ``axis``, ``factor`` for each."""
    if factor == 1:
        return plane
    shift = 0.5 if centred else 0.0
    positions = ((np.arange(length) + shift) / factor - shift).clip(0, plane.shape[axis] - 1)
    left = np.floor(positions).astype(np.intp)
    right = np.minimum(left + 1, plane.shape[axis] - 1)
    share = (positions - left).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
    found: Array = plane.take(left, axis) * (1 - share) + plane.take(right, axis) * share
    return found


def _shrunk(plane: Array, rows: int, columns: int, centred: bool) -> Array:
    """Chroma (h / rows, w / columns): means of rows, and of columns or around every second one."""
    plane = _means(plane, rows, 0)
    if columns == 2 and not centred:
        padded = np.pad(plane, ((0, 0), (1, 1)), "edge")
        plane = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
        return plane[:, ::2]
    return _means(plane, columns, 1)


def _means(plane: Array, factor: int, axis: int) -> Array:
    """Means of ``factor`` samples along ``axis``; the last ones are repeated where some are missing."""
    if factor == 1:
        return plane
    missing = -plane.shape[axis] % factor
    plane = np.pad(plane, [(0, missing) if a == axis else (0, 0) for a in (0, 1)], "edge")
    sides = list(plane.shape)
    sides[axis : axis + 1] = [sides[axis] // factor, factor]
    found: Array = plane.reshape(sides).mean(axis=axis + 1)
    return found

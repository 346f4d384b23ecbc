"""From the channels of a file to the outputs of a field, and back.

Channels that are known exactly are not fitted: a constant channel (opaque alpha) is stored as its value, and one that
equals an earlier channel (grey stored as RGB) as its number. The colours of transparent pixels are replaced by those of
their neighbours before the fit, because nobody sees them. Colours of a palette are restored to its nearest entry.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .picture import MODES_WITH_ALPHA, Raster

Sources = Sequence[int | Mapping[str, float]]
"""For each channel of the file, the number of the field's output that holds it, or ``{"value": raw}``."""

_ROWS = 64
"""Rows that are compared at a time."""


def find_sources(raster: Raster) -> list[int | dict[str, float]] | None:
    """Where each channel of ``raster`` (h, w, c) comes from; None if every channel is an output of its own."""
    sources: list[int | dict[str, float]] = []
    fitted: list[int] = []
    for channel in range(raster.shape[2]):
        samples = raster[..., channel]
        earlier = next((k for k, other in enumerate(fitted) if _equal(raster[..., other], samples)), None)
        if earlier is not None:
            sources.append(earlier)
        elif _equal(samples, samples[:1, :1]):
            sources.append({"value": samples[0, 0].item()})
        else:
            sources.append(len(fitted))
            fitted.append(channel)
    if not fitted:  # a field has at least one output
        sources = [0 if source == sources[0] else source for source in sources]
    return None if sources == list(range(raster.shape[2])) else sources


def _equal(a: Raster, b: Raster) -> bool:
    """Whether two channels (h, w) are equal; the second may be a single sample."""
    for top in range(0, len(a), _ROWS):
        rows = slice(top, top + _ROWS)
        if not (a[rows] == (b if len(b) == 1 else b[rows])).all():
            return False
    return True


def fitted_channels(sources: Sources | None, bands: int) -> list[int]:
    """The first channel of the file that each output of the field holds."""
    if sources is None:
        return list(range(bands))
    outputs = [source for source in sources if isinstance(source, int)]
    return [sources.index(output) for output in sorted(set(outputs))]


def assemble(outputs: Any, sources: Sources | None) -> Any:
    """The channels of the file (..., c) from the raw outputs of a field (..., k); ``outputs`` itself if they are the
    same. For arrays and tensors."""
    if sources is None:
        return outputs
    shape = (*outputs.shape[:-1], len(sources))
    whole = np.empty(shape, outputs.dtype) if isinstance(outputs, np.ndarray) else outputs.new_empty(shape)
    for channel, source in enumerate(sources):
        whole[..., channel] = outputs[..., source] if isinstance(source, int) else source["value"]
    return whole


def premultiplied(raster: Any, mode: str, opaque: float) -> Any:
    """Colours times alpha, and alpha, as floats: the image over black, as far as it is visible. ``opaque``: the raw
    alpha of an opaque pixel. The input itself for a mode without alpha. For arrays and tensors."""
    if mode not in MODES_WITH_ALPHA:
        return raster
    whole = raster.astype(np.float32) if isinstance(raster, np.ndarray) else raster.double().clone()
    whole[..., :-1] *= whole[..., -1:] / opaque
    return whole


def without_invisible_colours(raster: Raster) -> Raster:
    """``raster`` (h, w, c), whose last channel is alpha, with the colours where alpha is 0 replaced by averages of the
    visible colours nearby; itself if there are no such pixels, or no others.

    Averages over ever larger squares are used, as in pull-push interpolation (Gortler et al. 1996)."""
    visible = raster[..., -1] != 0
    if visible.all() or not visible.any():
        return raster
    colours = raster[..., :-1].astype(np.float32) * visible[..., None]
    filled = _pull_push(colours, visible.astype(np.float32))
    if raster.dtype.kind in "iu":
        filled = filled.round()
    out = raster.copy()
    out[..., :-1][~visible] = filled[~visible].astype(raster.dtype)
    return out


def _pull_push(colours: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Colours (h, w, c) with those of weight 0 interpolated; ``colours`` are multiplied by ``weights`` (h, w)."""
    height, width = weights.shape
    own = (colours / np.maximum(weights, 1e-12)[..., None]).astype(np.float32)
    if (weights > 0).all() or max(height, width) == 1:
        return own
    even = ((0, height % 2), (0, width % 2))
    coarse_colours = np.pad(colours, (*even, (0, 0)))
    coarse_weights = np.pad(weights, even)
    shape = (coarse_weights.shape[0] // 2, 2, coarse_weights.shape[1] // 2, 2)
    coarse_colours = coarse_colours.reshape(*shape, -1).sum(axis=(1, 3))
    coarse_weights = coarse_weights.reshape(shape).sum(axis=(1, 3))
    shrink = np.minimum(coarse_weights, 1) / np.maximum(coarse_weights, 1e-12)
    coarse = _pull_push(coarse_colours * shrink[..., None], coarse_weights * shrink)
    above = coarse.repeat(2, 0).repeat(2, 1)[:height, :width]
    share = np.minimum(weights, 1)[..., None]
    filled: npt.NDArray[np.float32] = own * share + above * (1 - share)
    return filled


def palette_text(palette: npt.NDArray[np.uint8] | None) -> str | None:
    """A palette (n, 3 or 4) as base64, for ``Signal.meta``."""
    return None if palette is None else base64.b64encode(palette.tobytes()).decode()


def palette_of(text: str, channels: int) -> npt.NDArray[np.uint8]:
    """The palette (n, channels) that ``palette_text`` wrote. Raises ``ValueError`` for other text."""
    data = base64.b64decode(text, validate=True)
    if not data or len(data) % channels or len(data) > 256 * channels:
        raise ValueError("is not a palette")
    return np.frombuffer(data, np.uint8).reshape(-1, channels)


def nearest_entries(raster: Raster, palette: npt.NDArray[np.uint8], mode: str) -> npt.NDArray[np.uint8]:
    """Indices (h, w) of the entries of ``palette`` that are nearest to the colours of ``raster`` (h, w, c), as far as
    they are visible."""
    entries = premultiplied(palette.astype(np.float32), mode, 255)
    indices = np.empty(raster.shape[:2], np.uint8)
    rows = max(1, (1 << 16) // max(raster.shape[1], 1))
    for top in range(0, len(raster), rows):
        colours = premultiplied(raster[top : top + rows].astype(np.float32), mode, 255)
        distances = (entries**2).sum(1) - 2 * colours @ entries.T  # without the squares of the colours
        indices[top : top + rows] = distances.argmin(-1)
    return indices

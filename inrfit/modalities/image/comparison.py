"""How alike two pictures are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import UsageError
from ...signal import Signal
from ..modality import OnProgress
from . import quality, sample_types
from .picture import Raster


def compare(signal: Signal, reference: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """The measures of ``quality.measure`` of one picture against another of the same size. Integers of another number
    of bits are converted to that of the reference; grey counts as RGB, and a missing alpha channel as opaque. Raises
    ``UsageError`` if the sizes or the channels differ."""
    raster = _like(quality.source_raster(signal), signal, reference)
    return quality.measure(raster, reference, on_progress)


def _like(raster: Raster, signal: Signal, reference: Signal) -> Raster:
    """``raster`` in the channels and the number type of the reference."""
    wanted, meta = reference.meta, signal.meta
    sizes = [f"{m['width']}x{m['height']}" for m in (meta, wanted)]
    if sizes[0] != sizes[1]:
        raise UsageError(f"the pictures have {sizes[0]} and {sizes[1]} pixels", "different")
    kinds = [np.dtype(m["scale"]["dtype"]).kind == "f" for m in (meta, wanted)]
    if kinds[0] != kinds[1]:
        raise UsageError("the samples of one picture are integers, those of the other floats", "different")
    colours = [m["mode"].removesuffix("A") for m in (meta, wanted)]
    if colours[0] != colours[1] and colours != ["L", "RGB"]:
        hint = "; name the grey one first" if colours == ["RGB", "L"] else ""
        raise UsageError(f"the channels are {meta['mode']} and {wanted['mode']}{hint}", "different")
    values = raster.astype(np.float64)
    if not kinds[0]:
        values = values * (quality.peaks(wanted) / quality.peaks(meta))
    if colours == ["L", "RGB"]:
        values = np.concatenate([np.repeat(values[..., :1], 3, axis=2), values[..., 1:]], axis=2)
    opaque = sample_types.opaque(wanted)
    if values.shape[2] == wanted["bands"] - 1 and wanted["mode"] in ("LA", "RGBA"):
        values = np.concatenate([values, np.full((*values.shape[:2], 1), float(opaque))], axis=2)
    elif values.shape[2] == wanted["bands"] + 1 and meta["mode"] in ("LA", "RGBA"):
        values = values[..., :-1] if (values[..., -1] >= opaque).all() else values
    if values.shape[2] != wanted["bands"]:
        raise UsageError(f"one picture has transparent parts, the other is {wanted['mode']}", "different")
    dtype = np.dtype(wanted["scale"]["dtype"])
    return values.astype(dtype) if dtype.kind == "f" else np.rint(values).astype(dtype)

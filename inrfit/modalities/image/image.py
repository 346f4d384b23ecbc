"""Images: 8-bit grey, grey + alpha, RGB and RGBA are kept exactly; anything else is named in the notes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import UnreadableFile, UsageError
from ...io.json_schema import Schema, integer, number, one_of
from ...io.limits import Limits
from ...signal import SCALE, Grid, Scale, Signal
from ..metrics import decibels, psnr, ssim
from ..modality import OnProgress, Request
from . import formats
from .pillow_reader import LONGEST, MODES, Raster

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

FORMATS: tuple[str, ...] = formats.FORMATS
WRITES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
BYTES = Scale("uint8", 2 / 255, -1.0, 0, 255, 1.0)

OMEGA_PER_PIXEL, LOWEST_OMEGA, HIGHEST_OMEGA = 1 / 3, 30.0, 90.0
"""The rule of ``first_omega``."""

META: Schema = {
    "format": one_of(*(name.upper() for name in FORMATS)),
    "mode": one_of(*MODES),
    "width": integer(1, LONGEST),
    "height": integer(1, LONGEST),
    "scale": {
        **SCALE,
        "dtype": one_of("uint8"),
        "factor": number(1e-6, 1e6),
        "low": number(0, 0),
        "high": number(255, 255),
        "step": number(1, 1),
    },
}


@dataclass(frozen=True)
class Options:
    """Images have no settings yet."""


def sniff(data: bytes) -> bool:
    """Whether the content is a picture of a format known by its signature, read or not."""
    return formats.kind(data) is not None


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The picture as a signal of its own samples, turned as its EXIF orientation says."""
    kind, raster, notes = formats.read(data, limits)
    height, width, channels = raster.shape
    meta = {
        "format": kind.upper(),
        "mode": list(MODES)[channels - 1],
        "width": width,
        "height": height,
        "scale": asdict(BYTES),
    }
    samples = np.require(raster, requirements=["C", "W"]).reshape(-1, channels)
    return Signal("", samples, BYTES, meta, Grid((height, width)), notes=tuple(notes))


def from_array(array: npt.NDArray[Any]) -> bytes:
    """A picture (h, w) or (h, w, 1..4), uint8, as the PNG it would be. Raises ``UsageError`` for any other array."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        raise UsageError("an image must be uint8, (h, w) or (h, w, c); a sound needs rate=", "array")
    if array.ndim == 3 and array.shape[2] not in MODES.values():
        raise UsageError(f"an image has 1 to 4 channels, not {array.shape[2]}", "array")
    picture = array[..., None] if array.ndim == 2 else array
    return write(np.ascontiguousarray(picture), {}, ".png", Request())


def estimate(predicted: Tensor, values: Tensor, scale: Scale) -> float:
    """PSNR in dB of the samples as they would be written, clamped and rounded; inf when all are equal."""
    noise = (scale.raw(predicted) - scale.raw(values)).square().mean().item()
    return decibels((scale.high - scale.low) ** 2, noise)


def suffix(meta: Mapping[str, Any]) -> tuple[str, str | None]:
    """Suffix of the source's own format, and how it is written where that matters."""
    ending = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}[meta["format"]]
    notes = {
        ".jpg": "JPEG is written at quality 95 without chroma subsampling",
        ".webp": "WebP is written lossless",
    }
    return ending, notes.get(ending)


def describe_source(meta: Mapping[str, Any]) -> str:
    """Such as ``768x512 RGB PNG``."""
    kind = next(name for name in FORMATS if name.upper() == meta["format"])
    return f"{meta['width']}x{meta['height']} {meta['mode']} {kind}"


def first_omega(signal: Signal) -> float:
    """Frequency factor of the first layer: a third of the shorter side in pixels, from 30 to 90; the hidden layers
    keep 30.

    PSNR after 400 steps at 30, 45, 60, 90: 34.2, 35.1, 35.7, 36.2 dB on 01.png, 24.8, 25.8, 26.3, 26.7 on kodim05;
    after 1,200 at 30, 60, 90, 120: 37.7, 39.2, 39.8, 39.9 on 01.png. The bound is what happens between the pixels, of a
    picture with half as many a side decoded at full size: taught 256 a side 33.5 dB at 30, 33.9 at 60 and 90, 33.5 at
    180; 128 a side 33.4 at 30, 33.3 at 60, 33.1 at 90; 64 a side 31.2, 30.5, 29.0 (tests/bench/omega.py)."""
    assert signal.grid is not None
    shorter = min((side for side in signal.grid.shape if side > 1), default=1)
    return min(max(OMEGA_PER_PIXEL * shorter, LOWEST_OMEGA), HIGHEST_OMEGA)


def describe_decoded(decoded: Raster, meta: Mapping[str, Any], request: Request) -> str:
    """Such as ``1536x1024 RGB``."""
    return f"{decoded.shape[1]}x{decoded.shape[0]} {meta['mode']}"


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Raster:
    """The picture (h, w, c), uint8. Raises ``UnreadableFile`` when the field gives NaN or infinity."""
    width, height = _size(meta, request)
    channels = MODES[meta["mode"]]
    limits.require("max_output", width * height * channels, "decoded bytes")
    scale, grid = Scale(**meta["scale"]), Grid((height, width))
    flat = np.empty((grid.n, channels), np.uint8)
    step = field.decode_chunk // width * width or field.decode_chunk
    broken = 0
    for start in range(0, grid.n, step):
        stop = min(start + step, grid.n)
        values = field.on_grid(grid, start, stop)
        if values.shape[1] != channels:
            raise UnreadableFile(
                f"the model gives {values.shape[1]} channels, its header says {meta['mode']}", "channels"
            )
        broken += int((~values.isfinite()).any(dim=1).sum())
        flat[start:stop] = scale.raw(values.nan_to_num()).byte().numpy()
        on_progress(stop / grid.n)
    if broken:
        raise UnreadableFile(f"the model gives non-finite values at {broken:,} points", "nonfinite")
    return flat.reshape(height, width, channels)


def _size(meta: Mapping[str, Any], request: Request) -> tuple[int, int]:
    """Width and height asked for."""
    width, height = request.size or (meta["width"], meta["height"])
    if request.scale is not None:
        if not 0 < request.scale <= LONGEST:
            raise UsageError(f"--scale {request.scale:g}: want a number above 0, at most {LONGEST:,}", "request")
        width, height = max(1, round(width * request.scale)), max(1, round(height * request.scale))
    if not (1 <= width <= LONGEST and 1 <= height <= LONGEST):
        raise UsageError(f"{width}x{height}: a side has 1 to {LONGEST:,} pixels", "request")
    return width, height


def check_writable(meta: Mapping[str, Any], suffix: str, request: Request) -> None:
    """Raises ``UsageError`` where files of this suffix have no alpha channel or not as many pixels a side."""
    _written_as(suffix, MODES[meta["mode"]], max(_size(meta, request)))


def _written_as(suffix: str, channels: int, longer: int) -> tuple[str, dict[str, Any]]:
    """Pillow's name of the format and its settings, for so many channels and pixels on the longer side."""
    settings: dict[str, tuple[str, int, dict[str, Any]]] = {
        ".png": ("PNG", 2**31 - 1, {}),
        ".jpg": ("JPEG", 65_500, {"quality": 95, "subsampling": 0}),
        ".webp": ("WEBP", 16_383, {"lossless": True, "exact": True}),
        ".tif": ("TIFF", 2**31 - 1, {"compression": "tiff_lzw"}),
        ".bmp": ("BMP", 2**31 - 1, {}),
    }
    ending = {".jpeg": ".jpg", ".tiff": ".tif"}.get(suffix.lower(), suffix.lower())
    if ending not in settings:
        raise UsageError(f"{suffix!r}: pictures are written as {' '.join(WRITES)}", "suffix")
    kind, longest, how = settings[ending]
    if kind == "JPEG" and channels in (2, 4):
        raise UsageError("JPEG cannot hold the alpha channel; .png .webp .tif .bmp can", "suffix")
    if longer > longest:
        raise UsageError(f"{kind} holds at most {longest:,} pixels a side; .png .tif .bmp hold more", "suffix")
    return kind, how


def write(decoded: Raster, meta: Mapping[str, Any], suffix: str, request: Request) -> bytes:
    """``decoded`` as a file, lossless but for JPEG. Raises ``UsageError`` for what a format cannot hold."""
    from PIL import Image

    channels = decoded.shape[2]
    kind, how = _written_as(suffix, channels, max(decoded.shape[:2]))
    if kind == "BMP" and channels in (2, 4):
        return _bmp_with_alpha(decoded)
    file = BytesIO()
    Image.fromarray(decoded[..., 0] if channels == 1 else decoded).save(file, kind, **how)
    return file.getvalue()


def _bmp_with_alpha(decoded: Raster) -> bytes:
    """A version 4 BMP with an alpha mask: Pillow writes version 3, where readers ignore the fourth byte."""
    height, width = decoded.shape[:2]
    order = [0, 0, 0, 1] if decoded.shape[2] == 2 else [2, 1, 0, 3]
    pixels = decoded[::-1, :, order].tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    head += struct.pack("<4I4s48x", *masks, b"BGRs")
    return struct.pack("<2sIII", b"BM", 14 + len(head) + len(pixels), 0, 14 + len(head)) + head + pixels


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """``psnr`` (dB, all channels) and ``ssim`` of the whole picture; for JPEG also ``psnr_in_file``,
    of the file as it is written."""
    decoded = decode(field, signal.meta, Request(), Limits(max_output=signal.samples.size), on_progress)
    source = signal.samples.reshape(decoded.shape)
    found: dict[str, Any] = {"psnr": psnr(decoded, source, 255), "ssim": ssim(decoded, source, on_progress)}
    if signal.meta["format"] == "JPEG":
        again = load(write(decoded, signal.meta, ".jpg", Request()), "", Options(), Limits(max_pixels=signal.n))
        found["psnr_in_file"] = psnr(again.samples, signal.samples, 255)
    return found

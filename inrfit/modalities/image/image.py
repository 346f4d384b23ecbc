"""Images: 8-bit grey, grey + alpha, RGB and RGBA are read exactly. Notes list what is converted or not kept."""

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
from .pillow_reader import CHANNELS_BY_MODE, MAX_SIDE, Raster

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
UINT8_SCALE = Scale("uint8", 2 / 255, -1.0, 0, 255, 1.0)

OMEGA_PER_PIXEL, LOWEST_OMEGA, HIGHEST_OMEGA = 1 / 3, 30.0, 90.0
"""Constants of ``first_omega``, chosen by tests/bench/omega.py (docs/benchmarks.md)."""

META: Schema = {
    "format": one_of(*(name.upper() for name in formats.FORMATS)),
    "mode": one_of(*CHANNELS_BY_MODE),
    "width": integer(1, MAX_SIDE),
    "height": integer(1, MAX_SIDE),
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
    """Images have no options."""


def sniff(data: bytes) -> bool:
    """Whether the content has the signature of an image format, supported or not."""
    return formats.signature(data) is not None


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The image as a signal, with its EXIF orientation applied. Raises a ``RefusedInput``."""
    format_name, raster, notes = formats.read(data, limits)
    height, width, channels = raster.shape
    meta = {
        "format": format_name.upper(),
        "mode": list(CHANNELS_BY_MODE)[channels - 1],
        "width": width,
        "height": height,
        "scale": asdict(UINT8_SCALE),
    }
    samples = np.require(raster, requirements=["C", "W"]).reshape(-1, channels)
    return Signal("", samples, UINT8_SCALE, meta, Grid((height, width)), notes=tuple(notes))


def from_array(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a PNG file with the samples of ``array``: uint8, (h, w) or (h, w, c) with 1 to 4 channels. Raises
    ``UsageError`` for any other array."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        raise UsageError(
            "the array of an image must be uint8, (h, w) or (h, w, c); for a sound, pass its rate as well", "array"
        )
    if array.ndim == 3 and array.shape[2] not in CHANNELS_BY_MODE.values():
        raise UsageError(f"an image has 1 to 4 channels, not {array.shape[2]}", "array")
    pixels = array[..., None] if array.ndim == 2 else array
    return write(np.ascontiguousarray(pixels), {}, ".png", Request())


def estimate(predicted: Tensor, values: Tensor, scale: Scale) -> float:
    """PSNR in dB over all channels, of samples clamped and rounded as in a file; inf if they are equal."""
    noise = (scale.raw(predicted) - scale.raw(values)).square().mean().item()
    return decibels((scale.high - scale.low) ** 2, noise)


def suffix(meta: Mapping[str, Any]) -> tuple[str, str | None]:
    """Suffix of the source's own format, and how JPEG and WebP are written."""
    ending = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}[meta["format"]]
    notes = {
        ".jpg": "JPEG is written at quality 95 without chroma subsampling",
        ".webp": "WebP is written lossless",
    }
    return ending, notes.get(ending)


def describe_source(meta: Mapping[str, Any]) -> str:
    """A description such as "768x512 RGB PNG"."""
    format_name = next(name for name in formats.FORMATS if name.upper() == meta["format"])
    return f"{meta['width']}x{meta['height']} {meta['mode']} {format_name}"


def first_omega(signal: Signal) -> float:
    """Frequency factor of a SIREN's first layer: a third of the shorter side in pixels, from 30 to 90.

    Higher frequencies fit the pixels of a photograph faster, but lose quality between the pixels, when a small image is
    decoded at a larger size. That sets the upper bound (tests/bench/omega.py, docs/benchmarks.md)."""
    assert signal.grid is not None
    shorter = min((side for side in signal.grid.shape if side > 1), default=1)
    return min(max(OMEGA_PER_PIXEL * shorter, LOWEST_OMEGA), HIGHEST_OMEGA)


def describe_decoded(decoded: Raster, meta: Mapping[str, Any], request: Request) -> str:
    """A description such as "1536x1024 RGB"."""
    return f"{decoded.shape[1]}x{decoded.shape[0]} {meta['mode']}"


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Raster:
    """The image (h, w, c), uint8. Raises ``UsageError`` for a size out of range, ``OverLimit``, and ``UnreadableFile``
    for a field with other channels or with values that are not finite."""
    width, height = _size(meta, request)
    channels = CHANNELS_BY_MODE[meta["mode"]]
    limits.check("max_output", width * height * channels, "decoded bytes")
    scale, grid = Scale(**meta["scale"]), Grid((height, width))
    flat = np.empty((grid.n, channels), np.uint8)
    step = field.decode_chunk // width * width or field.decode_chunk
    nonfinite = 0
    for start in range(0, grid.n, step):
        stop = min(start + step, grid.n)
        values = field.on_grid(grid, start, stop)
        if values.shape[1] != channels:
            raise UnreadableFile(
                f"the field has {values.shape[1]} values per pixel, its header says {channels} ({meta['mode']})",
                "channels",
            )
        nonfinite += int((~values.isfinite()).any(dim=1).sum())
        flat[start:stop] = scale.raw(values.nan_to_num()).byte().numpy()
        on_progress(stop / grid.n)
    if nonfinite:
        raise UnreadableFile(f"the field has non-finite values at {nonfinite:,} points", "nonfinite")
    return flat.reshape(height, width, channels)


def _size(meta: Mapping[str, Any], request: Request) -> tuple[int, int]:
    """Width and height in pixels of the requested grid. Raises ``UsageError`` if they are out of range."""
    width, height = request.size or (meta["width"], meta["height"])
    if request.scale is not None:
        if not 0 < request.scale <= MAX_SIDE:
            raise UsageError(f"--scale {request.scale:g}: must be above 0 and at most {MAX_SIDE:,}", "request")
        width, height = max(1, round(width * request.scale)), max(1, round(height * request.scale))
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UsageError(f"{width}x{height}: each side must have 1 to {MAX_SIDE:,} pixels", "request")
    return width, height


def check_writable(meta: Mapping[str, Any], suffix: str, request: Request) -> None:
    """Raises ``UsageError`` if files of this suffix cannot hold the alpha channel or the size of the image."""
    _writer_options(suffix, CHANNELS_BY_MODE[meta["mode"]], max(_size(meta, request)))


def _writer_options(suffix: str, channels: int, longer_side: int) -> tuple[str, dict[str, Any]]:
    """Pillow's name of the format of ``suffix``, and the options for saving. Raises ``UsageError`` if the format cannot
    hold so many channels or pixels."""
    writers: dict[str, tuple[str, int, dict[str, Any]]] = {
        ".png": ("PNG", 2**31 - 1, {}),
        ".jpg": ("JPEG", 65_500, {"quality": 95, "subsampling": 0}),
        ".webp": ("WEBP", 16_383, {"lossless": True, "exact": True}),
        ".tif": ("TIFF", 2**31 - 1, {"compression": "tiff_lzw"}),
        ".bmp": ("BMP", 2**31 - 1, {}),
    }
    ending = {".jpeg": ".jpg", ".tiff": ".tif"}.get(suffix.lower(), suffix.lower())
    if ending not in writers:
        raise UsageError(f"{suffix!r}: images are written as {' '.join(SUFFIXES)}", "suffix")
    format_name, max_side, save_options = writers[ending]
    if format_name == "JPEG" and channels in (2, 4):
        raise UsageError("JPEG cannot hold an alpha channel; use .png, .webp, .tif or .bmp", "suffix")
    if longer_side > max_side:
        raise UsageError(f"{format_name} holds at most {max_side:,} pixels per side; use .png, .tif or .bmp", "suffix")
    return format_name, save_options


def write(decoded: Raster, meta: Mapping[str, Any], suffix: str, request: Request) -> bytes:
    """The bytes of ``decoded`` (h, w, c) as an image file, lossless except for JPEG. Raises ``UsageError`` for an image
    that the format cannot hold."""
    from PIL import Image

    channels = decoded.shape[2]
    format_name, save_options = _writer_options(suffix, channels, max(decoded.shape[:2]))
    if format_name == "BMP" and channels in (2, 4):
        return _bmp_with_alpha(decoded)
    file = BytesIO()
    Image.fromarray(decoded[..., 0] if channels == 1 else decoded).save(file, format_name, **save_options)
    return file.getvalue()


def _bmp_with_alpha(decoded: Raster) -> bytes:
    """A BMP file of version 4 with an alpha mask. Pillow writes version 3, in which readers ignore the fourth byte."""
    height, width = decoded.shape[:2]
    order = [0, 0, 0, 1] if decoded.shape[2] == 2 else [2, 1, 0, 3]
    pixels = decoded[::-1, :, order].tobytes()
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    head += struct.pack("<4I4s48x", *masks, b"BGRs")
    return struct.pack("<2sIII", b"BM", 14 + len(head) + len(pixels), 0, 14 + len(head)) + head + pixels


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """``psnr`` (dB, over all channels) and ``ssim`` of the whole image. For JPEG sources also ``psnr_in_file``, after
    writing and reading a JPEG file."""
    decoded = decode(field, signal.meta, Request(), Limits(max_output=signal.samples.size), on_progress)
    source = signal.samples.reshape(decoded.shape)
    quality: dict[str, Any] = {"psnr": psnr(decoded, source, 255), "ssim": ssim(decoded, source, on_progress)}
    if signal.meta["format"] == "JPEG":
        reread = load(write(decoded, signal.meta, ".jpg", Request()), "", Options(), Limits(max_pixels=signal.n))
        quality["psnr_in_file"] = psnr(reread.samples, signal.samples, 255)
    return quality

"""Images: samples of every number type, fitted in their own range and written back as they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...io.json_schema import Schema, integer, items, matching, number, one_of, optional
from ...io.limits import Limits
from ...io.options import setting
from ...signal import SCALE, SCALE_BEFORE_3, Grid, Scale, Signal
from .. import first_frequency, scales
from ..metrics import psnr
from ..modality import EarlierMeta, OnProgress
from ..notes import by_weight
from ..request import NONE, Request
from . import channels, formats, metadata, quality, raster_decode, sample_types, writing
from .picture import CHANNELS_BY_MODE, MAX_BANDS, MAX_SIDE, MODES_WITH_ALPHA, Picture, Raster
from .png_writer import write_png

if TYPE_CHECKING:
    from ...fields.module import Field

INPUT_SUFFIXES: tuple[str, ...] = (*writing.SUFFIXES, ".ico", ".heif")

_MAX_SOUND_CHANNELS = 8
"""An array (n, c) of the number types of sounds with at most so many columns is not taken for an image."""


def _source(value: Any) -> None:
    """The schema of where a channel of the file comes from: an output of the field, or a constant."""
    if type(value) is dict:
        if set(value) != {"value"}:
            raise ValueError("must be an output's number, or an object with the key 'value'")
        return number()(value["value"])
    return integer(0, MAX_BANDS - 1)(value)


META: Schema = {
    "format": one_of(*(name.upper() for name in formats.FORMATS)),
    "mode": one_of(*CHANNELS_BY_MODE, "bands"),
    "bands": integer(1, MAX_BANDS),
    "bits": integer(1, 64),
    "width": integer(1, MAX_SIDE),
    "height": integer(1, MAX_SIDE),
    "scale": SCALE,
    "channels": optional(items(_source, 1, MAX_BANDS)),
    "palette": optional(matching(r"[A-Za-z0-9+/]{2,1368}={0,2}", "base64 of at most 256 colours")),
    "density": optional({"x": number(1e-3, 1e12), "y": number(1e-3, 1e12), "unit": one_of("inch", "metre", "")}),
    "colour": optional(
        {
            "gamma": optional(number(1e-5, 1e5)),
            "chromaticities": optional(items(number(0, 1e5), 8, 8)),
            "cicp": optional(items(integer(0, 255), 4, 4)),
            "srgb": optional(integer(0, 3)),
        }
    ),
}

_META_BEFORE_3: Schema = {
    "format": one_of("PNG", "JPEG", "WEBP", "TIFF", "BMP"),
    "mode": one_of("L", "LA", "RGB", "RGBA"),
    "width": integer(1, MAX_SIDE),
    "height": integer(1, MAX_SIDE),
    "scale": {
        **SCALE_BEFORE_3,
        "dtype": one_of("uint8"),
        "factor": number(1e-6, 1e6),
        "low": number(0, 0),
        "high": number(255, 255),
        "step": number(1, 1),
    },
}


def _upgrade(meta: Mapping[str, Any]) -> dict[str, Any]:
    """``Signal.meta`` of the format versions 1 and 2 as that of today."""
    scale = {**meta["scale"], "knee": 0.0}
    bands = CHANNELS_BY_MODE[meta["mode"]]
    return {**meta, "scale": scale, "bands": bands, "bits": 8} | dict.fromkeys(
        ("channels", "palette", "density", "colour")
    )


META_BEFORE_3 = EarlierMeta(_META_BEFORE_3, _upgrade)


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if values of ``meta`` that match META contradict each other."""
    bands, outputs = meta["bands"], len(channels.fitted_channels(meta["channels"], meta["bands"]))
    if meta["mode"] != "bands" and bands != CHANNELS_BY_MODE[meta["mode"]]:
        raise ValueError(f"bands is {bands}, but the mode is {meta['mode']}")
    if meta["channels"] is not None:
        used = {source for source in meta["channels"] if isinstance(source, int)}
        if len(meta["channels"]) != bands or used != set(range(len(used))) or not used:
            raise ValueError("channels does not name every output of the field")
    scale = Scale.from_json(meta["scale"])
    scales.check_scale(scale, outputs)
    if not scale.dtype.startswith("float"):
        size = np.dtype(scale.dtype).itemsize * 8
        if size != (8 if meta["bits"] <= 8 else 16 if meta["bits"] <= 16 else 32):
            raise ValueError(f"scale.dtype is {scale.dtype} for {meta['bits']} bits")
        low, high = scales.type_range(scale.dtype, size)
        if meta["bits"] > size or sample_types.lowest(scale.low) < low or sample_types.highest(scale.high) > high:
            raise ValueError(f"scale goes beyond {scale.dtype}")
    if meta["palette"] is not None:
        if bands not in (3, 4) or scale.dtype != "uint8":
            raise ValueError("palette does not match the mode")
        channels.palette_of(meta["palette"], bands)


@dataclass(frozen=True)
class Options:
    """How an image is read."""

    frame: int = setting(1, "number of the picture in a file with several, from 1", 1, 1_000_000)
    bits: int | None = setting(None, "reduce samples of more bits to 8, the only choice", 8, 8)
    metadata: Literal["keep", "drop", "all"] = setting(
        "keep", "colour profile, EXIF and density: keep, drop, or all (also GPS position and maker notes)"
    )


def options_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """``bits`` where samples may have been reduced."""
    return {"bits": 8} if meta["bits"] == 8 else {}


def sniff(data: bytes) -> bool:
    """Whether the content has the signature of an image format, supported or not."""
    return formats.signature(data) is not None


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The image as a signal, with its EXIF orientation applied. Raises a ``RefusedInput``."""
    how = formats.Reading(options.frame, options.bits, options.metadata)
    format_name, picture = formats.read(data, name, how, limits)
    return to_signal(format_name, picture)


def to_signal(format_name: str, picture: Picture) -> Signal:
    """The signal of a picture."""
    raster, notes = picture.raster, list(picture.notes)
    height, width, bands = raster.shape
    alpha = picture.mode in MODES_WITH_ALPHA
    fitted = channels.without_invisible_colours(raster) if alpha else raster
    reference = None if fitted is raster else raster
    sources = channels.find_sources(fitted)
    if sources is not None:
        fitted = fitted[..., channels.fitted_channels(sources, bands)]
    fits_alpha = alpha and (sources is None or isinstance(sources[-1], int))
    scale = sample_types.choose_scale(fitted, picture.bits, fits_alpha, picture.mode == "bands")
    labels = scales.is_labels(fitted, picture.bits) if picture.palette is None else False
    first = ["few different values, like labels: a field blends neighbours and does not keep each one"] * labels
    if scale.knee:
        first.append(f"high dynamic range: fitted through asinh(sample / {scale.knee:.3g})")
    kept = metadata.bounded({"icc": picture.icc, "exif": picture.exif}, notes)
    meta = {
        "format": format_name.upper(),
        "mode": picture.mode,
        "bands": bands,
        "bits": picture.bits,
        "width": width,
        "height": height,
        "scale": scale.json(),
        "channels": sources,
        "palette": channels.palette_text(picture.palette),
        "density": None if picture.density is None else asdict(picture.density),
        "colour": metadata.colour_json(picture.colour),
    }
    samples = np.require(fitted, requirements=["C", "W"]).reshape(height * width, -1)
    return Signal(
        "",
        samples,
        scale,
        meta,
        Grid((height, width)),
        notes=by_weight([*first, *notes]),
        attachments=kept,
        reference=reference,
    )


def from_array(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a file with the samples of ``array``, (h, w) or (h, w, c): PNG for uint8 and uint16 with 1 to 4
    channels, TIFF for other numbers and channels. Raises ``UsageError`` for any other array."""
    types = ("uint8", "uint16", "int8", "int16", "uint32", "int32", "float16", "float32", "float64")
    if array.dtype.name not in types or array.ndim not in (2, 3):
        raise UsageError(
            "the array of an image must be integers of up to 32 bits or floats, (h, w) or (h, w, c), not "
            f"{array.dtype.name} of the shape {array.shape}; for a sound, pass its rate as well",
            "array",
        )
    if not array.size:
        raise UsageError(f"the array is empty: its shape is {array.shape}", "array")
    narrow = array.ndim == 2 and array.shape[1] <= _MAX_SOUND_CHANNELS
    if narrow and array.dtype.name in ("int16", "float32", "float64"):
        raise UsageError(f"an array {array.shape} may be a sound: pass its rate; an image is (h, w, 1)", "array")
    pixels = np.ascontiguousarray(array[..., None] if array.ndim == 2 else array)
    if pixels.shape[2] > MAX_BANDS:
        raise UsageError(f"an image has 1 to {MAX_BANDS} channels, not {pixels.shape[2]}", "array")
    bits = pixels.dtype.itemsize * 8
    if pixels.dtype.name in ("uint8", "uint16") and pixels.shape[2] <= 4:
        return write_png(pixels, list(CHANNELS_BY_MODE)[pixels.shape[2] - 1], bits)
    mode = {1: "L", 3: "RGB"}.get(pixels.shape[2], "bands")
    picture = Picture(pixels, mode, bits)
    return writing.write(pixels, to_signal("TIFF", picture).meta, ".tif", Request(), {})


def describe_source(meta: Mapping[str, Any]) -> str:
    """A description such as "768x512 RGB PNG" or "510x532 L 16-bit TIFF"."""
    format_name = next(name for name in formats.FORMATS if name.upper() == meta["format"])
    return f"{meta['width']}x{meta['height']} {_describe_samples(meta)} {format_name}"


def _describe_samples(meta: Mapping[str, Any]) -> str:
    """Mode and number type, as in "RGB" for 8 bits, "RGB 16-bit" or "7 bands float32"."""
    mode = f"{meta['bands']} bands" if meta["mode"] == "bands" else meta["mode"]
    dtype, bits = meta["scale"]["dtype"], meta["bits"]
    if dtype.startswith("uint"):
        return mode + (" palette" if meta["palette"] else "" if bits == 8 else f" {bits}-bit")
    return f"{mode} {dtype}"


def first_omega(signal: Signal) -> tuple[float, ...]:
    """``first_frequency.of_raster``."""
    assert signal.grid is not None
    return first_frequency.of_raster(signal.grid.shape)


def describe_decoded(decoded: Raster, meta: Mapping[str, Any], suffix: str, request: Request) -> str:
    """A description such as "1536x1024 RGB"."""
    size = decoded.shape[1], decoded.shape[0]
    return f"{size[0]}x{size[1]} {_describe_samples(writing.meta_in_file(meta, suffix, request, size))}"


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Raster:
    """The image (h, w, c) in the sample type of the file. Fewer pixels than the source has are averages over their
    areas. Raises ``UsageError`` for a size out of range, ``OverLimit``, and ``UnreadableFile`` for a field with other
    channels or with values that are not finite."""
    width, height = output_size(meta, request)
    bytes_per_pixel = meta["bands"] * np.dtype(meta["scale"]["dtype"]).itemsize
    limits.check("max_output", width * height * bytes_per_pixel, "decoded bytes")
    raster = raster_decode.decode(field, meta, width, height, on_progress)
    if meta["palette"] is not None:
        palette = channels.palette_of(meta["palette"], meta["bands"])
        raster = palette[channels.nearest_entries(raster, palette, meta["mode"])]
    return raster


def output_size(meta: Mapping[str, Any], request: Request) -> tuple[int, int]:
    """Width and height in pixels of the requested grid. A side that is not given follows from the source's aspect.
    Raises ``UsageError`` if they are out of range."""
    size = request.size or (meta["width"], meta["height"])
    if len(size) != 2:
        raise UsageError(f"--size: an image has a width and a height, not {len(size)} sides", "request")
    width, height = size
    if width is None:
        width = max(1, round((height or 1) * meta["width"] / meta["height"]))
    if height is None:
        height = max(1, round(width * meta["height"] / meta["width"]))
    if request.scale is not None:
        if not 0 < request.scale <= MAX_SIDE:
            raise UsageError(f"--scale {request.scale:g}: must be above 0 and at most {MAX_SIDE:,}", "request")
        width, height = max(1, round(width * request.scale)), max(1, round(height * request.scale))
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UsageError(f"{width}x{height}: each side must have 1 to {MAX_SIDE:,} pixels", "request")
    return width, height


def check_writable(
    meta: Mapping[str, Any], suffix: str, request: Request, attachments: Mapping[str, bytes] = NONE
) -> list[str]:
    """Notes on what a file of this suffix will not keep. Raises ``UsageError`` if it cannot hold the image."""
    return writing.notes(meta, suffix, request, attachments, output_size(meta, request))


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """The measures of ``quality.measure``. For sources in a lossy format also ``psnr_in_file``, after writing and
    reading a file of that format."""
    meta, limits = signal.meta, Limits(max_output=2**62, max_pixels=signal.n)
    decoded = decode(field, meta, Request(), limits, on_progress)
    measured = quality.measure(decoded, signal, on_progress)
    if meta["format"] in (name.upper() for name in formats.LOSSY_FORMATS):
        data = writing.write(decoded, meta, writing.default_suffix(meta)[0], Request(), {})
        reread = formats.read(data, "", formats.Reading(), limits)[1].raster
        measured["psnr_in_file"] = psnr(reread, quality.source_raster(signal), quality.peaks(meta))
    return measured

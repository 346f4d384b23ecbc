"""TIFF files of several pages of one size: a stack of slices, frames and channels, as ImageJ and OME describe it."""

from __future__ import annotations

import html
import io
import math
import re
import struct
from typing import Any, Literal

import numpy as np

from ...errors import RefusedInput, UnreadableFile, UnsupportedInput, machine_error
from ...io import extras
from ...io.limits import Limits
from ..number_types import fitted, in_file
from .raw_volume import Array, Geometry, RawVolume, require_shape

PAGE_AXES = "i"
"""The letter of an axis of pages that the file does not describe."""

MAX_DESCRIPTION = 1 << 19
"""Longest description, in bytes, that is kept."""

_PACKED = {1: None, 5: "lzw", 8: "zlib", 32946: "zlib", 50000: "zstd", 32773: "packbits", 34925: "lzma"}
_NOT_KEPT = {"Info", "Labels", "LUTs", "Overlays", "Plot", "Properties", "Ranges", "ROI"}
_UNITS = {"µm": "um", "micron": "um", "\\u00B5m": "um", "microns": "um", "pixel": "", "millimeter": "mm"}


def page_count(data: bytes) -> int:
    """Number of pages of one size, or of slices behind one page; 1 for a picture, or a file that cannot be read."""
    try:
        import tifffile

        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            if len(file.series) > 1 and not (file.is_imagej or file.is_ome):
                return 1
            letters = _letters(series.axes)
            return math.prod(side for letter, side in zip(letters, series.shape, strict=True) if letter not in "yxc")
    except Exception:  # not readable as a stack, whatever the reason: the reader of pictures says what is wrong
        return 1


def _letters(axes: str) -> str:
    """The axes of tifffile in small letters: S and C are channels, I, Q and other unknown ones are pages."""
    known = {"T": "t", "Z": "z", "Y": "y", "X": "x", "S": "c", "C": "c"}
    return "".join(known.get(letter, PAGE_AXES) for letter in axes)


def read(data: bytes, limits: Limits) -> RawVolume:
    """Reads all pages of the first series. Raises a ``RefusedInput``."""
    import tifffile

    _require_all_pages(data)
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return _volume(file, file.series[0], limits)
    except RefusedInput:
        raise
    except Exception as error:  # of tifffile, and of the codecs that it calls
        if (of_machine := machine_error(error)) is not None:
            raise of_machine from error
        text = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        if "imagecodecs" in text:
            extras.require("imagecodecs", "this compression of TIFF")
            raise UnsupportedInput(f"compression not supported: {text}", "compression") from None
        raise UnreadableFile(f"damaged, or of a variant that is not read: {text}", "corrupt") from None


def _require_all_pages(data: bytes) -> None:
    """Raises ``UnreadableFile`` if the list of pages leads out of the file: tifffile takes it for the end."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    big = int.from_bytes(data[2:4], order) == 43
    count, entry, wide = (8, 20, 8) if big else (2, 12, 4)
    place = int.from_bytes(data[8:16] if big else data[4:8], order)
    seen: set[int] = set()
    while place and place not in seen:
        seen.add(place)
        following = place + count + entry * int.from_bytes(data[place : place + count], order)
        if following + wide > len(data):
            raise UnreadableFile("the file ends early: a page is missing", "truncated")
        place = int.from_bytes(data[following : following + wide], order)


def _volume(file: Any, series: Any, limits: Limits) -> RawVolume:
    """The volume of a series of pages."""
    letters, shape = _letters(series.axes), tuple(int(side) for side in series.shape)
    if letters.count("c") > 1 or len(set(letters.replace("c", ""))) < len(letters.replace("c", "")):
        raise UnsupportedInput(f"a TIFF stack with the axes {series.axes} is not supported", "axes")
    channel = letters.index("c") if "c" in letters else None
    grid = tuple(side for axis, side in enumerate(shape) if axis != channel)
    channels = 1 if channel is None else shape[channel]
    require_shape(grid, channels)
    limits.check("max_voxels", math.prod(grid), "voxels")
    array = series.asarray()
    if array.shape != shape:
        raise UnreadableFile(f"damaged: pages of {array.shape}, not {shape}", "corrupt")
    dtype = np.dtype(series.dtype)
    array = array[..., None] if channel is None else np.moveaxis(array, channel, -1)
    page = file.pages[0]
    description = str(page.tags["ImageDescription"].value if "ImageDescription" in page.tags else "")
    layout = {
        "channel": -1 if channel is None else channel,
        "kind": "ome" if file.is_ome else "imagej" if file.is_imagej else "pages",
        "compression": _PACKED.get(int(page.compression)) or "",
    }
    notes = []
    if layout["kind"] == "pages" and PAGE_AXES in letters:
        notes.append(
            f"{math.prod(grid) // math.prod(grid[-2:])} pages taken for slices (the file does not say what they are)"
        )
    unit = int(page.tags["ResolutionUnit"].value) if "ResolutionUnit" in page.tags else 0
    if layout["kind"] == "pages" and unit in (2, 3) and "XResolution" in page.tags:  # per inch or centimetre
        notes.append("pixel density not kept")
    if len(description.encode()) > MAX_DESCRIPTION:
        description = ""
        notes.append("description of the file not kept: it is too long")
    if lost := sorted(_NOT_KEPT & (file.imagej_metadata or {}).keys()):
        notes.append(f"metadata of ImageJ not kept: {', '.join(lost)}")
    geometry = _geometry(file, letters.replace("c", ""))
    order = "big" if file.byteorder == ">" else "little"
    return RawVolume(
        fitted(np.ascontiguousarray(array)),
        dtype.name,
        order,
        geometry,
        layout,
        description.encode(),
        notes=tuple(notes),
    )


def _geometry(file: Any, axes: str) -> Geometry:
    """Spacing and units, as far as ImageJ or OME say them."""
    pitches: dict[str, tuple[float, str]] = {}
    if file.is_imagej:
        metadata = file.imagej_metadata or {}
        unit = str(metadata.get("unit", ""))
        tags = file.pages[0].tags
        for letter, name in (("x", "XResolution"), ("y", "YResolution")):
            if name in tags and tags[name].value[0]:
                pitches[letter] = (tags[name].value[1] / tags[name].value[0], unit)
        if "spacing" in metadata:
            pitches["z"] = (float(metadata["spacing"]), unit)
        if metadata.get("finterval"):
            pitches["t"] = (float(metadata["finterval"]), str(metadata.get("tunit", "s")))
    elif file.is_ome:
        pitches = _ome_pitches(str(file.ome_metadata or ""))
    if not pitches:
        return Geometry(axes)
    spacing = tuple(pitches.get(letter, (1.0, ""))[0] for letter in axes)
    units = tuple(_UNITS.get(unit, unit) for unit in (pitches.get(letter, (1.0, ""))[1] for letter in axes))
    return Geometry(axes, spacing, None, units if any(units) else None)


def _ome_pitches(text: str) -> dict[str, tuple[float, str]]:
    """Physical size and unit of each axis in OME-XML."""
    found = {}
    for letter, name in (
        ("x", "PhysicalSizeX"),
        ("y", "PhysicalSizeY"),
        ("z", "PhysicalSizeZ"),
        ("t", "TimeIncrement"),
    ):
        size = re.search(rf'{name}="([^"]+)"', text)
        unit = re.search(rf'{name}Unit="([^"]*)"', text)
        if size:
            try:
                found[letter] = (float(size[1]), unit[1] if unit else ("s" if letter == "t" else "um"))
            except ValueError:
                continue
    return found


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The bytes of a .tif file. Raises ``UnsupportedInput`` for samples that such a file cannot hold."""
    try:
        return _written(samples, volume)
    except (ValueError, TypeError, ArithmeticError, struct.error) as error:
        raise UnsupportedInput(f"a TIFF stack cannot hold this volume ({error})", "format") from None


def _written(samples: Array, volume: RawVolume) -> bytes:
    """The bytes of a file: ImageJ and OME stacks with their description, others page by page."""
    import tifffile

    geometry, channels = volume.geometry, samples.shape[-1]
    kind = str(volume.layout.get("kind", "imagej"))
    array = in_file(samples, "uint8" if volume.dtype == "bool" else volume.dtype, volume.byteorder)
    if array.dtype.kind == "c":
        raise UnsupportedInput("TIFF stacks hold no complex samples", "samples")
    compression = volume.layout.get("compression") or None
    compression = compression if compression in (None, "zlib") else "zlib"
    last = array.ndim - (1 if channels in (3, 4) or array.ndim < 3 else 3)
    channel = volume.layout.get("channel", -1 if channels == 1 else last)
    axes = geometry.axes.upper().replace(PAGE_AXES.upper(), "Q")
    array = array[..., 0] if int(channel) < 0 else np.moveaxis(array, -1, int(channel))
    if int(channel) >= 0:
        letter = "S" if int(channel) == array.ndim - 1 else "C"
        axes = axes[: int(channel)] + letter + axes[int(channel) :]
    order: Literal["<", ">"] = ">" if volume.byteorder == "big" else "<"
    spacing = dict(zip(geometry.axes, geometry.spacing or (), strict=False))
    units = dict(zip(geometry.axes, geometry.units or (), strict=False))
    target = io.BytesIO()
    colours = int(channel) == array.ndim - 1 and channels in (3, 4)
    options: dict[str, Any] = {"compression": compression, "photometric": "rgb" if colours else "minisblack"}
    if kind == "imagej" and array.dtype.name in ("uint8", "uint16", "float32"):
        metadata: dict[str, Any] = {"axes": axes.replace("Q", "T")} | _imagej_metadata(volume.header, spacing, units)
        resolution = (1 / spacing["x"], 1 / spacing["y"]) if spacing.get("x") and spacing.get("y") else None
        tifffile.imwrite(
            target, array, imagej=True, byteorder=order, metadata=metadata, resolution=resolution, **options
        )
    elif kind == "ome" and not _describes(volume.header, array, axes):
        metadata = {"axes": axes.replace("Q", "T")} | _ome_metadata(spacing, units)
        if len(names := _channel_names(volume.header)) == channels:
            metadata["Channel"] = {"Name": names}
        tifffile.imwrite(target, array, ome=True, byteorder=order, metadata=metadata, **options)
    else:
        tifffile.imwrite(target, array, byteorder=order, metadata=None, description=volume.header or None, **options)
    return target.getvalue()


def _describes(header: bytes, array: Array, axes: str) -> bool:
    """Whether OME-XML describes the pages of ``array``, so that it can be kept as it is."""
    text = header.decode("utf-8", "replace")
    sizes = dict(re.findall(r'\bSize([XYZCT])="(\d+)"', text))
    kinds = {"float32": "float", "float64": "double", "complex64": "complex", "complex128": "double-complex"}
    own = dict.fromkeys("XYZCT", 1)
    for axis, side in zip(axes.replace("S", "C").replace("Q", "T"), array.shape, strict=True):
        own[axis] = own.get(axis, 1) * side
    one = text.count("<Pixels") == 1 and f'Type="{kinds.get(array.dtype.name, array.dtype.name)}"' in text
    return one and "FileName=" not in text and own == {axis: int(side) for axis, side in sizes.items()}


def _channel_names(header: bytes) -> list[str]:
    """The names of the channels in OME-XML."""
    names = re.findall(r'<(?:\w+:)?Channel\b[^>]{0,1000}?\sName="([^"]{0,1000})"', header.decode("utf-8", "replace"))
    return [html.unescape(name) for name in names]


def _ome_metadata(spacing: dict[str, float], units: dict[str, str]) -> dict[str, Any]:
    """What OME-XML says of sizes and units, as far as they are known."""
    metadata: dict[str, Any] = {}
    for letter, name in (("x", "PhysicalSizeX"), ("y", "PhysicalSizeY"), ("z", "PhysicalSizeZ")):
        if letter in spacing and (spacing[letter] != 1 or units.get(letter)):
            metadata |= {name: spacing[letter], name + "Unit": units.get(letter) or "µm"}
    if "t" in spacing:
        metadata |= {"TimeIncrement": spacing["t"], "TimeIncrementUnit": units.get("t") or "s"}
    return {key: "µm" if value == "um" else value for key, value in metadata.items()}


def _imagej_metadata(description: bytes, spacing: dict[str, float], units: dict[str, str]) -> dict[str, Any]:
    """What an ImageJ description says besides its sizes."""
    kept: dict[str, Any] = {}
    named = dict(line.partition("=")[::2] for line in description.decode("utf-8", "replace").splitlines())
    for key in ("unit", "finterval", "tunit", "mode", "min", "max", "fps"):
        if key in named:
            kept[key] = named[key]
    if "loop" in named:
        kept["loop"] = named["loop"] == "true"
    if "spacing" in named or spacing.get("z", 1) != 1:
        kept["spacing"] = spacing.get("z", 1)
    if units.get("x"):
        kept.setdefault("unit", units["x"])
    if spacing.get("t") and units.get("t"):
        kept.setdefault("finterval", spacing["t"])
    return kept

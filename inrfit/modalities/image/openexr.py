"""Reading and writing OpenEXR with the library of the extra ``exr``."""

from __future__ import annotations

import struct
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, machine_error, printable
from ...io import extras
from ...io.limits import Limits
from ...runtime import captured_output
from .picture import MAX_BANDS, MODES_WITH_ALPHA, Picture, Raster, mode_of
from .pillow_reader import require_size


def read_openexr(data: bytes, limits: Limits, notes: list[str]) -> Picture:
    """The first part of the file: its channels R, G, B, A or Y, or all of them under no known names."""
    _check_header(data, limits)
    openexr = _library()
    try:
        with (
            captured_output(1, 2),
            redirect_stdout(StringIO()),
            openexr.File(BytesIO(data), separate_channels=True) as file,
        ):
            if not file.parts:
                raise UnreadableFile("damaged: OpenEXR cannot decode its pixels", "corrupt")
            part = file.parts[0]
            header = part.header
            channels = {name: np.array(channel.pixels) for name, channel in part.channels.items()}
            parts = len(file.parts)
    except UnreadableFile:
        raise
    except Exception as error:  # the library raises RuntimeError for damage
        raise machine_error(error) or UnreadableFile(f"damaged: {printable(error)[:120]}", "corrupt") from error
    if parts > 1:
        notes.append(f"1 of {parts} parts used")
    return _picture(channels, header, notes)


def _library() -> Any:
    """The module OpenEXR. Raises ``UsageError`` if it is not installed."""
    return extras.load("OpenEXR", "OpenEXR")


def _picture(channels: dict[str, Raster], header: dict[str, Any], notes: list[str]) -> Picture:
    """The picture of the channels of a part."""
    sizes = {samples.shape for samples in channels.values()}
    if len(sizes) != 1 or not 1 <= len(channels) <= MAX_BANDS:
        raise UnsupportedInput(f"{len(channels)} channels of different sizes: not supported", "layout")
    names: tuple[tuple[str, ...], ...] = (("R", "G", "B", "A"), ("R", "G", "B"), ("Y", "A"), ("Y",))
    known: tuple[str, ...]
    for known in names:
        if set(known) <= set(channels):
            others = sorted(set(channels) - set(known))
            notes.extend([f"channels not kept: {', '.join(map(printable, others))}"[:300]] if others else [])
            mode = mode_of(len(known), "A" in known)
            break
    else:
        known, mode = tuple(sorted(channels)), "bands"
        notes.append(f"names of the channels not kept: {', '.join(map(printable, known))}"[:300])
    raster = np.stack([channels[name] for name in known], axis=-1)
    if raster.dtype == np.uint32:
        return Picture(raster, mode, 32, notes=notes)
    kept = {"channels", "compression", "dataWindow", "displayWindow", "lineOrder", "type", "pixelAspectRatio"}
    kept |= {"screenWindowCenter", "screenWindowWidth", "tiles", "name", "version", "chunkCount"}
    lost = sorted(set(header) - kept)
    notes.extend([f"attributes not kept: {', '.join(map(printable, lost))}"[:300]] if lost else [])
    if abs(float(header.get("pixelAspectRatio", 1.0)) - 1) > 1e-6:
        notes.append("aspect of the pixels not kept")
    windows: list[Any] = [header.get(name) for name in ("dataWindow", "displayWindow")]
    if not np.array_equal(*windows):
        notes.append("display window not kept: the picture is the data window")
    if mode in MODES_WITH_ALPHA:  # OpenEXR has colours that are multiplied by alpha
        alpha = raster[..., -1:].astype(np.float64)
        straight = raster[..., :-1] / np.where(alpha == 0, 1.0, alpha)
        raster = np.concatenate([straight.astype(raster.dtype), raster[..., -1:]], axis=-1)
    return Picture(raster, mode, 16 if raster.dtype == np.float16 else 32, notes=notes)


def _check_header(data: bytes, limits: Limits) -> None:
    """Checks the size that the data window of the first part claims, before the library allocates memory."""
    at = 8
    while True:
        name_end = data.find(b"\0", at, at + 256)
        type_end = data.find(b"\0", name_end + 1, name_end + 257)
        if name_end == at or name_end < 0 or type_end < 0 or type_end + 5 > len(data):
            raise UnreadableFile("damaged: the header has no data window", "header")
        (size,) = struct.unpack_from("<i", data, type_end + 1)
        if size < 0 or type_end + 5 + size > len(data):
            raise UnreadableFile("the file ends early, within the header", "truncated")
        if data[at:name_end] == b"dataWindow" and size == 16:
            left, top, right, bottom = struct.unpack_from("<4i", data, type_end + 5)
            return require_size(right - left + 1, bottom - top + 1, limits)
        at = type_end + 5 + size


def write_openexr(raster: Raster, mode: str) -> bytes:
    """The bytes of a file with ``raster`` (h, w, c): float16, float32 or uint32."""
    openexr = _library()
    if mode in MODES_WITH_ALPHA:
        alpha = raster[..., -1:]
        multiplied = raster[..., :-1] * np.where(alpha == 0, 1, alpha)
        raster = np.concatenate([multiplied.astype(raster.dtype), alpha], axis=-1)
    names = {"L": "Y", "LA": "YA", "RGB": "RGB", "RGBA": "RGBA"}.get(mode)
    labels = list(names) if names else [f"band{number:02d}" for number in range(1, raster.shape[2] + 1)]
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    channels = {name: np.ascontiguousarray(raster[..., index]) for index, name in enumerate(labels)}
    buffer = BytesIO()
    with openexr.File(header, channels) as file:
        file.write(buffer)
    return buffer.getvalue()

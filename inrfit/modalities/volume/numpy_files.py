"""NumPy arrays: .npy, and .npz with one array or one that is named. Nothing is unpickled."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, UsageError, printable
from ...io.limits import Limits
from .. import npy
from ..number_types import fitted, in_file
from .raw_volume import Array, Geometry, RawVolume, from_bytes, require_shape

AMBIGUOUS_SIDE = 4
"""An array whose last axis is at most so long may have channels there."""

MOST_NAMED = 20
"""Most names of arrays in a message."""

DEFAULT_AXES = {1: "x", 2: "yx", 3: "zyx", 4: "tzyx"}
"""Letters of the axes of an array by their number."""


def read(data: bytes, limits: Limits, axes: str | None = None) -> RawVolume:
    """Reads .npy. Raises a ``RefusedInput``."""
    header, dtype, fortran, shape = npy.header(data)
    return _volume(data, len(header), dtype, fortran, shape, axes, limits, {"fortran": fortran}, header)


def read_npz(data: bytes, limits: Limits, axes: str | None = None, array: str | None = None) -> RawVolume:
    """Reads an array of a .npz file. Raises a ``RefusedInput``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            name = chosen_array(names, array)
            member = archive.getinfo(name + ".npy")
            packed = member.compress_type != zipfile.ZIP_STORED
            with archive.open(member) as stream:
                header, dtype, fortran, shape = npy.header(stream.read(npy.MAX_HEADER))
            require_count(shape, axes, limits)
            size = len(header) + int(np.prod(shape, dtype=object)) * dtype.itemsize
            with archive.open(member) as stream:
                content = stream.read(size)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise UnreadableFile(f"damaged: not a .npz file ({printable(str(error))[:80]})", "corrupt") from None
    except Exception as error:  # zlib.error is not imported for its name alone
        if type(error).__module__ != "zlib":
            raise
        raise UnreadableFile(f"damaged: {error}", "corrupt") from None
    layout = {"fortran": fortran, "name": name, "packed": packed}
    others = [other for other in names if other != name]
    notes = (f"arrays not kept: {', '.join(map(printable, others[:MOST_NAMED]))}",) if others else ()
    return _volume(content, len(header), dtype, fortran, shape, axes, limits, layout, header, notes)


def chosen_array(names: list[str], array: str | None) -> str:
    """The name of the array to read. Raises ``UsageError`` if there are several and none is named, or it is not one of
    them."""
    listed = ", ".join(printable(name) for name in names[:MOST_NAMED])
    if not names:
        raise UnsupportedInput("the file has no arrays", "array")
    if array is None:
        if len(names) > 1:
            raise UsageError(f"the file has several arrays; choose one with -O array=NAME: {listed}", "option")
        return names[0]
    if array not in names:
        raise UsageError(f"-O array={array}: the file has no such array, but {listed}", "option")
    return array


def require_count(shape: tuple[int, ...], axes: str | None, limits: Limits) -> tuple[str, int | None]:
    """The letters of the grid axes, and the axis of the channels. Raises ``UsageError`` if it cannot be known which
    that is, and ``OverLimit``."""
    letters = axes or DEFAULT_AXES.get(len(shape))
    if letters is None:
        advice = "name its axes with -O axes=, such as tzyxc (c: channels)" if len(shape) == 5 else "not supported"
        raise UsageError(f"an array of {len(shape)} axes: {advice}", "option")
    if len(letters) != len(shape) or len(set(letters)) < len(letters):
        raise UsageError(f"-O axes={letters}: the array has {len(shape)} axes: {_sides(shape)}", "option")
    if axes is None and len(shape) > 1 and shape[-1] <= AMBIGUOUS_SIDE:
        raise UsageError(
            f"an array {_sides(shape)} may have channels on its last axis: say so with -O axes={letters[1:]}c, or "
            f"-O axes={letters}",
            "option",
        )
    channel = letters.index("c") if "c" in letters else None
    count = int(np.prod([side for axis, side in enumerate(shape) if axis != channel], dtype=object))
    limits.check("max_voxels", count, "voxels")
    return letters.replace("c", ""), channel


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _volume(
    data: bytes,
    offset: int,
    dtype: np.dtype[Any],
    fortran: bool,
    shape: tuple[int, ...],
    axes: str | None,
    limits: Limits,
    layout: dict[str, Any],
    header: bytes,
    notes: tuple[str, ...] = (),
) -> RawVolume:
    """The volume of an array whose samples begin at ``offset``."""
    letters, channel = require_count(shape, axes, limits)
    grid = tuple(side for axis, side in enumerate(shape) if axis != channel)
    require_shape(grid, 1 if channel is None else shape[channel])
    flat = from_bytes(data, offset, dtype, int(np.prod(shape, dtype=object)))
    array = flat.reshape(shape, order="F" if fortran else "C")
    array = array[..., None] if channel is None else np.moveaxis(array, channel, -1)
    layout = {**layout, "channel": -1 if channel is None else channel}
    order = "big" if dtype.byteorder == ">" else "little"
    geometry = Geometry(letters)
    return RawVolume(fitted(np.ascontiguousarray(array)), dtype.name, order, geometry, layout, header, notes=notes)


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The bytes of a .npy or .npz file."""
    channel = int(
        volume.layout.get("channel", -1 if samples.shape[-1] == 1 or volume.dtype.startswith("complex") else 99)
    )
    array = in_file(samples, volume.dtype, volume.byteorder)
    array = (
        array[..., 0] if channel < 0 and array.shape[-1] == 1 else np.moveaxis(array, -1, min(channel, array.ndim - 1))
    )
    array = np.asfortranarray(array) if volume.layout.get("fortran") else np.ascontiguousarray(array)
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version=_version(volume.header), allow_pickle=False)
    if suffix != ".npz":
        return content.getvalue()
    archive = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if volume.layout.get("packed", True) else zipfile.ZIP_STORED
    with zipfile.ZipFile(archive, "w", how) as members:
        member = zipfile.ZipInfo(str(volume.layout.get("name", "arr_0")) + ".npy")  # always the same date
        member.compress_type = how
        members.writestr(member, content.getvalue())
    return archive.getvalue()


def _version(header: bytes) -> tuple[int, int] | None:
    """The version of the format of the source; None for the oldest that will do."""
    return (header[6], header[7]) if len(header) > 7 and header[:6] == b"\x93NUMPY" and header[6] in (1, 2) else None

"""What is kept of an HDF5 or netCDF-4 file besides the samples of one data set, and such a file with other samples."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, printable
from ...io.isolation import allow, isolated
from ..number_types import in_file
from .compression import inflated
from .coordinates import Place, places_of
from .hdf5_copy import copied
from .hdf5_file import (
    Contents,
    contents_of,
    find,
    is_bounded,
    is_numeric,
    library,
    longest_element,
    opened,
    require,
    scales_of,
)
from .raw_volume import Array, RawVolume

MAX_SHELL = 1 << 20
"""Most bytes of the compressed file without its samples."""

MAX_FILE = 1 << 26
"""Most bytes of the same, unpacked."""

MAX_KEPT = 1 << 22
"""Most bytes of the other data sets."""

_NAMED = 20
"""Most names in a note."""


def shell_of(file: Any, user_block: bytes, target: str, longest: int) -> tuple[bytes, tuple[str, ...]]:
    """The file without the samples of the data set ``target``, and notes on what it lacks. Raises ``UnsupportedInput``
    if it is too large even without the other data sets."""
    contents = contents_of(file)
    target = contents.aliases.get(target, target)
    needed = _needed(file, contents, target, longest)
    for kept in (_with_others(contents, needed, longest), needed):
        shell, lost = copied(file, kept, contents, target, longest)
        shell = user_block + shell[len(user_block) :]
        if len(shell) <= MAX_FILE and len(zlib.compress(shell, 9)) <= MAX_SHELL:
            break
    else:
        raise UnsupportedInput(
            f"HDF5 with more than {MAX_SHELL:,} bytes besides the samples is not supported: copy the data set into a "
            "file of its own", "size"
        )  # fmt: skip
    dataset = library().Dataset
    dropped = [path for path, item in contents.items.items() if path not in kept and isinstance(item, dataset)]
    notes = {"arrays not kept": dropped, "not kept": lost}
    return shell, tuple(
        f"{what}: {', '.join(map(printable, names[:_NAMED]))}" for what, names in notes.items() if names
    )


def _needed(file: Any, contents: Contents, target: str, longest: int) -> dict[str, Any]:
    """The data set, its dimension scales, and the groups that they are in."""
    dataset = find(file, target)
    scales = [scale for scales in scales_of(dataset, longest) for scale in scales]
    items = {target: dataset} | {contents.path_of(scale): scale for scale in scales if _is_small(scale, longest)}
    found: dict[str, Any] = {}
    for path, item in items.items():
        parts = path.split("/")
        found |= {above: find(file, above) for above in ("/".join(parts[:k]) for k in range(1, len(parts)))}
        found[path] = item
    return found


def _with_others(contents: Contents, needed: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """What is needed, all groups and the smallest of the other data sets, in the order of the file."""
    if not contents.whole:
        return dict(needed)
    dataset, total = library().Dataset, 0
    chosen = {path for path, item in contents.items.items() if not isinstance(item, dataset)} | needed.keys()
    others = [(item.id.get_storage_size(), path) for path, item in contents.items.items() if path not in chosen]
    for size, path in sorted(others):
        total += size
        if total <= MAX_KEPT and _is_small(contents.items[path], longest):
            chosen.add(path)
    return {path: item for path, item in contents.items.items() if path in chosen}


def _is_small(dataset: Any, longest: int) -> bool:
    """Whether a data set can be kept: its samples are few, in this file, and no references."""
    h5t, plist, kind = library().h5t, dataset.id.get_create_plist(), dataset.id.get_type()
    count = math.prod(dataset.shape or ())
    if plist.get_external_count() or dataset.is_virtual or kind.get_class() == h5t.REFERENCE:
        return False
    return is_bounded(kind, count, longest) and count * int(kind.get_size()) <= MAX_KEPT


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The bytes of the source with other samples, and with its dimension scales where these lie. Raises
    ``UnsupportedInput`` for a volume of another format, and ``UsageError`` if h5py is not installed."""
    size = int(volume.layout.get("bytes", 0))
    if not volume.header or not 0 < size <= MAX_FILE:
        raise UnsupportedInput("HDF5 is written only for a source of that format; choose .nii, .nrrd or .npy", "format")
    require()
    array, channel = in_file(samples, volume.dtype, volume.byteorder), int(volume.layout.get("channel", -1))
    array = array[..., 0] if channel < 0 else np.moveaxis(array, -1, channel)
    return isolated(write_here, inflated(volume.header, size), np.ascontiguousarray(array), dict(volume.layout))


def write_here(shell: bytes, array: Array, layout: dict[str, Any]) -> bytes:
    """The file ``shell`` with the samples ``array`` of its data set, written in this process."""
    h5py, name, channel = library(), str(layout.get("name", "")), int(layout.get("channel", -1))
    allow(2 * array.nbytes)
    with opened(shell) as file:
        contents = contents_of(file)
        target = contents.aliases.get(name, name)
        dataset = contents.items.get(target)
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != array.ndim or not is_numeric(dataset):
            raise UnreadableFile("damaged: the file that belongs to the field lacks its data set", "attachment")
        source, shape = (
            [n for axis, n in enumerate(sides) if axis != channel] for sides in (dataset.shape, array.shape)
        )
        places = list(places_of(layout, source, shape))
        if channel >= 0:
            places.insert(channel, Place(0, 1, array.shape[channel]))
        array = array.astype(dataset.dtype, copy=False)
        content, _ = copied(file, contents.items, contents, target, longest_element(shell), places, array)
        user_block = shell[: file.userblock_size]
    return user_block + content[len(user_block) :]

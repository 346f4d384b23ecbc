"""HDF5 files by h5py: their objects, and the samples and attributes of a data set.

Only what is in the file itself is read: external links are not followed, and data sets whose samples are in other files
are refused."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput, machine_error, printable
from ...io import extras
from ...io.isolation import allow
from ...io.limits import Limits, require_memory
from .chunk_sizes import SAFE_BYTES, require_inflated
from .raw_volume import Array

SIGNATURE = b"\x89HDF\r\n\x1a\n"

MAX_OBJECTS = 10_000
"""Most groups and data sets of a file, and most attributes of one of them, that are looked at."""

MAX_VARIABLE = 1 << 26
"""Most bytes of values of variable length that are read at once."""

FAULTS = (TypeError, ValueError, OSError, RuntimeError, KeyError, IndexError, ArithmeticError)
"""What h5py raises for what it cannot read."""

MAX_SCALES = 16
"""Most dimension scales of an axis."""

NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
"""Beginning of the name of a dimension scale without positions."""


def is_hdf5(data: bytes) -> bool:
    """Whether ``data`` has the signature at its beginning, or after a user block."""
    place = 0
    while place < len(data):
        if data[place : place + 8] == SIGNATURE:
            return True
        place = 2 * place or 512
    return False


def require() -> None:
    """Raises ``UsageError`` if h5py is not installed."""
    extras.require("h5py", "HDF5 (and netCDF-4)")


def library() -> Any:
    """h5py, which is imported where a file is read, in a process of its own."""
    import h5py

    return h5py


@contextmanager
def opened(data: bytes) -> Iterator[Any]:
    """The open file. Exceptions of h5py become ``UnreadableFile``."""
    h5py = library()
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except FAULTS as error:
        if (of_machine := machine_error(error)) is not None:
            raise of_machine from error
        text = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)[:120]
        if "truncated" in text:
            raise UnreadableFile("the file ends early: it is shorter than its header says", "truncated") from None
        raise UnreadableFile(f"damaged, or of a variant of HDF5 that is not read: {text}", "corrupt") from None


@dataclass(frozen=True)
class Contents:
    """Groups and data sets by their paths, parents first, and further paths of the same objects (hard links). ``whole``
    tells whether these are all of the file."""

    items: dict[str, Any] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    whole: bool = True

    def path_of(self, item: Any) -> str:
        """The path of an object among ``items``."""
        path = str(item.name).strip("/")
        return self.aliases.get(path, path)


def contents_of(file: Any) -> Contents:
    """What hard links lead to, MAX_OBJECTS at most."""
    h5py = library()
    items: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    paths = {h5py.h5o.get_info(file["/"].id).addr: ""}
    left = [("", file["/"])]
    while left and len(items) + len(aliases) < MAX_OBJECTS:
        below, group = left.pop()
        inner = []
        for name, item in _members(group):
            address, path = h5py.h5o.get_info(item.id).addr, below + name
            if address in paths:
                aliases[path] = paths[address]
                continue
            paths[address], items[path] = path, item
            if isinstance(item, h5py.Group):
                inner.append((path + "/", item))
        left += reversed(inner)
    return Contents(items, aliases, not left)


def _members(group: Any) -> Iterator[tuple[str, Any]]:
    """The groups and data sets in a group itself, by name."""
    h5py = library()
    for name in names_of(group):
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            item = group[name]
            if isinstance(item, h5py.Group | h5py.Dataset):
                yield name, item


def names_of(members: Any) -> Iterator[str]:
    """The names of the members or the attributes of an object, but for those that are no text."""
    for name in islice(members, MAX_OBJECTS):
        if isinstance(name, str) and name.isprintable():  # no halves of surrogate pairs, which have no bytes
            yield name


def find(file: Any, path: str) -> Any:
    """The group or data set of a path without links to other places; None if there is none."""
    h5py = library()
    item = file["/"]
    for part in path.split("/"):
        if not isinstance(item, h5py.Group) or not isinstance(item.get(part, getlink=True), h5py.HardLink):
            return None
        item = item[part]
    return item


def is_numeric(dataset: Any) -> bool:
    """Whether the samples of a data set are numbers of NumPy."""
    try:
        return dataset.dtype.kind in "biufc"
    except TypeError:  # a type that NumPy lacks
        return False


def samples_of(dataset: Any, path: str, limits: Limits) -> Array:
    """The samples of a data set. Raises a ``RefusedInput`` if they are in other files, were never written, have a
    compression that h5py lacks, or have chunks that are too large."""
    label, plist = printable(path)[:80], dataset.id.get_create_plist()
    if plist.get_external_count() or dataset.is_virtual:
        raise UnsupportedInput(
            f"{label}: its samples are in other files, which are not read: copy them into one file", "external"
        )
    if not dataset.id.get_storage_size():
        raise UnreadableFile(f"{label}: no sample was ever written", "samples")
    count, chunk = math.prod(dataset.shape), math.prod(dataset.chunks or ())
    if chunk > count:
        limits.check("max_voxels", chunk, "voxels in a chunk")
    require_memory((2 * count + chunk) * dataset.dtype.itemsize, label, "choose a smaller data set")
    allow((count + chunk) * dataset.dtype.itemsize)
    _require_filters(dataset, plist, label)
    array: Array = dataset[...]
    return array


def _require_filters(dataset: Any, plist: Any, label: str) -> None:
    """Raises a ``RefusedInput`` for filters that h5py lacks, and for chunks that unpack to more than a chunk: the
    library would unpack all of it."""
    h5z = library().h5z
    filters = [plist.get_filter(k) for k in range(plist.get_nfilters())]
    codes = [code for code, *_ in filters]
    for code, _, _, name in filters:
        if not h5z.filter_avail(code):
            known = printable(name.decode("latin-1"))[:40]
            raise UnsupportedInput(
                f"{label}: compressed by a filter that h5py lacks ({code}, {known}): write it with gzip, as h5repack "
                "-f GZIP=6 does", "compression"
            )  # fmt: skip
    if h5z.FILTER_DEFLATE not in codes:
        return
    place = codes.index(h5z.FILTER_DEFLATE)
    if set(codes[place + 1 :]) - {h5z.FILTER_FLETCHER32}:
        raise UnsupportedInput(f"{label}: filters after gzip are not supported", "compression")
    large: list[tuple[int, ...]] = []

    def note(chunk: Any) -> None:
        if chunk.size > SAFE_BYTES and not chunk.filter_mask >> place & 1:
            large.append(chunk.chunk_offset)

    dataset.id.chunk_iter(note)
    for offset in large:
        stored = dataset.id.read_direct_chunk(offset)[1]
        require_inflated(stored, "zlib", math.prod(dataset.chunks) * dataset.dtype.itemsize, label)


def attributes_of(item: Any, longest: int) -> dict[str, Any]:
    """The attributes that h5py can read; ``longest`` is that of ``longest_element``."""
    found = {name: attribute_of(item, name, longest) for name in names_of(item.attrs)}
    return {name: value for name, value in found.items() if value is not None}


def attribute_of(item: Any, name: str, longest: int) -> Any:
    """The value of an attribute; None if there is none that h5py can read."""
    h5py = library()
    try:
        attribute = h5py.h5a.open(item.id, name.encode())
        if is_bounded(attribute.get_type(), math.prod(attribute.shape or ()), longest):
            return item.attrs[name]
    except FAULTS:
        pass
    return None


def longest_element(data: bytes) -> int:
    """An upper bound on the bytes of a value of variable length: those of the largest collection of such values. Many
    elements may share one value."""
    longest = 0
    for found in re.finditer(b"GCOL", data):
        sizes = (int.from_bytes(data[found.start() + 8 : found.start() + 8 + wide], "little") for wide in (2, 4, 8))
        longest = max(longest, *(size for size in sizes if size <= len(data)), 0)
    return longest


def is_flat(kind: Any) -> bool:
    """Whether values of an HDF5 type are bytes of a fixed number, which are copied as they are."""
    h5t = library().h5t
    if kind.get_class() == h5t.STRING:
        return not kind.is_variable_str()
    return not any(kind.detect_class(other) for other in (h5t.VLEN, h5t.STRING, h5t.REFERENCE))


def is_bounded(kind: Any, count: int, longest: int) -> bool:
    """Whether ``count`` values of an HDF5 type certainly take little memory, unless they are bytes of the file: texts,
    references, and sequences of variable length whose elements are flat."""
    h5t = library().h5t
    if is_flat(kind) or kind.get_class() == h5t.REFERENCE:
        return True
    sequence = kind.get_class() == h5t.VLEN and is_bounded(kind.get_super(), 1, MAX_VARIABLE + 1)
    return (sequence or kind.get_class() == h5t.STRING) and count * longest <= MAX_VARIABLE


def is_scale(dataset: Any) -> bool:
    """Whether a data set is a dimension scale. The functions of HDF5 for scales are not called for files from outside:
    some crash, or do not end, where a file is damaged."""
    text = attribute_of(dataset, "CLASS", 0)
    return isinstance(text, bytes) and text.rstrip(b"\0") == b"DIMENSION_SCALE"


def scales_of(dataset: Any, longest: int) -> list[list[Any]]:
    """The dimension scales of each axis."""
    h5py = library()
    axes: list[list[Any]] = [[] for _ in dataset.shape or ()]
    lists = attribute_of(dataset, "DIMENSION_LIST", longest)
    if is_scale(dataset) or not isinstance(lists, np.ndarray) or lists.shape != (len(axes),):
        return axes
    for axis, references in zip(axes, lists, strict=True):
        for reference in np.atleast_1d(references)[:MAX_SCALES]:
            if isinstance(reference, h5py.Reference) and reference:
                scale = dataset.file[reference]
                if isinstance(scale, h5py.Dataset) and scale.name is not None and is_scale(scale):
                    axis.append(scale)
    return axes

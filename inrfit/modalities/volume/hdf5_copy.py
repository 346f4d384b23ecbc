"""Copies of HDF5 files, object by object: groups, data sets, attributes and links, with one data set on another grid.

The copy has the version of the source, and of each data set the type, chunks and filters. Dimension scales are attached
again, and those of axes that the other grid has are moved with it."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import RefusedInput
from ...io.limits import Limits
from . import hdf5_attributes
from .coordinates import Place
from .hdf5_file import Contents, is_flat, library, names_of, samples_of, scales_of
from .raw_volume import Array

LARGE_CHUNK = 1 << 22
"""Most samples in a chunk that is larger than its data set."""


@dataclass
class _Copy:
    """A copy that is being made. The data set ``target`` lies at ``places``, one for each of its axes; ``along`` has
    those of the dimension scales that are moved, by their paths. ``lost`` names what could not be copied."""

    source: Any
    made: Any
    contents: Contents
    target: str
    longest: int
    places: Sequence[Place]
    along: Mapping[str, Place]
    lost: list[str] = field(default_factory=list)


def copied(
    source: Any, kept: Mapping[str, Any], contents: Contents, target: str, longest: int, places: Sequence[Place] = (),
    samples: Array | None = None,
) -> tuple[bytes, list[str]]:  # fmt: skip
    """The bytes of a copy with the objects ``kept``, parents first, and the names of what it lost. The data set
    ``target`` lies at ``places``, on the grid of the source if there are none, and gets ``samples``, or none.
    ``longest`` is that of ``longest_element``."""
    shape = kept[target].shape
    places = places or [Place(0, 1, side) for side in shape]
    along: dict[str, Place] = {}
    for place, side, scales in zip(places, shape, scales_of(kept[target], longest), strict=True):
        if not place.leaves(side):
            along |= {contents.path_of(scale): place for scale in scales}
    buffer = io.BytesIO()
    with _new_file(source, buffer) as made:
        copy = _Copy(source, made, contents, target, longest, places, along)
        copies = {path: item for path, item in kept.items() if _object(copy, path, item)}
        _link(copy, copies)
        copy.lost += hdf5_attributes.copied(source, made, copies, longest)
        for path, item in copies.items():
            if isinstance(item, library().Dataset):
                _attach(copy, item, made[path], copies)
                if path in along:
                    hdf5_attributes.renumber(made[path], along[path].count)
        if samples is not None:
            made[target][...] = samples
    return buffer.getvalue(), copy.lost


def _new_file(source: Any, buffer: io.BytesIO) -> Any:
    """An empty file of the version of the source, which orders its objects as that does, and holds no times."""
    h5py, old = library(), source.id.get_create_plist()
    plist, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    plist.set_userblock(old.get_userblock())
    plist.set_obj_track_times(False)
    root = source["/"].id.get_create_plist()
    plist.set_link_creation_order(root.get_link_creation_order())
    plist.set_attr_creation_order(root.get_attr_creation_order())
    oldest = h5py.h5f.LIBVER_V18 if old.get_version()[0] >= 2 else h5py.h5f.LIBVER_EARLIEST
    access.set_libver_bounds(oldest, h5py.h5f.LIBVER_LATEST)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, buffer)
    return h5py.File(h5py.h5f.create(b"file", h5py.h5f.ACC_TRUNC, plist, access))


def _object(copy: _Copy, path: str, item: Any) -> bool:
    """Makes the copy of a group or a data set, without its attributes. Returns whether there is one."""
    h5py = library()
    above, _, name = path.rpartition("/")
    parent = copy.made[above or "/"]
    if isinstance(item, h5py.Group):
        # A new list: that of a group with many members has the places of their names in the source.
        plist, old = h5py.h5p.create(h5py.h5p.GROUP_CREATE), item.id.get_create_plist()
        plist.set_obj_track_times(False)
        plist.set_link_creation_order(old.get_link_creation_order())
        plist.set_attr_creation_order(old.get_attr_creation_order())
        h5py.h5g.create(parent.id, name.encode(), None, plist)
        return True
    if path == copy.target:
        _create(copy, path, item, tuple(place.count for place in copy.places), item.id.get_type())
        return True
    if path in copy.along:
        return _moved(copy, path, item, [copy.along[path]])
    paths = [[copy.contents.path_of(scale) for scale in scales] for scales in scales_of(item, copy.longest)]
    places = [next((copy.along[one] for one in scales if one in copy.along), None) for scales in paths]
    if any(places) or not is_flat(item.id.get_type()):  # H5Ocopy spoils fill values of other types
        return _moved(copy, path, item, places)
    plist = h5py.h5p.create(h5py.h5p.OBJECT_COPY)
    plist.set_copy_object(h5py.h5o.COPY_WITHOUT_ATTR_FLAG)
    h5py.h5o.copy(item.id, b".", parent.id, name.encode(), plist)
    return True


def _moved(copy: _Copy, path: str, item: Any, places: Sequence[Place | None]) -> bool:
    """Makes the copy of a data set on axes that are moved, unless it has other samples than numbers and would need
    further ones. Numbers between whole ones become floats."""
    h5py, kind = library(), item.id.get_type()
    shape = tuple(side if place is None else place.count for side, place in zip(item.shape, places, strict=True))
    if not item.id.get_storage_size():
        _create(copy, path, item, shape, kind)
        return True
    part = all(place is None or place.is_part for place in places)
    if not part and not (item.ndim == 1 and item.dtype.kind in "iuf"):
        return False
    try:
        values = samples_of(item, path, Limits())
    except RefusedInput:
        copy.lost.append(path)
        return False
    for axis, place in enumerate(places):
        if place is not None:
            values = np.moveaxis(place.of(np.moveaxis(values, axis, 0)), 0, axis)
    if not part and item.dtype.kind in "iu" and (values % 1).any():
        kind = h5py.h5t.IEEE_F64LE
    _create(copy, path, item, shape, kind)
    copy.made[path][...] = values
    return True


def _create(copy: _Copy, path: str, item: Any, shape: tuple[int, ...], kind: Any) -> None:
    """Makes an empty data set like ``item``, of another shape and type."""
    h5py = library()
    above, _, name = path.rpartition("/")
    chunked = item.chunks is not None
    most = [None if old is None else side for old, side in zip(item.maxshape, shape, strict=True)]
    most = [h5py.h5s.UNLIMITED if side is None else side for side in (most if chunked else shape)]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    old = item.id.get_create_plist()
    plist.set_obj_track_times(False)
    plist.set_attr_creation_order(old.get_attr_creation_order())
    if chunked:
        large = math.prod(item.chunks) > max(math.prod(shape), LARGE_CHUNK)
        fixed = [large or side != h5py.h5s.UNLIMITED for side in most]
        sides = zip(item.chunks, shape, fixed, strict=True)
        plist.set_chunk(tuple(min(chunk, side) if bound else chunk for chunk, side, bound in sides))
        copy.lost += [f"{lost} of {path} (gzip instead)" for lost in _set_filters(plist, old)]
    own = is_flat(kind) and kind.equal(item.id.get_type())
    if own and old.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
        value = np.zeros((), item.dtype)
        old.get_fill_value(value)
        plist.set_fill_value(value)
    kind = kind.copy() if kind.committed() else kind
    space = h5py.h5s.create_simple(shape, tuple(most))
    h5py.h5d.create(copy.made[above or "/"].id, name.encode(), kind, space, plist)


def _set_filters(plist: Any, old: Any) -> list[str]:
    """Sets the filters of ``old`` that every h5py has, with gzip in place of others. Returns the names of these."""
    h5z, lost, gzip = library().h5z, [], False
    for k in range(old.get_nfilters()):
        code, _, values, name = old.get_filter(k)
        if code == h5z.FILTER_SHUFFLE:
            plist.set_shuffle()
        elif code == h5z.FILTER_FLETCHER32:
            plist.set_fletcher32()
        elif code == h5z.FILTER_LZF:
            plist.set_filter(code, h5z.FLAG_OPTIONAL)
        else:
            if code != h5z.FILTER_DEFLATE:
                lost.append(f"the filter {name.decode('latin-1')}")
            if not gzip:
                plist.set_deflate(values[0] if code == h5z.FILTER_DEFLATE else 6)
            gzip = True
    return lost


def _link(copy: _Copy, copies: Mapping[str, Any]) -> None:
    """Makes further hard links to copies, and the soft and external links of the groups, which are not followed."""
    h5py = library()
    for path, original in copy.contents.aliases.items():
        if original in copies and path.rpartition("/")[0] in {"", *copies}:
            copy.made[path] = copy.made[original]
    for path, group in {"/": copy.source["/"], **copies}.items():
        if isinstance(group, h5py.Group):
            for name in names_of(group):
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    copy.made[path][name] = link


def _attach(copy: _Copy, item: Any, made: Any, copies: Mapping[str, Any]) -> None:
    """Attaches the copies of the dimension scales of ``item``."""
    h5ds = library().h5ds
    for axis, scales in enumerate(scales_of(item, copy.longest)):
        for path in map(copy.contents.path_of, scales):
            if path in copies:
                h5ds.attach_scale(made.id, copy.made[path].id, axis)

"""Attributes of HDF5 objects, copied from file to file without a change of their types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .hdf5_file import FAULTS, NO_VARIABLE, is_bounded, is_flat, library, names_of

_SCALES = ("DIMENSION_LIST", "REFERENCE_LIST")
"""Attributes that attaching dimension scales makes."""


def copied(source: Any, made: Any, copies: Mapping[str, Any], longest: int) -> list[str]:
    """Copies the attributes of the root group and of ``copies``, objects of ``source`` by their paths in both files.
    References lead to the copies, or nowhere. Returns the names of those that could not be copied."""
    lost = []
    for path, item in {"/": source["/"], **copies}.items():
        for name in names_of(item.attrs):
            if name in _SCALES:
                continue
            try:
                _copy(source, made, item, made[path], name, longest)
            except FAULTS:
                lost.append(f"{path.strip('/')}@{name}")
    return lost


def _copy(source: Any, made: Any, item: Any, copy: Any, name: str, longest: int) -> None:
    """Copies one attribute. Raises one of FAULTS if its type is not copied."""
    h5py = library()
    old = h5py.h5a.open(item.id, name.encode())
    kind, space = old.get_type(), old.get_space()
    if not is_bounded(kind, math.prod(old.shape or ()), longest):
        raise TypeError("of a type that may be large")
    if kind.get_class() == h5py.h5t.REFERENCE:
        copy.attrs.create(name, _references(source, made, item.attrs[name]), dtype=h5py.ref_dtype)
        return
    kind = kind.copy() if kind.committed() else kind
    new = h5py.h5a.create(copy.id, name.encode(), kind, space)
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        return
    if is_flat(kind):
        content = np.empty(old.shape, f"V{kind.get_size()}")
        old.read(content, kind)
        new.write(content, kind)
    else:
        content = np.empty(old.shape, old.dtype)
        old.read(content)
        new.write(content)


def _references(source: Any, made: Any, values: Any) -> Any:
    """References to the copies of the objects that ``values`` refer to. Raises ``TypeError`` for other values."""
    h5py = library()

    def led(reference: Any) -> Any:
        if not isinstance(reference, h5py.Reference) or isinstance(reference, h5py.RegionReference):
            raise TypeError("not a reference to an object")
        name = source[reference].name if reference else None
        return made[name].ref if name is not None and name in made else h5py.Reference()

    if isinstance(values, h5py.Reference):
        return led(values)
    found = np.empty(np.shape(values), h5py.ref_dtype)
    for place in np.ndindex(found.shape):
        found[place] = led(values[place])
    return found


def renumber(scale: Any, count: int) -> None:
    """Writes ``count`` into the name of a dimension of netCDF that has no positions."""
    h5py = library()
    if "NAME" not in scale.attrs:
        return
    attribute = h5py.h5a.open(scale.id, b"NAME")
    kind = attribute.get_type()
    if kind.get_class() != h5py.h5t.STRING or kind.is_variable_str():
        return
    content = np.empty((), f"V{kind.get_size()}")
    attribute.read(content, kind)
    if content.tobytes().startswith(NO_VARIABLE.encode()):
        text = f"{NO_VARIABLE}{count:10d}".encode().ljust(kind.get_size(), b"\0")[: kind.get_size()]
        attribute.write(np.frombuffer(text, content.dtype).reshape(()), kind)

"""HDF5 and netCDF-4: one data set of a file. hdf5_writer.py keeps the rest of the file."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import RefusedInput, UnsupportedInput, printable
from ...io.isolation import isolated
from ...io.limits import Limits
from ..number_types import fitted
from . import hdf5_file
from .coordinates import Axis, geometry, lettered, scaling, unit_name, without_missing
from .hdf5_file import (
    NO_VARIABLE,
    attribute_of,
    attributes_of,
    contents_of,
    find,
    is_numeric,
    is_scale,
    library,
    longest_element,
    opened,
    samples_of,
    scales_of,
)
from .hdf5_writer import shell_of
from .numpy_files import chosen_array
from .raw_volume import RawVolume, require_shape

MAX_NAME = 500
"""Most characters of the path of a data set."""


def read(data: bytes, limits: Limits, axes: str | None = None, array: str | None = None) -> RawVolume:
    """Reads one data set. Raises a ``RefusedInput``, and ``UsageError`` for options that do not suit, or if h5py is not
    installed."""
    hdf5_file.require()
    return isolated(read_here, data, limits, axes, array)


def read_here(data: bytes, limits: Limits, axes: str | None, array: str | None) -> RawVolume:
    """``read`` in this process."""
    with opened(data) as file:
        longest = longest_element(data)
        path = _chosen(file, array)
        dataset = find(file, path)
        _require_numbers(dataset, path)
        named, shape, dtype = _axes(dataset, longest), dataset.shape, dataset.dtype
        letters, channel = lettered([axis.name for axis in named], shape, axes, limits)
        grid = tuple(side for axis, side in enumerate(shape) if axis != channel)
        require_shape(grid, 1 if channel is None else shape[channel])
        attributes = attributes_of(dataset, longest)
        samples, missing = without_missing(samples_of(dataset, path, limits), attributes)
        place, notes = geometry(letters, [axis for k, axis in enumerate(named) if k != channel], grid)
        slope, intercept = scaling(attributes)
        shell, lost = shell_of(file, data[: file.userblock_size], path, longest)
        layout = {
            "name": path,
            "channel": -1 if channel is None else channel,
            "bytes": len(shell),
            "netcdf": _is_netcdf(file, dataset, longest),
        }
    samples = samples[..., None] if channel is None else np.moveaxis(samples, channel, -1)
    return RawVolume(
        fitted(np.ascontiguousarray(samples)),
        dtype.name,
        "big" if dtype.byteorder == ">" else "little",
        replace(place, slope=slope, intercept=intercept),
        layout,
        zlib.compress(shell, 9),
        missing=missing,
        notes=(*notes, *lost),
    )


def _is_netcdf(file: Any, dataset: Any, longest: int) -> bool:
    """Whether the netCDF library wrote the file."""
    scales = [scale for scales in scales_of(dataset, longest) for scale in scales]
    return "_NCProperties" in file.attrs or any("_Netcdf4Dimid" in scale.attrs for scale in scales)


def _chosen(file: Any, array: str | None) -> str:
    """The path of the data set to read. Raises ``UsageError``."""
    h5py = library()
    wanted = None if array is None else array.strip("/")
    if wanted and len(wanted) <= MAX_NAME and isinstance(find(file, wanted), h5py.Dataset):
        return wanted
    items = contents_of(file).items
    names = _listed({path: item for path, item in items.items() if isinstance(item, h5py.Dataset)})
    return chosen_array(names, wanted)


def _listed(datasets: Mapping[str, Any]) -> list[str]:
    """The paths of data sets of numbers that are no coordinates; those of one axis if there are no others."""
    numbers = {
        path: item.ndim
        for path, item in datasets.items()
        if item.shape and is_numeric(item) and not is_scale(item) and len(path) <= MAX_NAME
    }
    return [path for path, axes in numbers.items() if axes > 1] or list(numbers)


def _require_numbers(dataset: Any, path: str) -> None:
    """Raises ``UnsupportedInput`` for a data set whose samples cannot be fitted."""
    label = printable(path)[:80]
    if not is_numeric(dataset):
        raise UnsupportedInput(f"{label}: samples that are not numbers are not supported", "samples")
    if not dataset.shape:
        raise UnsupportedInput(f"{label} is not an array", "axes")
    if 0 in dataset.shape:
        raise UnsupportedInput(f"{label} has no samples: its shape is {'x'.join(map(str, dataset.shape))}", "samples")


def _axes(dataset: Any, longest: int) -> list[Axis]:
    """The axes of a data set by its dimension scales and labels."""
    axes = []
    labels = attribute_of(dataset, "DIMENSION_LABELS", longest)
    known = isinstance(labels, np.ndarray) and labels.shape == (dataset.ndim,)
    for axis, (side, scales) in enumerate(zip(dataset.shape, scales_of(dataset, longest), strict=True)):
        scale = scales[0] if scales else None
        label = labels[axis] if known and isinstance(labels[axis], str | bytes) else ""
        name = unit_name(label) or ("" if scale is None else str(scale.name).rsplit("/", 1)[-1])
        axes.append(Axis(name) if scale is None else _with_positions(name, scale, side, longest))
    return axes


def _with_positions(name: str, scale: Any, side: int, longest: int) -> Axis:
    """The axis of a dimension scale."""
    if scale.shape != (side,) or not is_numeric(scale) or scale.dtype.kind not in "iuf":
        return Axis(name)
    attributes = attributes_of(scale, longest)
    if unit_name(attributes.get("NAME", "")).startswith(NO_VARIABLE):
        return Axis(name)
    try:
        positions = samples_of(scale, name, Limits()).astype(np.float64)
    except RefusedInput:  # never written, or in another file
        return Axis(name)
    return Axis(name, positions, unit_name(attributes.get("units", "")))

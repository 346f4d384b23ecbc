"""Zarr and OME-Zarr: one array of a store. zarr_writer.py keeps the rest of it."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import RefusedInput
from ...io.isolation import isolated
from ...io.limits import Limits
from ..number_types import fitted
from . import coordinates, zarr_images, zarr_store
from .coordinates import Axis, lettered, scaling, unit_name, without_missing
from .raw_volume import Geometry, RawVolume, require_shape
from .zarr_arrays import samples_of
from .zarr_nodes import Image, Node, below, chosen, images_of, nodes_of
from .zarr_store import Store
from .zarr_writer import shell_of


def read(data: bytes, limits: Limits, axes: str | None = None, array: str | None = None) -> RawVolume:
    """Reads one array. Raises a ``RefusedInput``, and ``UsageError`` for options that do not suit, or if the package
    zarr is not installed."""
    zarr_store.require()
    return isolated(read_here, data, limits, axes, array)


def read_here(data: bytes, limits: Limits, axes: str | None, array: str | None) -> RawVolume:
    """``read`` in this process."""
    store = Store(data, limits)
    nodes = nodes_of(store)
    images = images_of(nodes)
    node = chosen(nodes, images, array)
    image = next((image for image in images if image.array == node.path), None)
    shape = node.shape
    names = node.dimensions if image is None else zarr_images.axis_names(image, len(shape))
    letters, channel = lettered(names, shape, axes, limits)
    grid = tuple(side for axis, side in enumerate(shape) if axis != channel)
    require_shape(grid, 1 if channel is None else shape[channel])
    samples = samples_of(store, node, limits)
    dtype, missing = samples.dtype, None
    if image is None:
        samples, missing = without_missing(samples, _described_missing(node))
        place, notes = _place(store, nodes, node, letters, channel)
    else:
        place, notes = zarr_images.geometry(image, letters, channel, len(shape)), _levels_note(image)
    shell, lost = shell_of(store, nodes, node, image)
    samples = samples[..., None] if channel is None else np.moveaxis(samples, channel, -1)
    return RawVolume(
        fitted(np.ascontiguousarray(samples)),
        dtype.name,
        "big" if dtype.byteorder == ">" else "little",
        place,
        {
            "name": node.path,
            "channel": -1 if channel is None else channel,
            "bytes": len(shell),
            "ozx": image is not None and not image.group.path and image.group.version == 3,
        },
        zlib.compress(shell, 9),
        missing=missing,
        notes=(*notes, *lost),
    )


def _levels_note(image: Image) -> tuple[str, ...]:
    """A note on the lower resolutions of an image."""
    count = zarr_images.lower_levels(image)
    return (f"lower resolutions not kept: {count}",) if count else ()


def _place(
    store: Store, nodes: Mapping[str, Node], node: Node, letters: str, channel: int | None
) -> tuple[Geometry, tuple[str, ...]]:
    """The place of an array by the coordinates that xarray stores beside it, and notes on it."""
    axes = []
    for axis, (name, side) in enumerate(zip(node.dimensions, node.shape, strict=True)):
        other = nodes.get(below(node.path.rpartition("/")[0], name)) if name else None
        known = other is not None and other.is_array and other.shape == (side,) and other.path != node.path
        if axis != channel:
            axes.append(_with_positions(store, name, other) if known and other is not None else Axis(name))
    place, notes = coordinates.geometry(letters, axes, [n for k, n in enumerate(node.shape) if k != channel])
    slope, intercept = scaling(node.attributes)
    return replace(place, slope=slope, intercept=intercept), notes


def _with_positions(store: Store, name: str, node: Node) -> Axis:
    """The axis of an array of coordinates."""
    try:
        positions = samples_of(store, node, Limits())
    except RefusedInput:  # texts, or never written
        return Axis(name)
    if positions.dtype.kind not in "iuf":
        return Axis(name)
    return Axis(name, positions.astype(np.float64), unit_name(node.attributes.get("units") or ""))


def _described_missing(node: Node) -> dict[str, Any]:
    """The attributes that name samples without a value. xarray stores ``_FillValue`` as the fill value of the array in
    version 2, and as the bytes of a number in version 3."""
    found = {name: node.attributes.get(name) for name in ("_FillValue", "missing_value")}
    if isinstance(found["_FillValue"], str):
        try:
            found["_FillValue"] = float(np.frombuffer(base64.b64decode(found["_FillValue"], validate=True), "<f8")[0])
        except (ValueError, IndexError):
            found["_FillValue"] = None
    fill = node.described.get("fill_value")
    if found["_FillValue"] is None and "_ARRAY_DIMENSIONS" in node.attributes and type(fill) in (int, float) and fill:
        found["_FillValue"] = fill
    return {name: value for name, value in found.items() if type(value) in (int, float)}

"""The place of an image of OME-Zarr (NGFF 0.4 and 0.5, and the axes of earlier versions), and of the grid of a part."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import UnreadableFile
from .coordinates import Place, unit_name
from .raw_volume import Geometry
from .zarr_nodes import Image
from .zarr_store import level_paths, multiscales_of

_UNITS = {
    "meter": "m", "centimeter": "cm", "millimeter": "mm", "micrometer": "um", "nanometer": "nm", "hour": "h",
    "minute": "min", "second": "s", "millisecond": "ms", "microsecond": "us",
}  # fmt: skip


def axis_names(image: Image, count: int) -> list[str]:
    """The names of the axes, "c" for channels; "" where the file does not say them. Raises ``UnreadableFile`` if they
    are others than the array has."""
    names = []
    for axis in _axes(image, count):
        name = axis.get("name") if isinstance(axis, Mapping) else axis
        kind = axis.get("type") if isinstance(axis, Mapping) else None
        known = {"channel": "c", "time": "t"}.get(kind) if isinstance(kind, str) else None
        names.append(known or (name if isinstance(name, str) else ""))
    return names


def _axes(image: Image, count: int) -> Sequence[Any]:
    axes = multiscales_of(image.group.attributes)[image.number].get("axes")
    if axes is None and count == 5:  # version 0.1 and 0.2
        return "tczyx"
    if not isinstance(axes, list) or len(axes) != count:
        raise UnreadableFile(f"damaged: the image does not name its {count} axes", "header")
    return axes


def geometry(image: Image, letters: str, channel: int | None, count: int) -> Geometry:
    """The place of the grid: by the transformations of its resolution, and then by those of the image."""
    multiscale = multiscales_of(image.group.attributes)[image.number]
    inner = _transformation(_dataset(multiscale).get("coordinateTransformations"), count)
    outer = _transformation(multiscale.get("coordinateTransformations"), count)
    if inner is None and outer is None:
        return Geometry(letters)
    (scale, first), (factor, start) = inner or _identity(count), outer or _identity(count)
    grid = [axis for axis in range(count) if axis != channel]
    spacing = tuple(scale[axis] * factor[axis] for axis in grid)
    origin = tuple(first[axis] * factor[axis] + start[axis] for axis in grid)
    units = tuple(_unit(_axes(image, count)[axis]) for axis in grid)
    return Geometry(letters, spacing, origin, units if any(units) else None)


def _unit(axis: Any) -> str:
    name = unit_name(axis.get("unit") or "") if isinstance(axis, Mapping) else ""
    return _UNITS.get(name, name)


def _identity(count: int) -> tuple[list[float], list[float]]:
    return [1.0] * count, [0.0] * count


def _dataset(multiscale: Mapping[str, Any]) -> dict[str, Any]:
    """The description of the highest resolution."""
    return next(one for one in multiscale["datasets"] if isinstance(one, dict) and isinstance(one.get("path"), str))


def _transformation(steps: Any, count: int) -> tuple[list[float], list[float]] | None:
    """The factor and the offset of each axis, of transformations one after the other; None if there are none that can
    be read."""
    if not isinstance(steps, list) or not steps:
        return None
    scale, offset = _identity(count)
    for step in steps:
        kind = step.get("type") if isinstance(step, Mapping) else None
        numbers = _numbers(step.get(kind), count) if kind in ("scale", "translation") else None
        if numbers is None and kind != "identity":
            return None
        if kind == "scale" and numbers is not None:
            scale = [a * b for a, b in zip(scale, numbers, strict=True)]
            offset = [a * b for a, b in zip(offset, numbers, strict=True)]
        elif numbers is not None:
            offset = [a + b for a, b in zip(offset, numbers, strict=True)]
    return (scale, offset) if all(0 < abs(x) <= 1e30 for x in scale) and all(abs(x) <= 1e30 for x in offset) else None


def _numbers(values: Any, count: int) -> list[float] | None:
    known = isinstance(values, list) and len(values) == count
    if not known or not all(type(x) in (int, float) and math.isfinite(x) for x in values):
        return None
    return [float(x) for x in values]


def described(image: Image, places: Sequence[Place], shape: Sequence[int]) -> dict[str, Any]:
    """The attributes of the image's group where only its highest resolution is left, on a grid at ``places``, one for
    each axis of an array of ``shape``."""
    attributes = copy.deepcopy(dict(image.group.attributes))
    multiscale = multiscales_of(attributes)[image.number]
    dataset = _dataset(multiscale)
    if not all(place.leaves(side) for place, side in zip(places, shape, strict=True)):
        scale, offset = _transformation(dataset.get("coordinateTransformations"), len(shape)) or _identity(len(shape))
        moved = [x + s * place.start for x, s, place in zip(offset, scale, places, strict=True)]
        scale = [s * place.step for s, place in zip(scale, places, strict=True)]
        dataset["coordinateTransformations"] = [{"type": "scale", "scale": scale}]
        if any(moved):
            dataset["coordinateTransformations"].append({"type": "translation", "translation": moved})
    multiscale["datasets"] = [dataset]
    owner = attributes["ome"] if isinstance(attributes.get("ome"), Mapping) else attributes
    owner["multiscales"] = [multiscale]
    return attributes


def lower_levels(image: Image) -> int:
    """The number of lower resolutions."""
    return len(level_paths(multiscales_of(image.group.attributes)[image.number])) - 1

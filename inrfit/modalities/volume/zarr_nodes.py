"""Arrays and groups of a Zarr store, as their descriptions say, and which of the arrays is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import UnreadableFile, printable
from .numpy_files import chosen_array
from .zarr_store import MAX_METADATA, METADATA, Store, attributes_of, level_paths, multiscales_of

MAX_NAME = 500
"""Most characters of the path of an array."""

MAX_NODES = 20_000
"""Most arrays and groups of a store."""


@dataclass(frozen=True)
class Node:
    """An array or a group: its path ("" at the top), the version of Zarr (2 or 3), its description, and its
    attributes."""

    path: str
    version: int
    described: dict[str, Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_array(self) -> bool:
        """Whether it is an array of some shape."""
        kind = self.described.get("node_type") if self.version == 3 else None
        sides = self.described.get("shape")
        known = isinstance(sides, list) and all(type(side) is int and side >= 0 for side in sides)
        return kind in (None, "array") and known and ("zarr_format" in self.described)

    @property
    def has_numbers(self) -> bool:
        """Whether the samples of an array are numbers."""
        kind = str(self.described.get("data_type" if self.version == 3 else "dtype"))
        return re.fullmatch(r"(u?int|float|complex)\d+|bool|[<>|=]?[biufc]\d+", kind) is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an array."""
        return tuple(self.described["shape"])

    @property
    def dimensions(self) -> list[str]:
        """The names of an array's dimensions, "" where there are none."""
        names = self.described.get("dimension_names") if self.version == 3 else None
        names = names or self.attributes.get("_ARRAY_DIMENSIONS")
        if not isinstance(names, list) or len(names) != len(self.shape):
            return [""] * len(self.shape)
        return [name if isinstance(name, str) else "" for name in names]

    def key(self, name: str) -> str:
        """The key of a file of this array or group."""
        return below(self.path, name)


@dataclass(frozen=True)
class Image:
    """An image of OME-Zarr: its group, the place of its description there, and the array of its highest resolution."""

    group: Node
    number: int
    array: str


def below(path: str, name: str) -> str:
    """The key of ``name`` in a group."""
    return f"{path}/{name}" if path else name


def nodes_of(store: Store) -> dict[str, Node]:
    """Arrays and groups by their paths. Raises ``UnreadableFile`` for a damaged description."""
    found: dict[str, Node] = {}
    for key in store:
        path, _, name = key.rpartition("/")
        if name not in METADATA[:3] or (name != "zarr.json" and below(path, "zarr.json") in store):
            continue
        if len(found) >= MAX_NODES:
            raise UnreadableFile(f"a Zarr store of more than {MAX_NODES:,} arrays and groups", "size")
        described = _json(store, key)
        if name == "zarr.json":
            found[path] = Node(path, 3, described, attributes_of({"attributes": {}, **described}))
        elif path not in found or name == ".zarray":
            attributes = _json(store, below(path, ".zattrs")) if below(path, ".zattrs") in store else {}
            found[path] = Node(path, 2, described, attributes)
    return dict(sorted(found.items()))


def _json(store: Store, key: str) -> dict[str, Any]:
    """The JSON object of a description. Raises ``UnreadableFile``."""
    if store.size(key) > MAX_METADATA:
        raise UnreadableFile(f"damaged: {printable(key)[:80]} is too large", "header")
    try:
        found = json.loads(store.read(key))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnreadableFile(f"damaged: {printable(key)[:80]} is no JSON object", "header")
    return found


def images_of(nodes: Mapping[str, Node]) -> list[Image]:
    """The images of OME-Zarr whose highest resolution is in the store."""
    found = []
    for node in nodes.values():
        for number, multiscale in enumerate(multiscales_of(node.attributes)):
            paths = level_paths(multiscale)
            path = below(node.path, paths[0]) if paths else ""
            if paths and path in nodes and nodes[path].is_array:
                found.append(Image(node, number, path))
    return found


def chosen(nodes: Mapping[str, Node], images: list[Image], array: str | None) -> Node:
    """The array to read: the one that is named, by its path or that of its image; the image at the top; or the only
    one. Raises ``UsageError``."""
    wanted = None if array is None else array.strip("/")
    if wanted is not None:
        by_group = next((image.array for image in images if image.group.path == wanted), wanted)
        if by_group in nodes and nodes[by_group].is_array:
            return nodes[by_group]
    top = [image.array for image in images if not image.group.path]
    if wanted is None and top:
        return nodes[top[0]]
    return nodes[chosen_array(_listed(nodes, images), wanted)]


def _listed(nodes: Mapping[str, Node], images: list[Image]) -> list[str]:
    """The paths of arrays, without coordinates, and without the lower resolutions of images."""
    lower = {below(image.group.path, path) for image in images for path in _levels(image)[1:]}
    arrays = {path: node for path, node in nodes.items() if node.is_array and path not in lower}
    sides = {path: len(node.shape) for path, node in arrays.items() if node.has_numbers}
    names = [path for path, axes in sides.items() if axes > 1] or [path for path, axes in sides.items() if axes]
    return [path for path in names if len(path) <= MAX_NAME]


def _levels(image: Image) -> list[str]:
    return level_paths(multiscales_of(image.group.attributes)[image.number])

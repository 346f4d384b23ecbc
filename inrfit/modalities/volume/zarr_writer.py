"""What is kept of a Zarr store besides the samples of one array, and a .zip file of such a store with other samples."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import RefusedInput, UnreadableFile, UnsupportedInput, printable
from ...io.isolation import allow, isolated
from ...io.limits import Limits
from ..number_types import in_file
from . import zarr_images
from .compression import inflated
from .coordinates import Place, places_of
from .raw_volume import Array, RawVolume
from .zarr_arrays import chunk_keys, chunks_of, samples_of
from .zarr_nodes import Image, Node, below, images_of, nodes_of
from .zarr_store import CONSOLIDATED, METADATA, Store, level_paths, multiscales_of, require, zipped

MAX_SHELL = 1 << 20
"""Most bytes of the compressed store without its samples."""

MAX_FILE = 1 << 26
"""Most bytes of the same, unpacked."""

MAX_KEPT = 1 << 20
"""Most bytes of the chunks of the other arrays."""

_NAMED = 20
"""Most names in a note."""


def shell_of(
    store: Store, nodes: Mapping[str, Node], target: Node, image: Image | None
) -> tuple[bytes, tuple[str, ...]]:
    """The store without the samples of the array ``target``, and notes on what it lacks. Raises ``UnsupportedInput`` if
    it is too large even without the other arrays."""
    lower = set() if image is None else {below(image.group.path, path) for path in _lower(image)}
    for kept in (_with_others(store, nodes, target, lower), {target.path}):
        shell = zipped(_files(store, nodes, target, kept, image))
        if len(shell) <= MAX_FILE and len(zlib.compress(shell, 9)) <= MAX_SHELL:
            break
    else:
        raise UnsupportedInput(
            f"a Zarr store with more than {MAX_SHELL:,} bytes besides the samples is not supported: give the folder of "
            "the array", "size"
        )  # fmt: skip
    dropped = [path for path, node in nodes.items() if node.is_array and path not in kept and path not in lower]
    listed = ", ".join(map(printable, dropped[:_NAMED]))
    return shell, (f"arrays not kept: {listed}",) if dropped else ()


def _lower(image: Image) -> list[str]:
    """The paths of the lower resolutions, below the group."""
    return level_paths(multiscales_of(image.group.attributes)[image.number])[1:]


def _with_others(store: Store, nodes: Mapping[str, Node], target: Node, lower: set[str]) -> set[str]:
    """The paths of the array, and of the smallest of the other arrays."""
    others = [node for path, node in nodes.items() if node.is_array and path != target.path and path not in lower]
    sizes = sorted((sum(map(store.size, chunk_keys(store, node))), node.path) for node in others)
    kept, total = {target.path}, 0
    for size, path in sizes:
        total += size
        if total <= MAX_KEPT:
            kept.add(path)
    return kept


def _files(
    store: Store, nodes: Mapping[str, Node], target: Node, kept: set[str], image: Image | None
) -> dict[str, bytes]:
    """The descriptions of the arrays ``kept`` and of their groups, and the chunks of all but the ``target``."""
    arrays = {path for path, node in nodes.items() if node.is_array}
    files: dict[str, bytes] = {}
    for path, node in nodes.items():
        inside = {other for other in arrays if not path or other.startswith(f"{path}/")}
        if path in kept or (path not in arrays and (inside & kept or not inside)):
            files |= {node.key(name): store.read(node.key(name)) for name in METADATA if node.key(name) in store}
        if path in kept and path != target.path:
            files |= {key: store.read(key) for key in chunk_keys(store, node)}
    if image is not None:
        _put_image(files, image, [Place(0, 1, side) for side in target.shape], target.shape)
    if CONSOLIDATED in store:
        files[CONSOLIDATED] = b"{}"
    if "zarr.json" in files and "consolidated_metadata" in (top := json.loads(files["zarr.json"])):
        files["zarr.json"] = _text(top | {"consolidated_metadata": _consolidated(3, {})})
    return files


def write(samples: Array, volume: RawVolume, suffix: str) -> bytes:
    """The .zip file of a store with other samples, and with its coordinates where these lie. Raises
    ``UnsupportedInput`` for a volume of another format, and ``UsageError`` if the package zarr is not installed."""
    size = int(volume.layout.get("bytes", 0))
    if not volume.header or not 0 < size <= MAX_FILE:
        raise UnsupportedInput("Zarr is written only for a source of that format; choose .nii, .nrrd or .npy", "format")
    require()
    array, channel = in_file(samples, volume.dtype, volume.byteorder), int(volume.layout.get("channel", -1))
    array = array[..., 0] if channel < 0 else np.moveaxis(array, -1, channel)
    return isolated(write_here, inflated(volume.header, size), np.ascontiguousarray(array), dict(volume.layout))


def write_here(shell: bytes, array: Array, layout: dict[str, Any]) -> bytes:
    """The store ``shell`` with the samples ``array`` of its array, written in this process."""
    allow(3 * array.nbytes)
    store, channel = Store(shell, Limits(max_bytes=MAX_FILE)), int(layout.get("channel", -1))
    nodes = nodes_of(store)
    node = nodes.get(str(layout.get("name", "")))
    if node is None or not node.is_array or len(node.shape) != array.ndim or not node.has_numbers:
        raise UnreadableFile("damaged: the store that belongs to the field lacks its array", "attachment")
    source, shape = ([n for axis, n in enumerate(sides) if axis != channel] for sides in (node.shape, array.shape))
    places = list(places_of(layout, source, shape))
    if channel >= 0:
        places.insert(channel, Place(0, 1, array.shape[channel]))
    files = {key: store.read(key) for key in store}
    image = next((image for image in images_of(nodes) if image.array == node.path), None)
    if image is None:
        _move_coordinates(store, nodes, node, places, files)
    else:
        _put_image(files, image, places, node.shape)
    _put(files, node, node.described | {"shape": list(array.shape)})
    files |= _chunks(files, node, array)
    _consolidate(files)
    return zipped(files)


def _put_image(files: dict[str, bytes], image: Image, places: Sequence[Place], shape: Sequence[int]) -> None:
    """Puts the description of an image of one resolution among the files."""
    attributes = zarr_images.described(image, places, shape)
    _put(files, image.group, image.group.described | {"attributes": attributes}, attributes)


def _text(described: Mapping[str, Any]) -> bytes:
    return json.dumps(described, indent=2, ensure_ascii=False).encode()


def _put(
    files: dict[str, bytes], node: Node, described: Mapping[str, Any], attributes: Mapping[str, Any] | None = None
) -> None:
    """Puts the description of an array or a group among the files, unless it is the one that is there."""
    if node.version == 2:
        if attributes is not None and attributes != node.attributes:
            files[node.key(".zattrs")] = _text(attributes)
        if node.is_array and described != node.described:
            files[node.key(".zarray")] = _text(described)
    elif described != node.described:
        files[node.key("zarr.json")] = _text(described)


def _chunks(files: Mapping[str, bytes], node: Node, array: Array) -> dict[str, bytes]:
    """The chunks of an array by their keys."""
    names = {name: files[node.key(name)] for name in METADATA if node.key(name) in files}
    return {node.key(name): content for name, content in chunks_of(names, node, array).items()}


def _move_coordinates(
    store: Store, nodes: Mapping[str, Node], target: Node, places: Sequence[Place], files: dict[str, bytes]
) -> None:
    """Moves the arrays of the same group that lie along axes on which the grid is another one; those that would need
    samples between theirs, and have several axes, are taken away."""
    axes = zip(target.dimensions, places, target.shape, strict=True)
    along = {name: place for name, place, side in axes if name and not place.leaves(side)}
    for node in nodes.values():
        same_group = node.path.rpartition("/")[0] == target.path.rpartition("/")[0]
        if node.path == target.path or not node.is_array or not same_group:
            continue
        moved = [along.get(name) for name in node.dimensions]
        if not any(moved):
            continue
        for key in chunk_keys(store, node):
            del files[key]
        if (found := _moved(store, node, moved)) is None:
            for name in METADATA:
                files.pop(node.key(name), None)
        else:
            described, values = found
            _put(files, node, described)
            files |= {} if values is None else _chunks(files, node, values)


def _moved(store: Store, node: Node, places: Sequence[Place | None]) -> tuple[dict[str, Any], Array | None] | None:
    """The description of an array on axes that are moved, and its samples, if it has any; None if it would need others.
    Numbers between whole ones become floats."""
    shape = [side if place is None else place.count for side, place in zip(node.shape, places, strict=True)]
    described = node.described | {"shape": shape}
    if not chunk_keys(store, node):
        return described, None
    part = all(place is None or place.is_part for place in places)
    try:
        values = samples_of(store, node, Limits()) if part or len(shape) == 1 else None
    except RefusedInput:  # texts
        return None
    if values is None or (not part and values.dtype.kind not in "iuf"):
        return None
    whole = values.dtype.kind in "iu"
    for axis, place in enumerate(places):
        if place is not None:
            values = np.moveaxis(place.of(np.moveaxis(values, axis, 0)), 0, axis)
    if not part and whole and (values % 1).any():
        described |= _as_floats(node)
    return described, values


def _as_floats(node: Node) -> dict[str, Any]:
    """What changes in the description of an array whose numbers become float64."""
    if node.version == 2:
        return {"dtype": "<f8", "filters": None, "fill_value": None}
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
    return {"data_type": "float64", "fill_value": 0.0, "codecs": codecs}


def _consolidated(version: int, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """All descriptions of a store, as they are repeated at its top."""
    if version == 2:
        return {"metadata": metadata, "zarr_consolidated_format": 1}
    return {"kind": "inline", "must_understand": False, "metadata": metadata}


def _consolidate(files: dict[str, bytes]) -> None:
    """Repeats the descriptions at the top of a store, if it had them there."""
    if CONSOLIDATED in files:
        names = [key for key in sorted(files) if key.rpartition("/")[2] in METADATA[1:]]
        files[CONSOLIDATED] = _text(_consolidated(2, {key: json.loads(files[key]) for key in names}))
    top = json.loads(files["zarr.json"]) if "zarr.json" in files else {}
    if "consolidated_metadata" in top:
        inner = {key.removesuffix("/zarr.json"): key for key in sorted(files) if key.endswith("/zarr.json")}
        metadata = {path: json.loads(files[key]) for path, key in inner.items()}
        files["zarr.json"] = _text(top | {"consolidated_metadata": _consolidated(3, metadata)})

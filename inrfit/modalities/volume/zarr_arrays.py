"""Samples of Zarr arrays, by the package zarr. Codecs are known ones: others could run code of their own choice."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import InrfitError, UnreadableFile, UnsupportedInput, UsageError, machine_error, printable
from ...io.isolation import allow
from ...io.limits import Limits, require_memory
from .chunk_sizes import require_inflated
from .raw_volume import Array
from .zarr_nodes import Node
from .zarr_store import METADATA, Store

_PACKERS = ("blosc", "zstd", "gzip", "zlib", "lz4")
_CHECKS = ("crc32c", "fletcher32")
_SHAPERS = ("bytes", "transpose", "shuffle", "delta", "bitround", "quantize", "fixedscaleoffset")
"""Codecs that are read: those that compress, those that add a checksum behind it, and those that only arrange or round
numbers."""

_SHARDS = "sharding_indexed"

_CHUNK = re.compile(r"(c[/.])?\d+([/.]\d+)*|c")
"""Names of chunks: numbers, after a c in version 3."""

WIDEST = 8
"""Bytes of the widest number that a codec makes of another one."""


def library() -> Any:
    """The package zarr, with few threads. Raises ``UsageError`` if it cannot be imported."""
    try:
        import zarr
    except Exception as error:  # some versions of zfpy break numcodecs: a ValueError
        if (of_machine := machine_error(error)) is not None:
            raise of_machine from error
        text = f"{type(error).__name__}: {printable(str(error))[:120]}"
        raise UsageError(
            f"the package zarr cannot be imported ({text}); numcodecs, which it needs, fails beside some versions of "
            "zfpy: remove zfpy, or install another version of it", "extra"
        ) from error  # fmt: skip
    zarr.config.set({"threading.max_workers": 2, "async.concurrency": 2, "array.write_empty_chunks": True})
    return zarr


def opened(content: Mapping[str, bytes], version: int, writable: bool = False) -> tuple[Any, dict[str, Any]]:
    """The zarr array whose files are ``content``, by their names in it, and the mapping that it writes into. Raises
    ``UnsupportedInput`` for a description that zarr does not read."""
    zarr = library()
    from zarr.core.buffer import default_buffer_prototype

    kind = default_buffer_prototype().buffer
    held = {key: kind.from_bytes(data) for key, data in content.items()}
    store = zarr.storage.MemoryStore(held, read_only=not writable)
    try:
        return zarr.open_array(store, mode="r+" if writable else "r", zarr_format=version), held
    except Exception as error:  # of the kinds that zarr has for what it does not know
        raise _translated(error, "a Zarr array of a kind that is not read") from error


def _translated(error: Exception, what: str) -> InrfitError:
    """The error for an exception of zarr."""
    if isinstance(error, InrfitError):
        return error
    if (of_machine := machine_error(error)) is not None:
        return of_machine
    text = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)[:120]
    return UnsupportedInput(f"{what}: {text}", "variant")


@dataclass(frozen=True)
class Codecs:
    """What is known of the codecs of an array: the one that compresses, whether a checksum is behind it, and of shards
    whether their index is at the end and has a checksum; None if there are none."""

    packer: str | None
    checked: bool = False
    shards: tuple[bool, bool] | None = None

    def parts(self, stored: bytes | bytearray, count: int) -> list[memoryview]:
        """The compressed parts of a chunk: itself, or the ``count`` chunks of a shard that are there. Raises
        ``UnreadableFile`` for an index that leads out of the shard."""
        if self.shards is None:
            return [memoryview(stored)]
        at_end, checked = self.shards
        size = 16 * count + 4 * checked
        index = stored[len(stored) - size :] if at_end else stored[:size]
        if len(index) < size:
            raise UnreadableFile("damaged: a shard is shorter than its index", "truncated")
        places = np.frombuffer(index, "<u8", 2 * count).reshape(-1, 2)
        found = [(int(start), int(length)) for start, length in places if int(start) != 2**64 - 1]
        if any(start + length > len(stored) for start, length in found):
            raise UnreadableFile("damaged: the index of a shard leads out of it", "corrupt")
        return [memoryview(stored)[start : start + length] for start, length in found]


def codecs_of(node: Node) -> Codecs:
    """The codecs of an array. Raises ``UnsupportedInput`` for others than those above, or in another order."""
    if node.version == 2:
        return _codecs([*_listed(node.described.get("filters")), node.described.get("compressor")], "id")
    codecs = _listed(node.described.get("codecs"))
    if len(codecs) != 1 or _name(codecs[0], "name") != _SHARDS:
        return _codecs(codecs, "name")
    settings = codecs[0].get("configuration") if isinstance(codecs[0], Mapping) else None
    settings = settings if isinstance(settings, Mapping) else {}
    index = [_name(codec, "name") for codec in _listed(settings.get("index_codecs"))]
    if index not in (["bytes"], ["bytes", "crc32c"]):
        raise UnsupportedInput("Zarr shards whose index is compressed are not supported", "compression")
    shards = (settings.get("index_location", "end") == "end", len(index) > 1)
    return replace(_codecs(_listed(settings.get("codecs")), "name"), shards=shards)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _codecs(codecs: list[Any], key: str) -> Codecs:
    """What is known of ``codecs`` in the order in which they encode."""
    names = [_name(codec, key) for codec in codecs if codec is not None]
    for name in names:
        if name not in (*_PACKERS, *_CHECKS, *_SHAPERS):
            raise UnsupportedInput(f"the Zarr codec {printable(name)[:40]!r} is not read", "compression")
    packers = [name for name in names if name in _PACKERS]
    after = names[names.index(packers[0]) + 1 :] if packers else []
    if len(packers) > 1 or set(after) - set(_CHECKS):
        raise UnsupportedInput(f"Zarr codecs in the order {', '.join(names)[:80]} are not read", "compression")
    return Codecs(packers[0] if packers else None, bool(after))


def _name(codec: Any, key: str) -> str:
    name = codec.get(key) if isinstance(codec, Mapping) else codec
    return name.removeprefix("numcodecs.") if isinstance(name, str) else ""


def chunk_keys(store: Store, node: Node) -> list[str]:
    """The keys of the chunks of an array."""
    start = node.key("")
    return [key for key in store if key.startswith(start) and _CHUNK.fullmatch(key, len(start))]


def description(store: Store, node: Node) -> dict[str, bytes]:
    """The files that describe an array, by their names in it."""
    return {name: store.read(node.key(name)) for name in METADATA if node.key(name) in store}


def samples_of(store: Store, node: Node, limits: Limits) -> Array:
    """The samples of an array in the type of the file. Raises a ``RefusedInput`` for a type or a codec that is not
    supported, for chunks that are too large, and if there are none."""
    label = printable(node.path)[:80] or "the array"
    codecs = codecs_of(node)
    array, _ = opened(description(store, node), node.version)
    dtype = np.dtype(array.dtype)
    if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else WIDEST):
        raise UnsupportedInput(f"{label}: samples of {dtype} are not supported", "samples")
    if not array.shape or 0 in array.shape:
        raise UnsupportedInput(f"{label} has no samples: its shape is {array.shape}", "samples")
    sides, inner = _chunk_sides(array)
    chunk, count = math.prod(sides), math.prod(array.shape)
    if chunk > count:
        limits.check("max_voxels", chunk, "voxels in a chunk")
    require_memory((2 * count + chunk) * dtype.itemsize, label, "choose a smaller array")
    keys = chunk_keys(store, node)
    if not keys:
        raise UnreadableFile(f"{label}: no sample was ever written", "samples")
    allow((count + 4 * chunk) * dtype.itemsize + sum(map(store.size, keys)))
    chunks = {key.removeprefix(node.key("")): store.read(key) for key in keys}
    if codecs.packer is not None:
        most = math.prod(inner) * max(dtype.itemsize, WIDEST) + 64
        for stored in chunks.values():
            for part in codecs.parts(stored, chunk // math.prod(inner)):
                require_inflated(part, codecs.packer, most, label)
    array, _ = opened({**description(store, node), **chunks}, node.version)
    try:
        found: Array = np.asarray(array[...])
    except Exception as error:  # of zarr and of its codecs
        raise UnreadableFile(f"damaged: {_translated(error, label)}", "corrupt") from error
    return found


def _chunk_sides(array: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sides of the chunks of an array that are stored, and of those within them that are compressed."""
    try:
        stored, inner = tuple(array.shards or array.chunks), tuple(array.chunks)
    except Exception as error:  # of grids whose chunks differ
        raise _translated(error, "a Zarr array of a kind that is not read") from error
    if not all(side > 0 for side in (*stored, *inner)):
        raise UnreadableFile(f"damaged: chunks of {'x'.join(map(str, inner))} samples", "header")
    return stored, inner


def chunks_of(names: Mapping[str, bytes], node: Node, array: Array) -> dict[str, bytes]:
    """The chunks with the samples ``array``, by their names, of an array that the files ``names`` describe."""
    made, held = opened(names, node.version, writable=True)
    made[...] = array
    chunks = {name: held[name].to_bytes() for name in held if name not in METADATA}
    codecs, (sides, inner) = codecs_of(node), _chunk_sides(made)
    if codecs.packer != "gzip" or codecs.checked:
        return chunks
    for name, content in chunks.items():
        timeless = bytearray(content)
        for part in codecs.parts(timeless, math.prod(sides) // math.prod(inner)):
            part[4:8] = bytes(4)  # the time at which gzip was called
        chunks[name] = bytes(timeless)
    return chunks

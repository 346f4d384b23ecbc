"""The container of an artifact: its JSON header, its table of tensors and their bytes. Writes it, and parses untrusted
ones.

The bytes are parsed before they are passed to any library, and no memory is allocated by the sizes that they claim.
docs/artifact.md is the specification.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import UnreadableFile, UnsupportedInput
from ..io.json_schema import integer, items, text
from ..io.strict_json import check_schema, dumps, loads, value_count
from ..io.tensors import STATE_KEY
from . import header_dictionary
from .other_files import looks_like
from .weight_dtypes import STORES, tensor_stores

VERSION = 3
"""Version of the header that is written. Version 1 had the architecture siren with float32 weights only; versions 1 and
2 had no attachments, no coded weights, a plain header, the whole provenance, and 8-bit images only."""

KEY = "inrfit"
"""Key in the metadata of a safetensors file, and name of the tensor with inrfit's header."""

PART_KEY = "inrfit.part"
"""The same of a part of a data set (``part_header.py``)."""

CODED = "weights"
"""Name of the tensor with coded weights."""

ATTACHMENT_PREFIX = "attachment."
"""Beginning of the names of tensors that hold attachments."""

MAX_HEADER = 1 << 20
"""Largest header that is read, in bytes."""

HEAD_BYTES = 2 * MAX_HEADER + 4096
"""Bytes at the beginning of a file that hold both headers, that of safetensors and that of inrfit."""

MAX_VALUES = 1 << 22
"""Largest number of values in inrfit's own header, 64 for each field of the largest part: twice as many took 780 MB."""

MAX_TENSORS = 1000
"""Largest number of tensors that is read."""

_TENSOR_SCHEMA = {
    "dtype": text(16),
    "shape": items(integer(0, 2**63), 0, 8),
    "data_offsets": items(integer(0, 2**63), 2, 2),
}


@dataclass(frozen=True)
class Tensor:
    """One row of the table of tensors; ``start`` and ``stop`` are byte offsets from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class ParsedContainer:
    """The content of a container before it is validated against a field: ``inrfit`` is inrfit's header, any JSON value;
    ``tensors`` are all others than that header; ``start`` is where the bytes after the safetensors header begin, and
    ``data_bytes`` their number (None: unknown)."""

    inrfit: Any
    tensors: Mapping[str, Tensor]
    start: int
    data_bytes: int | None
    header_bytes: int = 0
    """Bytes of the tensor that holds inrfit's header; 0 if the header is in the metadata."""

    @property
    def file_bytes(self) -> int:
        """Size of a file without gaps, in bytes."""
        return self.start + max((tensor.stop for tensor in self.tensors.values()), default=self.header_bytes)

    @property
    def store(self) -> str:
        """The store of the weights: "int" for coded ones, otherwise that of the first tensor in a type of STORES which
        is not F32, or "fp32"."""
        if CODED in self.tensors:
            return "int"
        stores = {store.dtype: name for name, store in STORES.items()}
        kinds = [stores[tensor.dtype] for tensor in self.tensors.values() if tensor.dtype in stores]
        return next((kind for kind in kinds if kind != "fp32"), "fp32")


def parse(data: bytes, size: int | None) -> ParsedContainer:
    """Parses a file, of which ``data`` is the whole or the first HEAD_BYTES. ``size`` is that of the file in bytes, or
    None if it is not known. Raises ``UnreadableFile`` or ``UnsupportedInput`` with what is wrong."""
    metadata, tensors, start = parse_table(data)
    if metadata is None or (type(metadata) is dict and KEY not in metadata):
        if PART_KEY in (metadata or {}):
            raise UnsupportedInput("a part of a data set, not one field; name a field of it as in FILE#ID", "part")
        if STATE_KEY in (metadata or {}):
            raise UnsupportedInput(
                "the saved state of a fit, not a field; continue it with encode --resume", "metadata"
            )
        raise UnsupportedInput(f"a safetensors file of another program: no {KEY!r} in its metadata", "metadata")
    if type(metadata) is not dict or type(metadata[KEY]) is not str:
        raise UnreadableFile(f"the metadata must be an object with one string {KEY!r}", "metadata")
    if len(metadata) != 1:
        other = next(key for key in metadata if key != KEY)
        raise UnreadableFile(f"the metadata has an unknown key {other[:40]!r}", "metadata")
    inrfit, header_bytes = loads(metadata[KEY].encode(), f"the metadata {KEY!r}"), 0
    if type(inrfit) is int:
        inrfit = {"version": inrfit}
        try:
            header_bytes, inflated = inflated_header(data[start:HEAD_BYTES], tensors, KEY, MAX_HEADER)
            inrfit |= inflated
        except UnreadableFile:
            if inrfit["version"] <= VERSION:  # a later version may have another form of header
                raise
        tensors.pop(KEY, None)
    return ParsedContainer(inrfit, tensors, start, None if size is None else size - start, header_bytes)


def parse_table(data: bytes, limit: int = MAX_TENSORS) -> tuple[Any, dict[str, Tensor], int]:
    """The metadata, any JSON value or None, and at most ``limit`` tensors in the safetensors header of a file that
    begins with ``data``, and the offset of the bytes after it. Raises ``UnreadableFile`` or ``UnsupportedInput``."""
    length = _header_length(data)
    header = loads(data[8 : 8 + length], "the header")
    if len(header) > limit + 1:
        raise UnreadableFile(f"{len(header) - 1:,} tensors, at most {limit:,} are read", "tensors")
    metadata = header.pop("__metadata__", None)
    for name, entry in header.items():
        check_schema(entry, _TENSOR_SCHEMA, f"tensor {name[:40]!r}", "header")
    tensors = {
        name: Tensor(entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"]) for name, entry in header.items()
    }
    return metadata, tensors, 8 + length


def inflated_header(data: bytes, tensors: Mapping[str, Tensor], key: str, limit: int) -> tuple[int, dict[str, Any]]:
    """The size of the tensor ``key``, which comes first, and the header in it: deflated JSON without its version, of at
    most ``limit`` bytes. Raises ``UnreadableFile``."""
    tensor = tensors.get(key)
    end = 0 if tensor is None else tensor.stop
    if tensor is None or tensor != Tensor("U8", (end,), 0, end):
        raise UnreadableFile(f"the tensor {key!r} must come first, as bytes (U8)", "header")
    inflate = zlib.decompressobj(-zlib.MAX_WBITS, zdict=header_dictionary.TEXT)
    try:
        plain = inflate.decompress(data[:end], limit + 1)
    except zlib.error:
        plain = b""
    if not inflate.eof or len(plain) > limit or inflate.unused_data.strip(b"\0") or len(inflate.unused_data) >= 8:
        raise UnreadableFile("the header does not inflate, or to too many bytes", "header")
    if value_count(plain) > MAX_VALUES:
        raise UnreadableFile(f"the header has more than {MAX_VALUES:,} values", "header")
    header = loads(plain, "the header")
    if type(header) is not dict or "version" in header:
        raise UnreadableFile("the deflated header is not a JSON object without a version", "header")
    return end, header


def _header_length(data: bytes) -> int:
    """Length of the JSON header in bytes, validated against the size of the file and the header's first character."""
    if not data:
        raise UnreadableFile("the file is empty", "empty")
    length = int.from_bytes(data[:8], "little")
    plausible = len(data) >= 9 and length <= MAX_HEADER and data[8:9] == b"{"
    kind = looks_like(data)
    if not plausible and kind:
        raise UnsupportedInput(f"not a safetensors file (looks like {kind})", "not-safetensors")
    if len(data) < 8:
        raise UnreadableFile(
            f"the file ends early: {len(data)} bytes, but the length of the header takes 8", "truncated"
        )
    if length == 0:
        raise UnreadableFile("the header has length 0", "header")
    if length > MAX_HEADER:
        raise UnreadableFile(f"claims a header of {length:,} bytes, the limit is {MAX_HEADER:,}", "header")
    if length > len(data) - 8:
        raise UnreadableFile(
            f"the file ends early: the header says {length:,} bytes, {len(data) - 8:,} follow", "truncated"
        )
    if not plausible:
        raise UnreadableFile("not a safetensors file (the header is not a JSON object)", "not-safetensors")
    return length


def is_safetensors(data: bytes) -> bool:
    """Whether ``data`` begins like a safetensors file, possibly damaged."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= MAX_HEADER


def match_tensors(
    parsed: ParsedContainer,
    shapes: Mapping[str, tuple[int, ...]],
    keep_fp32: Set[str],
    attachments: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """The store of the weights (a key of STORES, or "int"). ``attachments`` are the lengths of attachments by name.

    Raises ``UnreadableFile`` unless the table has exactly the tensors in ``shapes``, those named in ``keep_fp32`` in
    fp32 and all others in one type, or coded in one tensor of bytes, and the attachments as bytes, and they fill the
    file, if its size is known, without gaps."""
    store = parsed.store
    attached = {ATTACHMENT_PREFIX + name: length for name, length in attachments.items()}
    if store == "int":
        attached[CODED] = math.prod(parsed.tensors[CODED].shape)
    types = tensor_stores(shapes, store, keep_fp32)
    for name in parsed.tensors:
        if name not in types and name not in attached:
            raise UnreadableFile(f"unexpected tensor {name[:80]!r}", "tensors")
    for name in (*types, *attached):
        if name not in parsed.tensors:
            raise UnreadableFile(f"the tensor {name!r} is missing", "tensors")
    for name, length in attached.items():
        tensor = parsed.tensors[name]
        if (tensor.dtype, tensor.shape, tensor.stop - tensor.start) != ("U8", (length,), length):
            raise UnreadableFile(f"tensor {name!r} must be {length:,} bytes (U8)", "attachment")
    for name, kind in types.items():
        check_weights(name, parsed.tensors[name], kind, shapes[name])
    check_layout(parsed)
    return store


def check_weights(name: str, tensor: Tensor, store: str, shape: tuple[int, ...]) -> None:
    """Raises ``UnreadableFile`` unless ``tensor`` has this type and shape, and their number of bytes."""
    if tensor.dtype != STORES[store].dtype:
        raise UnreadableFile(f"tensor {name!r} has the type {tensor.dtype!r}, not {STORES[store].dtype}", "dtype")
    if tensor.shape != shape:
        raise UnreadableFile(f"tensor {name!r} has the shape {tensor.shape}, it must be {shape}", "shape")
    if tensor.stop - tensor.start != (size := STORES[store].size * math.prod(shape)):
        raise UnreadableFile(
            f"tensor {name!r} takes bytes {tensor.start:,} to {tensor.stop:,}, but {shape} in {tensor.dtype} needs "
            f"{size:,} bytes",
            "offsets",
        )


def check_layout(parsed: ParsedContainer) -> None:
    """Raises ``UnreadableFile`` if there are gaps or overlaps between the tensors, or bytes after the last one."""
    end = parsed.header_bytes
    for name, tensor in sorted(parsed.tensors.items(), key=lambda item: item[1].start):
        if tensor.start != end:
            what = "a gap before" if tensor.start > end else "an overlap at"
            raise UnreadableFile(f"{what} tensor {name!r} (starts at {tensor.start:,}, not {end:,})", "offsets")
        end = tensor.stop
    if parsed.data_bytes is None:
        return
    if parsed.data_bytes < end:
        raise UnreadableFile(
            f"the file ends early: the weights take {end:,} bytes, but only {parsed.data_bytes:,} follow the header",
            "truncated",
        )
    if parsed.data_bytes > end:
        raise UnreadableFile(f"{parsed.data_bytes - end:,} bytes follow the last tensor", "trailing")


@dataclass(frozen=True)
class Stored:
    """A tensor to be written: its type and shape in safetensors, and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    content: bytes


def deflated(header: Mapping[str, Any]) -> Stored:
    """The tensor of inrfit's header, padded with zeros so that those after it are aligned."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=header_dictionary.TEXT)
    content = deflate.compress(dumps(header).encode()) + deflate.flush()
    return bytes_tensor(content + bytes(-len(content) % 8))


def bytes_tensor(content: bytes) -> Stored:
    """A tensor of bytes."""
    return Stored("U8", (len(content),), content)


def serialize(version: int, tensors: Mapping[str, Stored]) -> bytes:
    """A safetensors file with ``tensors`` in their order, the first of which is KEY."""
    return serialize_with({KEY: str(version)}, tensors)


def serialize_with(metadata: Mapping[str, str], tensors: Mapping[str, Stored]) -> bytes:
    """A safetensors file with ``metadata``, and ``tensors`` in their order."""
    table: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + len(tensor.content)
        table[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=True).encode()
    header += b" " * (-len(header) % 8)
    contents = (tensor.content for tensor in tensors.values())
    return b"".join((len(header).to_bytes(8, "little"), header, *contents))

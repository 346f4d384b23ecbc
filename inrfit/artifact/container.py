"""The container of an artifact: its JSON header, its table of tensors and their bytes. Writes it, and parses untrusted
ones.

The bytes are parsed before they are passed to any library, and no memory is allocated by the sizes that they claim.
docs/artifact.md is the specification.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import UnreadableFile, UnsupportedInput
from ..io.json_schema import integer, items, text
from ..io.signatures import Signatures, detect_format
from ..io.strict_json import check_schema, loads
from ..io.tensors import STATE_KEY
from .weight_dtypes import STORES, Weights, pack, tensor_stores

KEY = "inrfit"
"""Key of inrfit's header in the metadata of a safetensors file."""

ATTACHMENT_PREFIX = "attachment."
"""Beginning of the names of tensors that hold attachments."""

MAX_HEADER = 1 << 20
"""Largest header that is read, in bytes."""

MAX_TENSORS = 1000
"""Largest number of tensors that is read."""

_SIGNATURES: Signatures = {
    "a Git LFS pointer: fetch the file itself with git lfs pull": rb"version https://git-lfs",
    "a ZIP archive, as torch.save writes": rb"PK\x03\x04",
    "a NumPy array": rb"\x93NUMPY",
    "a PNG image": rb"\x89PNG\r\n\x1a\n",
    "a JPEG image": rb"\xff\xd8\xff",
    "a GIF image": rb"GIF8",
    "a TIFF image": rb"II\*\0|MM\0\*",
    "a RIFF file: WAV or WebP": rb"RIFF",
    "a FLAC sound": rb"fLaC",
    "an Ogg sound": rb"OggS",
    "an MP3 sound": rb"ID3",
    "an HDF5 file": rb"\x89HDF",
    "a GGUF model": rb"GGUF",
    "gzip-compressed data": rb"\x1f\x8b",
    "a PDF document": rb"%PDF",
    "a PLY mesh": rb"ply",
    "an STL mesh": rb"solid ",
}

_TEXT_SIGNATURES: Signatures = {
    "an HTML page: a web page was downloaded instead of the file": rb"<!doctype html|<html",
    "XML or HTML": rb"<",
    "JSON": rb"\{|\[",
}

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
    ``data_bytes`` is the number of bytes after the safetensors header."""

    inrfit: Any
    tensors: Mapping[str, Tensor]
    data_bytes: int


def parse(data: bytes) -> ParsedContainer:
    """Parses the bytes of a file. Raises ``UnreadableFile`` or ``UnsupportedInput`` with what is wrong."""
    length = _header_length(data)
    header = loads(data[8 : 8 + length], "the header")
    if len(header) > MAX_TENSORS + 1:
        raise UnreadableFile(f"{len(header) - 1:,} tensors, at most {MAX_TENSORS:,} are read", "tensors")
    metadata = header.pop("__metadata__", None)
    if metadata is None or (type(metadata) is dict and KEY not in metadata):
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
    for name, entry in header.items():
        check_schema(entry, _TENSOR_SCHEMA, f"tensor {name[:40]!r}", "header")
    tensors = {
        name: Tensor(entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"]) for name, entry in header.items()
    }
    return ParsedContainer(loads(metadata[KEY].encode(), f"the metadata {KEY!r}"), tensors, len(data) - 8 - length)


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


def looks_like(data: bytes) -> str | None:
    """A description of the kind of file that begins like ``data``; None if unknown."""
    if (kind := detect_format(data, _SIGNATURES)) is not None:
        return kind
    start = data[:64].lstrip().lower()
    if b"\0" not in start and (kind := detect_format(start, _TEXT_SIGNATURES)) is not None:
        return kind
    if data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05" and data[-1:] == b".":
        return "a pickle file, which is never executed"
    return None


def match_tensors(
    parsed: ParsedContainer,
    shapes: Mapping[str, tuple[int, ...]],
    keep_fp32: Set[str],
    attachments: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """The number type of the stored weights (a key of STORES). ``attachments`` are the lengths of attachments by name.

    Raises ``UnreadableFile`` unless the table has exactly the tensors in ``shapes``, those named in ``keep_fp32`` in
    fp32 and all others in one type, and the attachments as bytes, and they fill the file without gaps."""
    attached = {ATTACHMENT_PREFIX + name: length for name, length in attachments.items()}
    for name in parsed.tensors:
        if name not in shapes and name not in attached:
            raise UnreadableFile(f"unexpected tensor {name[:80]!r}", "tensors")
    for name in (*shapes, *attached):
        if name not in parsed.tensors:
            raise UnreadableFile(f"the tensor {name!r} is missing", "tensors")
    for name, length in attached.items():
        tensor = parsed.tensors[name]
        if (tensor.dtype, tensor.shape, tensor.stop - tensor.start) != ("U8", (length,), length):
            raise UnreadableFile(f"tensor {name!r} must be {length:,} bytes (U8)", "attachment")
    weights = {name: tensor for name, tensor in parsed.tensors.items() if name not in attached}
    store = _store(weights, keep_fp32)
    sizes = {name: STORES[kind].size for name, kind in tensor_stores(shapes, store, keep_fp32).items()}
    for name, shape in shapes.items():
        tensor, size = parsed.tensors[name], sizes[name] * math.prod(shape)
        if tensor.shape != shape:
            raise UnreadableFile(f"tensor {name!r} has the shape {tensor.shape}, it must be {shape}", "shape")
        if tensor.stop - tensor.start != size:
            raise UnreadableFile(
                f"tensor {name!r} takes bytes {tensor.start:,} to {tensor.stop:,}, but {shape} in {tensor.dtype} needs "
                f"{size:,} bytes",
                "offsets",
            )
    _check_layout(parsed)
    return store


def _store(tensors: Mapping[str, Tensor], keep_fp32: Set[str]) -> str:
    """The number type of the weights that are not in ``keep_fp32``. Raises ``UnreadableFile`` if they have several, or
    one that is not supported."""
    stores = {store.dtype: name for name, store in STORES.items()}
    first = next((tensor.dtype for name, tensor in tensors.items() if name not in keep_fp32), "F32")
    for name, tensor in tensors.items():
        if name in keep_fp32 and tensor.dtype != "F32":
            raise UnreadableFile(f"tensor {name!r} has the type {tensor.dtype!r}, it must be F32", "dtype")
        if tensor.dtype not in stores:
            raise UnreadableFile(f"tensor {name!r} has the type {tensor.dtype!r}, not {', '.join(stores)}", "dtype")
        if name not in keep_fp32 and tensor.dtype != first:
            raise UnreadableFile(f"tensor {name!r} has the type {tensor.dtype}, others have {first}", "dtype")
    return stores[first]


def _check_layout(parsed: ParsedContainer) -> None:
    """Raises ``UnreadableFile`` if there are gaps or overlaps between the tensors, or bytes after the last one."""
    end = 0
    for name, tensor in sorted(parsed.tensors.items(), key=lambda item: item[1].start):
        if tensor.start != end:
            what = "a gap before" if tensor.start > end else "an overlap at"
            raise UnreadableFile(f"{what} tensor {name!r} (starts at {tensor.start:,}, not {end:,})", "offsets")
        end = tensor.stop
    if parsed.data_bytes < end:
        raise UnreadableFile(
            f"the file ends early: the weights take {end:,} bytes, but only {parsed.data_bytes:,} follow the header",
            "truncated",
        )
    if parsed.data_bytes > end:
        raise UnreadableFile(f"{parsed.data_bytes - end:,} bytes follow the last tensor", "trailing")


def header_bytes(
    shapes: Mapping[str, tuple[int, ...]],
    store: str,
    keep_fp32: Set[str],
    metadata: Mapping[str, str],
    attachments: Mapping[str, int] = MappingProxyType({}),
) -> bytes:
    """The part of a safetensors file before the tensors: the length of the header, and the header."""
    table: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, kind in tensor_stores(shapes, store, keep_fp32).items():
        begin, end = end, end + STORES[kind].size * math.prod(shapes[name])
        table[name] = {"dtype": STORES[kind].dtype, "shape": list(shapes[name]), "data_offsets": [begin, end]}
    for name, length in sorted(attachments.items()):
        begin, end = end, end + length
        table[ATTACHMENT_PREFIX + name] = {"dtype": "U8", "shape": [length], "data_offsets": [begin, end]}
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def serialize(
    weights: Weights,
    store: str,
    keep_fp32: Set[str],
    metadata: Mapping[str, str],
    attachments: Mapping[str, bytes] = MappingProxyType({}),
) -> bytes:
    """A safetensors file with ``weights`` and ``attachments``: the same bytes that the safetensors library would
    write."""
    shapes = {name: weight.shape for name, weight in weights.items()}
    tensors = (pack(weights[name], kind).tobytes() for name, kind in tensor_stores(shapes, store, keep_fp32).items())
    attached = (attachments[name] for name in sorted(attachments))
    lengths = {name: len(content) for name, content in attachments.items()}
    return b"".join((header_bytes(shapes, store, keep_fp32, metadata, lengths), *tensors, *attached))

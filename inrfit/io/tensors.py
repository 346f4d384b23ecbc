"""Files of named arrays and a JSON value, in the safetensors format. Nothing is unpickled.

Files are checked when they are read: the table of tensors must account for every byte before an array is made, and the
digest in the metadata must be that of names, types, shapes, values and JSON.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UnreadableFile, UnsupportedInput
from . import strict_json
from .json_schema import integer, items, one_of

if TYPE_CHECKING:
    import numpy.typing as npt

Arrays = Mapping[str, "npt.NDArray[Any]"]

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "|u1", "I16": "<i2", "BOOL": "|b1"}
"""NumPy types of the supported number types, by their names in the format."""

MAX_HEADER, MAX_TENSORS = 1 << 22, 20_000

STATE_KEY = "inrfit.state"
"""Key of the JSON value of a saved fit (``fit/checkpoint.py``). It is here so that torch is not needed for it."""

DIGEST_KEY = "sha256"

_ENTRY_SCHEMA = {
    "dtype": one_of(*DTYPES),
    "shape": items(integer(0, 2**48), 0, 8),
    "data_offsets": items(integer(0, 2**48), 2, 2),
}


def dumps(arrays: Arrays, key: str, value: Any) -> bytes:
    """The bytes of a file with ``arrays``, and with ``value`` as JSON under ``key`` in its metadata."""
    from safetensors.numpy import save

    contiguous = {name: array if array.flags.c_contiguous else array.copy() for name, array in arrays.items()}
    text = strict_json.dumps(value)
    data: bytes = save(contiguous, {key: text, DIGEST_KEY: _digest(contiguous, text)})
    return data


def loads(data: bytes, key: str) -> tuple[dict[str, npt.NDArray[Any]], Any]:
    """The arrays and the value of a file that ``dumps`` made. Raises ``UnreadableFile`` for a damaged file,
    ``UnsupportedInput`` for a safetensors file of another kind."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise UnreadableFile("is cut short, or not a file of this kind", "truncated")
    table = strict_json.loads(data[8 : 8 + length], "the header")
    metadata = table.pop("__metadata__", None) if type(table) is dict else None
    if type(metadata) is not dict or set(metadata) != {key, DIGEST_KEY} or type(metadata[key]) is not str:
        raise UnsupportedInput(f"has no {key!r} in its metadata", "metadata")
    if len(table) > MAX_TENSORS:
        raise UnreadableFile(f"has {len(table):,} tensors, but at most {MAX_TENSORS:,} are supported", "tensors")
    arrays = _arrays(memoryview(data)[8 + length :], table)
    if _digest(arrays, metadata[key]) != metadata[DIGEST_KEY]:
        raise UnreadableFile("is damaged: its content does not match its checksum", "digest")
    return arrays, strict_json.loads(metadata[key].encode(), f"the metadata {key!r}")


def has_key(path: str, key: str) -> bool:
    """Whether ``path`` is a regular file that looks like one that ``dumps`` made with this key."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return length <= MAX_HEADER and f'"{key}"'.encode() in file.read(length)
    except OSError:
        return False


def _digest(arrays: Arrays, text: str) -> str:
    """SHA-256 of the JSON ``text`` and of names, types, shapes and values of ``arrays``."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _arrays(body: memoryview, table: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Copies of the arrays in ``body`` by the entries of ``table``. Raises ``UnreadableFile`` unless they account for
    every byte."""
    import numpy as np

    for name, entry in table.items():
        strict_json.check_schema(entry, _ENTRY_SCHEMA, f"tensor {name[:80]!r}", "header")
    arrays: dict[str, npt.NDArray[Any]] = {}
    end = 0
    for name, entry in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
        if start != end or stop - start != dtype.itemsize * math.prod(shape) or stop > len(body):
            raise UnreadableFile(f"tensor {name[:80]!r} overlaps another one or leaves a gap", "offsets")
        if entry["dtype"] == "BOOL" and max(body[start:stop], default=0) > 1:
            raise UnreadableFile(f"tensor {name[:80]!r} has values that are neither true nor false", "values")
        arrays[name] = np.frombuffer(body[start:stop], dtype).reshape(shape).copy()
        end = stop
    if end != len(body):
        raise UnreadableFile(f"{len(body) - end:,} bytes follow the last tensor", "trailing")
    return arrays

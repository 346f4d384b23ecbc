"""The number types that weights are stored in, and the container's bytes. NumPy alone: it has no bfloat16."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Store:
    """How one weight is stored: its name in the container, and its bytes."""

    dtype: str
    size: int


STORES: Mapping[str, Store] = {"fp32": Store("F32", 4), "fp16": Store("F16", 2), "bf16": Store("BF16", 2)}
"""IEEE 754 binary32 and binary16, and bfloat16 (the upper half of binary32), by the names of ``--store``."""

WIDER_STORE = {"fp16": "bf16", "bf16": "fp32"}
"""Where a value is out of range: fp16 ends at 65,504; bf16, as long, has the range of fp32."""

Weights = Mapping[str, "npt.NDArray[np.float32]"]


def pack(weight: npt.NDArray[np.float32], store: str) -> npt.NDArray[np.generic]:
    """``weight`` as it is stored, little-endian (bf16: the bits as uint16), rounded to the nearest, halves to the even
    neighbour; what is out of range becomes infinite."""
    import numpy as np

    plain = np.ascontiguousarray(weight, "<f4")
    if store == "fp32":
        return plain
    if store == "fp16":
        with np.errstate(over="ignore"):
            return plain.astype("<f2")
    bits = plain.view("<u4")
    rounded = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16
    nan = (bits >> 16) | 0x40  # rounding would carry a NaN's bits over into infinity
    return np.where(np.isnan(plain), nan, rounded).astype("<u2")


def unpack(raw: bytes | bytearray | memoryview, shape: tuple[int, ...], store: str) -> npt.NDArray[np.float32]:
    """The inverse of ``pack``, as float32 in memory of its own."""
    import numpy as np

    if store == "bf16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(raw, f"<f{STORES[store].size}").astype("<f4").reshape(shape)


def fitting_store(weights: Weights, store: str, keep_fp32: Set[str]) -> str:
    """``store``, or the next that keeps finite weights finite; those named in ``keep_fp32`` are not in question."""
    others = [weight for name, weight in weights.items() if name not in keep_fp32]
    while store in WIDER_STORE and any(_overflows(weight, store) for weight in others):
        store = WIDER_STORE[store]
    return store


def _overflows(weight: npt.NDArray[np.float32], store: str) -> bool:
    import numpy as np

    back = unpack(pack(weight, store).tobytes(), weight.shape, store)
    return bool((np.isinf(back) & np.isfinite(weight)).any())


def tensor_stores(shapes: Iterable[str], store: str, keep_fp32: Set[str]) -> dict[str, str]:
    """How each tensor is stored, in the order in which they lie in the file: the wider first, then by name."""
    stores = {name: "fp32" if name in keep_fp32 else store for name in shapes}
    return dict(sorted(stores.items(), key=lambda item: (-STORES[item[1]].size, item[0])))


def weight_bytes(shapes: Mapping[str, tuple[int, ...]], store: str, keep_fp32: Set[str]) -> int:
    """What all tensors take."""
    return sum(
        STORES[kind].size * math.prod(shapes[name]) for name, kind in tensor_stores(shapes, store, keep_fp32).items()
    )


def header_bytes(
    shapes: Mapping[str, tuple[int, ...]], store: str, keep_fp32: Set[str], metadata: Mapping[str, str]
) -> bytes:
    """What stands before the tensors of a safetensors file: the length of its header, and the header."""
    table: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, kind in tensor_stores(shapes, store, keep_fp32).items():
        begin, end = end, end + STORES[kind].size * math.prod(shapes[name])
        table[name] = {"dtype": STORES[kind].dtype, "shape": list(shapes[name]), "data_offsets": [begin, end]}
    written = json.dumps(table, separators=(",", ":"), ensure_ascii=True).encode()
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written


def serialize(weights: Weights, store: str, keep_fp32: Set[str], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file, byte for byte as that library writes it."""
    shapes = {name: weight.shape for name, weight in weights.items()}
    tensors = (pack(weights[name], kind).tobytes() for name, kind in tensor_stores(shapes, store, keep_fp32).items())
    return b"".join((header_bytes(shapes, store, keep_fp32, metadata), *tensors))

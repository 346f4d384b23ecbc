"""The number types of stored weights.

Implemented with NumPy, which has no bfloat16, so that artifacts can be written and read without torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UnreadableFile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Store:
    """A number type for stored weights: its name in safetensors, and its size in bytes."""

    dtype: str
    size: int


STORES: Mapping[str, Store] = {"fp32": Store("F32", 4), "fp16": Store("F16", 2), "bf16": Store("BF16", 2)}
"""Number types by their names in ``--store``: IEEE 754 binary32 and binary16, and bfloat16 (the upper half of
binary32)."""

CODED_BITS: Mapping[str, float] = {"int8": 6.6, "int6": 4.6}
"""Bits a weight of the entropy-coded stores in ``--store``: what integers of 8 and 6 bits take that span five standard
deviations on either side."""

WIDER_STORE = {"fp16": "bf16", "bf16": "fp32"}
"""Number type to fall back to if a weight overflows. The largest finite fp16 is 65,504; the range of bf16 is almost
that of fp32."""

Weights = Mapping[str, "npt.NDArray[np.float32]"]


def pack(weight: npt.NDArray[np.float32], store: str) -> npt.NDArray[np.generic]:
    """Converts ``weight`` to its stored form, little-endian; bf16 is returned as its bits in uint16.

    Values are rounded to the nearest, ties to even. A value out of range becomes infinite."""
    import numpy as np

    fp32 = np.ascontiguousarray(weight, "<f4")
    if store == "fp32":
        return fp32
    if store == "fp16":
        with np.errstate(over="ignore"):
            return fp32.astype("<f2")
    bits = fp32.view("<u4")
    rounded = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16
    nan = (bits >> 16) | 0x40  # rounding could carry the bits of a NaN over into infinity
    return np.where(np.isnan(fp32), nan, rounded).astype("<u2")


def unpack(raw: bytes | bytearray | memoryview, shape: tuple[int, ...], store: str) -> npt.NDArray[np.float32]:
    """The inverse of ``pack``: a float32 array that owns its memory."""
    import numpy as np

    if store == "bf16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(raw, f"<f{STORES[store].size}").astype("<f4").reshape(shape)


def rounded(weights: Weights, store: str, keep_fp32: Set[str]) -> dict[str, npt.NDArray[np.float32]]:
    """``weights`` as they are read back from a file in ``store``."""
    return {
        name: weight if name in keep_fp32 else unpack(pack(weight, store).tobytes(), weight.shape, store)
        for name, weight in weights.items()
    }


def fitting_store(weights: Weights, store: str, keep_fp32: Set[str]) -> str:
    """Returns ``store``, or the next wider number type in which no finite weight overflows.

    Tensors named in ``keep_fp32`` are ignored, as they are always stored in fp32."""
    converted = [weight for name, weight in weights.items() if name not in keep_fp32]
    while store in WIDER_STORE and any(_overflows(weight, store) for weight in converted):
        store = WIDER_STORE[store]
    return store


def _overflows(weight: npt.NDArray[np.float32], store: str) -> bool:
    """Whether a finite value of ``weight`` becomes infinite in ``store``."""
    import numpy as np

    stored = unpack(pack(weight, store).tobytes(), weight.shape, store)
    return bool((np.isinf(stored) & np.isfinite(weight)).any())


def tensor_stores(names: Iterable[str], store: str, keep_fp32: Set[str]) -> dict[str, str]:
    """The number type of each tensor, in the order of the file: wider types first, then by name. With the store "int"
    only the tensors in ``keep_fp32`` have one."""
    stores = {name: "fp32" if name in keep_fp32 else store for name in names if name in keep_fp32 or store != "int"}
    return dict(sorted(stores.items(), key=lambda item: (-STORES[item[1]].size, item[0])))


def pack_step(step: float) -> bytes:
    """A step of coefficients in two bytes."""
    import numpy as np

    return pack(np.array([step], np.float32), "bf16").tobytes()


def unpack_step(code: bytes) -> float:
    """The step in the first two bytes of ``code``. Raises ``UnreadableFile`` if it is not a positive number."""
    step = float(unpack(code[:2], (1,), "bf16")[0])
    if not (math.isfinite(step) and step > 0):
        raise UnreadableFile("damaged: the step of the weights is not a positive number", "code")
    return step

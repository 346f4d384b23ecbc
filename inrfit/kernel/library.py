"""The compiled library, and the instruction sets of this processor."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

PATH = Path(__file__).parent / "built" / "kernel.so"

VARIABLE = "INRFIT_KERNEL"
"""Environment variable that names the only instruction set to be used, or "none"."""

BFLOAT16_SETS, FLOAT32_SETS = frozenset({"amx", "avx512_bf16"}), frozenset({"avx512", "avx2", "neon"})
"""Instruction sets by the factors of their products."""


class Level(ctypes.Structure):
    """``Level`` of src/kernel.h."""

    _fields_ = (
        ("nodes", ctypes.c_int64 * 4),
        ("strides", ctypes.c_int64 * 4),
        ("start", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("hashed", ctypes.c_int64),
    )


class Net(ctypes.Structure):
    """``Net`` of src/kernel.h."""

    _fields_ = (
        ("inputs", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("hidden", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("axes", ctypes.c_int64),
        ("level_count", ctypes.c_int64),
        ("features", ctypes.c_int64),
        ("span", ctypes.c_int64),
        ("levels", ctypes.POINTER(Level)),
        ("activation", ctypes.c_int32),
        ("first_coefficient", ctypes.c_float),
        ("coefficient", ctypes.c_float),
    )


class Partition(ctypes.Structure):
    """``Partition`` of src/kernel.h."""

    _fields_ = (
        ("axes", ctypes.c_int64),
        ("counts", ctypes.c_int64 * 4),
        ("overlap", ctypes.c_float),
    )


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library; None if the package was built without it."""
    if not PATH.exists():
        return None
    try:
        loaded = ctypes.CDLL(str(PATH))
        loaded.inrfit_instruction_sets.restype = ctypes.c_char_p
    except (OSError, AttributeError):  # it was built for another platform, or by another version
        return None
    return loaded


@functools.cache
def available() -> tuple[str, ...]:
    """The instruction sets that this processor and this build have in common, the fastest first."""
    loaded = library()
    return () if loaded is None else tuple(loaded.inrfit_instruction_sets().decode().split())


def forced() -> str | None:
    """The instruction set that the environment names as the only one; None: any."""
    return os.environ.get(VARIABLE) or None


def instruction_set(bfloat16: bool) -> str | None:
    """The instruction set for products in bfloat16, or in float32; None if there is none."""
    only = forced()
    found = (name for name in available() if (name in BFLOAT16_SETS) == bfloat16 and only in (None, name))
    return next(found, None)

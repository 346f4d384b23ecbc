"""The compiled library, and the instruction sets of this processor."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
from pathlib import Path

from ..errors import UsageError, warn

PATH = Path(__file__).parent / "built" / "kernel.so"

RECORD = "kernel.json"
"""The file beside the library that says what it was built from, and its SHA-256 (build.py)."""

SOURCES = Path(__file__).parent / "src"
"""The C++ code, where the package is a checkout."""

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


class Stencil(ctypes.Structure):
    """``Stencil`` of src/kernel.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("inputs", "hidden", "outputs", "columns", "row_step", "column_step")),
        ("offsets", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("first", "first_bias", "second", "second_bias", "last", "last_bias")),
        *((name, ctypes.c_float) for name in ("first_scale", "second_scale", "most")),
    )


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library; None if the package was built without it. One that is damaged, or of other sources, is not loaded:
    its functions would take other arguments."""
    if not PATH.exists():
        return None
    try:
        record = json.loads(PATH.with_name(RECORD).read_bytes())
        complete = record["library"] == hashlib.sha256(PATH.read_bytes()).hexdigest()
        current = not SOURCES.is_dir() or record["sources"] == sources_digest(SOURCES)
    except (OSError, ValueError, KeyError, TypeError):
        complete = current = False
    if not (complete and current):
        problem = "is damaged" if not complete else "was built from other sources"
        warn(f"the compiled kernel {problem} and is not used; install inrfit again (fits are slower without it)")
        return None
    try:
        loaded = ctypes.CDLL(str(PATH))
        loaded.inrfit_instruction_sets.restype = ctypes.c_char_p
    except (OSError, AttributeError):  # it was built for another platform
        return None
    return loaded


@functools.cache
def digest() -> str | None:
    """The SHA-256 of the library; None if it is not used."""
    return None if library() is None else hashlib.sha256(PATH.read_bytes()).hexdigest()


def sources_digest(folder: Path) -> str:
    """The SHA-256 of the C++ code."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.[chi]*")))).hexdigest()


@functools.cache
def available() -> tuple[str, ...]:
    """The instruction sets that this processor and this build have in common, the fastest first."""
    loaded = library()
    return () if loaded is None else tuple(loaded.inrfit_instruction_sets().decode().split())


def usable() -> tuple[str, ...]:
    """Those of ``available`` that the environment admits. Raises ``UsageError`` if it names an unknown one."""
    only = os.environ.get(VARIABLE) or None
    names = (*sorted(BFLOAT16_SETS | FLOAT32_SETS), "none")
    if only not in (None, *names):
        raise UsageError(f"{VARIABLE}={only}: choose from {', '.join(names)}", "option")
    return tuple(name for name in available() if only in (None, name))


def instruction_set(bfloat16: bool) -> str | None:
    """The instruction set for products in bfloat16, or in float32; None if there is none. Raises ``UsageError``."""
    return next((name for name in usable() if (name in BFLOAT16_SETS) == bfloat16), None)

"""Suffixes of file names."""

from __future__ import annotations

import os


def suffix_of(name: str) -> str:
    """The suffix of a name in lower case, ".nii.gz" and ".zarr.zip" for what has a suffix of its own; "" if there is
    none."""
    root, suffix = os.path.splitext(name)
    inner = os.path.splitext(root)[1]
    packed = suffix.lower() == ".gz" or (suffix.lower() == ".zip" and inner.lower() == ".zarr")
    return ((inner if packed else "") + suffix).lower()


def without_suffix(name: str) -> str:
    """``name`` without ``suffix_of(name)``."""
    return name[: len(name) - len(suffix_of(name))]

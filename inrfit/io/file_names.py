"""Suffixes of file names."""

from __future__ import annotations

import os


def suffix_of(name: str) -> str:
    """The suffix of a name in lower case, ".nii.gz" for a compressed file with a suffix of its own; "" if there is
    none."""
    root, suffix = os.path.splitext(name)
    inner = os.path.splitext(root)[1] if suffix.lower() == ".gz" else ""
    return (inner + suffix).lower()


def without_suffix(name: str) -> str:
    """``name`` without ``suffix_of(name)``."""
    return name[: len(name) - len(suffix_of(name))]

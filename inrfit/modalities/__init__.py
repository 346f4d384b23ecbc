"""Modalities: reading files as signals, and writing decoded fields as files.

A modality is a folder here whose ``__init__.py`` declares a ``Modality``, and a line in ``MODALITIES`` (registry.py;
docs/extending.md). ``MODALITIES`` is loaded on first access, so that the help of the command line does not import
NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .modality import Modality, OnProgress
from .request import Request

if TYPE_CHECKING:
    from .registry import MODALITIES, array_source, file_of

__all__ = ["MODALITIES", "Modality", "OnProgress", "Request", "array_source", "file_of"]


def __getattr__(name: str) -> Any:
    if name not in ("MODALITIES", "array_source", "file_of"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import registry

    return getattr(registry, name)

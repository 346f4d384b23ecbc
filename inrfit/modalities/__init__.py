"""Modalities: what a file is as a function, and how the function becomes a file again.

To add a modality: one folder here, whose ``__init__.py`` declares a ``Modality``, and one line in ``MODALITIES``
(registry.py; docs/extending.md). ``MODALITIES`` is loaded when it is first asked for, so that the command line's help
does not import NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .modality import Modality, OnProgress, Request

if TYPE_CHECKING:
    from .registry import MODALITIES, file_of

__all__ = ["MODALITIES", "Modality", "OnProgress", "Request", "file_of"]


def __getattr__(name: str) -> Any:
    if name not in ("MODALITIES", "file_of"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import registry

    return getattr(registry, name)

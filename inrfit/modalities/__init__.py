"""Modalities: what a file is as a function, and how the function becomes a file again.

To add a modality: one folder here, whose ``__init__.py`` declares a ``Modality``, and one line in ``MODALITIES``
(docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .audio import AUDIO
from .image import IMAGE
from .modality import Modality, Request, Tick
from .shape import SHAPE

if TYPE_CHECKING:
    import numpy.typing as npt

MODALITIES: dict[str, Modality] = {"image": IMAGE, "audio": AUDIO, "shape": SHAPE}


def file_of(array: npt.NDArray[Any], arguments: Mapping[str, Any]) -> bytes:
    """The file that ``array`` stands for, by the first modality whose arrays come with these ``arguments``.
    Raises ``UsageError``."""
    for modality in MODALITIES.values():
        if modality.arrays is not None and modality.arrays.arguments == arguments.keys():
            return modality.arrays.to_file(array, **arguments)
    raise UsageError(f"no kind of array comes with {' and '.join(arguments)}", "array")


__all__ = ["MODALITIES", "Modality", "Request", "Tick", "file_of"]

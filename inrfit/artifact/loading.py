"""Reads artifacts from files."""

from __future__ import annotations

import os

from ..io import descriptors, files
from ..io.arguments import FILE, a, checked
from ..io.limits import Limits
from . import container, contents, data_set
from .artifact import LIMITS, Artifact


@checked(path=FILE, limits=a(Limits))
def load(path: str | os.PathLike[str] | int, limits: Limits = LIMITS) -> Artifact:
    """Reads an artifact from a file, or from standard input if ``path`` is "-". Does not import torch. The header is
    judged before the rest of the file is read.

    A field of a data set is named as in ``ds/parts/00/part-00017.safetensors#cat_17`` or ``ds#cat_17``.

    Raises a ``RefusedInput`` that says what is wrong with the file, or that it exceeds ``limits``, and ``UsageError``
    if a data set has no such field."""
    if (address := data_set.address_of(path)) is not None:
        return data_set.load_field(*address, limits)
    return Artifact.from_bytes(read(path, limits), limits)


def read(path: str | os.PathLike[str] | int, limits: Limits, or_other: bool = False) -> bytes:
    """The bytes of the file of a field, whose header is judged before the rest is read; with ``or_other`` also those of
    a file that does not begin like one. Of a field of a data set it is what its own file would have. Raises as
    ``load``."""
    if (address := data_set.address_of(path)) is not None:
        return data_set.load_field(*address, limits).to_bytes()

    def expected_bytes(start: bytes, size: int | None) -> int:
        if or_other and not container.is_safetensors(start):
            return limits.max_bytes
        return contents.judged(start, size, limits)[0].file_bytes

    return files.read(path, limits, descriptors.Head(container.HEAD_BYTES, expected_bytes))

"""Reads artifacts from files."""

from __future__ import annotations

import os

from ..io import descriptors, files
from ..io.arguments import FILE, a, checked
from ..io.limits import Limits
from . import container, contents
from .artifact import LIMITS, Artifact


@checked(path=FILE, limits=a(Limits))
def load(path: str | os.PathLike[str] | int, limits: Limits = LIMITS) -> Artifact:
    """Reads an artifact from a file, or from standard input if ``path`` is "-". Does not import torch. The header is
    judged before the rest of the file is read.

    Raises a ``RefusedInput`` that says what is wrong with the file, or that it exceeds ``limits``."""
    return Artifact.from_bytes(read(path, limits), limits)


def read(path: str | os.PathLike[str] | int, limits: Limits, or_other: bool = False) -> bytes:
    """The bytes of the file of a field, whose header is judged before the rest is read; with ``or_other`` also those of
    a file that does not begin like one. Raises a ``RefusedInput``."""

    def expected_bytes(start: bytes, size: int | None) -> int:
        if or_other and not container.is_safetensors(start):
            return limits.max_bytes
        return contents.judged(start, size, limits)[0].file_bytes

    return files.read(path, limits, descriptors.Head(container.HEAD_BYTES, expected_bytes))

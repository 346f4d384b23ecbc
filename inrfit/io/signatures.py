"""Recognising the kind of a file by its first bytes.

Each modality has its own table of signatures, and so has the artifact reader, for files that are no artifacts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Signatures = Mapping[str, bytes]
"""Regular expressions for the beginning of a file, by the name of the kind. A dot matches any byte."""

HEAD_BYTES = 4096
"""Bytes at the beginning of a file that are compared with signatures."""


def kind_of(data: bytes, signatures: Signatures) -> str | None:
    """The name of the first kind whose signature matches the beginning of ``data``; None if none does."""
    head = data[:HEAD_BYTES]
    return next((name for name, pattern in signatures.items() if re.match(pattern, head, re.DOTALL)), None)

"""Detects a file format by its first bytes.

Each modality has its own table of signatures. The artifact reader has another, for its messages about other files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Signatures = Mapping[str, bytes]
"""Regular expressions for the beginning of a file, by the name of the format. A dot matches any byte."""

HEAD_BYTES = 4096
"""Bytes at the beginning of a file that are compared with signatures."""


def detect_format(data: bytes, signatures: Signatures) -> str | None:
    """The name of the first format whose signature matches the beginning of ``data``; None if none does."""
    head = data[:HEAD_BYTES]
    return next((name for name, pattern in signatures.items() if re.match(pattern, head, re.DOTALL)), None)

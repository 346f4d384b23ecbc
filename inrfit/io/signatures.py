"""Which kind of file bytes begin like: the one way in which tables of signatures are read.

The tables stay with those who know the formats: each modality has its own, and the artifact's names what people give
for an artifact by mistake. They answer different questions, so that one table would have to say both what is certainly
a picture and what a damaged artifact may at most be taken for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Signatures = Mapping[str, bytes]
"""A regular expression (dot matches any byte) by the name of the kind that begins with it."""

HEAD = 4096
"""Bytes that are looked at."""


def kind_of(data: bytes, signatures: Signatures) -> str | None:
    """The first kind that ``data`` begins like; None for none."""
    head = data[:HEAD]
    return next((name for name, pattern in signatures.items() if re.match(pattern, head, re.DOTALL)), None)

"""Reads counts, sizes and budgets from text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..fit import budget as budgets
from ..fit.budget import Budget


def parse_count(text: int | str, unit: str = "", examples: str = "50k or 1M") -> int:
    """Parses 50000, 50k or 1.5M, with ``unit`` as an optional suffix. Raises ``ValueError`` unless it is at least 1."""
    suffix = f"(?:{unit})?" if unit else ""
    match = re.fullmatch(rf"([0-9]{{1,18}}(?:\.[0-9]{{1,9}})?) ?([kKMG]?){suffix}", str(text))
    if match is None:
        raise ValueError(f"must be a whole number, such as {examples}")
    value = round(float(match[1]) * {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}[match[2]])
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def parse_bytes(text: int | str) -> int:
    """Parses a size such as 500kB or 2MB (1 kB is 1,000 bytes). Raises ``ValueError``."""
    return parse_count(text, "B", "500kB or 2MB")


def check_budget(value: Any) -> None:
    """Raises ``ValueError`` or ``UsageError`` unless ``value`` is a ``Budget``, or one or several texts such as 60s."""
    if isinstance(value, Budget):
        return
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a time or a number of steps with its unit, such as 60s, 5m, 1h30m or 2000it")
    budgets.parse(texts, None)


def check_mapping(value: Any) -> None:
    """Raises ``ValueError`` unless ``value`` is a mapping."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping of the names of options to their values")

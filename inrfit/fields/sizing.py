"""How large a field may be: searches over the sizes of an architecture, without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from .spec import FieldSpec

MAX_WIDTH, MAX_DEPTH, MAX_PARAMETERS = 8192, 64, 100_000_000


def widest(spec: FieldSpec, parameters: int, most: int | None = None) -> FieldSpec:
    """``spec`` of the largest width, up to MAX_WIDTH and ``most``, that has at most ``parameters`` weights, at the
    depth it has."""
    limit = MAX_WIDTH if most is None else min(most, MAX_WIDTH)
    found = largest(limit, lambda width: replace(spec, width=width).parameters <= parameters)
    if not found:
        least = replace(spec, width=1).parameters
        raise UsageError(f"{spec.architecture} of depth {spec.depth} has at least {least:,} parameters", "option")
    return replace(spec, width=found)


def largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to ``most`` that ``fits``, as every smaller one does; 0 if none."""
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low

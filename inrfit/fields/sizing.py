"""How large a field may be: searches over the sizes of an architecture, without torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from . import FieldSpec


def widest(spec: FieldSpec, parameters: int) -> FieldSpec:
    """``spec`` of the largest width, up to MAX_WIDTH, that has at most ``parameters`` weights, at the depth it has."""
    from . import MAX_WIDTH

    if (least := replace(spec, width=1).parameters) > parameters:
        raise UsageError(f"{spec.architecture} of depth {spec.depth} has at least {least:,} parameters", "option")
    low, high = 1, 2
    while high <= MAX_WIDTH and replace(spec, width=high).parameters <= parameters:
        low, high = high, 2 * high
    high = min(high, MAX_WIDTH + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if replace(spec, width=middle).parameters <= parameters else (low, middle)
    return replace(spec, width=low)

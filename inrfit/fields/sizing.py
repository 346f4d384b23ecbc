"""Limits on the size of a field, and searches for the largest size within a number of weights. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from .architecture import Traits
    from .spec import FieldSpec

MAX_WIDTH, MAX_DEPTH, MAX_PARAMETERS = 8192, 64, 100_000_000

DEFAULT_PARAMETERS, FEW_SAMPLES, MANY_SAMPLES = 264_000, 1 << 18, 1 << 20
"""Default number of weights for signals of FEW_SAMPLES to MANY_SAMPLES: that of a SIREN 5x256, as in the papers."""

MIN_DEFAULT_PARAMETERS, MAX_DEFAULT_PARAMETERS = 1_000, 1_056_000
"""Limits on the default number of weights for smaller and larger signals."""


def default_parameters(samples: int) -> int:
    """The default number of weights for a signal on a grid: below FEW_SAMPLES and above MANY_SAMPLES it follows the
    square root of the number of samples, between the limits above (docs/architectures.md, "Default sizes")."""
    usual = min(max(samples, FEW_SAMPLES), MANY_SAMPLES)
    parameters = round(DEFAULT_PARAMETERS * math.sqrt(samples / usual))
    return min(max(parameters, MIN_DEFAULT_PARAMETERS), MAX_DEFAULT_PARAMETERS)


def widest(spec: FieldSpec, parameters: int, max_width: int | None = None) -> FieldSpec:
    """``spec`` with the largest width for which it has at most ``parameters`` weights. The depth stays the same, and
    the width is at most ``max_width`` and MAX_WIDTH. Raises ``UsageError`` if width 1 has too many weights."""
    limit = MAX_WIDTH if max_width is None else min(max_width, MAX_WIDTH)
    width = largest(limit, lambda candidate: replace(spec, width=candidate).parameters <= parameters)
    if not width:
        least = replace(spec, width=1).parameters
        raise UsageError(f"{spec.architecture} of depth {spec.depth} has at least {least:,} parameters", "option")
    return replace(spec, width=width)


def default_width(traits: Traits, signal_class: str) -> int:
    """The number of units per layer if none was asked for."""
    return traits.class_widths.get(signal_class, traits.width)


def largest(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to ``limit`` for which ``fits`` is true; 0 if there is none. ``fits`` must be true for
    all smaller numbers too."""
    low, high = 0, 1
    while high <= limit and fits(high):
        low, high = high, 2 * high
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low

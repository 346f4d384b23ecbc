"""How a cell's place among its siblings enters ASMR's phases: a linear map without bias, or a small SIREN, a level."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import cells

if TYPE_CHECKING:
    from torch import Tensor

    from .. import FieldSpec
    from .hierarchy import Radix

HIDDEN = 32
"""Width of the two sine layers of a nonlinear modulator, the authors'."""


def shapes(kind: str, layers: int, width: int, dimensions: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights, those of all levels in stacks."""
    if kind == "linear":
        return {"modulator.weight": (layers, width, dimensions)}
    return {
        "modulator.first.weight": (layers, HIDDEN, dimensions),
        "modulator.first.bias": (layers, HIDDEN),
        "modulator.hidden.weight": (layers, HIDDEN, HIDDEN),
        "modulator.hidden.bias": (layers, HIDDEN),
        "modulator.last.weight": (layers, width, HIDDEN),
        "modulator.last.bias": (layers, width),
    }


def bounds(dimensions: int, omega: float, further: float) -> dict[str, float]:
    """Each weight is drawn evenly from plus or minus this: PyTorch's default 1/sqrt(d) times both omegas, nonlinear
    ones as a SIREN, its last layer times both."""
    return {
        "modulator.weight": omega * further / math.sqrt(dimensions),
        "modulator.first.weight": omega / dimensions,
        "modulator.first.bias": omega / math.sqrt(dimensions),
        "modulator.hidden.weight": math.sqrt(6 / HIDDEN),
        "modulator.hidden.bias": omega / math.sqrt(HIDDEN),
        "modulator.last.weight": further * math.sqrt(6 / HIDDEN),
        "modulator.last.bias": omega * further / math.sqrt(HIDDEN),
    }


def rates(omega: float, further: float) -> dict[str, float]:
    """Folded tensors move as much faster."""
    outer = ("modulator.weight", "modulator.last.weight", "modulator.last.bias")
    inner = [f"modulator.{layer}.{part}" for layer in ("first", "hidden") for part in ("weight", "bias")]
    return dict.fromkeys(outer, omega * further) | dict.fromkeys(inner, omega)


def macs(kind: str, made: Radix, spec: FieldSpec) -> int:
    """Multiply-accumulates of all modulations of one evaluation of the raster."""
    each = spec.inputs * spec.width if kind == "linear" else HIDDEN * (spec.inputs + HIDDEN + spec.width)
    return each * _children(made)


def sines(kind: str, made: Radix) -> int:
    """Sines of the same."""
    return 0 if kind == "linear" else 2 * HIDDEN * _children(made)


def _children(made: Radix) -> int:
    return sum(made.children(level) for level in range(1, made.levels))


def modulations(kind: str, made: Radix, weights: Mapping[str, Tensor]) -> list[Tensor]:
    """m_i (children, h), float32, for the children of every level but the first."""
    import torch
    from torch.nn.functional import linear

    found = []
    for i, factors in enumerate(made.factors[1:]):
        x = cells.slots(factors, weights["last.bias"].device)
        if kind == "linear":
            found.append(linear(x, weights["modulator.weight"][i]))
            continue
        for layer in ("first", "hidden"):
            x = torch.sin(linear(x, weights[f"modulator.{layer}.weight"][i], weights[f"modulator.{layer}.bias"][i]))
        found.append(linear(x, weights["modulator.last.weight"][i], weights["modulator.last.bias"][i]))
    return found

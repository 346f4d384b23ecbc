"""The modulators of ASMR: the phase shift of a cell from its position among its siblings.

A modulator is a linear map without bias or a small SIREN, one per level after the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import cells

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from .. import FieldSpec
    from .hierarchy import Hierarchy

HIDDEN_WIDTH = 32
"""Width of the two sine layers of a nonlinear modulator, as in the authors' code."""


def shapes(kind: str, layers: int, width: int, dimensions: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights, stacked over the ``layers`` modulators."""
    if kind == "linear":
        return {"modulator.weight": (layers, width, dimensions)}
    return {
        "modulator.first.weight": (layers, HIDDEN_WIDTH, dimensions),
        "modulator.first.bias": (layers, HIDDEN_WIDTH),
        "modulator.hidden.weight": (layers, HIDDEN_WIDTH, HIDDEN_WIDTH),
        "modulator.hidden.bias": (layers, HIDDEN_WIDTH),
        "modulator.last.weight": (layers, width, HIDDEN_WIDTH),
        "modulator.last.bias": (layers, width),
    }


def initial_bounds(dimensions: int, omega: float, modulator_omega: float) -> dict[str, float]:
    """Bounds b of the initial distribution U(-b, b) of each weight tensor.

    Linear modulators have PyTorch's default 1/sqrt(d), times both frequency factors. Nonlinear ones start as a SIREN
    whose last layer is multiplied by both factors.
    """
    return {
        "modulator.weight": omega * modulator_omega / math.sqrt(dimensions),
        "modulator.first.weight": omega / dimensions,
        "modulator.first.bias": omega / math.sqrt(dimensions),
        "modulator.hidden.weight": math.sqrt(6 / HIDDEN_WIDTH),
        "modulator.hidden.bias": omega / math.sqrt(HIDDEN_WIDTH),
        "modulator.last.weight": modulator_omega * math.sqrt(6 / HIDDEN_WIDTH),
        "modulator.last.bias": omega * modulator_omega / math.sqrt(HIDDEN_WIDTH),
    }


def rates(omega: float, modulator_omega: float) -> dict[str, float]:
    """Factors on the learning rate: those that are folded into each weight tensor."""
    outer = ("modulator.weight", "modulator.last.weight", "modulator.last.bias")
    inner = [f"modulator.{layer}.{part}" for layer in ("first", "hidden") for part in ("weight", "bias")]
    return dict.fromkeys(outer, omega * modulator_omega) | dict.fromkeys(inner, omega)


def macs(kind: str, hierarchy: Hierarchy, spec: FieldSpec) -> int:
    """Multiply-accumulates of all modulations, which one decode of the raster computes once."""
    if kind == "linear":
        return spec.inputs * spec.width * _evaluations(hierarchy)
    return HIDDEN_WIDTH * (spec.inputs + HIDDEN_WIDTH + spec.width) * _evaluations(hierarchy)


def sines(kind: str, hierarchy: Hierarchy) -> int:
    """Sines of all modulations, which one decode of the raster computes once."""
    return 0 if kind == "linear" else 2 * HIDDEN_WIDTH * _evaluations(hierarchy)


def _evaluations(hierarchy: Hierarchy) -> int:
    """Number of modulator evaluations: one for each child of a cell, at every level after the first."""
    return sum(hierarchy.children(level) for level in range(1, hierarchy.levels))


def modulations(kind: str, hierarchy: Hierarchy, weights: Mapping[str, Tensor]) -> list[Float[Tensor, "_children w"]]:
    """The float32 modulations of the children of a cell, for every level after the first."""
    import torch
    from torch.nn.functional import linear

    levels = []
    for i, factors in enumerate(hierarchy.factors[1:]):
        x = cells.child_coordinates(factors, weights["last.bias"].device)
        if kind == "linear":
            levels.append(linear(x, weights["modulator.weight"][i]))
            continue
        for layer in ("first", "hidden"):
            x = torch.sin(linear(x, weights[f"modulator.{layer}.weight"][i], weights[f"modulator.{layer}.bias"][i]))
        levels.append(linear(x, weights["modulator.last.weight"][i], weights["modulator.last.bias"][i]))
    return levels

"""How large a feature grid is made for a signal: width of its network, features, and nodes of its finest grid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ..sizing import largest
from .levels import MOST_FEATURES, MOST_ROWS, node_counts

if TYPE_CHECKING:
    from ..spec import FieldSpec

MOST_FINEST = 1024
"""Nodes per axis of the finest grid for signals of points, which have no resolution of their own."""

PARAMETERS = 264_000
"""What a field has at most unless told otherwise: in half precision as many bytes as a SIREN 5x256."""

LEAST_PARAMETERS = 1_000
"""What even the smallest signal gets."""

NETWORK_SHARE = 0.25
"""Largest share of the weights in the network, unless its width was asked for."""

MOST_LOST = 0.4
"""Share of the finest grid's nodes given up at most for one more feature. With fewer given up, a field has 0.8 of the
weights asked for; with more, the grid of a raster of four samples becomes a constant."""

LINE = {"levels": 8}
"""Of sounds: 2 dB above 4 levels after the same 300 steps, which take a quarter longer (gt_bach, one seed)."""

POINTS = {"levels": 5, "growth": 1.6}
NODES_PER_ROW = 14
"""Of shapes: the finest grid has so many nodes to a row, for a surface passes few of them. Armadillo, 700 steps of
4,096 points, at most 264,000 weights, IoU: 0.985 dense (60^3), 0.991 hashed (96^3 in 65,536 rows), 0.984 with 128^3 in
as many (one seed)."""


@dataclass(frozen=True)
class Candidates:
    """The fields that differ in nothing but the sizes that are looked for. Options of ``spec`` were asked for and
    stay; ``defaults`` are those of the architecture; ``shape`` is that of the signal's grid, None for points."""

    spec: FieldSpec
    defaults: Mapping[str, Any]
    shape: tuple[int, ...] | None

    @property
    def limit(self) -> tuple[int, ...]:
        """Nodes per axis of the finest grid at most."""
        return (MOST_FINEST,) * self.spec.inputs if self.shape is None else self.shape

    @property
    def chosen(self) -> dict[str, Any]:
        """All options but those that ``field`` sets."""
        usual = POINTS if self.shape is None else LINE if self.spec.inputs == 1 else {}
        return {**self.defaults, **usual, **self.spec.options}

    def field(self, width: int, features: int, nodes: int) -> FieldSpec:
        """The one with these sizes; ``nodes`` are those along the longest axis of the finest grid."""
        asked = self.spec.options
        sizes = {"features": features, "finest": aspect(self.limit, nodes)}
        if self.shape is None:
            dense = min(_nodes(str(finest), self.spec.inputs) for finest in (nodes, asked.get("finest", nodes)))
            sizes["table"] = min(max(1, dense // NODES_PER_ROW), MOST_ROWS)
        return replace(self.spec, width=width, options={**self.chosen, **sizes, **asked})

    def network(self, width: int) -> int:
        """Weights that are not in the table."""
        shapes = self.field(width, self.chosen["features"], 1).shapes
        return sum(math.prod(shape) for name, shape in shapes.items() if name != "table")

    def finest(self, width: int, features: int, target: int) -> int:
        """The most nodes along the longest axis of a field of ``target`` weights at most; 0: not even one fits."""
        return largest(max(self.limit), lambda nodes: self.field(width, features, nodes).parameters <= target)

    def keeps(self, nodes: int, least: float) -> bool:
        """Whether a grid of ``nodes`` has at least a share ``least`` of the nodes of the finest possible grid."""
        found = _nodes(aspect(self.limit, nodes), self.spec.inputs) if nodes else 0
        return found >= least * math.prod(self.limit)


def sized(
    spec: FieldSpec,
    defaults: Mapping[str, Any],
    usual_width: int,
    shape: tuple[int, ...] | None,
    parameters: int | None,
) -> FieldSpec:
    """``FeatureGrid.sized``."""
    candidates = Candidates(spec, defaults, shape)
    target = default_parameters(shape, spec.outputs) if parameters is None else parameters
    width = spec.width
    if width == usual_width:
        width = _narrowed(candidates, target, parameters is not None)
    elif parameters is None:
        target = max(target, math.ceil((1 - NETWORK_SHARE) * target) + candidates.network(width))
    features, nodes = 0, 0
    for features, least in _features(candidates, width, target):
        nodes = candidates.finest(width, features, target)
        if candidates.keeps(nodes, least):
            break
    if not nodes and parameters is not None:
        least_weights = candidates.field(width, features, 1).parameters
        levels = candidates.chosen["levels"]
        raise UsageError(
            f"{spec.architecture} with {levels} levels has at least {least_weights:,} parameters", "option"
        )
    return candidates.field(width, features, max(1, nodes))


def _narrowed(candidates: Candidates, target: int, bounded: bool) -> int:
    """The first width, each half the one before, whose network leaves enough weights for the table, and where
    ``bounded`` for at least one row a level."""
    width, features = candidates.spec.width, candidates.chosen["features"]
    while width > 1:
        if candidates.network(width) <= NETWORK_SHARE * target and (
            not bounded or candidates.field(width, features, 1).parameters <= target
        ):
            break
        width //= 2
    return width


def _features(candidates: Candidates, width: int, target: int) -> Iterator[tuple[int, float]]:
    """Numbers of features to be tried, best first, and the share of the nodes that each must keep."""
    usual = candidates.chosen["features"]
    free = not {"features", "finest"} & set(candidates.spec.options)
    most = max(candidates.limit)
    whole = largest(MOST_FEATURES, lambda many: free and candidates.field(width, many, most).parameters <= target)
    if not whole:
        yield usual, 0.0
        return
    if whole < MOST_FEATURES:
        yield whole + 1, 1 - MOST_LOST
    yield whole, 1.0


def default_parameters(shape: tuple[int, ...] | None, outputs: int) -> int:
    """PARAMETERS, but for a small signal no more than it has numbers."""
    return PARAMETERS if shape is None else max(LEAST_PARAMETERS, min(PARAMETERS, math.prod(shape) * outputs))


def _nodes(finest: str, axes: int) -> int:
    """Nodes of the grid that ``finest`` describes."""
    return math.prod(node_counts(finest, axes))


def aspect(limit: tuple[int, ...], nodes: int) -> str:
    """``finest`` with ``nodes`` along the longest axis of a raster of shape ``limit``."""
    return "x".join(str(max(1, round(nodes * length / max(limit)))) for length in limit)

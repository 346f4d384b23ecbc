"""The size of a feature grid for a signal: the width of its network, its features and the nodes of its finest level."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ..sizing import DEFAULT_PARAMETERS, MIN_DEFAULT_PARAMETERS, default_parameters, largest
from .levels import MAX_FEATURES, MAX_ROWS, SPANS, level_count, node_counts

if TYPE_CHECKING:
    from ..spec import FieldSpec

POINTS_IN_CACHE = 4096
"""Points that are processed at a time, so that their features stay in a CPU's caches."""

MAX_FINEST_WITHOUT_RASTER = 1024
"""Maximum nodes per axis of the finest level for signals of points, which have no resolution of their own."""

MAX_NETWORK_SHARE = 0.25
"""Maximum share of the weights in the network, unless its width was asked for."""

MIN_DEPTH = 2
"""Minimum number of layers of a network that is made smaller; from there on it is made narrower. One layer was not
tried."""

MAX_NODE_LOSS = 0.4
"""Maximum share of the finest possible level's nodes that is given up for one more feature. A smaller share would leave
some fields with less than 0.8 of the weights asked for; a larger one would turn a raster of four samples into a
constant."""

RASTER_OPTIONS = {"levels": 5, "interpolation": "quadratic"}
"""Options of rasters: the best between the samples (docs/architectures.md)."""

ONE_DIMENSIONAL_OPTIONS = {"levels": 8}
"""Other options of rasters on one axis. Sounds gain more from eight levels than their longer steps cost."""

SPATIAL_OPTIONS = {"levels": 5, "growth": 1.6}
"""Other options of rasters on three or more axes: 0.1 to 0.8 dB ahead of five levels of growth 2 on four of eight
volumes and clips, level on two, and 0.3 and 0.5 dB behind on two (docs/benchmarks.md)."""

PLANE_FINENESS = 2
"""How many times as fine as the finest grid the planes of rasters on three or more axes are, up to the raster."""

OPTIONS_WITHOUT_RASTER = {"levels": 5, "growth": 1.6}
NODES_PER_ROW = 14
"""Options of shapes, and their nodes of the finest level per row of a hashed level. A surface passes through few nodes,
so rows are better shared than nodes made fewer (docs/architectures.md, "Shapes are hashed")."""


@dataclass(frozen=True)
class SizeSearch:
    """The candidates for a field, which differ in the sizes searched for.

    Options of ``spec`` were asked for and are kept. ``defaults`` are those of the architecture. ``shape`` is that of
    the signal's grid, or None for points.
    """

    spec: FieldSpec
    defaults: Mapping[str, Any]
    shape: tuple[int, ...] | None

    @property
    def max_finest(self) -> tuple[int, ...]:
        """Maximum nodes per axis of the finest level."""
        return (MAX_FINEST_WITHOUT_RASTER,) * self.spec.inputs if self.shape is None else self.shape

    @property
    def options(self) -> dict[str, Any]:
        """All options except those that ``candidate`` sets."""
        if self.shape is None:
            usual: dict[str, Any] = OPTIONS_WITHOUT_RASTER
        else:
            others: dict[int, dict[str, Any]] = {1: ONE_DIMENSIONAL_OPTIONS, 2: {}}
            usual = {**RASTER_OPTIONS, **others.get(self.spec.inputs, SPATIAL_OPTIONS)}
        return {**self.defaults, **usual, **self.spec.options}

    def candidate(self, width: int, features: int, nodes: int) -> FieldSpec:
        """The field with these sizes; ``nodes`` are those along the longest axis of the finest level."""
        asked = self.spec.options
        sizes: dict[str, Any] = {"features": features, "finest": format_finest(self.max_finest, nodes)}
        if self.shape is not None and len(self.shape) > 2:
            sizes["planes"] = format_finest(self.shape, min(max(self.shape), PLANE_FINENESS * nodes))
        if self.shape is None:
            dense = min(_node_count(str(finest), self.spec.inputs) for finest in (nodes, asked.get("finest", nodes)))
            sizes["table"] = min(max(1, dense // NODES_PER_ROW), MAX_ROWS)
        return replace(self.spec, width=width, options={**self.options, **sizes, **asked})

    def network_parameters(self, width: int) -> int:
        """Number of weights outside the table."""
        shapes = self.candidate(width, self.options["features"], 1).shapes
        return sum(math.prod(shape) for name, shape in shapes.items() if name != "table")

    def most_nodes(self, width: int, features: int, parameters: int) -> int:
        """The most nodes along the longest axis with at most this number of parameters; 0 if one node is too many."""
        return largest(
            max(self.max_finest), lambda nodes: self.candidate(width, features, nodes).parameters <= parameters
        )

    def keeps_share(self, nodes: int, share: float) -> bool:
        """Whether a level of ``nodes`` has at least this share of the nodes of the finest possible level."""
        kept = _node_count(format_finest(self.max_finest, nodes), self.spec.inputs) if nodes else 0
        return kept >= share * math.prod(self.max_finest)


def choose_sizes(
    spec: FieldSpec,
    defaults: Mapping[str, Any],
    shape: tuple[int, ...] | None,
    parameters: int | None,
    asked: Collection[str],
) -> FieldSpec:
    """``FeatureGrid.sized``."""
    search = SizeSearch(spec, defaults, shape)
    target = _default_parameters(shape, spec.outputs) if parameters is None else parameters
    width = spec.width
    if "width" not in asked:
        if "depth" not in asked:
            search = _fitting_depth(search, target)
        width = _fitting_width(search, target, parameters is not None)
    elif parameters is None:
        target = max(target, math.ceil((1 - MAX_NETWORK_SHARE) * target) + search.network_parameters(width))
    features, nodes = 0, 0
    for features, share in _feature_counts(search, width, target):
        nodes = search.most_nodes(width, features, target)
        if search.keeps_share(nodes, share):
            break
    if not nodes and parameters is not None:
        least = search.candidate(width, features, 1).parameters
        raise UsageError(
            f"{spec.architecture} with {search.options['levels']} levels has at least {least:,} parameters", "option"
        )
    return search.candidate(width, features, max(1, nodes))


def _fitting_depth(search: SizeSearch, target: int) -> SizeSearch:
    """The search with fewer layers, MIN_DEPTH at least, until the network leaves enough weights for the table."""
    spec = search.spec
    while spec.depth > MIN_DEPTH and search.network_parameters(spec.width) > MAX_NETWORK_SHARE * target:
        spec = replace(spec, depth=spec.depth - 1)
        search = replace(search, spec=spec)
    return search


def _fitting_width(search: SizeSearch, target: int, bounded: bool) -> int:
    """The width, halved until the network leaves enough weights for the table and, if ``bounded``, for one row per
    level."""
    width, features = search.spec.width, search.options["features"]
    while width > 1:
        if search.network_parameters(width) <= MAX_NETWORK_SHARE * target and (
            not bounded or search.candidate(width, features, 1).parameters <= target
        ):
            break
        width //= 2
    return width


def _feature_counts(search: SizeSearch, width: int, target: int) -> Iterator[tuple[int, float]]:
    """Numbers of features to try, best first, each with the share of nodes that it must keep."""
    usual = search.options["features"]
    free = not {"features", "finest"} & set(search.spec.options)
    nodes = max(search.max_finest)
    at_all_nodes = largest(
        MAX_FEATURES, lambda features: free and search.candidate(width, features, nodes).parameters <= target
    )
    if not at_all_nodes:
        yield usual, 0.0
        return
    if at_all_nodes < MAX_FEATURES:
        yield at_all_nodes + 1, 1 - MAX_NODE_LOSS
    yield at_all_nodes, 1.0


def _default_parameters(shape: tuple[int, ...] | None, outputs: int) -> int:
    """The default number of weights, which is not larger than the number of the signal's values."""
    if shape is None:
        return DEFAULT_PARAMETERS
    samples = math.prod(shape)
    return max(MIN_DEFAULT_PARAMETERS, min(default_parameters(samples), samples * outputs))


def _node_count(finest: str, axes: int) -> int:
    """Total number of nodes of the grid that ``finest`` describes."""
    return math.prod(node_counts("finest", finest, axes))


def format_finest(shape: tuple[int, ...], nodes: int) -> str:
    """The option ``finest`` with ``nodes`` along the longest axis and the aspect of a raster of ``shape``."""
    return "x".join(str(max(1, round(nodes * length / max(shape)))) for length in shape)


def decode_bytes(spec: FieldSpec, shape: tuple[int, ...], cells: int) -> int:
    """Bytes that decoding takes: the features of a group of planes, or of some points, and the values."""
    options: dict[str, Any] = asdict(spec.formula)
    levels = level_count(options["levels"], options["planes"], spec.inputs)
    features, planes = levels * options["features"], math.prod(shape[1:])
    group = max(min(POINTS_IN_CACHE, cells), planes if planes > 1 and 2 * cells >= planes else 0)
    rows = min(group, POINTS_IN_CACHE)
    nodes = 24 * levels * SPANS[options["interpolation"]] ** spec.inputs
    held = group * (8 * features + 8 * options["features"] + 8 * spec.outputs)
    return int(held + rows * (8 * spec.width + 8 * features + nodes) + 4 * cells * spec.outputs)

"""Decoding a raster with a feature grid: features are interpolated along one axis after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import embedding_bag

from .interpolation import interpolate_at, network, nodes_along
from .sizes import POINTS_IN_CACHE

if TYPE_CHECKING:
    from ...signal import Grid
    from .levels import Level

MAX_ROWS_PER_CELL = 16
"""Maximum number of rows of features held for each cell of a raster. Where a level is so much finer than the raster,
its cells are evaluated as points."""


def on_grid(
    weights: Mapping[str, Tensor], levels: Sequence[Level], grid: Grid, start: int, stop: int
) -> Float[Tensor, "n c"]:
    """Values of the cells start..stop of ``grid``, computed by groups of planes across its first axis.

    Cells are evaluated as points if they are on one axis, much fewer than a plane, or far fewer than the nodes.
    """
    device, channels = weights["table"].device, weights["last.bias"].shape[0]
    values = torch.empty(stop - start, channels, device=device)
    plane = math.prod(grid.shape[1:])
    step = max(1, min(POINTS_IN_CACHE, stop - start) // plane)
    too_fine = max(rows_per_cell(level, grid, step) for level in levels) > MAX_ROWS_PER_CELL
    if plane == 1 or 2 * (stop - start) < plane or too_fine:
        for at in range(start, stop, POINTS_IN_CACHE):
            cells = torch.arange(at, min(at + POINTS_IN_CACHE, stop), device=device)
            features = interpolate_at(weights["table"], levels, grid.coords(cells))
            values[at - start : at - start + POINTS_IN_CACHE] = network(weights, features, torch.float32)
        return values
    for first in range(start // plane, -(-stop // plane), step):
        last = min(first + step, -(-stop // plane))
        group = _evaluate_planes(weights, levels, grid, first, last)
        low, high = max(start, first * plane), min(stop, last * plane)
        values[low - start : high - start] = group[low - first * plane : high - first * plane]
    return values


def rows_per_cell(level: Level, grid: Grid, planes: int) -> float:
    """The most rows of features held at once for each cell of ``planes`` planes of ``grid``. At first there is one row
    per node; interpolation along each axis in turn replaces nodes by cells."""
    cells = (planes, *grid.shape[1:])
    nodes = (min(level.nodes[0], planes * level.nodes[0] // grid.shape[0] + level.span), *level.nodes[1:])
    return max(math.prod(cells[:axis] + nodes[axis:]) for axis in range(len(cells))) / math.prod(cells)


def _evaluate_planes(
    weights: Mapping[str, Tensor], levels: Sequence[Level], grid: Grid, first: int, last: int
) -> Float[Tensor, "n c"]:
    """Values of the cells in planes first..last of ``grid``."""
    shape = (last - first, *grid.shape[1:])
    features = torch.cat([_interpolate_planes(weights["table"], level, grid, first, last) for level in levels], -1)
    parts = features.view(-1, features.shape[-1]).split(POINTS_IN_CACHE)
    values = torch.cat([network(weights, part, torch.float32) for part in parts])
    axes = len(shape)
    return values.view(*shape[::-1], -1).permute(*reversed(range(axes)), axes).reshape(math.prod(shape), -1)


def _interpolate_planes(
    table: Float[Tensor, "rows f"], level: Level, grid: Grid, first: int, last: int
) -> Float[Tensor, "*reversed_axes f"]:
    """Features of one level in planes first..last of ``grid``, with the axes in reverse order."""
    all_cells = [torch.arange(length, device=table.device) for length in grid.shape[1:]]
    cells = [torch.arange(first, last, device=table.device), *all_cells]
    found = []
    for axis, (positions, length) in enumerate(zip(cells, grid.shape, strict=True)):
        centres = ((2.0 * positions.double() + 1.0) / length - 1.0).float()
        last_node = torch.tensor([[level.nodes[axis] - 1]], device=table.device)
        nodes, weights = nodes_along(centres, last_node, level.span)
        found.append((torch.cat(nodes).mT, torch.cat(weights).mT))
    nodes_of_planes = found[0][0]
    begin, end = int(nodes_of_planes[0, 0]), int(nodes_of_planes[-1, -1]) + 1
    nodes_of_planes -= begin
    features = _node_features(table, level, begin, end)
    for axis, (nodes_of_cells, weights_of_cells) in enumerate(found):
        features = features.movedim(axis, 0)
        rest = features.shape[1:]
        lines = features.reshape(features.shape[0], -1)
        bags = embedding_bag(nodes_of_cells, lines, mode="sum", per_sample_weights=weights_of_cells.contiguous())
        features = bags.view(-1, *rest)
    return features


def _node_features(
    table: Float[Tensor, "rows f"], level: Level, begin: int, end: int
) -> Float[Tensor, "nodes *axes f"]:
    """Features of the nodes of ``level`` in its planes begin..end."""
    shape = (end - begin, *level.nodes[1:])
    if not level.hashed:
        stride = level.strides[0]
        return table[level.start + begin * stride : level.start + end * stride].view(*shape, -1)
    hashes = torch.zeros((), dtype=torch.int64, device=table.device)
    for axis, length in enumerate(shape):
        along = torch.arange(length, device=table.device) + (begin if axis == 0 else 0)
        hashes = hashes[..., None] ^ (along * level.strides[axis])
    return table[hashes % level.rows + level.start]

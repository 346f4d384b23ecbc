"""Where a point lies in the levels of a feature grid: the rows of the table around it, their weights, and both passes.

A file of its own because all of it is torch; ``feature_grid.py`` imports it when a tensor is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, linear

from ..mlp.mlp import outer

if TYPE_CHECKING:
    from ...signal import Grid
    from .levels import Level

PIECE = 4096
"""Points gathered, taught and scattered at a time: what stays in a CPU's caches."""

CROWD = 16
"""Rows held for a cell of a raster at most: where a grid is so much finer, its cells are evaluated as points."""


def corners(levels: Sequence[Level], coords: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the table, int64, and multilinear weights of the 2^d nodes around each point: both (l, n, 2^d), the last
    axis' corners running fastest. The dense levels come before the hashed ones."""
    dense = sum(not level.hashed for level in levels)
    parts = [_corners(part, coords) for part in (levels[:dense], levels[dense:]) if part]
    return parts[0] if len(parts) == 1 else (torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))


def _corners(levels: Sequence[Level], coords: Tensor) -> tuple[Tensor, Tensor]:
    """Of levels that are all dense or all hashed."""

    def column(numbers: list[int]) -> Tensor:  # made where it is needed: a graph on CUDA may not copy from the host
        return torch.stack([torch.full((1,), number, device=coords.device) for number in numbers])

    hashed = levels[0].hashed
    rows: list[Tensor] = []
    weights: list[Tensor] = []
    for axis in range(coords.shape[1]):
        most = column([level.nodes[axis] - 1 for level in levels])
        low, high, share = between(coords[:, axis], most)
        stride = column([level.strides[axis] for level in levels])
        pair = (low * stride, high * stride)
        if not rows:
            rows, weights = list(pair), [1 - share, share]
            continue
        rows = [row ^ at if hashed else row + at for row in rows for at in pair]
        weights = [part for weight in weights for part in _split(weight, share)]
    start = column([level.start for level in levels])
    if hashed:
        most = column([level.rows for level in levels])
        rows = [row % most + start for row in rows]
    else:
        rows = [row + start for row in rows]
    return torch.stack(rows, -1), torch.stack(weights, -1)


def _split(weight: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """``weight`` to the nodes before and behind the point."""
    behind = weight * share
    return weight - behind, behind


def between(coords: Tensor, most: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nodes before and behind ``coords`` (n,) along an axis with ``most`` (l, 1) + 1 nodes, int64, and the share of
    the one behind: (l, n) each. Nodes are cell centres, like samples; beyond the outermost the field goes on level."""
    place = ((coords + 1) * ((most + 1) * 0.5) - 0.5).clamp_min(0).minimum(most)
    low = place.long()
    return low, (low + 1).minimum(most), place - low


class Gather(torch.autograd.Function):
    """Weighted sums of rows of a table; unlike ``embedding_bag``, which does the work, it has a forward derivative."""

    @staticmethod
    def forward(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        """(l, n, f) of ``table`` (r, f), ``rows`` and ``weights`` (l, n, k)."""
        k = rows.shape[-1]
        bags = embedding_bag(rows.view(-1, k), table, mode="sum", per_sample_weights=weights.reshape(-1, k))
        return bags.view(*rows.shape[:-1], table.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """What the derivatives need."""
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        """By table and by weights."""
        table, rows, weights = ctx.saved_tensors
        by_table = by_weights = None
        if ctx.needs_input_grad[0]:
            by_table = scatter(torch.zeros_like(table), rows, weights, grad)
        if ctx.needs_input_grad[2]:
            by_weights = (table[rows] * grad[..., None, :]).sum(-1)
        return by_table, None, by_weights

    @staticmethod
    def jvp(ctx: Any, by_table: Tensor | None, _: None, by_weights: Tensor | None) -> Tensor:
        """Linear in either."""
        table, rows, weights = ctx.saved_tensors
        moved = [] if by_table is None else [Gather.forward(by_table, rows, weights)]
        if by_weights is not None:
            moved.append(Gather.forward(table, rows, by_weights))
        return sum(moved[1:], moved[0])


def scatter(total: Tensor, rows: Tensor, weights: Tensor, grad: Tensor) -> Tensor:
    """Adds to the rows of ``total`` (r, f) what ``grad`` (l, n, f) says of the sums that they went into."""
    flat = rows.reshape(-1)
    if total.shape[1] == 1:  # numbers instead of rows: more than twice as fast
        total.view(-1).scatter_add_(0, flat, (weights * grad).view(-1))
        return total
    return total.index_add_(0, flat, (weights[..., None] * grad[..., None, :]).view(-1, total.shape[1]))


def at_points(table: Tensor, levels: Sequence[Level], coords: Tensor) -> Tensor:
    """Features (n, l * f) of all levels at ``coords`` (n, d)."""
    rows, weights = corners(levels, coords)
    gathered: Tensor = Gather.apply(table, rows, weights)  # type: ignore[no-untyped-call]
    return beside(gathered)


def beside(levels: Tensor) -> Tensor:
    """(l, n, f) as (n, l * f)."""
    return levels.permute(1, 0, 2).reshape(levels.shape[1], -1)


def layers(weights: Mapping[str, Tensor], precision: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Matrix and bias of the first and the hidden layers."""
    yield weights["first.weight"].to(precision), weights["first.bias"].to(precision)
    if "hidden.weight" in weights:
        matrices, biases = weights["hidden.weight"].to(precision), weights["hidden.bias"].to(precision)
        yield from zip(matrices.unbind(0), biases.unbind(0), strict=True)


def network(weights: Mapping[str, Tensor], features: Tensor, precision: torch.dtype) -> Tensor:
    """Values (n, c) of ``features`` (n, l * f)."""
    x = features.to(precision)
    for matrix, bias in layers(weights, precision):
        x = linear(x, matrix, bias).relu_()
    return linear(x.float(), weights["last.weight"], weights["last.bias"])


def backward(
    weights: Mapping[str, Tensor],
    levels: Sequence[Level],
    coords: Tensor,
    values: Tensor,
    loss_weights: Tensor,
    precision: torch.dtype,
    extra_gradient: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Residuals (n, c) and the gradients of sum(loss_weights * residual^2); further terms need the residuals of all
    points at once, for which these are evaluated once more."""
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    parts = range(0, coords.shape[0], PIECE)
    extra_grads = None
    if extra_gradient is not None:
        found = [
            network(weights, at_points(weights["table"], levels, coords[at : at + PIECE]), precision) for at in parts
        ]
        extra_grads = extra_gradient(torch.cat(found) - values)
    residuals = []
    for at in parts:
        part = slice(at, at + PIECE)
        extra_grad = None if extra_grads is None else extra_grads[part]
        residuals.append(
            _part(total, weights, levels, coords[part], values[part], loss_weights[part], precision, extra_grad)
        )
    return residuals[0] if len(residuals) == 1 else torch.cat(residuals), total


def _part(
    total: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    levels: Sequence[Level],
    coords: Tensor,
    values: Tensor,
    loss_weights: Tensor,
    precision: torch.dtype,
    extra_grad: Tensor | None,
) -> Tensor:
    """Adds the gradients of a part to ``total``; its residuals."""
    rows, shares = corners(levels, coords)
    activations = [beside(Gather.forward(weights["table"], rows, shares)).to(precision)]
    stack = list(layers(weights, precision))
    for matrix, bias in stack:
        activations.append(linear(activations[-1], matrix, bias).relu_())
    last = activations[-1].float()
    residuals = linear(last, weights["last.weight"], weights["last.bias"]) - values
    grad = 2 * loss_weights * residuals
    if extra_grad is not None:
        grad += extra_grad
    total["last.weight"].add_(grad.mT @ last)
    total["last.bias"].add_(grad.sum(0))
    grad = (grad @ weights["last.weight"]).to(precision)
    for at in reversed(range(len(stack))):
        grad = torch.ops.aten.threshold_backward(grad, activations[at + 1], 0)
        by_matrix = total["hidden.weight"][at - 1] if at else total["first.weight"]
        by_bias = total["hidden.bias"][at - 1] if at else total["first.bias"]
        by_matrix.add_(outer(grad, activations[at]))
        by_bias.add_(grad.sum(0, dtype=torch.float32))
        grad = grad @ stack[at][0]
    apart = grad.view(coords.shape[0], len(levels), -1).permute(1, 0, 2).float()
    scatter(total["table"], rows, shares, apart)
    return residuals


def on_raster(weights: Mapping[str, Tensor], levels: Sequence[Level], grid: Grid, start: int, stop: int) -> Tensor:
    """Values (stop - start, c) of the cells start..stop of ``grid``, a few planes across its first axis at a time; a
    piece much shorter than a plane, or of a line, or of far fewer cells than nodes, point by point."""
    device, channels = weights["table"].device, weights["last.bias"].shape[0]
    values = torch.empty(stop - start, channels, device=device)
    plane = math.prod(grid.shape[1:])
    step = max(1, min(PIECE, stop - start) // plane)
    if plane == 1 or 2 * (stop - start) < plane or max(held(level, grid, step) for level in levels) > CROWD:
        for at in range(start, stop, PIECE):
            cells = torch.arange(at, min(at + PIECE, stop), device=device)
            features = at_points(weights["table"], levels, grid.coords(cells))
            values[at - start : at - start + PIECE] = network(weights, features, torch.float32)
        return values
    for first in range(start // plane, -(-stop // plane), step):
        last = min(first + step, -(-stop // plane))
        found = _planes(weights, levels, grid, first, last)
        low, high = max(start, first * plane), min(stop, last * plane)
        values[low - start : high - start] = found[low - first * plane : high - first * plane]
    return values


def held(level: Level, grid: Grid, planes: int) -> float:
    """The most rows held at once for each cell of ``planes`` planes of ``grid``: their nodes, then axis by axis cells
    in place of nodes."""
    cells = (planes, *grid.shape[1:])
    nodes = (min(level.nodes[0], planes * level.nodes[0] // grid.shape[0] + 2), *level.nodes[1:])
    return max(math.prod(cells[:axis] + nodes[axis:]) for axis in range(len(cells))) / math.prod(cells)


def _planes(weights: Mapping[str, Tensor], levels: Sequence[Level], grid: Grid, first: int, last: int) -> Tensor:
    """Values of the cells whose position on the first axis is first..last."""
    shape = (last - first, *grid.shape[1:])
    features = torch.cat([_interpolated(weights["table"], level, grid, first, last) for level in levels], -1)
    pieces = features.view(-1, features.shape[-1]).split(PIECE)
    values = torch.cat([network(weights, piece, torch.float32) for piece in pieces])
    axes = len(shape)
    return values.view(*shape[::-1], -1).permute(*reversed(range(axes)), axes).reshape(math.prod(shape), -1)


def _interpolated(table: Tensor, level: Level, grid: Grid, first: int, last: int) -> Tensor:
    """Features (..., last - first, f) of one level on planes first..last of ``grid``, the axes in reverse order."""
    whole = [torch.arange(length, device=table.device) for length in grid.shape[1:]]
    cells = [torch.arange(first, last, device=table.device), *whole]
    places = []
    for axis, (at, length) in enumerate(zip(cells, grid.shape, strict=True)):
        centres = ((2.0 * at.double() + 1.0) / length - 1.0).float()
        most = torch.tensor([[level.nodes[axis] - 1]], device=table.device)
        places.append([part[0] for part in between(centres, most)])
    begin, end = int(places[0][0][0]), int(places[0][1][-1]) + 1
    places[0][0], places[0][1] = places[0][0] - begin, places[0][1] - begin
    found = _nodes(table, level, begin, end)
    for axis, (low, high, share) in enumerate(places):
        found = found.movedim(axis, 0)
        rest = found.shape[1:]
        pairs, weights = torch.stack((low, high), -1), torch.stack((1 - share, share), -1)
        lines = embedding_bag(pairs, found.reshape(found.shape[0], -1), mode="sum", per_sample_weights=weights)
        found = lines.view(-1, *rest)
    return found


def _nodes(table: Tensor, level: Level, begin: int, end: int) -> Tensor:
    """Features (end - begin, ..., f) of the nodes of ``level`` whose number on the first axis is begin..end."""
    shape = (end - begin, *level.nodes[1:])
    if not level.hashed:
        stride = level.strides[0]
        return table[level.start + begin * stride : level.start + end * stride].view(*shape, -1)
    numbers = torch.zeros((), dtype=torch.int64, device=table.device)
    for axis, length in enumerate(shape):
        along = torch.arange(length, device=table.device) + (begin if axis == 0 else 0)
        numbers = numbers[..., None] ^ (along * level.strides[axis])
    return table[numbers % level.rows + level.start]

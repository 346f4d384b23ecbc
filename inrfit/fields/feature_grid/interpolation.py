"""The arithmetic of feature grids: interpolation of features, the network, and the analytic backward pass.

This module imports torch; ``feature_grid.py`` imports it only when a tensor is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag, linear

from ..mlp.mlp import outer
from .sizes import POINTS_IN_CACHE

if TYPE_CHECKING:
    from .levels import Level


def nodes_around(
    levels: Sequence[Level], coords: Float[Tensor, "n d"]
) -> tuple[Int[Tensor, "l n k"], Float[Tensor, "l n k"]]:
    """Rows of the table and weights of the k = span^d nodes around each point.

    The last axis' nodes run fastest.
    """
    runs: list[list[Level]] = []
    for level in levels:
        if runs and runs[-1][0].hashed == level.hashed:
            runs[-1].append(level)
        else:
            runs.append([level])
    parts = [_nodes_around(run, coords) for run in runs]
    return parts[0] if len(parts) == 1 else (torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))


def _nodes_around(
    levels: Sequence[Level], coords: Float[Tensor, "n d"]
) -> tuple[Int[Tensor, "l n k"], Float[Tensor, "l n k"]]:
    """``nodes_around`` of levels that are either all dense or all hashed."""

    def column(numbers: list[int]) -> Int[Tensor, "_l 1"]:
        # Filled on the device: copies from the host are forbidden while a CUDA graph is captured.
        return torch.stack([torch.full((1,), number, device=coords.device) for number in numbers])

    hashed = levels[0].hashed
    rows: list[Tensor] = []
    weights: list[Tensor] = []
    for axis in range(coords.shape[1]):
        last = column([level.nodes[axis] - 1 for level in levels])
        nodes, shares = nodes_along(coords[:, axis], last, levels[0].span)
        stride = column([level.strides[axis] for level in levels])
        offsets = [node * stride for node in nodes]
        if not rows:
            rows, weights = offsets, shares
            continue
        rows = [row ^ offset if hashed else row + offset for row in rows for offset in offsets]
        weights = [weight * share for weight in weights for share in shares]
    start = column([level.start for level in levels])
    if hashed:
        table_rows = column([level.rows for level in levels])
        rows = [row % table_rows + start for row in rows]
    else:
        rows = [row + start for row in rows]
    return torch.stack(rows, -1), torch.stack(weights, -1)


def nodes_along(
    coords: Float[Tensor, " n"], last: Int[Tensor, "l 1"], span: int
) -> tuple[list[Int[Tensor, "l n"]], list[Float[Tensor, "l n"]]]:
    """The ``span`` nodes next to each coordinate along an axis, in order, and their weights: those of linear
    interpolation, or of quadratic B-splines.

    ``last`` holds each level's last node. Nodes are cell centres, like samples; beyond the outermost ones the field is
    constant along the axis.
    """
    position = ((coords + 1) * ((last + 1) * 0.5) - 0.5).clamp_min(0).minimum(last)
    if span == 2:
        low = position.long()
        fraction = position - low
        return [low, (low + 1).minimum(last)], [1 - fraction, fraction]
    middle = (position + 0.5).long().minimum(last)  # rounded up above 2^23
    t = position - middle
    nodes = [(middle - 1).clamp_min(0), middle, (middle + 1).minimum(last)]
    return nodes, [0.5 * (0.5 - t).square(), 0.75 - t.square(), 0.5 * (0.5 + t).square()]


class Gather(torch.autograd.Function):
    """Weighted sums of rows of a table: ``embedding_bag`` with a forward-mode derivative."""

    @staticmethod
    def forward(
        table: Float[Tensor, "rows f"], rows: Int[Tensor, "l n k"], weights: Float[Tensor, "l n k"]
    ) -> Float[Tensor, "l n f"]:
        """The sums over the nodes around each point."""
        k = rows.shape[-1]
        bags = embedding_bag(rows.view(-1, k), table, mode="sum", per_sample_weights=weights.reshape(-1, k))
        return bags.view(*rows.shape[:-1], table.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Save the inputs, which both derivatives need."""
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Float[Tensor, "l n f"]) -> tuple[Tensor | None, None, Tensor | None]:
        """Gradients with respect to table and weights."""
        table, rows, weights = ctx.saved_tensors
        grad_table = grad_weights = None
        if ctx.needs_input_grad[0]:
            grad_table = scatter_add(torch.zeros_like(table), rows, weights, grad)
        if ctx.needs_input_grad[2]:
            grad_weights = (table[rows] * grad[..., None, :]).sum(-1)
        return grad_table, None, grad_weights

    @staticmethod
    def jvp(ctx: Any, table_tangent: Tensor | None, _: None, weights_tangent: Tensor | None) -> Tensor:
        """The derivative along the tangents; the sums are linear in the table and in the weights."""
        table, rows, weights = ctx.saved_tensors
        terms = [] if table_tangent is None else [Gather.forward(table_tangent, rows, weights)]
        if weights_tangent is not None:
            terms.append(Gather.forward(table, rows, weights_tangent))
        return sum(terms[1:], terms[0])


def scatter_add(
    total: Float[Tensor, "rows f"],
    rows: Int[Tensor, "l n k"],
    weights: Float[Tensor, "l n k"],
    grad: Float[Tensor, "l n f"],
) -> Float[Tensor, "rows f"]:
    """Add to ``total`` the gradient with respect to the table, from that with respect to the sums of ``Gather``."""
    flat = rows.reshape(-1)
    if total.shape[1] == 1:  # scattering numbers is much faster than adding rows of one number
        total.view(-1).scatter_add_(0, flat, (weights * grad).view(-1))
        return total
    return total.index_add_(0, flat, (weights[..., None] * grad[..., None, :]).view(-1, total.shape[1]))


def interpolate_at(
    table: Float[Tensor, "rows f"], levels: Sequence[Level], coords: Float[Tensor, "n d"]
) -> Float[Tensor, "n features"]:
    """Interpolated features of all levels at ``coords``."""
    rows, weights = nodes_around(levels, coords)
    gathered: Tensor = Gather.apply(table, rows, weights)  # type: ignore[no-untyped-call]
    return concatenate_levels(gathered)


def concatenate_levels(levels: Float[Tensor, "l n f"]) -> Float[Tensor, "n l*f"]:
    """The features of all levels of a point in one row."""
    return levels.permute(1, 0, 2).reshape(levels.shape[1], -1)


def relu_layers(weights: Mapping[str, Tensor], precision: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Matrix and bias of the first and the hidden layers."""
    yield weights["first.weight"].to(precision), weights["first.bias"].to(precision)
    if "hidden.weight" in weights:
        matrices, biases = weights["hidden.weight"].to(precision), weights["hidden.bias"].to(precision)
        yield from zip(matrices.unbind(0), biases.unbind(0), strict=True)


def network(
    weights: Mapping[str, Tensor], features: Float[Tensor, "n features"], precision: torch.dtype
) -> Float[Tensor, "n c"]:
    """Values, float32, from interpolated features; all layers but the last are computed in ``precision``."""
    x = features.to(precision)
    for matrix, bias in relu_layers(weights, precision):
        x = linear(x, matrix, bias).relu_()
    return linear(x.float(), weights["last.weight"], weights["last.bias"])


def gradients(
    weights: Mapping[str, Tensor],
    levels: Sequence[Level],
    coords: Float[Tensor, "n d"],
    values: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    precision: torch.dtype,
    extra_gradient: Callable[[Tensor], Tensor] | None,
) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
    """``Architecture.gradients`` by the analytic backward pass, in parts of ``POINTS_IN_CACHE`` points.

    ``extra_gradient`` needs the residuals of all points at once, for which the field is evaluated once more.
    """
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    starts = range(0, coords.shape[0], POINTS_IN_CACHE)
    extra_grads = None
    if extra_gradient is not None:
        predicted = [
            network(weights, interpolate_at(weights["table"], levels, coords[at : at + POINTS_IN_CACHE]), precision)
            for at in starts
        ]
        extra_grads = extra_gradient(torch.cat(predicted) - values)
    residuals = []
    for at in starts:
        part = slice(at, at + POINTS_IN_CACHE)
        extra_grad = None if extra_grads is None else extra_grads[part]
        residuals.append(
            _backward_part(
                total, weights, levels, coords[part], values[part], loss_weights[part], precision, extra_grad
            )
        )
    return residuals[0] if len(residuals) == 1 else torch.cat(residuals), total


def _backward_part(
    total: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    levels: Sequence[Level],
    coords: Float[Tensor, "n d"],
    values: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    precision: torch.dtype,
    extra_grad: Float[Tensor, "n c"] | None,
) -> Float[Tensor, "n c"]:
    """Residuals of a part of the points, whose gradients are added to ``total``."""
    rows, node_weights = nodes_around(levels, coords)
    activations = [concatenate_levels(Gather.forward(weights["table"], rows, node_weights)).to(precision)]
    layers = list(relu_layers(weights, precision))
    for matrix, bias in layers:
        activations.append(linear(activations[-1], matrix, bias).relu_())
    last = activations[-1].float()
    residuals = linear(last, weights["last.weight"], weights["last.bias"]) - values
    grad = 2 * loss_weights * residuals
    if extra_grad is not None:
        grad += extra_grad
    total["last.weight"].add_(grad.mT @ last)
    total["last.bias"].add_(grad.sum(0))
    grad = (grad @ weights["last.weight"]).to(precision)
    for i in reversed(range(len(layers))):
        grad = torch.ops.aten.threshold_backward(grad, activations[i + 1], 0)
        total_matrix = total["hidden.weight"][i - 1] if i else total["first.weight"]
        total_bias = total["hidden.bias"][i - 1] if i else total["first.bias"]
        total_matrix.add_(outer(grad, activations[i]))
        total_bias.add_(grad.sum(0, dtype=torch.float32))
        grad = grad @ layers[i][0]
    by_level = grad.view(coords.shape[0], len(levels), -1).permute(1, 0, 2).float()
    scatter_add(total["table"], rows, node_weights, by_level)
    return residuals

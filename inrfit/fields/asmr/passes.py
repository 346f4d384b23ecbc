"""The forward and backward pass of ASMR, for points and for lists of cells.

The equation numbers below are those of docs/architectures.md, "The analytic backward pass of ASMR".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from . import cells, last_level, modulators

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor

    from .hierarchy import Hierarchy

MAX_FOLDED_MACS = {True: 240, False: 128}
"""Maximum multiply-accumulates per point and hidden unit for which the last level is folded, by whether the precision
is bfloat16. If folding takes more, because few children of each cell are in the batch, points are evaluated one by one.
Chosen on batches of uniformly sampled points of a Kodak picture, for equal time at the limit."""


def evaluate_points(
    hierarchy: Hierarchy,
    modulation: str,
    weights: Mapping[str, Tensor],
    coords: Float[Tensor, "n d"],
    precision: torch.dtype,
) -> Float[Tensor, "n c"]:
    """Values at the cells nearest to ``coords``; ``modulation`` is the kind of modulators."""
    active = cells.active_cells(hierarchy, coords)
    modulations = modulators.modulations(modulation, hierarchy, weights)
    phases = _phases(hierarchy, weights, active.top_positions, active.steps, modulations, precision)
    if active.point_parent is None or active.point_child is None:
        return last_level.forward_folded(weights, phases, modulations[-1], precision)
    if _folding_pays_off(hierarchy, weights, coords.shape[0], active.count, precision):
        values = last_level.forward_folded(weights, phases, modulations[-1], precision)
        return values.index_select(0, active.point_parent * modulations[-1].shape[0] + active.point_child)
    return last_level.forward_gathered(weights, phases, modulations[-1], active.point_parent, active.point_child)


def block_decoder(
    hierarchy: Hierarchy, modulation: str, weights: Mapping[str, Tensor]
) -> Callable[[Int[Tensor, " k"]], Float[Tensor, "k*children c"]]:
    """A function from flat cells of the last level but one to the float32 values of all their children."""
    import torch

    modulations = modulators.modulations(modulation, hierarchy, weights)

    def decode(blocks: Int[Tensor, " k"]) -> Float[Tensor, "_ c"]:
        phases = _phases(hierarchy, weights, *cells.ancestors(hierarchy, blocks), modulations, torch.float32)
        return last_level.forward_folded(weights, phases, modulations[-1], torch.float32)

    return decode


def _folding_pays_off(
    hierarchy: Hierarchy, weights: Mapping[str, Tensor], points: int, active: int, precision: torch.dtype
) -> bool:
    """Whether to fold the last level for a number of ``points`` in ``active`` cells of the level above."""
    import torch

    columns = hierarchy.children(hierarchy.levels - 1) * weights["last.weight"].shape[0]
    return 2 * active * columns <= MAX_FOLDED_MACS[precision == torch.bfloat16] * points


def _phases(
    hierarchy: Hierarchy,
    weights: Mapping[str, Tensor],
    top_positions: Int[Tensor, "top d"],
    steps: Sequence[tuple[Tensor, Tensor]],
    modulations: Sequence[Tensor],
    precision: torch.dtype,
) -> Float[Tensor, "k w"]:
    """The float32 phases p of the cells of the last level but one (``cells.ActiveCells``)."""
    import torch
    from torch.nn.functional import linear

    x = cells.relative_coordinates(top_positions, hierarchy.factors[0])
    phases = linear(x, weights["first.weight"], weights["first.bias"])
    for i, (parent, child) in enumerate(steps):
        x = torch.sin(phases.index_select(0, parent) + modulations[i].index_select(0, child)).to(precision)
        phases = linear(x, weights["hidden.weight"][i].to(precision)).float() + weights["hidden.bias"][i]
    return phases


def gradients(
    hierarchy: Hierarchy,
    modulation: str,
    weights: Mapping[str, Tensor],
    coords: Float[Tensor, "n d"],
    values: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    precision: torch.dtype,
    extra_gradient: Callable[[Tensor], Tensor] | None,
) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
    """``Architecture.gradients`` by the analytic backward pass; equal to automatic differentiation up to rounding."""
    import torch

    active = cells.active_cells(hierarchy, coords)
    names = [name for name in weights if name.startswith("modulator.")]
    with torch.enable_grad():  # modulators have few rows, so that autograd costs little
        leaves = {name: weights[name].detach().requires_grad_() for name in names}
        traced = modulators.modulations(modulation, hierarchy, {**weights, **leaves})
    modulations = [level.detach() for level in traced]
    matrices = weights["hidden.weight"].to(precision).unbind(0) if active.steps else ()
    x = cells.relative_coordinates(active.top_positions, hierarchy.factors[0])
    phases, modulated, sines = _forward_levels(weights, x, active.steps, modulations, matrices)
    folds = active.point_parent is None or _folding_pays_off(
        hierarchy, weights, coords.shape[0], active.count, precision
    )
    backward_last = last_level.backward_folded if folds else last_level.backward_gathered
    residuals, grad_phases, grad_last_modulation, grads_last = backward_last(
        weights, phases, modulations[-1], active, values, loss_weights, precision, extra_gradient
    )
    grad_modulations, grads = _backward_levels(active, x, modulations, matrices, modulated, sines, grad_phases)
    grads_modulators = torch.autograd.grad(traced, list(leaves.values()), [*grad_modulations, grad_last_modulation])
    return residuals, grads_last | grads | dict(zip(names, grads_modulators, strict=True))


def _forward_levels(
    weights: Mapping[str, Tensor],
    x: Float[Tensor, "top d"],
    steps: Sequence[tuple[Tensor, Tensor]],
    modulations: Sequence[Tensor],
    matrices: Sequence[Tensor],
) -> tuple[Float[Tensor, "k w"], list[Float[Tensor, "_k w"]], list[Float[Tensor, "_k w"]]]:
    """``_phases``, with the modulated phases of each step and their sines, which the backward pass needs.

    ``x`` are the coordinates of the cells of level 0. The sines have the precision of the hidden ``matrices``.
    """
    from torch.nn.functional import linear

    phases = linear(x, weights["first.weight"], weights["first.bias"])
    modulated, sines = [], []
    for i, (parent, child) in enumerate(steps):
        modulated.append(phases.index_select(0, parent).add_(modulations[i].index_select(0, child)))
        sines.append(modulated[-1].sin().to(matrices[i].dtype))
        phases = linear(sines[-1], matrices[i]).float().add_(weights["hidden.bias"][i])
    return phases, modulated, sines


def _backward_levels(
    active: cells.ActiveCells,
    x: Float[Tensor, "top d"],
    modulations: Sequence[Tensor],
    matrices: Sequence[Tensor],
    modulated: Sequence[Tensor],
    sines: Sequence[Tensor],
    grad: Float[Tensor, "k w"],
) -> tuple[list[Float[Tensor, "_children w"]], dict[str, Tensor]]:
    """Gradients with respect to the modulations of each step and to the tensors of the first and hidden layers.

    ``grad`` is the gradient with respect to the phases from ``_forward_levels``. Overwrites ``modulated``.
    """
    import torch

    grad_modulations, grad_matrices, grad_biases = [], [], []
    for i in range(len(active.steps) - 1, -1, -1):
        parent, child = active.steps[i]
        rounded = grad.to(matrices[i].dtype)
        grad_matrices.append((rounded.mT @ sines[i]).float())  # equation (7)
        grad_biases.append(grad.sum(0))
        grad = (rounded @ matrices[i]).float().mul_(modulated[i].cos_())  # equation (8)
        grad_modulations.append(torch.zeros_like(modulations[i]).index_add_(0, child, grad))
        above = active.steps[i - 1][0].shape[0] if i else active.top_positions.shape[0]
        grad = grad.new_zeros(above, grad.shape[1]).index_add_(0, parent, grad)
    grads = {"first.weight": grad.mT @ x, "first.bias": grad.sum(0)}
    if active.steps:
        grads |= {"hidden.weight": torch.stack(grad_matrices[::-1]), "hidden.bias": torch.stack(grad_biases[::-1])}
    return grad_modulations[::-1], grads

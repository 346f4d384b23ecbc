"""ASMR's forward and backward pass, for points and for lists of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from . import cells, last_level, modulators

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .hierarchy import Radix

LATE = {True: 240, False: 128}
"""Points are taken one by one where folding would make more products than this a point and unit; by whether they are
in bfloat16. A step of points drawn by chance from a Kodak raster is as fast either way at about 10,000 points in
bfloat16 and 18,000 in float32 (first experiments, one core)."""


def at_points(radix: Radix, kind: str, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
    """Values (n, c) at the cells nearest to ``coords`` (n, d); ``kind`` is that of the modulators."""
    found = cells.touched(radix, coords)
    modulations = modulators.modulations(kind, radix, weights)
    phases = _phases(radix, weights, found.first, found.steps, modulations, precision)
    if found.slot is None or found.child is None:
        return last_level.folded(weights, phases, modulations[-1], precision)
    if _folds(radix, weights, coords.shape[0], found.count, precision):
        table = last_level.folded(weights, phases, modulations[-1], precision)
        return table.index_select(0, found.slot * modulations[-1].shape[0] + found.child)
    return last_level.late(weights, phases, modulations[-1], found.slot, found.child)


def decoder(radix: Radix, kind: str, weights: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """A function from flat cells (k,) of the last level but one to the values (k * children, c) of all cells below
    them, float32."""
    import torch

    modulations = modulators.modulations(kind, radix, weights)

    def of_cells(listed: Tensor) -> Tensor:
        phases = _phases(radix, weights, *cells.ancestors(radix, listed), modulations, torch.float32)
        return last_level.folded(weights, phases, modulations[-1], torch.float32)

    return of_cells


def _folds(radix: Radix, weights: Mapping[str, Tensor], points: int, count: int, precision: torch.dtype) -> bool:
    """Whether the folded last level is the cheaper way to ``points`` below ``count`` cells."""
    import torch

    columns = radix.children(radix.levels - 1) * weights["last.weight"].shape[0]
    return 2 * count * columns <= LATE[precision == torch.bfloat16] * points


def _phases(
    radix: Radix,
    weights: Mapping[str, Tensor],
    first: Tensor,
    steps: Sequence[tuple[Tensor, Tensor]],
    modulations: Sequence[Tensor],
    precision: torch.dtype,
) -> Tensor:
    """p (k, h), float32, of the cells listed last (``Touched``)."""
    import torch
    from torch.nn.functional import linear

    x = cells.unit(first, radix.factors[0])
    phases = linear(x, weights["first.weight"], weights["first.bias"])
    for i, (slot, child) in enumerate(steps):
        x = torch.sin(phases.index_select(0, slot) + modulations[i].index_select(0, child)).to(precision)
        phases = linear(x, weights["hidden.weight"][i].to(precision)).float() + weights["hidden.bias"][i]
    return phases


def gradients(
    radix: Radix,
    kind: str,
    weights: Mapping[str, Tensor],
    coords: Tensor,
    values: Tensor,
    loss_weights: Tensor,
    precision: torch.dtype,
    extra_gradient: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The backward pass written out: autograd's result to rounding."""
    import torch

    found = cells.touched(radix, coords)
    names = [name for name in weights if name.startswith("modulator.")]
    with torch.enable_grad():
        leaves = {name: weights[name].detach().requires_grad_() for name in names}
        traced = modulators.modulations(kind, radix, {**weights, **leaves})
    modulations = [made.detach() for made in traced]
    matrices = weights["hidden.weight"].to(precision).unbind(0) if found.steps else ()
    x = cells.unit(found.first, radix.factors[0])
    phases, inner, units = _levels(weights, x, found.steps, modulations, matrices)
    folds = found.slot is None or _folds(radix, weights, coords.shape[0], found.count, precision)
    last = last_level.backward_folded if folds else last_level.backward_late
    residuals, grad, by_modulation, by_weight = last(
        weights, phases, modulations[-1], found, values, loss_weights, precision, extra_gradient
    )
    by_modulations, by_level = _backward_levels(found, x, modulations, matrices, inner, units, grad)
    by_leaf = torch.autograd.grad(traced, list(leaves.values()), [*by_modulations, by_modulation])
    return residuals, by_weight | by_level | dict(zip(names, by_leaf, strict=True))


def _levels(
    weights: Mapping[str, Tensor],
    x: Tensor,
    steps: Sequence[tuple[Tensor, Tensor]],
    modulations: Sequence[Tensor],
    matrices: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """``_phases`` with what the backward pass needs: each step's modulated phases, and their sines in the precision of
    the ``matrices``. ``x`` (k_0, d) are the positions of the first level's cells."""
    from torch.nn.functional import linear

    phases = linear(x, weights["first.weight"], weights["first.bias"])
    inner, units = [], []
    for i, (slot, child) in enumerate(steps):
        inner.append(phases.index_select(0, slot).add_(modulations[i].index_select(0, child)))
        units.append(inner[-1].sin().to(matrices[i].dtype))
        phases = linear(units[-1], matrices[i]).float().add_(weights["hidden.bias"][i])
    return phases, inner, units


def _backward_levels(
    found: cells.Touched,
    x: Tensor,
    modulations: Sequence[Tensor],
    matrices: Sequence[Tensor],
    inner: Sequence[Tensor],
    units: Sequence[Tensor],
    grad: Tensor,
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The gradients of ``_levels`` from that of its phases: by the modulations of each step, and by the tensors of the
    first and the hidden layers. Overwrites ``inner``."""
    import torch

    by_modulations, by_matrix, by_bias = [], [], []
    for i in range(len(found.steps) - 1, -1, -1):
        slot, child = found.steps[i]
        half = grad.to(matrices[i].dtype)
        by_matrix.append((half.mT @ units[i]).float())
        by_bias.append(grad.sum(0))
        grad = (half @ matrices[i]).float().mul_(inner[i].cos_())
        by_modulations.append(torch.zeros_like(modulations[i]).index_add_(0, child, grad))
        above = found.steps[i - 1][0].shape[0] if i else found.first.shape[0]
        grad = grad.new_zeros(above, grad.shape[1]).index_add_(0, slot, grad)
    own = {"first.weight": grad.mT @ x, "first.bias": grad.sum(0)}
    if found.steps:
        own |= {"hidden.weight": torch.stack(by_matrix[::-1]), "hidden.bias": torch.stack(by_bias[::-1])}
    return by_modulations[::-1], own

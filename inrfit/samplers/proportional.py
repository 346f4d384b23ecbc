"""The sampler ``stream``: points sampled in proportion to an error map that only trained points update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..io.options import setting
from ..kernel import sampling
from . import overdue
from .error_map import l1_error
from .selection import Selection, ratio_base

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .learner import Learner

MAX_ERROR_CELLS = 1 << 22
"""A signal of more samples than this has an error map of cells, at most a quarter as many, that each stand for a block
of samples."""

MAX_BATCHES = 64
"""Most batches in a selection, so that the map of a long signal is read often enough."""

MAX_ERROR = 100.0
"""Larger errors, those of a fit that diverged, count as this, so that one of them cannot outweigh all others."""

GOLDEN_RATIO = 0.5 * math.sqrt(5) - 0.5
"""Shift of the stretches from one selection to the next: no sequence of multiples modulo 1 is more even."""

CELL_UPDATE_RATE = 0.5
"""Weight of the newest mean error of a cell of several samples, against the entry of the map."""


@dataclass(frozen=True)
class Stream:
    """Draws every batch with the relative density p_i = (1 - hard) + hard * e_i^power / mean(e^power), at most
    ``limit``, where e_i is the last known error (L1 over channels); the loss weight of a point is p_i^-temper.

    This sampler is of this project; no paper describes it. The errors of trained points are written into the map and no
    point is scored for it: a selection costs no forward pass, only one pass over the map. With ``temper=0`` hard points
    weigh more in the loss than under uniform sampling, as with alpha = 0 in soft mining (Kheradmand et al., CVPR 2024,
    arXiv:2312.00075); ``temper=1`` restores the plain mean (importance sampling; Katharopoulos and Fleuret, 2018,
    arXiv:1803.00942). Points are drawn at regular intervals: of each stretch of neighbours the point whose draws lag
    most behind its density (``overdue.py``). So no point is forgotten by chance, every batch covers the signal
    evenly, and gradients have less noise than with independent draws (docs/samplers.md). A point without a known error
    counts as hard as the mean of the first ones seen. In a signal of more than MAX_ERROR_CELLS samples the points of a
    cell are sampled uniformly."""

    ratio: float = setting(0.1, "share of the points in one selection (of several batches)", 1e-6, 1.0)
    hard: float = setting(0.5, "share sampled in proportion to the error", 0.0, 1.0)
    power: float = setting(1.5, "exponent of the error in the sampling density", 0.1, 4.0)
    temper: float = setting(0.25, "how far points are weighted back: 0 not at all, 1 to the plain mean", 0.0, 1.0)
    limit: float = setting(10.0, "highest sampling density, in means", 1.0, 1e6)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The points of the next batches, in the order of the batches."""
        plan = plan_selection(learner, previous, self.ratio, self.power)
        errors = plan.memory.get("errors")
        return draw_selection(learner, plan, errors, {"error": self.hard}, self.limit, self.temper)


@dataclass(frozen=True)
class SelectionPlan:
    """What a selection from a map is made of.

    ``memory`` is that of ``cell_order``; ``errors`` (m,), in that order, is in it from the first trained points on.
    ``side`` is that of a cell of the map, ``count`` the number of points, and ``batches`` of how many batches they are
    (1 if a batch is the selection)."""

    memory: dict[str, Tensor]
    side: int
    count: int
    batches: int


def plan_selection(learner: Learner, previous: Selection | None, ratio: float, power: float) -> SelectionPlan:
    """The plan of the next selection of a share ``ratio`` of the points, with the errors^power of the points trained
    since the last one in its map."""
    batch, side = learner.batch or 0, cell_side(learner)
    memory = _continued_memory(learner, previous, side)
    if learner.trained_batches:
        memory["errors"] = updated_errors(learner, memory, side, power)
    cell_count = memory["order"].shape[0]
    count = max(1, int(ratio * (cell_count if batch else ratio_base(learner))))
    if batch:
        count = batch * min(max(1, count // batch), MAX_BATCHES)
    count = min(count, cell_count)
    return SelectionPlan(memory, side, count, count // batch if 0 < batch < count else 1)


def draw_selection(
    learner: Learner,
    plan: SelectionPlan,
    odds: Float[Tensor, "m"] | None,
    shares: Mapping[str, float],
    limit: float,
    temper: float,
) -> Selection:
    """Draws the selection with the density (1 - shares) + shares * odds / mean(odds), at most ``limit``, where shares
    is the sum of ``shares``, one for each origin of the points; uniformly if ``odds`` is None. Its weights are
    density^-temper."""
    import torch

    memory, hard = plan.memory, 0.0 if odds is None else sum(shares.values())
    cell_count, several = memory["order"].shape[0], plan.batches > 1
    entries = torch.ones(cell_count, device=learner.device) if odds is None else odds
    highest = min(limit, cell_count / plan.count)
    memory["start"] = (memory["start"] + GOLDEN_RATIO) % 1
    indices, density, memory["due"] = overdue.draw(
        learner, entries, memory["order"], float(memory["start"]), memory["due"],
        hard, highest, plan.count, plan.batches,
    )  # fmt: skip
    if plan.side > 1:
        indices = sample_in_cells(learner, indices, plan.side)
    weights = density.pow(-temper) if temper and odds is not None else None
    origin = {} if odds is None else _counts(plan.count, shares)
    origin["chance"] = plan.count - sum(origin.values())
    blocks = f"the error map of {learner.n:,} points has blocks of {plan.side} points a side"
    return Selection(indices, weights, memory, origin, keep_order=several, note=blocks if plan.side > 1 else "")


def _counts(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """The shares of ``count`` points in whole points, at most ``count`` together."""
    counts, share_before = {}, 0.0
    for name, share in shares.items():
        counts[name] = round((share_before + share) * count) - round(share_before * count)
        share_before += share
    return counts


def _continued_memory(learner: Learner, previous: Selection | None, side: int) -> dict[str, Tensor]:
    """The memory of ``previous``, or a new one. If samples have been added, the order is computed anew and the new
    samples count as the mean; if the cells have become larger, the map starts anew."""
    import torch

    if previous is None:
        return cell_order(learner, side)
    memory, cell_count = dict(previous.memory), math.prod(cells_per_axis(learner, side))
    if memory["order"].shape[0] == cell_count:
        return memory
    errors, before = memory.get("errors"), memory["order"].shape
    extended = {name: kept for name, kept in memory.items() if kept.shape != before} | cell_order(learner, side)
    if errors is not None and side == 1:
        extended["errors"] = torch.cat([errors, errors.mean().expand(cell_count - errors.shape[0])])
    return extended


def cell_side(learner: Learner) -> int:
    """Samples along each axis of a cell of the map."""
    side, most = 1, MAX_ERROR_CELLS
    while math.prod(cells_per_axis(learner, side)) > most:
        side, most = 2 * side, MAX_ERROR_CELLS // 4
    return side


def signal_shape(learner: Learner) -> tuple[int, ...]:
    """Shape of the raster; the points of a shape, which have no order, count as one row."""
    grid = learner.samples.signal.grid
    return (learner.n,) if grid is None else grid.shape


def cells_per_axis(learner: Learner, side: int) -> tuple[int, ...]:
    """Number of cells of ``side`` samples along each axis."""
    return tuple(-(-length // side) for length in signal_shape(learner))


def cell_order(learner: Learner, side: int) -> dict[str, Tensor]:
    """``order`` (m,): flat indices of the cells, one block of neighbours after the other; ``rank`` (m,): position of
    each cell in ``order``, both int32; ``due`` (m,), in that order: random draws that cells are due, from 0 to 1;
    ``start`` (1,): where the first stretch begins."""
    import torch

    shape = cells_per_axis(learner, side)
    cell_count = math.prod(shape)
    stretch = cell_count / max(1, min(learner.batch or cell_count, cell_count))  # each gives one point to each batch
    order = torch.arange(cell_count, dtype=torch.int32, device=learner.device).view(shape)
    if len(shape) > 1 and stretch > 1:
        order = block_by_block(order, max(1, round(stretch ** (1 / len(shape)))))
    order = order.reshape(-1)
    rank = torch.empty_like(order)
    rank[order.long()] = torch.arange(cell_count, dtype=torch.int32, device=learner.device)
    return {"order": order, "rank": rank, "due": learner.uniform(cell_count), "start": learner.uniform(1)}


def block_by_block(raster: Int[Tensor, "..."], side: int) -> Int[Tensor, "m"]:
    """The entries of ``raster`` (all at least 0) in blocks of ``side`` entries along each axis, one block after the
    other."""
    import torch

    padding = [(0, -length % side) for length in reversed(raster.shape)]
    padded = torch.nn.functional.pad(raster, [width for pair in padding for width in pair], value=-1)
    split = padded.view([part for length in padded.shape for part in (length // side, side)])
    axes = range(raster.dim())
    flat = split.permute([2 * axis for axis in axes] + [2 * axis + 1 for axis in axes]).reshape(-1)
    return flat[flat >= 0]


def updated_errors(learner: Learner, memory: Mapping[str, Tensor], side: int, power: float) -> Float[Tensor, "m"]:
    """A new map of errors^power, in the order of ``cell_order``, with the points trained since the last selection.
    In the first map, cells that have not been trained get the mean of those that have."""
    import torch

    errors = memory.get("errors")
    if errors is None:
        mean = torch.cat([_powers(residuals, power) for _, residuals in learner.trained_batches]).mean()
        errors = mean.expand(memory["order"].shape[0])
    if side == 1:
        errors = errors.clone()
        for indices, residuals in learner.trained_batches:
            if sampling.computes(errors, memory["rank"]):
                sampling.record(errors, memory["rank"], indices, residuals, MAX_ERROR, power)
            else:
                errors[memory["rank"][indices].long()] = _powers(residuals, power)
        return errors
    trained = torch.cat([_powers(residuals, power) for _, residuals in learner.trained_batches])
    cells = cell_indices(learner, torch.cat([indices for indices, _ in learner.trained_batches]), side)
    positions = memory["rank"][cells].long()
    total = torch.zeros_like(errors).index_add_(0, positions, trained)
    counts = torch.zeros_like(errors).index_add_(0, positions, torch.ones_like(trained))
    return torch.where(counts > 0, errors.lerp(total / counts.clamp_min(1), CELL_UPDATE_RATE), errors)


def _powers(residuals: Float[Tensor, "k c"], power: float) -> Float[Tensor, "k"]:
    """The entries of the map for these residuals."""
    return l1_error(residuals).nan_to_num(0.0).clamp_max(MAX_ERROR).pow(power)


def cell_indices(learner: Learner, indices: Int[Tensor, "k"], side: int) -> Int[Tensor, "k"]:
    """Flat indices of the cells that hold the samples at the flat ``indices``."""
    cells = indices * 0
    stride, rest = 1, indices
    for length in reversed(signal_shape(learner)):
        cells += rest % length // side * stride
        stride, rest = stride * -(-length // side), rest // length
    return cells


def sample_in_cells(learner: Learner, cells: Int[Tensor, "k"], side: int) -> Int[Tensor, "k"]:
    """Flat index of one uniformly sampled point of each of the flat ``cells``."""
    indices = cells * 0
    stride, rest = 1, cells
    for length in reversed(signal_shape(learner)):
        across = -(-length // side)
        begin = rest % across * side
        room = (length - begin).clamp(max=side)
        offset = (learner.uniform(cells.shape[0]) * room).long().minimum(room - 1)
        indices += (begin + offset) * stride
        stride, rest = stride * length, rest // across
    return indices

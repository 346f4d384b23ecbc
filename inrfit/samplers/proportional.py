"""stream: batches drawn in proportion to an error map that only the points just taught keep current."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..io.options import setting
from .error_map import magnitude
from .selection import Selection, chosen_from

if TYPE_CHECKING:
    from torch import Tensor

    from .learner import Learner

MOST_CELLS = 1 << 22
"""Longer signals are mapped in cells of several samples, a quarter as many at most."""

MOST_BATCHES = 64
"""Longest selection, so that the map of a long signal is read often enough."""

LARGEST = 100.0
"""Errors of a fit that went astray count as this: one of them must not outweigh all others for good."""

RENEWED = 0.5
"""Weight of a cell's newest mean error, where a cell is more than one sample."""


@dataclass(frozen=True)
class Stream:
    """Every batch is a systematic draw with odds p_i = (1 - hard) + hard * e_i^power / mean(e^power), ``limit`` at the
    most, from the last known errors e (L1 over channels); points are weighted by p_i^-temper.

    This project's own. The errors of taught points are written back, none are scored for it: a selection costs no
    forward pass, only a walk over the map. ``temper`` 0 teaches hard points more (soft mining's alpha; Kheradmand et
    al., CVPR 2024), 1 weights them back to the plain mean (Katharopoulos and Fleuret 2018, arXiv:1803.00942). The map
    is walked in blocks of neighbours, one point of each stretch of it goes to each batch: a batch covers the signal
    evenly, which alone lowers the noise of a step (docs/samplers.md). A point not seen yet counts as hard as the first
    ones seen. A signal of more than MOST_CELLS samples is mapped in cells, whose samples are drawn by chance."""

    ratio: float = setting(0.1, "share of the points in one selection (of several batches)", 1e-6, 1.0)
    hard: float = setting(0.9, "share drawn in proportion to the error", 0.0, 1.0)
    power: float = setting(1.5, "of the error, that the odds are in proportion to", 0.1, 4.0)
    temper: float = setting(0.25, "how far the drawn are weighted back: 0 not at all, 1 to the plain mean", 0.0, 1.0)
    limit: float = setting(10.0, "highest probability, in means", 1.0, 1e6)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next batches, dealt."""
        batch = learner.batch or 0
        side = cell_side(learner)
        memory = self._walked(learner, previous, side)
        if learner.trained_batches:
            memory["errors"] = updated(learner, memory, side, self.power)
        places = memory["order"].shape[0]
        count = max(1, int(self.ratio * (places if batch else chosen_from(learner))))
        if batch:
            count = batch * min(max(1, count // batch), MOST_BATCHES)
        count = min(count, places)
        odds = self.odds(memory, count)
        picked = drawn(learner, odds, count)
        chosen = memory["order"][picked].long()
        if side > 1:
            chosen = within(learner, chosen, side)
        weights = odds[picked].pow(-self.temper) if self.temper and "errors" in memory else None
        several = 0 < batch < count
        if several:
            order = dealt(learner, count, batch)
            chosen, weights = chosen[order], None if weights is None else weights[order]
        by_error = round(self.hard * count) if "errors" in memory else 0
        origin = {"error": by_error, "chance": count - by_error}
        note = f"{learner.n:,} points are mapped in blocks of {side} a side" if side > 1 else ""
        return Selection(chosen, weights, memory, origin, keep_order=several, note=note)

    def _walked(self, learner: Learner, previous: Selection | None, side: int) -> dict[str, Tensor]:
        """What was remembered. Where samples have been added the walk is longer, and the new ones count as the mean;
        where the cells have become larger the map begins anew."""
        import torch

        if previous is None:
            return walk(learner, side)
        known, places = dict(previous.memory), math.prod(-(-length // side) for length in shape_of(learner))
        if known["order"].shape[0] == places:
            return known
        longer = walk(learner, side)
        if "errors" in known and side == 1:
            errors = known["errors"]
            longer["errors"] = torch.cat([errors, errors.mean().expand(places - errors.shape[0])])
        return longer

    def odds(self, memory: Mapping[str, Tensor], count: int) -> Tensor:
        """How likely each place of the walk is drawn, about 1 on average."""
        import torch

        errors = memory.get("errors")
        if errors is None:
            return torch.ones(memory["order"].shape[0], device=memory["order"].device)
        mean = errors.mean().clamp_min(1e-12)
        highest = min(self.limit, errors.shape[0] / count)
        return errors.mul(self.hard / mean).add_(1 - self.hard).clamp_(1e-3, highest)


def cell_side(learner: Learner) -> int:
    """Samples along each axis of a cell of the map."""
    side, most = 1, MOST_CELLS
    while math.prod(-(-length // side) for length in shape_of(learner)) > most:
        side, most = 2 * side, MOST_CELLS // 4
    return side


def shape_of(learner: Learner) -> tuple[int, ...]:
    """The raster; points in no order are one long line."""
    grid = learner.samples.signal.grid
    return (learner.n,) if grid is None else grid.shape


def walk(learner: Learner, side: int) -> dict[str, Tensor]:
    """``order`` (m,): the cells, block of neighbours after block; ``rank`` (m,): where each comes in it."""
    import torch

    shape = tuple(-(-length // side) for length in shape_of(learner))
    places = math.prod(shape)
    stretch = places / max(1, min(learner.batch or places, places))  # of the walk, one point a batch
    order = torch.arange(places, dtype=torch.int32, device=learner.device).view(shape)
    if len(shape) > 1 and stretch > 1:
        order = blockwise(order, max(1, round(stretch ** (1 / len(shape)))))
    order = order.reshape(-1)
    rank = torch.empty_like(order)
    rank[order.long()] = torch.arange(places, dtype=torch.int32, device=learner.device)
    return {"order": order, "rank": rank}


def blockwise(raster: Tensor, block: int) -> Tensor:
    """The entries of ``raster`` (all at least 0) in blocks of ``block`` along each axis, flat."""
    import torch

    padding = [(0, -length % block) for length in reversed(raster.shape)]
    padded = torch.nn.functional.pad(raster, [side for pair in padding for side in pair], value=-1)
    split = padded.view([part for length in padded.shape for part in (length // block, block)])
    axes = range(raster.dim())
    flat = split.permute([2 * axis for axis in axes] + [2 * axis + 1 for axis in axes]).reshape(-1)
    return flat[flat >= 0]


def updated(learner: Learner, memory: Mapping[str, Tensor], side: int, power: float) -> Tensor:
    """The map (m,) of errors^power, in the order of the walk, with what was taught since the last selection; places
    not seen yet count as the mean of the first ones seen."""
    import torch

    errors = memory.get("errors")
    taught = [
        (indices, magnitude(residuals).nan_to_num(0.0).clamp_max(LARGEST).pow(power))
        for indices, residuals in learner.trained_batches
    ]
    if errors is None:
        mean = torch.cat([error for _, error in taught]).mean()
        errors = mean.expand(memory["order"].shape[0])
    if side == 1:
        errors = errors.clone()
        for indices, error in taught:
            errors[memory["rank"][indices].long()] = error
    if side > 1:
        found = torch.cat([error for _, error in taught])
        places = memory["rank"][cells_of(learner, torch.cat([indices for indices, _ in taught]), side)].long()
        total = torch.zeros_like(errors).index_add_(0, places, found)
        counts = torch.zeros_like(errors).index_add_(0, places, torch.ones_like(found))
        errors = torch.where(counts > 0, errors.lerp(total / counts.clamp_min(1), RENEWED), errors)
    return errors


def drawn(learner: Learner, odds: Tensor, count: int) -> Tensor:
    """``count`` distinct places (rising) by a systematic draw: one step of equal length after another along the summed
    odds, from a random start. Where a place is longer than a step, others are drawn by chance for it."""
    import torch

    steps = odds.cumsum(0)  # summed in double, kept in float: a walk of 2^18 steps is exact to a thirtieth of one
    steps.mul_(count / steps[-1]).add_(learner.uniform(1)).floor_()
    hit = steps > 0
    torch.gt(steps[1:], steps[:-1], out=hit[1:])
    picked = hit.nonzero().squeeze(1)[:count]
    missing = count - picked.shape[0]
    if missing:
        left = (learner.uniform(4 * missing + 64) * hit.shape[0]).long().unique()
        left = left[~hit[left]]
        if left.shape[0] < missing:
            left = (~hit).nonzero().squeeze(1)
        more = left[learner.permutation(left.shape[0])[:missing]]
        picked = torch.cat([picked, more]).sort().values
    return picked


def dealt(learner: Learner, count: int, batch: int) -> Tensor:
    """The order of ``count`` sorted points in which batch after batch gets one of each stretch of neighbours."""
    import torch

    batches = count // batch
    turn = (learner.uniform(batch) * batches).long()[:, None] + torch.arange(batches, device=learner.device)
    places = torch.arange(batch, device=learner.device)[:, None] * batches + turn % batches
    return places.mT.reshape(-1)


def cells_of(learner: Learner, indices: Tensor, side: int) -> Tensor:
    """The flat cells that the samples at the flat ``indices`` lie in."""
    shape = shape_of(learner)
    found = indices * 0
    stride, rest = 1, indices
    for length in reversed(shape):
        found += rest % length // side * stride
        stride, rest = stride * -(-length // side), rest // length
    return found


def within(learner: Learner, cells: Tensor, side: int) -> Tensor:
    """A random sample of each of the flat ``cells``."""
    shape = shape_of(learner)
    found = cells * 0
    stride, rest = 1, cells
    for length in reversed(shape):
        across = -(-length // side)
        begin = rest % across * side
        room = (length - begin).clamp(max=side)
        found += (begin + (learner.uniform(cells.shape[0]) * room).long().minimum(room - 1)) * stride
        stride, rest = stride * length, rest // across
    return found

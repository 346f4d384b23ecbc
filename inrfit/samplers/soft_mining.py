"""Soft mining (Kheradmand et al., CVPR 2024, arXiv:2312.00075): walkers that gather where the error is large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..io.options import setting
from . import error_map
from .edge_map import find_edges
from .selection import Selection, ratio_base

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from ..signal import Grid
    from .learner import Learner

MAX_WALKERS = 1 << 16
"""Each walker costs two forward passes per selection; with more of them a single move would take seconds."""

AUTHORS_BATCH = 4096
"""Batch size of the authors, whose drift is ``a`` times the gradient of the mean loss of a batch."""

RESAMPLED_SHARE = 0.1
"""Share of the walkers moved to edges for their low error, and share moved to uniformly sampled positions."""

WARM_UP_SLOPE = 5.0
"""The exponent of the weights is min(WARM_UP_SLOPE * progress, alpha): step / 1000 in a fit of 5,000 steps."""

MIN_ERROR = 2.0**-10
"""Smaller errors count as this (the epsilon of float16, as in the authors' code)."""

MIN_WEIGHT = 0.2
"""Lower clamp of the weights."""

WALKED, TO_EDGE, UNIFORM = 0, 1, 2
"""How a walker came to its position: by its own step, moved to an edge, or moved to a uniformly sampled position."""


@dataclass(frozen=True)
class SoftMining:
    """Selects the points under walkers with positions p in [0, 1]^d, with the loss weight e^-q, where e is the L1 error
    of the point.

    Source: "Accelerating Neural Field Training via Soft Mining" (Kheradmand et al., CVPR 2024, arXiv:2312.00075). At
    each selection the walkers move by Langevin Monte Carlo (eq. 7), p += drift * grad log e(p) + b * noise. Walkers
    out of bounds, and the 10 % of lowest error, move to random edges; another 10 % move to uniformly sampled positions.
    The exponent q rises from 0 to ``alpha``: 1 corrects the bias of where the walkers are, 0 leaves it. Weights are
    clamped to [0.2, mean + standard deviation]. ``--batch selection`` makes one step per move, as the paper does.

    Cost, in forward passes of a point: 2 per walker and move, 3 per trained walker. Moves take 2/5 of the arithmetic;
    in the paper they are free, because the gradient comes from the backward pass of the training step. With a smaller
    ``scoring`` a selection is trained on more than once.

    Departures from the authors' code and from its port in the code of EVOS (arXiv:2412.10153):

    - The gradient is that of log e of each walker alone, in the units of p. The authors divide it by the weights twice
      and take it in pixels (the port: in [-1, 1]), although positions are in [0, 1]. Theirs also has a factor
      1 / batch, so that it vanishes in a large batch. Undivided, a = 20 moves every walker off the image; hence the
      drift is a / 4096, where 4096 is their batch, for any batch size.
    - The port computes the cell of a position as H * y + x; here it follows the shape of the signal.
    - Of several walkers in one cell all but one move to uniformly sampled positions, because a selection holds each
      point once.
    - Edges are those of ``edge_map.py``, sampled uniformly; theirs are sampled by their Sobel norm.
    - Batches divide by the sum of their weights.
    - The points of a shape are a fixed set with no positions in between. There each walker is offered a uniformly
      sampled point, and takes it with probability e(new) / e(old). This is independent Metropolis sampling; its
      stationary distribution, proportional to e, and its cost are the same."""

    USES_COORD_GRADIENTS: ClassVar[bool] = True

    ratio: float = setting(0.2, "share of the points in one selection", 1e-6, 1.0)
    alpha: float = setting(0.6, "exponent of the correction: 0 mines hard, 1 is unbiased", 0.0, 1.0)
    a: float = setting(20.0, "drift: 4096ths of the gradient of the log error, positions in 0 to 1", 0.0, 1e6)
    b: float = setting(0.02, "standard deviation of the noise, positions in 0 to 1", 0.0, 1.0)
    scoring: float = setting(0.5, "largest share of the arithmetic spent on moves", 0.01, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The walkers after their next move; the previous selection if a move is not affordable yet."""
        trained = 3.0 * learner.points_trained  # in forward passes, as the cost of scoring
        if previous is not None and learner.scoring_cost.forwards * (1 - self.scoring) > self.scoring * trained:
            return previous
        count = min(max(1, int(self.ratio * ratio_base(learner))), MAX_WALKERS)
        memory = None if previous is None else previous.memory
        grid = learner.samples.signal.grid
        if grid is None:
            return self._on_points(learner, memory, count)
        return self._on_raster(learner, memory, count, grid)

    def _on_raster(self, learner: Learner, memory: Mapping[str, Tensor] | None, count: int, grid: Grid) -> Selection:
        """A move on a raster, by Langevin Monte Carlo."""
        edges = find_edges(learner, memory)
        if memory is None:
            indices, origin = learner.draw(count), {"walk": 0, "edge": 0, "chance": count}
            positions = _positions(grid, indices)
        else:
            positions, moves = self._langevin_step(learner, memory, edges.sample(learner, count), grid)
            indices = _cell_indices(grid, positions)
            repeated = _is_repeated(indices)
            indices[repeated] = learner.draw(int(repeated.sum()), indices[~repeated])
            positions[repeated] = _positions(grid, indices[repeated])
            moves[repeated] = UNIFORM
            origin = {
                name: int((moves == move).sum())
                for name, move in (("walk", WALKED), ("edge", TO_EDGE), ("chance", UNIFORM))
            }
        residuals, gradients = learner.coord_gradients(indices)
        error = error_map.l1_error(residuals)
        log_gradient = 2 * gradients / error.clamp_min(MIN_ERROR)[:, None]  # coordinates are 2 p - 1
        memory = {"edges": edges.mask, "places": positions, "errors": error, "steepness": log_gradient}
        return Selection(indices, self._weights(learner, error), memory, origin)

    def _langevin_step(
        self, learner: Learner, memory: Mapping[str, Tensor], edge_indices: Int[Tensor, "k"], grid: Grid
    ) -> tuple[Float[Tensor, "k d"], Int[Tensor, "k"]]:
        """Positions of the walkers after a move, and how each came there (WALKED, TO_EDGE or UNIFORM)."""
        import torch

        positions, error = memory["places"], memory["errors"]
        count = positions.shape[0]
        noise = torch.randn(positions.shape, generator=learner.generator, device=learner.device)
        positions = positions + self.a / AUTHORS_BATCH * memory["steepness"] + self.b * noise
        moves = ((positions < 0) | (positions > 1)).any(1).long() * TO_EDGE
        moves[torch.topk(error, int(RESAMPLED_SHARE * count), largest=False, sorted=False).indices] = TO_EDGE
        moves[count - int(RESAMPLED_SHARE * count) :] = UNIFORM  # not [-m:], which is everything if m is 0
        positions[moves == TO_EDGE] = _positions(grid, edge_indices[moves == TO_EDGE])
        uniform = learner.uniform(positions.numel()).view(positions.shape)
        return torch.where((moves == UNIFORM)[:, None], uniform, positions), moves

    def _on_points(self, learner: Learner, memory: Mapping[str, Tensor] | None, count: int) -> Selection:
        """A move on a set of points, by independent Metropolis sampling."""
        import torch

        if memory is None:
            indices = learner.draw(count)
            error = error_map.l1_error(learner.residuals(indices))
            origin = {"chance": count}
        else:
            walkers = memory["walkers"]
            if walkers.shape[0] < count:  # points were added
                walkers = torch.cat([walkers, learner.draw(count - walkers.shape[0], walkers)])
            offers = learner.draw(count, walkers)
            both = torch.cat([walkers, offers])
            errors = error_map.l1_error(learner.residuals(both))
            old = errors[:count]
            new = torch.cat(
                [errors[count:], old.new_zeros(count - offers.shape[0])]
            )  # 0 if there was no point to offer
            accepted = (learner.uniform(count) * old < new).nonzero().squeeze(1)
            indices, error = both[:count].clone(), old.clone()
            indices[accepted], error[accepted] = offers[accepted], new[accepted]
            origin = {"walk": count}
        return Selection(indices, self._weights(learner, error), {"walkers": indices}, origin)

    def _weights(self, learner: Learner, error: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
        """Loss weights e^-q, clamped, which correct for the distribution of the walkers."""
        exponent = min(WARM_UP_SLOPE * learner.progress, self.alpha)
        weights = error.clamp_min(MIN_ERROR).pow(-exponent)
        highest = weights.mean() + weights.std(correction=0)
        return weights.clamp_min(MIN_WEIGHT).minimum(highest.clamp_min(MIN_WEIGHT))


def _positions(grid: Grid, indices: Int[Tensor, "k"]) -> Float[Tensor, "k d"]:
    """Positions in [0, 1] of the cells at the flat ``indices``."""
    return (grid.coords(indices) + 1) / 2


def _cell_indices(grid: Grid, positions: Float[Tensor, "k d"]) -> Int[Tensor, "k"]:
    """Flat indices of the cells that hold ``positions``."""
    import torch

    flat = torch.zeros(positions.shape[0], dtype=torch.int64, device=positions.device)
    for axis, length in enumerate(grid.shape):
        flat = flat * length + (positions[:, axis].double() * length).long().clamp(0, length - 1)
    return flat


def _is_repeated(indices: Int[Tensor, "k"]) -> Bool[Tensor, "k"]:
    """Which of ``indices`` have occurred earlier in the list."""
    import torch

    ordered, order = torch.sort(indices, stable=True)
    repeated = torch.zeros_like(indices, dtype=torch.bool)
    repeated[order[1:]] = ordered[1:] == ordered[:-1]
    return repeated

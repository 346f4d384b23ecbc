"""Soft mining (Kheradmand et al., CVPR 2024, arXiv:2312.00075): walkers that gather where the error is large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..io.options import setting
from . import error_map
from .edge_map import edges
from .selection import Selection, chosen_from

if TYPE_CHECKING:
    from torch import Tensor

    from ..signal import Grid
    from .learner import Learner

MOST_WALKERS = 1 << 16
"""Every walker costs two forward passes a selection; more of them would make one look last seconds."""

RAYS = 4096
"""The authors' batch: their drift is ``a`` times the gradient of the mean loss of so many rays."""

REDRAWN = 0.1
"""Share of the walkers re-drawn for their low error, and share re-drawn by chance."""

RISE = 5.0
"""The exponent of the correction is min(RISE * progress, alpha): step / 1000 in a fit of 5000 steps."""

SMALLEST_ERROR = 2.0**-10
"""Errors below count as this (the authors: the float16 epsilon)."""

LOWEST_CORRECTION = 0.2


@dataclass(frozen=True)
class SoftMining:
    """Walkers with positions p in [0, 1]^d, taught with the weight e^-q, e the L1 error of the walker.

    At each selection p += drift * grad log e(p) + b * noise (Langevin Monte Carlo, eq. 7 of the paper); walkers out of
    bounds or among the 10 % of lowest error are re-drawn from the edges, another 10 % uniformly; q rises from 0 to
    ``alpha`` (1 undoes the bias of where the walkers are, 0 leaves it), weights are clamped to [0.2, mean + deviation].
    ``--batch selection`` takes the paper's one step a move. Cost: 2 F a walker and move, 3 F a walker taught (F: a
    forward pass), so 2/5 of the arithmetic goes into the moves, against none in the paper, which gets the gradient
    from the lesson's own backward pass; with ``scoring`` below that a selection is taught more than once.

    Departures from the authors' code and from its port in EVOS. The gradient is that of log e for each walker alone, in
    the units of p: there it is divided by the correction twice, taken by pixels (the port: in [-1, 1]) and added to
    positions in [0, 1], and carries 1 / batch, so that it vanishes in a large one. Undivided, a = 20 throws every
    walker off the picture; hence drift = a / 4096, their batch, whatever ours is. Cells are found by the signal's own
    shape (the port: H * y + x). Walkers on one cell: all but one are re-drawn uniformly, for a selection holds a point
    once. The edges are ``edges.py``'s, drawn evenly (there: by Sobel strength). Batches divide by the sum of their
    weights.

    The points of a shape are a fixed set with nowhere between them to move to: there each walker is offered another
    point, drawn by chance, and takes it with probability e(new) / e(old) (independent Metropolis: the law that walkers
    tend to is the same, in proportion to e), at the same cost."""

    ratio: float = setting(0.2, "share of the points in one selection", 1e-6, 1.0)
    alpha: float = setting(0.6, "exponent of the correction: 0 mines hard, 1 is unbiased", 0.0, 1.0)
    a: float = setting(20.0, "drift: 4096ths of the gradient of the log error, positions in 0 to 1", 0.0, 1e6)
    b: float = setting(0.02, "standard deviation of the noise, positions in 0 to 1", 0.0, 1.0)
    scoring: float = setting(0.5, "largest share of the arithmetic spent on moves", 0.01, 1.0)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The walkers after their next move, or where they were while a move is not affordable."""
        taught = 3.0 * learner.points_trained
        if previous is not None and learner.scoring_cost.forwards * (1 - self.scoring) > self.scoring * taught:
            return previous
        count = min(max(1, int(self.ratio * chosen_from(learner))), MOST_WALKERS)
        memory = None if previous is None else previous.memory
        grid = learner.samples.signal.grid
        if grid is None:
            return self._by_offers(learner, memory, count)
        return self._by_walks(learner, memory, count, grid)

    def _by_walks(self, learner: Learner, memory: Mapping[str, Tensor] | None, count: int, grid: Grid) -> Selection:
        """On a raster: the Langevin walk."""
        known = edges(learner, memory)
        if memory is None:
            indices, origin = learner.draw(count), {"walk": 0, "edge": 0, "chance": count}
            places = _places(grid, indices)
        else:
            places, fate = self._moved(learner, memory, known.draw(learner, count), grid)
            indices = _cells(grid, places)
            double = _repeated(indices)
            indices[double] = learner.draw(int(double.sum()), indices[~double])
            places[double] = _places(grid, indices[double])
            fate[double] = 2
            origin = {name: int((fate == k).sum()) for k, name in enumerate(("walk", "edge", "chance"))}
        residuals, gradients = learner.coord_gradients(indices)
        error = error_map.magnitude(residuals)
        steepness = 2 * gradients / error.clamp_min(SMALLEST_ERROR)[:, None]  # dx = 2 dp
        kept = {"edges": known.marked, "places": places, "errors": error, "steepness": steepness}
        return Selection(indices, self._weights(learner, error), kept, origin)

    def _moved(
        self, learner: Learner, memory: Mapping[str, Tensor], on_edges: Tensor, grid: Grid
    ) -> tuple[Tensor, Tensor]:
        """Positions (k, d) after a move, and what became of each walker: 0 walked, 1 put on an edge, 2 anywhere."""
        import torch

        places, error = memory["places"], memory["errors"]
        count = places.shape[0]
        noise = torch.randn(places.shape, generator=learner.generator, device=learner.device)
        places = places + self.a / RAYS * memory["steepness"] + self.b * noise
        fate = ((places < 0) | (places > 1)).any(1).long()
        fate[torch.topk(error, int(REDRAWN * count), largest=False, sorted=False).indices] = 1
        fate[count - int(REDRAWN * count) :] = 2  # not [-n:], which is everything when n is 0
        places[fate == 1] = _places(grid, on_edges[fate == 1])
        anywhere = learner.uniform(places.numel()).view(places.shape)
        return torch.where((fate == 2)[:, None], anywhere, places), fate

    def _by_offers(self, learner: Learner, memory: Mapping[str, Tensor] | None, count: int) -> Selection:
        """On a set of points: independent Metropolis."""
        import torch

        if memory is None:
            indices = learner.draw(count)
            error = error_map.magnitude(learner.residuals(indices))
            origin = {"chance": count}
        else:
            walkers = memory["walkers"]
            if walkers.shape[0] < count:  # points were added
                walkers = torch.cat([walkers, learner.draw(count - walkers.shape[0], walkers)])
            offered = learner.draw(count, walkers)
            both = torch.cat([walkers, offered])
            scored = error_map.magnitude(learner.residuals(both))
            own = scored[:count]
            new = torch.cat([scored[count:], own.new_zeros(count - offered.shape[0])])  # 0: no offer was left
            taken = (learner.uniform(count) * own < new).nonzero().squeeze(1)
            indices, error = both[:count].clone(), own.clone()
            indices[taken], error[taken] = offered[taken], new[taken]
            origin = {"walk": count}
        return Selection(indices, self._weights(learner, error), {"walkers": indices}, origin)

    def _weights(self, learner: Learner, error: Tensor) -> Tensor:
        """The correction for where the walkers are, once."""
        exponent = min(RISE * learner.progress, self.alpha)
        correction = error.clamp_min(SMALLEST_ERROR).pow(-exponent)
        highest = correction.mean() + correction.std(correction=0)
        return correction.clamp_min(LOWEST_CORRECTION).minimum(highest.clamp_min(LOWEST_CORRECTION))


def _places(grid: Grid, indices: Tensor) -> Tensor:
    """Positions (k, d) in [0, 1] of cells."""
    return (grid.coords(indices) + 1) / 2


def _cells(grid: Grid, places: Tensor) -> Tensor:
    """The cells (k,) that hold ``places`` (k, d)."""
    import torch

    flat = torch.zeros(places.shape[0], dtype=torch.int64, device=places.device)
    for axis, length in enumerate(grid.shape):
        flat = flat * length + (places[:, axis].double() * length).long().clamp(0, length - 1)
    return flat


def _repeated(indices: Tensor) -> Tensor:
    """Which of ``indices`` (k,) have come up before."""
    import torch

    ordered, order = torch.sort(indices, stable=True)
    again = torch.zeros_like(indices, dtype=torch.bool)
    again[order[1:]] = ordered[1:] == ordered[:-1]
    return again

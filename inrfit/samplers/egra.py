"""EGRA: edge-guided random sampling (EGRA-NeRF, Gai et al., 2023), as the authors of EVOS ported it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..io.options import setting
from .edge_map import edges
from .selection import Selection, chosen_from
from .uniform import MAX_SHUFFLED_POINTS

if TYPE_CHECKING:
    from torch import Tensor

    from .learner import Learner

SMALLEST_SHIFT, LARGEST_SHIFT = 6, 9


@dataclass(frozen=True)
class Egra:
    """A fresh draw at every selection in which an edge counts a little more than another point.

    Weight of a point: edge * e + (1 - edge) * 4096 / 640000, e = 1 on an edge and 0 elsewhere, the constants being
    those of a NeRF (a batch of 4096 of 800 x 800 rays); so the odds of edge to other are 1.39 to 1. The edges are moved
    by 6 to 9 samples along their row anew at every selection. Cost: 3 F a point taught (F: a forward pass), no scoring.

    Departures from the port: edges that are moved off their row are gone (there they come back in the next one, and
    after the last one in the first); the odds are drawn for the two classes of points, which gives the same law as
    torch.multinomial without its limit of 2^24 points; sounds and shapes have edges too (``edges.py``), but the points
    of a shape are in no order, so theirs stay in place. Beyond 2,097,152 points candidates for a selection are a random
    pool of twice its size."""

    ratio: float = setting(0.2, "share of the points in one selection", 1e-6, 1.0)
    edge: float = setting(0.0025, "share of the weight that is given to the edges alone", 0.0, 0.999)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next draw."""
        import torch

        count = max(1, int(self.ratio * chosen_from(learner)))
        known = edges(learner, None if previous is None else previous.memory)
        shift = 0
        if learner.samples.signal.grid is not None:
            shift = SMALLEST_SHIFT + int(learner.uniform(1) * (1 + LARGEST_SHIFT - SMALLEST_SHIFT))
        everywhere = (1 - self.edge) * 4096 / 640_000
        on_edges = known.count(shift)
        wanted = among_first(learner, count, on_edges, learner.n - on_edges, (self.edge + everywhere) / everywhere)
        pool = learner.permutation(learner.n) if learner.n <= MAX_SHUFFLED_POINTS else learner.draw(2 * count)
        marked = known.at(pool, shift)
        edge, other = pool[marked], pool[~marked]
        edge = edge[: max(min(wanted, edge.shape[0]), count - other.shape[0])]  # a pool may be short of either
        indices = torch.cat([edge, other[: count - edge.shape[0]]])
        origin = {"edge": edge.shape[0], "chance": count - edge.shape[0]}
        memory = {"edges": known.marked, "generation": torch.tensor(learner.generation)}
        return Selection(indices, memory=memory, origin=origin)


def among_first(learner: Learner, count: int, favoured: int, others: int, odds: float) -> int:
    """How many of ``count`` points, drawn one by one without replacement, are of the ``favoured`` ones, each of which
    is ``odds`` times as likely to come next as one of the ``others`` (Wallenius' distribution).

    Each point is given an exponential arrival time at the rate of its weight: the first ``count`` to arrive are such a
    draw. Only the ordered times of each class are needed, whose gaps are exponential too: time and memory of
    ``count``."""
    import torch

    def arrivals(size: int, rate: float) -> Tensor:
        waiting = size - torch.arange(min(count, size), device=learner.device)
        gaps = -torch.log1p(-learner.uniform(waiting.shape[0]).double())
        return (gaps / (waiting * rate)).cumsum(0)

    first = arrivals(favoured, odds)
    times = torch.cat([first, arrivals(others, 1.0)])
    return int((torch.topk(times, count, largest=False, sorted=False).indices < first.shape[0]).sum())

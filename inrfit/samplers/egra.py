"""EGRA: edge-guided random sampling (EGRA-NeRF, Gai et al., 2023), as ported to images by the authors of EVOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..io.options import setting
from .edge_map import find_edges
from .selection import Selection, ratio_base
from .uniform import MAX_SHUFFLED_POINTS

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from .learner import Learner

MIN_SHIFT, MAX_SHIFT = 6, 9
"""Range, in samples, of the random shift of the edges along their rows (both ends included)."""

NERF_BATCH, NERF_RAYS = 4096, 640_000
"""Batch size and number of rays (800 x 800) of the authors' NeRF, which set the weight of a point off the edges."""


@dataclass(frozen=True)
class Egra:
    """Draws every selection afresh; a point on an edge is slightly more likely than another.

    Source: "EGRA-NeRF: Edge-Guided Ray Allocation for Neural Radiance Fields" (Gai et al., Image and Vision Computing,
    2023), as ported to images in the code of EVOS (arXiv:2412.10153). The weight of a point is
    edge * e + (1 - edge) * 4096 / 640000, where e is 1 on an edge and 0 elsewhere. With the default ``edge`` a point on
    an edge weighs 1.39 times as much as another. The edges are shifted by 6 to 9 samples along their rows, anew for
    every selection. Cost: 3 F per trained point (F: one forward pass of a point); nothing is scored.

    Departures from the port:

    - All edges of a selection have the same shift, and those shifted past the end of a row are dropped; in the port
      each edge pixel has a shift of its own, and one past the end of a row reappears in the next row.
    - The number of edge points is drawn first, then the points of each class. This is the distribution of
      ``torch.multinomial`` without its limit of 2^24 points.
    - Sounds and shapes have edges too (``edge_map.py``). The points of a shape have no order and are not
      shifted.
    - Beyond 2,097,152 points a selection is drawn from random candidates, twice as many as it holds, or all points.
    - A selection has nine tenths of the points, theirs a fifth: draws that are independent of the ones before leave
      points out for several selections, which costs 0.3 dB on photographs (docs/samplers.md)."""

    USES_EDGES: ClassVar[bool] = True

    ratio: float = setting(0.9, "share of the points in one selection", 1e-6, 1.0)
    edge: float = setting(0.0025, "share of the weight that only the edges get", 0.0, 0.999)

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """The next draw."""
        import torch

        count = max(1, int(self.ratio * ratio_base(learner)))
        edges = find_edges(learner, None if previous is None else previous.memory)
        shift = 0
        if learner.samples.signal.grid is not None:
            shift = MIN_SHIFT + int(learner.uniform(1) * (1 + MAX_SHIFT - MIN_SHIFT))
        base_weight = (1 - self.edge) * NERF_BATCH / NERF_RAYS
        edge_points = edges.count(shift)
        weight_ratio = (self.edge + base_weight) / base_weight
        edge_count = sample_wallenius(learner, count, edge_points, learner.n - edge_points, weight_ratio)
        shuffle = learner.n <= MAX_SHUFFLED_POINTS
        candidates = learner.permutation(learner.n) if shuffle else learner.draw(2 * count)
        on_edge = edges.contains(candidates, shift)
        edge, other = candidates[on_edge], candidates[~on_edge]
        # Random candidates may hold too few points of either class.
        edge = edge[: max(min(edge_count, edge.shape[0]), count - other.shape[0])]
        indices = torch.cat([edge, other[: count - edge.shape[0]]])
        origin = {"edge": edge.shape[0], "chance": count - edge.shape[0]}
        memory = {"edges": edges.mask, "generation": torch.tensor(learner.generation)}
        return Selection(indices, memory=memory, origin=origin)


def sample_wallenius(learner: Learner, count: int, favoured: int, others: int, weight_ratio: float) -> int:
    """Number of favoured points among ``count`` that are drawn one by one without replacement (Wallenius' noncentral
    hypergeometric distribution); each of the ``favoured`` points weighs ``weight_ratio`` times as much as each of the
    ``others``.

    Each point gets an exponential arrival time whose rate is its weight; the first ``count`` to arrive are such a
    draw. Only the ordered times of each class are needed, and their gaps are exponential too: time and memory grow
    with ``count``, not with the number of points."""
    import torch

    def arrival_times(size: int, rate: float) -> Float[Tensor, "m"]:
        waiting = size - torch.arange(min(count, size), device=learner.device)
        gaps = -torch.log1p(-learner.uniform(waiting.shape[0]).double())
        return (gaps / (waiting * rate)).cumsum(0)

    favoured_times = arrival_times(favoured, weight_ratio)
    times = torch.cat([favoured_times, arrival_times(others, 1.0)])
    return int((torch.topk(times, count, largest=False, sorted=False).indices < favoured_times.shape[0]).sum())

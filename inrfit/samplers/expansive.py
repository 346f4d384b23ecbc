"""Expansive supervision (Zhang et al., arXiv:2409.08056), as the authors of EVOS ported it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..io.options import setting
from .edge_map import anchors, current
from .selection import Selection, chosen_from
from .uniform import deal

if TYPE_CHECKING:
    from torch import Tensor

    from .learner import Learner

ANCHORED = 0.5
"""Share of a selection that may be anchors."""

POOL = 1 << 22
"""Anchors of a longer signal are looked for among this many random points."""


@dataclass(frozen=True)
class Expansive:
    """The same anchors in every selection, half of it, and a uniform draw from the rest.

    Anchors lie on the strongest edges (``edges.py``): of a picture Canny's, thresholds A/2 and t A with A by Otsu and t
    such that they cover 0.5 * ratio of it, widened by 2x2, then dropped at random to half a selection. Where there are
    fewer, chance fills up. Cost: 3 F a point taught (F: a forward pass); the map is made once.

    ``weighting=nerf`` is the loss of the authors' own NeRF code, MSE(anchors) + c MSE(rest) with c falling from 3 to 1
    over the fit; the port teaches with the plain mean, which is the default (``none``).

    Departures from the port: t is solved for, not sought in at most 100 Cannys; the uniform part is dealt from a
    shuffled deck; c follows the share of the budget; sounds and shapes have anchors too."""

    ratio: float = setting(0.2, "share of the points in one selection", 1e-6, 1.0)
    weighting: Literal["none", "nerf"] = setting("none", "plain mean, or anchors and rest weighed as for NeRFs")

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """All anchors, and the next of the others."""
        import torch

        count = max(1, int(self.ratio * chosen_from(learner)))
        memory = None if previous is None else previous.memory
        kept = memory["anchors"] if memory is not None and current(learner, memory) else self._anchors(learner, count)
        anchored = kept.shape[0]
        rest, deck = deal(learner, memory, count - anchored, kept)
        return Selection(
            torch.cat([kept, rest]),
            weights=self._weights(learner, anchored, count),
            memory={"anchors": kept, "generation": torch.tensor(learner.generation), **deck},
            origin={"edge": anchored, "chance": count - anchored},
        )

    def _anchors(self, learner: Learner, count: int) -> Tensor:
        """Random points of the strongest edges, at most half of ``count``."""
        found = anchors(learner, ANCHORED * self.ratio)
        pool = learner.draw(min(learner.n, POOL))
        return pool[found.at(pool)][: int(ANCHORED * count)]

    def _weights(self, learner: Learner, anchored: int, count: int) -> Tensor | None:
        """Per point, such that the weighted mean is in proportion to MSE(anchors) + c MSE(rest)."""
        import torch

        if self.weighting == "none":
            return None
        weights = torch.ones(count, device=learner.device)
        if 0 < anchored < count:
            weights[anchored:] = (3.0 - 2.0 * learner.progress) * anchored / (count - anchored)
        return weights

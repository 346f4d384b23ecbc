"""Expansive supervision (Zhang et al., ICME 2025, arXiv:2409.08056), as ported to images by the authors of EVOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..io.options import setting
from .edge_map import find_anchors, is_current
from .selection import Selection, ratio_base
from .uniform import next_shuffled

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .learner import Learner

ANCHOR_SHARE = 0.5
"""Largest share of anchors in a selection."""

MAX_ANCHOR_CANDIDATES = 1 << 22
"""In a signal of more points than this, anchors are looked for among this many random points."""


@dataclass(frozen=True)
class Expansive:
    """Selects the same anchors every time, up to half of a selection, and uniformly sampled points for the rest.

    Source: "Expansive Supervision for Neural Radiance Fields" (Zhang et al., ICME 2025, arXiv:2409.08056), as ported to
    images in the code of EVOS (arXiv:2412.10153). Anchors lie on the strongest edges. In an image these are the edges
    of Canny with the thresholds A / 2 and t A, where A is Otsu's threshold and t is such that they cover 0.5 * ratio of
    the image; they are widened to 2 x 2 pixels and then thinned at random to half a selection. If there are fewer,
    uniform sampling fills the selection. Cost: 3 F per trained point (F: one forward pass of a point); the edge map is
    computed once.

    ``weighting=nerf`` is the loss of the authors' own NeRF code, MSE(anchors) + c * MSE(others), where c falls from 3
    to 1 over the fit. The port uses the plain mean, which is the default (``none``).

    Departures from the port:

    - t is solved for; the port searches it with up to 100 runs of Canny.
    - The uniform part consists of consecutive slices of a shuffle, so that points are visited equally often.
    - c follows the share of the budget spent, not the number of steps.
    - Sounds and shapes have anchors too (``edge_map.py``).
    - A selection has half of the points, theirs a fifth: half of all steps is then spent on more of the picture, which
      gains 0.4 dB on photographs (docs/samplers.md)."""

    USES_EDGES: ClassVar[bool] = True

    ratio: float = setting(0.5, "share of the points in one selection", 1e-6, 1.0)
    weighting: Literal["none", "nerf"] = setting("none", "plain mean, or anchors and others weighted as for NeRFs")

    def select(self, learner: Learner, previous: Selection | None) -> Selection:
        """All anchors, and the next slice of the other points."""
        import torch

        count = max(1, int(self.ratio * ratio_base(learner)))
        memory = None if previous is None else previous.memory
        anchors = (
            memory["anchors"] if memory is not None and is_current(learner, memory) else self._anchors(learner, count)
        )
        anchor_count = anchors.shape[0]
        others, shuffle = next_shuffled(learner, memory, count - anchor_count, anchors)
        return Selection(
            torch.cat([anchors, others]),
            weights=self._weights(learner, anchor_count, count),
            memory={"anchors": anchors, "generation": torch.tensor(learner.generation), **shuffle},
            origin={"edge": anchor_count, "chance": count - anchor_count},
        )

    def _anchors(self, learner: Learner, count: int) -> Int[Tensor, "a"]:
        """Random points of the strongest edges, at most half of ``count``."""
        edges = find_anchors(learner, ANCHOR_SHARE * self.ratio)
        candidates = learner.draw(min(learner.n, MAX_ANCHOR_CANDIDATES))
        return candidates[edges.contains(candidates)][: int(ANCHOR_SHARE * count)]

    def _weights(self, learner: Learner, anchor_count: int, count: int) -> Float[Tensor, "k"] | None:
        """Weights per point whose weighted mean of errors is proportional to MSE(anchors) + c * MSE(others)."""
        import torch

        if self.weighting == "none":
            return None
        weights = torch.ones(count, device=learner.device)
        if 0 < anchor_count < count:
            weights[anchor_count:] = (3.0 - 2.0 * learner.progress) * anchor_count / (count - anchor_count)
        return weights

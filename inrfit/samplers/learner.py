"""What a sampler may ask about the fit under way, and what each answer costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..fields.module import Field
from ..signal import CHUNK, Samples

MIN_SCORING_POINTS = 16_384
"""A scoring pass over fewer points is not worth making (unless the signal itself is smaller)."""

LAST_CREDIT_PROGRESS = 0.05
"""Share of the budget after which no scoring pass is made on credit: where starting took more, there is no time."""

FORWARDS_PER_TRAINED_POINT = 3.0
"""A taught point in forward passes: forward 1, backward 2."""


@dataclass
class ScoringCost:
    """What scoring has cost: ``forwards`` in forward points (one point through the field once)."""

    forwards: float = 0.0
    passes: int = 0
    points: int = 0

    def add(self, points: int, cost: float) -> None:
        """One more pass over ``points`` at ``cost`` forward points each."""
        self.forwards += cost * points
        self.points += points
        self.passes += 1


@dataclass(frozen=True)
class Learner:
    """A read-only view of the fit, made anew for each selection. Costs are counted in *forward points* (one point
    through the field once), never in seconds, so that what a sampler decides is the same on every run."""

    field: Field
    samples: Samples
    generator: torch.Generator
    precision: torch.dtype
    step: int = 0
    progress: float = 0.0
    batch: int | None = None
    """Points of one step; None: a selection is one step."""
    trained_batches: Sequence[tuple[Tensor, Tensor]] = ()
    """(indices, residuals) of the batches since the last selection, at no cost; of a long selection the last ones."""
    points_trained: int = 0
    scoring_cost: ScoringCost = dataclass_field(default_factory=ScoringCost)
    """What scoring has cost in this fit, counting on while this view is asked."""
    generation: int = 0
    """Rises whenever samples of a shape have been added."""
    chunk_size: int | None = None
    """Points evaluated at a time; None: as many as suit the field."""
    check_cancelled: Callable[[], None] = lambda: None
    """Called between the chunks of anything long; raises to end it."""

    @property
    def block_shape(self) -> tuple[int, ...] | None:
        """Sides of the blocks of the raster whose cells share work; None where no work is shared."""
        return self.field.formula.block()

    @property
    def n(self) -> int:
        """Number of samples of the signal."""
        return self.samples.signal.n

    @property
    def device(self) -> torch.device:
        """Where indices and residuals live."""
        return self.samples.raw.device

    def uniform(self, count: int) -> Float[Tensor, "k"]:
        """Numbers in [0, 1)."""
        return torch.rand(count, generator=self.generator, device=self.device)

    def permutation(self, count: int) -> Int[Tensor, "k"]:
        """0 .. count - 1 in random order."""
        return torch.randperm(count, generator=self.generator, device=self.device)

    def draw(self, count: int, exclude: Int[Tensor, "m"] | None = None) -> Int[Tensor, "k"]:
        """``count`` distinct random indices (all that are left, if fewer), none of them in ``exclude``.

        Small shares of a long signal are drawn one of each stratum, which costs the share and not the signal."""
        barred = 0 if exclude is None else exclude.shape[0]
        count = min(count, self.n - barred)
        strata = count + barred
        if strata * 4 > self.n:
            rest = torch.arange(self.n, device=self.device)
        else:
            first = torch.arange(strata + 1, device=self.device) * self.n // strata
            within = self.uniform(strata).double() * (first[1:] - first[:-1])
            rest = first[:-1] + within.long().minimum(first[1:] - first[:-1] - 1)
        if exclude is not None:
            free = torch.ones(self.n, dtype=torch.bool, device=self.device)
            free[exclude] = False
            rest = rest[free[rest]]
        return rest[self.permutation(rest.shape[0])[:count]]

    def scoring_candidates(self, cost: float, share: float) -> Int[Tensor, "k"] | None:
        """Random points for a scoring pass of ``cost`` forward points each, as many as keep all scoring within
        ``share`` of the arithmetic; None when that is too few. ``share`` 1 grants the whole signal. The very first pass
        may run into debt for the smallest useful pool; the debt is paid before the next."""
        smallest = min(self.n, MIN_SCORING_POINTS)
        if share >= 1:
            affordable = self.n
        else:
            credit = share / (1 - share) * FORWARDS_PER_TRAINED_POINT * self.points_trained - self.scoring_cost.forwards
            affordable = int(credit / cost)
            if self.scoring_cost.passes == 0 and share > 0 and self.progress < LAST_CREDIT_PROGRESS:
                affordable = max(affordable, smallest)
        if affordable < smallest:
            return None
        if affordable >= self.n:
            return torch.arange(self.n, device=self.device)
        return self.draw(affordable)

    @torch.no_grad()
    def residuals(self, indices: Int[Tensor, "k"] | None = None) -> Float[Tensor, "k c"]:
        """Prediction minus value at ``indices`` (None: everywhere), in the precision of the fit. Cost: 1 a point."""
        indices = self._all(indices)
        piece = self.chunk_size or default_chunk_size(self.field)
        found = residuals_at(self.field, self.samples, indices, piece, self.precision, self.check_cancelled)
        self.scoring_cost.add(indices.shape[0], 1.0)
        return torch.cat([residuals for _, residuals in found])

    def ntk_scores(self, indices: Int[Tensor, "k"] | None = None) -> tuple[Float[Tensor, "k"], Float[Tensor, "k c"]]:
        """Squared norm over channels of (K g)_i with K = J J^T and g the residuals over ``indices``, and g itself.

        v = J^T g by vjp, then K g = J v by jvp, in chunks, so memory does not grow with the number of points. J is
        taken with respect to the paper's parameters: folded frequencies enter squared. Cost: 6 a point."""
        indices = self._all(indices)
        weights = {name: w.detach() for name, w in self.field.weights.items()}
        pieces = self._pieces(indices)
        residuals, v = self._pull_back(weights, pieces)
        rates = self.field.formula.rates()
        v = {name: g * rates[name] ** 2 for name, g in v.items()}
        scores = [self._push_forward(weights, v, piece) for piece in pieces]
        self.scoring_cost.add(indices.shape[0], 6.0)
        return torch.cat(scores), residuals

    def coord_gradients(self, indices: Int[Tensor, "k"]) -> tuple[Float[Tensor, "k c"], Float[Tensor, "k d"]]:
        """Residuals at ``indices``, and the gradient of each point's own error (the L1 norm over channels) with respect
        to its coordinates as the field takes them; the value to be met is held fixed.

        In chunks, so memory does not grow with the number of points. Cost: 2 a point, forward and back to the
        input."""
        weights = {name: w.detach() for name, w in self.field.weights.items()}
        residuals, gradients = [], []
        for piece in self._pieces(indices):
            coords, values = self.samples.take(piece)
            with torch.enable_grad():
                residual = self.field.formula.forward(weights, coords.requires_grad_(), self.precision) - values
                gradients.append(torch.autograd.grad(residual.abs().sum(), coords)[0])
            residuals.append(residual.detach())
            self.check_cancelled()
        self.scoring_cost.add(indices.shape[0], 2.0)
        return torch.cat(residuals), torch.cat(gradients)

    def _pull_back(self, weights: Mapping[str, Tensor], pieces: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Residuals g of all pieces, and J^T g."""
        leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
        total = {name: torch.zeros_like(w) for name, w in weights.items()}
        residuals = []
        for piece in pieces:
            coords, values = self.samples.take(piece)
            predicted = self.field.formula.forward(leaves, coords, self.precision)
            residual = predicted.detach() - values
            gradients = torch.autograd.grad(predicted, list(leaves.values()), residual, materialize_grads=True)
            for name, gradient in zip(leaves, gradients, strict=True):
                total[name] += gradient
            residuals.append(residual)
            self.check_cancelled()
        return torch.cat(residuals), total

    def _push_forward(self, weights: Mapping[str, Tensor], v: Mapping[str, Tensor], piece: Tensor) -> Tensor:
        """|J v|^2 per point of one piece."""
        coords, _ = self.samples.take(piece)

        def at(w: Mapping[str, Tensor]) -> Tensor:
            return self.field.formula.forward(w, coords, self.precision)

        with warnings.catch_warnings():  # torch's forward mode uses a part of torch that torch has deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            moved: Tensor = torch.func.jvp(at, (dict(weights),), (dict(v),))[1]
        self.check_cancelled()
        return moved.float().square().sum(-1)

    def _all(self, indices: Tensor | None) -> Tensor:
        return torch.arange(self.n, device=self.device) if indices is None else indices

    def _pieces(self, indices: Tensor) -> list[Tensor]:
        return list(indices.split(self.chunk_size or default_chunk_size(self.field)))


def default_chunk_size(field: Field) -> int:
    """Points evaluated at a time: a quarter of a chunk is what a CPU's caches hold; fields that share work between
    points want long ones."""
    return CHUNK if field.formula.TRAITS.shares_blocks else CHUNK // 4


@torch.no_grad()
def residuals_at(
    field: Field,
    samples: Samples,
    indices: Tensor,
    chunk_size: int,
    precision: torch.dtype,
    check_cancelled: Callable[[], None],
) -> list[tuple[Tensor, Tensor]]:
    """(indices, residuals) of ``indices``, ``chunk_size`` at a time."""
    found = []
    for part in indices.split(chunk_size):
        coords, values = samples.take(part)
        check_cancelled()
        found.append((part, field(coords, precision) - values))
    return found

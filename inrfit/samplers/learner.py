"""The sampler's view of a running fit: what it can read or compute, and at what cost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import PluginError
from ..fields.module import Field
from ..signal import CHUNK, Samples

MIN_SCORING_POINTS = 16_384
"""Fewest points of a scoring pass, unless the signal itself has fewer; smaller passes are not worth their overhead."""

LAST_CREDIT_PROGRESS = 0.05
"""Share of the budget after which the first scoring pass is not made on credit. If starting up took longer than that,
the budget is too short for it."""

FORWARDS_PER_TRAINED_POINT = 3.0
"""Cost of a trained point in forward points: 1 for the forward pass, 2 for the backward pass."""


@dataclass
class ScoringCost:
    """Total cost of the scoring passes of a fit."""

    forwards: float = 0.0
    """Forward points (one point through the field once)."""
    passes: int = 0
    points: int = 0

    def add(self, points: int, cost: float) -> None:
        """Adds a pass over ``points`` points at ``cost`` forward points each."""
        self.forwards += cost * points
        self.points += points
        self.passes += 1


@dataclass(frozen=True)
class Learner:
    """A read-only view of the fit, made anew for each selection. Costs are counted in *forward points* (one point
    through the field once), never in seconds, so that a sampler decides the same on every run."""

    field: Field
    samples: Samples
    generator: torch.Generator
    """Source of all random numbers, on ``device``."""
    precision: torch.dtype
    """Precision of the forward passes of the fit."""
    step: int = 0
    """Optimizer steps made so far."""
    progress: float = 0.0
    """Share of the budget spent, 0 to 1."""
    batch: int | None = None
    """Points per step; None if a selection is one step."""
    trained_batches: Sequence[tuple[Int[Tensor, "_"], Float[Tensor, "_ c"]]] = ()
    """(indices, residuals) of the batches since the last selection, available at no cost; of a long selection only the
    last ones."""
    points_trained: int = 0
    """Points of all steps so far, each counted as often as it was trained."""
    scoring_cost: ScoringCost = dataclass_field(default_factory=ScoringCost)
    """Cost of all scoring passes so far; the methods of this view add to it."""
    generation: int = 0
    """Number of times samples have been added to a shape."""
    chunk_size: int | None = None
    """Points evaluated at a time; None uses the default of the field."""
    check_cancelled: Callable[[], None] = lambda: None
    """Raises if the fit must end; called between the chunks of long computations."""

    @property
    def block_shape(self) -> tuple[int, ...] | None:
        """Side lengths of the blocks of the raster whose cells share work; None if no work is shared."""
        return self.field.formula.block()

    @property
    def n(self) -> int:
        """Number of samples of the signal."""
        return self.samples.signal.n

    @property
    def device(self) -> torch.device:
        """Device of indices and residuals."""
        return self.samples.raw.device

    def uniform(self, count: int) -> Float[Tensor, "k"]:
        """``count`` random numbers in [0, 1)."""
        return torch.rand(count, generator=self.generator, device=self.device)

    def permutation(self, count: int) -> Int[Tensor, "k"]:
        """A random permutation of 0 to count - 1."""
        return torch.randperm(count, generator=self.generator, device=self.device)

    def draw(self, count: int, exclude: Int[Tensor, "m"] | None = None) -> Int[Tensor, "k"]:
        """``count`` distinct random indices (all that are left, if fewer), none of them in ``exclude``.

        If they are a small share of the signal, one is drawn from each stratum; the cost then grows with their number
        and not with the length of the signal."""
        excluded = 0 if exclude is None else exclude.shape[0]
        count = min(count, self.n - excluded)
        strata = count + excluded
        if strata * 4 > self.n:
            candidates = torch.arange(self.n, device=self.device)
        else:
            bounds = torch.arange(strata + 1, device=self.device) * self.n // strata
            offsets = self.uniform(strata).double() * (bounds[1:] - bounds[:-1])
            candidates = bounds[:-1] + offsets.long().minimum(bounds[1:] - bounds[:-1] - 1)
        if exclude is not None:
            free = torch.ones(self.n, dtype=torch.bool, device=self.device)
            free[exclude] = False
            candidates = candidates[free[candidates]]
        return candidates[self.permutation(candidates.shape[0])[:count]]

    def scoring_candidates(self, cost: float, share: float) -> Int[Tensor, "k"] | None:
        """Random points for a scoring pass at ``cost`` forward points each, as many as keep all scoring within
        ``share`` of the arithmetic; None if they would be fewer than MIN_SCORING_POINTS.

        With ``share=1`` these are all points. The first pass may exceed its share by a pass over MIN_SCORING_POINTS;
        the excess is compensated before the next pass."""
        fewest = min(self.n, MIN_SCORING_POINTS)
        if share >= 1:
            affordable = self.n
        else:
            credit = share / (1 - share) * FORWARDS_PER_TRAINED_POINT * self.points_trained - self.scoring_cost.forwards
            affordable = int(credit / cost)
            if self.scoring_cost.passes == 0 and share > 0 and self.progress < LAST_CREDIT_PROGRESS:
                affordable = max(affordable, fewest)
        if affordable < fewest:
            return None
        if affordable >= self.n:
            return torch.arange(self.n, device=self.device)
        return self.draw(affordable)

    @torch.no_grad()
    def residuals(self, indices: Int[Tensor, "k"] | None = None) -> Float[Tensor, "k c"]:
        """Prediction minus value at ``indices`` (None: everywhere), in the precision of the fit. Cost: 1 per point."""
        indices = self._or_all(indices)
        chunk_size = self.chunk_size or default_chunk_size(self.field)
        batches = residuals_at(self.field, self.samples, indices, chunk_size, self.precision, self.check_cancelled)
        self.scoring_cost.add(indices.shape[0], 1.0)
        return torch.cat([residuals for _, residuals in batches])

    def ntk_scores(self, indices: Int[Tensor, "k"] | None = None) -> tuple[Float[Tensor, "k"], Float[Tensor, "k c"]]:
        """NTK scores of the points at ``indices`` (None: everywhere), and their residuals. The score of point i is the
        squared norm over channels of (K g)_i, where K = J J^T and g are the residuals at ``indices``.

        v = J^T g is a vjp and K g = J v a jvp, both in chunks, so that memory does not grow with the number of points.
        J is taken with respect to the parameters of the paper: the rates of folded frequencies enter squared. Cost: 6
        per point."""
        indices = self._or_all(indices)
        weights = {name: w.detach() for name, w in self.field.weights.items()}
        chunks = self._chunks(indices)
        residuals, v = self._vjp(weights, chunks)
        rates = self.field.formula.rates()
        v = {name: g * rates[name] ** 2 for name, g in v.items()}
        scores = [self._jvp_norm(weights, v, chunk) for chunk in chunks]
        self.scoring_cost.add(indices.shape[0], 6.0)
        return torch.cat(scores), residuals

    def coord_gradients(self, indices: Int[Tensor, "k"]) -> tuple[Float[Tensor, "k c"], Float[Tensor, "k d"]]:
        """Residuals at ``indices``, and the gradient of the error of each point (L1 norm over channels) with respect to
        its coordinates in [-1, 1]; the value of the signal is held fixed.

        Computed in chunks, so that memory does not grow with the number of points. Cost: 2 per point (forward, and
        backward to the input). A sampler that calls this has the constant ``USES_COORD_GRADIENTS = True``; raises
        ``PluginError`` if the architecture is defined on the cells of a raster only."""
        if self.field.formula.TRAITS.raster_only:
            name = self.field.spec.architecture
            raise PluginError(
                f"{name} is defined on the cells of a raster only: it has no coordinate gradients", "option"
            )
        weights = {name: w.detach() for name, w in self.field.weights.items()}
        residuals, gradients = [], []
        for chunk in self._chunks(indices):
            coords, values = self.samples.take(chunk)
            with torch.enable_grad():
                residual = self.field.formula.forward(weights, coords.requires_grad_(), self.precision) - values
                gradients.append(torch.autograd.grad(residual.abs().sum(), coords)[0])
            residuals.append(residual.detach())
            self.check_cancelled()
        self.scoring_cost.add(indices.shape[0], 2.0)
        return torch.cat(residuals), torch.cat(gradients)

    def _vjp(
        self, weights: Mapping[str, Tensor], chunks: list[Int[Tensor, "_"]]
    ) -> tuple[Float[Tensor, "k c"], dict[str, Tensor]]:
        """Residuals g of all chunks, and J^T g by the name of the weight."""
        leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
        total = {name: torch.zeros_like(w) for name, w in weights.items()}
        residuals = []
        for chunk in chunks:
            coords, values = self.samples.take(chunk)
            predicted = self.field.formula.forward(leaves, coords, self.precision)
            residual = predicted.detach() - values
            gradients = torch.autograd.grad(predicted, list(leaves.values()), residual, materialize_grads=True)
            for name, gradient in zip(leaves, gradients, strict=True):
                total[name] += gradient
            residuals.append(residual)
            self.check_cancelled()
        return torch.cat(residuals), total

    def _jvp_norm(
        self, weights: Mapping[str, Tensor], v: Mapping[str, Tensor], indices: Int[Tensor, "k"]
    ) -> Float[Tensor, "k"]:
        """Squared norm of J v over the channels of each point of one chunk."""
        coords, _ = self.samples.take(indices)

        def forward(weights: Mapping[str, Tensor]) -> Tensor:
            return self.field.formula.forward(weights, coords, self.precision)

        with warnings.catch_warnings():  # torch's forward mode uses a part of torch that torch has deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            tangent: Tensor = torch.func.jvp(forward, (dict(weights),), (dict(v),))[1]
        self.check_cancelled()
        return tangent.float().square().sum(-1)

    def _or_all(self, indices: Int[Tensor, "k"] | None) -> Int[Tensor, "k"]:
        """``indices``, or those of all points."""
        return torch.arange(self.n, device=self.device) if indices is None else indices

    def _chunks(self, indices: Int[Tensor, "k"]) -> list[Int[Tensor, "_"]]:
        """``indices`` in chunks of the size evaluated at a time."""
        return list(indices.split(self.chunk_size or default_chunk_size(self.field)))


def default_chunk_size(field: Field) -> int:
    """Points evaluated at a time: a quarter of CHUNK fits the caches of a CPU; fields that share work between points
    are faster with longer chunks."""
    return CHUNK if field.formula.TRAITS.shares_blocks else CHUNK // 4


@torch.no_grad()
def residuals_at(
    field: Field,
    samples: Samples,
    indices: Int[Tensor, "k"],
    chunk_size: int,
    precision: torch.dtype,
    check_cancelled: Callable[[], None],
) -> list[tuple[Int[Tensor, "_"], Float[Tensor, "_ c"]]]:
    """(indices, residuals) of all ``indices``, in chunks of ``chunk_size`` points."""
    batches = []
    for chunk in indices.split(chunk_size):
        coords, values = samples.take(chunk)
        check_cancelled()
        batches.append((chunk, field(coords, precision) - values))
    return batches

"""Muon on the hidden matrices, Adam on the rest.

Both are written out. torch.optim imports torch's compiler when the first optimiser is made, which costs a second and a
half of a budget that may be five; and its Muon (from torch 2.9 on) takes two-dimensional parameters one by one, while
the equal hidden matrices here are one stacked tensor, orthogonalised together.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

BETAS = (0.9, 0.99)
EPSILON = 1e-8
MOMENTUM = 0.95


class Optimiser:
    """Updates ``weights`` in place.

    ``rates`` are per-tensor factors on the learning rate; tensors in ``matrices`` get Muon (Jordan et al. 2024) with
    rate ``muon_rate`` (0: Adam everywhere), the others Adam (Kingma and Ba 2015) with ``adam_rate``."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        rates: Mapping[str, float],
        matrices: frozenset[str],
        adam_rate: float,
        muon_rate: float,
    ) -> None:
        self.weights = {name: weight.detach() for name, weight in weights.items()}
        muon = matrices & set(weights) if muon_rate > 0 else frozenset()
        self.rates = {name: rates[name] * (muon_rate if name in muon else adam_rate) for name in weights}
        self.first = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.second = {name: torch.zeros_like(w) for name, w in self.weights.items() if name not in muon}
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], factor: float) -> None:
        """One update; ``factor`` (0 to 1) is the schedule's share of the full rates."""
        self.steps += 1
        for name, weight in self.weights.items():
            if name in self.second:
                self._adam(name, weight, gradients[name], factor)
            else:
                momentum = self.first[name].lerp_(gradients[name], 1 - MOMENTUM)
                update = orthogonal(gradients[name].lerp(momentum, MOMENTUM))
                weight.add_(update, alpha=-self.rates[name] * factor)

    def _adam(self, name: str, weight: Tensor, gradient: Tensor, factor: float) -> None:
        mean = self.first[name].lerp_(gradient, 1 - BETAS[0])
        square = self.second[name].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        rate = self.rates[name] * factor / (1 - BETAS[0] ** self.steps)
        spread = (square / (1 - BETAS[1] ** self.steps)).sqrt_().add_(EPSILON)
        weight.addcdiv_(mean, spread, value=-rate)

    def reset(self) -> None:
        """Forget all moments."""
        self.steps = 0
        for moment in (*self.first.values(), *self.second.values()):
            moment.zero_()


def orthogonal(matrices: Float[Tensor, "l out in"]) -> Float[Tensor, "l out in"]:
    """Roughly the nearest orthogonal matrices, by five quintic Newton-Schulz steps with Jordan's coefficients, times
    sqrt(max(1, out/in)); in bfloat16 from a size where that pays, for the iteration is meant to be rough."""
    x = matrices.bfloat16() if matrices.shape[-1] >= 64 else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    scaled: Tensor = x.float() * max(1.0, matrices.shape[-2] / matrices.shape[-1]) ** 0.5
    return scaled

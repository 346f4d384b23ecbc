"""Muon on the hidden matrices, Adam on the rest.

Both are written out. torch.optim imports torch's compiler when the first optimiser is made, which costs a second and a
half of a budget that may be five; and its Muon (from torch 2.9 on) takes two-dimensional parameters one by one, while
the equal hidden matrices here are one stacked tensor, orthogonalised together. Step count and schedule live in tensors,
so that an update can be captured in a CUDA graph; Adam's many small tensors are one long vector.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ...fields.hyperparameters import MUON_MOMENTUM

BETAS = (0.9, 0.99)
EPSILON = 1e-8
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients."""


class Optimiser:
    """Updates ``weights`` in place.

    ``rates`` are per-tensor factors on the learning rate; tensors in ``matrices`` get Muon (Jordan et al. 2024) with
    rate ``muon_rate`` (0: Adam everywhere) and Nesterov's ``momentum``, the others Adam (Kingma and Ba 2015) with
    ``adam_rate``."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        rates: Mapping[str, float],
        matrices: frozenset[str],
        adam_rate: float,
        muon_rate: float,
        momentum: float = MUON_MOMENTUM,
        second_beta: float = BETAS[1],
        epsilon: float = EPSILON,
    ) -> None:
        self.decay, self.second_beta, self.epsilon = momentum, second_beta, epsilon
        self.weights = {name: weight.detach() for name, weight in weights.items()}
        muon = matrices & set(weights) if muon_rate > 0 else frozenset()
        self.muon = {name: rates[name] * muon_rate for name in weights if name in muon}
        self.adam = [name for name in weights if name not in muon]
        self.sizes = [self.weights[name].numel() for name in self.adam]
        device = next(iter(self.weights.values())).device
        each = torch.tensor([rates[name] * adam_rate for name in self.adam], device=device)
        self.adam_rates = each.repeat_interleave(torch.tensor(self.sizes, dtype=torch.int64, device=device))
        self.momentum = {name: torch.zeros_like(self.weights[name]) for name in self.muon}
        self.mean, self.square = torch.zeros_like(self.adam_rates), torch.zeros_like(self.adam_rates)
        self.steps = torch.zeros((), device=device)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], factor: Float[Tensor, ""]) -> None:
        """One update; ``factor`` (0 to 1) is the schedule's share of the full rates."""
        self.steps += 1
        for name, rate in self.muon.items():
            momentum = self.momentum[name].lerp_(gradients[name], 1 - self.decay)
            update = orthogonal(gradients[name].lerp(momentum, self.decay))
            self.weights[name].addcmul_(update, factor * -rate)
        if self.adam:
            self._adam(torch.cat([gradients[name].reshape(-1) for name in self.adam]), factor)

    def _adam(self, gradient: Tensor, factor: Tensor) -> None:
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.lerp_(gradient.square(), 1 - self.second_beta)
        spread = (self.square / (1 - self.second_beta**self.steps)).sqrt_().add_(self.epsilon)
        update = self.adam_rates * (factor / (1 - BETAS[0] ** self.steps)) * self.mean / spread
        for name, piece in zip(self.adam, update.split(self.sizes), strict=True):
            self.weights[name].sub_(piece.view_as(self.weights[name]))

    def state(self) -> dict[str, Tensor]:
        """Everything an update changes besides the weights, by name; changing these tensors changes the optimiser."""
        momentum = {f"momentum.{name}": tensor for name, tensor in self.momentum.items()}
        return {"steps": self.steps, "mean": self.mean, "square": self.square, **momentum}

    def reset(self) -> None:
        """Forget all moments."""
        for moment in self.state().values():
            moment.zero_()


def orthogonal(matrices: Float[Tensor, "l out in"]) -> Float[Tensor, "l out in"]:
    """Roughly the nearest orthogonal matrices, by five quintic Newton-Schulz steps, times sqrt(max(1, out/in)); in
    bfloat16 from a size where that pays, for the iteration is meant to be rough."""
    x = matrices.bfloat16() if matrices.shape[-1] >= 64 else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    scale = max(1.0, matrices.shape[-2] / matrices.shape[-1]) ** 0.5
    return x.float() if scale == 1 else x.float() * scale

"""Muon on the hidden matrices, Adam on the rest.

torch has a Muon of its own from 2.9 on, for two-dimensional parameters one by one; here the equal hidden matrices are
one stacked tensor, orthogonalised together, and torch 2.6 is still supported.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


class Optimiser:
    """Updates ``weights`` in place. The state is a flat mapping of tensors, so that a fit can be saved and resumed.

    ``rates`` are per-tensor factors on the learning rate; tensors named in ``matrices`` get Muon (Jordan et al. 2024) with
    rate ``muon_rate`` (0: Adam everywhere), the others Adam (Kingma and Ba 2015) with ``adam_rate``."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        rates: Mapping[str, float],
        matrices: frozenset[str],
        adam_rate: float,
        muon_rate: float,
    ) -> None:
        muon = {name for name in weights if name in matrices and muon_rate > 0}
        self.weights = weights
        self.momentum = {name: torch.zeros_like(weights[name]) for name in weights if name in muon}
        self.muon_rates = {name: muon_rate * rates[name] for name in self.momentum}
        self.adam_rates = {name: adam_rate * rates[name] for name in weights if name not in muon}
        groups = [{"params": [weights[name]], "lr": rate} for name, rate in self.adam_rates.items()]
        self.adam = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-8, fused=True)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], factor: float) -> None:
        """One update; ``factor`` (0 to 1) is the schedule's share of the full rates."""
        for group, (name, rate) in zip(self.adam.param_groups, self.adam_rates.items(), strict=True):
            group["lr"] = rate * factor
            self.weights[name].grad = gradients[name]
        self.adam.step()
        for name, momentum in self.momentum.items():
            momentum.lerp_(gradients[name], 0.05)
            update = orthogonal(gradients[name].lerp(momentum, 0.95))
            self.weights[name].add_(update, alpha=-self.muon_rates[name] * factor)

    def reset(self) -> None:
        """Forget all moments."""
        for momentum in self.momentum.values():
            momentum.zero_()
        self.adam.state.clear()


def orthogonal(matrices: Float[Tensor, "l out in"]) -> Float[Tensor, "l out in"]:
    """The nearest (roughly) orthogonal matrices, by five quintic Newton-Schulz steps with Jordan's coefficients.

    bfloat16 where the device multiplies it: the iteration is meant to be rough. The scale is sqrt(max(1, out/in))."""
    x = matrices.bfloat16() if matrices.shape[-1] >= 64 else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.float() * max(1.0, matrices.shape[-2] / matrices.shape[-1]) ** 0.5

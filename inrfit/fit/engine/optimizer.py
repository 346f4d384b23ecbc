"""Muon for the hidden weight matrices, Adam for all other tensors.

Both are implemented here. Importing torch.optim's optimisers imports torch's compiler, which takes longer than a second
of the user's budget, and its Muon (from torch 2.9 on) takes two-dimensional parameters only, while the equal hidden
matrices here are one stacked tensor. Step count and learning rate are tensors, so that an update can be captured in a
CUDA graph. The moments of the tensors updated by Adam are one vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ...fields.hyperparameters import MUON_MOMENTUM
from ...kernel import adam
from ...kernel.library import instruction_set
from .precision import has_fast_bf16

BETAS = (0.9, 0.99)
"""Adam's decay rates of the first and second moments."""

EPSILON = 1e-8
"""Adam's constant in the denominator."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic Newton-Schulz iteration by Jordan et al. 2024."""

BF16_COLUMNS = 96
"""Minimum number of columns of matrices that are orthogonalised in bfloat16. Three matrices of 64 columns take 0.31 ms
in float32 and 0.72 in bfloat16, and of 128 about 1.2 in both (an Intel Xeon with AMX)."""

LEAST_ELEMENT = 1e-8
"""Smaller elements of a matrix of norm 1 are set to zero before it is orthogonalised."""


class Optimiser:
    """Updates ``weights`` in place.

    The tensors named in ``muon_tensors`` are updated by Muon (Jordan et al. 2024) with rate ``muon_rate`` and Nesterov
    ``momentum``, the others by Adam (Kingma and Ba 2015, arXiv:1412.6980) with ``adam_rate``; all by Adam if
    ``muon_rate`` is 0. ``rates`` are factors on the learning rate by tensor."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        rates: Mapping[str, float],
        muon_tensors: frozenset[str],
        adam_rate: float,
        muon_rate: float,
        momentum: float = MUON_MOMENTUM,
        second_beta: float = BETAS[1],
        epsilon: float = EPSILON,
    ) -> None:
        self.decay, self.second_beta, self.epsilon = momentum, second_beta, epsilon
        self.weights = {name: weight.detach() for name, weight in weights.items()}
        muon = muon_tensors & set(weights) if muon_rate > 0 else frozenset()
        self.muon_rates = {name: rates[name] * muon_rate for name in weights if name in muon}
        self.adam_names = [name for name in weights if name not in muon]
        self.adam_sizes = [self.weights[name].numel() for name in self.adam_names]
        device = next(iter(self.weights.values())).device
        self.rates_by_tensor = [rates[name] * adam_rate for name in self.adam_names]
        by_tensor = torch.tensor(self.rates_by_tensor, device=device)
        self.adam_rates = by_tensor.repeat_interleave(torch.tensor(self.adam_sizes, dtype=torch.int64, device=device))
        self.instructions = instruction_set(bfloat16=False) if device.type == "cpu" else None
        self.momentum = {name: torch.zeros_like(self.weights[name]) for name in self.muon_rates}
        self.mean, self.square = torch.zeros_like(self.adam_rates), torch.zeros_like(self.adam_rates)
        self.steps = torch.zeros((), device=device)

    def step(self, gradients: Mapping[str, Tensor], factor: Float[Tensor, ""]) -> None:
        """Makes one update at ``factor`` (0 to 1) of the peak learning rates."""
        step_together([self], [gradients], [factor])

    def kernel_update(self, gradients: Mapping[str, Tensor], factor: float) -> adam.Update:
        """The update of Adam for the compiled kernel."""
        return adam.Update(
            [self.weights[name] for name in self.adam_names],
            [gradients[name] for name in self.adam_names],
            [factor * rate for rate in self.rates_by_tensor],
            self.mean,
            self.square,
            (correction(BETAS[0], float(self.steps)), correction(self.second_beta, float(self.steps))),
        )

    def adam(self, gradients: Mapping[str, Tensor], factor: Float[Tensor, ""]) -> None:
        """Updates the tensors that are not Muon's, by operations of torch."""
        self._adam(torch.cat([gradients[name].reshape(-1) for name in self.adam_names]), factor)

    def _adam(self, gradient: Float[Tensor, "k"], factor: Float[Tensor, ""]) -> None:
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.lerp_(gradient.square(), 1 - self.second_beta)
        spread = (self.square / (1 - self.second_beta**self.steps)).sqrt_().add_(self.epsilon)
        update = self.adam_rates * (factor / (1 - BETAS[0] ** self.steps)) * self.mean / spread
        for name, part in zip(self.adam_names, update.split(self.adam_sizes), strict=True):
            self.weights[name].sub_(part.view_as(self.weights[name]))

    def state(self) -> dict[str, Tensor]:
        """The tensors, besides the weights, that an update changes, by name. They are not copies."""
        momentum = {f"momentum.{name}": tensor for name, tensor in self.momentum.items()}
        return {"steps": self.steps, "mean": self.mean, "square": self.square, **momentum}

    def reset(self) -> None:
        """Sets all moments and the step count to zero."""
        for moment in self.state().values():
            moment.zero_()


@lru_cache(1 << 12)
def correction(decay: float, steps: float) -> float:
    """The factor on a running mean that began at zero ``steps`` updates ago, in float32."""
    return float(1 / (1 - decay ** torch.tensor(steps)))


@torch.no_grad()
def step_together(
    optimisers: Sequence[Optimiser], gradients: Sequence[Mapping[str, Tensor]], factors: Sequence[Float[Tensor, ""]]
) -> None:
    """One update of each of the fields, which have one shape and one configuration, at its factor of the peak learning
    rates. A field's update is the same beside others and alone."""
    first, fields = optimisers[0], list(zip(optimisers, gradients, factors, strict=True))
    for optimiser in optimisers:
        optimiser.steps += 1
    for name, rate in first.muon_rates.items():
        looks_ahead = []
        for optimiser, found, _ in fields:
            momentum = optimiser.momentum[name].lerp_(found[name], 1 - first.decay)
            looks_ahead.append(found[name].lerp(momentum, first.decay))
        matrices = looks_ahead[0].shape[0]
        updates = orthogonalize(looks_ahead[0] if len(fields) == 1 else torch.cat(looks_ahead)).split(matrices)
        for (optimiser, _, factor), update in zip(fields, updates, strict=True):
            optimiser.weights[name].addcmul_(update, factor * -rate)
    if not first.adam_names:
        return
    if first.instructions is None:
        for optimiser, found, factor in fields:
            optimiser.adam(found, factor)
        return
    decays = (BETAS[0], first.second_beta)
    kernel_updates = [optimiser.kernel_update(found, float(factor)) for optimiser, found, factor in fields]
    adam.update(kernel_updates, decays, first.epsilon, first.instructions)


def orthogonalize(matrices: Float[Tensor, "l out in"]) -> Float[Tensor, "l out in"]:
    """Approximately the nearest orthogonal matrices, times sqrt(max(1, out / in)), by five Newton-Schulz iterations.

    Matrices with at least ``BF16_COLUMNS`` columns are computed in bfloat16 where the device has instructions for it:
    faster, and exact enough for an approximation. On other processors torch's bfloat16 products take thirty times as
    long. Tiny elements become zeros: the momentum of units without gradients becomes subnormal, and processors
    compute subnormal numbers fifty times slower.
    """
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = torch.nn.functional.hardshrink(x, LEAST_ELEMENT)
    x = x.bfloat16() if matrices.shape[-1] >= BF16_COLUMNS and has_fast_bf16(matrices.device) else x
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    scale = max(1.0, matrices.shape[-2] / matrices.shape[-1]) ** 0.5
    return x.float() if scale == 1 else x.float() * scale

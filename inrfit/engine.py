"""How one optimiser step is made on a device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import UsageError
from .fields.field import Field
from .optim import Optimiser
from .recipe import Recipe

LARGEST_PIECE = 32_768
"""Points differentiated at a time; a larger batch is accumulated, so memory does not grow with it."""

STEPS_AHEAD = 8
"""On CUDA the host queues at most this many steps before it waits: the clock is then read at most so much early."""


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one; MPS is not offered until its results are checked."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: choose auto, cpu, cuda or cuda:N", "device") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: only cpu and cuda are supported", "device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there is no such CUDA device here (use --device cpu)", "device")
    return device


class Engine:
    """Plain autograd steps: the reference. Loss = sum(weight * squared error) / (sum(weight) * channels)."""

    def __init__(self, field: Field, recipe: Recipe) -> None:
        self.field = field
        self.recipe = recipe
        self.precision = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
        self.weights: Mapping[str, Tensor] = field.weights
        self.optimiser = Optimiser(
            self.weights,
            field.architecture.rates(),
            field.architecture.matrices(),
            recipe.adam_rate,
            recipe.muon_rate,
        )
        self.tick: Callable[[], None] = lambda: None
        self._queued: deque[torch.cuda.Event] = deque()

    def step(
        self,
        coords: Float[Tensor, "b d"],
        values: Float[Tensor, "b c"],
        weights: Float[Tensor, "b"] | None,
        factor: float,
    ) -> Float[Tensor, "b c"]:
        """One update at ``factor`` of the full rates; the residuals before it."""
        names = list(self.weights)
        leaves = list(self.weights.values())
        total: list[Tensor] | None = None
        residuals = []
        mass = values.numel() if weights is None else weights.sum() * values.shape[1]
        for start in range(0, coords.shape[0], LARGEST_PIECE):
            if start:
                self.tick()
            part = slice(start, start + LARGEST_PIECE)
            residual = self.field(coords[part], self.precision) - values[part]
            square = residual.square()
            if weights is not None:
                square = square * weights[part, None]
            gradients = torch.autograd.grad(square.sum() / mass, leaves)
            total = list(gradients) if total is None else [a + b for a, b in zip(total, gradients, strict=True)]
            residuals.append(residual.detach())
        assert total is not None
        self.optimiser.step(dict(zip(names, total, strict=True)), factor)
        self._throttle()
        return torch.cat(residuals)

    def _throttle(self) -> None:
        """Keeps the host at most STEPS_AHEAD steps in front of a CUDA device."""
        if self.field.device.type != "cuda":
            return
        event = torch.cuda.Event()
        event.record()
        self._queued.append(event)
        if len(self._queued) > STEPS_AHEAD:
            self._queued.popleft().synchronize()

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over ``weights`` and forget the moments."""
        for name, weight in weights.items():
            self.weights[name].copy_(weight)
        self.optimiser.reset()

    @torch.no_grad()
    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the weights."""
        return {name: weight.clone() for name, weight in self.weights.items()}

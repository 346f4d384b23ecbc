"""What an engine and the loop are told about the training: the values of a recipe, without the reasons."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ...fields.hyperparameters import MUON_MOMENTUM
from ...io.renamed import with_new_values
from .optimizer import BETAS, EPSILON

WARM_UP = 0.02
"""Share of the budget, or of an annealing cycle, in which the learning rates rise."""

LONGEST_WARM_UP = 100
"""The first rise takes at most this many steps."""

LAST_FACTOR = 0.0
"""Share of the peak rates at the end of the cosine."""

SHORT_FIT_STEPS, SHORT_FIT_POWER, SHORT_FIT_BOUNDS = 1100.0, 0.5, (0.8, 1.6)
"""Rates are multiplied by (1100 / steps)^0.5, within the bounds: short fits need larger rates, and stand them
(docs/benchmarks.md)."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a fit is made. Rates are peak rates in the parametrisation of the architecture's paper."""

    batch: int | None
    """Points of one step; None: one step per selection."""
    precision: str
    """Arithmetic of the hidden layers: fp32, medium or bf16."""
    adam_rate: float
    muon_rate: float
    """0: Adam everywhere."""
    warm_up: float = WARM_UP
    engine: str = "analytic"
    adapt_threads: bool = False
    """Whether other thread counts are tried during the fit."""
    boosted: bool = True
    """Whether rates follow the number of steps that the budget has room for."""
    annealed: bool = True
    """Whether rates rise and fall; otherwise they are constant."""
    momentum: float = MUON_MOMENTUM
    second_beta: float = BETAS[1]
    epsilon: float = EPSILON
    probe: str = ""
    """What was measured to choose the precision, in words."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the hidden layers while fitting."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def matmul_precision(self) -> str:
        """torch's own word for how float32 products are made while fitting."""
        return "medium" if self.precision == "fp32-fast" else "highest"

    def factor(self, progress: float, risen: float) -> float:
        """Share of the peak rates at ``progress``: a half cosine down to LAST_FACTOR, times ``risen``, the share of the
        rise that is over."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return min(risen, 1.0) * (LAST_FACTOR + (1 - LAST_FACTOR) * cosine)

    def boost(self, steps: float) -> float:
        """Factor on the rates for a fit of about ``steps`` optimiser steps."""
        if not self.boosted:
            return 1.0
        low, high = SHORT_FIT_BOUNDS
        factor: float = (SHORT_FIT_STEPS / max(steps, 1.0)) ** SHORT_FIT_POWER
        return min(max(factor, low), high)

    def json(self) -> dict[str, Any]:
        """As plain JSON values; ``batch`` 0 stands for one step per selection."""
        return asdict(self) | {"batch": self.batch or 0}

    @staticmethod
    def from_json(values: dict[str, Any]) -> TrainingConfig:
        """The inverse of ``json``; raises ``TypeError`` for other keys."""
        return TrainingConfig(**with_new_values(values) | {"batch": values["batch"] or None})

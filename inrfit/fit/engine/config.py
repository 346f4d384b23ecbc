"""Configuration of a fit: the values of a recipe (``fit/recipe.py``), without the reasons for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ...fields.hyperparameters import MUON_MOMENTUM
from ...io.json_schema import Schema, boolean, check, integer, number, one_of, text
from ...io.renamed import with_new_values
from .optimizer import BETAS, EPSILON

WARM_UP = 0.02
"""Length of the learning-rate warm-up, as a share of the budget or of an annealing cycle."""

LONGEST_WARM_UP = 100
"""Maximum length of the first warm-up in steps."""

LAST_FACTOR = 0.0
"""Learning rates at the end of the cosine, as a share of the peak rates."""

SHORT_FIT_STEPS, SHORT_FIT_POWER, SHORT_FIT_BOUNDS = 1100.0, 0.5, (0.8, 1.6)
"""Learning rates are multiplied by (SHORT_FIT_STEPS / steps)^SHORT_FIT_POWER, clamped to the bounds: short fits need
larger rates (docs/benchmarks.md)."""

WHOLE_SIGNAL_POWER, WHOLE_SIGNAL_BOUNDS = 0.35, (0.8, 5.0)
"""The same for steps on all samples of a small signal, which have no noise of drawn batches (docs/benchmarks.md,
"Fields of few samples")."""

_SCHEMA: Mapping[str, Schema] = {
    "batch": integer(0, 2**40),
    "precision": one_of("fp32", "fp32-fast", "bf16"),
    "adam_rate": number(0, 1e9),
    "muon_rate": number(0, 1e9),
    "warm_up": number(0, 1),
    "engine": one_of("autograd", "analytic", "kernel", "compiled", "cuda-graph"),
    "adapt_threads": boolean,
    "first_threads": integer(0, 1024),
    "adapt_batch": boolean,
    "boosted": boolean,
    "whole_signal": boolean,
    "annealed": boolean,
    "momentum": number(0, 1),
    "second_beta": number(0, 1),
    "epsilon": number(0, 1),
    "first_rate_limit": number(0, 1e9),
    "probe": text(),
}
"""Schema of the configuration in a saved state."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a field is trained. The field names are the keys of ``settings`` in the provenance of a file."""

    batch: int | None
    """Points per step; None: one step per selection."""
    precision: str
    """Arithmetic of the hidden layers: fp32, fp32-fast or bf16 (``precision.py``)."""
    adam_rate: float
    """Peak learning rate of Adam, in the parametrisation of the architecture's paper."""
    muon_rate: float
    """Peak learning rate of Muon, likewise; 0: Adam updates all tensors."""
    warm_up: float = WARM_UP
    """Length of the warm-up, as a share of the budget or of an annealing cycle."""
    engine: str = "analytic"
    """How steps are computed: autograd, analytic, kernel, compiled or cuda-graph (``step.py``)."""
    adapt_threads: bool = False
    """Whether the number of threads is tuned during the fit (``thread_count.py``)."""
    first_threads: int = 0
    """Threads of the first steps if their number is tuned; 0: as many as torch has."""
    adapt_batch: bool = False
    """Whether ``batch`` is an upper bound that the fit approaches as far as its time allows (``batch_size.py``)."""
    boosted: bool = True
    """Whether the learning rates depend on the number of steps that the budget allows (``short_run_lr_factor``)."""
    whole_signal: bool = False
    """Whether every step is on all samples of the signal."""
    annealed: bool = True
    """Whether the learning rates have a warm-up and a cosine decay; otherwise they are constant."""
    momentum: float = MUON_MOMENTUM
    """Momentum of Muon."""
    second_beta: float = BETAS[1]
    """Adam's decay rate of the second moment."""
    epsilon: float = EPSILON
    """Adam's constant in the denominator."""
    first_rate_limit: float = 0.0
    """Largest factor on the learning rate of the first layer (``Architecture.rates``); 0: none."""
    probe: str = ""
    """The measurement that chose the precision, as text."""

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the hidden layers during the fit."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def matmul_precision(self) -> str:
        """Value for ``torch.set_float32_matmul_precision`` during the fit."""
        return "medium" if self.precision == "fp32-fast" else "highest"

    def limited_rates(self, rates: Mapping[str, float]) -> dict[str, float]:
        """The factors ``rates``, with those of the first layer at most ``first_rate_limit``."""
        limit = self.first_rate_limit or math.inf
        return {name: min(rate, limit) if name.startswith("first.") else rate for name, rate in rates.items()}

    def lr_factor(self, progress: float, warm_up_progress: float) -> float:
        """Learning rates at ``progress``, as a share of the peak rates: a half cosine down to LAST_FACTOR, times the
        share of the warm-up that is over."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return min(warm_up_progress, 1.0) * (LAST_FACTOR + (1 - LAST_FACTOR) * cosine)

    def short_run_lr_factor(self, steps: float) -> float:
        """Factor on the learning rates for a fit of about ``steps`` optimiser steps."""
        if not self.boosted:
            return 1.0
        low, high = WHOLE_SIGNAL_BOUNDS if self.whole_signal else SHORT_FIT_BOUNDS
        power = WHOLE_SIGNAL_POWER if self.whole_signal else SHORT_FIT_POWER
        factor: float = (SHORT_FIT_STEPS / max(steps, 1.0)) ** power
        return min(max(factor, low), high)

    def json(self) -> dict[str, Any]:
        """The configuration as JSON values; ``batch`` is 0 for one step per selection."""
        return asdict(self) | {"batch": self.batch or 0}

    @staticmethod
    def from_json(values: dict[str, Any]) -> TrainingConfig:
        """The inverse of ``json``. Raises ``ValueError`` for anything else."""
        values = with_new_values(values)
        check(values, _SCHEMA, "config")
        if values["annealed"] and not values["warm_up"]:
            raise ValueError("config.warm_up is 0")
        floats = {name: float(values[name]) for name, kind in TrainingConfig.__annotations__.items() if kind == "float"}
        return TrainingConfig(**values | floats | {"batch": values["batch"] or None})

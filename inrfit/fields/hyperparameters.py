"""Hyperparameters of an architecture, with the measurements that chose their values."""

from __future__ import annotations

from dataclasses import dataclass

MUON_MOMENTUM = 0.95
"""Momentum of Muon by Jordan et al. 2024."""

BATCH = 4096
"""Default number of points per step: the best of 2,048, 4,096 and 8,192 at equal time with analytic steps
(docs/benchmarks.md)."""

MAX_BATCH = 1 << 18
"""Largest batch that is chosen by default."""

PAPER_RATE = 1e-4
"""Constant learning rate of Adam in the released code of NINT and EVOS (no Muon, no warm-up, no decay)."""

SWEPT_RATES = "half and twice the rates are not better by 0.4 dB (tests/bench/rates.py)"


@dataclass(frozen=True)
class Hyperparameters:
    """Defaults of the optimiser for one architecture.

    Learning rates are in the parametrisation of the architecture's paper; ``Architecture.rates`` are the factors for
    the stored tensors. Fields that end in ``source`` name the measurement that chose a value, for ``--explain``."""

    adam_rate: float
    """Peak learning rate of Adam."""
    muon_rate: float
    """Peak learning rate of Muon; 0: Adam updates all tensors."""
    source: str = "safe within a factor of four (tests/bench/recipe.py)"
    """The measurement that chose the two rates."""
    measured_width: int | None = None
    """Width at which the rates were measured. Narrower networks have larger ones if their steps are on all samples of a
    small signal; None: that was not measured."""
    muon_momentum: float = MUON_MOMENTUM
    """Momentum of Muon."""
    muon_momentum_source: str = "Jordan's, not varied for this architecture"
    batch: int = BATCH
    """Points per step on the CPU."""
    batch_source: str = "SIREN's, not varied for this architecture"
    weights_per_point: int = 0
    """If not 0, a batch has at least one point per so many weights, because an update reads and writes all weights."""
    short_run_boost: bool = True
    """Whether the learning rates depend on the number of steps (``TrainingConfig.short_run_lr_factor``)."""
    paper_rate: float = PAPER_RATE
    """Constant learning rate of Adam with ``--regime paper``."""
    epsilon: float = 1e-8
    """Adam's constant in the denominator."""
    epsilon_source: str = "a first choice that was not varied"
    point_drawing_seconds: float = 1.0
    """Maximum time in seconds for sampling the points of a shape, in a short budget."""
    free_space_share: float = 0.0
    """Number of additional points far from a shape's surface, relative to the number of points near it. Useful for
    fields that may place surface anywhere; a SIREN loses quality by them."""

    def batch_size(self, parameters: int) -> int:
        """Points per step for a field with ``parameters`` weights. Above the default it is a power of two, so that
        fields of similar size share compiled code."""
        minimum = parameters // self.weights_per_point if self.weights_per_point else 0
        return max(self.batch, min(1 << minimum.bit_length() >> 1, MAX_BATCH))

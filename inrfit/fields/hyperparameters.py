"""What an architecture wants of the optimiser, each value with the measurement that chose it."""

from __future__ import annotations

from dataclasses import dataclass

MUON_MOMENTUM = 0.95
"""Of Muon: Jordan's."""

BATCH = 4096
"""Best in seconds of 2,048, 4,096 and 8,192 where steps are explicit (docs/benchmarks.md)."""

MOST_POINTS = 1 << 18
"""Longest batch that is chosen."""

PAPER_RATE = 1e-4
"""Adam's constant rate in the released code of NINT and EVOS (no Muon, no warm-up, no annealing)."""

SWEPT = "half and twice the rates are not better by 0.4 dB (tests/bench/rates.py)"


@dataclass(frozen=True)
class Hyperparameters:
    """Rates are those of the architecture's paper: ``Architecture.rates`` turns them into those of the stored, folded
    tensors. A field that ends in ``source`` says which measurement chose the value."""

    adam_rate: float
    """Peak rate of Adam."""
    muon_rate: float
    """Peak rate of Muon; 0: Adam updates every tensor."""
    source: str = "safe within a factor of four (tests/bench/recipe.py)"
    """Of the two rates."""
    muon_momentum: float = MUON_MOMENTUM
    """Of Muon."""
    muon_momentum_source: str = "Jordan's, not varied for this architecture"
    batch: int = BATCH
    """Points of one optimiser step on the CPU."""
    batch_source: str = "SIREN's, not varied for this architecture"
    weights_per_point: int = 0
    """An update walks over all weights: the batch has at least one point for so many of them; 0: no such bound."""
    short_run_boost: bool = True
    """Whether the rates are larger in fits of few steps (TrainingConfig.boost)."""
    paper_rate: float = PAPER_RATE
    """Adam's constant rate with ``--regime paper``."""
    epsilon: float = 1e-8
    """The least that Adam divides by."""
    epsilon_source: str = "a first choice that was not varied"
    point_drawing_seconds: float = 1.0
    """Seconds spent on drawing the points of a shape, at most, in a short budget."""
    free_space_share: float = 0.0
    """Points far from a shape's surface that are drawn besides, as a share of the usual ones. As many again cost a
    SIREN 0.003 IoU in 300 steps."""

    def batch_size(self, parameters: int) -> int:
        """Points a step for a field of so many weights: a power of two, so that fields of about one size share code."""
        longer = parameters // self.weights_per_point if self.weights_per_point else 0
        return max(self.batch, min(1 << longer.bit_length() >> 1, MOST_POINTS))

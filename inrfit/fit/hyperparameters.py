"""What each architecture wants of the optimiser, in its own units. Each row names what chose it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .engine.optimizer import MOMENTUM

BATCH = 4096
"""Best in seconds of 2,048, 4,096 and 8,192 where steps are explicit (docs/benchmarks.md)."""

MOST_POINTS = 1 << 18
"""Longest batch that is chosen."""

PAPER_RATE = 1e-4
"""Adam's constant rate in the released code of NINT and EVOS (no Muon, no warm-up, no annealing)."""

SWEPT = "half and twice the rates are not better by 0.4 dB (tests/bench/rates.py)"


@dataclass(frozen=True)
class Tuning:
    """Peak rates of Adam and of Muon (0: Adam everywhere) and Muon's momentum, in the parametrisation of the
    architecture's paper, points a step, whether rates follow the number of steps, the papers' own rate, what Adam
    divides by at least, how many weights there are to a point of a batch where that makes it longer (an update walks
    over all of them; 0: it never does), the most seconds for drawing a shape's points
    in a short budget, how many more of them are drawn
    far from its surface, as a share (as many again cost a SIREN 0.003 IoU in 300 steps), and by which measurement
    rates, momentum and batch were found."""

    adam_rate: float
    muon_rate: float
    momentum: float = MOMENTUM
    batch: int = BATCH
    boosted: bool = True
    paper_rate: float = PAPER_RATE
    epsilon: float = 1e-8
    weights_per_point: int = 0
    pool_seconds: float = 1.0
    free: float = 0.0
    source: str = "safe within a factor of four (tests/bench/recipe.py)"
    momentum_source: str = "Jordan's, not varied for this architecture"
    batch_source: str = "SIREN's, not varied for this architecture"

    def points(self, parameters: int) -> int:
        """Points a step for a field of so many weights: a power of two, so that fields of about one size share code."""
        longer = parameters // self.weights_per_point if self.weights_per_point else 0
        return max(self.batch, min(1 << longer.bit_length() >> 1, MOST_POINTS))


TUNINGS: Mapping[str, Tuning] = {
    "siren": Tuning(
        adam_rate=1.5e-4,
        muon_rate=1.8e-3,
        momentum=0.9,
        source="best of those tried on pictures, sounds and meshes in 80 to 2,500 steps (tests/bench/recipe.py)",
        momentum_source="0.95 loses 2 to 6 dB on sounds (tests/bench/recipe.py)",
        batch_source="best in seconds (tests/bench/recipe.py)",
    ),
    "tiles": Tuning(
        adam_rate=6.5e-4,
        muon_rate=0.0,
        boosted=False,
        source="twice as much loses 1.4 dB on kodim05 and 0.4 on kodim03 in 700 steps (first figures, one seed)",
        batch_source="at equal points 2,048 is as good and slower, 8,192 0.7 dB worse (first figures, one seed)",
    ),
    "finer": Tuning(5e-4, 1.2e-3, paper_rate=5e-4, source="the best of four (docs/architectures.md)"),
    "wire": Tuning(2e-3, 8e-3, paper_rate=5e-3, source=SWEPT),
    "gauss": Tuning(1.5e-3, 7.5e-3, paper_rate=5e-3, source=SWEPT),
    "ffn": Tuning(3e-3, 3e-2, paper_rate=1e-3, source=SWEPT),
    "pemlp": Tuning(4e-3, 4e-2, paper_rate=1e-3, source=SWEPT),
    "mlp": Tuning(5e-3, 5e-2, paper_rate=1e-3, source=SWEPT),
    "grid": Tuning(
        adam_rate=1e-2,
        muon_rate=0.0,
        boosted=False,
        paper_rate=1e-2,
        epsilon=1e-15,  # the paper's, for rows that few points reach: 1e-8 lost 0.001 IoU in 300 steps of the armadillo
        weights_per_point=64,
        pool_seconds=10.0,  # features that few points reach learn these by heart
        free=1.0,  # and put specks of surface where there are none: three in bunny_zipper without, none with
        source="the paper's; twice as much was no better (first experiments, one seed)",
        batch_source="at equal points 41.4 dB, with 8,192 40.7, with 16,384 39.6 (first experiments, one seed)",
    ),
    "asmr": Tuning(
        adam_rate=8e-4,
        muon_rate=3e-3,
        batch=98_304,
        boosted=False,
        source="first experiments on kodim03 and kodim05, one seed (docs/architectures.md)",
        batch_source="a quarter of a Kodak picture, in whole blocks (docs/architectures.md)",
    ),
}

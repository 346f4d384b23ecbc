"""What each architecture wants of the optimiser, in its own units. Each row names what chose it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BATCH = 4096
"""Best in seconds of 2,048, 4,096 and 8,192 (docs/benchmarks.md)."""

ADAM_RATE = 5e-4
MUON_RATE = 1.2e-3
"""Between 1e-3 (better in long fits of hard pictures) and 1.5e-3 (better in short ones); 3e-3 loses 2 dB on kodim05."""

PAPER_RATE = 1e-4
"""Adam's constant rate in the released code of NINT and EVOS (no Muon, no warm-up, no annealing)."""


@dataclass(frozen=True)
class Tuning:
    """Peak rates of Adam and of Muon (0: Adam everywhere), in the parametrisation of the architecture's paper, points a
    step, whether rates follow the number of steps, the papers' own rate, and by which measurement."""

    adam_rate: float = ADAM_RATE
    muon_rate: float = MUON_RATE
    batch: int = BATCH
    boosted: bool = True
    paper_rate: float = PAPER_RATE
    source: str = "safe within a factor of four (tests/bench/recipe.py)"


TUNINGS: Mapping[str, Tuning] = {
    "siren": Tuning(),
    "asmr": Tuning(
        adam_rate=8e-4,
        muon_rate=3e-3,
        batch=98_304,
        boosted=False,
        source="first experiments on kodim03 and kodim05, one seed (docs/architectures.md)",
    ),
}

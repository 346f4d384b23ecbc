"""What comes out of a fit, and what is recorded of it, as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..fields.module import Field
from ..signal import Signal
from .outcome import Outcome
from .running import Running
from .state import FitState


@dataclass(frozen=True)
class Fit:
    """What came out: the best weights seen, how the budget was spent, what became of the configuration, and how the fit
    ended."""

    field: Field
    signal: Signal
    quality: float
    outcome: Outcome
    spent: dict[str, Any]
    used: dict[str, Any]
    notes: tuple[str, ...] = ()


def spent(run: Running, state: FitState) -> dict[str, Any]:
    """How the budget was spent."""
    return {
        "fit_seconds": run.clock.seconds,
        "prepare_seconds": state.spent.prepare,
        "first_step_seconds": state.spent.first_step or 0.0,
        "points_seconds": 0.0 if state.pool is None else state.pool.seconds,
        "sampler_seconds": state.spent.sampler,
        "evaluate_seconds": state.spent.evaluate,
        "steps": run.clock.step,
        "points": state.spent.points,
        "scoring_passes": state.scored.passes,
        "scoring_points": state.scored.points,
        "origin": {name: round(count) for name, count in state.spent.origin.items()},
    }


def used(run: Running, state: FitState) -> dict[str, Any]:
    """What became of the configuration on the way."""
    threads = torch.get_num_threads() if run.threads is None else run.threads.counts[run.threads.level]
    return {
        "engine": run.engine.backend.describe(),
        "batch": state.batch or 0,
        "last_threads": threads,
        "boost": round(state.schedule.boost(run.engine.backend.compiling), 3),
        "exact_from_step": state.exact_from,
    }

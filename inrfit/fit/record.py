"""The reports of a running fit, its result, and what the provenance records about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..fields.module import Field
from ..signal import Signal
from .context import FitContext
from .events import ProgressReport
from .outcome import Outcome
from .state import FitState

REPORT_SECONDS = 0.1
"""Minimum time between two progress reports."""


@dataclass(frozen=True)
class FitResult:
    """The result of a fit.

    ``field`` has the best weights seen, ``quality`` is its quality on the evaluation points, in the unit of the
    modality, and ``evaluation_points`` their number. ``signal`` has all points that were drawn. ``usage`` says how the
    budget was used, ``final_settings`` what the configuration had become at the end; both are JSON."""

    field: Field
    signal: Signal
    quality: float
    evaluation_points: int
    outcome: Outcome
    usage: dict[str, Any]
    final_settings: dict[str, Any]
    notes: tuple[str, ...] = ()


class Reporter:
    """Calls ``on_report``, at most once in REPORT_SECONDS."""

    def __init__(self, on_report: Callable[[ProgressReport], None]) -> None:
        self._on_report = on_report
        self._last_seconds = -1.0

    def report(self, context: FitContext, state: FitState) -> None:
        """Reports the state of the fit, unless the last report is too recent."""
        tracker, usage = context.tracker, state.usage
        seconds = tracker.seconds
        if seconds - self._last_seconds < REPORT_SECONDS:
            return
        self._last_seconds = seconds
        rate, share = usage.points / max(seconds, 1e-9), usage.sampler / max(seconds, 1e-9)
        quality, unit = state.best.quality, context.modality.unit
        self._on_report(ProgressReport(tracker.progress, seconds, tracker.step, quality, unit, rate, share))


def usage_record(context: FitContext, state: FitState) -> dict[str, Any]:
    """How the budget was used: seconds, steps, and points by where the sampler took them from."""
    return {
        "fit_seconds": context.tracker.seconds,
        "prepare_seconds": state.usage.prepare,
        "first_step_seconds": state.usage.first_step or 0.0,
        "points_seconds": 0.0 if state.pool is None else state.pool.seconds,
        "sampler_seconds": state.usage.sampler,
        "evaluate_seconds": state.usage.evaluate,
        "steps": context.tracker.step,
        "points": state.usage.points,
        "scoring_passes": state.scoring_cost.passes,
        "scoring_points": state.scoring_cost.points,
        "origin": {name: round(count) for name, count in state.usage.origin.items()},
    }


def final_settings(context: FitContext, state: FitState) -> dict[str, Any]:
    """The parts of the configuration that may change during a fit, as they were at its end."""
    threads = context.threads
    thread_count = torch.get_num_threads() if threads is None else threads.counts[threads.level]
    return {
        "engine": context.engine.backend.describe(),
        "batch": state.batch or 0,
        "last_threads": thread_count,
        "boost": round(state.schedule.short_run_lr_factor(context.engine.backend.compiling), 3),
        "exact_from_step": state.float32_from_step,
    }

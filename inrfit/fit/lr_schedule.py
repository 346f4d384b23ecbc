"""The learning-rate schedule: the curve of the configuration over the progress of the budget."""

from __future__ import annotations

from dataclasses import dataclass, field

from .engine.config import LONGEST_WARM_UP, TrainingConfig
from .progress import BudgetTracker

MIN_TIMED_STEPS = 2
"""Minimum number of steps after which their duration is known well enough to estimate the number of steps. The first
ones have few points, so that the estimate is too large, but a fit of few steps has no time for a long warm-up."""


@dataclass
class LRSchedule:
    """The factor on the peak learning rates for each step.

    Over each annealing cycle of ``tracker`` the factor rises (warm-up), then falls along a half cosine. In the first
    cycle the warm-up and the cosine begin with the first step, not with the budget, of which a share is spent before.
    Once the target has been met the factor falls linearly to 0 from its last value."""

    config: TrainingConfig
    tracker: BudgetTracker
    first_step_progress: float = 0.0
    """Share of the budget that was spent before the first step."""
    last_factor: float = 0.0
    """The factor at the last step, without that of ``short_run_lr_factor``."""
    _expected_steps: dict[tuple[int, int], float] = field(default_factory=dict)

    def start(self, progress: float) -> None:
        """Called before the first step with the share of the budget spent so far."""
        self.first_step_progress = progress

    def factor(self, compiling: bool) -> float:
        """The factor on the peak rates for the next step. ``compiling``: code is being compiled in the background."""
        tracker = self.tracker
        if not self.config.annealed:
            return 1.0
        if tracker.finish is not None:
            return self.last_factor * (1 - tracker.finish_progress) * self.short_run_lr_factor(compiling)
        progress, warmup = tracker.cycle_progress, tracker.cycle_progress / self.config.warm_up + 0.05
        if tracker.cycle == 0:
            progress = self._progress_since_first_step(progress)
            warmup_steps = min(self.config.warm_up * self.expected_steps(), LONGEST_WARM_UP)
            warmup = (tracker.step + 1) / max(warmup_steps, 1.0)
        self.last_factor = self.config.lr_factor(progress, warmup)
        return self.last_factor * self.short_run_lr_factor(compiling)

    def _progress_since_first_step(self, cycle_progress: float) -> float:
        """Progress of the first cycle, 0 at the first step."""
        spent_before = self.first_step_progress * (2.0**self.tracker.cycle_count - 1)
        if spent_before >= 1:
            return cycle_progress
        return max(0.0, (cycle_progress - spent_before) / (1 - spent_before))

    def short_run_lr_factor(self, compiling: bool) -> float:
        """The factor on the rates that depends on the number of steps of the fit, or of its annealing cycle. While
        code is compiled steps are slow and the number is underestimated, so the factor is limited to 1."""
        factor = self.config.short_run_lr_factor(self.expected_steps())
        return min(factor, 1.0) if compiling else factor

    def expected_steps(self) -> float:
        """Estimated steps of the current annealing cycle. The estimate is renewed at the start of each cycle, once the
        duration of a step is known, and each time the number of steps has doubled."""
        tracker = self.tracker
        key = (tracker.cycle, tracker.step.bit_length() if tracker.step >= MIN_TIMED_STEPS else 0)
        if key not in self._expected_steps:
            self._expected_steps[key] = tracker.expected_steps * 2.0**tracker.cycle / (2.0**tracker.cycle_count - 1)
        return self._expected_steps[key]

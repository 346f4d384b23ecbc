"""Carries out plans: chooses the recipe, fits the field and builds the artifact, of one plan or of several at once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import storing
from .artifact.artifact import Artifact
from .config.plan import Plan, check_memory
from .errors import InrfitError, NotEnoughMemory
from .io.registry import plugin_errors
from .io.strict_json import dumps
from .resume import STARTED_FROM, CheckpointPolicy, initial_field_record, initial_weights, prepare_start
from .runtime import current_device, limited_threads, matmul_precision, out_of_memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .fields import FieldSpec
    from .fit.events import ProgressReport, StepEvent
    from .fit.fitting import Fit
    from .fit.recipe import Recipe
    from .fit.record import FitResult


def execute_plan(
    planned: Plan,
    on_report: Callable[[ProgressReport], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_measure_progress: Callable[[float], None] = lambda fraction: None,
    on_recipe: Callable[[FieldSpec, Recipe], None] = lambda spec, recipe: None,
    on_step: Callable[[StepEvent], None] | None = None,
    checkpointing: CheckpointPolicy | None = None,
    initial_field: Artifact | None = None,
) -> Artifact:
    """Fits and measures what was planned.

    The budget runs from ``planned.loaded_at``, so that the time to import torch counts, or with the clock "fit" from
    the end of start-up. ``on_recipe`` is called once, before the first step; ``on_measure_progress`` while the result
    is measured. If ``on_step`` is a ``StatefulCallback``, its state is saved with that of the fit. Raises
    ``KeyboardInterrupt`` when stopped before anything was learned."""
    settings = planned.settings
    check_memory(planned)
    with translated_errors():
        from .fit.checkpoint import StatefulCallback
        from .fit.engine.step import choose_device
        from .fit.fitting import fit

        callback = on_step if isinstance(on_step, StatefulCallback) else None
        device = choose_device(settings.device)
        startup = time.monotonic() - planned.loaded_at
        with limited_threads(settings.threads):
            spec, recipe = choose_recipe(planned, device)
            weights = None if initial_field is None else initial_weights(initial_field, spec)
            start = prepare_start(planned, spec, recipe, device, checkpointing, callback, initial_field)
            recipe = start.recipe
            on_recipe(spec, recipe)
            started_at = planned.loaded_at
            if settings.clock == "fit":
                started_at = time.monotonic()
            with matmul_precision(recipe.config.matmul_precision), current_device(device):
                result = fit(
                    planned.signal, spec, planned.sampler, recipe.config, planned.fit_budget, device, settings.seed,
                    on_report=on_report, should_stop=should_stop, on_step=on_step, started_at=started_at,
                    initial_weights=weights, saved_state=start.saved_state, checkpointer=start.checkpointer,
                )  # fmt: skip
            record = start.record | initial_field_record(initial_field)
            result = _completed(result, planned, startup, record, start.save_errors)
            return storing.build_artifact(planned, result, recipe, device, should_stop, on_measure_progress)


@dataclass(frozen=True)
class FirstWeights:
    """The weights that a fit starts from, by tensor, or None if its seed draws them; what the provenance says of them;
    and the steps of the budget that were made to them already."""

    weights: Mapping[str, Tensor] | None = None
    record: Mapping[str, str] = field(default_factory=dict)
    steps: int = 0


Start = Callable[["FieldSpec"], FirstWeights]
"""Gives the weights that the fit of a field starts from."""


def own_start(spec: FieldSpec) -> FirstWeights:
    """Every field starts from weights that its seed draws, and from the mean of its samples."""
    return FirstWeights()


def shared_start(seed: int, spec: FieldSpec) -> FirstWeights:
    """All fields of one kind start from the weights that ``seed`` draws. Their values are around 0, not around the mean
    of the samples."""
    return _shared_weights(seed, dumps(spec.json()))


@lru_cache(16)
def _shared_weights(seed: int, described: str) -> FirstWeights:
    import torch

    from .fields import FieldSpec

    spec = FieldSpec(**json.loads(described))
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(seed), torch.zeros(spec.outputs))
    digest = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()
    return FirstWeights(weights, {STARTED_FROM: f"weights that all fields share, SHA-256 {digest}"})


def execute_together(
    plans: Sequence[Plan], starts: Sequence[Start], brief_samples: int = 0
) -> list[Artifact | InrfitError]:
    """Fits and measures several plans step by step, which have one device and number of threads. Budgets in seconds
    suit one plan only. Each has the field that it has alone (``fit.fitting.run_together``), or the error.

    ``starts`` are the weights that they start from. Signals of at most ``brief_samples`` are stored ``brief``, as
    ``storing.build_artifact`` has it."""
    with translated_errors():
        from .fit.engine.step import choose_device
        from .fit.fitting import Fit, run_together
        from .fit.progress import BudgetTracker

        settings = plans[0].settings
        device = choose_device(settings.device)
        with limited_threads(settings.threads):
            fits: list[tuple[Plan, Recipe, Fit, Mapping[str, str]]] = []
            for planned, start in zip(plans, starts, strict=True):
                check_memory(planned)
                spec, recipe = choose_recipe(planned, device)
                first, seed = start(spec), planned.settings.seed
                tracker = BudgetTracker(planned.fit_budget, time.monotonic, time.monotonic(), step=first.steps)
                arguments = (planned.signal, spec, planned.sampler, recipe.config, tracker, device, seed)
                fits.append((planned, recipe, Fit(*arguments, initial_weights=first.weights), first.record))
            precision = fits[0][1].config.matmul_precision
            with ExitStack() as open_fits, matmul_precision(precision), current_device(device):
                run_together([open_fits.enter_context(fit) for _, _, fit, _ in fits])
            return [_built(*each, device, each[0].signal.n <= brief_samples) for each in fits]


def _built(
    planned: Plan, recipe: Recipe, fit: Fit, record: Mapping[str, str], device: torch.device, brief: bool
) -> Artifact | InrfitError:
    """The artifact of a fit that has ended, or why there is none."""
    try:
        result = _completed(fit.result(), planned, 0.0, record, ())
        return storing.build_artifact(planned, result, recipe, device, lambda: False, lambda fraction: None, brief)
    except InrfitError as error:
        return error


def _completed(
    result: FitResult, planned: Plan, startup: float, record: Mapping[str, Any], notes: Sequence[str]
) -> FitResult:
    """``result`` with the times of start-up and reading, and a ``record`` of how the fit started."""
    usage = {"startup_seconds": startup, **result.usage, "read_seconds": planned.read_seconds}
    final_settings = {**result.final_settings, **record, "clock": planned.settings.clock}
    return replace(result, usage=usage, final_settings=final_settings, notes=(*result.notes, *notes))


def choose_recipe(planned: Plan, device: torch.device) -> tuple[FieldSpec, Recipe]:
    """The field, with the options that follow from the signal, and the recipe of its fit."""
    from .fit import recipe

    settings = planned.settings
    asked = planned.spec.options
    signal_options = recipe.architecture_options(planned.signal, planned.spec.formula, settings.regime, asked)
    spec = replace(planned.spec, options={**signal_options, **asked})
    choices = recipe.UserChoices(
        batch=settings.batch,
        precision=settings.precision,
        lr=settings.lr,
        engine=settings.engine,
        threads=settings.threads,
        regime=settings.regime,
        clock=settings.clock,
    )
    samples = None if planned.signal.grid is None else planned.signal.n
    return spec, recipe.choose(spec, device, choices, planned.fit_budget, samples)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raises ``NotEnoughMemory`` in place of the out-of-memory errors of Python and torch, and ``PluginError`` in place
    of the exceptions of plug-ins."""
    with plugin_errors():
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            details = str(error).splitlines()[0][:200] if str(error) else "no details"
            advice = "try a smaller --batch or --width, or a smaller grid"
            raise NotEnoughMemory(f"not enough memory ({advice}): {details}", "memory") from None

"""One run of a comparison: its context, its execution, and the warm-up before the first run."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol

from .. import execution
from ..config.plan import Plan, plan, replan
from ..config.settings import Settings
from ..errors import Diverged, PluginError, UnreadableFile
from ..fields import FIELDS
from ..modalities.sources import read_source
from ..resume import CheckpointPolicy
from ..runtime import current_device, limited_threads, matmul_precision
from .codec_runs import CodecCallbacks
from .spec import ComparisonSpec, Method, Result, RunKey, Source

if TYPE_CHECKING:
    import torch

    from ..fit.evaluation import EvaluationSet
    from ..fit.events import ProgressReport
    from ..signal import Signal

Recipes = dict[str, dict[str, dict[str, str]]]
"""Settings ``precision`` and ``engine``, by source and architecture."""

WARM_UP_STEPS, WARM_UP_SIDE = 4, 48
"""Number of steps, and height and width in pixels, of the fit of each method that loads all code before the first
run."""


class ComparisonCallbacks(CodecCallbacks, Protocol):
    """Callbacks of a running comparison."""

    def on_run_start(self, number: int, total: int, run_key: RunKey) -> None:
        """Called before run ``number`` (from 1) of ``total``."""

    def on_fit_progress(self, report: ProgressReport) -> None:
        """Called about ten times a second during a fit."""

    def on_evaluation_progress(self, fraction: float) -> None:
        """Called during the evaluation after a fit, which does not count as time of the run, with the fraction done."""

    def on_run_end(self, number: int, total: int, result: Result) -> None:
        """Called after a run has finished or failed."""


@dataclass(frozen=True)
class RunContext:
    """What all runs with one source and seed share: the loaded file, the signal with its points, the evaluation set."""

    source: Source
    seed: int
    planned: Plan
    signal: Signal
    evaluation_set: EvaluationSet
    device: torch.device


def prepare_run(
    spec: ComparisonSpec, source: Source, method: Method, seed: int, stop: Callable[[], bool], loaded: Plan | None
) -> RunContext:
    """Prepares all runs of ``source`` with ``seed``, outside their budgets.

    Loads the source unless its plan is given as ``loaded``. The training points of a shape are drawn from the seed, so
    that all methods have the same. Raises ``KeyboardInterrupt`` if ``stop`` returns True meanwhile."""
    import torch

    from ..fit.engine.step import choose_device
    from ..fit.evaluation import evaluation_set
    from ..fit.point_pool import draw_all_points
    from .quality_trace import EVALUATION_POINTS

    settings = spec.settings_for(method, source.modality, seed)
    planned = loaded or _load(source, settings)
    device = choose_device(settings.device)
    signal = draw_all_points(planned.signal, torch.Generator().manual_seed(seed), stop)
    if stop():
        raise KeyboardInterrupt
    return RunContext(source, seed, planned, signal, evaluation_set(signal, EVALUATION_POINTS, device), device)


def execute_run(
    spec: ComparisonSpec,
    context: RunContext,
    run_key: RunKey,
    method: Method,
    stop: Callable[[], bool],
    callbacks: ComparisonCallbacks,
    recipes: Recipes,
    checkpointing: CheckpointPolicy | None = None,
) -> Result:
    """Fits a method to a source as ``encode`` does, with a budget that starts with the fit; then evaluates its trace.

    ``recipes`` holds the choices for all sources and architectures; one that is missing is added. ``checkpointing``
    says how the state of the fit is saved and resumed."""
    from .quality_trace import QualityTracer

    settings = spec.settings_for(method, context.source.modality, run_key.seed)
    planned = replace(replan(context.planned, settings), signal=context.signal)
    recipe = _recipe(recipes, run_key.arch, context, planned)
    settings = replace(settings, precision=recipe["precision"], engine=recipe["engine"])
    started = time.monotonic()
    tracer = QualityTracer(started)
    planned = replace(planned, settings=settings, loaded_at=started)
    artifact = execution.execute_plan(
        planned,
        callbacks.on_fit_progress,
        stop,
        callbacks.on_evaluation_progress,
        on_step=tracer,
        checkpointing=checkpointing,
    )
    trace = tracer.trace(artifact, context.evaluation_set, stop, callbacks.on_evaluation_progress)
    provenance = artifact.provenance
    notes = tuple(note for note in provenance["notes"] if note not in planned.signal.notes)
    field_spec = artifact.spec
    size = {"parameters": field_spec.parameters, "bytes": artifact.stored_bytes, "store": artifact.store}
    size |= {"macs_per_sample": field_spec.macs, "sines_per_sample": field_spec.sines}
    return Result(
        run_key,
        trace,
        artifact.quality,
        provenance["spent"],
        provenance["settings"],
        provenance["ended"],
        notes,
        size,
    )


def warm_up(spec: ComparisonSpec) -> None:
    """Fits each method that takes steps to a small noise image for a few of them, so that code loaded at first use is
    not timed."""
    import numpy as np

    from ..fit.engine.step import choose_device
    from ..fit.fitting import fit
    from ..modalities import file_of

    pixels = np.random.default_rng(0).integers(0, 256, (WARM_UP_SIDE, WARM_UP_SIDE, 3), np.uint8)
    data = file_of(pixels, {})
    for method in spec.methods:
        if FIELDS[method.arch].TRAITS.closed_form is not None:
            continue
        run_settings = spec.settings_for(method, None)
        dropped = {f.name for f in fields(FIELDS[method.arch])}  # options of the architecture may not suit this image
        kept = {name: value for name, value in run_settings.options.items() if name not in dropped}
        settings = replace(run_settings, engine="auto", type=None, budget=f"{WARM_UP_STEPS}it", options=kept)
        settings = replace(settings, params=None, bytes=None)
        planned = plan(data, "warm-up", settings)
        device = choose_device(settings.device)
        # A plug-in that fails here fails again in its own runs, which record the error.
        ignored = contextlib.suppress(Diverged, PluginError)
        with limited_threads(settings.threads), ignored, execution.translated_errors():
            field_spec, recipe = execution.choose_recipe(planned, device)
            with matmul_precision(recipe.config.matmul_precision), current_device(device):
                fit(planned.signal, field_spec, planned.sampler, recipe.config, planned.budget, device)


def _recipe(recipes: Recipes, arch: str, context: RunContext, planned: Plan) -> dict[str, str]:
    """Precision and engine of all runs with this source and architecture, chosen by the first.

    torch.compile is used only on request: it compiles in the background during the first run, and later runs would have
    the advantage of its cache."""
    by_arch = recipes.setdefault(context.source.name, {})
    settings = planned.settings
    if arch not in by_arch:
        with limited_threads(settings.threads):
            _, recipe = execution.choose_recipe(planned, context.device)
        config = recipe.config
        engine = "analytic" if settings.engine == "auto" and config.engine == "compiled" else config.engine
        by_arch[arch] = {"precision": config.precision, "engine": engine}
    return by_arch[arch]


def load_signal(spec: ComparisonSpec, source: Source) -> Signal:
    """The signal of a source, read as for its fits. Raises ``UnreadableFile`` if the file has changed."""
    return _load(source, spec.settings_for(spec.methods[0], source.modality)).signal


def _load(source: Source, settings: Settings) -> Plan:
    """Loads the source again. Raises ``UnreadableFile`` if it changed after the comparison was prepared."""
    planned = plan(read_source(source.path, settings.limits), os.path.basename(source.path), settings)
    if planned.sha256 != source.sha256:
        raise UnreadableFile("has changed since the comparison was started", "changed")
    return planned

"""One run of a comparison: what it shares with the others, and how it is made."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol

from .. import codec
from ..config.plan import Plan, plan, replan
from ..config.settings import Settings
from ..errors import Diverged, UnreadableFile
from ..fields import FIELDS
from ..io import files
from ..resume import CheckpointPolicy
from ..runtime import current_device, limited_threads, matmul_precision
from .spec import ComparisonSpec, Method, Result, RunKey, Source

if TYPE_CHECKING:
    import torch

    from ..fit.evaluation import EvaluationSet
    from ..fit.events import ProgressReport
    from ..signal import Signal

Recipes = dict[str, dict[str, dict[str, str]]]
"""Precision and engine by source and architecture."""

WARM_UP_STEPS, WARM_UP_SIDE = 4, 48
"""Steps and pixels a side of the fit that every method makes first, so that no first run pays for loading code."""


class ComparisonCallbacks(Protocol):
    """Who is told how a comparison goes."""

    def on_run_start(self, number: int, total: int, run_key: RunKey) -> None:
        """Run ``number`` (from 1) begins."""

    def on_fit_progress(self, report: ProgressReport) -> None:
        """About ten times a second in a run."""

    def on_evaluation_progress(self, fraction: float) -> None:
        """So much of the judging is done that follows a run, off its clock."""

    def on_run_end(self, number: int, total: int, result: Result) -> None:
        """A run has finished or failed."""


@dataclass(frozen=True)
class RunContext:
    """What the runs of one source and seed share: the loaded file, the signal with its points drawn, its judges."""

    source: Source
    seed: int
    planned: Plan
    signal: Signal
    evaluation_set: EvaluationSet
    device: torch.device


def prepare_run(
    spec: ComparisonSpec, source: Source, method: Method, seed: int, stop: Callable[[], bool], loaded: Plan | None
) -> RunContext:
    """Loads ``source`` unless it is ``loaded``; draws the points of a signal that has none (a shape) from the seed, for
    all methods the same and on nobody's clock. Raises ``KeyboardInterrupt`` when stopped meanwhile."""
    import torch

    from ..fit.engine.step import choose_device
    from ..fit.evaluation import evaluation_set
    from ..fit.point_pool import draw_all_points
    from .quality_trace import EVALUATION_POINTS

    settings = spec.settings_for(method, source.modality, seed)
    planned = loaded or _load(source, settings)
    device = choose_device(settings.device)
    signal = planned.signal
    signal = draw_all_points(signal, torch.Generator().manual_seed(seed), stop)
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
    """One fit, on a clock that starts with it, as ``encode`` would make it; then, off the clock, its trace.

    ``recipes``: what was chosen so far, by source and architecture; the choice for this one is added.
    ``checkpointing``: how the state of the fit is kept, from which it goes on."""
    from .quality_trace import QualityTracer

    asked = spec.settings_for(method, context.source.modality, run_key.seed)
    planned = replace(replan(context.planned, asked), signal=context.signal)
    chosen = _recipe(recipes, run_key.arch, context, planned)
    settings = replace(asked, precision=chosen["precision"], engine=chosen["engine"])
    started = time.monotonic()
    tracer = QualityTracer(started)
    ready = replace(planned, settings=settings, loaded_at=started)
    artifact = codec.execute_plan(
        ready,
        callbacks.on_fit_progress,
        stop,
        callbacks.on_evaluation_progress,
        on_step=tracer,
        checkpointing=checkpointing,
    )
    trace = tracer.trace(artifact, context.evaluation_set, stop, callbacks.on_evaluation_progress)
    made = artifact.provenance
    notes = tuple(note for note in made["notes"] if note not in planned.signal.notes)
    field_spec = artifact.spec
    size = {"parameters": field_spec.parameters, "bytes": artifact.stored_bytes, "store": artifact.store}
    size |= {"macs_per_sample": field_spec.macs, "sines_per_sample": field_spec.sines}
    return Result(run_key, trace, artifact.quality, made["spent"], made["settings"], made["ended"], notes, size)


def warm_up(spec: ComparisonSpec) -> None:
    """A few steps of every method on a small picture of noise: what torch loads and sets up at first use is on no
    run's clock."""
    import numpy as np

    from ..fit.engine import cpp_kernel
    from ..fit.engine.step import choose_device
    from ..fit.loop import fit
    from ..modalities import file_of

    pixels = np.random.default_rng(0).integers(0, 256, (WARM_UP_SIDE, WARM_UP_SIDE, 3), np.uint8)
    data = file_of(pixels, {})
    for method in spec.methods:
        asked = spec.settings_for(method, None)
        names = {f.name for f in fields(FIELDS[method.arch])}
        kept = {name: value for name, value in asked.options.items() if name not in names}  # others suit no noise
        settings = replace(asked, engine="auto", type=None, budget=f"{WARM_UP_STEPS}it", options=kept)
        settings = replace(settings, params=None, bytes=None)
        planned = plan(data, "warm-up", settings)
        device = choose_device(settings.device)
        with limited_threads(settings.threads), codec.translated_memory_errors(), contextlib.suppress(Diverged):
            field_spec, how = codec.choose_recipe(planned, device)
            with matmul_precision(how.config.matmul_precision), current_device(device):
                fit(planned.signal, field_spec, planned.sampler, how.config, planned.budget, device)
                if cpp_kernel.is_supported(field_spec, how.config.dtype) and asked.engine in ("auto", "compiled"):
                    with contextlib.suppress(cpp_kernel.KernelUnavailable):
                        cpp_kernel.build(field_spec)


def _recipe(recipes: Recipes, arch: str, context: RunContext, planned: Plan) -> dict[str, str]:
    """Precision and engine of all runs on this source with this architecture: chosen by the first. What torch.compile
    makes in the background is kept, so later runs would gain by it: only on request. The kernel is there already."""
    from ..fit.engine import cpp_kernel

    known = recipes.setdefault(context.source.name, {})
    settings = planned.settings
    if arch not in known:
        with limited_threads(settings.threads):
            field_spec, how = codec.choose_recipe(planned, context.device)
        config = how.config
        ready = cpp_kernel.is_supported(field_spec, config.dtype) and cpp_kernel.is_cached()
        slow = settings.engine == "auto" and config.engine == "compiled" and not ready
        engine = "analytic" if slow else config.engine
        known[arch] = {"precision": config.precision, "engine": engine}
    return known[arch]


def _load(source: Source, settings: Settings) -> Plan:
    """The file as it was when the comparison was prepared."""
    planned = plan(files.read(source.path, settings.limits), os.path.basename(source.path), settings)
    if planned.sha256 != source.sha256:
        raise UnreadableFile("has changed since the comparison began", "changed")
    return planned

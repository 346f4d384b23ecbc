"""From a fit to an artifact: how the weights are stored, and the quality of what is stored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .artifact import weight_code, weight_dtypes
from .artifact.artifact import Artifact
from .artifact.measuring import plain_codec
from .artifact.weight_dtypes import STORES
from .config.identity import SETTINGS_DIGEST, settings_digest
from .config.plan import Plan
from .config.settings import parsed_count
from .fit.outcome import Outcome
from .modalities import Request

if TYPE_CHECKING:
    import torch

    from .fit.recipe import Recipe
    from .fit.record import FitResult

Weights = Mapping[str, npt.NDArray[np.float32]]

_POINTS = {True: 16_384, False: 65_536}
"""Number of points on which roundings are compared, by whether the signal has a grid. The IoU of a shape counts only
the points next to its surface."""

_COARSE = 2.0**80
"""A step that rounds every weight to 0."""

_QUALITY_RESERVE = 150
"""Bytes that the quality takes in the header. It is measured after the steps have been chosen."""


def build_artifact(
    planned: Plan,
    result: FitResult,
    recipe: Recipe,
    device: torch.device,
    should_stop: Callable[[], bool],
    on_progress: Callable[[float], None],
    brief: bool = False,
) -> Artifact:
    """The artifact of a fit, with its measured quality.

    The field is rounded, serialised and read back; what is measured is the decoded signal (float32 arithmetic) of these
    weights. ``on_progress(fraction)`` is called while it is measured. ``brief``, for one of very many fields: its main
    measure only, on every sample, and fp32 weights are not serialised, because that does not change them."""
    from .artifact.decode_cost import decode_cost
    from .fit.evaluation import estimate, measure, verification

    started_at = time.monotonic()
    interrupted = result.outcome is Outcome.INTERRUPTED
    artifact = _stored(planned, result, recipe, device, should_stop, brief)
    if brief and artifact.store == "fp32":
        stored, field = artifact, result.field
    else:
        stored = Artifact.from_bytes(artifact.to_bytes())
        field = stored.field(device)
    main, samples = planned.modality.main_measure, result.signal.n
    plainly = brief and planned.modality.probe is None
    if plainly and stored is artifact and result.evaluation_points == samples:  # the fit has measured these weights
        quality: dict[str, Any] = {main: result.quality, "samples": samples, "estimate": False}
    elif plainly:
        quality = estimate(field, result.signal, samples, on_progress) | {"estimate": False}
    elif interrupted and artifact.store == "fp32":  # the fit has measured these weights, and two seconds are short
        quality = {main: result.quality, "samples": result.evaluation_points, "estimate": True}
    else:
        cost = decode_cost(stored.spec, stored.modality, stored.meta, Request())
        predicted = None if cost is None else cost.seconds
        verify = planned.settings.verify or verification(result.signal.n, predicted, planned.budget.seconds)
        quality = measure(field, result.signal, verify, interrupted, should_stop, on_progress)
    if not (interrupted or brief):
        quality |= plain_codec(planned.modality, result.signal, quality)
    provenance, value = dict(artifact.provenance), quality.get(planned.modality.main_measure)
    if planned.budget.target is not None:
        provenance["target_reached"] = value is not None and value >= planned.budget.target
    check = time.monotonic() - started_at - provenance["spent"].get("coding_seconds", 0.0)
    provenance["spent"] = provenance["spent"] | {"check_seconds": round(check, 3)}
    artifact = replace(artifact, weights=stored.weights, provenance=provenance).with_quality(quality)
    limit = _byte_limit(planned)
    return artifact if limit is None else _without_excess_notes(artifact, limit)


def _stored(
    planned: Plan,
    result: FitResult,
    recipe: Recipe,
    device: torch.device,
    should_stop: Callable[[], bool],
    brief: bool,
) -> Artifact:
    """The artifact of a fit without its quality, in a store that suits the weights and the settings."""
    weights = {name: w.detach().cpu().numpy().copy() for name, w in result.field.weights.items()}
    artifact = Artifact(
        result.field.spec,
        weights,
        planned.signal.modality,
        dict(planned.signal.meta),
        _provenance(planned, result, recipe, device, brief),
        {},
        planned.store if planned.store in STORES else "fp32",
        planned.signal.attachments,
        provenance_kept=planned.settings.provenance,
    )
    if planned.store not in STORES and artifact.spec.rounding_groups:
        artifact = _rounded(artifact, planned, result, device, should_stop)
    store = artifact.store
    if store != "int":
        store = weight_dtypes.fitting_store(weights, store, planned.spec.fp32_tensors)
    if store != artifact.store:
        note = f"a weight is beyond the range of {artifact.store}: all are stored as {store}"
        artifact = _noted(replace(artifact, store=store), [*artifact.provenance["notes"], note])
    return artifact


def _rounded(
    artifact: Artifact, planned: Plan, result: FitResult, device: torch.device, should_stop: Callable[[], bool]
) -> Artifact:
    """``artifact`` in a store that its weights are rounded to: "int", or what ``auto`` chooses instead. After an
    interrupt, which leaves two seconds, the weights stay exact, unless their bytes are limited."""
    from .artifact.rounding import stored_as
    from .fit.evaluation import MeasureCancelled, evaluation_set

    limited = _byte_limit(planned) is not None
    if result.outcome is Outcome.INTERRUPTED and not limited:
        return artifact
    loss, target = planned.modality.rounding_loss, planned.budget.target
    if target is not None and result.quality >= target:
        loss = result.quality - target if planned.settings.smallest else min(loss, result.quality - target)
    room = None
    if (limit := _byte_limit(planned)) is not None:
        groups = artifact.spec.rounding_groups
        coarse = replace(artifact, store="int", steps={name: (_COARSE,) * len(sizes) for name, sizes in groups.items()})
        weights = len(weight_code.pack(coarse.spec, coarse.weights, coarse.steps))
        exact = 4 * (artifact.spec.parameters - sum(map(sum, groups.values())))
        room = limit - min(coarse.stored_bytes - weights + _QUALITY_RESERVE, planned.header_bytes + exact)
    if artifact.spec.formula.TRAITS.coefficients:
        return _coded(artifact, planned, result, room, should_stop)
    points = evaluation_set(result.signal, _POINTS[result.signal.grid is not None], device)
    try:
        return stored_as(artifact, planned.store, points, loss, room, device, lambda: should_stop() and not limited)
    except MeasureCancelled:
        return artifact


def _coded(
    artifact: Artifact, planned: Plan, result: FitResult, room: int | None, should_stop: Callable[[], bool]
) -> Artifact:
    """``artifact`` with its coefficients rounded and coded, which the rest of the budget is spent on."""
    from .artifact.coefficient_search import Wanted, coded_for

    started_at, spent = time.monotonic(), artifact.provenance["spent"]
    seconds = math.inf if planned.budget.seconds is None else planned.budget.seconds - spent["fit_seconds"]
    wanted = Wanted(planned.budget.target, room, seconds)
    coded = coded_for(artifact, result.signal, wanted, planned.explicit_options, should_stop)
    coding = round(time.monotonic() - started_at, 3)
    spent = spent | {"fit_seconds": round(spent["fit_seconds"] + coding, 3), "coding_seconds": coding}
    notes = list(coded.provenance["notes"])
    if planned.settings.sampler != "auto":
        notes.append(f"the sampler {planned.sampler_name} was not asked: these weights are found without steps")
    return replace(coded, provenance={**coded.provenance, "spent": spent, "notes": notes})


def _byte_limit(planned: Plan) -> int | None:
    """The value of the setting ``bytes``."""
    return None if planned.settings.bytes is None else parsed_count("bytes", planned.settings.bytes)


def _provenance(planned: Plan, result: FitResult, recipe: Recipe, device: torch.device, brief: bool) -> dict[str, Any]:
    """How the field was made; ``brief``: without the digest by which ``--resume`` knows a complete field. A field in
    closed form has no sampler and no settings of an optimiser."""
    from .artifact.provenance import describe

    settings: dict[str, Any] = {"seed": planned.settings.seed}
    if not brief:
        settings[SETTINGS_DIGEST] = settings_digest(planned)
    closed_form = result.outcome is Outcome.CLOSED_FORM
    if closed_form:
        settings["clock"] = planned.settings.clock
    else:
        settings = recipe.config.json() | result.final_settings | settings
    return describe(
        device,
        source={"name": planned.name, "bytes": planned.bytes, "sha256": planned.sha256},
        samples=result.signal.n,
        sampler=None if closed_form else _sampler(planned),
        settings=settings,
        budget=asdict(planned.budget),
        spent=result.usage,
        ended=result.outcome.slug,
        notes=[*planned.signal.notes, *result.notes],
    )


def _sampler(planned: Plan) -> dict[str, Any]:
    """The strategy and its options."""
    return {"name": planned.sampler_name, "options": asdict(planned.sampler)}  # type: ignore[call-overload]


def _without_excess_notes(artifact: Artifact, max_bytes: int) -> Artifact:
    """``artifact`` with as many of its notes as fit into a file of ``max_bytes``. The notes are the only part of the
    header whose length is not known before the fit."""
    while artifact.stored_bytes > max_bytes and (notes := artifact.provenance["notes"]):
        artifact = _noted(artifact, notes[:-1])
    return artifact


def _noted(artifact: Artifact, notes: list[str]) -> Artifact:
    """``artifact`` with these notes."""
    return replace(artifact, provenance={**artifact.provenance, "notes": notes})

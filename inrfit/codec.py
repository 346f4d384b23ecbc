"""READ FIRST: encode(source) -> Artifact, decode(artifact) -> samples. Everything else serves these two.

encode: read the bytes -> ``plan``: load them as a Signal, choose architecture and sampler -> ``execute_plan``: choose
the recipe, fit within the budget -> ``finish``: serialise, load those bytes through the public reader, decode, measure;
the quality goes into the header. Nothing here imports torch before the input has been accepted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from . import resume as going_on
from .artifact.artifact import Artifact, load
from .artifact.weight_dtypes import fitting_store
from .config.identity import SETTINGS_DIGEST, settings_digest
from .config.plan import Plan, check_memory, plan
from .config.settings import Settings, count
from .errors import NotEnoughMemory, UsageError
from .fit.outcome import Outcome
from .io import files
from .io.limits import Limits
from .modalities import Request, file_of
from .runtime import catching, current, limited_threads, matmul_precision, out_of_memory

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from .fields import FieldSpec
    from .fit.events import Moment, Report
    from .fit.recipe import Recipe
    from .fit.record import Fit

Share = Callable[[float], None]
"""Told the share done, 0 to 1, of something long."""


def encode(
    source: str | os.PathLike[str] | npt.NDArray[Any],
    *,
    rate: int | None = None,
    progress: Callable[[Report], None] | None = None,
    stop: Callable[[], bool] | None = None,
    watch: Callable[[Moment], None] | None = None,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    checkpoint: str | float | None = None,
    resume: bool = False,
    start: str | os.PathLike[str] | Artifact | None = None,
    **settings: Any,
) -> Artifact:
    """Fits a field to a file, or to a NumPy array, and returns it, measured and ready to be saved.

    ``source``: a path; or uint8 (h, w) or (h, w, c) for an image; or, with ``rate`` (Hz), int16 or float (n,) or (n, c)
    for a sound. ``settings`` are the fields of ``Settings``. ``progress`` is called about ten times a second with a
    ``Report``, ``watch`` after every step with a ``Moment``. Ctrl-C ends the fit and returns what there is
    (``provenance["ended"] == "interrupted"``).

    ``output``: the file that the field is written to, as ``inrfit encode -o`` does it (``force`` replaces an older
    one). With it, ``checkpoint`` ("30s", or seconds) saves the state of the fit beside it on the way, and ``resume``
    goes on from there, or returns the complete field of the same settings that is there already. ``start`` is a field,
    or its file, whose weights the fit starts from. Raises an ``InrfitError``."""
    made = Settings(**settings)
    _refuse_no_path("output", output)
    keeping = going_on.keeping(output, checkpoint, resume)
    first = _first_field(start, made)
    planned = planned_source(source, rate, made)
    if keeping is not None and resume and not force:
        found = going_on.complete(planned, os.fspath(output or ""), first)
        if found is not None:
            keeping.done_with(found)
            return found
    if output is not None:
        files.check_target(output, force)
    if keeping is not None:
        keeping.check(force)
    with nullcontext(stop) if stop is not None else catching() as ending:
        artifact = execute_plan(planned, progress, ending, watch=watch, keeping=keeping, start=first)
    if output is not None:
        going_on.save(artifact, os.fspath(output), force, keeping)
    return artifact


def _first_field(start: str | os.PathLike[str] | Artifact | None, settings: Settings) -> Artifact | None:
    """The field that a fit starts from."""
    if start is None or isinstance(start, Artifact):
        return start
    _refuse_no_path("start", start)
    return load(start, settings.limits)


def _refuse_no_path(name: str, path: Any) -> None:
    """Raises ``UsageError``: a number would be taken for an open file."""
    if path is not None and not isinstance(path, str | os.PathLike):
        raise UsageError(f"{name}: must be a path, not {type(path).__name__}", "option")


def planned_source(source: str | os.PathLike[str] | npt.NDArray[Any], rate: int | None, settings: Settings) -> Plan:
    """Reads a file, or takes an array as the file it would be, and plans its fit."""
    begun = time.monotonic()
    if isinstance(source, str | os.PathLike):
        data, name = files.read(source, settings.limits), os.path.basename(os.fspath(source))
    else:
        data, name = file_of(source, {} if rate is None else {"rate": rate}), "array"
    return plan(data, name, settings, begun)


def execute_plan(
    planned: Plan,
    progress: Callable[[Report], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    checking: Share = lambda share: None,
    chosen: Callable[[FieldSpec, Recipe], None] = lambda spec, recipe: None,
    watch: Callable[[Moment], None] | None = None,
    keeping: going_on.Keeping | None = None,
    start: Artifact | None = None,
) -> Artifact:
    """Fits and measures what was planned; the budget's clock has run since the raw data were in memory, so starting
    torch counts; ``chosen`` is told the plan before the first step, ``watch`` every step made; ``keeping`` says how the
    state is kept, with that of a ``watch`` that is a ``Companion``; ``start`` is the field whose weights the fit starts
    from. Raises ``KeyboardInterrupt`` when stopped before anything was learned."""
    settings = planned.settings
    check_memory(planned)
    with translated_memory_errors():
        from .fit.checkpoint import Companion
        from .fit.engine.step import choose_device
        from .fit.loop import fit

        companion = watch if isinstance(watch, Companion) else None
        device = choose_device(settings.device)
        startup = time.monotonic() - planned.loaded_at
        with limited_threads(settings.threads):
            spec, how = choose(planned, device)
            initial = None if start is None else going_on.initial_weights(start, spec)
            going = going_on.continued(planned, spec, how, device, keeping, companion, start)
            how = going.recipe
            chosen(spec, how)
            with matmul_precision(how.config.matmul_precision), current(device):
                result = fit(
                    planned.signal, spec, planned.sampler, how.config, planned.budget, device, settings.seed,
                    report=progress, stop=stop, watch=watch, started=planned.loaded_at,
                    initial=initial, saved=going.saved, checkpointer=going.checkpointer,
                )  # fmt: skip
            spent = {"startup_seconds": startup, **result.spent, "read_seconds": planned.read_seconds}
            used = result.used | going.record | going_on.start_record(start)
            result = replace(result, spent=spent, used=used, notes=(*result.notes, *going.problems))
            return finish(planned, result, how, device, stop, checking)


def choose(planned: Plan, device: torch.device) -> tuple[FieldSpec, Recipe]:
    """Field and recipe for what was planned."""
    from .fit import recipe

    settings = planned.settings
    frequencies = recipe.architecture_options(planned.signal, planned.spec.formula, settings.regime)
    spec = replace(planned.spec, options={**frequencies, **planned.spec.options})
    asked = recipe.Asked(
        batch=settings.batch,
        precision=settings.precision,
        lr=settings.lr,
        engine=settings.engine,
        threads=settings.threads,
        regime=settings.regime,
    )
    return spec, recipe.choose(spec, device, asked, planned.budget)


def finish(
    planned: Plan, result: Fit, how: Recipe, device: torch.device, stop: Callable[[], bool], checking: Share
) -> Artifact:
    """The artifact of a fit: serialised, read back (which rounds the weights to their store), decoded in float32 and
    measured."""
    from .artifact.provenance import describe
    from .fit.evaluation import measure

    weights = {name: w.detach().cpu().numpy().copy() for name, w in result.field.weights.items()}
    seed_and_digest = {"seed": planned.settings.seed, SETTINGS_DIGEST: settings_digest(planned)}
    provenance = describe(
        device,
        source={"name": planned.name, "bytes": planned.bytes, "sha256": planned.sha256},
        samples=result.signal.n,
        sampler={"name": planned.sampler_name, "options": asdict(planned.sampler)},  # type: ignore[call-overload]
        settings=how.config.json() | result.used | seed_and_digest,
        budget=asdict(planned.budget),
        spent=result.spent,
        ended=result.outcome.word,
        notes=[*planned.signal.notes, *result.notes],
    )
    store = fitting_store(weights, planned.store, planned.spec.fp32_tensors)
    if store != planned.store:
        provenance["notes"].append(f"a weight is beyond the range of {planned.store}: all are stored as {store}")
    bare = Artifact(
        result.field.spec, weights, planned.signal.modality, dict(planned.signal.meta), provenance, {}, store
    )
    begun = time.monotonic()
    stored = Artifact.from_bytes(bare.to_bytes())
    hurried = result.outcome is Outcome.INTERRUPTED
    quality = measure(stored.field(device), result.signal, planned.settings.verify, hurried, stop, checking)
    value = quality.get(planned.modality.quality)
    if planned.budget.target is not None:
        provenance["target_reached"] = value is not None and value >= planned.budget.target
    provenance["spent"]["check_seconds"] = round(time.monotonic() - begun, 3)
    made = replace(bare, weights=stored.weights, provenance=provenance).with_quality(quality)
    return made if planned.settings.bytes is None else _shortened(made, count("bytes", planned.settings.bytes))


def _shortened(artifact: Artifact, limit: int) -> Artifact:
    """``artifact`` without the last of its remarks, as far as its file would be larger than ``limit``: they alone have
    no bound that was reserved before the fit."""
    while artifact.stored_bytes > limit and (notes := artifact.provenance["notes"]):
        artifact = replace(artifact, provenance={**artifact.provenance, "notes": notes[:-1]})
    return artifact


def decode(
    artifact: Artifact,
    request: Request = Request(),
    device: str = "cpu",
    limits: Limits = Limits(),
    tick: Share = lambda share: None,
) -> Any:
    """The samples, in the source's sample type: image uint8 (h, w, c); audio (n, c); shape a ``Mesh`` in its own units.
    Arithmetic is float32 on every device."""
    with translated_memory_errors():
        from .fit.engine.step import choose_device

        return artifact.decode(request, choose_device(device), limits, tick)


@contextmanager
def translated_memory_errors() -> Iterator[None]:
    """Out of memory as ``NotEnoughMemory``."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        words = str(error).splitlines()[0][:200] if str(error) else "no room"
        advice = "try a smaller --batch or --width, or a smaller grid"
        raise NotEnoughMemory(f"not enough memory ({advice}): {words}", "memory") from None

"""READ FIRST: encode(source) -> Artifact, decode(artifact) -> samples. Everything else serves these two.

encode: read the bytes -> ``plan``: load them as a Signal, choose architecture and sampler -> ``carry_out``: choose the
recipe, fit within the budget -> ``finish``: serialise, load those bytes through the public reader, decode, measure; the
quality goes into the header. Nothing here imports torch before the input has been accepted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .artifact.artifact import Artifact
from .artifact.weight_dtypes import storable
from .config.plan import Plan, check_memory, plan
from .config.settings import Settings, count
from .errors import NotEnoughMemory
from .io import files
from .io.limits import Limits
from .modalities import Request
from .modalities.audio import audio
from .modalities.image import image
from .runtime import catching, current, limited_threads, matmul_precision, out_of_memory

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from .fields import FieldSpec
    from .fit.loop import Fit
    from .fit.recipe import Recipe
    from .fit.state import Moment, Report

Share = Callable[[float], None]
"""Told the share done, 0 to 1, of something long."""


def encode(
    source: str | os.PathLike[str] | npt.NDArray[Any],
    *,
    rate: int | None = None,
    progress: Callable[[Report], None] | None = None,
    stop: Callable[[], bool] | None = None,
    watch: Callable[[Moment], None] | None = None,
    **settings: Any,
) -> Artifact:
    """Fits a field to a file, or to a NumPy array, and returns it, measured and ready to be saved.

    ``source``: a path; or uint8 (h, w) or (h, w, c) for an image; or, with ``rate`` (Hz), int16 or float (n,) or (n, c)
    for a sound. ``settings`` are the fields of ``Settings``. ``progress`` is called about ten times a second with a
    ``Report``, ``watch`` after every step with a ``Moment``. Ctrl-C ends the fit and returns what there is
    (``provenance["ended"] == "interrupted"``). Raises an ``InrfitError``."""
    made = Settings(**settings)
    begun = time.monotonic()
    if isinstance(source, str | os.PathLike):
        data, name = files.read(source, made.limits), os.path.basename(os.fspath(source))
    else:
        data = image.from_array(source) if rate is None else audio.from_array(source, rate)
        name = "array"
    planned = plan(data, name, made, begun)
    del data
    if stop is not None:
        return carry_out(planned, progress, stop, watch=watch)
    with catching() as caught:
        return carry_out(planned, progress, caught, watch=watch)


def carry_out(
    planned: Plan,
    progress: Callable[[Report], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    checking: Share = lambda share: None,
    chosen: Callable[[FieldSpec, Recipe], None] = lambda spec, recipe: None,
    watch: Callable[[Moment], None] | None = None,
) -> Artifact:
    """Fits and measures what was planned; the budget's clock has run since the raw data were in memory, so starting
    torch counts; ``chosen`` is told the plan before the first step, ``watch`` every step made. Raises
    ``KeyboardInterrupt`` when stopped before anything was learned."""
    settings = planned.settings
    check_memory(planned)
    with translated_memory_errors():
        from .fit.engine.step import choose_device
        from .fit.loop import fit

        device = choose_device(settings.device)
        startup = time.monotonic() - planned.loaded_at
        with limited_threads(settings.threads):
            spec, how = choose(planned, device)
            chosen(spec, how)
            with matmul_precision(how.matmul_precision), current(device):
                result = fit(
                    planned.signal,
                    spec,
                    planned.sampler,
                    how,
                    planned.budget,
                    device,
                    settings.seed,
                    progress,
                    stop,
                    started=planned.loaded_at,
                    watch=watch,
                )
            spent = {"startup_seconds": startup, **result.spent, "read_seconds": planned.read_seconds}
            return finish(planned, replace(result, spent=spent), how, device, stop, checking)


def choose(planned: Plan, device: torch.device) -> tuple[FieldSpec, Recipe]:
    """Field and recipe for what was planned."""
    from .fit import recipe

    settings = planned.settings
    frequencies = recipe.architecture_options(planned.signal, planned.spec.formula, settings.regime)
    spec = replace(planned.spec, options={**frequencies, **planned.spec.options})
    how = recipe.choose(
        spec,
        device,
        settings.batch,
        settings.precision,
        settings.lr,
        settings.engine,
        settings.threads,
        planned.budget,
        settings.regime,
    )
    return spec, how


def finish(
    planned: Plan, result: Fit, how: Recipe, device: torch.device, stop: Callable[[], bool], checking: Share
) -> Artifact:
    """The artifact of a fit: serialised, read back (which rounds the weights to their store), decoded in float32 and
    measured."""
    from .artifact.provenance import describe
    from .fit.evaluation import measure

    weights = {name: w.detach().cpu().numpy().copy() for name, w in result.field.weights.items()}
    provenance = describe(planned, result, how, device)
    store = storable(weights, planned.store, planned.spec.fp32_tensors)
    if store != planned.store:
        provenance["notes"].append(f"a weight is beyond the range of {planned.store}: all are stored as {store}")
    bare = Artifact(
        result.field.spec, weights, planned.signal.modality, dict(planned.signal.meta), provenance, {}, store
    )
    begun = time.monotonic()
    stored = Artifact.from_bytes(bare.to_bytes())
    hurried = result.ended == "interrupted"
    quality = measure(stored.field(device), result.signal, planned.settings.verify, hurried, stop, checking)
    value = quality.get(planned.modality.QUALITY)
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

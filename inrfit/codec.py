"""Read this first: ``encode`` turns a file into an Artifact, ``decode`` turns an Artifact into samples.

``encode`` works in three steps, one function each:

1. ``plan_source`` reads the file and plans the fit: it loads the file as a Signal and chooses sampler, architecture
   and field size. Torch is not imported until the input has been accepted.
2. ``execution.execute_plan`` chooses the recipe (precision, engine, batch, learning rates) and fits the field within
   the budget.
3. ``storing.build_artifact`` rounds and serialises the field, reads these bytes back as any reader would, decodes them
   and measures the quality, which is stored in the header.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import execution, output_files
from .artifact import decoding
from .artifact.artifact import Artifact
from .artifact.loading import load
from .config.plan import Plan, plan
from .config.settings import Settings, settings_from
from .errors import UsageError, printable, warn
from .execution import translated_errors
from .interrupts import stop_on_signals
from .io import files
from .io.arguments import (
    BOOLEAN,
    DEVICE,
    FUNCTION,
    PATH,
    TEXT,
    WHOLE,
    a,
    checked,
    described,
    or_none,
    source_or_values,
)  # fmt: skip
from .io.limits import Limits
from .io.renamed import renamed_arguments
from .modalities import Request, array_source
from .modalities.sources import read_source
from .resume import checkpoint_policy

if TYPE_CHECKING:
    import numpy.typing as npt

    from .fit.events import ProgressReport, StepEvent
    from .modalities.streaming import ArrayStream

OnProgress = Callable[[float], None]
"""Called during long work with the fraction done, 0 to 1."""


@renamed_arguments(progress="on_report", watch="on_step", stop="should_stop", start="initial_field")
@checked(
    rate=or_none(WHOLE),
    axes=or_none(TEXT),
    on_report=or_none(FUNCTION),
    on_step=or_none(FUNCTION),
    should_stop=or_none(FUNCTION),
    output=or_none(PATH),
    force=BOOLEAN,
    resume=BOOLEAN,
)
def encode(
    source: str | os.PathLike[str] | npt.NDArray[Any] | None = None,
    *,
    coords: npt.ArrayLike | None = None,
    values: npt.ArrayLike | None = None,
    rate: int | None = None,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    units: str | Sequence[str] | None = None,
    on_report: Callable[[ProgressReport], None] | None = None,
    on_step: Callable[[StepEvent], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    checkpoint: str | float | None = None,
    resume: bool = False,
    initial_field: str | os.PathLike[str] | Artifact | None = None,
    **settings: Any,
) -> Artifact:
    """Fits a field to a file or a NumPy array and returns it, measured and ready to be saved.

    Source:

    - ``source``: a path, a NumPy array, or a torch tensor. An array (h, w) or (h, w, c) is an image. An int16 or float
      array (n,) or (n, c) is a sound and needs ``rate``, its sample rate in Hz. An array of one to four axes, and
      channels, is a volume and needs ``axes``, a letter for each of its axes, slowest first: t, z, y, x, and c for the
      channels. It may have a ``spacing`` of its samples, a number for each axis but c, and its ``units`` (one name, or
      one for each).
    - ``coords`` (n, d) and ``values`` (n, c), in place of ``source``: n samples of a function at arbitrary points, in
      one to four dimensions, with ``axes`` (a letter for each column of ``coords``) and ``units`` if there are any.
    - ``settings``: the fields of ``Settings``, such as ``sampler="nint"`` or ``budget="60s"``.
    - ``initial_field``: an artifact, or the path of one, whose weights the fit starts from. It must have the
      architecture, the sizes and the options of this fit.

    Callbacks:

    - ``on_report(report)`` is called about ten times a second with a ``ProgressReport``.
    - ``on_step(event)`` is called after every optimiser step with a ``StepEvent``.
    - ``should_stop()`` is polled between chunks of work; once it returns True, the fit ends and the best field so far
      is returned, with ``provenance["ended"] == "interrupted"``. By default Ctrl-C does this.

    Output:

    - ``output``: the file that the field is written to. An existing file is replaced only with ``force``. An
      interrupted field is written beside it, under another name, which an ``InrfitWarning`` says.
    - ``checkpoint``: interval in seconds, or text such as "30s", at which the state of the fit is saved beside
      ``output``.
    - ``resume``: continues from the saved state; if ``output`` already holds the complete field of the same source and
      settings, that field is returned.

    Raises ``UsageError`` for invalid arguments or settings, ``OutputExists`` if ``output`` exists and may not be
    replaced, ``RefusedInput`` if the source cannot be read or is not supported, ``NotEnoughMemory``, ``Diverged`` if
    the result is no better than a constant, ``UnwritableOutput``, and ``KeyboardInterrupt`` if the fit is stopped
    before it has learned anything. All but the last are ``InrfitError``.
    """
    checked_settings = settings_from(settings)
    if output is not None:
        output_files.refuse_media_suffix(os.fspath(output), f"output={os.fspath(output)!r}: encode")
    checkpointing = checkpoint_policy(output, checkpoint, resume)
    initial = _load_initial_field(initial_field, checked_settings)
    source = source_or_values(source, coords, values)
    given = {"rate": rate, "axes": axes, "spacing": spacing, "units": units, "coords": coords}
    arguments = {name: value for name, value in given.items() if value is not None}
    planned = plan_source(source, arguments, checked_settings)
    if checkpointing is not None and resume and not force:
        complete = output_files.find_complete(planned, os.fspath(output or ""), initial)
        if complete is not None:
            checkpointing.remove_state_of(complete)
            return complete
    if output is not None:
        files.check_target(output, force)
        files.remove_stale(os.path.dirname(output) or ".", os.path.basename(output))
    if checkpointing is not None:
        checkpointing.check_target(force, source)
        files.remove_stale(os.path.dirname(checkpointing.path) or ".", os.path.basename(checkpointing.path))
    with nullcontext(should_stop) if should_stop is not None else stop_on_signals() as stop:
        artifact = execution.execute_plan(
            planned, on_report, stop, on_step=on_step, checkpointing=checkpointing, initial_field=initial
        )
        if output is not None:  # Ctrl-C has been noted by the handler, and does not cost the field
            written = output_files.save(artifact, os.fspath(output), force, checkpointing)
            if written != os.fspath(output):
                warn(f"the fit was interrupted; the field so far is in {printable(written)}")
    return artifact


def _load_initial_field(field: str | os.PathLike[str] | Artifact | None, settings: Settings) -> Artifact | None:
    """The field whose weights a fit starts from."""
    if field is None or isinstance(field, Artifact):
        return field
    if not PATH.accepts(field):  # ``open`` would take a number for a file descriptor
        raise UsageError(f"initial_field: must be a path or an Artifact, not {described(field)}", "option")
    return load(field, settings.limits)


def plan_source(source: Any, arguments: Mapping[str, Any], settings: Settings) -> Plan:
    """Reads a file, or converts an array with its ``arguments`` to the file it would be, and plans its fit."""
    import numpy as np

    started_at = time.monotonic()
    if isinstance(source, str | os.PathLike):
        if arguments:
            name = next(iter(arguments))
            raise UsageError(f"{name}: only an array needs this argument; a file says it itself", "option")
        data, name = read_source(source, settings.limits), os.path.basename(os.fspath(source).rstrip("/"))
    elif isinstance(source, np.ndarray):
        (data, modality, options), name = array_source(source, arguments), "array"
        settings = replace(settings, type=modality, options={**options, **settings.options})
    else:
        raise UsageError(f"source: must be a path or a NumPy array, not {described(source)}", "option")
    return plan(data, name, settings, started_at)


@renamed_arguments(tick="on_progress")
@checked(artifact=a(Artifact), request=a(Request), device=DEVICE, limits=a(Limits), on_progress=FUNCTION)
def decode(
    artifact: Artifact,
    request: Request = Request(),
    device: str = "cpu",
    limits: Limits = Limits(),
    on_progress: OnProgress = lambda fraction: None,
) -> Any:
    """Decodes a field into samples of the source's sample type.

    Returns a uint8 array (h, w, c) for an image, an array (n, c) for a sound, and a ``Mesh`` in the units of the source
    for a shape. ``request`` asks for another size, sample rate or resolution than the source's. ``device`` is "auto",
    "cpu", "cuda" or "cuda:N"; the arithmetic is float32 on all of them. ``on_progress(fraction)`` is called between
    chunks, 0 to 1, and may raise to cancel.

    Raises ``UsageError`` for a request or device that is not possible, ``OverLimit`` if the output would be larger than
    ``limits`` allow, and ``NotEnoughMemory``."""
    with translated_errors():
        from .fit.engine.step import choose_device

        return artifact.decode(request, choose_device(device), limits, on_progress)


def decode_stream(
    artifact: Artifact, suffix: str, request: Request, device: str, limits: Limits, on_progress: OnProgress
) -> ArrayStream:
    """The samples of ``decode`` for a file with this ``suffix``, evaluated while they are iterated over, once. The
    modality must have a ``streaming``. Iterate within ``translated_errors``."""
    with translated_errors():
        from .fit.engine.step import choose_device

        return decoding.decode_stream(artifact, suffix, request, choose_device(device), limits, on_progress)

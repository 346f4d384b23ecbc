"""Resumes a fit from its saved state, or starts it from the weights of another field."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .errors import InrfitError, OutputExists, RefusedInput, UnreadableFile, UsageError, printable, warn
from .fit.budget import parse_seconds
from .io import files
from .io.limits import Limits
from .io.tensors import STATE_KEY, has_key

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .artifact.artifact import Artifact
    from .config.plan import Plan
    from .fields import FieldSpec
    from .fit.checkpoint import Checkpointer, SavedState, StatefulCallback
    from .fit.recipe import Recipe

STATE_SUFFIX = ".state"
"""Appended to the name of an output: the file with the saved state of its fit."""

START_OVER = "to start over, remove it, or leave out --resume and give --force"
"""Advice about a state that a fit cannot continue from."""

RESUMED_REASON = "as when the fit began"

STARTED_FROM = "started_from"
"""The provenance setting that names the field whose weights a fit started from."""


@dataclass(frozen=True)
class CheckpointPolicy:
    """Where and how often the state of a fit is saved, and whether the fit resumes from it.

    The state is written to ``path`` every ``interval_seconds`` (None: only when the fit is stopped). With ``resume``
    the fit continues from the state in ``path``, if there is one. A state that is damaged or belongs to another fit is
    an error; with ``restart_on_mismatch`` the fit then starts from the beginning instead."""

    path: str
    interval_seconds: float | None = None
    resume: bool = False
    restart_on_mismatch: bool = False

    def check_target(self, force: bool, source: Any = None) -> None:
        """Raises before the fit what saving its state would raise later.

        Raises ``OutputExists`` if ``path`` is the ``source``, is not a state file and may not be replaced by ``force``,
        or holds the state of an interrupted fit and neither ``resume`` nor ``force`` is given; ``UnwritableOutput`` if
        it cannot be written."""
        name = printable(self.path)
        if os.path.lexists(self.path):
            if isinstance(source, str | os.PathLike) and os.path.realpath(self.path) == os.path.realpath(source):
                raise OutputExists(f"{name}: is the source and the name of the state; give another output", "exists")
            ordinary = stat.S_ISREG(os.lstat(self.path).st_mode)
            readable = os.path.isfile(self.path) if self.resume else has_key(self.path, STATE_KEY)
            if not (readable or (force and ordinary)):
                advice = "replace it with --force, or remove it" if ordinary else "remove it"
                raise OutputExists(f"{name}: exists and is not the state of a fit ({advice})", "exists")
            if not (self.resume or force):
                raise OutputExists(
                    f"{name}: is the state of an interrupted fit (continue it with --resume, or replace it with "
                    "--force)",
                    "exists",
                )
        files.check_target(self.path, force=True)

    def remove_state(self, force: bool = False) -> None:
        """Deletes the state file, once the output has been written; with ``force`` also what is no state."""
        with contextlib.suppress(OSError):
            if has_key(self.path, STATE_KEY) or (force and stat.S_ISREG(os.lstat(self.path).st_mode)):
                os.unlink(self.path)

    def remove_state_of(self, artifact: Artifact) -> None:
        """Deletes the state file if the fit of ``artifact`` has left it; the state of another budget is kept. That of
        the smallest file of a quality has no target."""
        from .fit.checkpoint import loads

        with contextlib.suppress(RefusedInput):
            saved_state = loads(files.read(self.path, Limits()))
            budget = artifact.provenance.get("budget", {})
            if saved_state.values["tracker"]["budget"] in (budget, {**budget, "target": None}):
                self.remove_state()


@dataclass(frozen=True)
class FitStart:
    """How a fit starts: its recipe, the state that it resumes from (None: from the beginning), and what saves its
    state on the way. ``save_errors`` holds the error of the last save, if it failed."""

    recipe: Recipe
    saved_state: SavedState | None = None
    checkpointer: Checkpointer | None = None
    save_errors: list[str] = field(default_factory=list)

    @property
    def record(self) -> dict[str, Any]:
        """What the provenance records about a resumed fit."""
        return {} if self.saved_state is None else {"resumed_at_step": self.saved_state.values["tracker"]["step"]}


def checkpoint_policy(
    output: str | os.PathLike[str] | None, checkpoint: str | float | None, resume: bool
) -> CheckpointPolicy | None:
    """The policy for a fit whose field goes to ``output``; None if its state is neither saved nor resumed.
    ``checkpoint`` is an interval in seconds or text such as "30s". Raises ``UsageError``."""
    if checkpoint is None and not resume:
        return None
    if output is None:
        raise UsageError("checkpoint and resume need an output: the state is saved beside it", "output")
    if checkpoint is not None and (isinstance(checkpoint, bool) or not isinstance(checkpoint, str | int | float)):
        raise UsageError(f"checkpoint {checkpoint!r}: must be text such as '30s', or a number of seconds", "option")
    seconds = parse_seconds(checkpoint, "--checkpoint") if isinstance(checkpoint, str) else checkpoint
    if seconds is not None and not seconds > 0:
        raise UsageError(f"--checkpoint {checkpoint}: must be more than 0 seconds", "option")
    return CheckpointPolicy(os.fspath(output) + STATE_SUFFIX, seconds, resume)


def prepare_start(
    planned: Plan,
    spec: FieldSpec,
    recipe: Recipe,
    device: torch.device,
    checkpointing: CheckpointPolicy | None,
    callback: StatefulCallback | None = None,
    initial_field: Artifact | None = None,
) -> FitStart:
    """How the fit of ``planned`` starts. A resumed fit keeps the recipe that it began with, and the saved state of its
    ``callback`` is restored.

    Raises ``UsageError`` if the state belongs to another fit, or has more steps than the budget; a ``RefusedInput`` if
    the file is damaged."""
    if checkpointing is None:
        return FitStart(recipe)
    from .config.identity import identity
    from .fit.checkpoint import Checkpointer

    first_weights = initial_field_record(initial_field).get(STARTED_FROM, "drawn by the seed")
    fit_identity = identity(planned, spec) | {"device": device.type, "first weights": first_weights}
    saved_state = _read_state(checkpointing, fit_identity, callback) if checkpointing.resume else None
    if saved_state is not None:
        recipe = _recorded_recipe(recipe, saved_state, spec)
        steps, max_steps = saved_state.values["tracker"]["step"], planned.budget.steps
        if max_steps is not None and steps > max_steps:
            name = printable(checkpointing.path)
            raise UsageError(
                f"{name}: {steps:,} steps were made, the budget is {max_steps:,}; give at least {steps:,}it", "budget"
            )
    save_errors: list[str] = []

    def write(data: bytes) -> None:
        """Writes the state. A full disk must not end the fit, so an error is only noted, for the provenance, and the
        first one in a row is said."""
        try:
            files.write(checkpointing.path, data, force=True)
            save_errors.clear()
        except InrfitError as error:
            said = bool(save_errors)
            save_errors[:] = [f"the state of the fit could not be saved: {error}"]
            if not said:
                warn(save_errors[0])

    checkpointer = Checkpointer(fit_identity, recipe.config.json(), checkpointing.interval_seconds, write, callback)
    return FitStart(recipe, saved_state, checkpointer, save_errors)


def _read_state(
    checkpointing: CheckpointPolicy, fit_identity: Mapping[str, Any], callback: StatefulCallback | None
) -> SavedState | None:
    """The state in the file, None if there is none; the state of ``callback`` is restored from it. Raises
    ``UsageError`` if it belongs to another fit."""
    from .fit.checkpoint import loads, require_same_fit, restore_callback

    try:
        saved_state = loads(files.read(checkpointing.path, Limits()))
        require_same_fit(saved_state, fit_identity)
        if callback is not None:
            restore_callback(saved_state, callback)
    except (RefusedInput, UsageError) as error:
        if error.reason == "missing" or checkpointing.restart_on_mismatch:
            return None
        name = printable(checkpointing.path)
        raise type(error)(f"{name}: {error} ({START_OVER})", error.reason) from None
    return saved_state


def _recorded_recipe(recipe: Recipe, saved_state: SavedState, spec: FieldSpec) -> Recipe:
    """``recipe`` with the values that the saved fit began with; but its own arithmetic and engine if the compiled
    kernel of that fit cannot be used here."""
    from .fit.engine.config import TrainingConfig
    from .fit.engine_choice import kernel_runs

    try:
        config = TrainingConfig.from_json(dict(saved_state.config))
    except ValueError as error:
        raise UnreadableFile(f"the training configuration in the state is invalid: {error}", "state") from None
    if config.engine == "kernel" and not kernel_runs(spec, config.precision):
        config = replace(config, precision=recipe.config.precision, engine=recipe.config.engine)
    saved_values = {choice.name: getattr(config, choice.name) for choice in recipe.choices}
    choices = tuple(
        choice
        if saved_values[choice.name] == choice.value
        else replace(choice, value=saved_values[choice.name], reason=RESUMED_REASON)
        for choice in recipe.choices
    )
    return replace(recipe, choices=choices, probe=config.probe)


def initial_weights(initial_field: Artifact, spec: FieldSpec) -> dict[str, Tensor]:
    """The weights of ``initial_field`` for a fit of ``spec``. Raises ``UsageError`` unless both have the same
    architecture, sizes and options."""
    import torch

    source = initial_field.spec
    if source.architecture != spec.architecture:
        raise _mismatch(f"the field is a {source.architecture}, this fit needs a {spec.architecture}")
    if source.shapes != spec.shapes:
        sizes = [f"depth {s.depth}, width {s.width}, {s.inputs} inputs, {s.outputs} outputs" for s in (source, spec)]
        raise _mismatch(f"the field has {sizes[0]}; this fit needs {sizes[1]}")
    required = _formula_options(spec)
    differing = [f"{name} {value}" for name, value in _formula_options(source).items() if value != required.get(name)]
    if differing:
        raise _mismatch(f"the field has other options: {', '.join(differing)} (choose the same with -O)")
    return {name: torch.from_numpy(weight.copy()) for name, weight in initial_field.weights.items()}


def _formula_options(spec: FieldSpec) -> Mapping[str, Any]:
    """All options that the values of a field depend on, with defaults; without those of the initialisation."""
    initialization_only = spec.formula.TRAITS.initialization_options
    return {name: value for name, value in asdict(spec.formula).items() if name not in initialization_only}


def _mismatch(reason: str) -> UsageError:
    return UsageError(f"--from: {reason}", "other-field")


def initial_field_record(initial_field: Artifact | None) -> dict[str, Any]:
    """What the provenance records about the field that a fit started from."""
    if initial_field is None:
        return {}
    source = initial_field.provenance.get("source", {"name": "an unknown source"})
    name = printable(os.path.basename(str(source["name"])))[:200]
    return {STARTED_FROM: f"the field of {name}, SHA-256 {files.sha256(initial_field.to_bytes())}"}

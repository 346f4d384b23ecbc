"""Going on with a fit: from its own saved state, or from the weights of another field."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .errors import InrfitError, OutputExists, RefusedInput, UnreadableFile, UsageError, printable
from .fit.budget import parse_seconds
from .fit.outcome import Outcome
from .io import files
from .io.limits import Limits
from .io.tensors import STATE, is_kind

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .artifact.artifact import Artifact
    from .config.plan import Plan
    from .fields import FieldSpec
    from .fit.checkpoint import Checkpointer, Companion, Saved
    from .fit.recipe import Recipe

FIELD = ".safetensors"

SUFFIX = ".state"
"""What is added to the name of an output for the file that holds the state of its fit."""

REASON = "as when the fit began"

STARTED_FROM = "started_from"


@dataclass(frozen=True)
class Keeping:
    """How the state of a fit is kept: in the file ``path``, every ``seconds`` (None: when the fit is stopped), and
    whether to ``resume`` from what the file holds. ``or_begin``: the state of another fit is passed over, not
    refused."""

    path: str
    seconds: float | None = None
    resume: bool = False
    or_begin: bool = False

    def check(self, force: bool) -> None:
        """Raises now what saving would raise later. What is no state of a fit is never replaced (with ``resume`` it is
        refused when it is read), nor is, without ``force``, the state of an interrupted fit that is not gone on with:
        ``OutputExists``."""
        shown = printable(self.path)
        if os.path.lexists(self.path):
            readable = os.path.isfile(self.path) if self.resume else is_kind(self.path, STATE)
            if not readable:
                raise OutputExists(f"{shown}: exists already and is no state of a fit", "exists")
            if not (self.resume or force):
                raise OutputExists(
                    f"{shown}: is the state of an interrupted fit (go on with --resume, or replace it with --force)",
                    "exists",
                )
        files.check_target(self.path, force=True)

    def done(self) -> None:
        """Removes the file: the output is written."""
        with contextlib.suppress(OSError):
            if is_kind(self.path, STATE):
                os.unlink(self.path)

    def done_with(self, found: Artifact) -> None:
        """Removes the file if it is what the fit of ``found`` has left; that of another budget stays."""
        from .fit.checkpoint import loads

        with contextlib.suppress(RefusedInput):
            saved = loads(files.read(self.path, Limits()))
            if saved.numbers["clock"]["budget"] == found.provenance["budget"]:
                self.done()


@dataclass(frozen=True)
class Continued:
    """A fit that begins, or goes on: the recipe it is made by, the state it goes on from, and what saves its state.
    ``problems`` say why the state could not be saved."""

    recipe: Recipe
    saved: Saved | None = None
    checkpointer: Checkpointer | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def record(self) -> dict[str, Any]:
        """What the provenance says about it."""
        return {} if self.saved is None else {"resumed_at_step": self.saved.numbers["clock"]["step"]}


def keeping(output: str | os.PathLike[str] | None, checkpoint: str | float | None, resume: bool) -> Keeping | None:
    """How the state of a fit is kept whose field goes to ``output``; None where it is not. Raises ``UsageError``."""
    if checkpoint is None and not resume:
        return None
    if output is None:
        raise UsageError("checkpoint and resume need an output: the state is kept beside it", "output")
    if checkpoint is not None and (isinstance(checkpoint, bool) or not isinstance(checkpoint, str | int | float)):
        raise UsageError(f"checkpoint {checkpoint!r}: must be such as '30s', or seconds", "option")
    seconds = parse_seconds(checkpoint, "--checkpoint") if isinstance(checkpoint, str) else checkpoint
    if seconds is not None and not seconds > 0:
        raise UsageError(f"--checkpoint {checkpoint}: must be more than nothing", "option")
    return Keeping(os.fspath(output) + SUFFIX, seconds, resume)


def continued(
    planned: Plan,
    spec: FieldSpec,
    recipe: Recipe,
    device: torch.device,
    keeping: Keeping | None,
    companion: Companion | None = None,
    start: Artifact | None = None,
) -> Continued:
    """The fit of ``planned``, by ``recipe`` unless there is a state to go on from; the state of ``companion`` is saved
    with it. ``start`` is the field whose weights it starts from. Raises ``UsageError`` where that is the state of
    another fit, a ``RefusedInput`` where the file is damaged."""
    if keeping is None:
        return Continued(recipe)
    from .config.identity import identity
    from .fit.checkpoint import Checkpointer

    first = start_record(start).get(STARTED_FROM, "drawn by the seed")
    of = identity(planned, spec) | {"device": device.type, "first weights": first}
    saved = _read(keeping, of, companion) if keeping.resume else None
    if saved is not None:
        recipe = _recorded(recipe, saved)
        made, most = saved.numbers["clock"]["step"], planned.budget.steps
        if most is not None and made > most:
            raise UsageError(f"{printable(keeping.path)}: {made:,} steps were made, the budget is {most:,}", "budget")
    problems: list[str] = []

    def write(data: bytes) -> None:
        """A full disk must not end the fit: what cannot be saved is told with the result."""
        try:
            files.write(keeping.path, data, force=True)
            problems.clear()
        except InrfitError as error:
            problems[:] = [f"the state of the fit could not be saved: {error}"]

    checkpointer = Checkpointer(of, recipe.config.json(), keeping.seconds, write, companion)
    return Continued(recipe, saved, checkpointer, problems)


def _read(keeping: Keeping, of: Mapping[str, Any], companion: Companion | None) -> Saved | None:
    """The state in the file, that of ``companion`` put into it; None if there is none. Raises ``UsageError`` for that
    of another fit."""
    from .fit.checkpoint import loads, refuse_another_fit, restore_companion

    try:
        saved = loads(files.read(keeping.path, Limits()))
        refuse_another_fit(saved, of)
        if companion is not None:
            restore_companion(saved, companion)
    except (RefusedInput, UsageError) as error:
        if error.reason == "missing" or keeping.or_begin:
            return None
        raise type(error)(f"{printable(keeping.path)}: {error} (begin anew without --resume)", error.reason) from None
    return saved


def _recorded(recipe: Recipe, saved: Saved) -> Recipe:
    """The recipe with the values that the fit was begun with."""
    from .fit.engine.config import TrainingConfig

    try:
        config = TrainingConfig.from_json(dict(saved.config))
    except (TypeError, KeyError, ValueError) as error:
        raise UnreadableFile(f"the state's configuration is not one: {error}", "state") from None
    now = {choice.name: choice.value for choice in recipe.choices}
    values = {name: getattr(config, name) for name in now}
    choices = tuple(
        choice if values[choice.name] == choice.value else replace(choice, value=values[choice.name], reason=REASON)
        for choice in recipe.choices
    )
    return replace(recipe, choices=choices, probe=config.probe)


def initial_weights(start: Artifact, spec: FieldSpec) -> dict[str, Tensor]:
    """The weights of ``start`` for a fit of ``spec``. Raises ``UsageError`` where they are of another field."""
    import torch

    theirs = start.spec
    if theirs.architecture != spec.architecture:
        raise _misfit(f"it is a {theirs.architecture}, this fit is of a {spec.architecture}")
    if theirs.shapes != spec.shapes:
        sizes = [f"depth {s.depth}, width {s.width}, {s.inputs} to {s.outputs} numbers" for s in (theirs, spec)]
        raise _misfit(f"it has {sizes[0]}; this fit {sizes[1]}")
    wanted = _formula(spec)
    others = [f"{name} {value}" for name, value in _formula(theirs).items() if value != wanted.get(name)]
    if others:
        raise _misfit(f"its options are others: {', '.join(others)} (choose the same with -O)")
    return {name: torch.from_numpy(weight.copy()) for name, weight in start.weights.items()}


def _formula(spec: FieldSpec) -> Mapping[str, Any]:
    """The options that the formula of a field depends on, those left out filled in."""
    left_out = spec.formula.TRAITS.initialization_options
    return {name: value for name, value in asdict(spec.formula).items() if name not in left_out}


def _misfit(why: str) -> UsageError:
    return UsageError(f"--from: {why}", "other-field")


def start_record(start: Artifact | None) -> dict[str, Any]:
    """What the provenance says about the field that a fit started from."""
    if start is None:
        return {}
    name = printable(os.path.basename(str(start.provenance["source"]["name"])))[:200]
    return {STARTED_FROM: f"the field of {name}, SHA-256 {files.sha256(start.to_bytes())}"}


def complete(planned: Plan, output: str, start: Artifact | None = None) -> Artifact | None:
    """The complete field of ``planned``, begun from ``start``, that ``output`` holds already; None if there is no such
    file. Raises ``OutputExists`` where the file is something else, and names what."""
    from .artifact.artifact import Artifact
    from .config.identity import settings_digest, stored_digest

    if not os.path.lexists(output):
        return None
    shown = printable(output)
    try:
        found = Artifact.from_bytes(files.read(output, Limits()))
    except RefusedInput as error:
        raise OutputExists(f"{shown}: exists already and is no field: {error}", "exists") from None
    if found.provenance["source"]["sha256"] != planned.sha256:
        raise OutputExists(f"{shown}: is the field of another source (overwrite it with --force)", "other-source")
    if stored_digest(found.provenance["settings"]) != settings_digest(planned):
        raise OutputExists(
            f"{shown}: is a field of another budget or other settings (overwrite it with --force)", "other-settings"
        )
    if found.provenance["settings"].get(STARTED_FROM) != start_record(start).get(STARTED_FROM):
        raise OutputExists(f"{shown}: is a field begun from other weights (overwrite it with --force)", "other-start")
    if found.provenance["ended"] == Outcome.INTERRUPTED.word:
        raise OutputExists(f"{shown}: is the field of an interrupted fit (overwrite it with --force)", "interrupted")
    return found


def save(artifact: Artifact, output: str, force: bool, keeping: Keeping | None) -> str:
    """Writes the field and returns the name written (``name_for``). The state is removed once the fit is complete."""
    name, replaces = name_for(artifact, output)
    artifact.save(name, force=replaces or (force and name == output))
    if keeping is not None and name == output:
        keeping.done()
    return name


def name_for(artifact: Artifact, output: str) -> tuple[str, bool]:
    """Where ``artifact`` is written, and whether it may replace what is there: a complete field goes to ``output``,
    what came of an interrupted fit beside it, in the place of what an earlier part of the same fit has left."""
    if artifact.provenance["ended"] != Outcome.INTERRUPTED.word:
        return output, False
    from .artifact.artifact import Artifact
    from .config.identity import stored_digest

    first = beside(output, "interrupted")
    with contextlib.suppress(RefusedInput):
        earlier = Artifact.from_bytes(files.read(first, Limits())).provenance
        same = all(earlier[key] == artifact.provenance[key] for key in ("source", "budget", "sampler"))
        if same and stored_digest(earlier["settings"]) == stored_digest(artifact.provenance["settings"]):
            return first, True
    return free_name(output, "interrupted"), False


def beside(output: str, word: str) -> str:
    """``photo.png.WORD.safetensors`` for ``photo.png.safetensors``."""
    return f"{output.removesuffix(FIELD)}.{word}{FIELD}"


def free_name(output: str, word: str) -> str:
    """The same, or with a number behind the word, where nothing stands yet."""
    names = (beside(output, f"{word}{number}") for number in ("", *range(2, 1000)))
    return next(name for name in names if not os.path.lexists(name))

"""Going on with a fit: from its own saved state, or from the weights of another field."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .artifact.artifact import Artifact
from .config.identity import identity
from .config.plan import Plan
from .errors import InrfitError, UnreadableFile, UsageError, printable
from .io import files
from .io.limits import Limits

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .fields import FieldSpec
    from .fit.checkpoint import Checkpointer, Saved
    from .fit.recipe import Recipe

SUFFIX = ".state"
"""What is added to the name of an output for the file that holds the state of its fit."""

REASON = "as when the fit began"


@dataclass(frozen=True)
class Keeping:
    """How the state of a fit is kept: in the file ``path``, every ``seconds`` (None: when the fit is stopped), and
    whether to ``resume`` from what the file holds."""

    path: str
    seconds: float | None = None
    resume: bool = False


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


def continued(
    planned: Plan, spec: FieldSpec, recipe: Recipe, device: torch.device, keeping: Keeping | None
) -> Continued:
    """The fit of ``planned``, by ``recipe`` unless there is a state to go on from. Raises ``UsageError`` where that is
    the state of another fit, a ``RefusedInput`` where the file is damaged."""
    if keeping is None:
        return Continued(recipe)
    from .fit.checkpoint import Checkpointer, refuse_another_fit

    of = identity(planned, spec) | {"device": device.type}
    saved = _read(keeping.path) if keeping.resume else None
    if saved is not None:
        refuse_another_fit(saved, of)
        recipe = _recorded(recipe, saved)
    problems: list[str] = []

    def write(data: bytes) -> None:
        """A full disk must not end the fit: what cannot be saved is told with the result."""
        try:
            files.write(keeping.path, data, force=True)
        except InrfitError as error:
            problems[:] = [f"the state of the fit could not be saved: {error}"]

    return Continued(recipe, saved, Checkpointer(of, recipe.config.json(), keeping.seconds, write), problems)


def _read(path: str) -> Saved | None:
    """The state in the file; None if there is none."""
    from .fit.checkpoint import loads

    try:
        return loads(files.read(path, Limits()))
    except UnreadableFile as error:
        if error.reason == "missing":
            return None
        raise type(error)(f"{printable(path)}: {error} (begin anew without --resume)", error.reason) from None


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
        sizes = [f"{s.depth}x{s.width}, {s.inputs} to {s.outputs} numbers" for s in (theirs, spec)]
        raise _misfit(f"it is {sizes[0]}, this fit is of {sizes[1]}")
    wanted = _formula(spec)
    others = [f"{name} {value}" for name, value in _formula(theirs).items() if value != wanted.get(name)]
    if others:
        raise _misfit(f"its options are others: {', '.join(others)} (choose the same with -O)")
    return {name: torch.from_numpy(weight.copy()) for name, weight in start.weights.items()}


def _formula(spec: FieldSpec) -> Mapping[str, Any]:
    """The options that the formula of a field depends on, those left out filled in."""
    options = asdict(spec.settings)  # type: ignore[call-overload]
    return {name: value for name, value in options.items() if name not in getattr(spec.settings, "FOLDED", ())}


def _misfit(why: str) -> UsageError:
    return UsageError(f"--from: {why}", "other-field")


def start_record(start: Artifact | None) -> dict[str, Any]:
    """What the provenance says about the field that a fit started from."""
    if start is None:
        return {}
    name = printable(os.path.basename(str(start.provenance["source"]["name"])))[:200]
    return {"started_from": f"the field of {name}, SHA-256 {files.sha256(start.to_bytes())}"}

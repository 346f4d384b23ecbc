"""The state of a fit as a file: written on the way, and read to go on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UnreadableFile, UnsupportedInput, UsageError
from ..io import tensors as tensor_file
from ..io.json_schema import boolean, either, integer, items, mapping, number, optional, scalar, text
from ..io.renamed import with_new_values
from ..io.strict_json import refuse_unless
from ..signal import Signal
from .point_pool import Lot
from .progress import RECENT_STEPS
from .state import FitState, numbers_of, tensors_of

COMPANION = "companion/"
"""How the names of a companion's tensors begin."""

OF_ANY_SHAPE = frozenset({"memory", "terms", "selection", "queue", "taught", "pool", "companion"})
"""Groups of tensors whose shapes a fresh state cannot tell."""

VERSION = 1
"""A state is read by the version that wrote it, and no other."""

_COUNT, _SHARE, _SECONDS = integer(0, 2**62), number(0, 1), number(0)

SCHEMA: Mapping[str, Any] = {
    "version": integer(VERSION, VERSION),
    "fit": mapping(either(scalar, mapping(either(scalar, mapping(scalar))))),
    "config": mapping(scalar),
    "companion": mapping(lambda value: None),
    "state": {
        "clock": {
            "budget": mapping(scalar),
            "seconds": _SECONDS,
            "step": _COUNT,
            "finish": optional(items(number(), 3, 3)),
            "steps_took": items(_SECONDS, 0, RECENT_STEPS),
            "reserve": _SECONDS,
        },
        "schedule": {"begun_at": number(), "last": number()},
        "divergence": {
            "constant_error": _SECONDS,
            "lr_scale": _SHARE,
            "since": _SHARE,
            "idle": _COUNT,
            "last_error": optional(number()),
        },
        "best": {"error": optional(_SECONDS), "quality": optional(number())},
        "batch": optional(integer(1, 2**40)),
        "engine_piece": integer(1, 2**40),
        "learner_piece": integer(1, 2**40),
        "pool": optional(
            {"drawn": _COUNT, "first": _COUNT, "capacity": integer(1, 1 << 28), "begun": _SECONDS, "seconds": _SECONDS}
        ),
        "selection": optional(
            {"origin": mapping(_COUNT), "dealt": boolean, "terms": items(number(), 0, 8), "note": text()}
        ),
        "queue": {"draws": _COUNT, "size": _COUNT, "place": _COUNT},
        "taught": items(_COUNT, 0, 1 << 22),
        "generation": _COUNT,
        "scored": {"forwards": _SECONDS, "passes": _COUNT, "points": _COUNT},
        "spent": {
            "prepare": _SECONDS,
            "sampler": _SECONDS,
            "evaluate": _SECONDS,
            "points": _COUNT,
            "points_evaluated": _COUNT,
            "points_at_selection": _COUNT,
            "first_step": optional(_SECONDS),
            "origin": mapping(_SECONDS),
        },
        "cycle": _COUNT,
        "cycle_error": optional(number()),
        "exact_from": optional(_COUNT),
        "notes": items(text(2000), 0, 1000),
    },
}


@dataclass(frozen=True)
class Saved:
    """A state that was saved: ``fit`` says of which fit (source, field, sampler, settings), ``config`` how it is
    trained."""

    fit: Mapping[str, Any]
    config: Mapping[str, Any]
    companion: Mapping[str, Any]
    numbers: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class Companion(ABC):
    """A callback of the fit whose own state is saved with the fit's."""

    @abstractmethod
    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its state: tensors by name, and JSON."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Goes on from what ``saved`` gave. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else,
        ``UsageError`` where not all was saved that is wanted now."""


class Checkpointer:
    """Saves the state of a fit every ``seconds`` (None: only when the fit is stopped) by ``write``, which is given the
    bytes of the file."""

    def __init__(
        self,
        fit: Mapping[str, Any],
        config: Mapping[str, Any],
        seconds: float | None,
        write: Callable[[bytes], None],
        companion: Companion | None = None,
    ) -> None:
        self._fit, self._config, self._write, self._companion = fit, config, write, companion
        self._seconds = math.inf if seconds is None else seconds
        self._last: float | None = None

    def due(self, now: float) -> bool:
        """Whether the interval has passed, by a clock that says ``now``."""
        if self._last is None:
            self._last = now
        return now - self._last >= self._seconds

    def save(self, state: FitState, now: float) -> None:
        """Writes the state."""
        self._write(dumps(state, self._fit, self._config, self._companion))
        self._last = now


def dumps(
    state: FitState, fit: Mapping[str, Any], config: Mapping[str, Any], companion: Companion | None = None
) -> bytes:
    """The state as a file."""
    tensors, numbers = ({}, {}) if companion is None else companion.saved()
    tensors = tensors_of(state) | {COMPANION + name: tensor for name, tensor in tensors.items()}
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    value = {"version": VERSION, "fit": dict(fit), "config": dict(config), "companion": numbers}
    return tensor_file.dumps(arrays, tensor_file.STATE, value | {"state": numbers_of(state)})


def loads(data: bytes) -> Saved:
    """The state in a file. Raises ``UnreadableFile`` for a damaged one, ``UnsupportedInput`` for one that this version
    does not read."""
    arrays, value = tensor_file.loads(data, tensor_file.STATE)
    if type(value) is dict and value.get("version") != VERSION:
        raise UnsupportedInput("the state of a fit of another version of inrfit", "version")
    refuse_unless(value, SCHEMA, "state", "schema")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Saved(value["fit"], value["config"], value["companion"], value["state"], tensors)


def restore_companion(saved: Saved, companion: Companion) -> None:
    """Puts the saved state of a companion into it. Raises ``UsageError`` where none was saved, ``UnreadableFile`` where
    it is another's."""
    if not saved.companion:
        raise UsageError("the fit was begun without what is to be recorded of it now: go on without", "companion")
    own = {name.removeprefix(COMPANION): t for name, t in saved.tensors.items() if name.startswith(COMPANION)}
    try:
        companion.restore(own, saved.companion)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UnreadableFile(f"what was recorded of the fit cannot be read: {error}", "state") from None


def refuse_another_fit(saved: Saved, fit: Mapping[str, Any]) -> None:
    """Raises ``UsageError`` that names the difference if ``saved`` is the state of another fit."""
    for what in dict.fromkeys([*fit, *saved.fit]):
        then, now = saved.fit.get(what), fit.get(what)
        if isinstance(then, Mapping):
            then = with_new_values(then)
        if then == now:
            continue
        if isinstance(then, Mapping) and isinstance(now, Mapping):
            names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
            told = ", ".join(f"{name} {then.get(name)!s:.60}, now {now.get(name)!s:.60}" for name in names)
        else:
            told = f"{then!s:.80}, now {now!s:.80}"
        other = "other" if what.endswith("s") else "another"
        raise UsageError(f"the saved state is of {other} {what}: {told}", "other-fit")


def saved_points(saved: Saved, signal: Signal) -> tuple[Mapping[str, Any], Lot]:
    """The saved points of a signal that has none of its own, and their numbers. Raises ``UnreadableFile`` where there
    are none that can be of ``signal``."""
    numbers, points, samples = (
        saved.numbers["pool"],
        saved.tensors.get("pool/points"),
        saved.tensors.get("pool/samples"),
    )
    assert signal.points is not None
    if numbers is None or points is None or samples is None or "pool/generator" not in saved.tensors:
        raise UnreadableFile("the state has no points", "state")
    lot = points.numpy(), samples.numpy()
    for found, wanted in zip(lot, (signal.points, signal.samples), strict=True):
        if found.ndim != 2 or found.shape[1] != wanted.shape[1] or found.dtype != wanted.dtype:
            raise UnreadableFile("the state's points are of another kind", "state")
    if not 0 < numbers["first"] <= len(lot[0]) == len(lot[1]) <= numbers["capacity"]:
        raise UnreadableFile("the state's points do not add up", "state")
    return numbers, lot


def refuse_misfits(saved: Saved, state: FitState, samples: int) -> None:
    """Raises ``UnreadableFile`` if the tensors of ``saved`` cannot be those of the fit whose fresh state is ``state``,
    on a signal of ``samples`` samples."""
    wanted = {f"weights/{name}": tensor for name, tensor in state.weights.items()}
    wanted |= {f"best/{name}": tensor for name, tensor in state.weights.items()}
    wanted |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.items()}
    wanted["generator"] = state.generator.get_state()
    for name, tensor in wanted.items():
        found = saved.tensors.get(name)
        if found is None or found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise UnreadableFile(f"the state's tensor {name!r} is missing or has another shape", "state")
    for name, found in saved.tensors.items():
        known = name in wanted or name.split("/")[0] in OF_ANY_SHAPE
        if not known:
            raise UnreadableFile(f"the state has an unknown tensor {name[:80]!r}", "state")
        whole = found.dtype in (torch.int64, torch.int32) and found.dim() > 0 and found.numel() > 0
        # Turns number blocks, and beyond them; a companion's numbers are its own.
        places = whole and name != "queue/turns" and not name.startswith(COMPANION)
        if places and not (int(found.min()) >= 0 and int(found.max()) < samples):
            raise UnreadableFile(f"the state's tensor {name[:80]!r} names samples that are not there", "state")
        listed = name.endswith("/indices")
        if (listed or name == "queue/turns") and (found.dtype != torch.int64 or (listed and found.dim() != 1)):
            raise UnreadableFile(f"the state's tensor {name[:80]!r} is no list of indices", "state")
    taught = [len(saved.tensors.get(f"taught/{name}", ())) for name in ("indices", "residuals")]
    if taught != [sum(saved.numbers["taught"])] * 2:
        raise UnreadableFile("the state's taught points do not add up", "state")

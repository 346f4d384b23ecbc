"""The file that holds the saved state of a fit: writing it during the fit, reading and checking it to resume."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UnreadableFile, UnsupportedInput, UsageError
from ..io import tensors as tensor_file
from ..io.json_schema import boolean, either, integer, items, mapping, number, optional, scalar, text
from ..io.strict_json import check_schema
from ..signal import Signal
from .engine.config import TrainingConfig
from .point_pool import Lot
from .progress import RECENT_STEPS
from .state import FitState, state_tensors, state_values

CALLBACK_PREFIX = "callback/"
"""Prefix of the names of a callback's tensors."""

UNKNOWN_SHAPES = frozenset({"memory", "loss_terms", "selection", "queue", "trained_batches", "pool", "callback"})
"""Groups of tensors whose shapes do not follow from the initial state of the fit."""

VERSION = 2
"""Version of the file; a file of another version is not read."""

_COUNT, _SHARE, _POSITIVE, _NUMBER = integer(0, 2**53), number(0, 1), number(0, 1e40), number(-1e40, 1e40)

SCHEMA: Mapping[str, Any] = {
    "version": integer(VERSION, VERSION),
    "fit": mapping(either(scalar, mapping(either(scalar, mapping(scalar))))),
    "config": mapping(scalar),  # checked by TrainingConfig.from_json
    "callback": mapping(lambda value: None),
    "state": {
        "tracker": {
            "budget": mapping(scalar),
            "seconds": _POSITIVE,
            "step": _COUNT,
            "finish": optional(items(_NUMBER, 3, 3)),
            "recent_step_seconds": items(_POSITIVE, 0, RECENT_STEPS),
            "reserved_seconds": _POSITIVE,
        },
        "schedule": {"first_step_progress": _NUMBER, "last_factor": _NUMBER},
        "divergence": {
            "constant_error": _POSITIVE,
            "lr_scale": _SHARE,
            "lr_since": _SHARE,
            "stalls": _COUNT,
            "last_error": optional(_NUMBER),
        },
        "best": {"error": optional(_POSITIVE), "quality": optional(_NUMBER)},
        "batch": optional(integer(1, 2**40)),
        "engine_chunk_size": integer(1, 2**40),
        "scoring_chunk_size": integer(1, 2**40),
        "pool": optional(
            {
                "drawn": _COUNT,
                "first": _COUNT,
                "capacity": integer(1, 1 << 28),
                "started_at": _POSITIVE,
                "seconds": _POSITIVE,
            }
        ),
        "selection": optional(
            {"origin": mapping(_COUNT), "keep_order": boolean, "loss_terms": items(_NUMBER, 0, 8), "note": text()}
        ),
        "queue": {"random_batches": _COUNT, "batch_size": _COUNT, "position": _COUNT},
        "trained_batches": items(_COUNT, 0, 1 << 22),
        "generation": _COUNT,
        "scoring_cost": {"forwards": _POSITIVE, "passes": _COUNT, "points": _COUNT},
        "usage": {
            "prepare": _POSITIVE,
            "sampler": _POSITIVE,
            "evaluate": _POSITIVE,
            "points": _COUNT,
            "points_evaluated": _COUNT,
            "points_at_selection": _COUNT,
            "first_step": optional(_POSITIVE),
            "origin": mapping(number(0, 2**53)),
        },
        "cycle": _COUNT,
        "cycle_error": optional(_NUMBER),
        "float32_from_step": optional(_COUNT),
        "notes": items(text(2000), 0, 1000),
    },
}


@dataclass(frozen=True)
class SavedState:
    """The content of a state file: which fit it belongs to (``fit``: source, field, sampler, settings), how that is
    trained (``config``), the state of its ``callback``, and the state itself as ``values`` and ``tensors``."""

    fit: Mapping[str, Any]
    config: Mapping[str, Any]
    callback: Mapping[str, Any]
    values: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class StatefulCallback(ABC):
    """An ``on_step`` callback whose own state is saved and resumed with that of the fit."""

    @abstractmethod
    def save_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its state: tensors by name, and JSON values."""

    @abstractmethod
    def restore_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Restores what ``save_state`` returned. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything
        else, ``UsageError`` if something needed now was not saved."""


class Checkpointer:
    """Saves the state of a fit every ``seconds`` (None: only when the fit is stopped).

    ``fit`` identifies the fit, ``config`` is its training configuration, both as JSON; ``write`` receives the bytes of
    the file."""

    def __init__(
        self,
        fit: Mapping[str, Any],
        config: Mapping[str, Any],
        seconds: float | None,
        write: Callable[[bytes], None],
        callback: StatefulCallback | None = None,
    ) -> None:
        self._fit, self._config, self._write, self._callback = fit, config, write, callback
        self._seconds = math.inf if seconds is None else seconds
        self._last_time: float | None = None

    def due(self, now: float) -> bool:
        """Whether the interval has passed at the time ``now`` (s). The first call starts it."""
        if self._last_time is None:
            self._last_time = now
        return now - self._last_time >= self._seconds

    def save(self, state: FitState, now: float) -> None:
        """Writes the state."""
        self._write(dumps(state, self._fit, self._config, self._callback))
        self._last_time = now


def dumps(
    state: FitState, fit: Mapping[str, Any], config: Mapping[str, Any], callback: StatefulCallback | None = None
) -> bytes:
    """The bytes of a state file."""
    callback_tensors, callback_values = ({}, {}) if callback is None else callback.save_state()
    tensors = state_tensors(state) | {CALLBACK_PREFIX + name: tensor for name, tensor in callback_tensors.items()}
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    values = {"version": VERSION, "fit": dict(fit), "config": dict(config), "callback": callback_values}
    return tensor_file.dumps(arrays, tensor_file.STATE_KEY, values | {"state": state_values(state)})


def loads(data: bytes) -> SavedState:
    """Reads a state file. Raises ``UnreadableFile`` if it is damaged, ``UnsupportedInput`` if it is of another
    version."""
    arrays, values = tensor_file.loads(data, tensor_file.STATE_KEY)
    if type(values) is dict and values.get("version") != VERSION:
        raise UnsupportedInput("the state was saved by another version of inrfit", "version")
    check_schema(values, SCHEMA, "state", "schema")
    try:
        TrainingConfig.from_json(values["config"])
    except ValueError as error:
        raise UnreadableFile(f"state.{error}", "schema") from None
    _check_consistency(values["state"], arrays.keys())
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return SavedState(values["fit"], values["config"], values["callback"], values["state"], tensors)


def _check_consistency(values: Mapping[str, Any], tensors: Collection[str]) -> None:
    """Raises ``UnreadableFile`` if numbers in the state contradict each other. ``tensors``: names of its tensors."""
    finish, usage, queue = values["tracker"]["finish"], values["usage"], values["queue"]
    if (
        (finish is not None and not finish[0] < finish[1])
        or usage["points_at_selection"] > usage["points"]
        or (queue["batch_size"] == 0 and (queue["random_batches"] or "queue/points/indices" in tensors))
    ):
        raise UnreadableFile("the numbers in the state contradict each other", "state")


def restore_callback(saved_state: SavedState, callback: StatefulCallback) -> None:
    """Restores the state of ``callback``. Raises ``UsageError`` if none was saved, ``UnreadableFile`` if it is of
    another kind of callback."""
    if not saved_state.callback:
        raise UsageError(
            "the saved fit has no sampling map or video; resume it without --sampling-map and --sampling-video",
            "callback",
        )
    tensors = saved_state.tensors.items()
    own = {name.removeprefix(CALLBACK_PREFIX): t for name, t in tensors if name.startswith(CALLBACK_PREFIX)}
    try:
        callback.restore_state(own, saved_state.callback)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UnreadableFile(f"the recording of the fit in the state cannot be read: {error}", "state") from None


def require_same_fit(saved_state: SavedState, fit: Mapping[str, Any]) -> None:
    """Raises ``UsageError``, which names the difference, if ``saved_state`` belongs to another fit than ``fit``."""
    for topic in dict.fromkeys([*fit, *saved_state.fit]):
        then, now = saved_state.fit.get(topic), fit.get(topic)
        if then == now:
            continue
        if isinstance(then, Mapping) and isinstance(now, Mapping):
            names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
            change = ", ".join(f"{name} {then.get(name)!s:.60}, now {now.get(name)!s:.60}" for name in names)
        else:
            change = f"{then!s:.80}, now {now!s:.80}"
        other = "other" if topic.endswith("s") else "another"
        raise UsageError(f"the saved state is of {other} {topic}: {change}", "other-fit")


def saved_points(saved_state: SavedState, signal: Signal) -> tuple[Mapping[str, Any], Lot]:
    """The saved points of a signal that has none of its own, and the values of their pool. Raises ``UnreadableFile``
    unless they can be points of ``signal``."""
    values = saved_state.values["pool"]
    points, samples = saved_state.tensors.get("pool/points"), saved_state.tensors.get("pool/samples")
    assert signal.points is not None
    if values is None or points is None or samples is None or "pool/generator" not in saved_state.tensors:
        raise UnreadableFile("the state has no points", "state")
    lot = points.numpy(), samples.numpy()
    for array, expected in zip(lot, (signal.points, signal.samples), strict=True):
        if array.ndim != 2 or array.shape[1] != expected.shape[1] or array.dtype != expected.dtype:
            raise UnreadableFile("the points in the state have another shape or number type", "state")
    if not 0 < values["first"] <= len(lot[0]) == len(lot[1]) <= values["capacity"]:
        raise UnreadableFile("the numbers of points in the state contradict each other", "state")
    return values, lot


def check_tensors(saved_state: SavedState, state: FitState, samples: int) -> None:
    """Raises ``UnreadableFile`` if the tensors of ``saved_state`` cannot belong to the fit whose initial state is
    ``state``, on a signal of ``samples`` samples."""
    expected = {f"weights/{name}": tensor for name, tensor in state.weights.items()}
    expected |= {f"best/{name}": tensor for name, tensor in state.weights.items()}
    expected |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.items()}
    expected["generator"] = state.generator.get_state()
    for name, tensor in expected.items():
        saved = saved_state.tensors.get(name)
        if saved is None or saved.shape != tensor.shape or saved.dtype != tensor.dtype:
            raise UnreadableFile(f"the state's tensor {name!r} is missing or has another shape", "state")
    for name, tensor in saved_state.tensors.items():
        if name not in expected and name.split("/")[0] not in UNKNOWN_SHAPES:
            raise UnreadableFile(f"the state has an unknown tensor {name[:80]!r}", "state")
        _check_indices(name, tensor, samples)
    lengths = [len(saved_state.tensors.get(f"trained_batches/{name}", ())) for name in ("indices", "residuals")]
    if lengths != [sum(saved_state.values["trained_batches"])] * 2:
        raise UnreadableFile("the lengths of the trained batches in the state contradict each other", "state")


def _check_indices(name: str, tensor: Tensor, samples: int) -> None:
    """Raises ``UnreadableFile`` if ``tensor`` holds sample indices that are out of range or of another type.

    All integer tensors hold sample indices, except ``queue/block_columns``, which holds numbers of blocks, and those of
    a callback."""
    integers = tensor.dtype in (torch.int64, torch.int32) and tensor.dim() > 0 and tensor.numel() > 0
    holds_indices = integers and name != "queue/block_columns" and not name.startswith(CALLBACK_PREFIX)
    if holds_indices and not (int(tensor.min()) >= 0 and int(tensor.max()) < samples):
        raise UnreadableFile(f"the state's tensor {name[:80]!r} has sample indices out of range", "state")
    is_list = name.endswith("/indices")
    if (is_list or name == "queue/block_columns") and (tensor.dtype != torch.int64 or (is_list and tensor.dim() != 1)):
        raise UnreadableFile(f"the state's tensor {name[:80]!r} must be int64 indices", "state")

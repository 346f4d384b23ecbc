"""The state of a fit under way: one mapping of tensors and plain numbers, in which a fit can be saved and gone on with.

``fit/loop.py`` writes it, and what it calls of ``fit/running.py``; samplers, callbacks and records only read. Shapes
are those of one field. Many fields of one shape can later be fitted at once by an additional leading axis: of weights,
optimiser tensors and best weights (fields, ...), of selections, queues, taught points and a sampler's memory (fields,
...), and of every number here (fields,); points and generators are shared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..samplers import Selection
from ..samplers.learner import ScoringCost
from ..samplers.loss_terms import LaplacianLoss
from .batching import Batch, Queue
from .divergence import DivergenceDetector
from .lr_schedule import Schedule
from .point_pool import PointPool
from .progress import Clock

Taught = tuple[tuple[Tensor, Tensor], ...]
"""(indices, residuals) of batches."""


@dataclass
class Best:
    """The best weights seen, and their error and quality on the evaluation subset."""

    weights: dict[str, Tensor]
    error: float
    quality: float


@dataclass
class Spent:
    """Where the time and the points went."""

    prepare: float = 0.0
    sampler: float = 0.0
    evaluate: float = 0.0
    points: int = 0
    points_evaluated: int = 0
    points_at_selection: int = 0
    first_step: float | None = None
    origin: dict[str, float] = field(default_factory=dict)


@dataclass
class FitState:
    """Everything a fit needs to go on. ``weights`` and ``optimizer`` are the tensors that the engine works on."""

    weights: Mapping[str, Tensor]
    """By the names of ``FieldSpec.shapes``, float32."""
    optimizer: Mapping[str, Tensor]
    """Step count, Adam's moments (one vector), Muon's momentum (the shapes of its weights)."""
    generator: torch.Generator
    """Draws selections and batches."""
    clock: Clock
    schedule: Schedule
    divergence: DivergenceDetector
    best: Best
    batch: int | None
    """Points of one step, halved when memory runs out; None: one step per selection."""
    engine_piece: int
    """Points differentiated at a time, halved likewise."""
    learner_piece: int
    """Points evaluated at a time, halved likewise."""
    pool: PointPool | None = None
    """The points of a signal that has none of its own, with their generator."""
    selection: Selection | None = None
    """The last one, with the sampler's memory."""
    queue: Queue = field(default_factory=Queue)
    taught: Taught = ()
    """Batches since the last selection."""
    generation: int = 0
    """How often points have been added."""
    scored: ScoringCost = field(default_factory=ScoringCost)
    spent: Spent = field(default_factory=Spent)
    cycle: int = 0
    cycle_error: float = math.inf
    """The least error of the annealing cycle that ``cycle`` numbers."""
    exact_from: int | None = None
    """The step from which hidden layers are in float32."""
    notes: list[str] = field(default_factory=list)

    def mark(self) -> Mark:
        """What an iteration changes before its step is made."""
        return Mark(
            self.queue,
            self.selection,
            self.taught,
            self.generation,
            self.scored,
            replace(self.spent, origin=dict(self.spent.origin)),
            tuple(self.notes),
            self.generator.get_state(),
        )

    def back_to(self, mark: Mark) -> None:
        """Undoes an iteration whose step was not made."""
        self.queue, self.selection, self.taught, self.generation = (
            mark.queue,
            mark.selection,
            mark.taught,
            mark.generation,
        )
        self.scored, self.spent, self.notes = mark.scored, mark.spent, list(mark.notes)
        self.generator.set_state(mark.generator)


@dataclass(frozen=True)
class Mark:
    """The state before an iteration (``FitState.mark``)."""

    queue: Queue
    selection: Selection | None
    taught: Taught
    generation: int
    scored: ScoringCost
    spent: Spent
    notes: tuple[str, ...]
    generator: Tensor


def tensors_of(state: FitState) -> dict[str, Tensor]:
    """All tensors of the state, by path."""
    found = {f"weights/{name}": tensor for name, tensor in state.weights.items()}
    found |= {f"best/{name}": tensor for name, tensor in state.best.weights.items()}
    found |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.items()}
    found["generator"] = state.generator.get_state()
    if state.pool is not None:
        points = state.pool.signal()
        assert points.points is not None
        found |= {"pool/points": torch.from_numpy(points.points), "pool/samples": torch.from_numpy(points.samples)}
        found["pool/generator"] = state.pool.generator.get_state()
    if state.selection is not None:
        found |= _selection_tensors(state.selection)
    found |= _batch_tensors("queue/listed", state.queue.listed) | _batch_tensors("queue/rest", state.queue.rest)
    if state.queue.turns is not None:
        found["queue/turns"] = state.queue.turns
    if state.taught:
        found["taught/indices"] = torch.cat([indices for indices, _ in state.taught])
        found["taught/residuals"] = torch.cat([residuals for _, residuals in state.taught])
    return found


def _selection_tensors(selection: Selection) -> dict[str, Tensor]:
    found = {f"memory/{name}": tensor for name, tensor in selection.memory.items()}
    found |= {f"terms/{k}": term.residuals for k, term in enumerate(selection.loss_terms)}
    if selection.indices is not None:
        found |= _batch_tensors("selection", (selection.indices, selection.weights))
    return found


def _batch_tensors(path: str, batch: Batch | None) -> dict[str, Tensor]:
    if batch is None:
        return {}
    return {f"{path}/indices": batch[0]} | ({} if batch[1] is None else {f"{path}/weights": batch[1]})


def numbers_of(state: FitState) -> dict[str, Any]:
    """All plain numbers and words of the state, as JSON."""
    selection, pool = state.selection, state.pool
    return {
        "clock": state.clock.numbers(),
        "schedule": {"begun_at": state.schedule.begun_at, "last": state.schedule.last},
        "divergence": state.divergence.numbers(),
        "best": {"error": finite_or_none(state.best.error), "quality": finite_or_none(state.best.quality)},
        "batch": state.batch,
        "engine_piece": state.engine_piece,
        "learner_piece": state.learner_piece,
        "pool": None if pool is None else pool.numbers(),
        "selection": None if selection is None else _selection_numbers(selection),
        "queue": {"draws": state.queue.draws, "size": state.queue.size, "place": state.queue.place},
        "taught": [indices.shape[0] for indices, _ in state.taught],
        "generation": state.generation,
        "scored": asdict(state.scored),
        "spent": asdict(state.spent),
        "cycle": state.cycle,
        "cycle_error": finite_or_none(state.cycle_error),
        "exact_from": state.exact_from,
        "notes": list(state.notes),
    }


def _selection_numbers(selection: Selection) -> dict[str, Any]:
    terms = [term.coefficient for term in selection.loss_terms]
    return {"origin": dict(selection.origin), "dealt": selection.keep_order, "terms": terms, "note": selection.note}


def finite_or_none(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def finite_or_infinite(value: float | None) -> float:
    """The inverse of ``finite_or_none``."""
    return math.inf if value is None else value


@torch.no_grad()
def restore(state: FitState, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Puts a saved state into the fresh ``state`` of the same fit, whose point pool has the saved points already."""
    device = next(iter(state.weights.values())).device
    for path, kept in (("weights", state.weights), ("optimizer", state.optimizer)):
        for name, tensor in kept.items():
            tensor.copy_(tensors[f"{path}/{name}"])
    error, quality = (finite_or_infinite(numbers["best"][key]) for key in ("error", "quality"))
    state.best = Best({name: tensors[f"best/{name}"].to(device) for name in state.weights}, error, quality)
    state.generator.set_state(tensors["generator"])
    state.clock.restore(numbers["clock"])
    state.schedule.begun_at, state.schedule.last = numbers["schedule"]["begun_at"], numbers["schedule"]["last"]
    state.divergence = DivergenceDetector.from_numbers(numbers["divergence"])
    state.batch, state.engine_piece, state.learner_piece = (
        numbers[key] for key in ("batch", "engine_piece", "learner_piece")
    )
    if state.pool is not None:
        state.pool.generator.set_state(tensors["pool/generator"])
    there = {name: tensor.to(device) for name, tensor in tensors.items()}
    state.selection = _selection(there, numbers["selection"])
    state.queue = Queue(
        _batch(there, "queue/listed"), there.get("queue/turns"), **numbers["queue"], rest=_batch(there, "queue/rest")
    )
    if numbers["taught"]:
        parts = (there[f"taught/{name}"].split(numbers["taught"]) for name in ("indices", "residuals"))
        state.taught = tuple(zip(*parts, strict=True))
    state.scored, state.spent = ScoringCost(**numbers["scored"]), Spent(**numbers["spent"])
    state.generation, state.cycle, state.exact_from = (numbers[key] for key in ("generation", "cycle", "exact_from"))
    state.cycle_error = finite_or_infinite(numbers["cycle_error"])
    state.notes = list(numbers["notes"])


def _batch(tensors: Mapping[str, Tensor], path: str) -> Batch | None:
    indices = tensors.get(f"{path}/indices")
    return None if indices is None else (indices, tensors.get(f"{path}/weights"))


def _selection(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any] | None) -> Selection | None:
    if numbers is None:
        return None
    memory = {name.removeprefix("memory/"): tensor for name, tensor in tensors.items() if name.startswith("memory/")}
    terms = tuple(LaplacianLoss(weight, tensors[f"terms/{k}"]) for k, weight in enumerate(numbers["terms"]))
    indices, weights = _batch(tensors, "selection") or (None, None)
    return Selection(indices, weights, memory, numbers["origin"], numbers["dealt"], terms, numbers["note"])

"""The state of a fit: everything that changes while it runs, as tensors and plain values, so that it can be saved.

Only ``fit/loop.py`` writes the state, and what it calls in ``fit/context.py``; samplers, callbacks and records read it.
The shapes are those of one field; fits of several fields have a state each (``fitting.run_together``).
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
from .batch_queue import Batch, BatchQueue
from .divergence import DivergenceDetector
from .lr_schedule import LRSchedule
from .point_pool import PointPool
from .progress import BudgetTracker

TrainedBatches = tuple[tuple[Tensor, Tensor], ...]
"""(indices, residuals) of the batches of past steps."""

MAX_TRAINED_POINTS = 1 << 21
"""Maximum number of trained points whose residuals are kept for the next selection."""


@dataclass
class BestWeights:
    """The best weights seen, with their error and quality on the evaluation points."""

    weights: dict[str, Tensor]
    error: float
    quality: float


@dataclass
class Usage:
    """How the time and the points of a fit were used."""

    prepare: float = 0.0
    """Seconds until the state was complete, before the first step."""
    sampler: float = 0.0
    """Seconds spent in the sampler."""
    evaluate: float = 0.0
    """Seconds spent on evaluations."""
    points: int = 0
    """Points trained on, counted once per step."""
    points_evaluated: int = 0
    points_at_selection: int = 0
    """``points`` at the last selection."""
    first_step: float | None = None
    """Seconds of the budget used when the first step began."""
    origin: dict[str, float] = field(default_factory=dict)
    """Points trained on, by the origin that the sampler names."""


@dataclass
class FitState:
    """The state of a fit. The engine works in place on the tensors of ``weights`` and ``optimizer``."""

    weights: Mapping[str, Tensor]
    """By the names of ``FieldSpec.shapes``, float32."""
    optimizer: Mapping[str, Tensor]
    """Step count, Adam's moments (one vector), Muon's momentum (in the shapes of its weights)."""
    generator: torch.Generator
    """Draws selections and batches."""
    tracker: BudgetTracker
    schedule: LRSchedule
    divergence: DivergenceDetector
    best: BestWeights
    batch: int | None
    """Points of one step, halved when memory runs out; None: one step per selection."""
    engine_chunk_size: int
    """Points differentiated at a time, halved when memory runs out."""
    scoring_chunk_size: int
    """Points that the sampler evaluates at a time, halved when memory runs out."""
    pool: PointPool | None = None
    """The points of a signal that has none of its own, with their generator."""
    selection: Selection | None = None
    """The last selection, with the sampler's memory."""
    queue: BatchQueue = field(default_factory=BatchQueue)
    trained_batches: TrainedBatches = ()
    """The batches since the last selection."""
    generation: int = 0
    """How often points have been added to the pool."""
    scoring_cost: ScoringCost = field(default_factory=ScoringCost)
    usage: Usage = field(default_factory=Usage)
    cycle: int = 0
    """Number of the annealing cycle at the last evaluation."""
    cycle_error: float = math.inf
    """The smallest error of that annealing cycle."""
    float32_from_step: int | None = None
    """The step from which hidden layers are computed in float32."""
    notes: list[str] = field(default_factory=list)

    def keep_trained(self, indices: Tensor, residuals: Tensor) -> None:
        """Keeps the points and residuals (k, c) of a step for the next selection."""
        self.usage.points += indices.shape[0]
        trained = (*self.trained_batches, (indices, residuals))
        too_many = len(trained) * indices.shape[0] > MAX_TRAINED_POINTS and len(trained) > 1
        self.trained_batches = trained[1:] if too_many else trained
        if self.selection is not None and self.selection.loss_terms:
            loss_terms = tuple(term.with_residuals(indices, residuals) for term in self.selection.loss_terms)
            self.selection = replace(self.selection, loss_terms=loss_terms)

    def mark(self) -> IterationMark:
        """A copy of everything that an iteration changes before its optimiser step."""
        return IterationMark(
            self.queue,
            self.selection,
            self.trained_batches,
            self.generation,
            self.scoring_cost,
            replace(self.usage, origin=dict(self.usage.origin)),
            tuple(self.notes),
            self.generator.get_state(),
        )

    def undo_to(self, mark: IterationMark) -> None:
        """Undoes an iteration that was cancelled before its optimiser step."""
        self.queue, self.selection, self.trained_batches, self.generation = (
            mark.queue,
            mark.selection,
            mark.trained_batches,
            mark.generation,
        )
        self.scoring_cost, self.usage, self.notes = mark.scoring_cost, mark.usage, list(mark.notes)
        self.generator.set_state(mark.generator)


@dataclass(frozen=True)
class IterationMark:
    """The part of a ``FitState`` that an iteration changes before its optimiser step."""

    queue: BatchQueue
    selection: Selection | None
    trained_batches: TrainedBatches
    generation: int
    scoring_cost: ScoringCost
    usage: Usage
    notes: tuple[str, ...]
    generator: Tensor


def state_tensors(state: FitState) -> dict[str, Tensor]:
    """All tensors of the state, by path such as ``best/last.bias``."""
    tensors = {f"weights/{name}": tensor for name, tensor in state.weights.items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.weights.items()}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.items()}
    tensors["generator"] = state.generator.get_state()
    if state.pool is not None:
        signal = state.pool.signal()
        assert signal.points is not None
        tensors |= {"pool/points": torch.from_numpy(signal.points), "pool/samples": torch.from_numpy(signal.samples)}
        tensors["pool/generator"] = state.pool.generator.get_state()
    if state.selection is not None:
        tensors |= _selection_tensors(state.selection)
    tensors |= _batch_tensors("queue/points", state.queue.points)
    tensors |= _batch_tensors("queue/leftover", state.queue.leftover)
    if state.queue.block_columns is not None:
        tensors["queue/block_columns"] = state.queue.block_columns
    if state.trained_batches:
        tensors["trained_batches/indices"] = torch.cat([indices for indices, _ in state.trained_batches])
        tensors["trained_batches/residuals"] = torch.cat([residuals for _, residuals in state.trained_batches])
    return tensors


def _selection_tensors(selection: Selection) -> dict[str, Tensor]:
    tensors = {f"memory/{name}": tensor for name, tensor in selection.memory.items()}
    tensors |= {f"loss_terms/{k}": term.residuals for k, term in enumerate(selection.loss_terms)}
    if selection.indices is not None:
        tensors |= _batch_tensors("selection", (selection.indices, selection.weights))
    return tensors


def _batch_tensors(path: str, batch: Batch | None) -> dict[str, Tensor]:
    if batch is None:
        return {}
    return {f"{path}/indices": batch[0]} | ({} if batch[1] is None else {f"{path}/weights": batch[1]})


def state_values(state: FitState) -> dict[str, Any]:
    """All numbers and texts of the state, as JSON."""
    selection, pool, queue = state.selection, state.pool, state.queue
    return {
        "tracker": state.tracker.to_json(),
        "schedule": {
            "first_step_progress": state.schedule.first_step_progress,
            "last_factor": state.schedule.last_factor,
        },
        "divergence": state.divergence.to_json(),
        "best": {"error": finite_or_none(state.best.error), "quality": finite_or_none(state.best.quality)},
        "batch": state.batch,
        "engine_chunk_size": state.engine_chunk_size,
        "scoring_chunk_size": state.scoring_chunk_size,
        "pool": None if pool is None else pool.to_json(),
        "selection": None if selection is None else _selection_values(selection),
        "queue": {
            "random_batches": queue.random_batches,
            "batch_size": queue.batch_size,
            "position": queue.position,
        },
        "trained_batches": [indices.shape[0] for indices, _ in state.trained_batches],
        "generation": state.generation,
        "scoring_cost": asdict(state.scoring_cost),
        "usage": asdict(state.usage),
        "cycle": state.cycle,
        "cycle_error": finite_or_none(state.cycle_error),
        "float32_from_step": state.float32_from_step,
        "notes": list(state.notes),
    }


def _selection_values(selection: Selection) -> dict[str, Any]:
    loss_terms = [term.coefficient for term in selection.loss_terms]
    return {
        "origin": dict(selection.origin),
        "keep_order": selection.keep_order,
        "loss_terms": loss_terms,
        "note": selection.note,
    }


def finite_or_none(value: float) -> float | None:
    """``value``, or None if it is not finite, which JSON cannot hold."""
    return value if math.isfinite(value) else None


def finite_or_infinite(value: float | None) -> float:
    """The inverse of ``finite_or_none``."""
    return math.inf if value is None else value


@torch.no_grad()
def restore(state: FitState, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Puts a saved state into the initial ``state`` of the same fit, whose point pool has the saved points already."""
    device = next(iter(state.weights.values())).device
    for path, current in (("weights", state.weights), ("optimizer", state.optimizer)):
        for name, tensor in current.items():
            tensor.copy_(tensors[f"{path}/{name}"])
    error, quality = (finite_or_infinite(values["best"][key]) for key in ("error", "quality"))
    state.best = BestWeights({name: tensors[f"best/{name}"].to(device) for name in state.weights}, error, quality)
    state.generator.set_state(tensors["generator"])
    state.tracker.restore(values["tracker"])
    state.schedule.first_step_progress = values["schedule"]["first_step_progress"]
    state.schedule.last_factor = values["schedule"]["last_factor"]
    state.divergence = DivergenceDetector.from_json(values["divergence"])
    state.batch, state.engine_chunk_size, state.scoring_chunk_size = (
        values[key] for key in ("batch", "engine_chunk_size", "scoring_chunk_size")
    )
    if state.pool is not None:
        state.pool.generator.set_state(tensors["pool/generator"])
    on_device = {name: tensor.to(device) for name, tensor in tensors.items()}
    state.selection = _selection(on_device, values["selection"])
    state.queue = BatchQueue(
        _batch(on_device, "queue/points"),
        on_device.get("queue/block_columns"),
        **values["queue"],
        leftover=_batch(on_device, "queue/leftover"),
    )
    if values["trained_batches"]:
        parts = (
            on_device[f"trained_batches/{name}"].split(values["trained_batches"]) for name in ("indices", "residuals")
        )
        state.trained_batches = tuple(zip(*parts, strict=True))
    state.scoring_cost, state.usage = ScoringCost(**values["scoring_cost"]), Usage(**values["usage"])
    state.generation, state.cycle, state.float32_from_step = (
        values[key] for key in ("generation", "cycle", "float32_from_step")
    )
    state.cycle_error = finite_or_infinite(values["cycle_error"])
    state.notes = list(values["notes"])


def _batch(tensors: Mapping[str, Tensor], path: str) -> Batch | None:
    indices = tensors.get(f"{path}/indices")
    return None if indices is None else (indices, tensors.get(f"{path}/weights"))


def _selection(tensors: Mapping[str, Tensor], values: Mapping[str, Any] | None) -> Selection | None:
    if values is None:
        return None
    memory = {name.removeprefix("memory/"): tensor for name, tensor in tensors.items() if name.startswith("memory/")}
    loss_terms = tuple(
        LaplacianLoss(weight, tensors[f"loss_terms/{k}"]) for k, weight in enumerate(values["loss_terms"])
    )
    indices, weights = _batch(tensors, "selection") or (None, None)
    return Selection(indices, weights, memory, values["origin"], values["keep_order"], loss_terms, values["note"])

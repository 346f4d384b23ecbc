"""The quality over the course of a fit, evaluated on copies of the weights after the fit has ended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..artifact.artifact import Artifact
from ..fields.module import Field
from ..fit.checkpoint import StatefulCallback
from ..fit.evaluation import EVALUATION_CHUNK_SIZE, EvaluationSet
from ..fit.events import StepEvent
from ..runtime import matmul_precision
from .spec import Point

SNAPSHOT_SHARES = (0.01, 0.02, *(k / 24 for k in range(1, 24)))
"""Shares of the budget at which the weights are copied."""

REQUIRED_SHARES = (0.25, 0.5)
"""Those of SNAPSHOT_SHARES at which the weights are always copied, even beyond MAX_SNAPSHOT_BYTES."""

MAX_SNAPSHOT_BYTES = 1 << 29
"""Limit in bytes for the copies of one fit, except for those at REQUIRED_SHARES. Large fields are copied less often."""

EVALUATION_POINTS = 32_768
"""Number of fixed points on which each copy is evaluated."""


def snapshot_shares(max_count: int) -> tuple[float, ...]:
    """At most ``max_count`` of SNAPSHOT_SHARES, evenly spread, but always those in REQUIRED_SHARES."""
    if max_count >= len(SNAPSHOT_SHARES):
        return SNAPSHOT_SHARES
    optional = [share for share in SNAPSHOT_SHARES if share not in REQUIRED_SHARES]
    count = max(0, max_count - len(REQUIRED_SHARES))
    return tuple(sorted((*REQUIRED_SHARES, *(optional[k * len(optional) // count] for k in range(count)))))


class QualityTracer(StatefulCallback):
    """A step callback that copies the weights whenever the progress passes one of SNAPSHOT_SHARES.

    Copying counts as time of the fit. Fewer copies are made if all of them would exceed MAX_SNAPSHOT_BYTES."""

    def __init__(self, started: float) -> None:
        """``started`` is when the budget of the fit started (``time.monotonic``)."""
        self.started = started
        self.points, self.share = 0, 0.0
        self.snapshots: list[tuple[Point, Mapping[str, Tensor]]] = []
        self._due = SNAPSHOT_SHARES
        self._passed = 0

    def __call__(self, event: StepEvent) -> None:
        """Copies the weights if a share is due after this step."""
        self.points += event.indices.shape[0]
        self.share = event.progress
        if self._passed == len(self._due) or event.progress < self._due[self._passed]:
            return
        weights = event.weights()
        if not self.snapshots:
            self._due = _affordable_shares(weights)
        self._passed = sum(share <= event.progress for share in self._due)
        if not self._passed:
            return
        if event.indices.is_cuda:  # steps are queued: wait for this one
            torch.cuda.synchronize(event.indices.device)
        seconds = time.monotonic() - self.started
        self.snapshots.append((Point(seconds, event.progress, event.step, self.points, 0.0), weights))

    def save_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and numbers to save with the state of the fit (``fit.checkpoint.StatefulCallback``)."""
        tensors = {
            f"{number}/{name}": weight
            for number, (_, weights) in enumerate(self.snapshots)
            for name, weight in weights.items()
        }
        points = [[point.seconds, point.share, point.step, point.points] for point, _ in self.snapshots]
        seconds = time.monotonic() - self.started
        return tensors, {"points": self.points, "share": self.share, "kept": points, "seconds": seconds}

    def restore_state(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restores what ``save_state`` returned."""
        self.points, self.share = numbers["points"], numbers["share"]
        self.started -= numbers["seconds"]
        self.snapshots = []
        for number, (seconds, share, step, points) in enumerate(numbers["kept"]):
            weights = {n.removeprefix(f"{number}/"): t for n, t in tensors.items() if n.startswith(f"{number}/")}
            self.snapshots.append((Point(seconds, share, step, points, 0.0), weights))
        if self.snapshots:
            self._due = _affordable_shares(self.snapshots[0][1])
            self._passed = sum(share <= self.snapshots[-1][0].share for share in self._due)

    def trace(
        self,
        artifact: Artifact,
        evaluation_set: EvaluationSet,
        stop: Callable[[], bool],
        on_progress: Callable[[float], None],
    ) -> tuple[Point, ...]:
        """Evaluates the copies and ``artifact``, the result of the fit, and returns a point for each in order of time.

        No further copies are evaluated once ``stop`` returns True. ``on_progress`` is called with the fraction done.
        Points whose quality is undefined, as for silence, are left out."""
        spent, trace = artifact.provenance["spent"], []
        for done, (point, weights) in enumerate(self.snapshots):
            if stop():
                break
            on_progress(done / len(self.snapshots))
            if point.step < spent["steps"]:
                trace.append(replace(point, quality=_quality(evaluation_set, Field(artifact.spec, weights))))
        quality = _quality(evaluation_set, artifact.field(evaluation_set.coords.device))
        trace.append(Point(spent["fit_seconds"], self.share, spent["steps"], spent["points"], quality))
        return tuple(point for point in trace if point.quality > -math.inf)


def _affordable_shares(weights: Mapping[str, Tensor]) -> tuple[float, ...]:
    """The shares at which copies of ``weights`` fit into MAX_SNAPSHOT_BYTES together."""
    return snapshot_shares(MAX_SNAPSHOT_BYTES // sum(weight.nbytes for weight in weights.values()))


def _quality(evaluation_set: EvaluationSet, field: Field) -> float:
    """Quality of ``field`` on the evaluation set, in float32 as when decoding."""
    with matmul_precision("highest"):
        return evaluation_set.quality(field, EVALUATION_CHUNK_SIZE)

"""The quality of a fit on its way, judged after it has ended: nothing of that is on its clock."""

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
"""Shares of the budget at whose passing the weights are copied; a quarter and a half are among them."""

REQUIRED_SHARES = (0.25, 0.5)
"""Those of SNAPSHOT_SHARES that are copied whatever the field's size."""

MAX_SNAPSHOT_BYTES = 1 << 29
"""Most memory for the copies of one fit, but for those at REQUIRED_SHARES: of a large field fewer are kept."""

EVALUATION_POINTS = 32_768
"""Fixed points that judge each copy: a third of a second for 5x256 on two cores."""


def snapshot_shares(most: int) -> tuple[float, ...]:
    """At most ``most`` of SNAPSHOT_SHARES, spread over all of them; those at REQUIRED_SHARES are always among them."""
    if most >= len(SNAPSHOT_SHARES):
        return SNAPSHOT_SHARES
    rest = [share for share in SNAPSHOT_SHARES if share not in REQUIRED_SHARES]
    count = max(0, most - len(REQUIRED_SHARES))
    return tuple(sorted((*REQUIRED_SHARES, *(rest[k * len(rest) // count] for k in range(count)))))


class QualityTracer(StatefulCallback):
    """A step callback that copies the weights whenever the progress passes one of SNAPSHOT_SHARES.

    The copies count as time of the fit. Fewer are kept if all of them would exceed MAX_SNAPSHOT_BYTES."""

    def __init__(self, started: float) -> None:
        """``started``: when the fit's clock did, by ``time.monotonic``."""
        self.started = started
        self.points, self.share = 0, 0.0
        self.snapshots: list[tuple[Point, Mapping[str, Tensor]]] = []
        self._due = SNAPSHOT_SHARES
        self._passed = 0

    def __call__(self, moment: StepEvent) -> None:
        self.points += moment.indices.shape[0]
        self.share = moment.progress
        if self._passed == len(self._due) or moment.progress < self._due[self._passed]:
            return
        weights = moment.weights()
        if not self.snapshots:
            self._due = _affordable_shares(weights)
        self._passed = sum(share <= moment.progress for share in self._due)
        if not self._passed:
            return
        if moment.indices.is_cuda:  # the host runs ahead of the device
            torch.cuda.synchronize(moment.indices.device)
        seconds = time.monotonic() - self.started
        self.snapshots.append((Point(seconds, moment.progress, moment.step, self.points, 0.0), weights))

    def save_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its state, to be saved with that of the fit (``fit.checkpoint.StatefulCallback``)."""
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
        self, artifact: Artifact, evaluation_set: EvaluationSet, stop: Callable[[], bool], tick: Callable[[float], None]
    ) -> tuple[Point, ...]:
        """The fit's points in order, the last that of ``artifact``, which came out of it; cut short by ``stop``;
        ``tick`` is told the share done."""
        spent, found = artifact.provenance["spent"], []
        for done, (point, weights) in enumerate(self.snapshots):
            if stop():
                break
            tick(done / len(self.snapshots))
            if point.step < spent["steps"]:
                found.append(replace(point, quality=_quality(evaluation_set, Field(artifact.spec, weights))))
        quality = _quality(evaluation_set, artifact.field(evaluation_set.coords.device))
        found.append(Point(spent["fit_seconds"], self.share, spent["steps"], spent["points"], quality))
        return tuple(point for point in found if point.quality > -math.inf)  # undefined for silence


def _affordable_shares(weights: Mapping[str, Tensor]) -> tuple[float, ...]:
    """The shares at which copies of ``weights`` are made so that they take MAX_SNAPSHOT_BYTES at most."""
    return snapshot_shares(MAX_SNAPSHOT_BYTES // sum(weight.nbytes for weight in weights.values()))


def _quality(evaluation_set: EvaluationSet, field: Field) -> float:
    """Of ``field``, in the decoder's arithmetic."""
    with matmul_precision("highest"):
        return evaluation_set.quality(field, EVALUATION_CHUNK_SIZE)

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
from ..fit.checkpoint import Companion
from ..fit.evaluation import PIECE, EvaluationSet
from ..fit.events import Moment
from ..runtime import matmul_precision
from .spec import Point

MOMENTS = (0.01, 0.02, *(k / 24 for k in range(1, 24)))
"""Shares of the budget at whose passing the weights are copied; a quarter and a half are among them."""

KEPT_SHARES = (0.25, 0.5)
"""Those of MOMENTS that are copied whatever the field's size."""

KEPT_BYTES = 1 << 29
"""Most memory for the copies of one fit, but for those at KEPT_SHARES: of a large field fewer are kept."""

JUDGED = 32_768
"""Fixed points that judge each copy: a third of a second for 5x256 on two cores."""


def moments(most: int) -> tuple[float, ...]:
    """At most ``most`` of MOMENTS, spread over all of them; those at KEPT_SHARES are always among them."""
    if most >= len(MOMENTS):
        return MOMENTS
    rest = [share for share in MOMENTS if share not in KEPT_SHARES]
    count = max(0, most - len(KEPT_SHARES))
    return tuple(sorted((*KEPT_SHARES, *(rest[k * len(rest) // count] for k in range(count)))))


class Watch(Companion):
    """Told every step of a fit, it copies the weights as each of MOMENTS is passed (1 MB and less than a millisecond
    each for 5x256, which counts as the fit's time); fewer of them where the copies would not fit into KEPT_BYTES."""

    def __init__(self, started: float) -> None:
        """``started``: when the fit's clock did, by ``time.monotonic``."""
        self.started = started
        self.points, self.share = 0, 0.0
        self.kept: list[tuple[Point, Mapping[str, Tensor]]] = []
        self._due = MOMENTS
        self._passed = 0

    def __call__(self, moment: Moment) -> None:
        self.points += moment.indices.shape[0]
        self.share = moment.progress
        if self._passed == len(self._due) or moment.progress < self._due[self._passed]:
            return
        weights = moment.weights()
        if not self.kept:
            self._due = moments(KEPT_BYTES // sum(weight.nbytes for weight in weights.values()))
        self._passed = sum(share <= moment.progress for share in self._due)
        if not self._passed:
            return
        if moment.indices.is_cuda:  # the host runs ahead of the device
            torch.cuda.synchronize(moment.indices.device)
        seconds = time.monotonic() - self.started
        self.kept.append((Point(seconds, moment.progress, moment.step, self.points, 0.0), weights))

    def saved(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its state, to be saved with that of the fit (``fit.checkpoint.Companion``)."""
        tensors = {
            f"{number}/{name}": weight
            for number, (_, weights) in enumerate(self.kept)
            for name, weight in weights.items()
        }
        points = [[point.seconds, point.share, point.step, point.points] for point, _ in self.kept]
        seconds = time.monotonic() - self.started
        return tensors, {"points": self.points, "share": self.share, "kept": points, "seconds": seconds}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Goes on from what ``saved`` gave."""
        self.points, self.share = numbers["points"], numbers["share"]
        self.started -= numbers["seconds"]
        self.kept = []
        for number, (seconds, share, step, points) in enumerate(numbers["kept"]):
            weights = {n.removeprefix(f"{number}/"): t for n, t in tensors.items() if n.startswith(f"{number}/")}
            self.kept.append((Point(seconds, share, step, points, 0.0), weights))
        if self.kept:
            self._due = moments(KEPT_BYTES // sum(weight.nbytes for weight in self.kept[0][1].values()))
            self._passed = sum(share <= self.kept[-1][0].share for share in self._due)

    def trace(
        self, artifact: Artifact, judges: EvaluationSet, stop: Callable[[], bool], tick: Callable[[float], None]
    ) -> tuple[Point, ...]:
        """The fit's points in order, the last that of ``artifact``, which came out of it; cut short by ``stop``;
        ``tick`` is told the share done."""
        spent, found = artifact.provenance["spent"], []
        for done, (point, weights) in enumerate(self.kept):
            if stop():
                break
            tick(done / len(self.kept))
            if point.step < spent["steps"]:
                found.append(replace(point, quality=_quality(judges, Field(artifact.spec, weights))))
        quality = _quality(judges, artifact.field(judges.coords.device))
        found.append(Point(spent["fit_seconds"], self.share, spent["steps"], spent["points"], quality))
        return tuple(point for point in found if point.quality > -math.inf)  # undefined for silence


def _quality(judges: EvaluationSet, field: Field) -> float:
    """Of ``field``, in the decoder's arithmetic."""
    with matmul_precision("highest"):
        return judges.quality(field, PIECE)

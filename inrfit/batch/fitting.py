"""Fits the rows of a part: those whose budget is in steps together, GROUP at a time, the others one after the other."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..artifact.artifact import Artifact
from ..artifact.part_header import ROW_TEXT
from ..config.plan import Plan
from ..config.settings import Settings
from ..errors import Diverged, InrfitError, InrfitWarning, NotEnoughMemory, RefusedInput, machine_error, printable
from ..io.registry import plugin_errors
from ..resume import STARTED_FROM
from .manifest import Row
from .plan import row_store
from .rules import Rules

if TYPE_CHECKING:
    from ..execution import FirstWeights, Start
    from ..fields import FieldSpec

RETRIES, FIRST_PAUSE = 2, 1.0
"""How often reading a source is tried again after an error of the system, and the pause before that in seconds, which
doubles."""

GROUP, GROUP_BYTES = 32, 1 << 26
"""Most fields that are fitted together, and bytes of their samples. Their weights, moments and gradients should stay in
the processor's cache; 32 fields of 3x64 take 2 MB of weights."""

BRIEF_SAMPLES = 1 << 16
"""Fields of at most so many samples get their main measure only: others take longer than some fits."""

BELOW_FLOOR = 6
"""Exit code of a field that is worse than the floor, as of one that learned nothing."""


@dataclass(frozen=True)
class Fitted:
    """The field of a row, measured, with the steps and seconds that it took, and the exit code, which is 0 or
    BELOW_FLOOR."""

    artifact: Artifact
    seed: int
    steps: int
    seconds: float
    code: int = 0


@dataclass(frozen=True)
class Failure:
    """Why a row has no field: the exit code that ``inrfit encode`` would have, and the reason."""

    code: int
    reason: str
    message: str

    def json(self) -> dict[str, Any]:
        """The failure as JSON values."""
        return {"code": self.code, "reason": self.reason[:100], "message": printable(self.message)[:ROW_TEXT]}


@dataclass
class _Work:
    """A row that is being fitted: what it came to so far, in so many steps."""

    number: int
    plan: Plan
    result: Artifact | InrfitError | None = None
    steps: int = 0
    ended: bool = False
    """Whether fitting on does not help."""

    @property
    def quality(self) -> float | None:
        """The main measure of the field; None if it is infinite."""
        assert isinstance(self.result, Artifact)
        value: float | None = self.result.quality[self.plan.modality.main_measure]
        return value

    def steps_left(self, rules: Rules) -> int:
        """How many steps the field is fitted on, because it is below the floor."""
        if self.ended or not isinstance(self.result, Artifact) or self.quality is None:
            return 0
        return rules.steps_left(self.quality, self.steps, self.plan.budget.steps or 0)

    def remaining(self, rules: Rules) -> Plan:
        """The plan, with a larger budget if there is a field already."""
        if not isinstance(self.result, Artifact):
            return self.plan
        return replace(self.plan, budget=replace(self.plan.budget, steps=self.steps + self.steps_left(rules)))

    def take(self, result: Artifact | InrfitError) -> None:
        """Takes what a fit has come to. If fitting on failed, the field before it stays."""
        if isinstance(result, Artifact):
            self.steps = int(result.provenance["spent"]["steps"])
        elif isinstance(self.result, Artifact):
            self.ended = True
            return
        self.result = result

    def done(self, rules: Rules, seconds: float) -> Fitted | Failure:
        """The field of the row, or why there is none."""
        if not isinstance(self.result, Artifact):
            assert self.result is not None
            return _failure(self.result)
        below = rules.floor is not None and self.quality is not None and self.quality < rules.floor
        seed = self.plan.settings.seed
        return Fitted(self.result, seed, self.steps, seconds, BELOW_FLOOR if below else 0)


@dataclass(frozen=True)
class Fitter:
    """Fits rows with the ``settings`` of ``inrfit encode`` and the ``rules`` of a batch. ``pause(seconds)`` waits
    before a source is read again. A field depends on its row, the settings and the rules, not on the rows beside it."""

    settings: Settings
    rules: Rules = Rules()
    pause: Callable[[float], None] = time.sleep

    def fit(self, rows: Sequence[tuple[int, Row]]) -> Iterator[tuple[int, Fitted | Failure]]:
        """The field of each row, or why there is none, by its number."""
        group: list[_Work] = []
        for number, row in rows:
            try:
                planned = _read(row, self.settings, self.pause)
            except Exception as error:  # whatever is wrong with one row, the others are fitted
                yield number, _failure(error)
                continue
            group.append(_Work(number, planned))
            full = len(group) == GROUP or sum(work.plan.signal.samples.nbytes for work in group) >= GROUP_BYTES
            if full or planned.budget.seconds is not None:
                yield from self._fit_group(group)
                group = []
        yield from self._fit_group(group)

    def _fit_group(self, group: Sequence[_Work]) -> Iterator[tuple[int, Fitted | Failure]]:
        """The results of rows that are fitted together. A fit that diverges is made once more with half the learning
        rate, and a field below the floor is fitted on."""
        started = time.monotonic()
        self._fit(group)
        diverged = [work for work in group if isinstance(work.result, Diverged)]
        for work in diverged:
            work.plan = _with_half_the_rate(work.plan)
        self._fit(diverged)
        while below := [work for work in group if work.steps_left(self.rules)]:
            self._fit(below)
        seconds = (time.monotonic() - started) / max(len(group), 1)
        for work in group:
            yield work.number, work.done(self.rules, seconds)

    def _fit(self, works: Sequence[_Work]) -> None:
        """Fits rows together, from the fields that they have. If anything else than the fit of one of them fails, each
        is fitted alone, so that only what failed is lost."""
        from ..execution import execute_together

        if not works:
            return
        now = time.monotonic()
        plans = [replace(work.remaining(self.rules), loaded_at=now) for work in works]
        try:
            with plugin_errors(), warnings.catch_warnings():
                warnings.simplefilter("ignore", InrfitWarning)  # the notes are in the provenance
                results = execute_together(plans, [self._start(work) for work in works], BRIEF_SAMPLES)
        except Exception as error:
            if len(works) == 1:
                works[0].take(_known(error))
            else:
                for work in works:
                    self._fit([work])
            return
        for work, result in zip(works, results, strict=True):
            work.take(result)

    def _start(self, work: _Work) -> Start:
        """The weights that a fit starts from: those of the field so far, or the shared ones, or its own."""
        from ..execution import own_start, shared_start

        if isinstance(work.result, Artifact):
            return partial(_continued, work.result, work.steps)
        return partial(shared_start, self.settings.seed) if self.rules.init == "shared" else own_start


def _continued(artifact: Artifact, steps: int, spec: FieldSpec) -> FirstWeights:
    """A field is fitted on from its weights, as in the rest of a fit of more steps."""
    import torch

    from ..execution import FirstWeights

    settings = artifact.provenance["settings"]
    record = {STARTED_FROM: settings[STARTED_FROM]} if STARTED_FROM in settings else {}
    weights = {name: torch.from_numpy(weight.copy()) for name, weight in artifact.weights.items()}
    return FirstWeights(weights, record, steps)


def _read(row: Row, settings: Settings, pause: Callable[[float], None]) -> Plan:
    """The plan of a row, whose source is read. Errors of the system are retried, those of the file are not."""
    from ..codec import plan_source

    settings = settings.with_seed(row.seed_within(settings.seed))
    for attempt in range(RETRIES + 1):
        try:
            planned = plan_source(row.source, {}, settings)
        except (RefusedInput, NotEnoughMemory) as error:
            if error.reason not in ("unreadable", "open-files") or attempt == RETRIES:
                raise
            pause(FIRST_PAUSE * 2**attempt)
        else:
            return replace(planned, store=row_store(planned))
    raise AssertionError


def _known(error: Exception) -> InrfitError:
    """``error`` as one of inrfit."""
    if isinstance(error, InrfitError):
        return error
    return machine_error(error) or InrfitError(f"a bug in inrfit: {type(error).__name__}: {error}", "bug")


def _failure(error: Exception) -> Failure:
    """Why there is no field."""
    known = _known(error)
    return Failure(known.exit_code, known.reason, str(known))


def _with_half_the_rate(planned: Plan) -> Plan:
    """``planned`` with half of the learning rate that its recipe has."""
    import torch

    from ..execution import choose_recipe
    from ..fit.engine.step import choose_device

    device: torch.device = choose_device(planned.settings.device)
    rate = choose_recipe(planned, device)[1].config.adam_rate
    return replace(planned, settings=replace(planned.settings, lr=rate / 2))


def record(number: int, row: Row, fitted: Fitted) -> Mapping[str, Any]:
    """What the header of a part says about a field besides its own header."""
    code = {"code": fitted.code} if fitted.code else {}
    return {"id": row.id, "number": number, "seed": fitted.seed, "steps": fitted.steps, **code, **row.carried()}

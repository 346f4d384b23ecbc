"""Fits the rows of a part, one after the other.

An engine that fits several at once takes the place of ``fit_rows``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..artifact.artifact import Artifact
from ..artifact.part_header import ROW_TEXT
from ..config.plan import Plan
from ..config.settings import Settings
from ..errors import Diverged, InrfitError, InrfitWarning, NotEnoughMemory, RefusedInput, machine_error, printable
from ..io.registry import plugin_errors
from .manifest import Row
from .plan import row_store

RETRIES, FIRST_PAUSE = 2, 1.0
"""How often reading a source is tried again after an error of the system, and the pause before that in seconds, which
doubles."""


@dataclass(frozen=True)
class Fitted:
    """The field of a row, measured, with the seconds that it took."""

    artifact: Artifact
    seed: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class Failure:
    """Why a row has no field: the exit code that ``inrfit encode`` would have, and the reason."""

    code: int
    reason: str
    message: str

    def json(self) -> dict[str, Any]:
        """The failure as JSON values."""
        return {"code": self.code, "reason": self.reason[:100], "message": printable(self.message)[:ROW_TEXT]}


def fit_rows(
    rows: Sequence[tuple[int, Row]], settings: Settings, pause: Callable[[float], None] = time.sleep
) -> Iterator[tuple[int, Fitted | Failure]]:
    """The field of each row, or why there is none, by its number. ``pause(seconds)`` waits before a source is read
    again."""
    for number, row in rows:
        yield number, fit_row(row, settings, pause)


def fit_row(row: Row, settings: Settings, pause: Callable[[float], None] = time.sleep) -> Fitted | Failure:
    """The field of one row. A fit that diverges is made once more with half the learning rate."""
    started = time.monotonic()
    seed = row.seed_within(settings.seed)
    try:
        with plugin_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore", InrfitWarning)  # the notes are in the provenance
            planned = _read(row, replace(settings, seed=seed), pause)
            try:
                artifact = _fit(planned)
            except Diverged:
                artifact = _fit(_with_half_the_rate(planned))
    except InrfitError as error:
        return Failure(error.exit_code, error.reason, str(error))
    except Exception as error:  # whatever is wrong with one row, the others are fitted
        failure = machine_error(error) or InrfitError(f"a bug in inrfit: {type(error).__name__}: {error}", "bug")
        return Failure(failure.exit_code, failure.reason, str(failure))
    return Fitted(artifact, seed, int(artifact.provenance["spent"]["steps"]), time.monotonic() - started)


def _read(row: Row, settings: Settings, pause: Callable[[float], None]) -> Plan:
    """The plan of a row, whose source is read. Errors of the system are retried, those of the file are not."""
    from ..codec import plan_source

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


def _fit(planned: Plan) -> Artifact:
    from ..codec import execute_plan

    return execute_plan(replace(planned, loaded_at=time.monotonic()))


def _with_half_the_rate(planned: Plan) -> Plan:
    """``planned`` with half of the learning rate that its recipe has."""
    import torch

    from ..codec import choose_recipe
    from ..fit.engine.step import choose_device

    device: torch.device = choose_device(planned.settings.device)
    rate = choose_recipe(planned, device)[1].config.adam_rate
    return replace(planned, settings=replace(planned.settings, lr=rate / 2))


def record(number: int, row: Row, fitted: Fitted) -> Mapping[str, Any]:
    """What the header of a part says about a field besides its own header."""
    return {"id": row.id, "number": number, "seed": fitted.seed, "steps": fitted.steps, **row.carried()}

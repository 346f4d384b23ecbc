"""The plan of a batch: ``plan.json`` with the settings, and ``rows.jsonl`` with a line for each field.

A part is ``part_size`` consecutive rows. Everything else about it follows from its number, so that any machine can fit
any part.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from .. import __version__
from ..artifact.data_set import PLAN, ROWS, part_path
from ..config.plan import Plan
from ..config.settings import Settings
from ..errors import InrfitError, RefusedInput, UnreadableFile, UsageError, printable
from ..fit.budget import Budget
from ..io import files, strict_json
from ..io.json_schema import integer, items, mapping, matching, text
from ..io.limits import Limits
from . import rules
from .manifest import Row
from .rules import AskedRules, Rules

VERSION = 1

DEFAULT_STEPS = 60
"""Steps of a fit if no budget and no target is given: the same number for all fields, which is what learning from
weights needs."""

STACKED_WEIGHTS = 50_000
"""Largest number of weights of fields that the store "auto" keeps in fp32: they are read more often than sent. Larger
ones are stored as ``inrfit encode`` does."""

MAX_PART_SIZE = 256
"""Largest number of fields of a part, unless it is given."""

PART_SECONDS, STEP_FLOPS = 20.0, 3e10
"""How long a part should take, in seconds, and the speed that the steps of a fit are supposed to have."""

LARGE = Limits(max_bytes=2**40)
"""Limits for files of inrfit's own."""

_SCHEMA = {
    "version": integer(1, VERSION),
    "inrfit": text(100),
    "settings": mapping(lambda value: None),
    "rules": rules.SCHEMA,
    "part_size": integer(1, 1 << 16),
    "rows": integer(1, 2**40),
    "rows_sha256": matching("[0-9a-f]{64}", "64 hexadecimal digits"),
    "fields": items(mapping(lambda value: None), 0, 100),
    "digest": matching("[0-9a-f]{64}", "64 hexadecimal digits"),
}


@dataclass(frozen=True)
class BatchPlan:
    """The plan in a folder."""

    folder: str
    settings: Settings
    part_size: int
    row_count: int
    rows_sha256: str
    rules: Rules = Rules()
    fields: Sequence[Mapping[str, Any]] = ()
    """What some of the sources come to: modality, sampler, architecture, sizes."""

    @property
    def part_count(self) -> int:
        """Number of parts."""
        return -(-self.row_count // self.part_size)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the weights depend on: settings, rules, rows, part size."""
        described = [settings_json(self.settings), self.rules.json(), self.part_size, self.rows_sha256]
        return files.sha256(strict_json.dumps(described).encode())

    def rows_in(self, part: int) -> int:
        """Number of rows of a part."""
        return min(self.part_size, self.row_count - part * self.part_size)

    def numbers_of(self, part: int) -> slice:
        """The numbers of the rows of a part."""
        return slice(part * self.part_size, part * self.part_size + self.rows_in(part))

    @cached_property
    def _line_starts(self) -> Any:
        """The offset of each line of ``rows.jsonl``."""
        import numpy as np

        data = np.memmap(os.path.join(self.folder, ROWS), np.uint8, "r")
        return np.concatenate([[0], np.flatnonzero(data == 10) + 1])

    def rows_of(self, part: int) -> list[tuple[int, Row]]:
        """The rows of a part, with their numbers. Raises ``UnreadableFile``."""
        first, count = part * self.part_size, self.rows_in(part)
        with open(os.path.join(self.folder, ROWS), "rb") as file:
            file.seek(int(self._line_starts[first]))
            lines = [file.readline() for _ in range(count)]
        return [
            (first + k, Row(**strict_json.loads(line, f"{ROWS}, line {first + k + 1}"))) for k, line in enumerate(lines)
        ]

    def has(self, part: int) -> bool:
        """Whether a part is there."""
        return os.path.exists(part_path(self.folder, part))


def settings_json(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values."""
    values = asdict(settings)
    budget = settings.budget
    values["budget"] = (
        asdict(budget) if isinstance(budget, Budget) else [budget] if isinstance(budget, str) else list(budget)
    )
    return values


def settings_of(values: Mapping[str, Any]) -> Settings:
    """The inverse of ``settings_json``. Raises ``UsageError``."""
    given = dict(values)
    budget, limits = given.pop("budget"), given.pop("limits")
    return Settings(
        **given, budget=Budget(**budget) if isinstance(budget, dict) else tuple(budget), limits=Limits(**limits)
    )


def resolved(settings: Settings) -> Settings:
    """``settings`` with the defaults of a batch: DEFAULT_STEPS, and one thread a field, so that the weights do not
    depend on the machine's number of processors."""
    if not settings.budget and settings.target is None:
        settings = replace(settings, budget=(f"{DEFAULT_STEPS}it",))
    return replace(settings, threads=settings.threads or 1)


def make(
    folder: str,
    rows: Sequence[Row],
    settings: Settings,
    part_size: int | None = None,
    asked: AskedRules = AskedRules(),
) -> BatchPlan:
    """The plan for ``rows``, written into ``folder``, which is made. Some of the sources are read, to see that the
    settings suit them, and for the size of the parts.

    Raises ``UsageError`` for settings that suit none of them, or if there are no rows, and ``UnwritableOutput``."""
    if not rows:
        raise UsageError("no source files found", "no-sources")
    settings = resolved(settings)
    plans = _some_plans(rows, settings)
    size = part_size or min(_part_size(plans), len(rows))
    kinds = _described(plans)
    rules, lines = asked.resolved(kinds), rows_bytes(rows)
    made = BatchPlan(folder, settings, size, len(rows), files.sha256(lines), rules, kinds)
    _write(made, lines)
    return made


def rows_bytes(rows: Sequence[Row]) -> bytes:
    """The content of ``rows.jsonl``."""
    encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
    return b"".join(encode(row.json()).encode() + b"\n" for row in rows)


def _write(plan: BatchPlan, lines: bytes) -> None:
    """Writes the plan and the ``lines`` of its rows. ``plan.json`` comes last: its presence makes the plan."""
    try:
        os.makedirs(plan.folder, exist_ok=True)
    except OSError as error:
        raise files.unwritable(error, printable(plan.folder)) from error
    files.write(os.path.join(plan.folder, ROWS), lines, force=True)
    header = {
        "version": VERSION,
        "inrfit": __version__,
        "settings": settings_json(plan.settings),
        "rules": plan.rules.json(),
        "part_size": plan.part_size,
        "rows": plan.row_count,
        "rows_sha256": plan.rows_sha256,
        "fields": list(plan.fields),
        "digest": plan.digest,
    }
    text = json.dumps(header, indent=1, sort_keys=True).encode() + b"\n"
    files.write(os.path.join(plan.folder, PLAN), text, force=False)


def exists(folder: str) -> bool:
    """Whether there is a plan in the folder."""
    return os.path.exists(os.path.join(folder, PLAN))


def read(folder: str) -> BatchPlan:
    """The plan in a folder. Raises a ``RefusedInput`` if there is none, or it is damaged."""
    path = os.path.join(folder, PLAN)
    shown = printable(path)
    try:
        header = strict_json.loads(files.read(path, Limits()), shown)
    except RefusedInput as error:
        if error.reason == "missing":
            raise UnreadableFile(
                f"{printable(folder)}: no plan here (make one with inrfit batch plan)", "missing"
            ) from None
        raise
    strict_json.check_schema(header, _SCHEMA, shown, "schema")
    try:
        settings = settings_of(header["settings"])
    except (UsageError, KeyError, TypeError) as error:
        raise UnreadableFile(f"{shown}: the settings are of another version of inrfit: {error}", "schema") from None
    plan = BatchPlan(
        folder, settings, header["part_size"], header["rows"], header["rows_sha256"],
        rules.from_json(header["rules"]), header["fields"],
    )  # fmt: skip
    if plan.digest != header["digest"]:
        raise UnreadableFile(f"{shown}: was changed by hand: its digest is not that of its settings and rows", "digest")
    return plan


def all_rows(plan: BatchPlan) -> list[Row]:
    """All rows of a plan. Raises ``UnreadableFile`` if they are not those that were planned."""
    data = files.read(os.path.join(plan.folder, ROWS), LARGE)
    if files.sha256(data) != plan.rows_sha256:
        raise UnreadableFile(f"{printable(plan.folder)}: {ROWS} is not the one that was planned", "digest")
    return [Row(**json.loads(line)) for line in data.splitlines()]


def _some_plans(rows: Sequence[Row], settings: Settings) -> list[Plan]:
    """The plans of a few of the sources, spread evenly, of those that can be read. Raises the first ``UsageError`` if
    the settings suit none of them."""
    from ..codec import plan_source

    plans, wrong = [], None
    for k in sorted({k * (len(rows) - 1) // 3 for k in range(4)}):
        try:
            plans.append(plan_source(rows[k].source, {}, settings))
        except UsageError as error:
            wrong = wrong or error
        except InrfitError:  # it becomes a row of its own
            continue
    if wrong is not None and not plans:
        raise wrong
    return plans


def _part_size(plans: Sequence[Plan]) -> int:
    """The number of fields that take about PART_SECONDS."""
    return max(1, min(MAX_PART_SIZE, int(PART_SECONDS / max(map(_seconds, plans), default=0.1))))


def _seconds(planned: Plan) -> float:
    """About how long a fit takes."""
    budget, spec = planned.budget, planned.spec
    if budget.steps is None and budget.target is None:
        return 2 * (budget.seconds or PART_SECONDS)  # rounding and measuring take about as long again
    steps = budget.steps or 500
    seconds = steps * min(planned.signal.n, 8192) * spec.macs * 6 / STEP_FLOPS
    return min(seconds, budget.seconds or seconds)


def _described(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """What the sources come to, each kind once."""
    kinds: list[dict[str, Any]] = []
    for planned in plans:
        spec = planned.spec
        kind = {
            "modality": planned.signal.modality,
            "samples": planned.signal.n,
            "sampler": planned.sampler_name,
            **spec.json(),
            "parameters": spec.parameters,
            "budget": asdict(planned.budget),
            "store": row_store(planned),
        }
        kinds += [] if kind in kinds else [kind]
    return kinds


def row_store(planned: Plan) -> str:
    """How the weights of a field are stored: see STACKED_WEIGHTS."""
    small = planned.store == "auto" and planned.settings.bytes is None and planned.spec.parameters <= STACKED_WEIGHTS
    return "fp32" if small else planned.store

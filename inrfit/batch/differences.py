"""What a command asks for that differs from the plan in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..config.settings import Settings
from ..errors import printable
from ..io import files
from .manifest import Row
from .plan import BatchPlan, all_rows, rows_bytes, settings_json
from .rules import AskedRules


def differences(
    plan: BatchPlan,
    settings: Settings,
    part_size: int | None,
    rows: Sequence[Row] | None,
    asked_rules: AskedRules = AskedRules(),
) -> list[str]:
    """What differs from ``plan`` of what is asked for: settings other than the defaults, and ``rows`` if there are
    any."""
    asked, default, planned = (settings_json(each) for each in (settings, Settings(), plan.settings))
    found = [
        f"--{name.replace('_', '-')} {_shown(asked[name])} (the plan has {_shown(planned[name])})"
        for name in asked
        if asked[name] != default[name] and asked[name] != planned[name]
    ]
    given = asdict(asked_rules)
    wanted, present = asked_rules.resolved(plan.fields).json(), plan.rules.json()
    found += [
        f"--{name} {text} (the plan has {_shown(present[name])})"
        for name, text in given.items()
        if text is not None and wanted[name] != present[name]
    ]
    if part_size is not None and part_size != plan.part_size:
        found.append(f"--part-size {part_size} (the plan has {plan.part_size})")
    if rows is not None and files.sha256(rows_bytes(rows)) != plan.rows_sha256:
        found.append(_row_difference(all_rows(plan), rows))
    return found


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _row_difference(planned: Sequence[Row], rows: Sequence[Row]) -> str:
    """In words, how ``rows`` differ from those that were planned."""
    if len(rows) != len(planned):
        return f"{len(rows):,} sources (the plan has {len(planned):,})"
    first = next((new for old, new in zip(planned, rows, strict=True) if old != new), rows[0])
    return f"the source {printable(first.source)} with the id {first.id} (the plan has another one in its place)"

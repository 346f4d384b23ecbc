"""``-O key=value``: settings of the chosen sampler, architecture and modality, read from their dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..errors import UsageError

T = TypeVar("T")


def setting(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field with its help sentence and its range."""
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high})


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """``["a=1", "b=x"]`` as a mapping; raises ``UsageError`` for anything else."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"-O wants key=value, not {pair!r}", "option")
        if key in found:
            raise UsageError(f"-O {key} is given twice", "option")
        found[key] = value
    return found


def build(classes: Mapping[str, type[Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """One instance per class in ``classes`` (label -> dataclass), filled from ``given``; an unknown key names the
    valid ones of every class."""
    known = {label: {f.name for f in dataclasses.fields(cls)} for label, cls in classes.items()}
    for key in given:
        if not any(key in names for names in known.values()):
            valid = "; ".join(f"{label}: {', '.join(sorted(names)) or 'none'}" for label, names in known.items())
            raise UsageError(f"unknown option -O {key} (valid: {valid})", "option")
    return {
        label: from_mapping(cls, {k: v for k, v in given.items() if k in known[label]})
        for label, cls in classes.items()
    }


def from_mapping(cls: type[T], given: Mapping[str, Any]) -> T:
    """An instance of the settings dataclass ``cls`` from texts or values; raises ``UsageError``."""
    hints = get_type_hints(cls)
    made = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name in given:
            made[field.name] = _convert(field, hints[field.name], given[field.name])
    return cls(**made)


def _convert(field: dataclasses.Field[Any], kind: Any, given: Any) -> Any:
    """``given`` as ``kind``, within the field's range."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if given not in choices:
            raise UsageError(f"-O {field.name}={given}: choose from {', '.join(map(str, choices))}", "option")
        return given
    options = [arm for arm in get_args(kind) if arm is not type(None)]
    kind = options[0] if options else kind
    if kind is bool:
        switches = {"true": True, "false": False, True: True, False: False}
        if given not in switches:
            raise UsageError(f"-O {field.name}={given}: write true or false", "option")
        return switches[given]
    try:
        value = kind(given)
    except (TypeError, ValueError):
        raise UsageError(f"-O {field.name}={given}: not {_noun(kind)}", "option") from None
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if isinstance(value, int | float) and not (
        (low is None or value >= low) and (high is None or value <= high) and value == value
    ):
        raise UsageError(f"-O {field.name}={given}: outside {low} .. {high}", "option")
    return value


def _noun(kind: Any) -> str:
    return {int: "a whole number", float: "a number"}.get(kind, getattr(kind, "__name__", str(kind)))

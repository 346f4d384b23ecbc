"""Strict schemas for JSON values that were read from files.

A schema is a mapping of keys to schemas (all keys are required, and no others are allowed), or a function that raises
``ValueError`` for invalid values. A validation library is not used, because ``info`` and refusals must be fast.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from .registry import Registry

Schema = Mapping[str, Any] | Callable[[Any], Any]


def check(value: Any, schema: Schema, path: str) -> None:
    """Raises ``ValueError`` unless ``value`` matches ``schema``. ``path`` names the value in the message."""
    if callable(schema):
        try:
            schema(value)
        except ValueError as error:
            raise ValueError(f"{path} {error}".replace("  ", " ")) from None
        return
    if type(value) is not dict:
        raise ValueError(f"{path} must be an object")
    for key in value:
        if key not in schema:
            raise ValueError(f"{path} has an unknown key {key[:40]!r}")
    for key, item_schema in schema.items():
        if key not in value:
            raise ValueError(f"{path} lacks the key {key!r}")
        check(value[key], item_schema, f"{path}.{key}")


def integer(low: int, high: int) -> Callable[[Any], None]:
    """A schema for an int (not a bool or float) from ``low`` to ``high``."""

    def validate(value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")

    return validate


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a finite float, or an int of 64 bits, which NumPy and torch can hold, and not a bool."""
    return math.isfinite(value) if type(value) is float else type(value) is int and -(2**63) <= value < 2**63


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[Any], None]:
    """A schema for a finite float or an int of 64 bits (not a bool) from ``low`` to ``high``."""

    def validate(value: Any) -> None:
        if not _is_number(value) or not low <= value <= high:
            raise ValueError(f"must be a finite number from {low:g} to {high:g}")

    return validate


def text(limit: int = 1000) -> Callable[[Any], None]:
    """A schema for a string of at most ``limit`` characters."""

    def validate(value: Any) -> None:
        if type(value) is not str or len(value) > limit:
            raise ValueError(f"must be a string of at most {limit} characters")

    return validate


def boolean(value: Any) -> None:
    """The schema for true or false."""
    if type(value) is not bool:
        raise ValueError("must be true or false")


def one_of(*choices: Any) -> Callable[[Any], None]:
    """A schema for a value that equals one of ``choices`` and has its type."""

    def validate(value: Any) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ValueError(f"must be one of {', '.join(map(str, choices))}")

    return validate


def registered(registry: Registry[Any]) -> Callable[[Any], None]:
    """A schema for a name in ``registry``, including those of installed plug-ins."""

    def validate(value: Any) -> None:
        if type(value) is not str or value not in registry:
            missing = f"{value[:64]!r} is not installed; " if type(value) is str else ""
            raise ValueError(f"{missing}must be one of {', '.join(registry.offered())}, or a plug-in")

    return validate


def optional(schema: Schema) -> Callable[[Any], None]:
    """A schema for null, or a value that matches ``schema``."""

    def validate(value: Any) -> None:
        if value is not None:
            check(value, schema, "")

    return validate


def either(*schemas: Schema) -> Callable[[Any], None]:
    """A schema for a value that matches at least one of ``schemas``. The message is that of the last one."""

    def validate(value: Any) -> None:
        for schema in schemas[:-1]:
            try:
                return check(value, schema, "")
            except ValueError:
                pass
        return check(value, schemas[-1], "")

    return validate


def matching(pattern: str, noun: str) -> Callable[[Any], None]:
    """A schema for a string that the regular expression ``pattern`` matches completely. ``noun`` describes it in the
    message."""

    def validate(value: Any) -> None:
        if type(value) is not str or not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"must be {noun}")

    return validate


def scalar(value: Any) -> None:
    """The schema for null, true, false, a finite number or a string of at most 1,000 characters."""
    if not (value is None or type(value) is bool or _is_number(value) or (type(value) is str and len(value) <= 1000)):
        raise ValueError("must be null, true, false, a finite number or a string of at most 1000 characters")


def items(schema: Schema, low: int, high: int) -> Callable[[Any], None]:
    """A schema for a list of ``low`` to ``high`` items that match ``schema``."""

    def validate(value: Any) -> None:
        if type(value) is not list or not low <= len(value) <= high:
            raise ValueError(f"must be a list of {low} to {high} items")
        for position, item in enumerate(value):
            check(item, schema, f"[{position}]")

    return validate


def mapping(schema: Schema, limit: int = 64) -> Callable[[Any], None]:
    """A schema for an object of at most ``limit`` keys whose values match ``schema``."""

    def validate(value: Any) -> None:
        if type(value) is not dict or len(value) > limit:
            raise ValueError(f"must be an object of at most {limit} keys")
        for key, item in value.items():
            check(item, schema, key[:40])

    return validate


def with_keys(required: Mapping[str, Schema], schema: Schema) -> Callable[[Any], None]:
    """A schema for an object that matches ``schema`` and has the keys of ``required``, which match theirs."""

    def validate(value: Any) -> None:
        check(value, schema, "")
        check({key: value[key] for key in required if key in value}, required, "")

    return validate


def without_nonfinite(value: Any) -> Any:
    """``value`` as a JSON value in which numbers that are not finite are replaced by null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):  # bytes of a file name that are not UTF-8 are escaped, because JSON cannot contain them
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(key): without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nonfinite(item) for item in value]
    return value

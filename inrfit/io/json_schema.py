"""A strict schema for what comes out of files: exact keys, exact types, ranges, nothing else.

A schema is a plain Python value: a dict of key -> schema (every key required, no other allowed), or a
function that raises ``ValueError`` for what it does not take. A page of code instead of a validation library,
because ``info`` and every refusal must answer before anything heavy is imported. ``finite`` is the way out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from .registry import Registry

Schema = Mapping[str, Any] | Callable[[Any], Any]


def check(value: Any, schema: Schema, path: str) -> None:
    """Raises ``ValueError`` naming ``path`` unless ``value`` is exactly what ``schema`` says."""
    if not isinstance(schema, Mapping):
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
    for key, inner in schema.items():
        if key not in value:
            raise ValueError(f"{path} lacks the key {key!r}")
        check(value[key], inner, f"{path}.{key}")


def integer(low: int, high: int) -> Callable[[Any], None]:
    """A whole number (no bool, no float) in [low, high]."""

    def inner(value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")

    return inner


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[Any], None]:
    """A finite number (int or float, no bool) in [low, high]."""

    def inner(value: Any) -> None:
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"must be a finite number from {low:g} to {high:g}")

    return inner


def text(limit: int = 1000) -> Callable[[Any], None]:
    """A string of at most ``limit`` characters."""

    def inner(value: Any) -> None:
        if type(value) is not str or len(value) > limit:
            raise ValueError(f"must be a string of at most {limit} characters")

    return inner


def boolean(value: Any) -> None:
    """True or false."""
    if type(value) is not bool:
        raise ValueError("must be true or false")


def one_of(*choices: Any) -> Callable[[Any], None]:
    """Exactly one of ``choices``, of the same type."""

    def inner(value: Any) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ValueError(f"must be one of {', '.join(map(str, choices))}")

    return inner


def registered(registry: Registry[Any]) -> Callable[[Any], None]:
    """A name in ``registry``, those of installed plug-ins included."""

    def inner(value: Any) -> None:
        if type(value) is not str or value not in registry:
            raise ValueError(f"must be one of {', '.join(registry.offered())} (or of an installed plug-in)")

    return inner


def optional(schema: Schema) -> Callable[[Any], None]:
    """null, or what ``schema`` says."""

    def inner(value: Any) -> None:
        if value is not None:
            check(value, schema, "")

    return inner


def either(*schemas: Schema) -> Callable[[Any], None]:
    """What at least one of ``schemas`` says; the message is the last one's."""

    def inner(value: Any) -> None:
        for schema in schemas[:-1]:
            try:
                return check(value, schema, "")
            except ValueError:
                pass
        return check(value, schemas[-1], "")

    return inner


def matching(pattern: str, noun: str) -> Callable[[Any], None]:
    """A string that the regular expression ``pattern`` matches whole; ``noun`` says in words what that is."""

    def inner(value: Any) -> None:
        if type(value) is not str or not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"must be {noun}")

    return inner


def scalar(value: Any) -> None:
    """null, true, false, a finite number or a string of at most 1,000 characters."""
    finite = type(value) in (int, float) and math.isfinite(value)
    if not (value is None or type(value) is bool or finite or (type(value) is str and len(value) <= 1000)):
        raise ValueError("must be null, true, false, a finite number or a string of at most 1000 characters")


def items(schema: Schema, low: int, high: int) -> Callable[[Any], None]:
    """A list of ``low`` to ``high`` things of one kind."""

    def inner(value: Any) -> None:
        if type(value) is not list or not low <= len(value) <= high:
            raise ValueError(f"must be a list of {low} to {high} items")
        for position, item in enumerate(value):
            check(item, schema, f"[{position}]")

    return inner


def mapping(schema: Schema, limit: int = 64) -> Callable[[Any], None]:
    """An object with any string keys and values of one kind."""

    def inner(value: Any) -> None:
        if type(value) is not dict or len(value) > limit:
            raise ValueError(f"must be an object of at most {limit} keys")
        for key, item in value.items():
            check(item, schema, key[:40])

    return inner


def finite(value: Any) -> Any:
    """JSON without non-finite numbers: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):  # a file name that is not UTF-8: bytes that JSON cannot carry are escaped
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value

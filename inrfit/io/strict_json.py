"""JSON that is taken only as far as all readers agree on it, and written as the same bytes for equal values."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from ..errors import UnreadableFile
from .json_schema import Schema, check

MAX_DIGITS = 40
"""Longest number, in characters; float64 needs 24. Long ones take quadratic time to convert."""


def loads(raw: bytes, what: str) -> Any:
    """Strict JSON: UTF-8, unique keys, finite numbers of sane length, no lone surrogates."""
    try:
        decoded = raw.decode("utf-8")
        value = json.loads(
            decoded, object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_whole, parse_float=_real
        )
        if "\\u" in decoded:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnreadableFile as error:
        raise UnreadableFile(f"{what} has {error}", error.reason) from None
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{what} is not UTF-8 at byte {error.start:,}", "header") from None
    except UnicodeEncodeError:
        raise UnreadableFile(f"{what} has half a surrogate pair, which is no text", "header") from None
    except RecursionError:
        raise UnreadableFile(f"{what} is nested too deeply", "nesting") from None
    except json.JSONDecodeError as error:
        raise UnreadableFile(f"{what} is not JSON: {error.msg} at {error.pos:,}", "header") from None
    return value


def _pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; parsers disagree which of two equal keys wins."""
    made = dict(found)
    if len(made) != len(found):
        ((twice, _),) = Counter(key for key, _ in found).most_common(1)
        raise UnreadableFile(f"the key {twice[:40]!r} twice", "duplicate")
    return made


def _constant(name: str) -> Any:
    raise UnreadableFile(f"{name}, which is not JSON", "number")


def _whole(digits: str) -> int:
    return int(_sane(digits))


def _real(digits: str) -> float:
    value = float(_sane(digits))
    if not math.isfinite(value):
        raise UnreadableFile(f"the number {digits}, which is out of range", "number")
    return value


def _sane(digits: str) -> str:
    """``digits`` unless there are too many."""
    if len(digits) > MAX_DIGITS:
        raise UnreadableFile(f"a number of {len(digits):,} digits", "number")
    return digits


def dumps(value: Any) -> str:
    """JSON that is the same bytes for equal values; raises ``ValueError`` for what JSON does not have."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def refuse_unless(value: Any, schema: Schema, path: str, reason: str) -> None:
    """``json_schema.check`` as a refusal."""
    try:
        check(value, schema, path)
    except ValueError as error:
        raise UnreadableFile(str(error), reason) from None

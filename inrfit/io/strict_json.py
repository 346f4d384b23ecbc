"""Strict JSON: accepts only what all parsers read alike, and writes equal values as equal bytes."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from ..errors import UnreadableFile
from .json_schema import Schema, check

MAX_DIGITS = 40
"""Maximum length of a number in characters. float64 needs 24; converting long numbers takes quadratic time."""


def loads(raw: bytes, what: str) -> Any:
    """The value of strict JSON: UTF-8, unique keys, finite numbers of at most MAX_DIGITS characters, no lone
    surrogates. Raises ``UnreadableFile`` for anything else. ``what`` names the text in messages."""
    try:
        decoded = raw.decode("utf-8")
        value = _DECODER.decode(decoded)
        if "\\u" in decoded:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnreadableFile as error:
        raise UnreadableFile(f"{what} has {error}", error.reason) from None
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{what} is not UTF-8 at byte {error.start:,}", "header") from None
    except UnicodeEncodeError:
        raise UnreadableFile(f"{what} has half a surrogate pair, which is not valid text", "header") from None
    except RecursionError:
        raise UnreadableFile(f"{what} is nested too deeply", "nesting") from None
    except json.JSONDecodeError as error:
        raise UnreadableFile(f"{what} is not JSON: {error.msg} at {error.pos:,}", "header") from None
    return value


def value_count(raw: bytes) -> int:
    """The commas and opening brackets in JSON, which has at most one value more. Short files may hold, or inflate to,
    more values than fit into memory."""
    return sum(map(raw.count, (b",", b"[", b"{")))


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of ``pairs``. Raises ``UnreadableFile`` for duplicate keys, because parsers differ in which one they
    use."""
    result = dict(pairs)
    if len(result) != len(pairs):
        ((duplicate, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise UnreadableFile(f"the key {duplicate[:40]!r} twice", "duplicate")
    return result


def _refuse_constant(name: str) -> Any:
    """Raises ``UnreadableFile`` for NaN and infinity."""
    raise UnreadableFile(f"{name}, which is not JSON", "number")


def _parse_int(digits: str) -> int:
    """``digits`` as an int. Raises ``UnreadableFile`` if there are too many."""
    return int(digits if len(digits) <= MAX_DIGITS else _refuse_length(digits))


def _parse_float(digits: str) -> float:
    """``digits`` as a float. Raises ``UnreadableFile`` if there are too many, or if it is infinite."""
    value = float(digits if len(digits) <= MAX_DIGITS else _refuse_length(digits))
    if not math.isfinite(value):
        raise UnreadableFile(f"the number {digits}, which is out of range", "number")
    return value


def _refuse_length(digits: str) -> str:
    """Raises ``UnreadableFile`` for too many ``digits``."""
    raise UnreadableFile(f"a number of {len(digits):,} digits", "number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_build_object,
    parse_constant=_refuse_constant,
    parse_int=_parse_int,
    parse_float=_parse_float,
)


def dumps(value: Any) -> str:
    """JSON text, the same for equal values. Raises ``ValueError`` for numbers that are not finite."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def check_schema(value: Any, schema: Schema, path: str, reason: str) -> None:
    """Raises ``UnreadableFile`` with ``reason`` unless ``value`` matches ``schema``. ``path`` names the value."""
    try:
        check(value, schema, path)
    except ValueError as error:
        raise UnreadableFile(str(error), reason) from None

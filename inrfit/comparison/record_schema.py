"""Reading comparison.json when a comparison is continued, and its schema, as far as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config.settings import ENGINES, PRECISIONS
from ..errors import RefusedInput, UsageError, printable
from ..io import files, strict_json
from ..io.json_schema import (
    boolean,
    check,
    either,
    integer,
    items,
    mapping,
    number,
    one_of,
    optional,
    scalar,
    text,
    with_keys,
)
from ..io.limits import Limits
from ..io.renamed import OLD_VALUES
from .spec import MAX_SEEDS

RECORD_VERSION = 1
"""Version of the format of comparison.json."""

_COUNT, _SECONDS = integer(0, 2**53), number(0, 1e12)
_QUALITY = number(-1e12, 1e12)
_SPENT_KEYS = {"fit_seconds": _SECONDS, "sampler_seconds": _SECONDS, "steps": _COUNT, "points": _COUNT}
_TEXTS_OF_QUALITY = {"infinite": text(), "plain_codec": text(100), "estimate": boolean}

_RUN_KEY: Mapping[str, Any] = {
    "source": text(5000),
    "arch": text(5000),
    "sampler": text(5000),
    "seed": integer(0, MAX_SEEDS),
}

_POINT: Mapping[str, Any] = {
    "seconds": _SECONDS,
    "share": _SECONDS,
    "step": _COUNT,
    "points": _COUNT,
    "quality": optional(_QUALITY),
}


def _quality(value: Any) -> None:
    """The schema of the quality of a run: numbers, but for the keys that say how it was measured."""
    mapping(scalar)(value)
    check({key: value[key] for key in _TEXTS_OF_QUALITY if key in value}, _some_of(_TEXTS_OF_QUALITY, value), "")
    for key in value.keys() - _TEXTS_OF_QUALITY.keys():
        check(value[key], optional(_QUALITY), key[:40])


def _spent(value: Any) -> None:
    """The schema of what a run has spent: the keys of the tables, and others."""
    with_keys(_SPENT_KEYS, mapping(either(mapping(_SECONDS), _SECONDS)))(value)
    check({key: value.get(key) for key in _SPENT_KEYS}, _SPENT_KEYS, "")


_ERROR = {"code": integer(0, 255), "reason": text(100), "message": text(10_000)}
_CODEC: Mapping[str, Any] = {"ok": boolean, "source": text(5000), "codec": text(100), "writer": text(200)}
_CODEC_POINT = {"settings": mapping(scalar), "bytes": integer(1, 2**53), "quality": optional(_QUALITY)}


def _codec(value: Any) -> None:
    """The schema of the files of a codec, made or failed."""
    failed = type(value) is dict and value.get("ok") is False
    rest: dict[str, Any] = {"error": _ERROR} if failed else {"points": items(_CODEC_POINT, 0, 10_000)}
    check(value, {**_CODEC, **rest}, "")


def _result(value: Any) -> None:
    """The schema of the result of a run, finished or failed."""
    failed = type(value) is dict and value.get("ok") is False
    if failed:
        return check(value, {"ok": one_of(False), **_RUN_KEY, "error": _ERROR}, "")
    finished = {
        "ok": one_of(True),
        **_RUN_KEY,
        "quality": _quality,
        "spent": _spent,
        "settings": mapping(scalar),
        "ended": text(100),
        "notes": items(text(2000), 0, 1000),
        "trace": items(_POINT, 0, 100_000),
    }
    size = {"size": with_keys({"parameters": _COUNT, "bytes": _COUNT}, mapping(scalar))}
    return check(value, finished | _some_of(size, value), "")  # the first versions had no size


def _some_of(schema: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """``schema`` without the keys that ``value`` lacks."""
    return {key: item for key, item in schema.items() if type(value) is dict and key in value}


def _any(value: Any) -> None:
    """The schema of what is not used, or only compared."""


_CHOICES = {
    "precision": one_of("auto", *PRECISIONS, *OLD_VALUES["precision"]),
    "engine": one_of("auto", *ENGINES, *OLD_VALUES["engine"]),
}

_RECORD: Mapping[str, Any] = {
    "schema": integer(1, 1),
    "inrfit": text(100),
    "key": text(100),
    "plan": mapping(_any),
    "machine": mapping(_any),
    "recipes": mapping(mapping(_CHOICES, 1000), 100_000),
    "unfinished": _COUNT,
    "standings": _any,
    "results": items(_result, 0, 10_000_000),
}

_CODECS: Mapping[str, Any] = {"codecs": items(_codec, 0, 1_000_000), "rates": _any}
"""Keys of a comparison with codecs."""


def _record(value: Any) -> None:
    """The schema of the file."""
    check(value, {**_RECORD, **_some_of(_CODECS, value)}, "")


def read_record(path: str, limits: Limits) -> dict[str, Any]:
    """The record in the file ``path``. Raises a ``RefusedInput`` if it is damaged or something else, ``UsageError`` if
    it has another version."""
    label = printable(path)
    try:
        record = strict_json.loads(files.read(path, limits), "the file")
        version = record.get("schema") if type(record) is dict else None
        if type(version) is int and version != RECORD_VERSION:
            raise UsageError(
                f"{label}: is a comparison in format {version}, and this inrfit continues only format "
                f"{RECORD_VERSION} (replace it with --force)",
                "other-schema",
            )
        strict_json.check_schema(record, _record, "record", "schema")
    except RefusedInput as error:
        raise type(error)(
            f"{label}: damaged, or not a comparison: {error} (replace it with --force)", error.reason
        ) from error
    checked: dict[str, Any] = record
    return checked

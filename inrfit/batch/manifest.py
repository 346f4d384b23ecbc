"""The rows of a batch: one for each field, from files, folders and manifests.

A manifest is a JSONL or CSV file with the column ``source`` (a path or a glob, relative to the manifest) and, as far as
wanted, ``id``, ``seed``, ``label`` and ``split``. Other columns are carried through to the data set.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InrfitError, UsageError, printable
from ..io import files, strict_json
from ..io.file_names import without_suffix
from ..io.limits import Limits

SUFFIXES = (".jsonl", ".csv")
"""Suffixes of manifests."""

OWN = frozenset({"source", "id", "seed", "label", "split"})
"""Columns with a meaning."""

RESERVED = frozenset({"number", "part", "stack", "place", "steps", "code", "reason", "message", "width", "height"})
"""Names that no other column may have: the rows of a data set have them already, and those of measures."""

MAX_ID, MAX_TEXT, MAX_COLUMNS = 200, 1000, 64
"""Largest number of characters of an id, and of another text; of columns besides OWN."""

MAX_SEED = 2**63 - 2

_SCALARS = (str, int, float, type(None))


@dataclass(frozen=True, slots=True)
class Row:
    """What one field is made from. ``seed`` is None unless the manifest names it."""

    source: str
    id: str
    seed: int | None = None
    label: str | int | float | bool | None = None
    split: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """The row as JSON values, without what it lacks."""
        values: dict[str, Any] = {"id": self.id, "source": self.source}
        for key, value in (("seed", self.seed), ("label", self.label), ("split", self.split)):
            if value is not None:
                values[key] = value
        if self.columns:
            values["columns"] = dict(self.columns)
        return values

    def carried(self) -> dict[str, Any]:
        """The part of ``json`` that is carried through to the data set."""
        return {key: value for key, value in self.json().items() if key in ("label", "split", "columns")}

    def seed_within(self, seed: int) -> int:
        """The seed of the field: that of the manifest, or one that follows from ``seed`` and the id. It does not depend
        on other rows or their order."""
        if self.seed is not None:
            return self.seed
        digest = hashlib.sha256(f"{seed} {self.id}".encode()).digest()
        return int.from_bytes(digest[:8], "little") % (MAX_SEED + 1)


Listing = Callable[[str], Iterable[tuple[str, str]]]
"""The files of a folder, each with its path below it."""


def rows_of(sources: Iterable[str], listing: Listing) -> list[Row]:
    """The rows of ``sources``: files, folders, which ``listing`` lists, and manifests. The default id of a row is its
    path below the folder or the manifest without the suffix; with it where two would be the same.

    Raises ``UsageError`` for a manifest that is wrong, and for two rows with one id."""
    given = list(sources)
    several = sum(os.path.isdir(source) for source in given) > 1
    rows: list[tuple[Row, str]] = []
    for source in given:
        if source.lower().endswith(SUFFIXES) and not os.path.isdir(source):
            rows += _manifest_rows(source)
        elif os.path.isdir(source):
            name = os.path.basename(os.path.abspath(source)) + "/" if several else ""
            rows += [(_row(path), name + below) for path, below in listing(source)]
        else:
            rows.append((_row(source), os.path.basename(source)))
    return _named(rows)


def _row(path: str) -> Row:
    """A row without an id."""
    return Row(os.path.abspath(path), "")


def _named(rows: Iterable[tuple[Row, str]]) -> list[Row]:
    """The rows with their ids, given the path that stands for each. Raises ``UsageError`` for two with one id."""
    pairs = list(rows)
    stems = Counter(row.id or without_suffix(path) for row, path in pairs)
    named, seen = [], dict[str, str]()
    for row, path in pairs:
        stem = row.id or without_suffix(path)
        id = row.id or (stem if stems[stem] == 1 else path)
        if not id or len(id) > MAX_ID or not id.isprintable():
            raise UsageError(f"the id {printable(id)[:MAX_ID]!r} must be 1 to {MAX_ID} printable characters", "id")
        if id in seen:
            raise UsageError(
                f"{seen[id]} and {row.source} have the same id {id!r}: give them ids of their own in a manifest", "id"
            )
        seen[id] = row.source
        named.append(row if row.id else replace(row, id=id))
    return named


def _manifest_rows(path: str) -> Iterator[tuple[Row, str]]:
    """The rows of a manifest, each with the path that stands for it."""
    try:
        text = files.read(path, Limits()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{printable(path)}: not UTF-8 at byte {error.start:,}", "manifest") from None
    entries = _csv_entries(text) if path.lower().endswith(".csv") else _jsonl_entries(text)
    folder, shown = os.path.dirname(path), printable(path)
    above = os.path.join(os.path.abspath(folder), "")
    try:
        for line, entry in entries:
            where = f"{shown}, line {line}"
            values = _checked(entry, where)
            for source in _expanded(entry["source"], values["id"], folder, where):
                yield Row(source, **values), _below(source, above, entry["source"])
    except csv.Error as error:
        raise UsageError(f"{printable(path)}: not CSV: {error}", "manifest") from None


def _jsonl_entries(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, strict_json.loads(line.encode(), "the row")
            except InrfitError as error:
                yield number, str(error)


def _csv_entries(text: str) -> Iterator[tuple[int, Any]]:
    """The rows of CSV text. Seeds and labels that are whole numbers become such; what is empty is left out."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    for row in reader:
        if None in row or None in row.values():
            yield reader.line_num, f"must have {len(reader.fieldnames or ())} columns, as the first line"
            continue
        entry: dict[str, Any] = {key: value for key, value in row.items() if value != ""}
        for key in ("seed", "label"):
            if re.fullmatch(r"-?[0-9]{1,18}", entry.get(key, "")):
                entry[key] = int(entry[key])
        yield reader.line_num, entry


def _checked(entry: Any, where: str) -> dict[str, Any]:
    """What the row of an entry has besides its source. Raises ``UsageError``."""
    if isinstance(entry, str):
        raise UsageError(f"{where}: {entry}", "manifest")
    if type(entry) is not dict or type(entry.get("source")) is not str or not entry["source"]:
        raise UsageError(f"{where}: must have a source, the path of a file", "manifest")
    columns = {key: value for key, value in entry.items() if key not in OWN}
    if columns and (taken := sorted(RESERVED & columns.keys())):
        raise UsageError(f"{where}: the column {taken[0]!r} is one of the data set's own: rename it", "manifest")
    for key, value in entry.items():
        if key not in ("source", "seed") and (not isinstance(value, _SCALARS) or len(str(value)) > MAX_TEXT):
            raise UsageError(f"{where}: {key} must be a text of at most {MAX_TEXT} characters, or a number", "manifest")
    if len(columns) > MAX_COLUMNS:
        raise UsageError(f"{where}: has {len(columns)} columns of its own, at most {MAX_COLUMNS} are kept", "manifest")
    seed = entry.get("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed <= MAX_SEED):
        raise UsageError(f"{where}: seed must be a whole number from 0 to {MAX_SEED}", "manifest")
    id, split = (None if entry.get(key) is None else str(entry[key]) for key in ("id", "split"))
    return {"id": id or "", "seed": seed, "label": entry.get("label"), "split": split, "columns": columns}


def _expanded(source: str, id: str, folder: str, where: str) -> list[str]:
    """The paths of the files that a glob stands for; that of another source."""
    path = os.path.join(folder, os.path.expanduser(source))
    found = [path]
    if glob.has_magic(source) and not os.path.lexists(path):
        found = sorted(glob.glob(path, recursive=True))
        if not found:
            raise UsageError(f"{where}: no file is called {printable(source)}", "manifest")
        if id and len(found) > 1:
            raise UsageError(f"{where}: one id for the {len(found):,} files of {printable(source)}", "manifest")
    return [os.path.abspath(each) for each in found]


def _below(path: str, above: str, source: str) -> str:
    """What stands for the file ``path``: its name if ``source`` is absolute, otherwise its path below the folder
    ``above``, without "../" at the beginning."""
    if os.path.isabs(source):
        return os.path.basename(path)
    if path.startswith(above):
        return path[len(above) :]
    below = os.path.relpath(path, above)
    while below.startswith("../"):
        below = below.removeprefix("../")
    return below

"""Lists the measurements in README and docs with the commit they were taken at, and marks those that are out of date.

A measurement is a table with figures. Its commit is the last one named ("commit 1234abc") between the heading above it
and its first row. It is out of date when the recipe, the engine, an architecture or a strategy has changed since:
when a later commit touches ``PATHS`` and does not say ``Results: unchanged`` in its message, which is for commits
after which every fit still gives the same weights.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATHS = ("inrfit/fit", "inrfit/fields", "inrfit/samplers")
UNCHANGED = "Results: unchanged"

FIRST_LABELLED = "f9526f9"
"""The commits up to this one have no label; LAST_CHANGE_BEFORE is the last of them that changed results."""
LAST_CHANGE_BEFORE = "ba389a9"


@dataclass(frozen=True)
class Table:
    """A table of measurements: where it stands, under which heading, and the commit, or "" if none is named."""

    page: Path
    line: int
    heading: str
    commit: str


def listing(pages: list[Path]) -> str:
    """One line a table: place, commit, state, heading."""
    lines = [f"results last changed by {last_change()}"]
    for table in (table for page in pages for table in tables(page)):
        place = f"{table.page.relative_to(ROOT)}:{table.line}"
        lines.append(f"{place:32} {table.commit or '-':10} {state(table.commit):12} {table.heading}")
    return "\n".join(lines) + "\n"


def tables(page: Path) -> list[Table]:
    """The tables of a page most of whose rows have a decimal figure."""
    found, heading, section = [], "", ""
    lines = page.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("#"):
            heading, section = line.lstrip("# "), ""
        section += line + "\n"
        if line.startswith("|--"):
            rows = [row for row in _rows(lines, number + 1) if re.search(r"\| [^|]*\d\.\d", row)]
            if len(rows) > len(_rows(lines, number + 1)) / 2:
                commits = re.findall(r"commit\s`?([0-9a-f]{7,40})\b", section)
                found.append(Table(page, number, heading, commits[-1] if commits else ""))
    return found


def _rows(lines: list[str], start: int) -> list[str]:
    """The rows of a table from its first on."""
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append(line)
    return rows


def state(commit: str) -> str:
    """Whether what was measured at ``commit`` still holds: "current", "out of date" or "unknown"."""
    if not commit or _git("cat-file", "-t", commit) != "commit":
        return "unknown"
    return "current" if _is_ancestor(last_change(), commit) else "out of date"


@cache
def last_change() -> str:
    """The last commit after which fits give other weights than before."""
    log = _git("log", "--format=%h%x00%B%x01", f"{FIRST_LABELLED}..HEAD", "--", *PATHS)
    for entry in filter(None, (entry.strip() for entry in log.split("\x01"))):
        commit, message = entry.split("\x00", 1)
        if UNCHANGED not in message:
            return commit
    return LAST_CHANGE_BEFORE


@cache
def _is_ancestor(earlier: str, later: str) -> bool:
    command = ["git", "merge-base", "--is-ancestor", earlier, later]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


@cache
def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()

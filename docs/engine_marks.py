"""Says beside a table of measurements whether the engine is still the one that was measured.

A page marks a table that chose a default with a comment line, ``<!-- measured with 0123abcd of fit kernel -->``: a hash
of the program text in these files and folders of inrfit/, on which the table depends, without comments, docstrings and
layout. When that has changed, ``python docs/check.py --write`` puts the sentence ``OLDER`` below the comment, and takes
it away again when the table has been measured anew and its mark renewed (``python docs/check.py --engine fit kernel``
prints the hash). Without ``--write`` the check fails until that is done.
"""

from __future__ import annotations

import ast
import hashlib
import re
import tokenize
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OLDER = "*Measured with an older engine than today's.*"
MARK = re.compile(rf"^(<!-- measured with ([0-9a-f]{{8}}) of ([\w ./]+) -->)\n(?:\n{re.escape(OLDER)}\n)?", re.M)


@cache
def engine_hash(paths: str) -> str:
    """Eight hexadecimal digits for files and folders of inrfit/. Raises ``FileNotFoundError``."""
    digest = hashlib.sha256()
    for path in sorted({path for name in paths.split() for path in _files(ROOT / "inrfit" / name)}):
        code = CODE[path.suffix](path.read_text("utf-8"))
        digest.update(f"{path.relative_to(ROOT).as_posix()}\n{code}\n".encode())
    return digest.hexdigest()[:8]


def _files(place: Path) -> list[Path]:
    if not place.exists():
        raise FileNotFoundError(place)
    return [path for path in (place.rglob("*") if place.is_dir() else [place]) if path.suffix in CODE]


def python_code(text: str) -> str:
    """The text without comments, docstrings and white space."""
    lines = text.splitlines(keepends=True)
    for token in tokenize.generate_tokens(iter(lines).__next__):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in filter(_is_text, ast.walk(ast.parse(text))):
        lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "".join("".join(lines).split())


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def cpp_code(text: str) -> str:
    """The text without comments and white space."""
    return "".join(re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S).split())


CODE = {".py": python_code, ".cpp": cpp_code, ".h": cpp_code, ".inc": cpp_code}


def with_states(text: str) -> str:
    """A page with the sentence below each mark that is not of today's engine, and below no other."""

    def state(mark: re.Match[str]) -> str:
        return mark[1] + "\n" + ("" if mark[2] == engine_hash(mark[3]) else f"\n{OLDER}\n")

    return MARK.sub(state, text)


def problems(pages: list[Path]) -> list[str]:
    """Pages that do not say whether their tables are of today's engine."""
    wrong = [page for page in pages if with_states(page.read_text("utf-8")) != page.read_text("utf-8")]
    return [f"{page.relative_to(ROOT)}: the engine has changed: run python docs/check.py --write" for page in wrong]

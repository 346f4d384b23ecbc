"""Checks the links, paths and options that the pages name: each must lead to something that exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")
PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:py|cpp|md|toml|cff))?)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]+")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)

OF_OTHER_PROGRAMS = frozenset({"--check", "--help", "--version", "--debug"})
"""Options that no declaration in this repository names: of ruff, and those that all commands have."""


def problems(pages: list[Path]) -> list[str]:
    """One line for every link, path and option that leads nowhere."""
    return [
        f"{page.relative_to(ROOT) if page.is_relative_to(ROOT) else page.name}:{number}: {problem}"
        for page in pages
        for number, problem in page_problems(page)
    ]


def page_problems(page: Path) -> Iterator[tuple[int, str]]:
    """The number of a line, and what is wrong with a link, a path or an option in it."""
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        for target in LINK.findall(line):
            if not link_exists(page, target):
                yield number, f"the link to {target} leads nowhere"
        for path in PATH.findall(line):
            if not path_exists(path):
                yield number, f"`{path}` is not there"
        for span in re.findall(r"`([^`]+)`", line):
            for option in OPTION.findall(span):
                if option not in options():
                    yield number, f"no command has the option {option}"


def link_exists(page: Path, target: str) -> bool:
    """Whether a link of a page leads to a file and, if it names one, a heading in it. Web sites are not asked."""
    if re.match(r"[a-z]+:", target):
        return True
    path, _, anchor = target.partition("#")
    file = (page.parent / path) if path else page
    return file.exists() and (not anchor or anchor in anchors(file))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of the headings of a page. Of headings with one text, the second has ``-1`` at its end, and so on."""
    found: list[str] = []
    for title in re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", page.read_text("utf-8")), re.M):
        anchor = slug(re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).replace("`", ""))
        found.append(unused(anchor, found))
    return frozenset(found)


def unused(anchor: str, used: list[str]) -> str:
    """``anchor``, with a number at its end if it is among ``used``."""
    return next(name for name in (anchor, *(f"{anchor}-{i}" for i in range(1, 99))) if name not in used)


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def path_exists(path: str) -> bool:
    """Whether a path leads to a file or folder of the repository. Folders of the user, which have other names, are not
    looked for."""
    starts = [ROOT, ROOT / "inrfit", ROOT / "tests", *(each.parent for each in (ROOT / "inrfit").glob("*/__init__.py"))]
    if path.endswith("/") and path.partition("/")[0] not in ("inrfit", "tests", "docs"):
        return True
    return any((start / path).exists() for start in starts)


@cache
def options() -> frozenset[str]:
    """The options of the commands, and those that the scripts of the repository declare."""
    from inrfit.cli import COMMANDS, GROUPS

    found = set(OF_OTHER_PROGRAMS)
    for command in (*COMMANDS.values(), *(each for group in GROUPS.values() for each in group.values())):
        for name, hint in get_type_hints(command, include_extras=True).items():
            if len(get_args(hint)) > 1:
                info = get_args(hint)[1]
                declared = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
                found |= set(declared) or {"--" + name.replace("_", "-")}
    for script in (
        *(ROOT / "tests" / "bench").glob("*.py"),
        *(ROOT / "tests" / "faults").glob("*.py"),
        *(ROOT / "docs").glob("*.py"),
    ):
        found |= set(re.findall(r'"(--[a-z][\w-]*)"', script.read_text("utf-8")))
    return frozenset(found)

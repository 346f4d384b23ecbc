"""Checks the documentation against the program.

docs/cli.md is generated from the commands themselves; links, paths and options must lead somewhere (check_links.py);
the tree in docs/architecture.md must be the tree; every sampler and architecture must have its row; every name in
backticks must exist (check_names.py); lines have at most 130 columns.

--write     regenerates docs/cli.md, and says at tables whether the engine is still the one measured (engine_marks.py)
--engine    prints the hash of the files and folders of inrfit/ that follow it
--examples  also runs the examples of README and docs (check_examples.py)
--figures   lists the tables of measurements with their commits, and marks those that are out of date (figures.py)
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, get_args, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = ROOT / "docs" / "cli.md"
COLUMNS, WIDTH = 130, 115
"""Most columns of a line, and those at which generated prose is wrapped."""


def command_page() -> str:
    """docs/cli.md as it must be, from the signatures that Typer makes the commands of."""
    from inrfit.cli import app

    parts = [
        "# Command line\n\nGenerated from the program by `python docs/check.py --write`; do not edit.\n",
        f"{app.info.help}\n\n{wrapped(app.info.epilog)}\n",
        "`--debug` anywhere on the line shows the traceback of an error; `--version` prints the version.\n",
    ]
    for words, function in commands_of(app):
        parts += [f"## {words}\n\n{inspect.cleandoc(function.__doc__)}\n"]
        panels: dict[str, list[str]] = {}
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            panel = get_args(hints[parameter.name])[1].rich_help_panel or "Options"
            panels.setdefault(panel, []).append(option_item(parameter, hints[parameter.name]))
        parts += [f"### {panel}\n\n{''.join(items)}" for panel, items in panels.items()]
    parts.append(setting_lists())
    return "\n".join(parts)


def commands_of(app: Any, words: str = "inrfit") -> list[tuple[str, Any]]:
    """All commands with their words, those of groups at the end."""
    found = [(f"{words} {command.callback.__name__}", command.callback) for command in app.registered_commands]
    for group in app.registered_groups:
        found += commands_of(group.typer_instance, f"{words} {group.typer_instance.info.name}")
    return found


def wrapped(text: str | None) -> str:
    """The paragraphs and examples of a help text, long lines wrapped."""
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="") for line in (text or "").splitlines())


def item(head: str, text: str) -> str:
    """An item of a list, wrapped."""
    return textwrap.fill(f"- {head}: {text}", WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n"


def setting_lists() -> str:
    """What ``-O key=value`` takes, from the options' own dataclasses."""
    from inrfit.fields import FIELDS
    from inrfit.modalities import MODALITIES
    from inrfit.samplers import SAMPLERS

    classes: dict[str, type[Any]] = {f"--sampler {name}": kind for name, kind in SAMPLERS.items()}
    classes |= {f"--arch {name}": kind for name, kind in FIELDS.items()}
    classes |= {f"--type {name}": modality.options for name, modality in MODALITIES.items()}
    parts = ["## Settings\n\nWhat `-O key=value` takes; the defaults stand in parentheses.\n"]
    for label, kind in classes.items():
        items = []
        for field in dataclasses.fields(kind):
            choices = [word for word in get_args(get_type_hints(kind)[field.name]) if not isinstance(word, type)]
            words = f"{field.metadata['help']}{': ' + ', '.join(map(str, choices)) if choices else ''}"
            default = f" ({field.default})" if field.default not in (None, "") else ""
            items.append(item(f"`{field.name}`{default}", words))
        if items:
            parts.append(f"### `{label}`\n\n{''.join(items)}")
    return "\n".join(parts)


def option_item(parameter: inspect.Parameter, hint: Any) -> str:
    """One option or argument of a command."""
    kind, info = get_args(hint)
    kinds = {bool: "", int: " NUMBER", float: " NUMBER"}
    value = next((word for known, word in kinds.items() if kind is known or known in get_args(kind)), " TEXT")
    # In an annotation Typer takes the first name for a default until it makes the command.
    given_names = (info.default, *(info.param_decls or ()))
    names = ", ".join(name for name in given_names if isinstance(name, str)) or "--" + parameter.name.replace("_", "-")
    if type(info).__name__ == "ArgumentInfo":
        names, value = info.metavar, ""
    given = parameter.default
    default = "" if given in (None, False, inspect.Parameter.empty) else f" ({given})"
    return item(f"`{names}{value}`{default}", info.help)


def missing_rows() -> list[str]:
    """Registered names without a row in their page."""
    from inrfit.fields import FIELDS
    from inrfit.samplers import SAMPLERS

    samplers = (ROOT / "docs" / "samplers.md").read_text("utf-8")
    formats = (ROOT / "docs" / "artifact.md").read_text("utf-8").lower()
    return [
        *(f"docs/samplers.md: no row for {name}" for name in SAMPLERS if f"| `{name}` |" not in samplers),
        *(f"docs/artifact.md: nothing about {name}" for name in FIELDS if name not in formats),
    ]


def tree_paths(text: str) -> set[str]:
    """The paths of all files in the tree that the page draws, by its indentation."""
    drawn = re.search(r"^inrfit/\n((?:  .*\n)+)", text, re.M)
    folders, found = ["inrfit"], set()
    for line in drawn[1].splitlines() if drawn else []:
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders[depth:] = [name.rstrip("/")]
        if not name.endswith("/"):
            found.add("/".join(folders))
    return found


def wrong_tree(text: str) -> list[str]:
    """Files that the tree drawn in ``text`` (docs/architecture.md) lacks, and those it names that do not exist."""
    drawn = tree_paths(text)
    files = (path for kind in ("py", "cpp", "h", "inc") for path in (ROOT / "inrfit").rglob(f"*.{kind}"))
    names = {path.relative_to(ROOT).as_posix() for path in files}
    there = {name for name in names if not name.endswith("/__init__.py") or name == "inrfit/__init__.py"}
    return [
        *(f"docs/architecture.md: the tree lacks {name}" for name in sorted(there - drawn)),
        *(f"docs/architecture.md: the tree names {name}, which is not there" for name in sorted(drawn - there)),
    ]


def long_lines() -> list[str]:
    """Lines with more columns than fit."""
    return [
        f"{page.relative_to(ROOT)}:{number}: {len(line)} columns, at most {COLUMNS}"
        for page in PAGES
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1)
        if len(line) > COLUMNS
    ]


def problems() -> list[str]:
    """Everything that is not as it must be."""
    import check_links
    import check_names
    import engine_marks

    stale = not GENERATED.exists() or GENERATED.read_text("utf-8") != command_page()
    return [
        *(["docs/cli.md is stale: run python docs/check.py --write"] if stale else []),
        *check_links.problems(PAGES),
        *missing_rows(),
        *wrong_tree((ROOT / "docs" / "architecture.md").read_text("utf-8")),
        *check_names.problems(PAGES),
        *engine_marks.problems(PAGES),
        *long_lines(),
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if "--write" in sys.argv:
        import engine_marks

        GENERATED.write_text(command_page(), "utf-8")
        for page in PAGES:
            page.write_text(engine_marks.with_states(page.read_text("utf-8")), "utf-8")
    if "--engine" in sys.argv:
        import engine_marks

        sys.stdout.write(engine_marks.engine_hash(" ".join(sys.argv[sys.argv.index("--engine") + 1 :])) + "\n")
        sys.exit(0)
    if "--figures" in sys.argv:
        import figures

        sys.stdout.write(figures.listing(PAGES))
        sys.exit(0)
    found = problems()
    if "--examples" in sys.argv:
        import check_examples

        found += check_examples.problems(PAGES)
    sys.stderr.write("".join(f"{line}\n" for line in found))
    sys.exit(1 if found else 0)

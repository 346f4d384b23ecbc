"""Checks the documentation against the program.

docs/cli.md is generated from the commands themselves; links between pages must lead somewhere; the tree in
docs/architecture.md must be the tree; every sampler and architecture must have its row; every dotted name in backticks
must exist (check_names.py).

--write     regenerates docs/cli.md
--examples  also runs the examples of README and docs (check_examples.py)
--figures   lists the tables of measurements with their commits, and marks those that are out of date (figures.py)
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = ROOT / "docs" / "cli.md"


def command_page() -> str:
    """docs/cli.md as it must be, from the signatures that Typer makes the commands of."""
    from inrfit.cli import app

    parts = [
        "# Command line\n\nGenerated from the program by `python docs/check.py --write`; do not edit.\n",
        f"{app.info.help}\n\n{app.info.epilog}\n",
        "`--debug` anywhere on the line shows the traceback of an error; `--version` prints the version.\n",
    ]
    for command in app.registered_commands:
        function: Any = command.callback
        about = inspect.cleandoc(function.__doc__)
        rows = ["| option | value | default | what it does |", "|---|---|---|---|"]
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            rows.append(option_row(parameter, hints[parameter.name]))
        parts += [f"## inrfit {function.__name__}\n\n{about}\n", "\n".join(rows) + "\n"]
    parts.append(setting_tables())
    return "\n".join(parts)


def setting_tables() -> str:
    """What ``-O key=value`` takes, from the settings' own dataclasses."""
    from inrfit.fields import FIELDS
    from inrfit.modalities import MODALITIES
    from inrfit.samplers import SAMPLERS

    classes: dict[str, type[Any]] = {f"--sampler {name}": kind for name, kind in SAMPLERS.items()}
    classes |= {f"--arch {name}": kind for name, kind in FIELDS.items()}
    classes |= {name: modality.options for name, modality in MODALITIES.items()}
    rows = ["## Settings\n\n`-O key=value`.\n\n| of | key | default | what it is |", "|---|---|---|---|"]
    for label, kind in classes.items():
        for field in dataclasses.fields(kind):
            choices = get_args(get_type_hints(kind)[field.name])
            words = f"{field.metadata['help']}{': ' + ', '.join(map(str, choices)) if choices else ''}"
            rows.append(f"| `{label}` | `{field.name}` | {field.default} | {words} |")
    return "\n".join(rows) + "\n"


def option_row(parameter: inspect.Parameter, hint: Any) -> str:
    """One row of a command's table."""
    kind, info = get_args(hint)
    kinds = {bool: "", int: "number", float: "number"}
    value = next((word for known, word in kinds.items() if kind is known or known in get_args(kind)), "text")
    # In an annotation Typer takes the first name for a default until it makes the command.
    given_names = (info.default, *(info.param_decls or ()))
    names = ", ".join(name for name in given_names if isinstance(name, str)) or "--" + parameter.name.replace("_", "-")
    if type(info).__name__ == "ArgumentInfo":
        names, value = parameter.name.upper() + "...", ""
    given = parameter.default
    default = "" if given in (None, False, inspect.Parameter.empty) else str(given)
    return f"| `{names}` | {value} | {default} | {info.help} |"


def broken_links() -> list[str]:
    """Relative links of README and docs that lead nowhere."""
    found = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                found.append(f"{page.relative_to(ROOT)}: {target}")
    return found


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
    files = (path for kind in ("py", "cpp") for path in (ROOT / "inrfit").rglob(f"*.{kind}"))
    names = {path.relative_to(ROOT).as_posix() for path in files}
    there = {name for name in names if not name.endswith("/__init__.py") or name == "inrfit/__init__.py"}
    return [
        *(f"docs/architecture.md: the tree lacks {name}" for name in sorted(there - drawn)),
        *(f"docs/architecture.md: the tree names {name}, which is not there" for name in sorted(drawn - there)),
    ]


def problems() -> list[str]:
    """Everything that is not as it must be."""
    import check_names

    stale = not GENERATED.exists() or GENERATED.read_text("utf-8") != command_page()
    return [
        *(["docs/cli.md is stale: run python docs/check.py --write"] if stale else []),
        *broken_links(),
        *missing_rows(),
        *wrong_tree((ROOT / "docs" / "architecture.md").read_text("utf-8")),
        *check_names.problems(PAGES),
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if "--write" in sys.argv:
        GENERATED.write_text(command_page(), "utf-8")
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

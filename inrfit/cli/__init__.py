"""The command line: Typer commands, one file each. The only package that prints or exits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.main import get_command

from . import batch, batch_reading
from .compare import compare
from .decode import decode
from .encode import encode
from .help import HelpCommand, HelpGroup
from .info import info
from .measure import measure
from .query import query
from .unknown_command import unknown_command

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}

COMMANDS: dict[str, Callable[..., int]] = {
    "encode": encode,
    "decode": decode,
    "info": info,
    "query": query,
    "measure": measure,
    "compare": compare,
}

GROUPS: dict[str, dict[str, Callable[..., int]]] = {
    "batch": {
        "plan": batch.plan,
        "run": batch.run,
        "status": batch_reading.status,
        "retry": batch_reading.retry,
        "check": batch_reading.check,
        "export": batch_reading.export,
    }
}
"""Commands with a second word."""

app = typer.Typer(
    name="inrfit",
    cls=HelpGroup,
    help="Turn images, sounds, shapes, volumes and clips into small neural networks (neural fields), and back into "
    "files.\n\n"
    "Examples:\n\n"
    "    inrfit encode photo.png                   writes photo.png.safetensors\n"
    "    inrfit decode photo.png.safetensors       writes photo.decoded.png",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
    epilog="Exit codes: 0 done, 1 bug, 2 wrong usage or output exists, 3 input refused, 4 cannot write, 5 out of "
    "memory, 6 nothing learned, 7 some sources or runs failed, 8 figure not confirmed, 130/143 interrupted, 141 "
    "standard output closed.",
)
for name, command in COMMANDS.items():
    app.command(name, cls=HelpCommand, context_settings=CONTEXT_SETTINGS)(command)
batch_app = typer.Typer(
    name="batch",
    cls=HelpGroup,
    help="Fit fields to many files, in one process or on many machines, and read them as a data set.\n\n"
    "Examples:\n\n"
    "    inrfit batch run ds pictures/ --width 64 --depth 3",
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
)
for name, command in GROUPS["batch"].items():
    batch_app.command(name, cls=HelpCommand, context_settings=CONTEXT_SETTINGS)(command)
app.add_typer(batch_app)


@app.callback()
def common(
    version: bool = typer.Option(False, "--version", "-V", help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Print the traceback of an error; accepted anywhere."),
) -> None:
    """The common options, for the help page; ``__main__`` handles them before anything is imported."""


def run_command(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code; without arguments prints the help page (2).

    Only the requested command is built, not the group, because Typer imports Pydantic to parse the group's own options,
    which is slow."""
    program, application, commands = "inrfit", app, COMMANDS
    if arguments and arguments[0] in GROUPS:
        name, *arguments = arguments
        program, application, commands = f"{program} {name}", batch_app, GROUPS[name]
    if arguments and arguments[0] in commands:
        name, *arguments = arguments
        program, application = f"{program} {name}", typer.Typer(add_completion=False, rich_markup_mode=None)
        application.command(name, cls=HelpCommand, context_settings=CONTEXT_SETTINGS)(commands[name])
    elif arguments and not arguments[0].startswith("-"):
        raise unknown_command(arguments[0], program, (*commands, *(GROUPS if commands is COMMANDS else ())))
    command: Any = get_command(application)
    code = command.main(arguments or ["--help"], prog_name=program, standalone_mode=False)
    return int(code or 0) if arguments else 2

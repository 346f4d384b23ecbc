"""The command line: Typer commands, one file each. The only place that prints or exits."""

from __future__ import annotations

import typer

from .compare import compare
from .decode import decode
from .encode import encode
from .info import info

app = typer.Typer(
    name="inrfit",
    help="Turns files into neural fields and back, within the seconds you grant.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 bug, 2 usage or output exists, 3 input refused, 4 cannot write, 5 out of memory, "
    "6 diverged, 7 some sources or runs failed, 130/143 interrupted, 141 stdout closed.",
)
app.command("encode", no_args_is_help=True)(encode)
app.command("decode", no_args_is_help=True)(decode)
app.command("info", no_args_is_help=True)(info)
app.command("compare", no_args_is_help=True)(compare)


@app.callback()
def common(
    version: bool = typer.Option(False, "--version", "-V", help="Print the version and end."),
    debug: bool = typer.Option(False, "--debug", help="On an error, show the traceback too (anywhere on the line)."),
) -> None:
    """Handled in ``__main__`` before anything is imported; named here for the help."""

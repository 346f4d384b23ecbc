"""What is reported of an exception: an error of inrfit as it is, others as the error that they stand for."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import typer

from ..errors import InrfitError, UnwritableOutput, UsageError, machine_error
from .console import Console


def failure_of(error: BaseException, arguments: Sequence[str] = ()) -> InrfitError:
    """The ``InrfitError`` for an exception. ``arguments``: the words of the command line, if it may be about them."""
    from . import COMMANDS, GROUPS

    try:
        from typer import TyperException
    except ImportError:  # before typer 0.28: it raises the exceptions of click, which it requires
        from click import ClickException as TyperException  # type: ignore[assignment]

    if isinstance(error, InrfitError):
        return error
    if isinstance(error, TyperException):
        second = GROUPS.get(arguments[0] if arguments else "", {})
        known = [
            *(word for word in arguments[:1] if word in COMMANDS or second),
            *(w for w in arguments[1:2] if w in second),
        ]
        command = " ".join(["inrfit", *known])
        return UsageError(f"{error.format_message()} (see {command} --help)", "option")
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        interrupted = InrfitError("interrupted", "interrupted")
        interrupted.exit_code = 130
        return interrupted
    if (failure := machine_error(error)) is not None:
        return failure
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        return UnwritableOutput(f"standard output: {error.strerror}", "stdout")
    text = " ".join(str(error).split())[:300]
    return InrfitError(f"a bug in inrfit: {type(error).__name__}: {text} (run again with --debug)", "bug")


def report_failed(source: str, error: Exception, console: Console) -> int:
    """Reports the exception that ended the work on one of the files of a command; returns its exit code. One about
    stdout is raised again: the other files would fail in the same way."""
    failure = failure_of(error)
    if failure.reason == "stdout":
        raise failure
    console.report_failure(source, failure, error)
    return failure.exit_code


def exit_code_of(codes: Sequence[int]) -> int:
    """The exit code of a command from those of its files."""
    if len(codes) == 1:
        return codes[0]
    return 7 if any(codes) else 0

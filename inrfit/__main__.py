"""The entry point of ``inrfit`` and ``python -m inrfit``: every failure becomes an exit code and one line on stderr."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """The console script."""
    if sys.platform == "win32":
        sys.stderr.write("inrfit: error: inrfit does not support Windows; use WSL\n")
        sys.exit(2)
    _open_standard_streams()
    from .interrupts import leave_on_signals  # early: until then, Ctrl-C prints a traceback

    leave_on_signals()
    arguments = sys.argv[1:]
    if [word for word in arguments if word != "--debug"] in (["--version"], ["-V"]):
        from . import __version__

        sys.exit(_finish(0, f"inrfit {__version__}\n"))
    from .runtime import collect_garbage_rarely, skip_final_collection

    collect_garbage_rarely()
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(errors="backslashreplace")
    code = _finish(run(arguments))
    compilation = sys.modules.get("inrfit.fit.engine.background_compile")
    if code >= 128 or (compilation is not None and compilation.is_compiling()):
        # A normal exit could crash in the compiler's thread or in an interrupted import. All output is written.
        os._exit(code)
    skip_final_collection()
    sys.exit(code)


def _open_standard_streams() -> None:
    """Opens the null device in place of standard streams that are closed. A file that is opened later would get the
    number of one of them, and a library that prints on it would write into that file."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _discard_stdout() -> None:
    """Sends what is still to be written to nowhere; otherwise the interpreter reports an error at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _finish(code: int, text: str = "") -> int:
    """Writes ``text`` and flushes stdout. Returns ``code``, or that of the error if stdout takes no more."""
    try:
        if sys.stdout is None and text:
            return 141
        if sys.stdout is not None:
            sys.stdout.write(text)
            sys.stdout.flush()
    except OSError as error:
        _discard_stdout()
        if not code and isinstance(error, BrokenPipeError):
            return 141
        if not code:  # otherwise the error has been reported
            _print_error(f"inrfit: error: standard output: {error.strerror}\n")
            return 4
    return code


def _print_error(text: str) -> None:
    """Prints ``text`` on stderr, if that takes it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]
    words = [word for position, word in enumerate(arguments) if word != "--debug" or position >= end]
    try:
        from .cli.console import one_line_messages

        with one_line_messages(debug):
            return _run(words, as_json="--json" in arguments[:end])
    except KeyboardInterrupt:  # during imports
        _print_error("inrfit: error: interrupted\n")
        return 130


def _run(arguments: list[str], as_json: bool) -> int:
    import typer

    from .cli import run_command
    from .cli.console import Console
    from .cli.failures import failure_of
    from .errors import InrfitError, OutputClosed
    from .io.registry import plugin_errors

    try:
        with plugin_errors():
            return run_command(arguments)
    except typer.Exit as leave:
        return leave.exit_code
    except (OutputClosed, BrokenPipeError):
        _discard_stdout()
        return OutputClosed.exit_code
    except (Exception, KeyboardInterrupt) as error:
        failure = failure_of(error, arguments)
        with contextlib.suppress(InrfitError):  # of a standard output that takes nothing
            Console(as_json=as_json).report_failure("", failure, error)
        return failure.exit_code


if __name__ == "__main__":
    main()

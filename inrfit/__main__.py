"""The entry point of ``inrfit`` and ``python -m inrfit``: every failure becomes an exit code and one line on stderr."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in ``inrfit/__init__.py``
if TYPE_CHECKING:
    from .errors import InrfitError


def main() -> None:
    """The console script."""
    if sys.platform == "win32":
        sys.stderr.write("inrfit: error: inrfit does not support Windows; use WSL\n")
        sys.exit(2)
    from .interrupts import leave_on_signals  # first: until then, Ctrl-C prints a traceback

    leave_on_signals()
    import os

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


def _discard_stdout() -> None:
    """Sends what is still to be written to nowhere; otherwise the interpreter reports an error at exit."""
    import os

    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _finish(code: int, text: str = "") -> int:
    """Writes ``text`` and flushes stdout. Returns ``code``, or that of the error if stdout takes no more."""
    try:
        if sys.stdout is not None:
            sys.stdout.write(text)
            sys.stdout.flush()
    except OSError as error:
        _discard_stdout()
        if not code and isinstance(error, BrokenPipeError):
            return 141
        if not code:  # otherwise the error has been reported
            sys.stderr.write(f"inrfit: error: standard output: {error.strerror}\n")
            return 4
    return code


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    from .cli.console import one_line_warnings

    try:
        with one_line_warnings():
            return _run(arguments)
    except KeyboardInterrupt:  # during imports
        sys.stderr.write("inrfit: error: interrupted\n")
        return 130


def _run(arguments: list[str]) -> int:
    import contextlib
    import traceback

    import typer

    from .cli import run_command
    from .cli.console import Console
    from .errors import InrfitError, OutputClosed
    from .io.registry import plugin_errors

    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]
    console = Console(as_json="--json" in arguments[:end])
    arguments = [word for position, word in enumerate(arguments) if word != "--debug" or position >= end]
    try:
        with plugin_errors():
            return run_command(arguments)
    except typer.Exit as leave:
        return leave.exit_code
    except (OutputClosed, BrokenPipeError):
        _discard_stdout()
        return OutputClosed.exit_code
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error, arguments)
        if debug:
            traceback.print_exc()
        with contextlib.suppress(InrfitError):  # of a standard output that takes nothing
            console.report_failure("", failure)
        return failure.exit_code


def _failure(error: BaseException, arguments: list[str]) -> InrfitError:
    """What is reported of an exception: an error of inrfit as it is, others as the error that they stand for."""
    import errno

    import typer

    from .cli import COMMANDS
    from .errors import InrfitError, NotEnoughMemory, UnwritableOutput, UsageError

    try:
        from typer import TyperException
    except ImportError:  # before typer 0.28: it raises the exceptions of click, which it requires
        from click import ClickException as TyperException  # type: ignore[assignment]

    if isinstance(error, InrfitError):
        return error
    if isinstance(error, TyperException):
        command = " ".join(["inrfit", *(word for word in arguments[:1] if word in COMMANDS)])
        return UsageError(f"{error.format_message()} (see {command} --help)", "option")
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        interrupted = InrfitError("interrupted", "interrupted")
        interrupted.exit_code = 130
        return interrupted
    if isinstance(error, MemoryError):
        return NotEnoughMemory("out of memory", "memory")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        return UnwritableOutput(f"standard output: {error.strerror}", "stdout")
    return InrfitError(f"a bug in inrfit: {type(error).__name__}: {error} (run again with --debug)", "bug")


if __name__ == "__main__":
    main()

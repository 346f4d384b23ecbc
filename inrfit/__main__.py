"""The entry point of ``inrfit`` and ``python -m inrfit``: every failure becomes an exit code and one line on stderr."""

from __future__ import annotations

import os
import sys
import traceback


def main() -> None:
    """The console script."""
    if sys.platform == "win32":
        sys.stderr.write("inrfit: error: inrfit does not support Windows; use WSL\n")
        sys.exit(2)
    arguments = sys.argv[1:]
    if [word for word in arguments if word != "--debug"] in (["--version"], ["-V"]):
        from . import __version__

        sys.stdout.write(f"inrfit {__version__}\n")
        return
    from .runtime import collect_garbage_rarely, skip_final_collection

    collect_garbage_rarely()
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(errors="backslashreplace")
    code = run(arguments)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # stdout was closed: redirect it, or the interpreter reports an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 141
    compilation = sys.modules.get("inrfit.fit.engine.background_compile")
    if compilation is not None and compilation.is_compiling():
        os._exit(code)  # a normal exit could crash in the compiler's thread; all output is written
    skip_final_collection()
    sys.exit(code)


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
    import typer

    from .cli import COMMANDS, run_command
    from .errors import InrfitError, OutputClosed

    try:
        from typer import TyperException
    except ImportError:  # before typer 0.28: it raises the exceptions of click, which it requires
        from click import ClickException as TyperException  # type: ignore[assignment]

    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]
    arguments = [word for position, word in enumerate(arguments) if word != "--debug" or position >= end]
    try:
        return run_command(arguments)
    except typer.Exit as leave:
        return leave.exit_code
    except TyperException as error:
        command = " ".join(["inrfit", *(word for word in arguments[:1] if word in COMMANDS)])
        return _fail(f"{error.format_message()} (see {command} --help)", 2, debug)
    except OutputClosed as error:
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error.exit_code
    except InrfitError as error:
        return _fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130, debug)
    except MemoryError:
        return _fail("out of memory", 5, debug)
    except Exception as error:
        return _fail(f"a bug in inrfit: {type(error).__name__}: {error} (run again with --debug)", 1, debug)


def _fail(message: str, code: int, debug: bool) -> int:
    from .cli.console import print_error

    if debug:
        traceback.print_exc()
    print_error(f"inrfit: error: {message}")
    return code


if __name__ == "__main__":
    main()

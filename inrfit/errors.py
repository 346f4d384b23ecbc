"""The exceptions of inrfit, each with the exit code of the command.

    InrfitError                  1  an internal error, when raised as such
    ├── UsageError               2  invalid options or arguments
    │   └── OutputExists         2  the output exists and ``force`` was not given
    ├── PluginError              2  the code of a plug-in failed, or returned something invalid
    ├── RefusedInput             3  the input cannot be used
    │   ├── UnreadableFile       3  missing, truncated, corrupt or malicious
    │   ├── UnsupportedInput     3  a kind of file, or a property of it, that is not supported
    │   └── OverLimit            3  larger than a limit that an option can raise
    ├── UnwritableOutput         4  the output cannot be written, or does not read back the same
    │   └── FolderNotSynced      4  the output is complete, but a power failure may undo it
    ├── NotEnoughMemory          5  too little memory, or too few files that the process may open
    ├── TooMuchWork              5  a valid input whose decoding would take too long
    ├── NothingLearned           6  the fit has no result
    │   ├── Diverged             6  its weights are no better than a constant
    │   └── BudgetTooShort       6  the budget ended before the first step
    └── OutputClosed           141  stdout was closed by its reader

Exit codes without an exception: 7 if some of several sources, or some runs of a comparison, failed; 8 if ``measure``
does not confirm the figure in a header; 130 (SIGINT), 143 (SIGTERM) or 129 (SIGHUP) if interrupted.
"""

from __future__ import annotations

import errno
import sys
import warnings


class InrfitError(Exception):
    """Base class of all errors that inrfit raises on purpose: the message is one sentence for people, ``reason`` a
    stable identifier for programs."""

    exit_code = 1

    def __init__(self, message: str, reason: str = "error") -> None:
        super().__init__(message)
        self.reason = reason


class UsageError(InrfitError):
    """An invalid option or argument, or a combination of them that has no meaning."""

    exit_code = 2


class OutputExists(UsageError):
    """The output exists and overwriting was not requested."""


class PluginError(InrfitError):
    """The code of a plug-in raised an exception or returned an invalid value. The message names the plug-in."""

    exit_code = 2


class RefusedInput(InrfitError):
    """The input cannot be used. Nothing was written."""

    exit_code = 3


class UnreadableFile(RefusedInput):
    """The file is missing, truncated or damaged, or its header contradicts its content."""


class UnsupportedInput(RefusedInput):
    """A valid file of a kind that inrfit does not read."""


class OverLimit(RefusedInput):
    """The size that a file has, or claims to have, exceeds a limit. The message names the option that raises the
    limit."""


class UnwritableOutput(InrfitError):
    """The output could not be written completely, or reading it back gave other data."""

    exit_code = 4


class FolderNotSynced(UnwritableOutput):
    """The output is complete and has its name, but its folder could not be synced to disk."""


class NotEnoughMemory(InrfitError):
    """A valid input that does not fit into memory, or needs more open files than the process may have."""

    exit_code = 5


class TooMuchWork(InrfitError):
    """The input is valid, but decoding it would take too long. Nothing was written."""

    exit_code = 5


class NothingLearned(InrfitError):
    """The fit has no result."""

    exit_code = 6


class Diverged(NothingLearned):
    """The fit diverged and found no weights better than a constant, or the field has no surface."""


class BudgetTooShort(NothingLearned):
    """The budget ended before the first step. The message says what took the time."""


class OutputClosed(InrfitError):
    """stdout was closed by its reader. No message is printed."""

    exit_code = 141


class InrfitWarning(UserWarning):
    """A warning for the user; the command prints it as one line on stderr and continues."""


def warn(message: str) -> None:
    """Issues an ``InrfitWarning`` that points to the line outside this package from which it was called."""
    level = 2
    while sys._getframe(level - 1).f_globals.get("__name__", "").split(".")[0] == __name__.split(".")[0]:
        level += 1
    warnings.warn(message, InrfitWarning, stacklevel=level)


def machine_error(error: BaseException) -> InrfitError | None:
    """The error for an exception that is due to the machine and not to a file: too little memory, too few files that
    may be open, no place for temporary files. None for other exceptions.

    Whoever takes the exceptions of a library for damage of a file asks this first."""
    text, number = str(error), getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return NotEnoughMemory("out of memory", "memory")
    if number in (errno.EMFILE, errno.ENFILE) or (isinstance(error, ImportError) and "oo many open files" in text):
        return NotEnoughMemory(f"too many open files ({_open_files_limit()}; raise it with ulimit -n)", "open-files")
    if isinstance(error, FileNotFoundError) and "temporary directory" in text:
        return UnwritableOutput("no folder for temporary files can be used (set TMPDIR to one)", "tmpdir")
    return None


def _open_files_limit() -> str:
    """The limit on open files of this process, in words."""
    import resource

    return f"the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,}"


def printable(text: object) -> str:
    """``text`` with control characters escaped, so that names from files cannot send commands to a terminal."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)

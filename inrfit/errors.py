"""The exception tree; each class knows the exit code that the command ends with.

    InrfitError                  1  a fault of inrfit itself, when raised as such
    ├── UsageError               2  wrong words on the command line or in a call
    │   └── OutputExists         2  the output is there and ``force`` was not given
    ├── RefusedInput             3  the input cannot be taken as it is
    │   ├── UnreadableFile       3  missing, truncated, corrupt, hostile
    │   ├── UnsupportedInput     3  a kind of file, or a property of it, that is not supported
    │   └── OverLimit            3  larger than a limit that an option can raise
    ├── UnwritableOutput         4  the output cannot be written, or does not read back the same
    ├── NotEnoughMemory          5  a legal input that does not fit
    ├── Diverged                 6  the fit has nothing better than a constant to show
    └── OutputClosed           141  stdout was closed by its reader

Codes without an exception: 7 some of several sources, or runs of a comparison, failed; 130/143 interrupted.
"""

from __future__ import annotations


class InrfitError(Exception):
    """Anything inrfit says no to: one sentence for people, ``reason`` a stable slug for programs."""

    exit_code = 1

    def __init__(self, message: str, reason: str = "error") -> None:
        super().__init__(message)
        self.reason = reason


class UsageError(InrfitError):
    """An option, argument or combination that has no meaning."""

    exit_code = 2


class OutputExists(UsageError):
    """The output name is taken and overwriting was not asked for."""


class RefusedInput(InrfitError):
    """The input is refused; nothing was written."""

    exit_code = 3


class UnreadableFile(RefusedInput):
    """The bytes are missing, cut short, damaged or lie about themselves."""


class UnsupportedInput(RefusedInput):
    """An intact file, but of a kind that inrfit does not read yet."""


class OverLimit(RefusedInput):
    """A claimed or real size above a limit; the message names the option that raises it."""


class UnwritableOutput(InrfitError):
    """The output could not be written completely, or did not read back as written."""

    exit_code = 4


class NotEnoughMemory(InrfitError):
    """A legal input that does not fit into memory."""

    exit_code = 5


class Diverged(InrfitError):
    """No weights better than a constant were found."""

    exit_code = 6


class OutputClosed(InrfitError):
    """Whoever read stdout has left; said to nobody."""

    exit_code = 141


class InrfitWarning(UserWarning):
    """Something the user should know that does not stop the command, which prints it as one line on stderr."""


def printable(text: object) -> str:
    """``text`` with control characters escaped, so that names out of files cannot drive a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))

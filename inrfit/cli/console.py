"""Output of the commands: messages and progress on stderr, JSON and tables on stdout."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..errors import InrfitError, InrfitWarning, OutputClosed, UnwritableOutput, UsageError, printable
from ..io.json_schema import without_nonfinite

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..fit.events import ProgressReport
    from ..modalities.modality import Measure

OUTPUT_VERSION = 1
"""Version of the JSON objects on stdout."""

_debug = ContextVar("debug", default=False)
"""Whether ``--debug`` was given: tracebacks and the warnings of libraries are printed."""

FIRST_LINE, LINE_INTERVAL = 5.0, 10.0
"""Seconds before the first progress line if stderr is not a terminal, and between two of them."""

LONG_SECONDS, MEASURED_SECONDS = 10.0, 1.0
"""Seconds of a decode that are announced, and after which its speed is known."""

LEAST_FRACTION = 0.2
"""Fraction of work from which a progress line tells the time that is left. Before, work is not yet evenly fast."""


class Console:
    """Prints messages up to ``level`` (-1 errors only, 0 normal, 1 verbose), and JSON objects if ``as_json``."""

    def __init__(self, level: int = 0, as_json: bool = False) -> None:
        self.level = level
        self.as_json = as_json
        if level < 0:
            warnings.simplefilter("ignore", InrfitWarning)  # until one_line_messages ends

    def log(self, text: str, level: int = 0) -> None:
        """Prints one line on stderr if ``level`` is not above that of the console."""
        if level <= self.level:
            print_error(text)

    def warn(self, source: str, text: str) -> None:
        """Prints a warning."""
        self.log(f"inrfit: warning: {source}: {text}")

    def print_json(self, record: Mapping[str, Any]) -> None:
        """Prints one JSON object on stdout, with ``--json``."""
        if self.as_json:
            print_output(json.dumps({"schema": OUTPUT_VERSION} | without_nonfinite(record), allow_nan=False) + "\n")

    def require_pipe(self, what: str) -> None:
        """Raises ``UsageError`` if ``what`` cannot be written on stdout: JSON goes there, or it is a terminal."""
        if self.as_json:
            raise UsageError("-o - and --json cannot be combined: both write on standard output", "output")
        if sys.stdout is not None and sys.stdout.isatty():
            raise UsageError(
                f"-o -: standard output is a terminal, where a {what} cannot be shown; use a pipe", "output"
            )

    def report_failure(self, source: str, error: InrfitError, cause: BaseException | None = None) -> None:
        """Prints an error on stderr, and with ``--json`` its object on stdout. ``cause``: the exception that it stands
        for, whose traceback ``--debug`` prints."""
        if _debug.get():
            print_traceback(cause or error)
        if error.reason == "stdout":
            source = ""
        print_error(f"inrfit: error: {source}: {error}" if source else f"inrfit: error: {error}")
        if error.reason == "stdout":
            return
        record = {"code": error.exit_code, "reason": error.reason, "message": str(error)}
        self.print_json({"ok": False, "source": source or None, "error": record})


def print_error(text: str) -> None:
    """Prints one line on stderr. Errors are ignored: a closed stderr must not end a fit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()


def print_traceback(error: BaseException) -> None:
    """Prints the traceback of an exception on stderr."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        print_error(line)


@contextlib.contextmanager
def one_line_messages(debug: bool = False) -> Iterator[None]:
    """While active, an ``InrfitWarning`` is printed as one line, and once. The warnings of libraries, which are about
    their own lines, are printed only for ``debug``, as the tracebacks of errors."""
    token = _debug.set(debug)
    with warnings.catch_warnings():
        show, shown = warnings.showwarning, set[str]()

        def one_line(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
            if issubclass(category, InrfitWarning):
                if str(message) not in shown:
                    shown.add(str(message))
                    print_error(f"inrfit: warning: {message}")
            elif debug:
                show(message, category, *args, **kwargs)

        warnings.showwarning = one_line
        try:
            yield
        finally:
            _debug.reset(token)


def print_output(text: str | bytes) -> None:
    """Prints on stdout and flushes. Raises ``OutputClosed`` or ``UnwritableOutput``."""
    if sys.stdout is None:
        raise OutputClosed("standard output was closed", "stdout")
    try:
        if isinstance(text, bytes):
            sys.stdout.flush()
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed("standard output was closed", "stdout") from None
    except OSError as error:
        raise UnwritableOutput(f"standard output: {error.strerror}", "stdout") from None


class FitProgress:
    """Shows the progress of a fit: a bar on a terminal, otherwise a line after FIRST_LINE seconds, and then every
    LINE_INTERVAL seconds."""

    def __init__(self, console: Console, name: str, now: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.name = printable(name)
        self.now = now
        self.label, self.speed = "", Speed()
        self.last_line = now() - LINE_INTERVAL + FIRST_LINE
        self.done, self.total = 0, 1
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        if console.level >= 0 and interactive():
            self._open()

    def _open(self) -> None:
        from rich.console import Console as Rich
        from rich.progress import BarColumn, Progress, TextColumn

        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=Rich(stderr=True, no_color=without_color()),
            transient=True,
        )
        self.task = self.bar.add_task(self.name, total=1.0, status="starting")
        self.bar.start()

    def begin_part(self, name: str, done: int, total: int) -> None:
        """Starts one fit of ``total``, of which ``done`` are finished."""
        self.name, self.done, self.total = printable(name), done, total
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description=self.name, completed=done / total, status="starting")

    def __call__(self, report: ProgressReport) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=(self.done + report.progress) / self.total, status=str(report))
        elif self.console.level >= 0 and self.now() - self.last_line >= LINE_INTERVAL:
            self.last_line = self.now()
            self.console.log(f"{self.name}: {report}")

    def update(self, fraction: float, label: str) -> None:
        """Shows the progress of other work than steps, such as decoding; ``fraction`` is from 0 to 1."""
        if label != self.label:
            self.label, self.speed = label, Speed()
        self.speed.update(fraction, self.now())
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=(self.done + fraction) / self.total, status=label)
        elif self.console.level >= 0 and self.now() - self.last_line >= LINE_INTERVAL:
            self.last_line = self.now()
            left = self.speed.seconds_left(fraction, self.last_line)
            self.console.log(
                f"{self.name}: {label} {fraction:.0%}"
                + (f", about {left:,.0f} s left" if left is not None and left >= 1 else "")
            )

    def close(self) -> None:
        """Removes the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class Speed:
    """How fast work goes, from its first update on: what comes before that (starting a library, the steps of a fit)
    says nothing about the rest."""

    def __init__(self) -> None:
        self.first: tuple[float, float] | None = None

    def update(self, fraction: float, now: float) -> None:
        """Called with the fraction done, 0 to 1, and the time in seconds."""
        if self.first is None and fraction:
            self.first = fraction, now

    def seconds_left(self, fraction: float, now: float, least: float = LEAST_FRACTION) -> float | None:
        """The estimated rest in seconds; None if less than ``least`` is done."""
        if self.first is None or fraction < least or fraction <= self.first[0]:
            return None
        return (now - self.first[1]) * (1 - fraction) / (fraction - self.first[0])


class LongWork:
    """Announces once that decoding takes more than LONG_SECONDS: by its estimate, or by how fast it begins."""

    def __init__(self, console: Console, source: str, now: Callable[[], float] = time.monotonic) -> None:
        self.console, self.source, self.now = console, source, now
        self.began, self.open, self.speed = now(), True, Speed()

    def expect(self, seconds: float) -> None:
        """Announces the work if it takes so long."""
        if self.open and seconds > LONG_SECONDS:
            self.open = False
            self.console.log(f"inrfit: {self.source}: decoding takes about {seconds:,.0f} s")

    def update(self, fraction: float) -> None:
        """Called with the fraction done, 0 to 1; the time since the first call tells the rest after
        MEASURED_SECONDS."""
        now = self.now()
        self.speed.update(fraction, now)
        left = self.speed.seconds_left(fraction, now, least=0.0)
        if self.open and left is not None and self.speed.first and now - self.speed.first[1] >= MEASURED_SECONDS:
            self.expect(now - self.began + left)


def without_color() -> bool:
    """Whether the environment asks for text without colours and bold type: NO_COLOR is set and not empty, or the
    terminal can do nothing."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def interactive() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def format_quality(quality: Mapping[str, Any], measures: Mapping[str, Measure]) -> str:
    """The measures of a modality in one line: ``PSNR 37.21 dB, SSIM 0.9612``."""
    words = []
    for key, measure in measures.items():
        if key in quality:
            value = format_number(quality[key], key in str(quality.get("infinite", "")).split())
            words.append(f"{measure.label} {value} {measure.unit}".rstrip())
    if quality.get("estimate"):
        samples = quality.get("samples")
        words.append("estimated" + (f" from {samples:,} samples" if isinstance(samples, int) else ""))
    return ", ".join(words) or "not measured"


def format_number(value: float | None, infinite: bool = False) -> str:
    """A number with two decimals or four digits; None is ``inf`` if ``infinite``, otherwise ``undefined``."""
    if value is None or not math.isfinite(value):
        return "inf" if infinite else "undefined"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4g}"

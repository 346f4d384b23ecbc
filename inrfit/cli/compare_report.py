"""What ``inrfit compare`` writes and prints in the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InrfitError
from ..interrupts import StopRequest
from .console import Console, print_output

if TYPE_CHECKING:
    from ..comparison.runs import Comparison

NO_MATPLOTLIB = "matplotlib is not installed (pip install 'inrfit[plot]')"


def plot_available() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def finish(
    comparison: Comparison,
    output: str | None,
    levels: tuple[str, ...],
    console: Console,
    stop: StopRequest,
    bad_sources: int,
) -> int:
    """Writes and prints the results so far; returns the exit code. ``bad_sources`` were left out."""
    from ..comparison.runs import record, save
    from ..comparison.statistics import summarize
    from .comparison_table import format_tables
    from .rate_table import format_rates

    results, rates = comparison.ordered(), comparison.rates()
    plot_result: dict[str, Any] = {"plot": None}
    if output is not None and (results or rates):
        save(comparison, output, levels)
        plot_result = write_plots(comparison, output, console)
    if console.as_json:
        ok = not comparison.unfinished and not bad_sources and "error" not in plot_result
        console.print_json({"ok": ok, "output": output} | plot_result | record(comparison, levels))
    else:
        text = format_tables(comparison.spec, summarize(comparison.spec, results, levels)) if results else ""
        print_output(text + ("\n" if text and rates else "") + format_rates(rates))
    if stop() and comparison.unfinished:
        kept = "; continue with the same command" if output is not None else ""
        console.log(f"inrfit: interrupted: {comparison.unfinished} of {comparison.runs} runs are left{kept}", level=-1)
        return stop.exit_code
    if comparison.unfinished:
        console.log(f"inrfit: {comparison.unfinished} of {comparison.runs} runs failed", level=-1)
        return 7
    return int(plot_result["error"]["code"]) if "error" in plot_result else 0


def write_plots(comparison: Comparison, output: str, console: Console) -> dict[str, Any]:
    """Writes the plots beside comparison.json, if matplotlib is installed; returns the entries for the JSON object.

    A failure is reported and becomes the ``error`` of the object; the results are kept."""
    from ..comparison import plot, rate_plot
    from ..comparison.runs import PLOT_FILE, RATE_PLOT_FILE
    from ..execution import translated_errors
    from ..io import files

    results, rates = comparison.ordered(), comparison.rates()
    plots: list[tuple[str, str, Callable[[], bytes]]] = []
    if results:
        plots.append(("plot", PLOT_FILE, lambda: plot.png(comparison.spec, results)))
    if rates:
        plots.append(("rate_plot", RATE_PLOT_FILE, lambda: rate_plot.png(rates)))
    written: dict[str, Any] = {"plot": None} | {key: None for key, _, _ in plots}
    for key, name, draw in plots:
        path = os.path.join(output, name)
        try:
            with translated_errors():
                data = draw()
            files.write(path, data, force=True)
        except ImportError:
            return written  # reported before the first run
        except InrfitError as error:
            console.log(f"inrfit: error: {error}", level=-1)
            failure = {"code": error.exit_code, "reason": error.reason, "message": str(error)}
            return {**written, "error": failure}
        written[key] = path
    return written

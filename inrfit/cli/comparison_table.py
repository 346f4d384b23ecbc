"""The result of a comparison as text tables, in colour if stdout is a terminal."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Sequence

from ..comparison.spec import ComparisonSpec
from ..comparison.statistics import (
    BUDGET_SHARES,
    ComparisonSummary,
    MeanStd,
    MethodOverall,
    MethodRow,
    PairedDifference,
    SourceTable,
)
from ..errors import printable
from .console import without_color

FIRST_COST_COLUMN = "seconds"
"""The first column that is not about quality. A table that is too wide for the terminal is split before it."""

COLUMN_GAP = 2

LEGEND = """\
Mean ± standard deviation over the seeds. 100 %: quality of the file that would be written. Earlier shares of the
budget, and the seconds to reach a quality (interpolated), are estimated on fixed points. vs: difference to the first
method, paired by seed, ± 95 % confidence interval.
"""


def format_tables(spec: ComparisonSpec, summary: ComparisonSummary) -> str:
    """All tables as one text."""
    from ..modalities import MODALITIES

    parts = []
    for table in summary.tables:
        rows = [_headings(spec, table), *(_cells(spec, table, row) for row in table.rows)]
        unit = f" in {table.unit}" if table.unit else ""
        measure = MODALITIES[table.modality].measures[table.measure].label
        parts.append((f"{printable(table.source)}: {measure}{unit}", rows))
    for modality in dict.fromkeys(row.modality for row in summary.overall):
        rows_of_modality = [row for row in summary.overall if row.modality == modality]
        title = f"All sources ({modality}): mean of the differences to {_first_method(spec)}"
        parts.append(
            (title, [["sampler", "difference", "sources", "worst"], *(_overall_row(spec, r) for r in rows_of_modality)])
        )
    text = "\n".join(f"{title}\n{aligned(rows)}" for title, rows in parts) + "\n" + LEGEND
    return printable_text(text)


def printable_text(text: str) -> str:
    """``text`` in letters that standard output can show."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if "utf" not in encoding.lower():
        text = text.replace("±", "+-").replace("ø", "o").encode(encoding, "backslashreplace").decode(encoding)
    return text


def _headings(spec: ComparisonSpec, table: SourceTable) -> list[str]:
    """The headings of the columns."""
    return [
        "sampler",
        *(["runs"] if _incomplete(spec, table) else []),
        *(f"{share:.0%}".replace("%", " %") for share in BUDGET_SHARES),
        f"vs {_first_method(spec)}",
        *(f"to {format_level(level, table.unit)}" for level in table.levels),
        FIRST_COST_COLUMN,
        "sampler time",
        "steps",
        "points",
        "points/s",
        *(["parameters", "bytes"] if spec.has_several_architectures else []),
    ]


def _cells(spec: ComparisonSpec, table: SourceTable, row: MethodRow) -> list[str]:
    """The row of a method."""
    return [
        printable(spec.method_name(row.arch, row.sampler)),
        *([f"{row.finished} of {spec.seeds}"] if _incomplete(spec, table) else []),
        *(_format_spread(value, table.unit) for value in row.qualities),
        "" if row == table.rows[0] else _format_difference(row.difference, table.unit),
        *(_format_time(value, row.finished) for value in row.seconds_to),
        _format_seconds(row.seconds.mean),
        f"{_format_seconds(row.sampler_seconds.mean)} ({row.sampler_share.mean or 0:.1%})" if row.finished else "-",
        _format_count(row.steps.mean),
        _format_count(row.points.mean),
        _format_count(row.points_per_second.mean),
        *([_format_whole(row.parameters), _format_whole(row.stored_bytes)] if spec.has_several_architectures else []),
    ]


def _overall_row(spec: ComparisonSpec, row: MethodOverall) -> list[str]:
    """The row of a method in the table over all sources of a modality."""
    worst = "-" if row.worst is None else f"{row.worst:+.{_digits(row.unit)}f} {printable(row.worst_source)}"
    name = printable(spec.method_name(row.arch, row.sampler))
    return [name, _format_difference(row.difference, row.unit), str(row.difference.n), worst]


def _first_method(spec: ComparisonSpec) -> str:
    """The printed name of the first method."""
    first = spec.methods[0]
    return printable(spec.method_name(first.architecture_label, first.sampler_label))


def _incomplete(spec: ComparisonSpec, table: SourceTable) -> bool:
    """Whether runs of any method are missing or failed."""
    return any(row.finished < spec.seeds for row in table.rows)


def _digits(unit: str) -> int:
    """Number of decimals of a quality: more for those without a unit, which are shares."""
    return 2 if unit else 4


def format_level(value: float, unit: str) -> str:
    """A quality with its unit."""
    return f"{value:.{_digits(unit)}f} {unit}".rstrip()


def _format_spread(value: MeanStd, unit: str) -> str:
    if value.mean is None:
        return "-"
    sd = "" if value.sd is None else f" ± {value.sd:.{_digits(unit)}f}"
    return f"{value.mean:.{_digits(unit)}f}{sd}"


def _format_difference(value: PairedDifference, unit: str) -> str:
    if value.mean is None:
        return "-"
    interval = "" if value.ci95 is None else f" ± {value.ci95:.{_digits(unit)}f}"
    return f"{value.mean:+.{_digits(unit)}f}{interval}"


def _format_time(value: MeanStd, runs: int) -> str:
    """Seconds to reach a quality, and the number of runs that did if not all."""
    if value.mean is None:
        return "-"
    sd = "" if value.sd is None else f" ± {_format_seconds(value.sd)}"
    return f"{_format_seconds(value.mean)}{sd}" + (f" ({value.n} of {runs})" if value.n < runs else "")


def _format_seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _format_whole(value: MeanStd) -> str:
    return "-" if value.mean is None else f"{value.mean:,.0f}"


def _format_count(value: float | None) -> str:
    """A number with three significant digits and the suffix k, M or G."""
    if value is None:
        return "-"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """The rows in aligned columns, the first one left-aligned. On a terminal the table has colours, and one that is too
    wide is split in two."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb"):
        if FIRST_COST_COLUMN in rows[0] and sum(widths) + COLUMN_GAP * len(widths) > shutil.get_terminal_size().columns:
            cut = rows[0].index(FIRST_COST_COLUMN)
            return _rich_table([row[:cut] for row in rows]) + _rich_table([[row[0], *row[cut:]] for row in rows])
        return _rich_table(rows)
    text = ""
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(width) for c, width in zip(row[1:], widths[1:], strict=True))]
        text += (" " * COLUMN_GAP).join(cells).rstrip() + "\n"
    return text


def _rich_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows as a table in colour, by Rich."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=None, header_style="bold", pad_edge=False, padding=(0, COLUMN_GAP, 0, 0))
    for k, heading in enumerate(rows[0]):
        table.add_column(Text(heading), justify="right" if k else "left", style="" if k else "cyan", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    written = io.StringIO()
    width = sum(max(map(len, column)) + COLUMN_GAP for column in zip(*rows, strict=True))
    Console(file=written, force_terminal=True, width=width, no_color=without_color()).print(table)
    return written.getvalue()

"""``inrfit batch status``, ``retry``, ``check`` and ``export``: what becomes of a plan."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError, printable
from . import batch_options as own
from . import shared_options as shared
from .batch_progress import SHOWN_FAILURES, duration, record, words
from .batch_run import execute, failures_of, place
from .console import Console, FitProgress, print_output
from .help import REPORTING, SOURCE

if TYPE_CHECKING:
    from ..batch.run import Totals

StatusJson = Annotated[
    bool, shared.flag("--json", panel=REPORTING, help="Print a JSON object, and one for each row that failed.")
]


def status(folder: own.Folder, as_json: StatusJson = False) -> int:
    """Print how far a batch is: rows done and failed, with the reasons, mean quality, workers at work, time left.

    Examples:

        inrfit batch status ds
    """
    from ..batch import plan as plans
    from ..batch import status as states
    from ..batch.run import state

    planned, console = plans.read(folder), Console(as_json=as_json)
    totals, failed, activity = state(planned), list(states.failures(planned)), states.activity(planned)
    left = totals.rows - totals.done - activity.rows
    seconds = left / activity.rows_per_second if activity.rows_per_second else None
    if as_json:
        for row in failed:
            console.print_json({"ok": False, "event": "failure", **row})
        console.print_json(
            {
                "ok": not totals.failed,
                "event": "status",
                "folder": folder,
                **record(totals),
                "machines": [{**json.loads(text), "parts": count} for text, count in totals.machines.items()],
                "parts_under_way": list(activity.parts),
                "rows_under_way": activity.rows,
                "rows_per_second": round(activity.rows_per_second, 4),
                "seconds_left": None if seconds is None else round(seconds, 1),
            }
        )
        return 0
    lines = [f"{folder}: {words(totals)}; {totals.parts_done:,} of {totals.parts:,} parts"]
    if activity.parts:
        rate = f", {activity.rows_per_second:.3g} rows/s" if activity.rows_per_second else ""
        end = f", about {duration(seconds)} left" if seconds is not None else ""
        lines.append(f"  at work: {len(activity.parts):,} parts with {activity.rows:,} rows done{rate}{end}")
    lines += [f"  made by unlike machines: {text}" for text in unlike_machines(totals)]
    for (code, reason), count in sorted(states.reasons(failed).items()):
        lines.append(f"  failed with code {code}, {reason}: {count:,}")
    for row in failed[:SHOWN_FAILURES]:
        lines.append(f"    {row['id']} ({row['source']}): {row['message']}")
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"    and {len(failed) - SHOWN_FAILURES:,} more (--json lists them)")
    print_output(printable_lines(lines))
    return 0


def unlike_machines(totals: Totals) -> list[str]:
    """What differs between the machines that made the parts."""
    from ..batch.machine import differences

    made = totals.machines.items()
    return differences((f"{count:,} part{'s' * (count != 1)}", json.loads(text)) for text, count in made)


def printable_lines(lines: list[str]) -> str:
    """The lines as text, with control characters escaped."""
    return "".join(printable(line) + "\n" for line in lines)


def retry(
    folder: own.Folder,
    workers: own.Workers = None,
    cluster: own.Cluster = None,
    require_same: own.RequireSame = False,
    max_failures: own.MaxFailures = None,
    as_json: own.Json = False,
    quiet: shared.Quiet = False,
) -> int:
    """Fit the rows that failed again, for example once their files are there. The other fields stay as they are.

    Examples:

        inrfit batch retry ds
    """
    from ..batch import plan as plans
    from ..batch import status as states
    from ..batch.run import Shard

    planned, console = plans.read(folder), Console(-1 if quiet else 0, as_json)
    where = place(workers, cluster, require_same)
    again = states.parts_to_retry(planned)
    if not again:
        console.log(f"inrfit: {folder}: no row of the parts that are there has failed")
        console.print_json({"ok": True, "event": "end", "folder": folder, "failed": 0})
        return 0
    return execute(planned, console, where, Shard(), failures_of(max_failures, planned), again)


def check(
    folder: own.Folder,
    as_json: Annotated[
        bool,
        shared.flag("--json", panel=REPORTING, help="Print a JSON object for each damaged part, and one at the end."),
    ] = False,
    quiet: shared.Quiet = False,
) -> int:
    """Read every field of every part, see that each row of the plan is there once, and make the index anew.

    A damaged part is named; delete it, and run makes it again. Exit code 7 if there is one.

    Examples:

        inrfit batch check ds
    """
    from ..batch import checking, index
    from ..batch import plan as plans

    planned, console = plans.read(folder), Console(-1 if quiet else 0, as_json)
    progress, checked = FitProgress(console, folder), 0

    def on_part(number: int) -> None:
        nonlocal checked
        checked += 1
        progress.update(min(number / planned.part_count, 1.0), "checking")

    damaged = []
    try:
        for problem in checking.check(planned, on_part):
            damaged.append(problem)
            console.log(f"inrfit: error: {problem.path}: {problem.message}", level=-1)
            failure = {"code": 3, "reason": "damaged", "message": problem.message}
            console.print_json(
                {"ok": False, "event": "part", "part": problem.part, "path": problem.path, "error": failure}
            )
    finally:
        progress.close()
    if not damaged and index.complete(planned):
        index.write(planned)
    console.log(f"inrfit: {folder}: {checked:,} of {planned.part_count:,} parts are there, {len(damaged):,} damaged")
    counts = {"parts": planned.part_count, "parts_done": checked, "damaged": len(damaged)}
    console.print_json({"ok": not damaged, "event": "end", "folder": folder, **counts})
    return 7 if damaged else 0


def export(
    folder: own.Folder,
    to: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            rich_help_panel=SOURCE,
            help="files: a folder with a file for each field; npz or hdf5: one file with the weights stacked in "
            "float32 and an array for each column. hdf5 needs pip install 'inrfit[hdf5]'.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            rich_help_panel=SOURCE,
            help="Output file, or folder for --to files. Default: DIR.fields, DIR.npz or DIR.h5 beside the data set.",
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            metavar="stored|paper",
            rich_help_panel=SOURCE,
            help="For npz and hdf5: weights as inrfit stores them, which include the frequency factors, or in the "
            "parametrisation of the papers, sin(omega (W x + b)).",
        ),
    ] = "stored",
    force: shared.Force = False,
    as_json: Annotated[bool, shared.flag("--json", panel=REPORTING, help="Print a JSON object.")] = False,
    quiet: shared.Quiet = False,
) -> int:
    """Write the fields of a data set in another form: a file each, or one .npz or HDF5 file of stacked weights.

    Examples:

        inrfit batch export ds --to npz --weights paper
        inrfit batch export ds --to files -o fields/
    """
    from ..batch import export as exports
    from ..batch import plan as plans

    if to not in exports.KINDS:
        raise UsageError(f"--to {to}: must be one of {', '.join(exports.KINDS)}", "option")
    if weights not in ("stored", "paper") or (to == "files" and weights == "paper"):
        allowed = "stored, which inrfit decodes" if to == "files" else "stored or paper"
        raise UsageError(f"--weights {weights}: with --to {to} it must be {allowed}", "option")
    exports.require(to)
    planned, console = plans.read(folder), Console(-1 if quiet else 0, as_json)
    target = output or folder.rstrip("/") + {"files": ".fields", "npz": ".npz", "hdf5": ".h5"}[to]
    progress = FitProgress(console, folder)
    try:
        count = exports.export(
            planned, to, target, force, lambda done: progress.update(min(done / planned.row_count, 1.0), "writing"),
            weights == "paper",
        )  # fmt: skip
    finally:
        progress.close()
    console.log(f"inrfit: {folder} -> {target}: {count:,} fields")
    console.print_json({"ok": True, "folder": folder, "output": os.fspath(target), "fields": count})
    return 0

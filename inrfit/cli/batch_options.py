"""Options of the commands of ``inrfit batch``, and those of ``shared_options.py`` whose meaning differs in a batch."""

from __future__ import annotations

from typing import Annotated

import typer

from . import shared_options as shared
from .help import REPORTING, SOURCE, STRATEGY

WORK = "Work"

Output = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar="DIR", rich_help_panel=SOURCE, help="Folder of the data set, which is made."
    ),
]
PlanSources = Annotated[
    list[str],
    shared.files_argument("SOURCES...", "Files, folders, and manifests (.jsonl or .csv, a row for each field)."),
]
RunSources = Annotated[
    list[str] | None,
    shared.files_argument("SOURCES...", "As for plan, which is made first where there is none."),
]
Folder = Annotated[str, shared.files_argument("DIR", "Folder of a data set, with its plan.")]
PartSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=1 << 16,
        rich_help_panel=WORK,
        help="Fields in a part, which is fitted and written whole. Default: about 20 seconds' work, at most 256.",
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        metavar="own|shared",
        rich_help_panel=STRATEGY,
        help="Weights that the fits start from: their own, drawn by the seed of each, or the same for all fields of "
        "one kind, which learning from weights needs. Default: own.",
    ),
]
Floor = Annotated[
    str | None,
    typer.Option(
        metavar="QUALITY",
        rich_help_panel=shared.BUDGET,
        help="Fit a field on while it is worse than this (30dB), each time for as many steps as before; one that stays "
        "below counts as failed.",
    ),
]
Cap = Annotated[
    str | None,
    typer.Option(
        metavar="STEPS",
        rich_help_panel=shared.BUDGET,
        help="The most steps of a field below the floor, such as 300it. Default: 10 times those of the budget.",
    ),
]
Budgets = Annotated[
    list[str] | None,
    shared.option(
        "budget",
        metavar="LIMIT",
        panel=shared.BUDGET,
        help="When each fit stops: a number of steps (60it), or a time (5s), which is not reproducible; if given "
        "twice, the first one reached. Default: 60it, or 10m if only --target is given.",
    ),
]
Store = Annotated[
    str,
    shared.option(
        "store",
        metavar="TYPE",
        panel=shared.SIZE,
        help="How to store the weights: int8, int6, fp32, fp16, bf16, or auto: fp32 for fields of up to 50,000 "
        "weights, as encode does for larger ones.",
    ),
]
Seed = Annotated[
    int,
    shared.option(
        "seed",
        metavar="N",
        panel=STRATEGY,
        help="Random seed. Each field has a seed of its own, which follows from this one and its id, or stands in the "
        "manifest.",
    ),
]
Threads = Annotated[
    int | None,
    shared.option("threads", metavar="N", panel=shared.HARDWARE, help="CPU threads of each fit. Default: 1."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=1024,
        rich_help_panel=WORK,
        help="Processes. Default: one for each CPU; with --cluster as many as it has room for.",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        rich_help_panel=WORK,
        help="Fit on a Ray cluster (pip install 'inrfit[cluster]'), a part on one machine: auto or HOST:PORT on one of "
        "its machines, ray://HOST:PORT from others, or local to start one on this machine, with --workers slots. All "
        "machines need the folder and the sources under the same paths.",
    ),
]
RequireSame = Annotated[
    bool,
    shared.flag(
        "--require-same",
        panel=WORK,
        help="Refuse machines that are unlike those that made the other parts: in the versions of inrfit and torch, "
        "the kernel, the instruction sets. Their weights would differ in the last bits.",
    ),
]
ShardOption = Annotated[
    str,
    typer.Option(
        "--shard",
        metavar="I/N",
        rich_help_panel=WORK,
        help="Do every N-th part, from part I on, which counts from 0: one machine of N, or one task of a Slurm array.",
    ),
]
MaxFailures = Annotated[
    str | None,
    typer.Option(
        metavar="N|N%", rich_help_panel=WORK, help="Stop when more rows than this have failed: 100, or 1% of all."
    ),
]
Json = Annotated[
    bool, shared.flag("--json", panel=REPORTING, help="Print a JSON object for each part, and one at the end.")
]

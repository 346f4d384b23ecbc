"""``inrfit batch plan`` and ``run``: fits fields to many files, in parts that many machines can work on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from ..errors import UsageError, printable
from . import batch_options as own
from . import shared_options as shared
from .batch_run import execute, failures_of, place
from .console import Console
from .help import REPORTING
from .paths import expand, source_suffixes
from .shared_options import DEFAULTS, LIMITS

if TYPE_CHECKING:
    from ..batch.manifest import Row
    from ..batch.plan import BatchPlan


def plan(  # one option a line
    sources: own.PlanSources,
    output: own.Output,
    part_size: own.PartSize = None,
    init: own.Init = None,
    floor: own.Floor = None,
    cap: own.Cap = None,
    budget: own.Budgets = None,
    target: shared.Target = None,
    bytes: shared.Bytes = None,
    params: shared.Params = None,
    width: shared.Width = None,
    depth: shared.Depth = None,
    store: own.Store = DEFAULTS.store,
    provenance: shared.Provenance = DEFAULTS.provenance,
    verify: shared.Verify = None,
    as_json: Annotated[bool, shared.flag("--json", panel=REPORTING, help="Print the plan as a JSON object.")] = False,
    quiet: shared.Quiet = False,
    arch: shared.Arch = DEFAULTS.arch,
    sampler: shared.Sampler = DEFAULTS.sampler,
    options: shared.OptionPairs = None,
    ratio: shared.Ratio = None,
    batch: shared.Batch = str(DEFAULTS.batch),
    lr: shared.Lr = None,
    seed: own.Seed = DEFAULTS.seed,
    device: shared.Device = "cpu",
    threads: own.Threads = None,
    precision: shared.Precision = DEFAULTS.precision,
    engine: shared.Engine = DEFAULTS.engine,
    type: shared.Type = None,
    metadata: shared.Metadata = DEFAULTS.metadata,
    frame: shared.Frame = None,
    max_bytes: shared.MaxBytes = LIMITS.max_bytes,
    max_pixels: shared.MaxPixels = LIMITS.max_pixels,
    max_voxels: shared.MaxVoxels = LIMITS.max_voxels,
    max_samples: shared.MaxSamples = LIMITS.max_samples,
    max_channels: shared.MaxChannels = LIMITS.max_channels,
    max_faces: shared.MaxFaces = LIMITS.max_faces,
) -> int:
    """Plan a data set of many fields: list the sources, resolve and record every setting, cut the work into parts.

    Examples:

        inrfit batch plan pictures/ -o ds --width 64 --depth 3
        inrfit batch plan manifest.jsonl -o ds --budget 100it
    """
    settings = shared.settings_from(locals())
    from ..batch import plan as plans
    from ..batch.rules import AskedRules

    console = Console(-1 if quiet else 0, as_json)
    if plans.exists(output):
        raise UsageError(
            f"{printable(output)} has a plan already: go on with inrfit batch run, or choose another folder", "exists"
        )
    rows = _rows(sources, output, console)
    _report(plans.make(output, rows, settings, part_size, AskedRules(init, floor, cap)), console)
    return 0


def run(  # one option a line
    folder: own.Folder,
    sources: own.RunSources = None,
    workers: own.Workers = None,
    shard: own.ShardOption = "0/1",
    cluster: own.Cluster = None,
    require_same: own.RequireSame = False,
    max_failures: own.MaxFailures = None,
    part_size: own.PartSize = None,
    init: own.Init = None,
    floor: own.Floor = None,
    cap: own.Cap = None,
    budget: own.Budgets = None,
    target: shared.Target = None,
    bytes: shared.Bytes = None,
    params: shared.Params = None,
    width: shared.Width = None,
    depth: shared.Depth = None,
    store: own.Store = DEFAULTS.store,
    provenance: shared.Provenance = DEFAULTS.provenance,
    verify: shared.Verify = None,
    as_json: own.Json = False,
    quiet: shared.Quiet = False,
    arch: shared.Arch = DEFAULTS.arch,
    sampler: shared.Sampler = DEFAULTS.sampler,
    options: shared.OptionPairs = None,
    ratio: shared.Ratio = None,
    batch: shared.Batch = str(DEFAULTS.batch),
    lr: shared.Lr = None,
    seed: own.Seed = DEFAULTS.seed,
    device: shared.Device = "cpu",
    threads: own.Threads = None,
    precision: shared.Precision = DEFAULTS.precision,
    engine: shared.Engine = DEFAULTS.engine,
    type: shared.Type = None,
    metadata: shared.Metadata = DEFAULTS.metadata,
    frame: shared.Frame = None,
    max_bytes: shared.MaxBytes = LIMITS.max_bytes,
    max_pixels: shared.MaxPixels = LIMITS.max_pixels,
    max_voxels: shared.MaxVoxels = LIMITS.max_voxels,
    max_samples: shared.MaxSamples = LIMITS.max_samples,
    max_channels: shared.MaxChannels = LIMITS.max_channels,
    max_faces: shared.MaxFaces = LIMITS.max_faces,
) -> int:
    """Fit the parts of a plan that are missing. The same command goes on after an interrupt, a kill or a power failure.

    Settings and sources may be given again; if they differ from the plan, nothing is done (exit code 2).

    Examples:

        inrfit batch run ds pictures/ --budget 60it
        inrfit batch run ds --shard 3/100 --workers 2
        inrfit batch run ds --cluster ray://head:10001
    """
    settings = shared.settings_from(locals())
    from ..batch import plan as plans
    from ..batch.differences import differences
    from ..batch.rules import AskedRules
    from ..batch.run import parse_shard

    console, chosen = Console(-1 if quiet else 0, as_json), parse_shard(shard)
    rules = AskedRules(init, floor, cap)
    where = place(workers, cluster, require_same)
    rows = _rows(sources, folder, console) if sources else None
    if plans.exists(folder):
        planned = plans.read(folder)
        if found := differences(planned, settings, part_size, rows, rules):
            raise UsageError(
                f"{printable(folder)} was planned otherwise: {'; '.join(found)}. Leave that out, or choose another "
                "folder",
                "plan",
            )
    elif rows is None:
        raise UsageError(f"{printable(folder)}: no plan here; name the sources, too", "plan")
    else:
        planned = plans.make(folder, rows, settings, part_size, rules)
        _report(planned, console)
    return execute(planned, console, where, chosen, failures_of(max_failures, planned))


def _rows(sources: Sequence[str], output: str, console: Console) -> list[Row]:
    """The rows of the sources; a folder that lies in another one is passed over if it is that of the data set."""
    from ..batch.manifest import rows_of

    inside = os.path.join(os.path.abspath(output), "")

    def listing(folder: str) -> list[tuple[str, str]]:
        found = expand(folder, source_suffixes, console)
        return [(each.path, each.below) for each in found if not os.path.abspath(each.path).startswith(inside)]

    return rows_of(sources, listing)


def _report(planned: BatchPlan, console: Console) -> None:
    """Says what was planned."""
    kinds = [
        f"{kind['modality']}, {kind['architecture']} {kind['depth']}x{kind['width']} ({kind['parameters']:,} weights)"
        for kind in planned.fields
    ]
    parts = f"{planned.part_count:,} part{'s' * (planned.part_count != 1)} of up to {planned.part_size:,}"
    console.log(
        f"inrfit: {planned.folder}: {planned.row_count:,} rows in {parts}; "
        + "; ".join(kinds or ["no source could be read"])
    )
    console.print_json(
        {
            "ok": True,
            "event": "plan",
            "folder": planned.folder,
            "rows": planned.row_count,
            "parts": planned.part_count,
            "part_size": planned.part_size,
            "digest": planned.digest,
            "fields": list(planned.fields),
        }
    )

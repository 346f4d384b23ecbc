"""``inrfit query``: asks fields for values or derivatives, at points or on a part of their grid."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InrfitError, UsageError, printable
from ..io.limits import Limits
from ..io.registry import plugin_errors
from ..runtime import keep_freed_memory, limited_threads, silence_libraries, sleep_idle_threads
from . import shared_options as shared
from .console import Console, FitProgress, print_output
from .decode import run as decode_one
from .decode import sides
from .decode_output import DecodeOptions, target_of
from .failures import exit_code_of, report_failed
from .help import QUESTION, SIZE, SOURCE
from .paths import (
    QUERY,
    STDIO,
    Found,
    check_output,
    expand_all,
    field_suffixes,
    is_folder,
    make_folder,
)
from .shared_options import LIMITS

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..artifact.artifact import Artifact
    from ..modalities.domain import Coordinates

TABLES = (".npy", ".csv")
"""Suffixes of answers that are numbers."""


@dataclass(frozen=True)
class Asked:
    """What is asked of every field."""

    region: Any
    points: npt.NDArray[Any] | None
    names: tuple[str, ...] | None
    points_in_text: bool
    coords: Coordinates | None
    what: str
    size: tuple[int | None, ...] | None
    scale: float | None


def query(  # one option a line
    models: shared.Models,
    region: shared.Region = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            metavar="AXIS=PLACE",
            rich_help_panel=QUESTION,
            help="One place along an axis: z=40, or z=12mm for the nearest sample. May be repeated.",
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="START:STOP", rich_help_panel=QUESTION, help="Part of a sound or a clip: 1.5s:3.5s. As t=1.5s:3.5s."
        ),
    ] = None,
    points: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=QUESTION,
            help="Points, as CSV or .npy: a column for each axis in array order (y,x or z,y,x; x,y,z for shapes), or "
            "in any order with their letters in the first line. - for standard input.",
        ),
    ] = None,
    coords: Annotated[
        Any,
        typer.Option(
            metavar="KIND",
            rich_help_panel=QUESTION,
            help="Coordinates of points, and the unit of derivatives: index (samples), unit (-1 to 1 over the whole), "
            "or physical (units of the file). Default: index; physical for shapes and samples at points.",
        ),
    ] = None,
    what: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=QUESTION,
            help="value, gradient or laplacian; divergence or curl of a vector for each sample; normal of a surface, "
            "or signed distance near it.",
        ),
    ] = "value",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            rich_help_panel=SIZE,
            help="Samples of the result: WxH of an image or of frames, else a "
            "side for each axis that no --slice names, in array order.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", rich_help_panel=SIZE, help="Multiply the sides of the result by this."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            rich_help_panel=SOURCE,
            help="Output file (for one field), folder (NAME/ is created), or - for standard output. A suffix .npy or "
            ".csv gives numbers, others (and .npy of an array) a file of the source's kind, such as a crop. Default: "
            "NAME.query.SUFFIX.",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(metavar="SUFFIX", rich_help_panel=SOURCE, help="Format of the output: npy, csv, png, nii."),
    ] = None,
    force: shared.Force = False,
    as_json: shared.ModelJson = False,
    quiet: shared.Quiet = False,
    device: shared.DecodeDevice = "auto",
    threads: shared.Threads = None,
    max_bytes: shared.MaxModelBytes = LIMITS.max_bytes,
    max_output: shared.MaxOutput = LIMITS.max_output,
) -> int:
    """Ask fields for values or derivatives: at points, on a slice, a crop, or a part in time. Only these are computed.

    Examples:

        inrfit query photo.png.safetensors --region x=100:356,y=80:336
        inrfit query ct.nii.gz.safetensors --slice z=40 --what gradient -o slopes.npy
        inrfit query bunny.ply.safetensors --points places.csv --what distance -o -
    """
    from ..artifact.query import check_arguments
    from ..modalities import Request
    from ..modalities.regions import joined

    silence_libraries()
    keep_freed_memory()
    sleep_idle_threads()
    console = Console(-1 if quiet else 0, as_json)
    limits = Limits(max_bytes=max_bytes, max_output=max_output)
    check_arguments(what, coords)
    if size is not None and scale is not None:
        raise UsageError("--size and --scale cannot be combined", "option")
    where = joined(region, *slices or (), _of_time(time))
    asked = Asked(where, None, None, False, coords, what, sides(size), scale)
    if points is not None:
        asked = _with_points(asked, points, limits)
    files = expand_all(models, field_suffixes, console)
    if not files:
        raise UsageError("no fields found", "no-sources")
    check_output(output, [file.path for file in files], console, "answer", "fields")
    options = DecodeOptions(
        output, format, Request(), device, threads, force, False, limits, where, QUERY, several=len(files) > 1
    )
    codes = []
    for file in files:
        try:
            with plugin_errors():
                run(file, asked, options, console)
            codes.append(0)
        except Exception as error:  # whatever is wrong with one field, the others are asked
            codes.append(report_failed(file.path, error, console))
    return exit_code_of(codes)


def _of_time(time: str | None) -> dict[str, Any] | None:
    """The region of --time. Raises ``UsageError`` for one without units, which would be samples."""
    from ..modalities.regions import parsed

    if time is None:
        return None
    found = parsed({"t": time})["t"]
    if found.place or any(end is not None and not end.unit for end in (found.start, found.stop)):
        raise UsageError(f"--time {time}: must be a range with units, as in 1.5s:3.5s or 2s:", "option")
    return {"t": found}


def _with_points(asked: Asked, path: str, limits: Limits) -> Asked:
    """``asked`` with the points of a file. Raises ``UsageError`` if a region is given too."""
    from ..io import files
    from ..io.tables import read_table

    if asked.region is not None or asked.size is not None or asked.scale is not None:
        raise UsageError("--points cannot be combined with a region, --size or --scale", "option")
    try:
        data = files.read(path, limits)
        table, names = read_table(data)
    except InrfitError as error:
        raise type(error)(f"{printable(path)}: {error}", error.reason) from error
    return replace(asked, points=table, names=names, points_in_text=not data.startswith(b"\x93NUMPY"))


def run(file: Found, asked: Asked, options: DecodeOptions, console: Console) -> None:
    """Asks one field, and writes the answer."""
    from ..artifact import query_table
    from ..artifact.loading import load
    from ..artifact.places import domain_of
    from ..artifact.query import prepared
    from ..io import files

    artifact = load(file.path, options.limits)
    suffix = _default_suffix(artifact, asked, options)
    target, suffix = target_of(file, artifact, replace(options, format=suffix), TABLES)
    of_source = suffix not in TABLES or (suffix == _suffix_of_source(artifact) and _is_part(asked))
    if of_source:
        if not _is_part(asked):
            what = "points" if asked.points is not None else asked.what
            raise UsageError(f"{what}: the answer is written as .npy or .csv, not as {suffix}", "suffix")
        request = query_table.decode_request(artifact, asked.region, asked.size, asked.scale)
        decode_one(file, replace(options, format=suffix, request=request), console, None)
        return
    points = query_table.in_axis_order(domain_of(artifact), asked.points, asked.names)
    size = query_table.array_size(artifact, asked.region, asked.size)
    # What is wrong with the question is told before what is wrong with its output.
    prepared(artifact, asked.region, points, asked.coords, asked.what, size, asked.scale)
    if target != STDIO:
        if options.output is not None and is_folder(options.output):
            make_folder(target)
        files.check_target(target, options.force)
    answer, data = _answer(file, artifact, replace(asked, points=points, size=size), options, console, suffix)
    if target == STDIO:
        print_output(data)
    else:
        files.write(target, data, options.force)
    if note := query_table.remark(artifact, answer, asked.what, points is not None):
        console.warn(file.path, note)
    shape = "x".join(map(str, answer.shape))
    shown = "standard output" if target == STDIO else target
    console.log(f"{file.path} -> {shown}: {asked.what}, {shape} {answer.dtype}, {len(data):,} bytes")
    record = {"ok": True, "source": file.path, "output": target, "what": asked.what, "shape": list(answer.shape)}
    console.print_json(record | {"dtype": str(answer.dtype), "bytes": len(data)})


def _is_part(asked: Asked) -> bool:
    """Whether values of a part of the grid are asked for, which a file of the source's kind can hold."""
    return asked.what == "value" and asked.points is None


def _suffix_of_source(artifact: Artifact) -> str | None:
    """The suffix of parts of the source; None if its kind has none."""
    from ..modalities import MODALITIES

    modality = MODALITIES[artifact.modality]
    return None if modality.window is None else modality.suffix(artifact.meta)[0]


def _default_suffix(artifact: Artifact, asked: Asked, options: DecodeOptions) -> str | None:
    """The suffix of the answer, unless the output has one."""
    if options.format is not None:
        return options.format
    if options.output not in (None, STDIO) and not is_folder(str(options.output)):
        return None
    if not _is_part(asked) or options.output == STDIO:
        text = asked.points_in_text or options.output == STDIO
        return "csv" if text else "npy"
    return _suffix_of_source(artifact) or "npy"


def _answer(
    file: Found, artifact: Artifact, asked: Asked, options: DecodeOptions, console: Console, suffix: str
) -> tuple[npt.NDArray[Any], bytes]:
    """The answer, and the bytes of its file. ``asked`` has points and size in the order of the field's axes."""
    from ..artifact import query_table
    from ..execution import translated_errors
    from ..io.tables import npy_bytes

    points, size = asked.points, asked.size
    progress = FitProgress(console, os.path.basename(file.path))
    try:
        with limited_threads(options.threads), translated_errors():
            answer = artifact.query(
                asked.region, points=points, coords=asked.coords, what=asked.what, size=size, scale=asked.scale,
                device=options.device, limits=options.limits,
                on_progress=lambda fraction: progress.update(fraction, "computing"),
            )  # fmt: skip
    finally:
        progress.close()
    if suffix == ".npy":
        return answer, npy_bytes(answer)
    return answer, query_table.csv_of(
        artifact, answer, asked.region, points, asked.coords, asked.what, size, asked.scale
    )

"""``inrfit decode``: turns fields back into files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..io.file_names import suffix_of
from ..io.limits import Limits
from ..io.registry import plugin_errors
from ..runtime import keep_freed_memory, limited_threads, silence_libraries, sleep_idle_threads
from . import shared_options as shared
from .console import Console, FitProgress, LongWork
from .decode_output import DecodeOptions, decoded_values, output_paths, prepare, target_of, written
from .failures import exit_code_of, report_failed
from .help import QUALITY, SIZE, SOURCE
from .paths import (
    STDIO,
    Found,
    check_output,
    expand_all,
    field_suffixes,
    is_skipped,
    refuse_duplicates,
)
from .shared_options import LIMITS

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..io.worker_process import Worker
    from ..modalities import OnProgress


def decode(  # one option a line
    models: shared.Models,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            rich_help_panel=SOURCE,
            help="Output file (for one field; the suffix chooses the format), folder (NAME/ is created), or - for "
            "standard output. Default: NAME.decoded.SUFFIX beside the field, in the format of the source. Frames "
            "(--type video DIR) become the files of a new folder NAME/, a Zarr store those of NAME.zarr.",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="SUFFIX",
            rich_help_panel=SOURCE,
            help="Format of the output, as a suffix: png, flac, ply. Default: that of -o, or else of the source.",
        ),
    ] = None,
    force: shared.Force = False,
    skip_existing: Annotated[
        bool,
        shared.flag("--skip-existing", panel=SOURCE, help="Leave existing output files as they are, and go on."),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            rich_help_panel=SIZE,
            help="Width and height of the image, in pixels: 1920x1080; 800x or x600 keeps the aspect. "
            "Sides of a volume: ZxYxX. Of samples at points: a side for each axis of a regular grid over their box.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            rich_help_panel=SIZE,
            help="Multiply width and height of the image, or the sides of a volume, by this. Fewer pixels are "
            "means over their areas.",
        ),
    ] = None,
    region: shared.Region = None,
    rate: Annotated[
        int | None, typer.Option(metavar="HZ", rich_help_panel=SIZE, help="Sample rate of the sound, in Hz.")
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            metavar="N", rich_help_panel=SIZE, help="Cells per side of the grid of a shape's surface. Default: 128."
        ),
    ] = None,
    faces: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=SIZE, help="Simplify the surface of a shape to this many triangles."),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(metavar="8", rich_help_panel=QUALITY, help="8: reduce samples of more bits than 8."),
    ] = None,
    image_quality: Annotated[
        int | None,
        typer.Option(
            metavar="1-100",
            rich_help_panel=QUALITY,
            help="Quality of JPEG, AVIF and HEIC (default: 95), of lossy WebP and JPEG XL (default: lossless), or of "
            "clips (default: 75).",
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=QUALITY,
            help="Codec of a clip: h264, hevc, vp9, or ffv1, which loses no more than luma and chroma round. Default: "
            "that of the source.",
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="COLOUR",
            rich_help_panel=QUALITY,
            help="Colour behind transparent pixels: white, #ffcc00.",
        ),
    ] = None,
    centred: Annotated[
        bool, shared.flag("--centred", panel=QUALITY, help="Write a shape around the origin, not at its own place.")
    ] = False,
    as_json: shared.ModelJson = False,
    quiet: shared.Quiet = False,
    device: shared.DecodeDevice = "auto",
    threads: shared.Threads = None,
    max_bytes: shared.MaxModelBytes = LIMITS.max_bytes,
    max_output: shared.MaxOutput = LIMITS.max_output,
) -> int:
    """Turn each field back into a file of the kind it was made from, at any resolution.

    Examples:

        inrfit decode photo.png.safetensors
        inrfit decode photo.png.safetensors -o large.png --scale 2
    """
    from ..modalities import Request

    silence_libraries()
    keep_freed_memory()
    sleep_idle_threads()

    console = Console(-1 if quiet else 0, as_json)
    if size is not None and scale is not None:
        raise UsageError("--size and --scale cannot be combined", "option")
    if bits not in (None, 8):
        raise UsageError(f"--bits {bits}: must be 8", "option")
    if image_quality is not None and not 1 <= image_quality <= 100:
        raise UsageError(f"--image-quality {image_quality}: must be from 1 to 100", "option")
    request = Request(
        sides(size), scale, rate, resolution, bits, image_quality, background, faces, centred or None, codec
    )
    limits = Limits(max_bytes=max_bytes, max_output=max_output)
    files = expand_all(models, field_suffixes, console)
    if not files:
        raise UsageError("no fields found", "no-sources")
    check_output(output, [file.path for file in files], console, "file", "fields")
    options = DecodeOptions(
        output, format, request, device, threads, force, skip_existing, limits, region, several=len(files) > 1
    )
    refuse_duplicates(output_paths(files, options))
    return run_all(files, options, console)


def run_all(files: list[Found], options: DecodeOptions, console: Console) -> int:
    """Decodes the fields and returns the exit code of the command."""
    from ..io.worker_process import Worker

    codes = []
    with Worker() as worker:
        for file in files:
            try:
                with plugin_errors():
                    run(file, options, console, worker if len(files) > 1 else None)
                codes.append(0)
            except Exception as error:  # whatever is wrong with one field, the others are decoded
                codes.append(report_failed(file.path, error, console))
    return exit_code_of(codes)


def run(file: Found, options: DecodeOptions, console: Console, worker: Worker | None) -> None:
    """Decodes one field."""
    from ..artifact.decode_cost import check_decode
    from ..artifact.loading import load
    from ..modalities import MODALITIES
    from ..modalities.notes import about_samples

    model = file.path
    artifact = load(model, options.limits)
    if options.region is not None:
        artifact = artifact.cropped(options.region)
    modality = MODALITIES[artifact.modality]
    target, suffix = target_of(file, artifact, options)
    if is_skipped(model, target, options.skip_existing, console, lambda: model):
        return
    if target != STDIO:
        prepare(target, options)
    modality.check_request(options.request)
    check_decode(artifact.spec, artifact.modality, artifact.meta, options.request, options.limits, suffix)
    notes = modality.check_writable(artifact.meta, suffix, options.request, artifact.attachments)
    own_suffix, own_note = modality.suffix(artifact.meta)
    first = [own_note] if own_note and suffix == own_suffix else []
    if target != STDIO and not suffix_of(target) and not target.endswith("/"):
        first.append(f"{target} has no suffix: it is a {suffix} file")
    source_notes = [
        f"when encoded: {note}" for note in about_samples(artifact.provenance.get("notes", ())) if note not in notes
    ]
    for note in (notes := list(dict.fromkeys([*first, *notes, *source_notes]))):
        console.log(f"inrfit: {model}: {note}")
    with shown_progress(model, artifact, options, console, suffix) as on_progress:
        decoded = decoded_values(artifact, options, suffix, on_progress)
        own = modality.raster(artifact.meta)
        if own is not None and (note := artifact.spec.resampling(own, decoded.shape[:-1])):
            console.warn(model, note)
        for note in (losses := modality.losses(decoded, artifact.meta, suffix, options.request)):
            console.warn(model, note)
        size = written(target, suffix, decoded, artifact, options, worker)
    outcome = modality.describe_decoded(decoded, artifact.meta, suffix, options.request)
    shown = "standard output" if target == STDIO else target
    console.log(f"{model} -> {shown}: {outcome}, {size:,} bytes")
    record = {"ok": True, "source": model, "output": target, "bytes": size, "notes": [*notes, *losses]}
    console.print_json(record | {"quality": artifact.quality})


@contextmanager
def shown_progress(
    model: str, artifact: Artifact, options: DecodeOptions, console: Console, suffix: str
) -> Iterator[OnProgress]:
    """Within the context, what is told of the progress of a decode is shown as a bar, and the threads are those of the
    options. Long work is announced."""
    from ..artifact.decode_cost import decode_cost

    cost = decode_cost(artifact.spec, artifact.modality, artifact.meta, options.request, suffix)
    announcement = LongWork(console, model)
    if cost is not None and not options.device.startswith("cuda"):
        announcement.expect(cost.seconds)
    progress = FitProgress(console, os.path.basename(model))

    def on_progress(fraction: float) -> None:
        announcement.update(fraction)
        progress.update(fraction, "decoding")

    try:
        with limited_threads(options.threads):
            yield on_progress
    finally:
        progress.close()


def sides(text: str | None) -> tuple[int | None, ...] | None:
    """The value of --size: 800x600, 800x or x600 of an image; 64x128x128 of a volume."""
    if text is None:
        return None
    found: tuple[int | None, ...] = ()
    if re.fullmatch(r"\d{0,8}([xX]\d{0,8}){0,3}", text):
        found = tuple(int(side) if side else None for side in text.lower().split("x"))
    if not found or 0 in found or all(side is None for side in found):
        raise UsageError(
            f"--size {text}: must be WIDTHxHEIGHT, WIDTHx or xHEIGHT, such as 1920x1080, or the sides of a volume, "
            "slowest first",
            "option",
        )
    return found

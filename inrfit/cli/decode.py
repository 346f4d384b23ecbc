"""``inrfit decode``: turns fields back into files."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InrfitError, OutputClosed, UsageError
from ..interrupts import StopRequest, stop_on_signals
from ..io.limits import Limits
from ..io.registry import plugin_errors
from ..runtime import keep_freed_memory, limited_threads, sleep_idle_threads
from . import shared_options as shared
from .console import Console, FitProgress
from .help import HARDWARE, SIZE, SOURCE
from .shared_options import LIMITS

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..modalities import Request


@dataclass(frozen=True)
class DecodeOptions:
    """The options of decode, which apply to every field."""

    output: str | None
    request: Request
    device: str
    threads: int | None
    force: bool
    limits: Limits


def decode(  # one option a line
    models: shared.Models,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            rich_help_panel=SOURCE,
            help="Output file (for one field; the suffix chooses the format) or existing folder. Default: "
            "NAME.decoded.SUFFIX beside the field, in the format of the source.",
        ),
    ] = None,
    force: Annotated[bool, shared.flag("-f", "--force", panel=SOURCE, help="Replace an existing output file.")] = False,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", rich_help_panel=SIZE, help="Width and height of the image, in pixels: 1920x1080."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", rich_help_panel=SIZE, help="Multiply width and height of the image by this."),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(metavar="HZ", rich_help_panel=SIZE, help="Sample rate of the sound, in Hz.")
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=SIZE,
            help="Cells per side of the grid from which the surface of a shape is extracted. Default: 128.",
        ),
    ] = None,
    as_json: shared.ModelJson = False,
    quiet: shared.Quiet = False,
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=HARDWARE,
            help="Where to compute, in float32: auto, cpu, cuda, or cuda:N for GPU number N.",
        ),
    ] = "auto",
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

    keep_freed_memory()
    sleep_idle_threads()

    console = Console(-1 if quiet else 0, as_json)
    request = Request(_size(size), scale, rate, resolution)
    if size is not None and scale is not None:
        raise UsageError("--size and --scale cannot be combined", "option")
    if output is not None and len(models) > 1 and not os.path.isdir(output):
        raise UsageError(f"-o {output}: several fields need an existing folder", "output")
    limits = Limits(max_bytes=max_bytes, max_output=max_output)
    if output == "-":
        raise UsageError("-o -: a decoded file cannot be written to standard output; name a file", "output")
    refuse_duplicate_outputs(models, output)
    return run_all(models, DecodeOptions(output, request, device, threads, force, limits), console)


def run_all(models: list[str], options: DecodeOptions, console: Console) -> int:
    """Decodes the fields and returns the exit code of the command; an interrupt skips the remaining ones."""
    codes = []
    with stop_on_signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) as stop:
        for model in models:
            try:
                with plugin_errors():
                    run(model, options, console, stop)
                codes.append(0)
            except OutputClosed:
                raise
            except InrfitError as error:
                console.report_failure(model, error)
                codes.append(error.exit_code)
            except KeyboardInterrupt:
                return stop.exit_code
    if len(codes) == 1:
        return codes[0]
    return 7 if any(codes) else 0


def run(model: str, options: DecodeOptions, console: Console, stop: StopRequest) -> None:
    """Decodes one field."""
    from ..artifact.artifact import load
    from ..io import files
    from ..modalities import MODALITIES

    with stop.interrupting_reads():
        artifact = load(model, options.limits)
    modality = MODALITIES[artifact.modality]
    target, suffix = output_for(model, artifact, options, console)
    modality.check_request(options.request)
    modality.check_writable(artifact.meta, suffix, options.request)
    decoded = decoded_values(model, artifact, options, console, stop)
    if artifact.spec.formula.TRAITS.raster_only and (note := artifact.spec.resampling(decoded.shape[:-1])):
        console.warn(model, note)
    data = modality.write(decoded, artifact.meta, suffix, options.request)
    files.write(target, data, options.force)
    outcome = modality.describe_decoded(decoded, artifact.meta, options.request)
    console.log(f"{model} -> {target}: {outcome}, {len(data):,} bytes")
    console.print_json({"ok": True, "source": model, "output": target, "bytes": len(data), "quality": artifact.quality})


def output_for(model: str, artifact: Artifact, options: DecodeOptions, console: Console) -> tuple[str, str]:
    """The path of the output and its suffix. Raises if the file could not be written."""
    from ..io import files
    from ..modalities import MODALITIES

    modality = MODALITIES[artifact.modality]
    own_suffix, note = modality.suffix(artifact.meta)
    target = output_name(model, options.output, own_suffix)
    suffix = os.path.splitext(target)[1] or own_suffix
    if suffix.lower() not in modality.output_suffixes:
        raise UsageError(
            f"-o {target}: {artifact.modality}s are written as {' '.join(modality.output_suffixes)}", "suffix"
        )
    files.check_target(target, options.force)
    if note and suffix == own_suffix:
        console.log(f"inrfit: {model}: {note}")
    return target, suffix


def decoded_values(model: str, artifact: Artifact, options: DecodeOptions, console: Console, stop: StopRequest) -> Any:
    """The decoded samples, computed with a progress bar."""
    from .. import codec

    progress = FitProgress(console, os.path.basename(model))

    def on_progress(fraction: float) -> None:
        if stop():
            raise KeyboardInterrupt
        progress.update(fraction, "decoding")

    try:
        with limited_threads(options.threads):
            return codec.decode(artifact, options.request, options.device, options.limits, on_progress)
    finally:
        progress.close()


def refuse_duplicate_outputs(models: list[str], output: str | None) -> None:
    """Raises ``UsageError`` if two decoded files would have the same path."""
    seen: dict[str, str] = {}
    for model in models:
        if model == "-" and (output is None or os.path.isdir(output)):
            raise UsageError("standard input needs -o FILE", "output")
        earlier = seen.setdefault(os.path.realpath(output_name(model, output, "")), model)
        if earlier is not model:
            raise UsageError(f"{earlier} and {model} have the same output", "same-output")


def output_name(model: str, output: str | None, suffix: str) -> str:
    """``photo.png.safetensors`` -> ``photo.decoded.png``, beside the model or in the folder ``output``."""
    if output is not None and not os.path.isdir(output):
        return output
    stem = model.removesuffix(".safetensors")
    root, ending = os.path.splitext(stem)
    if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", ending):
        stem = root
    name = f"{stem}.decoded{suffix}"
    return name if output is None else os.path.join(output, os.path.basename(name))


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,7})[xX](\d{1,7})", text)
    if not match or 0 in (int(match[1]), int(match[2])):
        raise UsageError(f"--size {text}: must be WIDTHxHEIGHT, such as 1920x1080", "option")
    return int(match[1]), int(match[2])

"""Options that several commands share, each declared once.

Options for the fields of ``Settings`` and ``Limits`` take help sentence, check and default from the field. A command
declares its parameters with these aliases, under the names of the fields, and ``settings_from`` builds the ``Settings``
from them. To add an option for every fit: add a field to ``Settings``, an alias here, and a parameter to each command.
Options of a single command are declared in its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..config.settings import Settings
from ..io.limits import Limits
from ..io.options import check_option, declared, parse_pairs
from .help import BUDGET, HARDWARE, INPUT, METHODS, QUESTION, REPORTING, RESUMING, SIZE, SOURCE, STRATEGY

DEFAULTS, LIMITS = Settings(), Limits()


def option(
    name: str, *flags: str, metavar: str = "", panel: str = "", help: str = "", cls: type[Any] = Settings
) -> Any:
    """The option for the field ``name`` of ``cls``, under the heading ``panel`` of the help page.

    ``flags`` replace --NAME, and ``help`` the field's sentence. Numbers are checked by the field, so that the command
    line and Python refuse them with the same message."""
    field = declared(cls)[name]
    common: dict[str, Any] = {"help": help or field.help, "metavar": metavar, "rich_help_panel": panel}
    if field.kind not in (int, float) or field.choices:
        return typer.Option(*flags, **common)

    def number(value: Any) -> Any:  # not a lambda or a partial: Typer uses the name of the parser
        return check_option(cls, name, value)

    return typer.Option(*flags, parser=number, **common)


def flag(*names: str, panel: str, help: str) -> Any:
    """An option without a value."""
    return typer.Option(*names, help=help, rich_help_panel=panel)


Budgets = Annotated[list[str] | None, option("budget", metavar="LIMIT", panel=BUDGET)]
Target = Annotated[str | None, option("target", metavar="QUALITY", panel=BUDGET)]
Smallest = Annotated[bool, flag("--smallest", panel=SIZE, help=declared(Settings)["smallest"].help)]
Clock = Annotated[str, option("clock", metavar="START", panel=HARDWARE)]
Bytes = Annotated[str | None, option("bytes", metavar="SIZE", panel=SIZE)]
Params = Annotated[str | None, option("params", metavar="COUNT", panel=SIZE)]
Width = Annotated[int | None, option("width", metavar="N", panel=SIZE)]
Depth = Annotated[int | None, option("depth", metavar="N", panel=SIZE)]
Store = Annotated[str, option("store", metavar="TYPE", panel=SIZE)]
Provenance = Annotated[str, option("provenance", metavar="MODE", panel=SIZE)]
Verify = Annotated[str | None, option("verify", metavar="MODE", panel=REPORTING)]
Arch = Annotated[str, option("arch", metavar="NAME", panel=STRATEGY)]
Sampler = Annotated[str, option("sampler", metavar="NAME", panel=STRATEGY)]
OptionPairs = Annotated[list[str] | None, option("options", "-O", metavar="KEY=VALUE", panel=STRATEGY)]
Ratio = Annotated[float | None, option("ratio", metavar="SHARE", panel=STRATEGY)]
Batch = Annotated[str, option("batch", metavar="N", panel=STRATEGY)]
Lr = Annotated[float | None, option("lr", metavar="RATE", panel=STRATEGY)]
Regime = Annotated[str, option("regime", metavar="NAME", panel=STRATEGY)]
Seed = Annotated[int, option("seed", metavar="N", panel=STRATEGY)]
Device = Annotated[str, option("device", metavar="NAME", panel=HARDWARE)]
Threads = Annotated[int | None, option("threads", metavar="N", panel=HARDWARE)]
Precision = Annotated[str, option("precision", metavar="NAME", panel=HARDWARE)]
Engine = Annotated[str, option("engine", metavar="NAME", panel=HARDWARE)]
Metadata = Annotated[str, option("metadata", metavar="MODE", panel=INPUT)]
Frame = Annotated[int | None, option("frame", "--frame", "--page", metavar="N", panel=INPUT)]
Type = Annotated[str | None, option("type", metavar="NAME", panel=INPUT)]

Force = Annotated[bool, flag("-f", "--force", panel=SOURCE, help="Replace an existing output file.")]
DecodeDevice = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=HARDWARE,
        help="Where to compute, in float32: auto, cpu, cuda, or cuda:N for GPU number N.",
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="RANGES",
        rich_help_panel=QUESTION,
        help="Part of the source: x=10:200,y=0:64 in samples, or with units as in z=3mm:9mm or t=1.5s:3.5s (u for the "
        "file's own). A range does not include its end.",
    ),
]

Seeds = Annotated[
    int,
    typer.Option(
        metavar="N", rich_help_panel=METHODS, help="Runs of each method on each source, with seeds 0, 1, 2, ..."
    ),
]
CompareBytes = Annotated[
    str | None,
    option(
        "bytes",
        metavar="SIZES",
        panel=SIZE,
        help="Largest size of the file of each field, such as 500kB; several, separated by commas (20kB,40kB), fit "
        "each architecture at each size.",
    ),
]
CompareBudgets = Annotated[
    list[str] | None,
    option(
        "budget",
        metavar="LIMIT",
        panel=BUDGET,
        help="When each run stops: after a time (60s, 5m) or a number of steps (2000it). Repeatable: the first one "
        "reached ends the run. A time compares methods at equal time, steps at equal numbers of samples. Default: "
        "60s; with --regime paper 5000it.",
    ),
]
CompareOptionPairs = Annotated[
    list[str] | None,
    option(
        "options",
        "-O",
        metavar="KEY=VALUE",
        panel=STRATEGY,
        help="Set an option of every sampler, architecture and file type that has it (docs/cli.md). Repeatable.",
    ),
]
CompareEngine = Annotated[
    str,
    option(
        "engine",
        metavar="NAME",
        panel=HARDWARE,
        help="How steps are computed: auto (no torch.compile), autograd, analytic, kernel, compiled, cuda-graph (GPU).",
    ),
]

FileOptions = Annotated[
    list[str] | None,
    typer.Option(
        "-O",
        metavar="KEY=VALUE",
        rich_help_panel=INPUT,
        help="Set an option of the file type (docs/cli.md lists them). Repeatable. Default: as in the field.",
    ),
]
MaxBytes = Annotated[int, option("max_bytes", metavar="N", panel=INPUT, cls=Limits)]
MaxPixels = Annotated[int, option("max_pixels", metavar="N", panel=INPUT, cls=Limits)]
MaxVoxels = Annotated[int, option("max_voxels", metavar="N", panel=INPUT, cls=Limits)]
MaxSamples = Annotated[int, option("max_samples", metavar="N", panel=INPUT, cls=Limits)]
MaxChannels = Annotated[int, option("max_channels", metavar="N", panel=INPUT, cls=Limits)]
MaxFaces = Annotated[int, option("max_faces", metavar="N", panel=INPUT, cls=Limits)]
MaxOutput = Annotated[int, option("max_output", metavar="N", panel=INPUT, cls=Limits)]
MaxModelBytes = Annotated[
    int, option("max_bytes", metavar="N", panel=INPUT, help="Largest field file, in bytes.", cls=Limits)
]


def files_argument(metavar: str, help: str) -> Any:
    """The argument that takes the files of a command."""
    return typer.Argument(help=help, metavar=metavar, show_default=False, rich_help_panel=SOURCE)


Sources = Annotated[list[str], files_argument("SOURCES...", "Images, sounds, shapes, volumes, folders; - for stdin.")]
CompareSources = Annotated[list[str], files_argument("SOURCES...", "Images, sounds, shapes, or folders.")]
Models = Annotated[list[str], files_argument("FIELDS...", "Fields written by inrfit encode; - reads stdin.")]
ModelJson = Annotated[bool, flag("--json", panel=REPORTING, help="Print one JSON object per field on standard output.")]
SkipExisting = Annotated[
    bool, flag("--skip-existing", panel=RESUMING, help="Leave existing output files as they are, and go on.")
]
Quiet = Annotated[bool, flag("-q", "--quiet", panel=REPORTING, help="Print errors only.")]


def settings_from(parameters: Mapping[str, Any]) -> Settings:
    """The ``Settings`` and ``Limits`` from a command's parameters (its ``locals()`` on entry); others are
    ignored."""
    chosen = {name: parameters[name] for name in declared(Settings) if name in parameters}
    chosen |= {"options": parse_pairs(parameters["options"] or ()), "budget": tuple(parameters["budget"] or ())}
    return Settings(**chosen, limits=limits_from(parameters))


def limits_from(parameters: Mapping[str, Any]) -> Limits:
    """The ``Limits`` from a command's parameters."""
    return Limits(**{name: parameters[name] for name in declared(Limits) if name in parameters})

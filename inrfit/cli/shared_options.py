"""Options of the commands, each declared once: those of ``Settings`` and ``Limits`` by their fields, from which they
have their help sentence, check and default; and the others that several commands have alike.

A command lists its parameters with these aliases, named as the fields are, and ``settings_from`` makes the ``Settings``
of them. To add an option of every fit: a field of ``Settings``, an alias here, a parameter in the commands that have
it. An option of one command that is no setting stands in that command's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..config.settings import Settings
from ..io.limits import Limits
from ..io.options import checked, declared, parse_pairs

DEFAULTS, LIMITS = Settings(), Limits()


def option(name: str, *flags: str, help: str = "", of: type[Any] = Settings) -> Any:
    """The option of the field ``name``; ``flags`` where it is not called --NAME, ``help`` where it means something else
    in a command. Numbers are checked by the field, so that they are refused in the same words as from Python."""
    field = declared(of)[name]
    if field.kind not in (int, float) or field.words:
        return typer.Option(*flags, help=help or field.help)

    def number(given: Any) -> Any:  # a function: typer asks a parser for its name
        return checked(of, name, given)

    return typer.Option(*flags, help=help or field.help, parser=number, metavar=f"<{field.kind.__name__}>")


Sampler = Annotated[str, option("sampler")]
Arch = Annotated[str, option("arch")]
Width = Annotated[int | None, option("width")]
Depth = Annotated[int | None, option("depth")]
Params = Annotated[str | None, option("params")]
Bytes = Annotated[str | None, option("bytes")]
Store = Annotated[str, option("store")]
OptionPairs = Annotated[list[str] | None, option("options", "-O")]
Budgets = Annotated[list[str] | None, option("budget")]
Target = Annotated[str | None, option("target")]
Ratio = Annotated[float | None, option("ratio")]
Batch = Annotated[str, option("batch")]
Lr = Annotated[float | None, option("lr")]
Device = Annotated[str, option("device")]
Precision = Annotated[str, option("precision")]
Engine = Annotated[str, option("engine")]
Threads = Annotated[int | None, option("threads")]
Regime = Annotated[str, option("regime")]
Seed = Annotated[int, option("seed")]
Type = Annotated[str | None, option("type")]
Verify = Annotated[str | None, option("verify")]

Seeds = Annotated[int, typer.Option(help="Runs of each method on each source, with seeds 0, 1, 2, ...")]
CompareOptionPairs = Annotated[
    list[str] | None, option("options", "-O", help="key=value: a setting for all that know it; repeatable.")
]
CompareBudgets = Annotated[
    list[str] | None,
    option(
        "budget",
        help="Of every run: 60s, 5m, 2000it; repeatable: the first reached ends it. Steps compare at equal points, "
        "seconds at equal time. Default 60s; --regime paper: 5000it.",
    ),
]
CompareEngine = Annotated[
    str,
    option(
        "engine",
        help="How optimiser steps are computed: auto (no torch.compile), autograd, analytic, compiled, cuda-graph.",
    ),
]

MaxBytes = Annotated[int, option("max_bytes", of=Limits)]
MaxPixels = Annotated[int, option("max_pixels", of=Limits)]
MaxSamples = Annotated[int, option("max_samples", of=Limits)]
MaxChannels = Annotated[int, option("max_channels", of=Limits)]
MaxFaces = Annotated[int, option("max_faces", of=Limits)]
MaxOutput = Annotated[int, option("max_output", of=Limits)]
MaxModelBytes = Annotated[int, option("max_bytes", help="Largest model file, bytes.", of=Limits)]

Models = Annotated[list[str], typer.Argument(help="Fields written by encode.", show_default=False)]
ModelJson = Annotated[bool, typer.Option("--json", help="One JSON object a model on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")]


def settings_from(given: Mapping[str, Any]) -> Settings:
    """The ``Settings`` of a command's parameters (its ``locals()``, first thing): each field by its name, and those of
    ``Limits``; parameters of other names are not looked at."""
    chosen = {name: given[name] for name in declared(Settings) if name in given}
    chosen |= {"options": parse_pairs(given["options"] or ()), "budget": tuple(given["budget"] or ())}
    return Settings(**chosen, limits=limits_from(given))


def limits_from(given: Mapping[str, Any]) -> Limits:
    """The ``Limits`` of a command's parameters, likewise."""
    return Limits(**{name: given[name] for name in declared(Limits) if name in given})

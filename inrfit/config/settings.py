"""The settings of an encode, validated as far as possible without the source."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from ..artifact.provenance import KEPT
from ..artifact.weight_dtypes import CODED_BITS, STORES
from ..errors import UsageError
from ..fields import FIELDS, MAX_DEPTH, MAX_WIDTH
from ..fit import budget as budgets
from ..fit.budget import Budget
from ..io.arguments import QUALITY, TEXT, a, checked, or_none
from ..io.limits import Limits
from ..io.options import changed_options, check_option, setting, usage_errors
from ..io.registry import Registry
from ..io.renamed import OLD_VALUES
from ..modalities import Modality
from ..samplers import SAMPLERS
from .parsing import check_budget, check_mapping, parse_bytes, parse_count

PRECISIONS = ("fp32", "fp32-fast", "bf16")
"""Arithmetic of the hidden layers during the fit (fit/engine/precision.py)."""

ENGINES = ("autograd", "analytic", "kernel", "compiled", "cuda-graph")
"""How optimiser steps are computed (fit/engine/step.py)."""

CLOCKS = ("load", "fit")
"""When the clock of a budget in seconds starts: when the source has been loaded, or after the start-up of torch and of
the compiler."""

REGIMES = ("inrfit", "paper")
"""inrfit's recipe, or that of the papers: Adam at a constant rate, float32, one step per selection (fit/recipe.py)."""


def _modalities() -> Registry[Modality]:
    """The registry of modalities. It is imported only when a value is checked, because it imports NumPy."""
    from ..modalities import MODALITIES

    return MODALITIES


@checked(device=TEXT, target=or_none(QUALITY), limits=a(Limits))
@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of an encode: the keyword arguments of ``inrfit.encode`` and the options of ``inrfit encode``.

    Values may be texts as on the command line; they are validated and converted to the types of their fields. Raises
    ``UsageError``.

    Network:

    - ``sampler``: "auto" (default; the architecture's or else the modality's), a name in ``samplers.SAMPLERS``, or a
      sampler object, which stands for its name and the options that differ from their defaults.
    - ``arch``: architecture of the network, a name in ``fields.FIELDS`` (default "siren"), "auto", or an object.
    - ``width``: units per hidden layer, 1 to 8192. Default: the architecture's own. At most one of ``width``,
      ``params`` and ``bytes`` may be given.
    - ``depth``: number of hidden layers, 1 to 64. Default: the architecture's own.
    - ``params``: largest number of weights, as a number or a text such as "50k"; it determines the sizes.
    - ``bytes``: largest size of the artifact's file in bytes, as a number or a text such as "500kB"; it determines the
      sizes.
    - ``store``: how the weights are stored: "int8" or "int6" (rounded and entropy-coded, about 6.6 and 4.6 bits a
      weight), "fp32", "fp16", "bf16", or "auto" (default): the smallest whose rounding loses at most 0.05 dB of the
      quality, or 0.0005 IoU; with ``bytes``, integers of that size.
    - ``provenance``: how much the file records of where the field comes from: "full" (default), "short" or "none".
    - ``options``: options of the sampler, architecture and modality by name. Default: none.

    Training:

    - ``budget``: limits of the fit, which ends at the first that is reached: a ``Budget``, or one or several texts such
      as "60s", "5m" or "2000it" (steps). Default: 60 s, or 10 minutes if only a target is given.
    - ``clock``: when the clock of the budget starts: "load" (default; when the source has been loaded, so that the
      start-up of torch and the compiler counts) or "fit" (when the first step begins).
    - ``target``: quality at which the fit ends, in the unit of the modality: 35 or "35dB" (PSNR of an image, SNR of a
      sound), 0.98 (IoU of a shape). Default: none.
    - ``smallest``: with ``target``, use the whole budget, and store the field in the fewest bytes that have this
      quality. Default: False.
    - ``ratio``: share of the samples that the sampler selects at a time, 1e-6 to 1. Default: the sampler's own.
    - ``batch``: samples per optimiser step, 1 to 2^24; "selection" for one step per selection; "auto" (default).
    - ``lr``: peak learning rate of Adam, 1e-8 to 10; that of Muon is scaled with it. Default: chosen by the recipe.
    - ``regime``: training recipe: "inrfit" (default), or "paper" for the regime of the published methods.
    - ``seed``: seed of all random numbers, 0 (default) to 2^63 - 2.

    Computation:

    - ``device``: "auto" (default), "cpu", "cuda" or "cuda:N".
    - ``precision``: arithmetic of the hidden layers during the fit: "auto" (default) or one of PRECISIONS.
    - ``engine``: how optimiser steps are computed: "auto" (default) or one of ENGINES.
    - ``threads``: number of CPU threads, 1 to 1024. Default: as PyTorch has it.

    Source and result:

    - ``type``: modality of the source: a name in ``modalities.MODALITIES`` or a ``Modality``. Default: recognised by
      content, else by suffix.
    - ``metadata``: what is kept of a file's metadata (colour profile, EXIF, density): "keep" (default; without GPS
      position and maker notes), "drop", or "all".
    - ``frame``: number of the picture in a file with several (pages, frames), from 1 (default).
    - ``verify``: samples on which the quality is measured in the end: "full", or "sample" for one million. Default:
      "full" up to 16 million samples, or if that takes at most 10 s or half the budget.
    - ``limits``: upper bounds on what is read, in bytes, pixels, samples, channels and triangles.
    """

    sampler: str = setting(
        "auto",
        "How training samples are chosen: auto (stream, or what the architecture needs), "
        f"{', '.join(SAMPLERS)}. See docs/samplers.md.",
        choices=("auto",),
        registry=SAMPLERS,
    )
    arch: str = setting(
        "siren",
        f"Network architecture: {', '.join(FIELDS)}, or auto (the best measured for the file, budget and size).",
        choices=("auto",),
        registry=FIELDS,
    )
    width: int | None = setting(
        None, "Units per hidden layer. Default: the architecture's own (siren: 256).", 1, MAX_WIDTH
    )
    depth: int | None = setting(
        None, "Number of hidden layers. Default: the architecture's own (siren: 5).", 1, MAX_DEPTH
    )
    params: int | str | None = setting(None, "Largest number of weights, such as 50000, 50k or 1M.", parse=parse_count)
    bytes: int | str | None = setting(None, "Largest size of the output file, such as 500kB or 2MB.", parse=parse_bytes)
    store: str = setting(
        "auto",
        f"How the weights are stored: {', '.join((*CODED_BITS, *STORES))}, or auto (the smallest whose rounding loses "
        "at most 0.05 dB, or 0.0005 IoU; with --bytes, integers of that size). int8 and int6 are entropy-coded: about "
        "6.6 and 4.6 bits a weight.",
        choices=("auto", *CODED_BITS, *STORES),
    )
    provenance: str = setting(
        "full",
        "How much to record of where the field comes from: full, short (source, version, time, how the fit ended), or "
        "none.",
        choices=KEPT,
    )
    options: Mapping[str, Any] = setting(
        None,
        "Set an option of the sampler, architecture or file type (docs/cli.md lists them). Repeatable.",
        factory=dict,
        parse=check_mapping,
    )
    budget: str | Budget | tuple[str, ...] = setting(
        (),
        "When to stop: a time (60s, 5m, 1h30m) or a number of steps (2000it); if given twice, the first one reached. "
        "Default: 60s, or 10m if only --target is given.",
        parse=check_budget,
    )
    clock: str = setting(
        "load",
        "When the clock of the budget starts: load (when the source is loaded; starting torch counts) or fit (when "
        "the first step begins, as compare does).",
        choices=CLOCKS,
    )
    target: str | float | None = setting(
        None, "Stop at this quality: 35dB (PSNR of an image, SNR of a sound) or 0.98 (IoU of a shape)."
    )
    smallest: bool = setting(
        False, "With --target: use the whole budget, and store the field in the fewest bytes of this quality."
    )
    ratio: float | None = setting(
        None, "Share of the samples that the sampler selects at a time, 0 to 1. Default: its own.", 1e-6, 1.0
    )
    batch: int | Literal["auto", "selection"] = setting(
        "auto", "Samples per optimiser step: a number, auto, or selection (all that are selected).", 1, 1 << 24
    )
    lr: float | None = setting(
        None,
        "Largest learning rate of Adam (Muon's is scaled with it). Default: chosen; see encode --explain.",
        1e-8,
        10,
    )
    device: str = setting("auto", "Where to compute: auto, cpu, cuda, or cuda:N for GPU number N.")
    precision: str = setting(
        "auto",
        f"Arithmetic of the hidden layers during the fit: auto, {', '.join(PRECISIONS)}. fp32-fast "
        "computes float32 products faster and less exactly.",
        choices=("auto", *PRECISIONS),
        old_values=OLD_VALUES["precision"],
    )
    engine: str = setting(
        "auto",
        f"How optimiser steps are computed: auto, {', '.join(ENGINES)} (GPU). Results differ by rounding only.",
        choices=("auto", *ENGINES),
        old_values=OLD_VALUES["engine"],
    )
    threads: int | None = setting(None, "Number of CPU threads. Default: chosen by PyTorch.", 1, 1024)
    regime: str = setting(
        "inrfit",
        "Training recipe: inrfit (this program's) or paper (that of the papers: Adam at a constant learning rate, "
        "float32, one step per selection, all points scored).",
        choices=REGIMES,
        old_values=OLD_VALUES["regime"],
    )
    seed: int = setting(
        0,
        "Random seed. With a budget in steps, the same seed and number of threads give the same weights; with a time "
        "budget they differ.",
        0,
        2**63 - 2,
    )
    type: str | None = setting(
        None,
        "Read the source as image, audio, shape, volume, video or points. Default: by its content and name.",
        registry=_modalities,
    )
    metadata: str = setting(
        "keep",
        "What to keep of colour profile, EXIF and density: keep (not GPS position and maker notes), drop, or all.",
        choices=("keep", "drop", "all"),
    )
    frame: int | None = setting(
        None, "Number of the picture in a file with several pages or frames. Default: 1.", 1, 1_000_000
    )
    verify: str | None = setting(
        None,
        "Measure the quality on all samples (full) or on a million (sample). Default: full up to 16 million samples, "
        "or if that takes at most 10 s or half the budget.",
        choices=("full", "sample"),
    )
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        self._name_objects()
        for field in fields(self):
            value = check_option(Settings, field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)  # the dataclass is frozen
        sizes = [name for name in ("width", "params", "bytes") if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise UsageError(f"--{sizes[0]} and --{sizes[1]} cannot be combined: each determines the size", "option")
        if self.smallest and (self.target is None or self.bytes is not None or self.store != "auto"):
            raise UsageError(
                "--smallest looks for the fewest bytes of a quality: give --target, and neither --bytes nor --store",
                "option",
            )
        if self.ratio is not None and "ratio" in self.options:
            raise UsageError("--ratio and -O ratio cannot be combined: they are the same option", "option")

    def _name_objects(self) -> None:
        """Replaces a sampler, architecture or modality object by its name; its options are added to ``options``."""
        registries: list[tuple[str, Registry[Any]]] = [("sampler", SAMPLERS), ("arch", FIELDS)]
        for name, registry in registries:
            if isinstance(instance := getattr(self, name), str):
                continue
            check_mapping(self.options)
            object.__setattr__(self, name, registered_name(instance, registry))
            changed = changed_options(instance)
            if duplicates := sorted(changed.keys() & self.options.keys()):
                raise UsageError(f"{', '.join(duplicates)}: set in {instance!r} and as an option", "option")
            object.__setattr__(self, "options", {**self.options, **changed})
        modality: Any = self.type
        if isinstance(modality, Modality):
            object.__setattr__(self, "type", _modalities().add(modality.name, modality))

    def with_seed(self, seed: int) -> Settings:
        """A copy with another seed, an integer of at least 0. The values are not checked again."""
        other = copy(self)
        object.__setattr__(other, "seed", seed)  # the dataclass is frozen
        return other

    def parsed_budget(self, unit: str = "dB") -> Budget:
        """``budget`` and ``target`` as one ``Budget``. ``unit`` is the unit of the modality's quality ("dB" or "").

        Raises ``UsageError``."""
        target = None if self.target is None else budgets.parse_target(self.target, unit)
        if isinstance(self.budget, Budget):
            return self.budget if target is None else replace(self.budget, target=target)
        return budgets.parse([self.budget] if isinstance(self.budget, str) else self.budget, target)


def settings_from(arguments: Mapping[str, Any]) -> Settings:
    """``Settings(**arguments)``. Raises ``UsageError`` also for arguments that are not fields of ``Settings``."""
    names = [field.name for field in fields(Settings)]
    if unknown := [name for name in arguments if name not in names]:
        raise UsageError(f"unknown settings: {', '.join(unknown)} (choose from {', '.join(names)})", "option")
    return Settings(**arguments)


def registered_name(instance: Any, registry: Registry[Any]) -> str:
    """The name in ``registry`` of the class of ``instance``, a sampler or an architecture.

    A class that is not registered yet is added under its name in lower case, for the rest of the process. Raises
    ``UsageError`` if that name is taken, or ``instance`` is a class."""
    if isinstance(instance, type):
        raise UsageError(f"{instance.__name__} is a class; pass an instance of it: {instance.__name__}()", "option")
    cls = type(instance)
    return registry.name_of(cls) or registry.add(cls.__name__.lower(), cls)


def parsed_count(option: str, value: int | str) -> int:
    """The ``value`` of the setting "params" or "bytes" as a number. Raises ``UsageError``."""
    with usage_errors(f"--{option} {value}"):
        return parse_bytes(value) if option == "bytes" else parse_count(value)

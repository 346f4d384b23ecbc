"""The plan of a fit: everything that is decided before torch is imported."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

from ..artifact.file_size import FileContents
from ..errors import NotEnoughMemory, PluginError, UsageError
from ..fields import FIELDS, MAX_PARAMETERS, Architecture, FieldSpec
from ..fields.architecture import Traits
from ..fields.sizing import default_width
from ..fit.budget import Budget
from ..io import files, json_schema, options
from ..modalities import MODALITIES, Modality
from ..modalities.recognition import identify, load_signal
from ..runtime import physical_memory
from ..samplers import SAMPLERS, Sampler, paper_options, uses_coord_gradients, uses_edges
from ..signal import Signal
from . import auto, sizing
from .settings import Settings, parsed_count

_BITS_A_COEFFICIENT = 0.6
"""Bits that the coefficient of a photograph takes at the usual quality: 0.2 to 1.1 of Kodak pictures."""


@dataclass(frozen=True)
class Plan:
    """What will be fitted to one source, and how. ``plan`` makes one; it is cheap and does not import torch."""

    name: str
    """Name of the source file, without its folder."""

    bytes: int
    """Size of the source file in bytes."""

    sha256: str
    """SHA-256 of the source file, as 64 hexadecimal digits."""

    signal: Signal
    """The signal that was loaded from the source."""

    spec: FieldSpec
    """Architecture, sizes and options of the network, as far as they are known without torch."""

    sampler_name: str
    """Name of the sampler in ``samplers.SAMPLERS``."""

    sampler: Sampler
    """The sampler with its options."""

    modality_options: Any
    """Options of the modality: an instance of ``Modality.options``."""

    settings: Settings
    """The settings from which the plan was made; "auto" is not resolved in them."""

    budget: Budget
    """Limits of the fit, with the defaults resolved."""

    store: str
    """How the weights are stored: "auto", a key of ``CODED_BITS`` or one of ``STORES``."""

    contents: FileContents
    """What is known of the artifact's file before the fit."""

    explicit_options: frozenset[str]
    """Names of the architecture's options that the user set."""

    choices: tuple[tuple[str, str, str], ...]
    """(name, value, reason) of each choice, for ``encode --explain``."""

    read_seconds: float
    """Time that reading and planning took, in seconds."""

    loaded_at: float
    """Time at which the signal was in memory (``time.monotonic``). The budget starts then."""

    @property
    def modality(self) -> Modality:
        """The modality of the signal."""
        return MODALITIES[self.signal.modality]

    @property
    def fit_budget(self) -> Budget:
        """The limits of the steps: for the smallest file they do not end at the target."""
        return replace(self.budget, target=None) if self.settings.smallest else self.budget

    @cached_property
    def stored_bytes(self) -> int:
        """Approximate size of the artifact's file in bytes; an upper bound if the weights are not coded, or if
        coefficients are coded within a number of bytes."""
        if not self.spec.formula.TRAITS.coefficients:
            return self.contents.file_bytes(self.spec)
        if self.settings.bytes is not None:
            return parsed_count("bytes", self.settings.bytes)
        return self.header_bytes + round(_BITS_A_COEFFICIENT / 8 * self.spec.parameters)

    @cached_property
    def header_bytes(self) -> int:
        """Upper bound on the bytes of the file without the weights."""
        return self.contents.header_bytes(self.spec)


def plan(data: bytes, name: str, settings: Settings, started: float | None = None) -> Plan:
    """Loads the bytes of a file and decides how to fit it, without importing torch.

    ``started`` is when reading began (``time.monotonic``); None: now. Raises an ``InrfitError`` if the file cannot be
    read or the settings do not suit it."""
    started = time.monotonic() if started is None else started
    modality = identify(data, name, settings.type)
    modality_options = _build_options(settings, modality, choose_sampler(settings, modality))[modality.name]
    signal = load_signal(modality, data, name, modality_options, settings.limits)
    source = {"name": name, "bytes": len(data), "sha256": files.sha256(data)}
    return _plan_signal(settings, signal, source, started)


def replan(planned: Plan, settings: Settings) -> Plan:
    """A plan with other settings for the signal of ``planned``, which is not loaded again. Its budget starts now."""
    source = {"name": planned.name, "bytes": planned.bytes, "sha256": planned.sha256}
    return replace(_plan_signal(settings, planned.signal, source, time.monotonic()), read_seconds=planned.read_seconds)


def _plan_signal(settings: Settings, signal: Signal, source: Mapping[str, Any], started: float) -> Plan:
    """The plan for a loaded signal; ``source`` holds the file's name, bytes and sha256."""
    modality = MODALITIES[signal.modality]
    if not MODALITIES.is_built_in(modality):
        _check_signal(signal, modality)
    budget = settings.parsed_budget(modality.unit)
    arch, arch_reason = auto.choose_architecture(settings, signal, budget)
    resolved = settings if arch == settings.arch else replace(settings, arch=arch)
    sampler_name = choose_sampler(resolved, modality)
    _check_sampler(sampler_name, signal)
    instances = _build_options(resolved, modality, sampler_name)
    sampler, architecture = instances[f"sampler {sampler_name}"], instances[f"arch {arch}"]
    options.check_json(asdict(sampler) | asdict(architecture))
    provenance = {
        "source": source,
        "samples": signal.n,
        "sampler": {"name": sampler_name, "options": asdict(sampler)},
        "budget": asdict(budget),
        "notes": list(signal.notes),
    }
    contents = FileContents(
        settings.store, signal.modality, signal.meta, signal.attachments, provenance, settings.provenance
    )
    spec = _spec(resolved, architecture, signal, contents)
    return Plan(
        **source,
        signal=signal,
        spec=spec,
        sampler_name=sampler_name,
        sampler=sampler,
        modality_options=instances[modality.name],
        settings=settings,
        budget=budget,
        store=settings.store,
        contents=contents,
        explicit_options=frozenset(_explicit_options(settings, architecture)),
        choices=auto.explain_choices(settings, spec, arch_reason, signal),
        read_seconds=time.monotonic() - started,
        loaded_at=time.monotonic(),
    )


def _check_signal(signal: Signal, modality: Modality) -> None:
    """Raises ``PluginError`` if the field of a signal that a plug-in loaded could not be saved."""
    try:
        json_schema.check(dict(signal.meta), modality.meta_schema, "Signal.meta")
    except ValueError as error:
        raise PluginError(f"the modality {modality.name} does not keep to its meta_schema: {error}", "plugin") from None
    if modality.field_size(signal.meta) != (signal.dimensions, signal.channels):
        raise PluginError(f"the modality {modality.name}: field_size and load give different sizes", "plugin")


def choose_sampler(settings: Settings, modality: Modality) -> str:
    """The name of the sampler. "auto" is resolved to the default of the architecture or else of the modality.

    Raises ``UsageError`` if the sampler does not work with the architecture, or has no option ``ratio`` but one is
    set."""
    traits = None if settings.arch == "auto" else FIELDS[settings.arch].TRAITS
    default = (traits and traits.default_sampler) or modality.default_sampler
    sampler_name = default if settings.sampler == "auto" else settings.sampler
    if sampler_name not in SAMPLERS:
        raise PluginError(f"the default sampler {sampler_name!r} of {modality.name}s does not exist", "plugin")
    raster = traits is not None and traits.raster_only
    usable = [name for name, sampler in SAMPLERS.items() if not (raster and uses_coord_gradients(sampler))]
    if sampler_name not in usable:
        raise UsageError(
            f"--sampler {sampler_name} moves points between the cells of the grid, and --arch {settings.arch} is "
            f"defined on the cells only; choose a sampler from {', '.join(usable)}, or another architecture",
            "option",
        )
    with_ratio = [name for name in usable if "ratio" in options.declared(SAMPLERS[name])]
    if settings.ratio is not None and sampler_name not in with_ratio:
        message = f"--ratio has no effect with --sampler {sampler_name}"
        if settings.sampler == "auto":
            message += f", which auto chooses for --arch {settings.arch}; choose a sampler from "
            message += ", ".join(with_ratio)
        raise UsageError(message, "option")
    return sampler_name


def _check_sampler(sampler_name: str, signal: Signal) -> None:
    """Raises ``UsageError`` for a sampler that needs edges if the signal has none."""
    if signal.grid is not None or signal.surface is not None or not uses_edges(SAMPLERS[sampler_name]):
        return
    others = ", ".join(name for name, sampler in SAMPLERS.items() if not uses_edges(sampler))
    raise UsageError(
        f"--sampler {sampler_name} looks for edges, between neighbours on a grid or at the surface of a shape, and "
        f"samples that lie at points of their own have neither; choose a sampler from {others}",
        "option",
    )


def _build_options(settings: Settings, modality: Modality, sampler_name: str) -> dict[str, Any]:
    """Instances of the sampler (key "sampler NAME"), the architecture ("arch NAME"; all candidates if it is "auto") and
    the options of the modality (its name), with the values of the regime, ``-O`` and ``--ratio``."""
    architectures = [settings.arch] if settings.arch != "auto" else auto.candidates(modality)
    classes = {
        f"sampler {sampler_name}": SAMPLERS[sampler_name],
        **{f"arch {name}": FIELDS[name] for name in architectures},
        modality.name: modality.options,
    }
    values = paper_options(sampler_name) if settings.regime == "paper" else {}
    values |= settings.options if settings.ratio is None else {**settings.options, "ratio": settings.ratio}
    known = options.declared(modality.options)
    if settings.frame is not None:
        if "frame" not in known:
            raise UsageError(
                f"--frame has no effect on files of type {modality.name} (a page of a TIFF stack, or one picture of an "
                "animation: --type image)",
                "option",
            )
        values["frame"] = settings.frame
    if settings.metadata != "keep" and "metadata" in known:
        values["metadata"] = settings.metadata
    return options.build(classes, values)


def _spec(settings: Settings, architecture: Architecture, signal: Signal, contents: FileContents) -> FieldSpec:
    """The sizes of the field and the options of the architecture that are set or follow from the signal's size.

    ``contents`` is what else the file holds, which counts against ``--bytes``."""
    traits, option_values = architecture.TRAITS, asdict(architecture)
    _check_grid(settings.arch, traits, signal)
    spec = FieldSpec(
        settings.arch,
        signal.dimensions,
        signal.channels,
        settings.width or default_width(traits, MODALITIES[signal.modality].signal_class),
        settings.depth or traits.depth,
        {key: option_values[key] for key in _explicit_options(settings, architecture)},
    )
    spec = sizing.sized(spec, settings, signal, contents)
    if spec.parameters > MAX_PARAMETERS:
        raise UsageError(f"{spec.parameters:,} parameters: at most {MAX_PARAMETERS:,} are supported", "option")
    return spec


def _check_grid(arch: str, traits: Traits, signal: Signal) -> None:
    """Raises ``UsageError`` if fields of the architecture cannot be fitted to the signal's grid or points."""
    axes = None if signal.grid is None else len(signal.grid.shape)
    problem = ""
    if axes is None and (traits.raster_only or traits.grid_axes is not None):
        problem = "works only on regular grids, such as those of images and sounds, and a source of type {} has none"
    elif traits.surfaces_only and not signal.plain_distances:
        problem = "works only on shapes, with -O target=sdf and without colours (-O colours=drop), not on type {}"
    elif traits.grid_axes not in (None, axes):
        of = "1 axis" if traits.grid_axes == 1 else f"{traits.grid_axes} axes"
        problem = f"works only on grids of {of}, and a source of type {{}} has {axes}"
    if problem:
        free = [name for name, other in FIELDS.items() if not _is_special(other.TRAITS)]
        message = f"--arch {arch} {problem.format(signal.modality)}; choose from {', '.join(free)}"
        raise UsageError(message, "option")


def _is_special(traits: Traits) -> bool:
    """Whether fields of the architecture suit some kinds of signals only."""
    return traits.raster_only or traits.surfaces_only or traits.grid_axes is not None


def _explicit_options(settings: Settings, architecture: Architecture) -> list[str]:
    """Names of the architecture's options that the user set."""
    return sorted({f.name for f in fields(architecture)} & set(settings.options))


def check_memory(planned: Plan) -> int:
    """Upper estimate of the memory that the fit needs, in bytes. Raises ``NotEnoughMemory`` if the machine has less.

    It counts the raw samples twice (the bytes of the file, and the array), float32 points and error map, the
    activations of the largest chunk of points in a backward pass (those of a perceptron, which exceed those of other
    architectures), and 600 MB for torch."""
    signal, spec = planned.signal, planned.spec
    chunk = 32_768
    activations = chunk * spec.width * (spec.depth * 4 + 4) * 4
    estimate = 600_000_000 + planned.bytes + 2 * signal.samples.nbytes + 24 * signal.n + activations
    estimate += 12 * spec.parameters * 4
    total = physical_memory()
    if estimate > total:
        raise NotEnoughMemory(
            f"the fit needs about {estimate / 1e9:.1f} GB, this machine has {total / 1e9:.1f} GB", "memory"
        )
    return estimate

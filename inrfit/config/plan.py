"""What is asked for, and what will be done about it: everything up to the point where torch is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..artifact.file_size import max_file_bytes
from ..errors import NotEnoughMemory, UnsupportedInput, UsageError
from ..fields import FIELDS, MAX_PARAMETERS, Architecture, FieldSpec
from ..fit.budget import Budget
from ..io import files, options
from ..modalities import MODALITIES, Modality
from ..runtime import physical_memory
from ..samplers import SAMPLERS, USES_COORD_GRADIENTS, Sampler
from ..signal import Signal
from . import auto, sizing
from .settings import Settings


@dataclass(frozen=True)
class Plan:
    """What will be done with one source, before anything costly is done. ``stored_bytes`` is about the file's size, on
    the safe side; ``sampler_name`` is the sampler's name; ``explicit_options`` names the options that the user gave,
    ``choices`` holds (what, value, why)."""

    name: str
    bytes: int
    sha256: str
    signal: Signal
    spec: FieldSpec
    sampler_name: str
    sampler: Sampler
    modality_options: Any
    settings: Settings
    budget: Budget
    store: str
    stored_bytes: int
    explicit_options: frozenset[str]
    choices: tuple[tuple[str, str, str], ...]
    read_seconds: float
    loaded_at: float

    @property
    def modality(self) -> Modality:
        """What the signal was loaded as."""
        return MODALITIES[self.signal.modality]


def identify(data: bytes, name: str, type: str | None = None) -> Modality:
    """The modality of ``data``: as told, else by content, else by the name's suffix. Raises ``UnsupportedInput``."""
    if type is not None:
        return MODALITIES[type]
    suffix = os.path.splitext(name)[1].lower()
    for _ in ("built in", "from other packages"):
        for modality in MODALITIES.values():
            if modality.sniff(data):
                return modality
        for modality in MODALITIES.values():
            if suffix in modality.input_suffixes:
                return modality
        MODALITIES.load_all()
    known = "; ".join(f"{m.name}: {', '.join(m.formats)}" for m in MODALITIES.values())
    raise UnsupportedInput(f"not a kind of file inrfit reads ({known})", "format")


def plan(data: bytes, name: str, settings: Settings, begun: float | None = None) -> Plan:
    """Loads ``data`` and decides how to fit it. No torch: a refusal is instant."""
    begun = time.monotonic() if begun is None else begun
    modality = identify(data, name, settings.type)
    modal = _build_options(settings, modality, choose_sampler(settings, modality))[modality.name]
    signal = modality.load(data, name, modal, settings.limits).named(modality.name)
    source = {"name": name, "bytes": len(data), "sha256": files.sha256(data)}
    return _plan_signal(settings, signal, source, begun)


def replan(planned: Plan, settings: Settings) -> Plan:
    """Another plan for the signal already loaded: as ``plan``, with a clock that starts now."""
    source = {"name": planned.name, "bytes": planned.bytes, "sha256": planned.sha256}
    made = _plan_signal(settings, planned.signal, source, time.monotonic())
    return replace(made, read_seconds=planned.read_seconds)


def _plan_signal(settings: Settings, signal: Signal, source: Mapping[str, Any], begun: float) -> Plan:
    """The plan for a signal that is loaded."""
    modality = MODALITIES[signal.modality]
    budget = settings.parsed_budget(modality.unit)
    arch, why = auto.choose_architecture(settings, signal, budget)
    chosen = replace(settings, arch=arch)
    sampler_name = choose_sampler(chosen, modality)
    built = _build_options(chosen, modality, sampler_name)
    sampler, architecture = built[f"sampler {sampler_name}"], built[f"arch {arch}"]
    known = {
        "source": source,
        "samples": signal.n,
        "sampler": {"name": sampler_name, "options": asdict(sampler)},
        "budget": asdict(budget),
        "notes": list(signal.notes),
    }
    spec, store = _spec(chosen, architecture, signal, known), sizing.store(settings)
    return Plan(
        **source,
        signal=signal,
        spec=spec,
        sampler_name=sampler_name,
        sampler=sampler,
        modality_options=built[modality.name],
        settings=settings,
        budget=budget,
        store=store,
        stored_bytes=max_file_bytes(spec, store, signal.modality, signal.meta, known),
        explicit_options=frozenset(_explicit_options(settings, architecture)),
        choices=auto.explain_choices(settings, spec, why),
        read_seconds=time.monotonic() - begun,
        loaded_at=time.monotonic(),
    )


def choose_sampler(settings: Settings, modality: Modality) -> str:
    """The name of the sampler: the one asked for, or what the architecture or else the modality has for ``auto``.
    Raises ``UsageError`` where the architecture cannot be taught by it, or ``--ratio`` means nothing to it."""
    traits = None if settings.arch == "auto" else FIELDS[settings.arch].TRAITS
    default = (traits and traits.default_sampler) or modality.default_sampler
    sampler_name = default if settings.sampler == "auto" else settings.sampler
    raster = traits is not None and traits.raster_only
    usable = [name for name in SAMPLERS if not (raster and name in USES_COORD_GRADIENTS)]
    if sampler_name not in usable:
        raise UsageError(
            f"--sampler {sampler_name} moves points between the cells of the raster, of which --arch {settings.arch} "
            f"knows nothing; choose a sampler from {', '.join(usable)}, or another architecture",
            "option",
        )
    with_ratio = [name for name in usable if "ratio" in options.declared(SAMPLERS[name])]
    if settings.ratio is not None and sampler_name not in with_ratio:
        words = f"--ratio has no meaning with --sampler {sampler_name}"
        if settings.sampler == "auto":
            words += f", which auto stands for with --arch {settings.arch}; choose a sampler from "
            words += ", ".join(with_ratio)
        raise UsageError(words, "option")
    return sampler_name


def _build_options(settings: Settings, modality: Modality, sampler_name: str) -> dict[str, Any]:
    """The sampler ("sampler NAME"), the architecture ("arch NAME"; of ``auto`` all that it can be) and the modality's
    options (by its name), filled from ``-O`` and ``--ratio``."""
    architectures = [settings.arch] if settings.arch != "auto" else auto.candidates(modality)
    classes = {
        f"sampler {sampler_name}": SAMPLERS[sampler_name],
        **{f"arch {name}": FIELDS[name] for name in architectures},
        modality.name: modality.options,
    }
    ratio = {} if settings.ratio is None else {"ratio": settings.ratio}
    return options.build(classes, {**settings.options, **ratio})


def _spec(settings: Settings, architecture: Architecture, signal: Signal, known: Mapping[str, Any]) -> FieldSpec:
    """The field's sizes, and the options of the architecture that were asked for or follow from the signal's size;
    ``known`` is what its provenance will say, as far as that is known."""
    traits, own = architecture.TRAITS, asdict(architecture)
    if traits.raster_only and signal.grid is None:
        others = ", ".join(name for name, kind in FIELDS.items() if not kind.TRAITS.raster_only)
        raise UsageError(
            f"--arch {settings.arch} knows the cells of a raster, and a signal of kind {signal.modality} has none; "
            f"choose from {others}",
            "option",
        )
    spec = FieldSpec(
        settings.arch,
        signal.dimensions,
        signal.channels,
        settings.width or traits.width,
        settings.depth or traits.depth,
        {key: own[key] for key in _explicit_options(settings, architecture)},
    )
    spec = sizing.sized(spec, settings, signal, known)
    if spec.parameters > MAX_PARAMETERS:
        raise UsageError(f"{spec.parameters:,} parameters: at most {MAX_PARAMETERS:,} are supported", "option")
    return spec


def _explicit_options(settings: Settings, architecture: Architecture) -> list[str]:
    """The architecture's options that the user gave."""
    return sorted({f.name for f in fields(architecture)} & set(settings.options))


def check_memory(planned: Plan) -> int:
    """Bytes the fit is estimated to need at most; raises ``NotEnoughMemory`` if the machine has less in all.

    Raw samples (twice: the file's bytes and the array), float32 points and error map, and the activations of the
    largest piece differentiated at a time (a perceptron's, which is more than the others need); 600 MB for torch."""
    signal, spec = planned.signal, planned.spec
    piece = 32_768
    activations = piece * spec.width * (spec.depth * 4 + 4) * 4
    estimate = 600_000_000 + planned.bytes + 2 * signal.samples.nbytes + 24 * signal.n + activations
    estimate += 12 * spec.parameters * 4
    total = physical_memory()
    if estimate > total:
        raise NotEnoughMemory(
            f"the fit needs about {estimate / 1e9:.1f} GB, this machine has {total / 1e9:.1f} GB", "memory"
        )
    return estimate

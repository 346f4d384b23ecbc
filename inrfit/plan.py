"""What is asked for, and what will be done about it: everything up to the point where torch is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from . import budget as budgets
from . import files, options
from .budget import Budget
from .errors import NotEnoughMemory, UnsupportedInput, UsageError
from .fields import FIELDS, MAX_DEPTH, MAX_PARAMETERS, MAX_WIDTH, FieldSpec
from .limits import Limits
from .machine import physical_memory
from .modalities import MODALITIES, Modality
from .samplers import AUTO, MOVING, SAMPLERS, Sampler
from .signal import Signal

PRECISIONS = ("fp32", "medium", "bf16")
"""Of the hidden layers while fitting (precision.py)."""

ENGINES = ("plain", "explicit", "compiled", "graph")
"""How steps are made (engine.py)."""

REGIMES = ("engine", "paper")
"""The recipe of this project, or the papers': Adam at a constant rate, float32, one step a selection (recipe.py)."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be asked of an encode; the command's options are these, word for word."""

    sampler: str = "auto"
    arch: str = "siren"
    width: int | None = None
    depth: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: str | Budget | tuple[str, ...] = ()
    target: str | float | None = None
    ratio: float | None = None
    batch: int | str = "auto"
    lr: float | None = None
    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    threads: int | None = None
    regime: str = "engine"
    seed: int = 0
    type: str | None = None
    verify: str | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        _choose("sampler", self.sampler, ("auto", *SAMPLERS))
        _choose("arch", self.arch, FIELDS)
        _choose("precision", self.precision, ("auto", *PRECISIONS))
        _choose("engine", self.engine, ("auto", *ENGINES))
        _choose("regime", self.regime, REGIMES)
        if self.type is not None:
            _choose("type", self.type, MODALITIES)
        if self.verify is not None:
            _choose("verify", self.verify, ("full", "sample"))
        if self.width is not None:
            _within("width", self.width, 1, MAX_WIDTH)
        if self.depth is not None:
            _within("depth", self.depth, 1, MAX_DEPTH)
        if self.batch not in ("auto", "selection"):
            _within("batch", _whole("batch", self.batch), 1, 1 << 24)
        if self.lr is not None:
            _within("lr", self.lr, 1e-8, 10)
        if self.threads is not None:
            _within("threads", self.threads, 1, 1024)
        _within("seed", self.seed, 0, 2**63 - 2)

    def parsed_budget(self, unit: str = "dB") -> Budget:
        """Budget and target together; ``unit`` is that of the modality's quality."""
        target = None if self.target is None else budgets.parse_target(self.target, unit)
        if isinstance(self.budget, Budget):
            return self.budget if target is None else replace(self.budget, target=target)
        return budgets.parse([self.budget] if isinstance(self.budget, str) else self.budget, target)


@dataclass(frozen=True)
class Plan:
    """What will be done with one source, before anything costly is done."""

    name: str
    bytes: int
    sha256: str
    signal: Signal
    spec: FieldSpec
    sampler: Sampler
    settings: Settings
    budget: Budget
    read_seconds: float
    loaded_at: float

    @property
    def modality(self) -> Modality:
        """The module that loaded the signal."""
        return MODALITIES[self.signal.modality]

    @property
    def strategy(self) -> str:
        """The name of the sampler."""
        return strategy_of(self.settings, self.modality)


def strategy_of(settings: Settings, modality: Modality) -> str:
    """The name of the sampler, which ``auto`` leaves to the modality, or to an architecture that shares work."""
    if settings.sampler != "auto":
        return settings.sampler
    return getattr(FIELDS[settings.arch], "SAMPLER", AUTO[modality.NAME])


def identify(data: bytes, name: str, type: str | None = None) -> Modality:
    """The modality of ``data``: as told, else by content, else by the name's suffix. Raises ``UnsupportedInput``."""
    if type is not None:
        return MODALITIES[type]
    for modality in MODALITIES.values():
        if modality.sniff(data):
            return modality
    suffix = os.path.splitext(name)[1].lower()
    for modality in MODALITIES.values():
        if suffix in modality.SUFFIXES:
            return modality
    known = "; ".join(f"{m.NAME}: {', '.join(m.FORMATS)}" for m in MODALITIES.values())
    raise UnsupportedInput(f"not a kind of file inrfit reads ({known})", "format")


def plan(data: bytes, name: str, settings: Settings, begun: float | None = None) -> Plan:
    """Loads ``data`` and decides how to fit it. No torch: a refusal is instant."""
    begun = time.monotonic() if begun is None else begun
    modality = identify(data, name, settings.type)
    sampler, architecture, modal = _built(settings, modality)
    signal = modality.load(data, name, modal, settings.limits)
    return Plan(
        name,
        len(data),
        files.sha256(data),
        signal,
        _spec(settings, architecture, signal),
        sampler,
        settings,
        settings.parsed_budget(modality.UNIT),
        time.monotonic() - begun,
        time.monotonic(),
    )


def again(planned: Plan, settings: Settings) -> Plan:
    """Another plan for the signal already loaded: as ``plan``, with a clock that starts now."""
    sampler, architecture, _ = _built(settings, planned.modality)
    spec = _spec(settings, architecture, planned.signal)
    budget = settings.parsed_budget(planned.modality.UNIT)
    return replace(planned, spec=spec, sampler=sampler, settings=settings, budget=budget, loaded_at=time.monotonic())


def _built(settings: Settings, modality: Modality) -> tuple[Any, Any, Any]:
    """Sampler, architecture and the modality's options, filled from ``-O`` and ``--ratio``."""
    strategy = strategy_of(settings, modality)
    classes = {
        f"sampler {strategy}": SAMPLERS[strategy],
        f"arch {settings.arch}": FIELDS[settings.arch],
        modality.NAME: modality.Options,
    }
    if strategy in MOVING and FIELDS[settings.arch].RASTER:
        others = ", ".join(name for name in SAMPLERS if name not in MOVING)
        raise UsageError(
            f"--sampler {strategy} moves points between the cells of the raster, of which --arch {settings.arch} knows "
            f"nothing; choose a sampler from {others}, or another architecture",
            "option",
        )
    given = dict(settings.options)
    if settings.ratio is not None and "ratio" in given:
        raise UsageError("--ratio and -O ratio exclude each other", "option")
    if settings.ratio is not None:
        if strategy == "full":
            raise UsageError("--ratio has no meaning with --sampler full", "option")
        given["ratio"] = settings.ratio
    sampler, architecture, modal = options.build(classes, given).values()
    return sampler, architecture, modal


def _spec(settings: Settings, architecture: Any, signal: Signal) -> FieldSpec:
    """The field's sizes, and the options of the architecture that were asked for or follow from the signal's size."""
    if architecture.RASTER and signal.grid is None:
        others = ", ".join(name for name, known in FIELDS.items() if not known.RASTER)
        raise UsageError(
            f"--arch {settings.arch} knows the cells of a raster, and a signal of kind {signal.modality} has none; "
            f"choose from {others}",
            "option",
        )
    names = {f.name for f in fields(architecture)}
    chosen = sorted(names & set(settings.options))
    spec = FieldSpec(
        settings.arch,
        signal.dimensions,
        signal.channels,
        settings.width or architecture.WIDTH,
        settings.depth or architecture.DEPTH,
        {key: getattr(architecture, key) for key in chosen},
    )
    shape = None if signal.grid is None else signal.grid.shape
    spec = spec.settings.sized(spec, shape, None)
    if spec.parameters > MAX_PARAMETERS:
        raise UsageError(f"{spec.parameters:,} parameters: at most {MAX_PARAMETERS:,} are supported", "option")
    return spec


def check_memory(planned: Plan) -> int:
    """Bytes the fit is estimated to need at most; raises ``NotEnoughMemory`` if the machine has less in all.

    Raw samples (twice: the file's bytes and the array), float32 points and error map, and the activations of the
    largest piece differentiated at a time; 600 MB for torch itself."""
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


def _choose(option: str, given: str, known: Any) -> None:
    if given not in known:
        raise UsageError(f"--{option} {given}: choose from {', '.join(known)}", "option")


def _whole(option: str, given: int | str) -> int:
    try:
        return int(given)
    except ValueError:
        raise UsageError(f"--{option} {given}: write a whole number, auto or selection", "option") from None


def _within(option: str, given: float, low: float, high: float) -> None:
    if not low <= given <= high:
        raise UsageError(f"--{option} {given}: must be from {low:g} to {high:g}", "option")

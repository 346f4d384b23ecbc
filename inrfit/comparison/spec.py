"""What is compared (sources, methods, seeds), in which order, and what came of each run. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..config.settings import Settings
from ..errors import UsageError
from ..fields import FIELDS
from ..io import options
from ..modalities import MODALITIES, Modality
from ..samplers import SAMPLERS

PAPER_BUDGET = "5000it"
"""Iterations of the papers' image experiments."""

SIZE_OPTIONS = ("width", "depth")
"""What may be written behind an architecture besides its options."""

MAX_SEEDS = 1000

PAPER_SETTINGS: dict[str, dict[str, Any]] = {"nint": {"schedule": "released"}}
"""What ``regime`` "paper" sets besides ``scoring``, whose bound it lifts for every sampler that has one."""


@dataclass(frozen=True)
class Source:
    """A file to be fitted; ``name`` is how the comparison shows it, and unlike every other."""

    name: str
    path: str
    sha256: str
    bytes: int
    modality: str

    @property
    def kind(self) -> Modality:
        """What it is loaded as."""
        return MODALITIES[self.modality]


@dataclass(frozen=True)
class Method:
    """An architecture taught by a sampler; ``own`` are the settings written behind the sampler's name, ``built`` those
    behind the architecture's, SIZE_OPTIONS among them."""

    arch: str
    sampler: str
    sampler_options: tuple[tuple[str, str], ...] = ()
    architecture_options: tuple[tuple[str, str], ...] = ()

    @property
    def sampler_label(self) -> str:
        """The sampler as it was written: ``nint:xi=0.5``."""
        return ":".join([self.sampler, *(f"{key}={value}" for key, value in self.sampler_options)])

    @property
    def architecture_label(self) -> str:
        """The architecture as it was written: ``siren:width=128``."""
        return ":".join([self.arch, *(f"{key}={value}" for key, value in self.architecture_options)])


@dataclass(frozen=True)
class RunKey:
    """One run: its source's name, its architecture and its sampler as they were written, and its seed."""

    source: str
    arch: str
    sampler: str
    seed: int


@dataclass(frozen=True)
class Point:
    """A fit on its way: seconds on its clock, share of the budget, steps, points taught, and the quality (in the
    modality's unit; inf when every judged sample is exact) estimated from fixed points."""

    seconds: float
    share: float
    step: int
    points: int
    quality: float


@dataclass(frozen=True)
class Result:
    """What came of a run: ``quality`` of what would be written, the trace on the way there, how the budget was spent,
    ``size`` of the field (parameters, bytes, store, macs_per_sample, sines_per_sample); or ``error`` (code, reason,
    message) alone."""

    run_key: RunKey
    trace: tuple[Point, ...] = ()
    quality: Mapping[str, Any] = field(default_factory=dict)
    spent: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    ended: str = ""
    notes: tuple[str, ...] = ()
    size: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether the run finished."""
        return self.error is None

    def json(self) -> dict[str, Any]:
        """As plain JSON values; the quality of an exact fit is null."""
        if self.error is not None:
            return {"ok": False, **asdict(self.run_key), "error": dict(self.error)}
        trace = [asdict(p) | {"quality": p.quality if math.isfinite(p.quality) else None} for p in self.trace]
        rest: dict[str, Any] = {
            "quality": dict(self.quality),
            "spent": dict(self.spent),
            "settings": dict(self.settings),
        }
        rest |= {"size": dict(self.size), "ended": self.ended, "notes": list(self.notes), "trace": trace}
        return {"ok": True, **asdict(self.run_key), **rest}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Result:
        """The inverse of ``json``; raises KeyError or TypeError for anything else."""
        run_key = RunKey(*(record[f.name] for f in fields(RunKey)))
        if not record["ok"]:
            return Result(run_key, error=record["error"])
        trace = (Point(**p | {"quality": math.inf if p["quality"] is None else p["quality"]}) for p in record["trace"])
        rest = {key: record[key] for key in ("quality", "spent", "settings", "ended")}
        return Result(run_key, tuple(trace), notes=tuple(record["notes"]), size=record.get("size", {}), **rest)


@dataclass(frozen=True)
class ComparisonSpec:
    """Everything that is compared; ``settings`` hold for all, as far as they know the options in it."""

    sources: tuple[Source, ...]
    methods: tuple[Method, ...]
    seeds: int = options.setting(3, "Runs of each, with seeds 0, 1, 2 ...", 1, MAX_SEEDS)
    settings: Settings = Settings()

    def runs(self) -> Iterator[tuple[RunKey, Source, Method]]:
        """The runs in their order: every method in turn on a source, then the next source, then the next seed; so
        that a machine that slows down slows all of them."""
        for seed in range(self.seeds):
            for source in self.sources:
                for method in self.methods:
                    yield RunKey(source.name, method.architecture_label, method.sampler_label, seed), source, method

    def method_name(self, arch: str, sampler: str) -> str:
        """A method for people: the architecture is named where there are several."""
        return f"{arch} {sampler}" if self.has_several_architectures else sampler

    @property
    def has_several_architectures(self) -> bool:
        """Whether architectures, or sizes of one, are compared."""
        return len({method.architecture_label for method in self.methods}) > 1

    def settings_for(self, method: Method, modality: str | None, seed: int = 0) -> Settings:
        """The settings of one run: the regime's, then the common ones it knows, then the method's own; those of a
        ``modality`` among them unless it is None."""
        classes: list[type[Any]] = [SAMPLERS[method.sampler], FIELDS[method.arch]]
        classes += [] if modality is None else [MODALITIES[modality].options]
        known = {key for kind in classes for key in options.declared(kind)}
        common = {key: value for key, value in self.settings.options.items() if key in known}
        regime = _paper_options(method.sampler) if self.settings.regime == "paper" else {}
        sizes: dict[str, Any] = {key: text for key, text in method.architecture_options if key in SIZE_OPTIONS}
        built = {key: text for key, text in method.architecture_options if key not in SIZE_OPTIONS}
        chosen = {**regime, **common, **dict(method.sampler_options), **built}
        return replace(self.settings, sampler=method.sampler, arch=method.arch, options=chosen, seed=seed, **sizes)

    def json(self) -> dict[str, Any]:
        """All that the results depend on, but for the machine."""
        settings = {
            f.name: getattr(self.settings, f.name)
            for f in fields(Settings)
            if f.name not in ("sampler", "arch", "options", "budget", "target", "ratio", "seed", "verify", "limits")
        }
        return {
            "sources": [{key: value for key, value in asdict(s).items() if key != "path"} for s in self.sources],
            "entrants": [
                {"arch": e.architecture_label, "sampler": e.sampler_label, "settings": asdict(self.build_sampler(e))}
                for e in self.methods
            ],
            "seeds": self.seeds,
            "budget": asdict(self.settings.parsed_budget()),
            "settings": settings | {"options": dict(self.settings.options)},
        }

    def build_sampler(self, method: Method) -> Any:
        """The sampler; raises ``UsageError`` where its settings, or the architecture's, make no sense."""
        given = self.settings_for(method, None).options
        options.from_mapping(FIELDS[method.arch], given)
        return options.from_mapping(SAMPLERS[method.sampler], given)


def parse_methods(samplers: str, archs: str) -> tuple[Method, ...]:
    """Every architecture in ``archs`` (siren,siren:width=128) with every sampler in ``samplers``
    (uniform,nint:xi=0.5:alpha=0.2). Raises ``UsageError``."""
    found = []
    for written in _split_list("archs", archs):
        arch, built = _parse_named("archs", written, FIELDS)
        for key in SIZE_OPTIONS:
            if key in built:
                options.checked(Settings, key, built[key], "--archs {}={}")
        options.build({f"arch {arch}": FIELDS[arch]}, {k: v for k, v in built.items() if k not in SIZE_OPTIONS})
        for text in _split_list("samplers", samplers):
            sampler, own = _parse_named("samplers", text, SAMPLERS)
            options.build({f"sampler {sampler}": SAMPLERS[sampler]}, own)
            found.append(Method(arch, sampler, tuple(own.items()), tuple(built.items())))
    return tuple(found)


def check_options(given: Mapping[str, Any], entered: tuple[Method, ...]) -> dict[str, Any]:
    """``given`` under the present names of the options. Raises ``UsageError`` for an option that no method and no
    modality has, and for a value that an option does not admit."""
    classes: dict[str, type[Any]] = {f"sampler {e.sampler}": SAMPLERS[e.sampler] for e in entered}
    classes |= {f"arch {e.arch}": FIELDS[e.arch] for e in entered}
    classes |= {name: modality.options for name, modality in MODALITIES.items()}
    present = options.with_present_names(classes.values(), given)
    options.build(classes, present)
    return present


def _split_list(option: str, text: str) -> list[str]:
    """The words between commas, each once."""
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"--{option} {text!r}: write names with commas between them", "option")
    if len(set(words)) < len(words):
        raise UsageError(f"--{option} {text}: names something twice", "option")
    return words


def _parse_named(option: str, written: str, registry: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """``nint:xi=0.5`` as a name in ``registry`` and the settings behind it."""
    name, *pairs = written.split(":")
    with options.refusing(f"--{option} {name}"):
        options.choose(name, registry)
    return name, options.parse_pairs(pairs)


def _paper_options(sampler: str) -> dict[str, Any]:
    """A sampler's settings in its own paper, where its defaults are others."""
    lifted = {"scoring": 1.0} if "scoring" in options.declared(SAMPLERS[sampler]) else {}
    return lifted | PAPER_SETTINGS.get(sampler, {})

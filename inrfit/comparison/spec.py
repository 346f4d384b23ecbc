"""What is compared (sources, methods, seeds), the order of the runs, and their results. Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..config.settings import Settings, registered_name
from ..errors import UsageError
from ..fields import FIELDS
from ..io import options
from ..io.registry import Registry
from ..modalities import MODALITIES, Modality
from ..samplers import SAMPLERS, paper_options

PAPER_BUDGET = "5000it"
"""Default budget of the regime "paper": the iterations of the papers' image experiments."""

SIZE_OPTIONS = ("width", "depth", "params", "bytes")
"""Settings that may follow the name of an architecture, besides its options."""

MAX_SEEDS = 1000
"""Largest number of seeds."""


@dataclass(frozen=True)
class Source:
    """A file to be fitted. ``name`` is unique in the comparison and is used in its output; ``bytes`` is the size of the
    file, and ``samples`` the number of cells of its grid, if it has one."""

    name: str
    path: str
    sha256: str
    bytes: int
    modality: str
    samples: int | None = None

    @property
    def kind(self) -> Modality:
        """The ``Modality`` called ``modality``."""
        return MODALITIES[self.modality]


@dataclass(frozen=True)
class Method:
    """An architecture fitted with a sampler. The options are (name, value) pairs in the order in which they were given,
    with the values or their texts; those of the architecture may include SIZE_OPTIONS."""

    arch: str
    sampler: str
    sampler_options: tuple[tuple[str, Any], ...] = ()
    architecture_options: tuple[tuple[str, Any], ...] = ()

    @property
    def sampler_label(self) -> str:
        """The sampler as it was given: ``nint:xi=0.5``."""
        return _label(self.sampler, self.sampler_options)

    @property
    def architecture_label(self) -> str:
        """The architecture as it was given: ``siren:width=128``."""
        return _label(self.arch, self.architecture_options)

    @property
    def unsized_label(self) -> str:
        """The architecture as it was given, without SIZE_OPTIONS."""
        return _label(self.arch, [pair for pair in self.architecture_options if pair[0] not in SIZE_OPTIONS])


@dataclass(frozen=True)
class RunKey:
    """Identifies a run: the name of its source, its architecture and sampler as they were given, and its seed."""

    source: str
    arch: str
    sampler: str
    seed: int


@dataclass(frozen=True)
class Point:
    """A point of a run's trace.

    ``seconds`` and ``share`` are the time and the share of the budget used so far, ``step`` the number of steps and
    ``points`` that of training points. ``quality`` is estimated on the evaluation set, in the unit of the modality; it
    is inf if every sample of the set is exact."""

    seconds: float
    share: float
    step: int
    points: int
    quality: float


@dataclass(frozen=True)
class Result:
    """The result of a run; of a failed one only ``run_key`` and ``error`` (code, reason, message) are set.

    ``quality``, ``spent``, ``settings`` and ``ended`` are those of the artifact and its provenance; ``notes`` leaves
    out those about the source. ``size`` has parameters, bytes, store, macs_per_sample and sines_per_sample."""

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
        """The result as JSON values; an infinite quality in the trace becomes None."""
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
        """The inverse of ``json``. Raises ``KeyError`` or ``TypeError`` if ``record`` is something else."""
        run_key = RunKey(*(record[f.name] for f in fields(RunKey)))
        if not record["ok"]:
            return Result(run_key, error=record["error"])
        trace = (Point(**p | {"quality": math.inf if p["quality"] is None else p["quality"]}) for p in record["trace"])
        rest = {key: record[key] for key in ("quality", "spent", "settings", "ended")}
        return Result(run_key, tuple(trace), notes=tuple(record["notes"]), size=record.get("size", {}), **rest)


@dataclass(frozen=True)
class ComparisonSpec:
    """What is compared. ``settings`` apply to all runs; each run uses those of their options that it has. ``codecs``
    stand beside the fields of the sources of their kind."""

    sources: tuple[Source, ...]
    methods: tuple[Method, ...]
    seeds: int = options.setting(3, "Runs of each method on each source, with seeds 0, 1, 2, ...", 1, MAX_SEEDS)
    settings: Settings = Settings()
    codecs: tuple[str, ...] = ()

    def runs(self) -> Iterator[tuple[RunKey, Source, Method]]:
        """The runs in order: seed by seed, source by source, one method after the other.

        Methods alternate so that a machine that becomes slower affects all of them."""
        for seed in range(self.seeds):
            for source in self.sources:
                for method in self.methods:
                    yield RunKey(source.name, method.architecture_label, method.sampler_label, seed), source, method

    def method_name(self, arch: str, sampler: str) -> str:
        """Name of a method in output: with the architecture if several are compared."""
        return f"{arch} {sampler}" if self.has_several_architectures else sampler

    @property
    def has_several_architectures(self) -> bool:
        """Whether several architectures, or several variants of one, are compared."""
        return len({method.architecture_label for method in self.methods}) > 1

    def settings_for(self, method: Method, modality: str | None, seed: int = 0) -> Settings:
        """The settings of one run: those of the regime, overridden by the common options that the method has, then by
        its own. Options of ``modality`` are included unless it is None."""
        classes: list[type[Any]] = [SAMPLERS[method.sampler], FIELDS[method.arch]]
        classes += [] if modality is None else [MODALITIES[modality].options]
        declared = {key for cls in classes for key in options.declared(cls)}
        common = {key: value for key, value in self.settings.options.items() if key in declared}
        regime = paper_options(method.sampler) if self.settings.regime == "paper" else {}
        sizes: dict[str, Any] = {key: text for key, text in method.architecture_options if key in SIZE_OPTIONS}
        arch_options = {key: text for key, text in method.architecture_options if key not in SIZE_OPTIONS}
        run_options = {**regime, **common, **dict(method.sampler_options), **arch_options}
        return replace(self.settings, sampler=method.sampler, arch=method.arch, options=run_options, seed=seed, **sizes)

    def json(self) -> dict[str, Any]:
        """All that the results of the fits depend on, except for the machine, as JSON values."""
        settings = {
            f.name: getattr(self.settings, f.name)
            for f in fields(Settings)
            if f.name not in ("sampler", "arch", "options", "budget", "target", "ratio", "seed", "verify", "limits")
        }
        return {
            "sources": [
                {key: value for key, value in asdict(s).items() if key not in ("path", "samples")} for s in self.sources
            ],
            "entrants": [
                {
                    "arch": method.architecture_label,
                    "sampler": method.sampler_label,
                    "settings": asdict(self.build_sampler(method)),
                }
                for method in self.methods
            ],
            "seeds": self.seeds,
            "budget": asdict(self.settings.parsed_budget()),
            "settings": settings | {"options": dict(self.settings.options)},
        }

    def build_sampler(self, method: Method) -> Any:
        """The sampler with its options. Raises ``UsageError`` if they or those of the architecture are invalid."""
        run_options = self.settings_for(method, None).options
        options.from_mapping(FIELDS[method.arch], run_options)
        return options.from_mapping(SAMPLERS[method.sampler], run_options)


def parse_methods(samplers: str | Sequence[Any], archs: str | Sequence[Any]) -> tuple[Method, ...]:
    """Every combination of an architecture in ``archs`` (such as "siren,siren:width=128") and a sampler in ``samplers``
    ("uniform,nint:xi=0.5:alpha=0.2"). Sequences may also hold instances. Raises ``UsageError``."""
    methods = []
    named_samplers = _listed("samplers", samplers, SAMPLERS)
    for arch, arch_options in _listed("archs", archs, FIELDS):
        for key in SIZE_OPTIONS:
            if key in arch_options:
                options.check_option(Settings, key, arch_options[key], "--archs {}={}")
        options.build({f"arch {arch}": FIELDS[arch]}, {k: v for k, v in arch_options.items() if k not in SIZE_OPTIONS})
        for sampler, sampler_options in named_samplers:
            options.build({f"sampler {sampler}": SAMPLERS[sampler]}, sampler_options)
            methods.append(Method(arch, sampler, tuple(sampler_options.items()), tuple(arch_options.items())))
    return tuple(methods)


def check_options(common_options: Mapping[str, Any], methods: tuple[Method, ...]) -> dict[str, Any]:
    """``common_options`` with old names replaced by new ones. Raises ``UsageError`` for an option that no method and no
    modality has, and for an invalid value."""
    classes: dict[str, type[Any]] = {f"sampler {method.sampler}": SAMPLERS[method.sampler] for method in methods}
    classes |= {f"arch {method.arch}": FIELDS[method.arch] for method in methods}
    classes |= {name: modality.options for name, modality in MODALITIES.items()}
    renamed_options = options.with_new_names(classes.values(), common_options)
    options.build(classes, renamed_options)
    return renamed_options


def _label(name: str, option_pairs: Iterable[tuple[str, Any]]) -> str:
    """A name with its options, as on the command line."""
    return ":".join([name, *(f"{key}={value}" for key, value in option_pairs)])


def _listed(option: str, given: str | Sequence[Any], registry: Registry[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and options of each sampler or architecture: of a text with commas, or of a sequence of texts and instances.
    Raises ``UsageError`` if one is empty or repeated."""
    items: list[Any] = []
    for item in [given] if isinstance(given, str) else given:
        items += [word.strip() for word in item.split(",")] if isinstance(item, str) else [item]
    if not items or any(isinstance(item, str) and not item for item in items):
        raise UsageError(f"--{option} {given!r}: must be names separated by commas", "option")
    parts = [
        _parse_named(option, item, registry)
        if isinstance(item, str)
        else (registered_name(item, registry), options.changed_options(item))
        for item in items
    ]
    for item, (name, _) in zip(items, parts, strict=True):
        if not isinstance(item, str) and registry[name] is not type(item):
            raise UsageError(
                f"--{option}: two different classes are called {type(item).__name__}; rename one", "option"
            )
    labels = [_label(name, pairs.items()) for name, pairs in parts]
    if len(set(labels)) < len(labels):
        raise UsageError(f"--{option} {','.join(labels)}: contains the same name twice", "option")
    return parts


def _parse_named(option: str, text: str, registry: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Parses ``nint:xi=0.5`` to a name in ``registry`` and its options. Raises ``UsageError``."""
    name, *pairs = text.split(":")
    with options.usage_errors(f"--{option} {name}"):
        options.check_choice(name, registry)
    return name, options.parse_pairs(pairs)

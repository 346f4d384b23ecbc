"""Samplers, and architectures, side by side: the same signals, initial weights and clock, one run after the other.

``prepare`` reads and checks all inputs, ``open_comparison`` loads the runs that an earlier call finished,
``run_comparison`` executes the remaining ones with one signal in memory at a time, and ``record`` returns the whole
comparison as JSON. See spec.py (what is compared), execution.py (one run) and statistics.py (the summary).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..codec import translated_memory_errors
from ..config.plan import identify, plan, replan
from ..config.settings import Settings
from ..errors import InrfitError, UnwritableOutput, UsageError, printable
from ..fit.budget import parse_seconds
from ..io import files
from ..io.json_schema import finite
from ..io.limits import Limits
from ..io.options import checked
from ..io.renamed import with_new_values, with_old_names, with_old_values
from ..resume import CheckpointPolicy
from ..runtime import limited_threads
from .execution import ComparisonCallbacks, Recipes, RunContext, execute_run, prepare_run, warm_up
from .spec import PAPER_BUDGET, ComparisonSpec, Result, RunKey, Source, check_options, parse_methods
from .statistics import ComparisonSummary, summarize

RECORD_VERSION = 1
"""Version of comparison.json."""

RESULTS_FILE, PLOT_FILE, STATE_FILE = "comparison.json", "comparison.png", "run.state"
"""What a comparison's folder holds."""


@dataclass
class Comparison:
    """A spec under way on this machine. ``recipes`` is what was chosen for a source and an architecture (precision
    and engine), once, so that all their runs have the same."""

    spec: ComparisonSpec
    machine: Mapping[str, Any]
    recipes: Recipes = field(default_factory=dict)
    results: dict[RunKey, Result] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """SHA-256 of all that must be the same for results to be comparable."""
        plan = self.spec.json()
        old_options = with_old_names(plan["settings"]["options"])
        plan["settings"] = with_old_values(plan["settings"]) | {"options": old_options}
        same = {"inrfit": __version__, "plan": plan, "machine": self.machine}
        return files.sha256(json.dumps(same, sort_keys=True, default=str).encode())

    @property
    def runs(self) -> int:
        """Of the whole plan."""
        return sum(1 for _ in self.spec.runs())

    @property
    def unfinished(self) -> int:
        """Runs that failed or were not made."""
        return self.runs - sum(result.ok for result in self.results.values())

    def ordered(self) -> list[Result]:
        """The results in the order of the plan."""
        return [self.results[run_key] for run_key, _, _ in self.spec.runs() if run_key in self.results]

    def summary(self, levels: Sequence[str] = ()) -> ComparisonSummary:
        """One table per source, and one over all of them; ``levels`` are qualities, such as "30dB", the time to which
        is reported."""
        return summarize(self.spec, self.ordered(), levels)


def prepare(
    paths: Sequence[str], samplers: str, archs: str = "siren", seeds: int = 3, settings: Settings = Settings()
) -> ComparisonSpec:
    """The spec of ``samplers`` (uniform,nint:xi=0.5) on the files ``paths``, each loaded once to see that it can be.
    No torch. Raises an ``InrfitError`` for whatever would not work."""
    checked(ComparisonSpec, "seeds", seeds)
    given = dict(settings.options) | ({} if settings.ratio is None else {"ratio": settings.ratio})
    budget = settings.budget or ((PAPER_BUDGET,) if settings.regime == "paper" else ())
    entered = parse_methods(samplers, archs)
    given = check_options(given, entered)
    spec = ComparisonSpec((), entered, seeds, replace(settings, options=given, ratio=None, budget=budget))
    spec.settings.parsed_budget()
    for method in entered:
        spec.build_sampler(method)
    return replace(spec, sources=tuple(_load_source(spec, path, name) for path, name in _named_sources(paths)))


def machine_of(spec: ComparisonSpec) -> dict[str, Any]:
    """What the seconds depend on: processor, device, threads, versions."""
    from ..artifact.provenance import machine, processor
    from ..fit.engine.step import choose_device

    with limited_threads(spec.settings.threads):
        return {"processor": processor(), **machine(choose_device(spec.settings.device))}


def open_comparison(folder: str | None, spec: ComparisonSpec, force: bool = False) -> Comparison:
    """The comparison that ``folder`` holds the beginning of, or a new one; the folder is made if its parent is there.

    Raises ``UsageError`` when it holds another comparison and not ``force``, ``UnwritableOutput`` when one of its files
    cannot be written there."""
    comparison = Comparison(spec, machine_of(spec))
    if folder is None:
        return comparison
    path = os.path.join(folder, RESULTS_FILE)
    _make_folder(folder)
    for name in (RESULTS_FILE, PLOT_FILE, STATE_FILE):
        files.check_target(os.path.join(folder, name), force=True)
        files.sweep(folder, name)
    if force:
        CheckpointPolicy(os.path.join(folder, STATE_FILE)).remove_state()
    if force or not os.path.lexists(path):
        return comparison
    found = _read_record(path, spec.settings.limits)
    try:
        results = [Result.from_json(record) for record in found["results"]]
        same = found["key"] == comparison.key
        recipes = {
            source: {arch: with_new_values(chosen) for arch, chosen in by_arch.items()}
            for source, by_arch in found["recipes"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_a_comparison(path) from error
    if not same:
        now = {"inrfit": __version__, **spec.json(), "machine": comparison.machine}
        then = {"inrfit": found.get("inrfit"), **found.get("plan", {}), "machine": found.get("machine")}
        if isinstance(then.get("settings"), dict):
            then["settings"] = with_new_values(then["settings"])
        changed = ", ".join(key for key in now if json.loads(json.dumps(now[key])) != then.get(key))
        raise UsageError(
            f"{printable(path)}: holds another comparison, of other {changed} (begin anew with --force)", "other-plan"
        )
    return replace(comparison, recipes=recipes, results={result.run_key: result for result in results})


def run_checkpointing(folder: str | None, checkpoint: str | None) -> CheckpointPolicy | None:
    """How the state of the run under way is kept, and gone on from, in the folder of a comparison. Raises
    ``UsageError``."""
    if checkpoint is None:
        return None
    if folder is None:
        raise UsageError("--checkpoint needs -o FOLDER, where the state of the run under way is kept", "output")
    return CheckpointPolicy(
        os.path.join(folder, STATE_FILE),
        parse_seconds(checkpoint, "--checkpoint"),
        resume=True,
        restart_on_mismatch=True,
    )


def run_comparison(
    comparison: Comparison,
    stop: Callable[[], bool],
    callbacks: ComparisonCallbacks,
    keep: Callable[[], None],
    checkpointing: CheckpointPolicy | None = None,
) -> None:
    """The runs that have not finished, in order; ``keep`` is called after each. A run that fails is recorded, and the
    others go on; one that ``stop`` falls into is dropped, but for its state. Raises ``UsageError`` for what no run
    could do."""
    spec = comparison.spec
    runs = list(spec.runs())
    left = [(k, *run_key) for k, run_key in enumerate(runs, 1) if not _is_finished(comparison, run_key[0])]
    if not left or stop():
        return
    warm_up(spec)
    context: RunContext | None = None
    for number, run_key, source, method in left:
        callbacks.on_run_start(number, len(runs), run_key)
        try:
            with translated_memory_errors():
                if context is None or (context.source, context.seed) != (source, run_key.seed):
                    loaded = context.planned if context is not None and context.source == source else None
                    context = None  # before the next one is loaded: one signal at a time
                    context = prepare_run(spec, source, method, run_key.seed, stop, loaded)
                result = execute_run(spec, context, run_key, method, stop, callbacks, comparison.recipes, checkpointing)
        except UsageError:
            raise
        except KeyboardInterrupt:
            return
        except InrfitError as error:
            failure = {"code": error.exit_code, "reason": error.reason, "message": str(error)}
            result = Result(run_key, error=failure)
        if stop():
            return
        comparison.results[run_key] = result
        keep()
        if checkpointing is not None:
            checkpointing.remove_state()
        callbacks.on_run_end(number, len(runs), result)


def record(comparison: Comparison, levels: Sequence[str] = ()) -> dict[str, Any]:
    """Everything, as JSON: the plan, the machine, the results and what they say together."""
    spec = comparison.spec
    results = comparison.ordered()
    return {
        "inrfit": __version__,
        "key": comparison.key,
        "plan": spec.json(),
        "machine": comparison.machine,
        "recipes": comparison.recipes,
        "unfinished": comparison.unfinished,
        "standings": asdict(comparison.summary(levels)),
        "results": [result.json() for result in results],
    }


def save(comparison: Comparison, folder: str, levels: Sequence[str] = ()) -> None:
    """Writes the record into ``folder``, complete or not at all."""
    text = json.dumps({"schema": RECORD_VERSION} | finite(record(comparison, levels)), allow_nan=False, indent=1)
    files.write(os.path.join(folder, RESULTS_FILE), text.encode(), force=True)


def _read_record(path: str, limits: Limits) -> dict[str, Any]:
    """The record that an earlier call left. Raises ``UsageError`` for anything else."""
    try:
        found: dict[str, Any] = json.loads(files.read(path, limits))
        schema = found["schema"]
    except (ValueError, KeyError, TypeError, InrfitError) as error:
        raise _not_a_comparison(path) from error
    if schema != RECORD_VERSION:
        raise UsageError(
            f"{printable(path)}: is a comparison of schema {printable(schema)}, and this inrfit goes on with schema "
            f"{RECORD_VERSION} only (begin anew with --force)",
            "other-schema",
        )
    return found


def _not_a_comparison(path: str) -> UsageError:
    return UsageError(f"{printable(path)}: is no comparison (begin anew with --force)", "other-plan")


def _is_finished(comparison: Comparison, run_key: RunKey) -> bool:
    return run_key in comparison.results and comparison.results[run_key].ok


def _load_source(spec: ComparisonSpec, path: str, name: str) -> Source:
    """Reads and loads a file, to see whether every method can be fitted to it; an error names it."""
    settings = spec.settings
    try:
        data = files.read(path, settings.limits)
        kind = identify(data, os.path.basename(path), settings.type)
        planned = None
        for method in spec.methods:
            of_it = spec.settings_for(method, kind.name)
            planned = plan(data, os.path.basename(path), of_it) if planned is None else replan(planned, of_it)
    except InrfitError as error:
        raise type(error)(f"{printable(path)}: {error}", error.reason) from error
    return Source(name, path, files.sha256(data), len(data), kind.name)


def _named_sources(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Every path with its name: that of the file, or, where several have the same, the path."""
    for path in paths:
        if path == "-" or Path(path).is_fifo():
            raise UsageError(f"{printable(path)}: is read more than once, so it must be a file", "source")
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise UsageError("a source is given twice", "source")
    bases = [os.path.basename(path) for path in paths]
    unique = len(set(bases)) == len(bases)
    return [(path, printable(base if unique else path)) for path, base in zip(paths, bases, strict=True)]


def _make_folder(folder: str) -> None:
    """Makes the folder unless it is there."""
    if os.path.isdir(folder):
        return
    try:
        os.mkdir(folder)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise UnwritableOutput(f"{printable(folder)}: {words[:1].lower() + words[1:]}", "folder") from error

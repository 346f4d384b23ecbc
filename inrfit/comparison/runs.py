"""A comparison from its preparation to its record: all methods with the same signals, initial weights and budget.

``prepare`` reads and checks all inputs, ``open_comparison`` loads the runs that an earlier call finished,
``run_comparison`` executes the remaining ones with one signal in memory at a time, and ``record`` returns the whole
comparison as JSON. See spec.py (what is compared), single_run.py (one run) and statistics.py (the summary).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .. import __version__
from ..config.settings import Settings
from ..errors import InrfitError, UsageError, printable
from ..execution import translated_errors
from ..fit.budget import parse_seconds
from ..io import files
from ..io.json_schema import without_nonfinite
from ..io.options import check_option
from ..io.renamed import with_new_values, with_old_names, with_old_values
from ..resume import CheckpointPolicy
from ..runtime import limited_threads
from .codec_runs import CodecResult, check_used, codec_runs, parse_codecs, run_codecs
from .folder import make_folder
from .rates import RateTable, rate_tables
from .record_schema import RECORD_VERSION, read_record
from .single_run import ComparisonCallbacks, Recipes, RunContext, execute_run, load_signal, prepare_run, warm_up
from .sizes import with_sizes
from .sources import load_sources
from .spec import PAPER_BUDGET, ComparisonSpec, Result, RunKey, check_options, parse_methods
from .statistics import ComparisonSummary, summarize

RESULTS_FILE, PLOT_FILE, RATE_PLOT_FILE = "comparison.json", "comparison.png", "rates.png"
STATE_FILE = "run.state"
"""Files in the folder of a comparison."""


@dataclass
class Comparison:
    """A comparison on this machine, and the results so far."""

    spec: ComparisonSpec
    """What is compared."""

    machine: Mapping[str, Any]
    """What the speed of the fits depends on: processor, device, CPU threads and versions."""

    recipes: Recipes = field(default_factory=dict)
    """Precision and engine for each source and architecture. They are chosen once, so that all runs use the same."""

    results: dict[RunKey, Result] = field(default_factory=dict)
    """The runs that finished or failed."""

    codec_results: dict[tuple[str, str], CodecResult] = field(default_factory=dict)
    """The codecs that finished or failed, by the name of their source and their own."""

    @property
    def key(self) -> str:
        """SHA-256 of everything that must be equal for results to be comparable: version, spec and machine."""
        plan = self.spec.json()
        old_options = with_old_names(plan["settings"]["options"])
        plan["settings"] = with_old_values(plan["settings"]) | {"options": old_options}
        content = {"inrfit": __version__, "plan": plan, "machine": self.machine}
        return files.sha256(json.dumps(content, sort_keys=True, default=str).encode())

    @property
    def runs(self) -> int:
        """Number of runs of the whole comparison, of which one for each codec of a source."""
        return sum(1 for _ in self.spec.runs()) + len(list(codec_runs(self.spec)))

    @property
    def unfinished(self) -> int:
        """Number of runs that failed or have not been executed."""
        finished = [result.ok for result in self.results.values()]
        return self.runs - sum(finished) - sum(result.ok for result in self.codec_results.values())

    def ordered(self) -> list[Result]:
        """The results in the order of the runs."""
        return [self.results[run_key] for run_key, _, _ in self.spec.runs() if run_key in self.results]

    def summary(self, levels: Sequence[str] = ()) -> ComparisonSummary:
        """One table per source and, for each modality with several sources, the differences over all of them.

        ``levels`` are qualities such as "30dB"; the time to reach each is reported. Default: the mean final quality of
        the first method."""
        return summarize(self.spec, self.ordered(), levels)

    def rates(self) -> tuple[RateTable, ...]:
        """Bytes and qualities of fields and codecs: one table for each source of which there are files of codecs."""
        return rate_tables(self.spec, self.ordered(), self.codec_results.values())


def prepare(
    paths: Sequence[str | os.PathLike[str]],
    samplers: str | Sequence[Any],
    archs: str | Sequence[Any] = "siren",
    seeds: int = 3,
    settings: Settings = Settings(),
    on_bad_source: Callable[[str, InrfitError], None] | None = None,
    codecs: str | Sequence[str] = (),
    sizes: Sequence[Any] = (),
) -> ComparisonSpec:
    """Validates a comparison and returns its spec. Does not import torch.

    ``paths`` are files; each is loaded once to check that it can be. ``samplers`` and ``archs`` are lists as on the
    command line, such as "uniform,nint:xi=0.5", or sequences whose items are such texts or instances; so are
    ``codecs``. ``sizes`` are sizes in bytes at each of which the architectures are fitted. Raises an ``InrfitError`` if
    any run could not be executed; with ``on_bad_source``, files that cannot be read are left out
    (``load_sources``)."""
    check_option(ComparisonSpec, "seeds", seeds)
    common_options = dict(settings.options) | ({} if settings.ratio is None else {"ratio": settings.ratio})
    budget = settings.budget or ((PAPER_BUDGET,) if settings.regime == "paper" else ())
    methods = parse_methods(samplers, archs)
    methods = with_sizes(methods, sizes) if sizes else methods
    common_options = check_options(common_options, methods)
    own = replace(settings, options=common_options, ratio=None, budget=budget)
    spec = ComparisonSpec((), methods, seeds, own, parse_codecs(codecs))
    spec.settings.parsed_budget()  # raises UsageError
    built: dict[tuple[str, Any], str] = {}
    for method in methods:
        run = (method.architecture_label, spec.build_sampler(method))
        if run in built:
            raise UsageError(f"--samplers: {method.sampler_label} is the same as {built[run]}", "option")
        built[run] = method.sampler_label
    spec = replace(spec, sources=load_sources(spec, paths, on_bad_source))
    check_used(spec.codecs, spec.sources)
    return spec


def machine_of(spec: ComparisonSpec) -> dict[str, Any]:
    """What the speed of the fits depends on: processor, device, CPU threads and versions."""
    from ..artifact.provenance import machine, processor
    from ..fit.engine.step import choose_device

    with limited_threads(spec.settings.threads):
        return {"processor": processor(), **machine(choose_device(spec.settings.device))}


def open_comparison(folder: str | None, spec: ComparisonSpec, force: bool = False) -> Comparison:
    """The comparison with the results that ``folder`` holds, or a new one. The folder is created if its parent exists.

    Without ``force``, raises ``UsageError`` if the folder holds another comparison, and a ``RefusedInput`` if it holds
    a damaged one. Raises ``UnwritableOutput`` if one of the files cannot be written."""
    comparison = Comparison(spec, machine_of(spec))
    if folder is None:
        return comparison
    path = os.path.join(folder, RESULTS_FILE)
    make_folder(folder)
    for name in (RESULTS_FILE, PLOT_FILE, RATE_PLOT_FILE, STATE_FILE):
        files.check_target(os.path.join(folder, name), force=True)
        files.remove_stale(folder, name)
    if force:
        CheckpointPolicy(os.path.join(folder, STATE_FILE)).remove_state()
    if force or not os.path.lexists(path):
        return comparison
    earlier = read_record(path, spec.settings.limits)
    results = [Result.from_json(record) for record in earlier["results"]]
    same = earlier["key"] == comparison.key
    recipes = {
        source: {arch: with_new_values(chosen) for arch, chosen in by_arch.items()}
        for source, by_arch in earlier["recipes"].items()
    }
    if not same:
        now = {"inrfit": __version__, **spec.json(), "machine": comparison.machine}
        then = {"inrfit": earlier["inrfit"], **earlier["plan"], "machine": earlier["machine"]}
        if isinstance(then.get("settings"), dict):
            then["settings"] = with_new_values(then["settings"])
        changed = ", ".join(key for key in now if json.loads(json.dumps(now[key])) != then.get(key))
        raise UsageError(
            f"{printable(path)}: is a comparison that differs in {changed or 'its key'} (replace it with --force)",
            "other-plan",
        )
    expected = {run_key for run_key, _, _ in spec.runs()}
    found = {result.run_key: result for result in results if result.run_key in expected}
    wanted = {(source.name, name) for source, name in codec_runs(spec)}
    codecs = [CodecResult.from_json(record) for record in earlier.get("codecs", ())]
    codec_results = {(c.source, c.codec): c for c in codecs if (c.source, c.codec) in wanted}
    return replace(comparison, recipes=recipes, results=found, codec_results=codec_results)


def run_checkpointing(folder: str | None, checkpoint: str | None) -> CheckpointPolicy | None:
    """Saves the state of the current run in ``folder`` every ``checkpoint`` (such as "30s") and resumes it from there.

    None if there is no ``checkpoint``. Raises ``UsageError``."""
    if checkpoint is None:
        return None
    if folder is None:
        raise UsageError("--checkpoint needs -o FOLDER, in which the state of the current run is saved", "output")
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
    save_results: Callable[[], None],
    checkpointing: CheckpointPolicy | None = None,
) -> None:
    """Executes the runs that have not finished, in order, codecs first, and calls ``save_results`` after each.

    A run that fails is recorded, and the next one starts. When ``stop`` returns True, the current run is discarded,
    except for its checkpoint, and the function returns. Raises ``UsageError`` for settings that no run accepts."""
    spec, total = comparison.spec, comparison.runs
    with translated_errors():
        run_codecs(spec, comparison.codec_results, total, lambda s: load_signal(spec, s), stop, callbacks, save_results)
    first = total - sum(1 for _ in spec.runs()) + 1
    pending = [(n, *run) for n, run in enumerate(spec.runs(), first) if not _is_finished(comparison, run[0])]
    if not pending or stop():
        return
    warm_up(spec)
    context: RunContext | None = None
    for number, run_key, source, method in pending:
        callbacks.on_run_start(number, total, run_key)
        try:
            with translated_errors():
                if context is None or (context.source, context.seed) != (source, run_key.seed):
                    loaded = context.planned if context is not None and context.source == source else None
                    context = None  # frees its signal before the next one is loaded
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
        save_results()
        if checkpointing is not None:
            checkpointing.remove_state()
        callbacks.on_run_end(number, total, result)


def record(comparison: Comparison, levels: Sequence[str] = ()) -> dict[str, Any]:
    """The comparison as JSON values: spec, machine, results and summary."""
    return {
        "inrfit": __version__,
        "key": comparison.key,
        "plan": comparison.spec.json(),
        "machine": comparison.machine,
        "recipes": comparison.recipes,
        "unfinished": comparison.unfinished,
        "standings": asdict(comparison.summary(levels)),
        "results": [result.json() for result in comparison.ordered()],
    } | _codec_record(comparison)


def _codec_record(comparison: Comparison) -> dict[str, Any]:
    """The codecs of a comparison as JSON values; none if it has none."""
    if not comparison.spec.codecs:
        return {}
    results = [result.json() for result in comparison.codec_results.values()]
    return {"codecs": results, "rates": [asdict(table) for table in comparison.rates()]}


def save(comparison: Comparison, folder: str, levels: Sequence[str] = ()) -> None:
    """Writes comparison.json into ``folder``, completely or not at all."""
    text = json.dumps(
        {"schema": RECORD_VERSION} | without_nonfinite(record(comparison, levels)), allow_nan=False, indent=1
    )
    files.write(os.path.join(folder, RESULTS_FILE), text.encode(), force=True)


def _is_finished(comparison: Comparison, run_key: RunKey) -> bool:
    """Whether the run has a result that is not a failure."""
    return run_key in comparison.results and comparison.results[run_key].ok

"""What the runs of a comparison say together: means, spreads, times to a quality, paired differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..errors import UsageError
from ..fit.budget import parse_target
from .spec import ComparisonSpec, Method, Point, Result, Source

BUDGET_SHARES = (0.25, 0.5, 1.0)
"""Of the budget, at which the quality is told."""


@dataclass(frozen=True)
class MeanStd:
    """Mean and sample standard deviation of ``n`` values; None where there are too few, or infinite ones: those of one
    sign have their infinity as mean, those of both have none."""

    mean: float | None
    sd: float | None
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """Mean of ``n`` paired differences and the half-width of its 95 % confidence interval (Student's t); None as in
    ``MeanStd``."""

    mean: float | None
    ci95: float | None
    n: int


@dataclass(frozen=True)
class MethodRow:
    """The results of a method on one source.

    ``qualities`` belong to BUDGET_SHARES; the last is measured on the artifact, the others are estimates from the
    evaluation set. ``seconds_to`` belong to the ``levels`` of the table and average the runs that reached them.
    ``difference`` compares the last quality with that of the first method, paired by seed."""

    arch: str
    sampler: str
    finished: int
    failed: int
    qualities: tuple[MeanStd, ...]
    seconds_to: tuple[MeanStd, ...]
    seconds: MeanStd
    sampler_seconds: MeanStd
    sampler_share: MeanStd
    steps: MeanStd
    points: MeanStd
    points_per_second: MeanStd
    parameters: MeanStd
    stored_bytes: MeanStd
    difference: PairedDifference


@dataclass(frozen=True)
class SourceTable:
    """All methods on one source; ``measure`` (psnr, snr, iou) is in ``unit``."""

    source: str
    modality: str
    measure: str
    unit: str
    levels: tuple[float, ...]
    rows: tuple[MethodRow, ...]


@dataclass(frozen=True)
class MethodOverall:
    """A method over the sources of one modality: the mean of its mean differences, and where it is worst."""

    modality: str
    unit: str
    arch: str
    sampler: str
    difference: PairedDifference
    worst_source: str | None
    worst: float | None


@dataclass(frozen=True)
class ComparisonSummary:
    """The whole: one table a source, and over the sources where a modality has several."""

    tables: tuple[SourceTable, ...]
    overall: tuple[MethodOverall, ...]


def summarize(spec: ComparisonSpec, results: Iterable[Result], levels: Sequence[str] = ()) -> ComparisonSummary:
    """Of the finished ``results``; times are told to ``levels`` (30dB, 0.98), or to where the first method ends."""
    known = list(results)
    tables = tuple(_table(spec, source, [r for r in known if r.run_key.source == source.name], levels)
                   for source in spec.sources)  # fmt: skip
    overall = []
    for modality in dict.fromkeys(table.modality for table in tables):
        among = [table for table in tables if table.modality == modality]
        if len(among) > 1:
            overall += [_overall(among, place) for place in range(1, len(spec.methods))]
    return ComparisonSummary(tables, tuple(overall))


def parse_levels(text: str) -> tuple[str, ...]:
    """``30dB,0.98`` as its words. Raises ``UsageError``."""
    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if _level(word, "dB") is None and _level(word, "") is None:
            raise UsageError(f"--to {text}: write qualities, as in 30dB,35dB or (shapes) 0.98", "option")
    return words


def final_quality(result: Result, source: Source) -> float:
    """The measured quality of a finished run: inf when exact, nan when undefined."""
    measure = source.kind.main_measure
    value = result.quality.get(measure)
    if value is not None:
        return float(value)
    return math.inf if measure in str(result.quality.get("infinite", "")).split() else math.nan


def interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Linear between the neighbours of ``x`` in the rising ``xs``, the end value beyond them."""
    for place, (after, y) in enumerate(zip(xs, ys, strict=True)):
        if x <= after:
            if place == 0 or x == after or math.isinf(y):
                return y if place == 0 or x == after else ys[place - 1]
            before, below = xs[place - 1], ys[place - 1]
            return below + (y - below) * (x - before) / (after - before)
    return ys[-1]


def seconds_to(trace: Sequence[Point], level: float) -> float | None:
    """When the quality was first at ``level``, between two points of the trace by proportion; None if never."""
    for place, point in enumerate(trace):
        if point.quality >= level:
            before = trace[place - 1]
            if place == 0 or math.isinf(point.quality):
                return point.seconds
            way = (level - before.quality) / (point.quality - before.quality)
            return before.seconds + way * (point.seconds - before.seconds)
    return None


def mean_std(values: Iterable[float]) -> MeanStd:
    """Of the values that are defined."""
    known = [value for value in values if not math.isnan(value)]
    infinite = set(filter(math.isinf, known))
    if not known or infinite:
        return MeanStd(infinite.pop() if len(infinite) == 1 else None, None, len(known))
    return MeanStd(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def paired_difference(values: Iterable[float]) -> PairedDifference:
    """Of paired differences that are defined."""
    found = mean_std(values)
    if found.sd is None:
        return PairedDifference(found.mean, None, found.n)
    from scipy.special import stdtrit

    return PairedDifference(found.mean, float(stdtrit(found.n - 1, 0.975)) * found.sd / math.sqrt(found.n), found.n)


def _table(spec: ComparisonSpec, source: Source, results: list[Result], levels: Sequence[str]) -> SourceTable:
    by_method = {method: _of(method, results) for method in spec.methods}
    first = by_method[spec.methods[0]]
    wanted = [level for word in levels if (level := _level(word, source.kind.unit)) is not None]
    if not levels:
        ends = mean_std(r.trace[-1].quality for r in first if r.ok and r.trace).mean
        wanted = [ends] if ends is not None else []
    rows = tuple(_row(method, runs, first, source, wanted) for method, runs in by_method.items())
    return SourceTable(source.name, source.modality, source.kind.main_measure, source.kind.unit, tuple(wanted), rows)


def _of(method: Method, results: list[Result]) -> list[Result]:
    wanted = (method.architecture_label, method.sampler_label)
    return [result for result in results if (result.run_key.arch, result.run_key.sampler) == wanted]


def _row(method: Method, runs: list[Result], first: list[Result], source: Source, levels: list[float]) -> MethodRow:
    done = [run for run in runs if run.ok]
    traced = [run.trace for run in done if run.trace]
    rivals = {run.run_key.seed: final_quality(run, source) for run in first if run.ok}
    paired = [(final_quality(run, source), rivals[run.run_key.seed]) for run in done if run.run_key.seed in rivals]

    def spent(of: Callable[[Result], float]) -> MeanStd:
        return mean_std(of(run) for run in done)

    return MethodRow(
        method.architecture_label,
        method.sampler_label,
        len(done),
        len(runs) - len(done),
        (
            *(mean_std(_reading(trace, share) for trace in traced) for share in BUDGET_SHARES[:-1]),
            mean_std(final_quality(run, source) for run in done),
        ),
        tuple(mean_std(s for trace in traced if (s := seconds_to(trace, level)) is not None) for level in levels),
        spent(lambda run: run.spent["fit_seconds"]),
        spent(lambda run: run.spent["sampler_seconds"]),
        spent(lambda run: run.spent["sampler_seconds"] / max(run.spent["fit_seconds"], 1e-9)),
        spent(lambda run: run.spent["steps"]),
        spent(lambda run: run.spent["points"]),
        spent(lambda run: run.spent["points"] / max(run.spent["fit_seconds"], 1e-9)),
        spent(lambda run: run.size.get("parameters", math.nan)),
        spent(lambda run: run.size.get("bytes", math.nan)),
        paired_difference(0.0 if mine == theirs else mine - theirs for mine, theirs in paired),
    )


def _reading(trace: Sequence[Point], share: float) -> float:
    """The quality at ``share`` of the budget."""
    return interpolate([point.share for point in trace], [point.quality for point in trace], share)


def _overall(tables: list[SourceTable], place: int) -> MethodOverall:
    """The method in row ``place`` over sources of one modality."""
    row = tables[0].rows[place]
    means = [(t.rows[place].difference.mean, t.source) for t in tables]
    known = [(mean, source) for mean, source in means if mean is not None]
    worst = min(known, default=(None, None))
    found = paired_difference(mean for mean, _ in known)
    return MethodOverall(tables[0].modality, tables[0].unit, row.arch, row.sampler, found, worst[1], worst[0])


def _level(word: str, unit: str) -> float | None:
    """``word`` as a quality in ``unit``, if it is one."""
    try:
        return parse_target(word, unit)
    except UsageError:
        return None

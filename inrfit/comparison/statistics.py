"""Summary statistics of a comparison: means, standard deviations, times to a quality, paired differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..errors import UsageError
from ..fit.budget import parse_target
from .spec import ComparisonSpec, Method, Point, Result, Source

BUDGET_SHARES = (0.25, 0.5, 1.0)
"""Shares of the budget at which the quality is reported."""


@dataclass(frozen=True)
class MeanStd:
    """Mean and sample standard deviation of ``n`` values.

    If some values are infinite, ``sd`` is None, and ``mean`` is infinite, or None if there are both signs. ``mean`` is
    None for n = 0, ``sd`` for n < 2."""

    mean: float | None
    sd: float | None
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """Mean of ``n`` paired differences and the half-width of its 95 % confidence interval (Student's t). Both are None
    in the same cases as in ``MeanStd``."""

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
    """The results of all methods on one source.

    ``measure`` is the name of the quality measure (such as "psnr") and ``unit`` its unit ("dB", or "" for none).
    ``levels`` are the qualities to which the rows report times, in this unit."""

    source: str
    modality: str
    measure: str
    unit: str
    levels: tuple[float, ...]
    rows: tuple[MethodRow, ...]


@dataclass(frozen=True)
class MethodOverall:
    """A method on all sources of one modality, compared with the first method.

    ``difference`` is over the mean differences on the sources; ``worst`` is the smallest of them, on
    ``worst_source``."""

    modality: str
    unit: str
    arch: str
    sampler: str
    difference: PairedDifference
    worst_source: str | None
    worst: float | None


@dataclass(frozen=True)
class ComparisonSummary:
    """One table per source, and ``overall`` for each modality with several sources and each method but the first."""

    tables: tuple[SourceTable, ...]
    overall: tuple[MethodOverall, ...]


def summarize(spec: ComparisonSpec, results: Iterable[Result], levels: Sequence[str] = ()) -> ComparisonSummary:
    """The summary of ``results``. ``levels`` ("30dB", "0.98") are the qualities to which times are reported; default:
    the mean final quality of the first method on each source."""
    results = list(results)
    tables = tuple(
        _table(spec, source, [r for r in results if r.run_key.source == source.name], levels) for source in spec.sources
    )
    overall = []
    for modality in dict.fromkeys(table.modality for table in tables):
        of_modality = [table for table in tables if table.modality == modality]
        if len(of_modality) > 1:
            overall += [_overall(of_modality, row) for row in range(1, len(spec.methods))]
    return ComparisonSummary(tables, tuple(overall))


def parse_levels(text: str) -> tuple[str, ...]:
    """Splits ``30dB,0.98`` at the commas. Raises ``UsageError`` if a part is not a quality."""
    levels = tuple(level.strip() for level in text.split(","))
    for level in levels:
        if _parse_level(level, "dB") is None and _parse_level(level, "") is None:
            raise UsageError(f"--to {text}: must be qualities, such as 30dB,35dB, or 0.98 for a shape", "option")
    return levels


def final_quality(result: Result, source: Source) -> float:
    """The quality of the artifact of a finished run: inf if it is exact, nan if undefined."""
    measure = source.kind.main_measure
    value = result.quality.get(measure)
    if value is not None:
        return float(value)
    return math.inf if measure in str(result.quality.get("infinite", "")).split() else math.nan


def interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Linear interpolation at ``x`` of ``ys`` over the increasing ``xs``, constant outside of them.

    Where the next value is infinite, the previous one is returned."""
    for index, (right_x, right_y) in enumerate(zip(xs, ys, strict=True)):
        if x <= right_x:
            if index == 0 or x == right_x:
                return right_y
            left_x, left_y = xs[index - 1], ys[index - 1]
            if math.isinf(right_y):
                return left_y
            return left_y + (right_y - left_y) * (x - left_x) / (right_x - left_x)
    return ys[-1]


def seconds_to(trace: Sequence[Point], level: float) -> float | None:
    """Seconds until the quality first reached ``level``, linearly interpolated; None if it never did."""
    for index, point in enumerate(trace):
        if point.quality >= level:
            before = trace[index - 1]
            if index == 0 or math.isinf(point.quality):
                return point.seconds
            fraction = (level - before.quality) / (point.quality - before.quality)
            return before.seconds + fraction * (point.seconds - before.seconds)
    return None


def mean_std(values: Iterable[float]) -> MeanStd:
    """Mean and standard deviation of the values that are not NaN."""
    defined = [value for value in values if not math.isnan(value)]
    infinite = set(filter(math.isinf, defined))
    if not defined or infinite:
        return MeanStd(infinite.pop() if len(infinite) == 1 else None, None, len(defined))
    return MeanStd(statistics.fmean(defined), statistics.stdev(defined) if len(defined) > 1 else None, len(defined))


def paired_difference(values: Iterable[float]) -> PairedDifference:
    """Mean and confidence interval of the differences ``values``, without those that are NaN."""
    stats = mean_std(values)
    if stats.sd is None:
        return PairedDifference(stats.mean, None, stats.n)
    from scipy.special import stdtrit

    return PairedDifference(stats.mean, float(stdtrit(stats.n - 1, 0.975)) * stats.sd / math.sqrt(stats.n), stats.n)


def _table(spec: ComparisonSpec, source: Source, results: list[Result], level_texts: Sequence[str]) -> SourceTable:
    """The table of one source; levels in another unit than that of its modality are left out."""
    by_method = {method: _results_of(method, results) for method in spec.methods}
    first = by_method[spec.methods[0]]
    levels = [level for text in level_texts if (level := _parse_level(text, source.kind.unit)) is not None]
    if not level_texts:
        final = mean_std(run.trace[-1].quality for run in first if run.ok and run.trace).mean
        levels = [final] if final is not None else []
    rows = tuple(_row(method, runs, first, source, levels) for method, runs in by_method.items())
    return SourceTable(source.name, source.modality, source.kind.main_measure, source.kind.unit, tuple(levels), rows)


def _results_of(method: Method, results: list[Result]) -> list[Result]:
    """The results of one method."""
    labels = (method.architecture_label, method.sampler_label)
    return [result for result in results if (result.run_key.arch, result.run_key.sampler) == labels]


def _row(method: Method, runs: list[Result], first: list[Result], source: Source, levels: list[float]) -> MethodRow:
    """The row of a method with the results ``runs``; ``first`` are those of the first method."""
    finished = [run for run in runs if run.ok]
    traces = [run.trace for run in finished if run.trace]
    baseline = {run.run_key.seed: final_quality(run, source) for run in first if run.ok}
    pairs = [
        (final_quality(run, source), baseline[run.run_key.seed]) for run in finished if run.run_key.seed in baseline
    ]

    def over_runs(value: Callable[[Result], float]) -> MeanStd:
        return mean_std(value(run) for run in finished)

    return MethodRow(
        method.architecture_label,
        method.sampler_label,
        len(finished),
        len(runs) - len(finished),
        (
            *(mean_std(_quality_at(trace, share) for trace in traces) for share in BUDGET_SHARES[:-1]),
            mean_std(final_quality(run, source) for run in finished),
        ),
        tuple(mean_std(s for trace in traces if (s := seconds_to(trace, level)) is not None) for level in levels),
        over_runs(lambda run: run.spent["fit_seconds"]),
        over_runs(lambda run: run.spent["sampler_seconds"]),
        over_runs(lambda run: run.spent["sampler_seconds"] / max(run.spent["fit_seconds"], 1e-9)),
        over_runs(lambda run: run.spent["steps"]),
        over_runs(lambda run: run.spent["points"]),
        over_runs(lambda run: run.spent["points"] / max(run.spent["fit_seconds"], 1e-9)),
        over_runs(lambda run: run.size.get("parameters", math.nan)),
        over_runs(lambda run: run.size.get("bytes", math.nan)),
        # Two exact fits differ by 0, not by inf - inf.
        paired_difference(0.0 if quality == reference else quality - reference for quality, reference in pairs),
    )


def _quality_at(trace: Sequence[Point], share: float) -> float:
    """The quality at ``share`` of the budget."""
    return interpolate([point.share for point in trace], [point.quality for point in trace], share)


def _overall(tables: list[SourceTable], row_index: int) -> MethodOverall:
    """The method in row ``row_index`` on all sources of one modality."""
    row = tables[0].rows[row_index]
    means = [(table.rows[row_index].difference.mean, table.source) for table in tables]
    defined = [(mean, source) for mean, source in means if mean is not None]
    worst, worst_source = min(defined, default=(None, None))
    difference = paired_difference(mean for mean, _ in defined)
    return MethodOverall(tables[0].modality, tables[0].unit, row.arch, row.sampler, difference, worst_source, worst)


def _parse_level(text: str, unit: str) -> float | None:
    """``text`` as a quality in ``unit``; None if it is not one."""
    try:
        return parse_target(text, unit)
    except UsageError:
        return None

"""Rate and distortion: the bytes and qualities of fields beside those of codecs, and Bjøntegaard rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .codec_runs import CodecResult
from .spec import ComparisonSpec, Result, Source
from .statistics import MethodRow, SourceTable, summarize

MIN_POINTS = 4
"""Fewest points of a curve of which there is a Bjøntegaard rate."""


@dataclass(frozen=True)
class RatePoint:
    """One size of a field, or one setting of a codec. ``bytes`` are those of the whole file, ``bits_per_sample`` is
    None for signals that are not on a grid. Several seeds are averaged."""

    label: str
    bytes: float
    bits_per_sample: float | None
    quality: float


@dataclass(frozen=True)
class RateCurve:
    """The points of one codec, or of one architecture and sampler in all sizes, by their bytes."""

    name: str
    points: tuple[RatePoint, ...]


@dataclass(frozen=True)
class RateTable:
    """Fields and codecs on one source.

    ``codec_bytes`` has a row for each point of ``fields``, in order, with the bytes of each codec at the quality of the
    point; None beyond the qualities of the codec. ``bjontegaard`` has a row for each curve of ``fields``, with its
    Bjøntegaard rate against each codec: the mean difference of bytes at equal quality in per cent, negative if the
    field needs fewer; None if there is none."""

    source: str
    modality: str
    measure: str
    unit: str
    fields: tuple[RateCurve, ...]
    codecs: tuple[RateCurve, ...]
    codec_bytes: tuple[tuple[float | None, ...], ...]
    bjontegaard: tuple[tuple[float | None, ...], ...]


def rate_tables(
    spec: ComparisonSpec, results: Iterable[Result], codec_results: Iterable[CodecResult]
) -> tuple[RateTable, ...]:
    """The table of each source of which there are files of codecs."""
    codec_results = [result for result in codec_results if result.points]
    tables = []
    for source, table in zip(spec.sources, summarize(spec, results).tables, strict=True):
        codecs = [_codec_curve(source, result) for result in codec_results if result.source == source.name]
        if codecs:
            tables.append(_table(table, _field_curves(spec, source, table), codecs))
    return tuple(tables)


def front(points: Iterable[RatePoint]) -> list[RatePoint]:
    """The points that no smaller or equal file surpasses, by their bytes; their qualities rise. Points whose quality is
    not finite are left out."""
    found: list[RatePoint] = []
    for point in sorted(points, key=lambda point: (point.bytes, -point.quality)):
        if math.isfinite(point.quality) and (not found or point.quality > found[-1].quality):
            found.append(point)
    return found


def bytes_at(points: Iterable[RatePoint], quality: float) -> float | None:
    """The bytes at ``quality``, between the points of the front: their logarithm is linear in the quality. None beyond
    them."""
    curve = front(points)
    for left, right in pairwise(curve):
        if left.quality <= quality <= right.quality:
            share = (quality - left.quality) / (right.quality - left.quality)
            return math.exp((1 - share) * math.log(left.bytes) + share * math.log(right.bytes))
    return curve[0].bytes if curve and curve[0].quality == quality else None


def bjontegaard_rate(points: Iterable[RatePoint], reference: Iterable[RatePoint]) -> float | None:
    """The Bjøntegaard rate of ``points`` against ``reference`` in per cent: the mean difference of the logarithm of the
    bytes over the qualities that both reach (Bjøntegaard, VCEG-M33, 2001), with piecewise cubic interpolation (PCHIP)
    between the points of the fronts. None if one of them has fewer than MIN_POINTS points, or if no quality is
    common."""
    from scipy.interpolate import PchipInterpolator

    curves = [front(points), front(reference)]
    low = max((curve[0].quality for curve in curves if curve), default=0.0)
    high = min((curve[-1].quality for curve in curves if curve), default=0.0)
    if min(map(len, curves)) < MIN_POINTS or low >= high:
        return None
    areas = [
        float(PchipInterpolator([p.quality for p in curve], [math.log(p.bytes) for p in curve]).integrate(low, high))
        for curve in curves
    ]
    return 100 * math.expm1((areas[0] - areas[1]) / (high - low))


def _table(table: SourceTable, fields: Sequence[RateCurve], codecs: Sequence[RateCurve]) -> RateTable:
    """The table of a source."""
    at_quality = tuple(
        tuple(bytes_at(codec.points, point.quality) for codec in codecs) for curve in fields for point in curve.points
    )
    rates = tuple(tuple(bjontegaard_rate(curve.points, codec.points) for codec in codecs) for curve in fields)
    return RateTable(
        table.source, table.modality, table.measure, table.unit, tuple(fields), tuple(codecs), at_quality, rates
    )


def _field_curves(spec: ComparisonSpec, source: Source, table: SourceTable) -> list[RateCurve]:
    """The curves of the methods of which a run finished."""
    points: dict[str, list[RatePoint]] = {}
    for method, row in zip(spec.methods, table.rows, strict=True):
        if point := _field_point(source, row):
            points.setdefault(f"{method.unsized_label} {method.sampler_label}", []).append(point)
    return [RateCurve(name, tuple(sorted(found, key=lambda point: point.bytes))) for name, found in points.items()]


def _field_point(source: Source, row: MethodRow) -> RatePoint | None:
    """The mean of the runs of a method; None if there is none with bytes and a quality."""
    size, quality = row.stored_bytes.mean, row.qualities[-1].mean
    if size is None or quality is None:
        return None
    return RatePoint(f"{row.arch} {row.sampler}", size, _per_sample(source, size), quality)


def _codec_curve(source: Source, result: CodecResult) -> RateCurve:
    """The front of a codec's files; exact ones are kept."""
    points = [RatePoint(p.label(result.codec), p.bytes, _per_sample(source, p.bytes), p.quality) for p in result.points]
    exact = [point for point in points if point.quality == math.inf]
    smallest = sorted(exact, key=lambda point: point.bytes)[:1]
    return RateCurve(result.codec, (*front(points), *smallest))


def _per_sample(source: Source, size: float) -> float | None:
    """Bits per sample of a file of ``size`` bytes."""
    return None if source.samples is None else 8 * size / source.samples

"""Bytes and qualities of fields and codecs as text tables."""

from __future__ import annotations

from collections.abc import Sequence

from ..comparison.rates import MIN_POINTS, RateCurve, RatePoint, RateTable
from ..errors import printable
from .comparison_table import aligned, format_level, printable_text

LEGEND = f"""\
Bytes are those of whole files. A codec's bytes at the quality of a field lie between its files (their logarithm is
linear in the quality); in brackets: how many more or fewer bytes the field has. Bjøntegaard rate: the mean of that over
all qualities that both reach, for curves of at least {MIN_POINTS} files.
"""


def format_rates(tables: Sequence[RateTable]) -> str:
    """The tables of all sources as one text; nothing if there are none."""
    text = "\n".join(_points(table) + ("\n" + _at_quality(table) if table.fields else "") for table in tables)
    return printable_text(f"{text}\n{LEGEND}") if tables else ""


def _points(table: RateTable) -> str:
    """All files: bytes, bits per sample and quality."""
    curves = [*table.fields, *table.codecs]
    on_grid = any(point.bits_per_sample is not None for curve in curves for point in curve.points)
    rows = [["file", "bytes", *(["bits/sample"] if on_grid else []), _measure(table)]]
    rows += [_point_row(point, table, on_grid) for curve in curves for point in curve.points]
    return f"{printable(table.source)}: bytes and quality\n{aligned(rows)}"


def _point_row(point: RatePoint, table: RateTable, on_grid: bool) -> list[str]:
    """The row of a file."""
    bits = "" if point.bits_per_sample is None else f"{point.bits_per_sample:.3f}"
    quality = "exact" if point.quality == float("inf") else format_level(point.quality, table.unit)
    return [printable(point.label), f"{point.bytes:,.0f}", *([bits] if on_grid else []), quality]


def _at_quality(table: RateTable) -> str:
    """The bytes of the codecs at the qualities of the fields, and the Bjøntegaard rates."""
    rows = [["field", "bytes", _measure(table), *(codec.name for codec in table.codecs)]]
    points = [point for curve in table.fields for point in curve.points]
    for point, sizes in zip(points, table.codec_bytes, strict=True):
        quality = format_level(point.quality, table.unit)
        cells = [_beside(point, size, codec) for size, codec in zip(sizes, table.codecs, strict=True)]
        rows.append([printable(point.label), f"{point.bytes:,.0f}", quality, *cells])
    for curve, rates in zip(table.fields, table.bjontegaard, strict=True):
        if any(rate is not None for rate in rates):
            cells = ["-" if rate is None else _percent(rate) for rate in rates]
            rows.append([f"Bjøntegaard rate of {printable(curve.name)}", "", "", *cells])
    return f"{printable(table.source)}: bytes of each codec at this quality\n{aligned(rows)}"


def _beside(point: RatePoint, size: float | None, codec: RateCurve) -> str:
    """The bytes of a codec at the quality of a field, and how many more or fewer the field has."""
    if size is not None:
        return f"{size:,.0f} ({_percent(100 * (point.bytes / size - 1))})"
    finite = [p.quality for p in codec.points if p.quality < float("inf")]
    return "worse than all" if finite and point.quality < min(finite) else "better than all"


def _percent(value: float) -> str:
    return f"{value:+.0f} %"


def _measure(table: RateTable) -> str:
    """The name of the measure."""
    from ..modalities import MODALITIES

    return MODALITIES[table.modality].measures[table.measure].label

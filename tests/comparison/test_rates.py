"""Bytes and qualities of fields and codecs: fronts, interpolation, Bjøntegaard rates."""

from __future__ import annotations

import math

import pytest

from inrfit.cli.rate_table import format_rates
from inrfit.comparison.codec_runs import CodecPoint, CodecResult
from inrfit.comparison.rates import RatePoint, bjontegaard_rate, bytes_at, front, rate_tables
from inrfit.comparison.spec import ComparisonSpec, Result, RunKey, Source, parse_methods


def points(*pairs):
    return [RatePoint("", size, None, quality) for size, quality in pairs]


ANCHOR = points((9487.76, 40.037), (4593.60, 38.615), (2486.44, 36.845), (1358.24, 34.851))
TEST = points((9787.80, 40.121), (4469.00, 38.651), (2451.52, 36.970), (1356.24, 34.987))


def test_bjontegaard_rates_are_those_of_the_package_bjontegaard():
    # Version 1.3.0, method="pchip", which says to agree with the Excel sheet of JVET-T2010; the curves are its example.
    assert bjontegaard_rate(TEST, ANCHOR) == pytest.approx(-4.417485350589, abs=1e-6)
    assert bjontegaard_rate(ANCHOR, TEST) == pytest.approx(100 * (1 / (1 - 0.04417485350589) - 1), abs=1e-6)


def test_a_curve_of_twice_the_bytes_has_a_rate_of_100_per_cent():
    assert bjontegaard_rate([RatePoint("", 2 * p.bytes, None, p.quality) for p in ANCHOR], ANCHOR) == pytest.approx(100)
    assert bjontegaard_rate(ANCHOR, ANCHOR) == pytest.approx(0)


def test_the_rate_is_of_the_common_qualities_only():
    wide = [*ANCHOR, *points((100.0, 20.0), (90_000.0, 50.0))]
    assert bjontegaard_rate(wide, ANCHOR) == pytest.approx(0, abs=1)  # PCHIP has other slopes at inner points


def test_there_is_no_rate_of_few_points_or_without_common_qualities():
    assert bjontegaard_rate(ANCHOR[:3], ANCHOR) is None
    assert bjontegaard_rate(ANCHOR, []) is None
    assert bjontegaard_rate([RatePoint("", p.bytes, None, p.quality + 10) for p in ANCHOR], ANCHOR) is None


def test_files_that_a_smaller_one_surpasses_count_for_nothing():
    kept = points((10, 20.0), (20, 25.0), (40, 30.0))
    assert front([*points((15, 19.0), (20, 24.0), (30, 25.0), (50, math.inf), (60, math.nan)), *kept]) == kept


def test_bytes_between_files_are_linear_in_their_logarithm():
    curve = points((100, 20.0), (400, 30.0))
    assert bytes_at(curve, 25.0) == pytest.approx(200)
    assert bytes_at(curve, 20.0) == pytest.approx(100)
    assert bytes_at(curve, 30.0) == pytest.approx(400)
    assert bytes_at(curve, 19.9) is None
    assert bytes_at(curve, 30.1) is None
    assert bytes_at(points((100, 20.0)), 20.0) == 100
    assert bytes_at([], 20.0) is None


def comparison(sizes, qualities, codec_points, samples=1000):
    """A spec of one architecture in several sizes, its results, and those of a codec."""
    archs = ",".join(f"grid:bytes={size}" for size in sizes)
    spec = ComparisonSpec((Source("a.png", "a.png", "", 9, "image", samples),), parse_methods("uniform", archs), 1)
    results = [
        Result(
            RunKey("a.png", f"grid:bytes={size}", "uniform", 0),
            quality={"psnr": quality},
            spent={"fit_seconds": 1.0, "sampler_seconds": 0.0, "steps": 1, "points": 1},
            size={"bytes": size, "parameters": 1},
        )
        for size, quality in zip(sizes, qualities, strict=True)
    ]
    files = tuple(CodecPoint({"quality": n}, size, quality) for n, (size, quality) in enumerate(codec_points))
    return spec, results, [CodecResult("a.png", "jpeg", "Pillow", files)]


def test_sizes_of_an_architecture_are_one_curve_beside_the_codec():
    codec = [(1000, 20.0), (2000, 24.0), (4000, 28.0), (8000, 32.0), (9000, 30.0)]
    (table,) = rate_tables(*comparison([2000, 4000, 8000, 16_000], [20.0, 24.0, 28.0, 32.0], codec))
    assert [curve.name for curve in table.fields] == ["grid uniform"]
    assert table.fields[0].points[0].label == "grid:bytes=2000 uniform"
    assert table.fields[0].points[0].bits_per_sample == 16.0
    assert [p.label for p in table.codecs[0].points] == [f"jpeg:quality={n}" for n in range(4)]
    assert table.codec_bytes == tuple((pytest.approx(size),) for size in (1000, 2000, 4000, 8000))
    assert table.bjontegaard == ((pytest.approx(100),),)
    assert (table.source, table.measure, table.unit) == ("a.png", "psnr", "dB")


def test_the_table_tells_bytes_at_each_quality_and_where_there_are_none():
    tables = rate_tables(*comparison([2000, 3000, 4000], [10.0, 22.0, 90.0], [(1000, 20.0), (4000, 24.0)]))
    text = format_rates(tables)
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "grid:bytes=2000 uniform 2,000 16.000 10.00 dB" in rows
    assert "jpeg:quality=1 4,000 32.000 24.00 dB" in rows
    assert "grid:bytes=2000 uniform 2,000 10.00 dB worse than all" in rows
    assert "grid:bytes=3000 uniform 3,000 22.00 dB 2,000 (+50 %)" in rows
    assert "grid:bytes=4000 uniform 4,000 90.00 dB better than all" in rows
    assert "Bjøntegaard rate of" not in text


def test_bits_per_sample_are_left_out_where_there_is_no_grid():
    text = format_rates(rate_tables(*comparison([2000], [22.0], [(1000, 20.0), (4000, 24.0)], None)))
    assert "bits/sample" not in text


def test_an_exact_file_is_shown_and_interpolates_nothing():
    (table,) = rate_tables(*comparison([2000], [50.0], [(1000, 20.0), (4000, 24.0), (9000, math.inf)]))
    assert table.codec_bytes == ((None,),)
    assert "exact" in format_rates((table,))


def test_without_files_of_codecs_there_is_no_table():
    spec, results, _ = comparison([2000], [22.0], [])
    assert rate_tables(spec, results, []) == ()
    assert rate_tables(spec, results, [CodecResult("a.png", "jpeg", "Pillow", error={"code": 2})]) == ()
    assert format_rates(()) == ""

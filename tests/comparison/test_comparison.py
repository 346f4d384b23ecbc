"""Comparisons: the same start for every method, saved and resumed runs, and statistics that can be checked by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from conftest import picture
from made_comparisons import QuietCallbacks
from PIL import Image

from inrfit.cli.comparison_table import format_tables
from inrfit.comparison import quality_trace, runs, single_run
from inrfit.comparison.spec import Method, Point, Result, RunKey, Source, parse_methods
from inrfit.comparison.statistics import interpolate, mean_std, paired_difference, parse_levels, seconds_to, summarize
from inrfit.config.settings import Settings
from inrfit.errors import Diverged, InrfitWarning, RefusedInput, UnwritableOutput, UsageError

SMALL = Settings(width=16, depth=2, budget="24it", device="cpu")


class RecordingCallbacks(QuietCallbacks):
    """Callbacks that record which runs started."""

    def __init__(self):
        self.started = []

    def on_run_start(self, number, total, run_key):
        self.started.append(run_key)


@pytest.fixture
def two(tmp_path):
    """Two small pictures."""
    paths = []
    for k in range(2):
        paths.append(str(tmp_path / f"photo{k}.png"))
        Image.fromarray(picture(20, 24, seed=k)).save(paths[-1])
    return paths


def run_all(spec, stop=lambda: False, folder=None):
    """Executes a comparison; returns it and the keys of the runs that started."""
    comparison, callbacks = runs.open_comparison(folder, spec), RecordingCallbacks()
    keep = (lambda: runs.save(comparison, folder)) if folder else (lambda: None)
    runs.run_comparison(comparison, stop, callbacks, keep)
    return comparison, callbacks.started


def test_runs_are_interleaved_and_start_from_the_same_weights(two, monkeypatch):
    from inrfit.fit import fitting

    started, original = [], fitting.start_fit

    def recording(signal, spec, sampler, config, tracker, device, seed, *rest):
        run, state = original(signal, spec, sampler, config, tracker, device, seed, *rest)
        started.append((seed, type(sampler).__name__, run.engine.snapshot()["hidden.weight"].flatten().tolist()))
        return run, state

    monkeypatch.setattr(runs, "warm_up", lambda spec: None)
    monkeypatch.setattr(fitting, "start_fit", recording)
    _, order = run_all(runs.prepare(two, "uniform,nint", seeds=2, settings=SMALL))
    assert [(run_key.seed, run_key.source, run_key.sampler) for run_key in order] == [
        (seed, source, sampler)
        for seed in (0, 1)
        for source in ("photo0.png", "photo1.png")
        for sampler in ("uniform", "nint")
    ]
    assert [(seed, name.lower()) for seed, name, _ in started] == [(run_key.seed, run_key.sampler) for run_key in order]
    for seed in (0, 1):
        weights = [w for s, _, w in started if s == seed]
        assert weights[0] == weights[1]
    assert started[0][2] != started[-1][2]


def test_equal_points_give_equal_results_again(two):
    spec = runs.prepare(two[:1], "uniform,expansive:ratio=0.2", seeds=1, settings=SMALL)
    once, again = (run_all(spec)[0].ordered() for _ in range(2))
    for first, second in zip(once, again, strict=True):
        assert first.quality == second.quality
        assert [(p.step, p.points, p.quality) for p in first.trace] == [
            (p.step, p.points, p.quality) for p in second.trace
        ]
    assert {result.spent["points"] for result in once} == {once[0].trace[-1].points}


def test_a_trace_rises_in_time_and_ends_with_what_is_written(two):
    comparison, _ = run_all(runs.prepare(two[:1], "uniform", seeds=1, settings=SMALL))
    (result,) = comparison.ordered()
    trace = result.trace
    assert [p.step for p in trace] == sorted({p.step for p in trace})
    assert [p.seconds for p in trace] == sorted(p.seconds for p in trace)
    assert trace[-1].step == result.spent["steps"] == 24
    assert trace[-1].quality == pytest.approx(result.quality["psnr"])  # 480 pixels: all of them are judged
    assert min(p.share for p in trace if p.share >= 0.25) == 0.25
    assert min(p.share for p in trace if p.share >= 0.5) == 0.5


def test_a_shape_has_the_same_points_for_all_runs_of_a_seed(tmp_path):
    import trimesh

    trimesh.creation.icosphere(1).export(tmp_path / "ball.ply")
    settings = replace(SMALL, options={"points": "3000"})
    spec = runs.prepare([str(tmp_path / "ball.ply")], "uniform,full", seeds=2, settings=settings)
    (source,), (first, second) = spec.sources, spec.methods
    made = [
        single_run.prepare_run(spec, source, method, seed, lambda: False, None)
        for method, seed in ((first, 0), (second, 0), (first, 1))
    ]
    points = [of.signal.points.tolist() for of in made]
    assert points[0] == points[1] != points[2]
    assert all(of.signal.point_source is None for of in made)


def test_the_old_name_of_an_option_stands_for_the_same_comparison(tmp_path):
    import trimesh

    trimesh.creation.icosphere(1).export(tmp_path / "ball.ply")
    new, old = (replace(SMALL, options={name: "3000"}) for name in ("points", "pool"))
    spec = runs.prepare([str(tmp_path / "ball.ply")], "uniform", settings=new)
    with pytest.warns(InrfitWarning, match="'pool' is now called 'points'"):
        assert runs.prepare([str(tmp_path / "ball.ply")], "uniform", settings=old) == spec


def test_finished_runs_are_kept_failed_ones_made_again(two, tmp_path, monkeypatch):
    folder = str(tmp_path / "out")
    spec = runs.prepare(two[:1], "uniform,nint", seeds=2, settings=SMALL)
    original = single_run.execution.execute_plan

    def failing(planned, *rest, **more):
        if (planned.settings.sampler, planned.settings.seed) == ("nint", 0):
            raise Diverged("worse than a constant", "diverged")
        return original(planned, *rest, **more)

    monkeypatch.setattr(single_run.execution, "execute_plan", failing)
    first, started = run_all(spec, folder=folder)
    assert len(started) == 4
    assert first.unfinished == 1
    assert first.ordered()[1].error == {"code": 6, "reason": "diverged", "message": "worse than a constant"}
    monkeypatch.undo()
    second, started = run_all(spec, folder=folder)
    assert started == [RunKey("photo0.png", "siren", "nint", 0)]
    assert second.unfinished == 0
    assert second.ordered()[0] == first.ordered()[0]
    assert run_all(spec, folder=folder)[1] == []


def test_a_stopped_run_is_dropped_and_the_finished_ones_stay(two, tmp_path):
    folder = str(tmp_path / "out")
    spec = runs.prepare(two[:1], "uniform", seeds=3, settings=SMALL)
    comparison, callbacks = runs.open_comparison(folder, spec), RecordingCallbacks()
    runs.run_comparison(
        comparison, lambda: len(callbacks.started) == 2, callbacks, lambda: runs.save(comparison, folder)
    )
    assert [result.run_key.seed for result in comparison.ordered()] == [0]
    assert [run_key.seed for run_key in run_all(spec, folder=folder)[1]] == [1, 2]


def test_another_plan_in_the_folder_is_refused(two, tmp_path):
    folder = str(tmp_path / "out")
    run_all(runs.prepare(two[:1], "uniform", seeds=1, settings=SMALL), folder=folder)
    other = runs.prepare(two[:1], "uniform", seeds=1, settings=replace(SMALL, width=17))
    with pytest.raises(UsageError, match="differs in settings"):
        runs.open_comparison(folder, other)
    assert runs.open_comparison(folder, other, force=True).results == {}
    kept = tmp_path / "out" / runs.RESULTS_FILE
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"schema": 2}))
    with pytest.raises(UsageError, match="in format 2, and this inrfit continues only format 1"):
        runs.open_comparison(folder, other)
    kept.write_text("{}")
    with pytest.raises(RefusedInput, match="not a comparison"):
        runs.open_comparison(folder, other)
    with pytest.raises(UnwritableOutput):
        runs.open_comparison(str(tmp_path / "no" / "such"), other)


RECORD_CHANGES = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a list": lambda text: "[]",
    "NaN": lambda text: text.replace('"step": ', '"step": NaN, "x": ', 1),
    "a key twice": lambda text: text.replace('"schema": 1', '"schema": 1, "schema": 1', 1),
    "not UTF-8": lambda text: text + "\udcff",
}


@pytest.mark.parametrize("change", RECORD_CHANGES)
def test_a_damaged_record_is_refused(two, tmp_path, change):
    folder = str(tmp_path / "out")
    spec = runs.prepare(two[:1], "uniform", seeds=1, settings=SMALL)
    run_all(spec, folder=folder)
    kept = tmp_path / "out" / runs.RESULTS_FILE
    kept.write_bytes(RECORD_CHANGES[change](kept.read_text()).encode("utf-8", "surrogateescape"))
    with pytest.raises(RefusedInput, match=r"comparison\.json: damaged, or not a comparison: .*--force"):
        runs.open_comparison(folder, spec)


def changes(value, path=()):
    """Each value of a JSON value replaced by others, or taken out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        for new in (None, True, "x", -1, 1e300, 10**39, [], {}, {"a": "b"}, [1]):
            yield {**value, key: new} if isinstance(value, dict) else [*value[:key], new, *value[key + 1 :]]
        if isinstance(value, dict):
            yield {name: other for name, other in value.items() if name != key}
        for changed in changes(item, (*path, key)):
            yield {**value, key: changed} if isinstance(value, dict) else [*value[:key], changed, *value[key + 1 :]]


def test_whatever_record_is_accepted_can_be_shown_and_saved(two, tmp_path):
    folder = str(tmp_path / "out")
    spec = runs.prepare(two[:1], "uniform,full", seeds=1, settings=SMALL)
    comparison, _ = run_all(spec, folder=folder)
    failed = Result(comparison.ordered()[1].run_key, error={"code": 6, "reason": "diverged", "message": "no"})
    comparison.results[failed.run_key] = failed
    runs.save(comparison, folder)
    kept = tmp_path / "out" / runs.RESULTS_FILE
    whole = json.loads(kept.read_text())
    whole = {**whole, "standings": {}, "plan": {}, "machine": {}}
    whole["results"][0]["trace"] = whole["results"][0]["trace"][:2]
    accepted = 0
    for record in changes(whole):
        kept.write_text(json.dumps(record))
        try:
            opened = runs.open_comparison(folder, spec)
        except (RefusedInput, UsageError):
            continue
        accepted += 1
        assert opened.unfinished >= 0
        text = format_tables(spec, opened.summary())
        assert "full" in text
        runs.save(opened, folder)
    assert accepted > 20


def test_a_comparison_with_the_old_values_of_settings_goes_on(two, tmp_path):
    folder = str(tmp_path / "out")
    spec = runs.prepare(two[:1], "uniform", seeds=1, settings=SMALL)
    comparison, _ = run_all(spec, folder=folder)
    kept = tmp_path / "out" / runs.RESULTS_FILE
    old = json.loads(kept.read_text())
    old["plan"]["settings"]["regime"] = "engine"
    old["recipes"]["photo0.png"]["siren"] = {"precision": "medium", "engine": "explicit"}
    kept.write_text(json.dumps(old))
    assert old["key"] == comparison.key
    assert runs.open_comparison(folder, spec).recipes == {
        "photo0.png": {"siren": {"precision": "fp32-fast", "engine": "analytic"}}
    }
    with pytest.raises(UsageError, match="differs in seeds "):
        runs.open_comparison(folder, replace(spec, seeds=2))


def test_another_computer_does_not_go_on(two, tmp_path, monkeypatch):
    from inrfit.artifact import provenance

    folder = str(tmp_path / "out")
    spec = runs.prepare(two[:1], "uniform", seeds=1, settings=SMALL)
    run_all(spec, folder=folder)
    assert len(runs.open_comparison(folder, spec).results) == 1
    monkeypatch.setattr(provenance, "processor", lambda: "another model")
    with pytest.raises(UsageError, match="differs in machine"):
        runs.open_comparison(folder, spec)


def test_a_picture_that_cannot_be_written_is_refused_beforehand(two, tmp_path):
    (tmp_path / "out" / runs.PLOT_FILE).mkdir(parents=True)
    with pytest.raises(UnwritableOutput, match=r"comparison\.png: is a directory"):
        runs.open_comparison(str(tmp_path / "out"), runs.prepare(two[:1], "uniform", seeds=1, settings=SMALL))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
@pytest.mark.parametrize("place", ["prepare_run", "execute_run"])
def test_a_run_that_is_out_of_memory_fails_and_the_others_go_on(two, monkeypatch, place, error):
    original, calls = getattr(runs, place), []

    def failing(*given):
        calls.append(given)
        if len(calls) == 1:
            raise error
        return original(*given)

    monkeypatch.setattr(runs, place, failing)
    comparison, started = run_all(runs.prepare(two[:1], "uniform,nint", seeds=1, settings=SMALL))
    assert len(started) == 2
    first, second = comparison.ordered()
    assert (first.error["code"], first.error["reason"], second.ok) == (5, "memory", True)


def test_the_warm_up_runs_in_the_precision_and_on_the_device_of_the_runs(two, monkeypatch):
    import contextlib

    import torch

    from inrfit.fit import fitting

    devices, seen = [], []

    @contextlib.contextmanager
    def current_device(device):
        devices.append(device)
        yield
        devices.pop()

    monkeypatch.setattr(single_run, "current_device", current_device)
    monkeypatch.setattr(fitting, "fit", lambda *given: seen.append((*devices, torch.get_float32_matmul_precision())))
    single_run.warm_up(runs.prepare(two[:1], "uniform", settings=replace(SMALL, precision="fp32-fast")))
    assert seen == [(torch.device("cpu"), "medium")]


def test_a_source_that_changes_meanwhile_fails_its_runs(two):
    spec = runs.prepare(two[:1], "uniform", seeds=1, settings=SMALL)
    Image.fromarray(picture(20, 24, seed=9)).save(two[0])
    comparison, _ = run_all(spec)
    assert comparison.ordered()[0].error["reason"] == "changed"


@pytest.mark.parametrize(
    ("samplers", "archs", "seeds", "more", "words"),
    [
        ("best", "siren", 1, {}, "--samplers best"),
        ("uniform,uniform", "siren", 1, {}, "twice"),
        ("uniform,", "siren", 1, {}, "commas"),
        ("uniform:xi=0.5", "siren", 1, {}, "unknown option"),
        ("nint:xi=2", "siren", 1, {}, "-O xi=2: must be from 0 to 1"),
        ("uniform", "siren:width=0", 1, {}, "--archs width=0: must be from 1 to"),
        ("uniform", "perceptron", 1, {}, "--archs perceptron"),
        ("uniform", "siren", 0, {}, "--seeds 0"),
        ("uniform", "siren", 1, {"options": {"xi": "0.5"}}, "unknown option"),
        ("full", "siren", 1, {"ratio": 0.5}, "unknown option"),
        ("uniform", "siren", 1, {"budget": "soon"}, "--budget"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(two, samplers, archs, seeds, more, words):
    with pytest.raises(UsageError, match=words):
        runs.prepare(two, samplers, archs, seeds, replace(SMALL, **more))


def test_a_bad_source_is_refused_by_name_before_anything_runs(two, tmp_path):
    with pytest.raises(RefusedInput, match=r"nothing\.png: no such file"):
        runs.prepare([two[0], str(tmp_path / "nothing.png")], "uniform", settings=SMALL)
    with pytest.raises(UsageError, match="twice"):
        runs.prepare([two[0], two[0]], "uniform", settings=SMALL)


def test_settings_reach_those_that_know_them():
    given = Settings(options={"xi": "0.6", "first_omega": "25"}, regime="paper")
    spec = runs.ComparisonSpec((), parse_methods("full,int:schedule=linear,nint,nint:xi=0.5", "siren"), 1, given)
    found = [spec.settings_for(method, "image", 7) for method in spec.methods]
    omega = {"first_omega": "25"}
    assert [made.options for made in found] == [
        omega,
        {"scoring": 1.0, "schedule": "linear", **omega},
        {"scoring": 1.0, "schedule": "released", "ratio": 0.2, "xi": "0.6", **omega},
        {"scoring": 1.0, "schedule": "released", "ratio": 0.2, "xi": "0.5", **omega},
    ]
    assert [made.seed for made in found] == [7] * 4


def test_the_papers_regime_has_their_budget_and_one_step_a_selection(two):
    spec = runs.prepare(two[:1], "int", settings=replace(SMALL, budget=(), regime="paper"))
    assert spec.json()["budget"]["steps"] == 5000
    comparison, _ = run_all(runs.prepare(two[:1], "int", seeds=1, settings=replace(SMALL, regime="paper", lr=0.003)))
    (result,) = comparison.ordered()
    assert result.spent["points"] == 24 * int(0.2 * 480)
    assert result.spent["scoring_points"] >= 23 * 480


def test_a_time_to_a_quality_lies_between_the_points_around_it():
    trace = [Point(s, s / 4, int(s), int(s), q) for s, q in ((1.0, 10.0), (2.0, 20.0), (3.0, 18.0), (4.0, math.inf))]
    assert seconds_to(trace, 5) == 1.0
    assert seconds_to(trace, 12.5) == 1.25
    assert seconds_to(trace, 20) == 2.0
    assert seconds_to(trace, 30) == 4.0
    assert seconds_to(trace[:3], 30) is None


def test_interpolation_by_hand():
    assert [interpolate([1, 2, 4], [10, 20, 40], x) for x in (0, 1, 1.5, 3, 9)] == [10, 10, 15, 30, 40]
    assert interpolate([1, 2], [10, math.inf], 1.9) == 10


def test_the_confidence_interval_is_students():
    from scipy import stats

    values = [0.3, 0.1, 0.4, -0.2]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = paired_difference(values)
    assert (found.mean - found.ci95, found.mean + found.ci95) == pytest.approx((low, high))
    assert paired_difference([0.3]).ci95 is None
    assert paired_difference([]).mean is None


def test_spreads_leave_out_the_undefined_and_say_infinite():
    assert mean_std([1.0, 3.0, math.nan]).mean == 2.0
    assert mean_std([1.0, 3.0]).sd == pytest.approx(math.sqrt(2))
    assert mean_std([1.0, math.inf]).mean == math.inf
    assert mean_std([1.0, -math.inf]).mean == paired_difference([1.0, -math.inf]).mean == -math.inf
    assert mean_std([math.inf, 1.0, -math.inf]).mean is None
    assert paired_difference([math.inf, -math.inf]).mean is None
    assert mean_std([]).mean is None


def fake_result(source, sampler, seed, psnr):
    """A result of two points that ends at ``psnr``."""
    trace = (Point(1.0, 0.2, 2, 20, psnr - 10), Point(5.0, 1.0, 10, 100, psnr))
    spent = {"fit_seconds": 5.0, "sampler_seconds": 0.5, "steps": 10, "points": 100}
    return Result(RunKey(source, "siren", sampler, seed), trace, {"psnr": psnr}, spent, {}, "steps")


def test_differences_are_paired_and_the_worst_source_is_named(two):
    spec = runs.prepare(two, "uniform,nint", seeds=2, settings=SMALL)
    ends = {
        "photo0.png": {"uniform": (30, 40), "nint": (31, 43)},
        "photo1.png": {"uniform": (20, 20), "nint": (19, 20)},
    }
    results = [fake_result(s, n, seed, v[seed]) for s, of in ends.items() for n, v in of.items() for seed in (0, 1)]
    found = summarize(spec, results, ("25dB", "0.9"))
    first, second = found.tables
    assert first.levels == (25.0,)
    assert first.rows[0].difference.mean == 0
    assert first.rows[1].difference.mean == 2
    assert first.rows[1].difference.ci95 == pytest.approx(12.706, abs=1e-3)
    assert first.rows[1].qualities[1].mean == pytest.approx(37 - 10 * 0.5 / 0.8)
    assert first.rows[1].seconds_to[0].mean == pytest.approx((2.6 + 1.0) / 2)
    assert second.rows[1].seconds_to[0].n == 0
    assert first.rows[1].sampler_share.mean == pytest.approx(0.1)
    assert first.rows[1].points_per_second.mean == pytest.approx(20)
    (over,) = found.overall
    assert (over.difference.mean, over.worst_source, over.worst) == (0.75, "photo1.png", -0.5)
    assert summarize(spec, results).tables[0].levels == (35.0,)


def test_a_source_that_only_the_first_fits_exactly_is_the_worst(two):
    spec = runs.prepare(two, "uniform,nint", seeds=1, settings=SMALL)
    results = [
        fake_result(source, name, 0, 30.0) for source in ("photo0.png", "photo1.png") for name in ("uniform", "nint")
    ]
    results[2] = replace(results[2], quality={"psnr": None, "infinite": "psnr"})
    (over,) = summarize(spec, results).overall
    assert (over.difference.mean, over.worst_source, over.worst) == (-math.inf, "photo1.png", -math.inf)


def test_the_moments_thin_out_but_keep_a_quarter_and_a_half():
    assert quality_trace.snapshot_shares(25) == quality_trace.snapshot_shares(1000) == quality_trace.SNAPSHOT_SHARES
    for most in range(25):
        found = quality_trace.snapshot_shares(most)
        assert len(found) == max(2, most)
        assert {0.25, 0.5} <= set(found) <= set(quality_trace.SNAPSHOT_SHARES)
        assert list(found) == sorted(set(found))


def test_copies_of_a_large_field_stay_within_the_memory_for_them(monkeypatch):
    import torch

    from inrfit.fit.events import StepEvent

    def shares_copied(most):
        monkeypatch.setattr(quality_trace, "MAX_SNAPSHOT_BYTES", most * 400)
        tracer = quality_trace.QualityTracer(0.0)
        for step in range(1, 201):
            taught, weights = torch.zeros(3, dtype=torch.int64), {"w": torch.zeros(100)}
            tracer(StepEvent(step, 0.0, step / 200, taught, lambda kept=weights: kept, None))
        assert tracer.points == 600
        return [point.share for point, _ in tracer.snapshots]

    assert shares_copied(0) == shares_copied(1) == [0.25, 0.5]
    assert len(shares_copied(10)) == 10
    assert {0.25, 0.5} <= set(shares_copied(10))
    assert len(shares_copied(1000)) == len(quality_trace.SNAPSHOT_SHARES)


def test_levels_are_decibels_or_a_share():
    assert parse_levels("30dB, 0.98") == ("30dB", "0.98")
    with pytest.raises(UsageError, match="--to"):
        parse_levels("30dB,good")


def test_a_result_survives_json():
    result = fake_result("a", "nint:xi=0.5", 1, 30.0)
    exact = replace(result, trace=(*result.trace, Point(6.0, 1.0, 11, 110, math.inf)))
    for one in (exact, Result(result.run_key, error={"code": 6, "reason": "diverged", "message": "no"})):
        assert Result.from_json(json.loads(json.dumps(one.json(), allow_nan=False))) == one


def test_methods_are_every_architecture_with_every_sampler():
    assert parse_methods("uniform, nint:xi=0.5:alpha=0.2", "siren") == (
        Method("siren", "uniform"),
        Method("siren", "nint", (("xi", "0.5"), ("alpha", "0.2"))),
    )
    assert parse_methods("nint:xi=0.5", "siren")[0].sampler_label == "nint:xi=0.5"


def test_an_architecture_has_settings_of_its_own_and_sizes_among_them():
    plain, small = parse_methods("uniform", "siren,siren:width=8:depth=2:omega=20")
    assert (plain.architecture_label, small.architecture_label) == ("siren", "siren:width=8:depth=2:omega=20")
    spec = runs.ComparisonSpec((), (plain, small), 1, Settings(depth=4, options={"omega": "25", "first_omega": "40"}))
    source = Source("a.png", "a.png", "0" * 64, 1, "image")
    first, second = (spec.settings_for(method, "image") for method in spec.methods)
    assert (first.width, first.depth, first.options) == (None, 4, {"omega": "25", "first_omega": "40"})
    assert (second.width, second.depth, second.options) == (8, 2, {"omega": "20", "first_omega": "40"})
    assert [run_key.arch for run_key, _, _ in replace(spec, sources=(source,)).runs()] == [
        plain.architecture_label,
        small.architecture_label,
    ]


def test_the_picture_is_a_png(two):
    pytest.importorskip("matplotlib")
    from inrfit.comparison import plot

    spec = runs.prepare(two, "uniform,nint", seeds=2, settings=SMALL)
    results = [fake_result("photo0.png", name, seed, 30.0 + seed) for name in ("uniform", "nint") for seed in (0, 1)]
    assert plot.png(spec, results).startswith(b"\x89PNG")

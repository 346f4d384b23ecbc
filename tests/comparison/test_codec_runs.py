"""Codecs in a comparison: which are accepted, what is kept and what is made again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from conftest import picture
from made_comparisons import QuietCallbacks
from PIL import Image

from inrfit import compare
from inrfit.comparison import runs
from inrfit.comparison.codec_runs import CodecPoint, CodecResult, parse_codecs
from inrfit.comparison.sizes import several_sizes, with_sizes
from inrfit.comparison.spec import parse_methods
from inrfit.config.settings import Settings
from inrfit.errors import RefusedInput, UsageError
from inrfit.modalities import MODALITIES

TINY = Settings(width=8, depth=1, budget="4it", device="cpu")


class Callbacks(QuietCallbacks):
    """Records what started and ended."""

    def __init__(self):
        self.events = []

    def on_codec_start(self, number, total, source, codec):
        self.events.append((number, total, codec))

    def on_codec_end(self, number, total, result):
        self.events.append((number, result.codec, result.ok))

    def on_run_start(self, number, total, run_key):
        self.events.append((number, total, run_key.sampler))


@pytest.fixture
def small(tmp_path):
    """A picture of 20 by 24 pixels."""
    path = tmp_path / "photo.png"
    Image.fromarray(picture(20, 24)).save(path)
    return path


@pytest.fixture
def short(monkeypatch):
    """JPEG and WebP have two settings only; returns the settings of the files that are made, as they are made."""
    made = []
    for name in ("jpeg", "webp"):
        codec = MODALITIES["image"].codecs[name]

        def trial(signal, settings, on_progress, codec=codec, name=name):
            made.append((name, settings["quality"]))
            return codec.trial(signal, settings, on_progress)

        short_codec = replace(codec, ladder=lambda meta: [{"quality": 20}, {"quality": 80}], trial=trial)
        monkeypatch.setitem(MODALITIES["image"].codecs, name, short_codec)
    return made


def run(spec, folder=None, stop=lambda: False):
    """Executes a comparison; returns it and its events."""
    comparison, callbacks = runs.open_comparison(folder, spec), Callbacks()
    keep = (lambda: runs.save(comparison, folder)) if folder else (lambda: None)
    runs.run_comparison(comparison, stop, callbacks, keep)
    return comparison, callbacks.events


def test_codecs_are_the_first_runs_and_are_counted(small, short):
    comparison, events = run(runs.prepare([small], "uniform", seeds=2, settings=TINY, codecs="jpeg, webp"))
    assert events == [
        (1, 4, "jpeg"), (1, "jpeg", True), (2, 4, "webp"), (2, "webp", True), (3, 4, "uniform"), (4, 4, "uniform")
    ]  # fmt: skip
    assert (comparison.runs, comparison.unfinished) == (4, 0)
    assert short == [("jpeg", 20), ("jpeg", 80), ("webp", 20), ("webp", 80)]
    (table,) = comparison.rates()
    assert [curve.name for curve in table.codecs] == ["jpeg", "webp"]
    assert table.codecs[0].points[0].bits_per_sample == 8 * table.codecs[0].points[0].bytes / 480


def test_codecs_are_kept_and_do_not_make_another_comparison(small, short, tmp_path):
    folder = str(tmp_path / "out")
    plain = runs.prepare([small], "uniform", seeds=1, settings=TINY)
    run(plain, folder)
    _, events = run(replace(plain, codecs=("jpeg",)), folder)
    assert [event[1:] for event in events] == [(2, "jpeg"), ("jpeg", True)]  # the fit is not repeated
    comparison, events = run(replace(plain, codecs=("jpeg", "webp")), folder)
    assert [event[-1] for event in events] == ["webp", True]
    assert comparison.unfinished == 0
    kept = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {"codecs", "rates"} < set(kept)
    assert [CodecResult.from_json(record) for record in kept["codecs"]] == list(comparison.codec_results.values())


def test_files_of_another_version_of_the_library_are_made_again(small, short, tmp_path, monkeypatch):
    folder, spec = str(tmp_path / "out"), runs.prepare([small], "uniform", seeds=1, settings=TINY, codecs="jpeg")
    run(spec, folder)
    codec = MODALITIES["image"].codecs["jpeg"]
    monkeypatch.setitem(MODALITIES["image"].codecs, "jpeg", replace(codec, writer=lambda: "Pillow 99"))
    _, events = run(spec, folder)
    assert events == [(1, 2, "jpeg"), (1, "jpeg", True)]


def test_a_damaged_record_of_codecs_is_refused(small, short, tmp_path):
    folder, spec = str(tmp_path / "out"), runs.prepare([small], "uniform", seeds=1, settings=TINY, codecs="jpeg")
    run(spec, folder)
    path = tmp_path / "out" / "comparison.json"
    record = json.loads(path.read_text())
    for change in ({"bytes": 0}, {"bytes": "many"}, {"quality": "good"}, {"more": 1}):
        damaged = json.loads(json.dumps(record))
        damaged["codecs"][0]["points"][0] |= change
        path.write_text(json.dumps(damaged))
        with pytest.raises(RefusedInput, match="damaged"):
            runs.open_comparison(folder, spec)


def test_a_library_that_fails_is_recorded_and_the_fits_go_on(small, monkeypatch):
    codec = MODALITIES["image"].codecs["webp"]

    def failing(signal, settings, on_progress):
        raise ValueError("encoder error 5")

    monkeypatch.setitem(MODALITIES["image"].codecs, "webp", replace(codec, trial=failing))
    comparison, events = run(runs.prepare([small], "uniform", seeds=1, settings=TINY, codecs="webp"))
    assert events == [(1, 2, "webp"), (1, "webp", False), (2, 2, "uniform")]
    assert comparison.unfinished == 1
    (result,) = comparison.codec_results.values()
    assert "webp cannot hold this source (ValueError: encoder error 5)" in result.error["message"]
    assert CodecResult.from_json(json.loads(json.dumps(result.json()))) == result
    assert comparison.rates() == ()


def test_an_interrupt_ends_between_two_files(small, short):
    comparison, events = run(
        runs.prepare([small], "uniform", seeds=1, settings=TINY, codecs="jpeg,webp"), stop=lambda: len(short) == 3
    )
    assert [event[1:] for event in events] == [(3, "jpeg"), ("jpeg", True), (3, "webp")]
    assert list(comparison.codec_results) == [("photo.png", "jpeg")]


def test_exact_files_stay_exact_in_the_record():
    result = CodecResult("a", "jxl", "b 1", (CodecPoint({"quality": 100}, 9, float("inf")),))
    assert result.json()["points"][0]["quality"] is None
    assert CodecResult.from_json(json.loads(json.dumps(result.json()))) == result


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gif", "must be names of jpeg, webp"),
        ("jpeg,jpeg", "twice"),
        ("jpeg,", "must be names"),
        ([1], "must be names"),
    ],
)
def test_names_that_are_no_codecs_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        parse_codecs(given)


def test_a_codec_that_suits_no_source_is_refused_with_those_that_do(small, tmp_path):
    with pytest.raises(UsageError, match="type audio, and this is image; choose jpeg, webp, avif, jxl"):
        runs.prepare([small], "uniform", settings=TINY, codecs="opus")
    Image.fromarray(picture(20, 24)).convert("RGBA").quantize(16).save(tmp_path / "palette.png")
    see_through = tmp_path / "alpha.png"
    pixels = Image.fromarray(picture(20, 24))
    pixels.putalpha(Image.linear_gradient("L").resize((24, 20)))
    pixels.save(see_through)
    with pytest.raises(UsageError, match=r"alpha\.png: --codecs jpeg: .*without transparency"):
        runs.prepare([see_through], "uniform", settings=TINY, codecs="jpeg")


def test_each_architecture_is_fitted_at_each_size_unless_it_has_its_own():
    methods = with_sizes(parse_methods("uniform", "siren:depth=2,grid:bytes=9kB,siren:width=8"), ["40kB", 20_000])
    assert [method.architecture_label for method in methods] == [
        "siren:depth=2:bytes=20000", "siren:depth=2:bytes=40kB", "grid:bytes=9kB", "siren:width=8"
    ]  # fmt: skip
    assert methods[0].unsized_label == "siren"
    with pytest.raises(UsageError, match="twice"):
        with_sizes(methods, ["20kB", "20000"])
    with pytest.raises(UsageError, match="--bytes many"):
        with_sizes(methods, ["many", "20kB"])


def test_several_sizes_are_a_text_with_commas_or_a_sequence():
    assert several_sizes("20kB") == ("20kB", ())
    assert several_sizes(None) == (None, ())
    assert several_sizes("20kB, 40kB") == (None, ("20kB", "40kB"))
    assert several_sizes([20_000, "40kB"]) == (None, (20_000, "40kB"))


def test_python_compares_sizes_with_codecs(small, short):
    found = compare(small, "uniform", "siren:depth=1", seeds=1, codecs=["jpeg"], bytes=["6kB", "9kB"], budget="4it")
    (table,) = found.rates()
    assert [p.label for p in table.fields[0].points] == [f"siren:depth=1:bytes={n}kB uniform" for n in (6, 9)]
    assert all(p.bytes <= limit for p, limit in zip(table.fields[0].points, (6000, 9000), strict=True))
    assert len(table.codec_bytes) == 2


def test_fields_in_closed_form_stand_beside_codecs(tmp_path):
    """They are not warmed up, since that is done with a picture, which not all of them take."""
    time = np.arange(8000) / 8000
    soundfile.write(sound := tmp_path / "sound.wav", 0.5 * np.sin(900 * time) * np.exp(-3 * time), 8000)
    found = compare(sound, "uniform", "mdct", seeds=1, codecs=["vorbis"], bytes=["2kB"], budget="1it")
    (table,) = found.rates()
    (point,) = table.fields[0].points
    assert point.bytes <= 2000
    assert point.quality > 20

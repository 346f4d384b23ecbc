"""Samples at arbitrary points: read as they are, fitted in their own box, measured there and at other points."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

import inrfit
from inrfit.__main__ import run
from inrfit.config.plan import plan
from inrfit.config.settings import Settings
from inrfit.errors import InrfitError, InrfitWarning, OverLimit, UnreadableFile, UnsupportedInput, UsageError
from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES
from inrfit.modalities.points import arrays, frequency, meta, points, reading
from inrfit.modalities.recognition import identify
from inrfit.samplers import SAMPLERS, uses_edges

QUICK = {"budget": "40it", "width": 16, "depth": 2, "batch": 256, "device": "cpu", "threads": 1}


def scattered(count=300, low=(5.0, 40.0), high=(15.0, 44.0), seed=0):
    return np.random.default_rng(seed).uniform(low, high, (count, len(low)))


def hills(coords):
    return 3 + np.sin(coords[:, 0] / 2) * np.cos(coords[:, -1])


def loaded(coords, values, **options):
    return points.load(arrays.from_arrays(np.asanyarray(values), coords), "array", meta.Options(**options), Limits())


@pytest.fixture(scope="module")
def field():
    coords = scattered()
    return inrfit.encode(coords=coords, values=hills(coords).astype(np.float32), units="km", **QUICK)


# --- reading


@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64", ">f4"],
)
def test_samples_are_the_numbers_that_were_given(dtype):
    values = (50 * np.random.default_rng(0).normal(size=(40, 2))).astype(dtype)
    signal = loaded(scattered(40), values)
    assert signal.meta["dtype"] == np.dtype(dtype).name
    np.testing.assert_array_equal(signal.samples, values)


def test_numbers_that_are_too_wide_become_float64():
    coords = scattered(3)
    for values in (np.array([1, 2, 2**40]), np.array([1, 2, 3], np.longdouble)):
        signal = loaded(coords, values)
        assert (signal.meta["dtype"], signal.samples.dtype) == ("float64", np.float64)
        np.testing.assert_array_equal(signal.samples[:, 0], values.astype(float))


def test_complex_numbers_are_two_channels_and_come_back():
    coords = scattered(50)
    values = np.exp(1j * coords[:, 0]).astype(np.complex64)
    made = inrfit.encode(coords=coords, values=values, **QUICK)
    assert made.spec.outputs == 2
    assert made.meta["channels"] == 1
    grid = made.decode(inrfit.Request(size=(3, 4)))
    assert (grid.shape, grid.dtype) == ((3, 4, 1), np.complex64)


def test_each_axis_has_its_own_scale():
    coords = np.array([[0.0, 100.0], [4.0, 100.5], [1.0, 101.0]])
    signal = loaded(coords, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(signal.points, [[-1, -1], [1, 0], [-0.5, 1]])
    assert (signal.meta["low"], signal.meta["high"]) == ([0.0, 100.0], [4.0, 101.0])


def test_places_far_from_the_origin_keep_their_distances():
    near = scattered(100, (0, 0), (1e-3, 1e-3))
    signal = loaded(near + 5e6, hills(near))
    unit = 2 * (near - near.min(0)) / np.ptp(near, axis=0) - 1
    assert np.abs(signal.points - unit).max() < 1e-5


@pytest.mark.parametrize("axes", [1, 2, 3, 4])
def test_one_to_four_coordinates_have_letters(axes):
    coords = scattered(20, (0,) * axes, (1,) * axes)
    assert loaded(coords, hills(coords)).meta["axes"] == "xyzt"[:axes]
    letters = "tzyx"[:axes]
    signal = loaded(coords, hills(coords), axes=letters, units="s" + ",mm" * (axes - 1))
    assert (signal.meta["axes"], signal.meta["units"]) == (letters, ["s", *["mm"] * (axes - 1)])


def test_samples_without_a_value_or_a_place_are_left_out():
    coords, values = scattered(6), np.arange(12.0).reshape(6, 2)
    values[1, 1], values[2, 0], coords[3, 0] = np.nan, np.inf, np.nan
    signal = loaded(coords, values)
    np.testing.assert_array_equal(signal.samples, values[[0, 4, 5]])
    assert "3 samples without a value or a place" in signal.notes[0]
    assert signal.meta["samples"] == 3


def test_samples_that_are_all_missing_are_refused():
    with pytest.raises(UnreadableFile, match="no sample has a place and a value"):
        inrfit.encode(coords=scattered(5), values=np.full(5, np.nan), **QUICK)


def test_masked_samples_are_left_out():
    values = np.ma.array(np.arange(5, dtype=np.int16), mask=[0, 1, 0, 0, 0])
    signal = loaded(scattered(5), values)
    np.testing.assert_array_equal(signal.samples[:, 0], [0, 2, 3, 4])


def test_samples_at_one_place_are_told_if_they_differ():
    coords = np.repeat(scattered(10), 2, axis=0)
    same, other = np.repeat(np.arange(10.0), 2), np.arange(20.0)
    assert not any("differ" in note for note in loaded(coords, same).notes)
    assert any("10 samples differ from another one at their place" in note for note in loaded(coords, other).notes)


@pytest.mark.parametrize(
    ("coords", "values", "match"),
    [
        (np.zeros((3, 2)), np.zeros(4), "a row for each sample"),
        (np.zeros((3, 5)), np.zeros(3), "coords has 5 columns: 1 to 4"),
        (np.zeros((3, 0)), np.zeros(3), "coords has 0 columns"),
        (np.zeros((0, 2)), np.zeros(0), "no samples"),
        (np.zeros((3, 2, 1)), np.zeros(3), "a row for each sample"),
        (np.zeros((3, 2)), np.zeros((3, 0)), "values has 0 columns"),
        (np.zeros((3, 2)), np.array(["a", "b", "c"]), "values: must be numbers, not <U1"),
        (np.zeros((3, 2)), np.array([{}, 1, 2]), "values: must be numbers, not object"),
        (np.zeros((3, 2), complex), np.zeros(3), "coords: must be real numbers"),
        (np.zeros(3, "M8[s]"), np.zeros(3), "convert times to numbers, such as seconds"),
        ([[1, 2], [3]], np.zeros(2), "coords: must be an array of numbers"),
        (np.zeros((3, 2)), None, "coords and values: give both"),
        (None, np.zeros(3), "coords and values: give both"),
    ],
)
def test_what_is_not_a_row_of_numbers_for_each_sample_is_refused(coords, values, match):
    with pytest.raises(UsageError, match=match):
        inrfit.encode(coords=coords, values=values, **QUICK)


def test_a_source_and_values_exclude_each_other():
    with pytest.raises(UsageError, match="in place of a source, not with one"):
        inrfit.encode("a.png", coords=scattered(3), values=np.zeros(3))
    with pytest.raises(UsageError, match="not NoneType; or coords and values instead"):
        inrfit.encode()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"axes": "x"}, "coords has 2 columns, which need a letter each"),
        ({"axes": "xx"}, "different letters"),
        ({"units": "m,m,m"}, "one for all, or for each of 2 axes"),
        ({"units": 3}, "units: must be"),
        ({"units": 'a"b'}, "must be one unit"),
        ({"spacing": (1, 1)}, "no modality encodes arrays with the arguments"),
        ({"rate": 8}, "no modality encodes arrays with the arguments"),
    ],
)
def test_arguments_that_do_not_suit_are_refused(settings, match):
    with pytest.raises(UsageError, match=match):
        inrfit.encode(coords=scattered(5), values=np.zeros(5), **settings, **QUICK)


def test_tensors_and_lists_are_taken_like_arrays():
    coords, values = scattered(30).round(2), hills(scattered(30)).astype(np.float32)
    made = [
        inrfit.encode(coords=places, values=numbers, **QUICK)
        for places, numbers in (
            (coords, values),
            (torch.from_numpy(coords).requires_grad_(), torch.from_numpy(values)),
            (coords.tolist(), values),
        )
    ]
    for other in made[1:]:
        assert other.provenance["source"] == made[0].provenance["source"]
        assert all(np.array_equal(made[0].weights[name], other.weights[name]) for name in other.weights)
    half = inrfit.encode(coords=coords, values=torch.from_numpy(values).bfloat16(), **QUICK)
    assert half.meta["dtype"] == "float32"


# --- files


def npz(**members):
    content = io.BytesIO()
    np.savez(content, **members)
    return content.getvalue()


def test_an_archive_of_coords_and_values_is_recognised_and_others_are_volumes():
    both = {"coords": scattered(5), "values": np.arange(5)}
    assert identify(npz(**both), "a.npz").name == "points"
    assert identify(npz(values=both["values"], coords=both["coords"], more=1), "a.npz").name == "points"
    for other in (npz(coords=both["coords"]), npz(a=1, coords=both["coords"], values=both["values"])[:90], npz(a=1)):
        assert identify(other, "a.npz").name == "volume"


def test_a_file_gives_the_field_of_its_arrays(tmp_path):
    coords, values = scattered(60), hills(scattered(60))
    np.savez(tmp_path / "a.npz", coords=coords, values=values)
    ours, theirs = inrfit.encode(tmp_path / "a.npz", **QUICK), inrfit.encode(coords=coords, values=values, **QUICK)
    assert ours.provenance["source"]["sha256"] == theirs.provenance["source"]["sha256"]
    assert all(np.array_equal(ours.weights[name], theirs.weights[name]) for name in ours.weights)


def test_other_arrays_of_an_archive_are_named():
    data = npz(coords=scattered(5), values=np.arange(5), more=np.zeros(2))
    assert "arrays not kept: more.npy" in points.load(data, "a.npz", meta.Options(), Limits()).notes[0]


def test_limits_hold_before_samples_are_unpacked():
    data = npz(coords=np.zeros((1000, 2)), values=np.zeros(1000))
    with pytest.raises(OverLimit, match="samples: 1,000, the limit is 999"):
        reading.read(data, meta.Options(), Limits(max_voxels=999))
    with pytest.raises(OverLimit, match="bytes of coords"):
        reading.read(data, meta.Options(), Limits(max_bytes=9000))


def test_a_header_that_claims_more_than_there_is_is_refused():
    claimed = io.BytesIO()
    np.lib.format.write_array_header_1_0(claimed, {"descr": "<f8", "fortran_order": False, "shape": (1 << 20, 2)})
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("coords.npy", claimed.getvalue() + bytes(100))
        archive.writestr("values.npy", claimed.getvalue())
    with pytest.raises(UnreadableFile, match="ends early"):
        reading.read(content.getvalue(), meta.Options(), Limits())


def test_a_damaged_archive_is_refused():
    data = bytearray(npz(coords=scattered(50), values=np.arange(50)))
    data[300] ^= 255
    with pytest.raises(UnreadableFile, match=r"not a .npz file"):
        reading.read(bytes(data), meta.Options(), Limits())


TABLE = b"temp,y,x\n1,40,5\n2,41,6\n3,42,7\n"


def test_columns_of_a_table_are_named_by_the_axes_or_are_the_first():
    named = points.load(TABLE, "a.csv", meta.Options(axes="xy"), Limits())
    assert (named.meta["low"], named.samples[:, 0].tolist()) == ([5.0, 40.0], [1.0, 2.0, 3.0])
    first = points.load(TABLE, "a.csv", meta.Options(axes="ab"), Limits())
    assert (first.meta["low"], first.samples[:, 0].tolist()) == ([1.0, 40.0], [5.0, 6.0, 7.0])


@pytest.mark.parametrize(
    ("data", "axes", "match"),
    [
        (TABLE, None, r"3 columns \(temp, y, x\): say which are coordinates"),
        (TABLE, "xyz", "needs 3 of coordinates, and at least one of values"),
    ],
)
def test_a_table_needs_to_know_its_coordinates(data, axes, match):
    with pytest.raises(UsageError, match=match):
        points.load(data, "a.csv", meta.Options(axes=axes), Limits())


def test_a_table_is_read_only_where_its_type_is_named():
    with pytest.raises(UnsupportedInput, match="it is read with --type points"):
        identify(TABLE, "a.csv")
    assert plan(TABLE, "a.csv", Settings(type="points", options={"axes": "xy"})).signal.n == 3


# --- fitting


def test_the_quality_is_that_at_the_samples(field):
    coords = scattered()
    errors = field.query(points=coords)[:, 0].astype(float) - hills(coords).astype(np.float32)
    assert field.quality["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.02)
    assert field.quality["samples"] == len(coords)
    assert not field.quality["estimate"]
    wide = np.ptp(hills(coords))
    assert field.quality["psnr"] == pytest.approx(20 * np.log10(wide / field.quality["rmse"]), abs=1e-3)
    assert field.quality["max_error"] >= field.quality["rmse"]
    assert points.QUALITY_NOTE in field.provenance["notes"]


def test_one_sample_and_equal_samples_are_fitted_exactly():
    for coords in ([[3.0, 4.0]], scattered(20)):
        made = inrfit.encode(coords=coords, values=np.full(len(coords), 7.0), **QUICK)
        assert made.query(points=coords)[:, 0] == pytest.approx(np.full(len(coords), 7.0))
        assert made.quality["infinite"] == "psnr"


@pytest.mark.parametrize("sampler", [name for name, known in SAMPLERS.items() if uses_edges(known)])
def test_samplers_that_look_for_edges_say_that_there_are_none(sampler):
    with pytest.raises(UsageError, match=rf"--sampler {sampler} looks for edges.*choose a sampler from full, uniform"):
        inrfit.encode(coords=scattered(5), values=np.arange(5), sampler=sampler, **QUICK)


def test_architectures_of_rasters_say_why_not():
    with pytest.raises(UsageError, match=r"--arch asmr works only on regular grids.*type points has none"):
        inrfit.encode(coords=scattered(5), values=np.arange(5), arch="asmr")


def test_sampling_maps_are_refused():
    from inrfit.viz.views import check_modality

    with pytest.raises(UsageError, match="cannot be drawn for the modality points"):
        check_modality("points")


def test_auto_takes_siren_unless_samples_are_many_for_the_seconds():
    def chosen(count, budget):
        coords = scattered(count)
        settings = Settings(type="points", arch="auto", budget=budget)
        return plan(arrays.from_arrays(hills(coords), coords), "array", settings).spec.architecture

    assert chosen(300, "5s") == chosen(20_000, "60s") == "siren"
    assert chosen(20_000, "1s") == "grid"


def test_the_size_of_a_grid_follows_the_number_of_samples():
    def weights(count):
        coords = scattered(count)
        settings = Settings(type="points", arch="grid", budget="5s")
        return plan(arrays.from_arrays(hills(coords), coords), "array", settings).spec.parameters

    assert weights(400) < weights(4000) <= 4000


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_first_frequency_is_that_of_the_function_and_not_of_its_noise(noise):
    coords = scattered(4000, (0, 0), (1, 1))
    for omega in (6.0, 25.0):
        values = np.sin(2 * omega * coords[:, 0]) + np.sin(
            2 * omega * coords[:, 1]
        )  # axes from -1 to 1 are twice as long
        values += noise * np.ptp(values) * np.random.default_rng(1).normal(size=len(values))
        assert frequency.first_omega(loaded(coords, values)) == pytest.approx(omega / np.sqrt(2), rel=0.3)


@pytest.mark.parametrize("values", [np.zeros(50), np.random.default_rng(0).normal(size=50), np.arange(50)])
def test_the_first_frequency_has_bounds(values):
    found = frequency.first_omega(loaded(scattered(50), values))
    assert frequency.LOWEST_OMEGA <= found <= frequency.HIGHEST_OMEGA
    assert frequency.first_omega(loaded(scattered(1), values[:1])) == frequency.LOWEST_OMEGA


def test_a_complete_field_is_returned_and_an_interrupted_one_resumed(tmp_path):
    coords, values = scattered(60), hills(scattered(60))
    out = tmp_path / "a.safetensors"
    longer = {**QUICK, "budget": "200it"}  # an interrupted fit that has learned nothing is no field
    given = {"coords": coords, "values": values, "output": out, "checkpoint": 1e-3, "resume": True, **longer}
    whole = inrfit.encode(**given)
    assert inrfit.encode(**given).provenance["created"] == whole.provenance["created"]
    out.unlink()
    steps = []

    def stop():
        return len(steps) > 150

    with pytest.warns(InrfitWarning, match="interrupted"):
        inrfit.encode(**given, on_step=steps.append, should_stop=stop)
    again = inrfit.encode(**given)
    assert again.provenance["settings"]["resumed_at_step"] > 0
    assert all(np.array_equal(whole.weights[name], again.weights[name]) for name in whole.weights)


# --- asking


def test_a_field_is_asked_in_the_units_of_its_samples(field):
    coords = scattered()
    inside = np.array([[10.0, 42.0], [6.0, 41.0]])
    assert np.isfinite(field.query(points=inside)).all()
    np.testing.assert_array_equal(field.query(points=inside), field.query(points=inside, coords="physical"))
    low, high = coords.min(0), coords.max(0)
    unit = 2 * (inside - low) / (high - low) - 1
    np.testing.assert_allclose(field.query(points=unit, coords="unit"), field.query(points=inside), rtol=1e-4)
    assert np.isnan(field.query(points=np.array([[10.0, 39.0], [16.0, 42.0]]))).all()
    with pytest.raises(UsageError, match="points of space, not to the samples of a grid"):
        field.query(points=inside, coords="index")
    assert field.query("y=42km", size=(7,)).shape == (7, 1)


def test_gradients_are_per_unit_of_the_coordinates(field):
    places = scattered(50, (6, 41), (14, 43), seed=3)
    found = field.query(points=places, what="gradient")
    assert found.shape == (50, 1, 2)
    for axis, step in enumerate((1e-2, 4e-3)):
        ahead, behind = places.copy(), places.copy()
        ahead[:, axis] += step
        behind[:, axis] -= step
        wanted = (field.query(points=ahead).astype(float) - field.query(points=behind)) / (2 * step)
        np.testing.assert_allclose(found[:, :, axis], wanted, atol=0.02 * np.abs(wanted).max())


def test_what_only_a_surface_has_is_refused(field):
    for what in ("distance", "divergence"):
        with pytest.raises(UsageError, match=what):
            field.query(points=scattered(3), what=what)
    two = inrfit.encode(coords=scattered(9), values=np.zeros((9, 2)), **QUICK)
    with pytest.raises(UsageError, match="normal: needs a field with one channel"):
        two.query(points=scattered(3), what="normal")


def test_a_field_is_decoded_only_on_a_grid_that_is_asked_for(field):
    with pytest.raises(UsageError, match=r"give --size XxY for a regular grid.*inrfit query --points FILE"):
        field.decode()
    grid = field.decode(inrfit.Request(size=(6, 4)))
    low, high = scattered().min(0), scattered().max(0)
    centres = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in (6, 4)), indexing="ij"), -1).reshape(-1, 2)
    wanted = field.query(points=low + centres * (high - low)).reshape(6, 4, 1)
    np.testing.assert_allclose(grid, wanted.clip(hills(scattered()).min(), hills(scattered()).max()), rtol=1e-4)
    for size in ((4,), (4, 4, 4), (4, None), (0, 4), (4, 1 << 25)):
        with pytest.raises(UsageError, match=r"--size|each side"):
            field.decode(inrfit.Request(size=size))
    with pytest.raises(UsageError, match="decoded as a whole"):
        field.cropped("x=0:3")


def test_integers_are_decoded_as_integers():
    coords = scattered(50)
    made = inrfit.encode(coords=coords, values=(100 * hills(coords)).astype(np.uint16), **QUICK)
    grid = made.decode(inrfit.Request(size=(3, 3)))
    assert grid.dtype == np.uint16
    assert made.query(points=coords[:3]).dtype == np.float32


# --- axes without extent


@pytest.fixture(scope="module")
def flat():
    coords = np.insert(scattered(200), 1, -250.25, axis=1)
    return inrfit.encode(coords=coords, values=hills(coords), **QUICK)


def test_along_an_axis_without_extent_only_its_place_is_known(flat):
    assert any("all samples have y = -250.25" in note for note in flat.provenance["notes"])
    places = np.insert(scattered(5, (6, 41), (14, 43)), 1, -250.25, axis=1)
    assert np.isfinite(flat.query(points=places)).all()
    places[:, 1] += 0.01
    assert np.isnan(flat.query(points=places)).all()


def test_along_an_axis_without_extent_no_slope_is_known(flat):
    places = np.insert(scattered(5, (6, 41), (14, 43)), 1, -250.25, axis=1)
    slopes = flat.query(points=places, what="gradient")
    assert np.isnan(slopes[:, :, 1]).all()
    assert np.isfinite(slopes[:, :, [0, 2]]).all()
    with pytest.raises(UsageError, match="all samples have the same y"):
        flat.query(points=places, what="laplacian")


def test_a_grid_has_one_cell_along_an_axis_without_extent(flat):
    assert flat.decode(inrfit.Request(size=(3, 1, 4))).shape == (3, 1, 4, 1)
    with pytest.raises(UsageError, match="all samples have the same y: give that axis the side 1"):
        flat.decode(inrfit.Request(size=(3, 2, 4)))
    assert np.isfinite(flat.query(size=(3, 1, 4))).all()
    with pytest.raises(UsageError, match="all samples have the same y"):
        flat.query(size=(3, 2, 4))


def test_samples_at_one_place_only_are_fitted_to_their_mean():
    made = inrfit.encode(coords=np.full((4, 2), 3.0), values=np.array([1.0, 2.0, 3.0, 4.0]), **QUICK)
    assert 1 <= made.query(points=[[3.0, 3.0]])[0, 0] <= 4


# --- measuring


def test_other_samples_measure_what_lies_between(field):
    held = scattered(100, (6, 41), (14, 43), seed=9)
    measured = field.measure(coords=held, values=hills(held))
    errors = field.query(points=held)[:, 0] - hills(held)
    assert measured.quality["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.02)
    assert measured.quality["samples"] == 100


def test_the_same_samples_give_the_same_figures(field):
    coords = scattered()
    again = field.measure(coords=coords, values=hills(coords).astype(np.float32))
    assert again.quality == field.quality


def test_samples_outside_of_the_box_are_left_out_with_a_warning(field):
    held = np.array([[10.0, 42.0], [10.0, 39.0], [16.0, 42.0]])
    with pytest.warns(InrfitWarning, match="2 of 3 samples lie outside"):
        measured = field.measure(coords=held, values=hills(held))
    assert measured.quality["samples"] == 1
    with pytest.raises(UsageError, match="none of the points lies in the box"):
        field.measure(coords=held + 100, values=hills(held))


def test_samples_of_another_kind_are_refused(field):
    with pytest.raises(UsageError, match="not the source of this field"):
        field.measure(coords=scattered(5), values=np.zeros((5, 2)))
    with pytest.raises(UsageError, match="coords has 3 columns"):
        field.measure(coords=np.zeros((5, 3)), values=np.zeros(5))
    with pytest.raises(UsageError, match="of the type volume, the field is of the type points"):
        field.measure(np.zeros((4, 4)))


# --- headers


@pytest.mark.parametrize(
    "change",
    [
        {"axes": "xx"},
        {"axes": "xyz"},
        {"low": [0.0]},
        {"low": [99.0, 99.0]},
        {"high": [1.0, float("inf")]},
        {"units": ["m"]},
        {"units": ["m", 'a"']},
        {"samples": 0},
        {"channels": 3},
        {"dtype": "int16"},
        {"dtype": "text"},
    ],
)
def test_a_header_that_contradicts_itself_is_refused(field, change):
    with pytest.raises(InrfitError):
        replace(field, meta={**field.meta, **change}).to_bytes()


def test_the_description_names_box_and_units(field):
    said = MODALITIES["points"].describe_source(field.meta)
    assert said.startswith("300 samples at points, float32, x 5.0")
    assert said.endswith(" km")
    assert MODALITIES["points"].describe_source({**field.meta, "low": [0.0, 1.0], "high": [0.0, 1.0], "units": None})


# --- the command line


def test_the_commands_work_with_samples_at_points(tmp_path, capsys):
    coords = scattered(200)
    np.savez(tmp_path / "a.npz", coords=coords, values=hills(coords))
    source, out = str(tmp_path / "a.npz"), str(tmp_path / "a.npz.safetensors")
    small = ["--width", "16", "--depth", "2", "--budget", "60it", "--threads", "1", "--device", "cpu"]
    assert run(["encode", source, "-O", "units=km", *small, "--explain"]) == 0
    said = capsys.readouterr().err
    assert "PSNR at the samples" in said
    assert "says nothing about the places between them" in said
    assert "from the differences of neighbouring samples" in said
    assert run(["info", out]) == 0
    assert "points: 200 samples at points, float64" in capsys.readouterr().out
    assert run(["decode", out]) == 2
    assert "give --size XxY" in capsys.readouterr().err
    assert run(["decode", out, "--size", "5x3"]) == 0
    assert np.load(tmp_path / "a.decoded.npy").shape == (5, 3)
    (tmp_path / "places.csv").write_text("y,x\n42,10\n43,7\n")
    asked = ["query", out, "--points", str(tmp_path / "places.csv"), "--coords", "physical"]
    assert run([*asked, "-o", str(tmp_path / "answer.csv")]) == 0
    lines = (tmp_path / "answer.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [["x", "y"], ["10", "42"], ["7", "43"]]
    capsys.readouterr()
    assert run(["measure", out, source, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["confirmed"] is True
    held = scattered(50, (6, 41), (14, 43), seed=4)
    np.savetxt(tmp_path / "held.csv", np.c_[held, hills(held)], delimiter=",")
    assert run(["measure", out, str(tmp_path / "held.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["confirmed"] is None
    assert found["quality"]["rmse"] != found["stated"]["rmse"]
    assert run(["measure", out]) == 0
    assert run(["measure", source, source]) == 2
    assert run(["compare", source, "--samplers", "uniform", "--seeds", "1", *small[:6], "--json"]) == 0

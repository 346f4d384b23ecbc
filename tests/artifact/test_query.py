"""``Artifact.query`` and ``Artifact.cropped``: values, parts and derivatives against the whole and differences."""

from __future__ import annotations

import io
import math

import made_volumes
import numpy as np
import pytest
import soundfile
import trimesh
from conftest import picture

import inrfit
from inrfit.errors import OverLimit, UsageError
from inrfit.fields import FIELDS
from inrfit.modalities.domain import Domain, axis_matrix
from inrfit.modalities.regions import parsed, resolved
from inrfit.modalities.shape import quality

QUICK = {"budget": "30it", "width": 16, "depth": 2, "batch": 128, "device": "cpu"}


@pytest.fixture(scope="module")
def photo():
    return inrfit.encode(picture(24, 32, 3), arch="siren", **QUICK)


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    """A smooth volume that lies turned in space, with a slope and an intercept."""
    path = tmp_path_factory.mktemp("scan") / "scan.nii"
    x, y, z = np.indices((9, 8, 7))
    path.write_bytes(made_volumes.nifti((100 * np.sin(x / 3) * np.cos(y / 4) + 9 * z).astype(np.int16)))
    header = bytearray(path.read_bytes())
    header[112:120] = np.array([0.5, -3.0], "<f4").tobytes()
    path.write_bytes(bytes(header))
    return path


@pytest.fixture(scope="module")
def scan(scan_file):
    return inrfit.encode(scan_file, arch="siren", **QUICK)


def test_along_an_axis_of_one_sample_no_slope_is_known():
    field = inrfit.encode(picture(1, 32, 3), arch="siren", **QUICK)
    slopes = field.query("x=3:9", what="gradient")
    assert np.isnan(slopes[..., 0]).all()
    assert np.isfinite(slopes[..., 1]).all()
    with pytest.raises(UsageError, match="all samples have the same y"):
        field.query(what="laplacian")


def central_differences(field, points, axis, step, coords, what="value"):
    ahead, behind = points.copy(), points.copy()
    ahead[:, axis] += step
    behind[:, axis] -= step
    sides = [field.query(points=side, coords=coords, what=what).astype(np.float64) for side in (ahead, behind)]
    return (sides[0] - sides[1]) / (2 * step)


@pytest.mark.parametrize("arch", [name for name, known in FIELDS.items() if known.TRAITS.coefficients in ("", "bands")])
def test_a_part_equals_the_same_part_of_the_whole(arch):
    field = inrfit.encode(picture(24, 32, 3), arch=arch, **QUICK)
    whole, part = field.decode(), field.cropped("x=10:25,y=4:20").decode()
    assert part.shape == (16, 15, 3)
    assert np.abs(part.astype(int) - whole[4:20, 10:25]).max() <= 1
    values = field.query("x=10:25,y=4:20")
    assert values.dtype == np.float32
    assert np.abs(values.clip(0, 255) - part).max() < 0.51
    larger = field.cropped("x=10:25,y=4:20").decode(inrfit.Request(scale=2.0))
    assert larger.shape == (32, 30, 3)
    assert np.abs(larger.reshape(16, 2, 15, 2, 3).mean((1, 3)) - part).mean() < 12


def test_places_along_an_axis_are_left_out(photo):
    whole = photo.query()
    np.testing.assert_allclose(photo.query("y=7"), whole[7], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(photo.query({"y": 7, "x": (3, 9)}), whole[7, 3:9], rtol=1e-4, atol=1e-3)
    assert photo.query("y=7,x=9").shape == (3,)
    assert photo.query("x=:8", size=(48, 16)).shape == (48, 16, 3)
    assert photo.query("x=:8", size=(None, 16)).shape == (48, 16, 3)
    assert photo.query("x=:8", scale=0.5).shape == (12, 4, 3)


def test_points_in_every_kind_of_coordinates(scan):
    whole = scan.query()
    index = np.array([[0, 0, 0], [1, 2, 3], [3, 1, 0]])
    expected = whole[tuple(index.T)]
    sides = np.array(scan.meta["shape"])
    affine = np.array(scan.meta["affine"]).reshape(4, 4)
    positions = (affine @ np.c_[index[:, ::-1], np.ones(3)].T).T[:, 2::-1]
    for coords, points in (("index", index), ("unit", (2 * index + 1) / sides - 1), ("physical", positions)):
        np.testing.assert_allclose(scan.query(points=points, coords=coords), expected, rtol=1e-3, atol=1e-2)
    outside = scan.query(points=np.array([[-3.0, 0, 0], [0.25, 0.5, 1.5]]))
    assert np.isnan(outside[0]).all()
    assert np.isfinite(outside[1]).all()


def test_values_have_the_slope_of_the_file(scan):
    meta = scan.meta
    stored = scan.decode().astype(np.float64)
    np.testing.assert_allclose(scan.query(), stored * meta["slope"] + meta["intercept"], atol=0.51 * abs(meta["slope"]))


@pytest.mark.parametrize("arch", ["siren", "finer", "gauss", "wire", "tiles", "grid", "mlp", "pemlp", "ffn"])
@pytest.mark.parametrize("coords", ["index", "physical"])
def test_gradients_equal_central_differences(scan_file, arch, coords):
    field = inrfit.encode(scan_file, arch=arch, **QUICK | {"budget": "100it"})
    index = np.random.default_rng(0).uniform(0.2, np.array(field.meta["shape"]) - 1.2, (400, 3))
    matrix = np.eye(4) if coords == "index" else np.array(field.meta["affine"]).reshape(4, 4)
    points = (matrix @ np.c_[index[:, ::-1], np.ones(len(index))].T).T[:, 2::-1]
    found, scale = field.query(points=points, coords=coords, what="gradient"), np.abs(matrix[:3, :3]).max()
    for axis in range(3):
        step = (5e-3 if FIELDS[arch].TRAITS.derivatives > 1 else 5e-4) * scale
        wanted = central_differences(field, points, axis, step, coords)
        errors = np.abs(found[:, :, axis] - wanted) / np.abs(wanted).max()
        assert np.quantile(errors, 0.5) < 1e-3  # fields with kinks differ where one lies between the two points
        if FIELDS[arch].TRAITS.derivatives > 1:
            assert errors.max() < 1e-2


@pytest.mark.parametrize("arch", ["siren", "gauss", "wire", "tiles"])
def test_laplacians_equal_differences_of_gradients(arch):
    y, x = np.mgrid[:24, :32]
    smooth = (127 + 80 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8)[..., None]
    field = inrfit.encode(smooth, arch=arch, **QUICK | {"budget": "100it"})
    points = np.random.default_rng(0).uniform(1, 20, (300, 2))
    found = field.query(points=points, what="laplacian")
    wanted = sum(central_differences(field, points, axis, 1e-2, "index", "gradient")[..., axis] for axis in range(2))
    assert np.abs(found - wanted).max() < 1e-2 * np.abs(wanted).max()
    halved = field.query(points=(2 * points + 1) / (24, 32) - 1, coords="unit", what="gradient")
    np.testing.assert_allclose(halved, field.query(points=points, what="gradient") * (12, 16), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("arch", ["grid", "mlp", "pemlp", "ffn"])
def test_fields_with_kinks_have_no_laplacian(arch):
    field = inrfit.encode(picture(24, 32, 3), arch=arch, **QUICK)
    with pytest.raises(UsageError, match="kinks"):
        field.query(what="laplacian")


def test_a_raster_has_no_derivatives():
    field = inrfit.encode(picture(24, 32, 3), arch="asmr", **QUICK)
    with pytest.raises(UsageError, match="cells of its raster only"):
        field.query(what="gradient")


def test_divergence_and_curl_of_a_rotation():
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 12)] * 3, indexing="ij")
    turning = np.stack([-2 * y, 2 * x, 3 * z], -1).astype(np.float32)
    field = inrfit.encode(
        turning, axes="zyxc", spacing=(0.5, 0.25, 2.0), arch="siren", budget="300it", batch=512, width=64,
        device="cpu", options={"first_omega": 5.0},
    )  # fmt: skip
    inner = "x=4:8,y=4:8,z=4:8"
    step = 2 / 11
    curl = field.query(inner, what="curl")
    assert curl.shape == (4, 4, 4, 3)
    np.testing.assert_allclose(curl.mean((0, 1, 2)), [0, 0, 4 * step], atol=0.1)
    np.testing.assert_allclose(field.query(inner, what="divergence").mean(), 3 * step, atol=0.05)
    physical = field.query(inner, what="curl", coords="physical").mean((0, 1, 2))
    np.testing.assert_allclose(physical, [0, 0, 2 * step / 2.0 + 2 * step / 0.25], atol=0.3)
    with pytest.raises(UsageError, match="one channel"):
        field.query(what="normal")


def test_distances_and_normals_of_a_shape(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "RESOLUTION", 16)
    monkeypatch.setattr(quality, "CHAMFER_POINTS", 500)
    trimesh.creation.icosphere(3, radius=2.0).apply_translation((10, 20, 30)).export(tmp_path / "ball.ply")
    field = inrfit.encode(
        tmp_path / "ball.ply", arch="siren", budget="400it", width=128, depth=3, batch=1024, device="cpu",
        options={"points": 20_000},
    )  # fmt: skip
    directions = np.random.default_rng(0).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    surface = (10, 20, 30) + 2.0 * directions
    assert np.abs(field.query(points=surface, what="distance")).mean() < 0.02
    outer = field.query(points=surface + 0.05 * directions, what="distance")
    inner = field.query(points=surface - 0.05 * directions, what="distance")
    assert (outer - inner).mean() == pytest.approx(0.1, rel=0.25)
    normals = field.query(points=surface, what="normal")
    assert (normals * directions).sum(1).mean() > 0.95
    with pytest.raises(UsageError, match="--size"):
        field.query()
    assert field.query("x=9:11,z=30", size=(5, 6)).shape == (5, 6, 1)
    with pytest.raises(UsageError, match="index coordinates"):
        field.query(points=surface, coords="index")
    with pytest.raises(UsageError, match="the field's box lies from"):
        field.query("x=1000:1001", size=(2, 2, 2))
    with pytest.raises(UsageError, match="decoded as a whole"):
        field.cropped("x=9:11")


def test_samples_without_a_value_are_not_a_number():
    volume = np.indices((6, 7, 8)).sum(0).astype(np.float32)
    volume[2:4, 3, 5] = math.nan
    field = inrfit.encode(volume, axes="zyx", **QUICK)
    assert np.array_equal(np.isnan(field.query()[..., 0]), np.isnan(volume))
    part = field.cropped("z=2:5,x=4:7").decode()
    assert np.array_equal(np.isnan(part[..., 0]), np.isnan(volume[2:5, :, 4:7]))
    assert np.isnan(field.query(points=[[2, 3, 5]])).all()


def test_a_part_of_a_sound():
    rate, seconds = 8000, np.arange(8000) / 8000
    field = inrfit.encode((8000 * np.sin(40 * seconds)).astype(np.int16), rate=rate, **QUICK)
    part = field.cropped("t=0.25s:0.5s")
    np.testing.assert_array_equal(part.decode(), field.decode()[2000:4000])
    assert len(part.decode(inrfit.Request(rate=4000))) == 1000
    assert field.query("t=100ms:0.2s").shape == (800, 1)
    assert field.query(what="gradient", coords="physical").shape == (8000, 1, 1)
    from inrfit.modalities.audio.writing import write

    data = write(part.decode(), part.meta, ".wav", inrfit.Request(), part.attachments)
    assert soundfile.info(io.BytesIO(data)).frames == 2000


@pytest.mark.parametrize(
    ("region", "message"),
    [("q=1:2", "no axis 'q'"), ("x=5:5", "ends before it begins"), ("x=0:33", "samples 0 to 31"),
     ("x=-1:3", "samples 0"),
     ("x=1.5:3", "whole numbers"), ("x=32", "samples 0"), ("x=1:2,x=3:4", "named twice"), ("x", "name the axis"),
     ("x=a:b", "must be a sample"), ("x=1mm:2mm", "does not say the spacing"), ("x=nan:2", "must be a sample"),
     ("x=1px:2", "both ends a unit|does not say"),
     (7, "must be a text")],
)  # fmt: skip
def test_regions_that_there_are_not(photo, region, message):
    with pytest.raises(UsageError, match=message):
        photo.query(region)


@pytest.mark.parametrize(
    "arguments",
    [{"what": "slope"}, {"coords": "world"}, {"points": [[1.0]]}, {"points": [["a", "b"]]}, {"points": [[1, math.nan]]},
     {"points": [[1, 2]], "region": "x=1:2"}, {"size": (3,)}, {"size": (0, 3)}, {"scale": 0.0}, {"scale": math.inf},
     {"what": "distance"}, {"what": "curl"}, {"what": "normal"}, {"points": [[0, 0]], "coords": "physical"}],
)  # fmt: skip
def test_questions_that_have_no_answer(photo, arguments):
    with pytest.raises(UsageError):
        photo.query(**arguments)


def test_answers_are_limited(photo):
    with pytest.raises(OverLimit):
        photo.query(scale=100.0, limits=inrfit.Limits(max_output=1_000_000))


def test_a_part_is_only_decoded(photo, tmp_path):
    part = photo.cropped("x=1:9")
    assert part.quality == {}
    for use in (lambda: part.save(tmp_path / "a.safetensors"), part.query, lambda: part.cropped("x=1:2")):
        with pytest.raises(UsageError, match="only be decoded"):
            use()


def test_ranges_in_units():
    grid = Domain("zyx", (10, 20, 30), axis_matrix((2.0, -1.0, 0.5), (5.0, 0.0, 0.0)), ("mm", "mm", "mm"), lambda v: v)
    box = resolved(parsed("z=9mm:1.1cm,y=-3mm:0mm,x=500um:2u"), grid)
    assert (box.start, box.stop) == ((2, 1, 1), (3, 4, 4))
    assert resolved(parsed("z=8.9mm"), grid).start[0] == 2
    assert resolved(parsed({"z": "-100mm:9mm"}), grid).stop[0] == 2
    for text, message in (
        ("z=1s:2s", "the unit of this axis is 'mm'"),
        ("z=900mm", "lie from 5mm to 23mm"),
        ("y=3mm:9", "give both ends a unit"),
    ):
        with pytest.raises(UsageError, match=message):
            resolved(parsed(text), grid)
    oblique = Domain("yx", (5, 5), np.array([[1.0, 0.2, 0], [-0.2, 1.0, 0], [0, 0, 1]]), ("mm", "mm"), lambda v: v)
    with pytest.raises(UsageError, match="oblique"):
        resolved(parsed("x=1mm:2mm"), oblique)

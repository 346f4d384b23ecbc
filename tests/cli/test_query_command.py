"""``inrfit query`` and ``decode --region``: outputs, formats, points from files."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import made_volumes
import nibabel
import numpy as np
import pytest
import soundfile
from conftest import picture
from PIL import Image

from inrfit.__main__ import run

QUICK = ["--budget", "30it", "--width", "16", "--depth", "2", "--device", "cpu", "-q"]


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Fields of a picture, a sound and a scan."""
    folder = tmp_path_factory.mktemp("fields")
    Image.fromarray(picture(24, 32, 3)).save(folder / "photo.png")
    soundfile.write(folder / "sound.wav", 0.5 * np.sin(np.arange(8000) / 20), 8000)
    (folder / "scan.nii.gz").write_bytes(made_volumes.all_files()["nifti-packed.nii.gz"].data)
    for name in ("photo.png", "sound.wav", "scan.nii.gz"):
        assert run(["encode", str(folder / name), *QUICK]) == 0
    return folder


def test_a_crop_of_a_picture(fields, tmp_path, capsys):
    field, whole, crop = fields / "photo.png.safetensors", tmp_path / "whole.png", tmp_path / "crop.png"
    assert run(["decode", str(field), "-o", str(whole)]) == 0
    assert run(["query", str(field), "--region", "x=5:20,y=2:10", "-o", str(crop)]) == 0
    assert run(["decode", str(field), "--region", "x=5:20,y=2:10", "-o", str(tmp_path / "same.png")]) == 0
    with Image.open(crop) as found, Image.open(whole) as image, Image.open(tmp_path / "same.png") as same:
        assert found.size == (15, 8)
        difference = np.asarray(image.crop((5, 2, 20, 10))).astype(int) - np.asarray(found)
        assert np.abs(difference).max() <= 1
        assert found.tobytes() == same.tobytes()
    assert "15x8 RGB" in capsys.readouterr().err
    assert run(["query", str(field), "--region", "x=5:20,y=2:10", "--scale", "4"]) == 0
    with Image.open(fields / "photo.query.png") as larger:
        assert larger.size == (60, 32)
    assert run(["query", str(field), "--slice", "y=3", "--size", "64", "-o", str(tmp_path / "row.png")]) == 0
    with Image.open(tmp_path / "row.png") as row:
        assert row.size == (64, 1)


def test_a_part_of_a_sound(fields, tmp_path):
    out = tmp_path / "part.wav"
    assert run(["query", str(fields / "sound.wav.safetensors"), "--time", "0.25s:0.5s", "-o", str(out)]) == 0
    assert soundfile.info(out).frames == 2000
    for time in ("1:3", "1s", "0.25s:1"):
        words = ["query", str(fields / "sound.wav.safetensors"), "--time", time, "-o", str(tmp_path / "b.wav")]
        assert run(words) == 2


def test_a_slice_of_a_scan_lies_where_it_was(fields, tmp_path):
    field, out = fields / "scan.nii.gz.safetensors", tmp_path / "slice.nii.gz"
    assert run(["query", str(field), "--slice", "z=2", "--region", "x=1:", "-o", str(out)]) == 0
    whole, part = nibabel.load(fields / "scan.nii.gz"), nibabel.load(out)
    assert part.shape[2] == 1
    assert part.get_data_dtype() == whole.get_data_dtype()
    np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], whole.affine @ [1, 0, 2, 1], atol=1e-4)
    np.testing.assert_allclose(part.affine[:, :3], whole.affine[:, :3], atol=1e-5)
    larger = tmp_path / "larger.nii.gz"
    assert run(["query", str(field), "--slice", "z=2", "--scale", "2", "-o", str(larger)]) == 0
    assert nibabel.load(larger).shape == (2 * whole.shape[0], 2 * whole.shape[1], 1)


def test_a_slice_to_look_at(fields, tmp_path, capsys):
    field = str(fields / "scan.nii.gz.safetensors")
    assert run(["query", field, "--slice", "z=2", "-o", str(tmp_path / "slice.png")]) == 0
    assert run(["decode", field, "--region", "x=3", "-o", str(tmp_path / "side.png")]) == 0
    values = np.load(_numbers(field, tmp_path))[..., 0]
    with Image.open(tmp_path / "slice.png") as picture:
        assert picture.size == values.shape[::-1]
        grey = np.asarray(picture).astype(float)
    assert np.corrcoef(grey.ravel(), values.ravel())[0, 1] > 0.99
    assert run(["decode", field, "-o", str(tmp_path / "whole.png")]) == 2
    assert "inrfit query --slice z=" in capsys.readouterr().err


def _numbers(field, tmp_path):
    assert run(["query", field, "--slice", "z=2", "-o", str(tmp_path / "slice.npy")]) == 0
    return tmp_path / "slice.npy"


def test_what_should_be_known_of_an_answer_is_said(fields, tmp_path, capsys):
    field, points = str(fields / "photo.png.safetensors"), tmp_path / "far.csv"
    points.write_text("1000,1000\n")
    assert run(["query", field, "--points", str(points), "-o", str(tmp_path / "far.npy")]) == 0
    assert "none of the points lies in the field" in capsys.readouterr().err
    assert run(["query", field, "--points", str(tmp_path / "none.csv")]) == 3
    assert "none.csv: no such file" in capsys.readouterr().err
    (tmp_path / "comma.csv").write_text("1;2\n3,5;4\n")
    assert run(["query", field, "--points", str(tmp_path / "comma.csv")]) == 3
    assert "decimals are written with a point" in capsys.readouterr().err


def test_numbers_as_npy_and_csv(fields, tmp_path, capsys):
    field = str(fields / "photo.png.safetensors")
    assert run(["query", field, "--what", "gradient", "--region", "x=:6,y=:4", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["output"].endswith("photo.query.npy")
    assert record["shape"] == [4, 6, 3, 2]
    assert np.load(record["output"]).shape == (4, 6, 3, 2)
    assert run(["query", field, "--region", "x=:6,y=:4", "-o", str(tmp_path / "a.csv")]) == 0
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "y,x,value_0,value_1,value_2"
    assert len(lines) == 25
    assert lines[8].startswith("1,1,")
    assert run(["query", field, "--what", "gradient", "-o", str(tmp_path / "a.png")]) == 2
    assert run(["query", field, "--region", "x=9:1", "-o", str(tmp_path / "b.png")]) == 2
    assert run(["query", field, "--what", "gradient", "--region", "x=:6,y=:4"]) == 2  # it exists
    assert run(["query", field, "--what", "gradient", "--region", "x=:6,y=:4", "-f"]) == 0


def test_a_part_of_an_array_is_an_array_of_its_type(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(7 * 6 * 5, dtype=">u2").reshape(7, 6, 5))
    assert run(["encode", str(tmp_path / "a.npy"), *QUICK]) == 0
    assert run(["query", str(tmp_path / "a.npy.safetensors"), "--region", "z=2:6,x=1:"]) == 0
    part = np.load(tmp_path / "a.query.npy")
    assert (part.dtype, part.shape) == (np.dtype(">u2"), (4, 6, 4))


def test_a_region_without_values_is_said(tmp_path, capsys):
    samples = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    samples[2:4] = np.nan
    np.save(tmp_path / "a.npy", samples)
    assert run(["encode", str(tmp_path / "a.npy"), *QUICK]) == 0
    assert run(["query", str(tmp_path / "a.npy.safetensors"), "--slice", "z=2", "-o", str(tmp_path / "b.csv")]) == 0
    assert "no sample of the source has a value here" in capsys.readouterr().err


def test_points_from_a_file_to_standard_output(fields, tmp_path):
    field, points = str(fields / "photo.png.safetensors"), tmp_path / "points.csv"
    points.write_text("x,y\n3,2\n10.5, 7\n")
    command = [sys.executable, "-m", "inrfit", "query", field, "--points"]
    found = subprocess.run([*command, str(points), "-o", "-"], capture_output=True, text=True, check=True)
    table = np.loadtxt(io.StringIO(found.stdout), delimiter=",", skiprows=1)
    assert found.stdout.startswith("y,x,value_0")
    np.testing.assert_allclose(table[:, :2], [[2, 3], [7, 10.5]])
    text = "2,3\n7,10.5\n"  # in array order, without names
    again = subprocess.run([*command, "-", "-o", "-"], input=text, capture_output=True, text=True, check=True)
    assert again.stdout == found.stdout
    np.save(tmp_path / "points.npy", table[:, :2])
    assert run(["query", field, "--points", str(tmp_path / "points.npy"), "-f"]) == 0
    np.testing.assert_allclose(np.load(fields / "photo.query.npy"), table[:, 2:], rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [("", 3, "empty"), ("y,x\n", 2, "must be numbers"),
     ("1,2\n3\n", 3, "line 2: not 2 numbers"), ("z,x\n1,2\n", 2, "the columns are named z, x"),
     ("1,2,3\n", 2, "the columns y, x"), ("\0\xff\n", 2, "the columns are named"), ("nan,1\n", 2, "not finite")],
)  # fmt: skip
def test_points_that_are_none(fields, tmp_path, capsys, text, code, message):
    points = tmp_path / "points.csv"
    points.write_text(text)
    field = str(fields / "photo.png.safetensors")
    assert run(["query", field, "--points", str(points), "-o", str(tmp_path / "a.npy")]) == code
    assert message in capsys.readouterr().err


def test_several_fields_into_a_folder(fields, tmp_path, capsys):
    models = [str(fields / f"{name}.safetensors") for name in ("photo.png", "scan.nii.gz")]
    assert run(["query", *models, "--region", "x=1:4", "-o", str(tmp_path / "out") + "/"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["photo.query.png", "scan.query.nii.gz"]
    sound = str(fields / "sound.wav.safetensors")
    assert run(["query", sound, *models, "--region", "x=1:4", "-o", str(tmp_path / "out") + "/", "-f"]) == 7
    assert "no axis 'x': this field's axes are t" in capsys.readouterr().err

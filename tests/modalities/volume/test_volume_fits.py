"""Volumes from a file or an array to a field and back, as users do it."""

from __future__ import annotations

import gzip
import json

import made_volumes
import nibabel
import numpy as np
import pytest
import torch
from made_volumes import netcdf, npy, samples

import inrfit
from inrfit.__main__ import run
from inrfit.errors import UsageError

QUICK = {"budget": "40it", "width": 16, "depth": 2, "batch": 128, "device": "cpu"}
WORDS = ["--budget", "40it", "--width", "16", "--depth", "2", "--batch", "128"]
FILES = made_volumes.all_files()


def smooth(shape=(8, 9, 10), dtype=np.float32):
    return (np.indices(shape).sum(0) * 3).astype(dtype)


@pytest.mark.parametrize(
    "name", ["nifti-packed.nii.gz", "nrrd-gzip.nrrd", "meta_image-turned.mha", "vtk-binaryTrue.vti", "tiff-imagej.tif"]
)
def test_a_file_comes_back_as_the_kind_of_file_it_was(name, tmp_path, capsys):
    source, field = tmp_path / FILES[name].name, tmp_path / "field.safetensors"
    source.write_bytes(FILES[name].data)
    assert run(["encode", str(source), "-o", str(field), *WORDS]) == 0
    assert run(["measure", str(field), str(source)]) == 0
    assert run(["info", str(field)]) == 0
    assert "volume: " in capsys.readouterr().out
    assert run(["decode", str(field)]) == 0
    decoded = tmp_path / f"field.decoded{name[name.index('.') :]}"
    first, second = (inrfit.encode(path, **QUICK | {"budget": "1it"}).meta for path in (source, decoded))
    assert first | {"scale": None} == second | {"scale": None}
    if name.endswith(".gz"):
        assert gzip.decompress(source.read_bytes())[:352] == gzip.decompress(decoded.read_bytes())[:352]


def test_other_grids_and_formats_are_decoded(tmp_path, capsys):
    source, field = tmp_path / "scan.nii", tmp_path / "field.safetensors"
    source.write_bytes(FILES["nifti-int16.nii"].data)
    assert run(["encode", str(source), "-o", str(field), *WORDS]) == 0
    assert run(["decode", str(field), "-o", str(tmp_path / "half.nii.gz"), "--scale", "0.5"]) == 0
    assert run(["decode", str(field), "-o", str(tmp_path / "other.npy"), "--size", "3x4x5"]) == 0
    assert np.load(tmp_path / "other.npy").shape == (3, 4, 5)
    assert run(["decode", str(field), "-o", str(tmp_path / "a.npy"), "--size", "3x4"]) == 2
    assert "give the 3 sides of the volume, as ZxYxX" in capsys.readouterr().err
    assert run(["decode", str(field), "-o", str(tmp_path / "a.nc")]) == 2
    assert run(["decode", str(field), "-o", str(tmp_path / "a.png")]) == 2


def test_a_smaller_grid_holds_means_over_its_cells():
    field = inrfit.encode(smooth((8, 8, 8)), axes="zyx", arch="grid", budget="300it", batch=512, device="cpu")
    whole, half = field.decode(), field.decode(inrfit.Request(scale=0.5))
    means = whole.reshape(4, 2, 4, 2, 4, 2, 1).mean((1, 3, 5))
    np.testing.assert_allclose(half, means, atol=0.05)


def test_arrays_of_every_kind_come_back_as_they_were():
    for dtype in ("bool", "int8", "uint16", "int64", "float16", "float64", "complex64"):
        array = samples((6, 7, 8), dtype)
        decoded = inrfit.encode(array, axes="zyx", **QUICK).decode()
        assert decoded.dtype == dtype
        assert decoded.shape == (6, 7, 8, 1)
    found = inrfit.encode(torch.rand(6, 7, 8, 2), axes="zyxc", spacing=(2, 1, 0.5), units="mm", **QUICK)
    assert found.decode().shape == (6, 7, 8, 2)
    assert (found.meta["spacing"], found.meta["units"]) == ([2.0, 1.0, 0.5], ["mm", "mm", "mm"])


@pytest.mark.parametrize(
    "arguments",
    [{"axes": "zy"}, {"axes": "zzz"}, {"axes": "zyx", "spacing": (1, 2)}, {"axes": "zyx", "spacing": (1, 2, -1)},
     {"axes": "zyx", "units": ("s", "mm")}, {"axes": "zyx", "rate": 8000}, {"spacing": (1, 1, 1)}],
)  # fmt: skip
def test_arguments_that_do_not_suit_an_array_are_refused(arguments):
    with pytest.raises(UsageError):
        inrfit.encode(smooth(), **arguments, **QUICK)


def test_a_file_needs_no_axes(tmp_path):
    np.save(tmp_path / "a.npy", smooth())
    with pytest.raises(UsageError, match="axes: only an array needs this argument"):
        inrfit.encode(tmp_path / "a.npy", axes="zyx", **QUICK)


def test_samples_without_a_value_are_neither_fitted_nor_measured(tmp_path):
    array = smooth()
    array[:4] = np.nan
    field = inrfit.encode(array, axes="zyx", arch="grid", budget="300it", batch=512, device="cpu")
    assert field.quality["samples"] == 360
    assert field.quality["psnr"] > 25
    assert "ssim" not in field.quality
    decoded = field.decode()[..., 0]
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(array))
    assert np.nanmax(np.abs(decoded - array)) == pytest.approx(field.quality["max_error"], rel=1e-3)
    field.save(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(inrfit.load(tmp_path / "a.safetensors").decode(), field.decode())
    assert field.measure(array).quality["psnr"] == pytest.approx(field.quality["psnr"], abs=0.01)


def test_a_netcdf_file_keeps_its_fill_values_and_its_other_variables(tmp_path):
    from scipy.io import netcdf_file

    path, field = tmp_path / "t.nc", tmp_path / "t.safetensors"
    path.write_bytes(netcdf())
    with netcdf_file(path, "a", mmap=False) as file:
        file.variables["t2m"]._FillValue = np.int16(-32768)
        file.variables["t2m"].data[1, 2:4] = -32768
    assert run(["encode", str(path), "-o", str(field), "-O", "array=t2m", *WORDS]) == 0
    assert run(["decode", str(field)]) == 0
    with netcdf_file(path, mmap=False) as before, netcdf_file(tmp_path / "t.decoded.nc", mmap=False) as after:
        assert before.variables.keys() == after.variables.keys()
        np.testing.assert_array_equal(before.variables["other"].data, after.variables["other"].data)
        first, second = (file.variables["t2m"].data for file in (before, after))
        np.testing.assert_array_equal(first == -32768, second == -32768)
        assert not np.array_equal(first, second)


def test_two_volumes_are_compared(tmp_path, capsys):
    (tmp_path / "a.npy").write_bytes(npy(smooth()))
    (tmp_path / "b.npy").write_bytes(npy(smooth() + 1))
    assert run(["measure", str(tmp_path / "b.npy"), str(tmp_path / "a.npy"), "--json"]) == 0
    quality = json.loads(capsys.readouterr().out)["quality"]
    assert quality["rmse"] == quality["max_error"] == 1.0
    (tmp_path / "c.npy").write_bytes(npy(smooth((8, 9, 11))))
    assert run(["measure", str(tmp_path / "c.npy"), str(tmp_path / "a.npy")]) == 2


def test_a_page_of_a_stack_is_a_picture_on_request(tmp_path, capsys):
    path = tmp_path / "stack.tif"
    path.write_bytes(FILES["tiff-pages.tif"].data)
    assert run(["encode", str(path), "--frame", "2", *WORDS]) == 2
    assert "--type image" in capsys.readouterr().err
    out = str(tmp_path / "page.safetensors")
    assert run(["encode", str(path), "--frame", "2", "--type", "image", "-o", out, *WORDS]) == 0
    assert inrfit.load(out).modality == "image"


def test_raw_samples_need_their_shape_and_type(tmp_path, capsys):
    path = tmp_path / "a.raw"
    path.write_bytes(samples((5, 6, 7), "int16").tobytes())
    assert run(["encode", str(path), *WORDS]) == 3
    assert run(["encode", str(path), "--type", "volume", *WORDS]) == 2
    assert "need -O shape=ZxYxX and -O dtype=TYPE" in capsys.readouterr().err
    words = ["--type", "volume", "-O", "shape=5x6x7", "-O", "dtype=int16"]
    assert run(["encode", str(path), *words, *WORDS]) == 0
    assert run(["decode", str(path) + ".safetensors"]) == 0
    assert (tmp_path / "a.decoded.raw").stat().st_size == 420


def test_a_part_in_time_begins_when_it_begins(tmp_path):
    source, field, part = (tmp_path / name for name in ("times.nii", "field.safetensors", "part.nii"))
    data = bytearray(FILES["nifti-times.nii"].data)
    data[136:140] = np.float32(10.0).tobytes()  # toffset
    source.write_bytes(data)
    assert run(["encode", str(source), "-o", str(field), *WORDS]) == 0
    assert run(["query", str(field), "--region", "t=2:", "-o", str(part)]) == 0
    header, before = (nibabel.load(path).header for path in (part, source))
    assert float(header["toffset"]) == pytest.approx(10 + 2 * float(before["pixdim"][4]))
    assert run(["decode", str(field)]) == 0
    assert (tmp_path / "field.decoded.nii").read_bytes()[:352] == data[:352]


def test_a_flat_affine_has_no_positions(tmp_path):
    source, field = tmp_path / "flat.nii", tmp_path / "field.safetensors"
    data = bytearray(made_volumes.nifti(smooth((5, 6, 7))))
    data[296:312] = bytes(16)  # the second row of the sform
    source.write_bytes(data)
    assert run(["encode", str(source), "-o", str(field), *WORDS]) == 0
    for words in (["--what", "gradient", "--coords", "physical"], ["--slice", "y=1mm"]):
        assert run(["query", str(field), *words, "-o", str(tmp_path / "a.npy")]) == 2

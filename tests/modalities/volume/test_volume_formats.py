"""Every format of volumes is read, and written again with the same samples and the same header."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import made_stores
import made_volumes
import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK
import tifffile
from made_volumes import AFFINE, Made, nifti, npy, samples

from inrfit.errors import InrfitError, RefusedInput, UnreadableFile, UsageError
from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES, Request
from inrfit.modalities.sources import with_companion
from inrfit.modalities.volume import formats, meta, volume

FILES = made_volumes.all_files()


@pytest.fixture(autouse=True)
def here(monkeypatch, request):
    """Only what is written again is read and written in processes of their own, where the format needs them."""
    if "written_again" not in request.node.name:
        made_stores.read_here(monkeypatch)


def loaded(made, **options):
    return volume.load(made.data, made.name, meta.Options(**(made.options | options)), Limits())


def array_of(signal):
    """The samples (*grid, c) in the type of the file."""
    from inrfit.modalities.number_types import in_file

    array = signal.samples.reshape(*signal.meta["shape"], -1)
    return in_file(array, signal.meta["dtype"], "little")


def written(signal, suffix=None, request=Request(), decoded=None):
    decoded = signal.samples.reshape(*signal.meta["shape"], -1) if decoded is None else decoded
    suffix = suffix or volume.suffix(signal.meta)[0]
    volume.check_writable(signal.meta, suffix, request, signal.attachments)
    return volume.write(decoded, signal.meta, suffix, request, signal.attachments)


@pytest.mark.parametrize("name", FILES)
def test_samples_are_read_as_other_libraries_wrote_them(name):
    made = FILES[name]
    signal = loaded(made)
    meta.check_meta(signal.meta)
    np.testing.assert_array_equal(array_of(signal), made.array)


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_again_reads_the_same(name):
    signal = loaded(FILES[name])
    again = loaded(Made(FILES[name].name, written(signal), FILES[name].array, FILES[name].options))
    assert again.meta == signal.meta
    np.testing.assert_array_equal(again.samples, signal.samples)


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("numpy-raw")])
def test_the_options_in_the_header_read_the_source_again(name):
    signal = loaded(FILES[name])
    options = meta.options_of(signal.meta)
    again = volume.load(FILES[name].data, FILES[name].name, meta.Options(**options), Limits())
    assert again.meta == signal.meta


@pytest.mark.parametrize("name", [name for name in FILES if name.split("-")[0] in ("nifti", "netcdf")])
def test_headers_are_kept_to_the_byte(name):
    data = written(loaded(FILES[name]))
    if not name.endswith(".gz"):
        assert data == FILES[name].data


def image_of(data, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        path.write_bytes(data)
        if suffix.startswith(".nii"):
            image = nibabel.load(path)
            return np.asanyarray(image.dataobj), image.affine
        if suffix == ".nrrd":
            return nrrd.read(str(path))
        return SimpleITK.ReadImage(str(path))


def test_other_libraries_read_what_is_written():
    for name in ("nifti-int16.nii", "nifti-times.nii", "nifti-packed.nii.gz"):
        made = FILES[name]
        suffix = name[name.index(".") :]
        (ours, affine), (theirs, expected) = image_of(written(loaded(made)), suffix), image_of(made.data, suffix)
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(affine, expected)
    for name in ("nrrd-gzip.nrrd", "nrrd-vectors.nrrd", "nrrd-uint16.nrrd"):
        (ours, head), (theirs, expected) = (
            image_of(d, ".nrrd") for d in (written(loaded(FILES[name])), FILES[name].data)
        )
        np.testing.assert_array_equal(ours, theirs)
        assert str(head) == str(expected)
    for name in ("meta_image-int16.mha", "meta_image-turned.mha", "meta_image-vectors.mha"):
        ours, theirs = (image_of(data, ".mha") for data in (written(loaded(FILES[name])), FILES[name].data))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(ours), SimpleITK.GetArrayFromImage(theirs))
        for what in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(ours, what)() == getattr(theirs, what)()


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("source", ["nifti-int16.nii", "nrrd-raw.nrrd", "meta_image-turned.mha"])
def test_the_place_in_the_body_survives_a_change_of_format(source, suffix):
    """Judged by SimpleITK, which reads all three and turns their axes to one convention."""
    data = written(loaded(FILES[source]), suffix)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / source, Path(folder) / f"after{suffix}"
        before.write_bytes(FILES[source].data)
        after.write_bytes(data)
        a, b = SimpleITK.ReadImage(str(before)), SimpleITK.ReadImage(str(after))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(a), SimpleITK.GetArrayFromImage(b))
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(a, what)(), getattr(b, what)(), atol=1e-5)


@pytest.mark.parametrize("name", ["nifti-int16.nii", "nrrd-raw.nrrd", "meta_image-turned.mha", "vtk-binaryTrue.vti"])
def test_the_place_of_another_grid_is_that_of_its_first_sample(name):
    """At half the size, the centre of the first sample lies between those of the first two."""
    made = FILES[name]
    signal = loaded(made)
    shape = tuple(-(-side // 2) for side in signal.meta["shape"])
    half = samples((*shape, made.array.shape[-1]), made.array.dtype)
    request = Request(size=shape)
    data = written(signal, request=request, decoded=half)
    again = loaded(Made(made.name, data, half))
    np.testing.assert_array_equal(array_of(again), half)
    before, after = (meta.geometry_of(s.meta).matrix() for s in (signal, again))
    ratio = [n / m for n, m in zip(signal.meta["shape"][::-1], shape[::-1], strict=True)]
    expected = before @ np.array([*(0.5 * r - 0.5 for r in ratio), 1.0])
    np.testing.assert_allclose(after[:, 3], expected, atol=1e-5)
    np.testing.assert_allclose(after[:3, :3], before[:3, :3] * ratio, atol=1e-6)


def test_a_header_of_samples_in_another_file_is_one_source(tmp_path):
    array = samples((5, 6, 7), "int16")
    image = SimpleITK.GetImageFromArray(array)
    SimpleITK.WriteImage(image, str(tmp_path / "made.mhd"))
    nrrd.write(str(tmp_path / "made.nhdr"), array.T, {"encoding": "raw"}, detached_header=True)
    for name in ("made.mhd", "made.nhdr"):
        data = with_companion((tmp_path / name).read_bytes(), tmp_path / name, Limits())
        signal = volume.load(data, name, meta.Options(), Limits())
        np.testing.assert_array_equal(array_of(signal)[..., 0], array)
        again = volume.load(written(signal), name, meta.Options(), Limits())
        np.testing.assert_array_equal(again.samples, signal.samples)


@pytest.mark.parametrize("named", ["../made.raw", "/etc/passwd", "missing.raw"])
def test_samples_are_read_from_the_folder_of_their_header_only(tmp_path, named):
    (tmp_path / "made.raw").write_bytes(bytes(210))
    header = f"NDims = 3\nDimSize = 7 6 5\nElementType = MET_UCHAR\nElementDataFile = {named}\n".encode()
    with pytest.raises(RefusedInput, match="same folder" if "/" in named else "no such file"):
        with_companion(header, tmp_path / "folder" / "made.mhd" if "/" in named else tmp_path / "made.mhd", Limits())


@pytest.mark.parametrize("name", [name for name in FILES if name.split("-")[0] not in made_volumes.ISOLATED])
def test_a_file_that_is_cut_or_changed_is_refused_or_read_but_never_a_fault(name):
    made, draw = FILES[name], np.random.default_rng(0)
    options = meta.Options(**made.options)
    for share in (0.05, 0.3, 0.6, 0.95):
        cut = made.data[: int(share * len(made.data))]
        with contextlib.suppress(RefusedInput, UsageError):  # what is left of a text may be whole
            volume.load(cut, made.name, options, Limits())
    for _ in range(60):
        broken = bytearray(made.data)
        for place in draw.integers(0, min(len(broken), 800), 3):
            broken[place] = int(draw.integers(0, 256))
        try:
            signal = volume.load(bytes(broken), made.name, options, Limits(max_voxels=10**6))
        except InrfitError:
            continue
        meta.check_meta(signal.meta)
        volume.describe_source(signal.meta)


def test_axes_that_may_be_channels_must_be_named():
    with pytest.raises(UsageError, match=r"5x6x3 may have channels .* -O axes=yxc, or -O axes=zyx"):
        loaded(Made("a.npy", npy(samples((5, 6, 3))), samples((5, 6, 3))))
    assert loaded(Made("a.npy", npy(samples((5, 6, 3))), None, {"axes": "zyx"})).meta["shape"] == [5, 6, 3]
    for axes in ("zy", "zyxt", "zyz"):
        with pytest.raises((UsageError, ValueError)):
            loaded(Made("a.npy", npy(samples((5, 6, 7))), None, {"axes": axes}))


def test_one_of_several_arrays_must_be_named():
    stream = io.BytesIO()
    np.savez(stream, a=samples((5, 6, 7)), b=samples((8, 9, 10)))
    with pytest.raises(UsageError, match="several arrays; choose one with -O array=NAME: a, b"):
        loaded(Made("a.npz", stream.getvalue(), None))
    with pytest.raises(UsageError, match="no such array, but a, b"):
        loaded(Made("a.npz", stream.getvalue(), None, {"array": "c"}))
    found = loaded(Made("a.npz", stream.getvalue(), None, {"array": "b"}))
    assert found.meta["shape"] == [8, 9, 10]
    assert found.notes == ("arrays not kept: a",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(128) + b"DICM" + bytes(300), "dcm2niix"),
        (b" BDV\0\0\0\0" + bytes(300), "OpenVDB is not read"),
        (b"\x89HDF\r\n\x1a\n" + bytes(300), "damaged, or of a variant of HDF5"),
        (npy(np.zeros(3, [("a", "i4")])), "not supported"),
        (npy(np.full((5, 6, 7), 2**40)), "beyond 32 bits"),
        (npy(np.zeros((2, 2, 2, 2, 2, 9))), "not supported"),
        (npy(np.full((5, 6, 7), np.nan)), "no sample has a value"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_advice(data, message):
    assert volume.sniff(data)
    with pytest.raises(InrfitError, match=message):
        loaded(Made("a", data, None))


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.h5", "not HDF5"), ("a.nii", "not NIfTI"), ("a.nc", "not netCDF-3 or netCDF-4"), ("a.zarr.zip", "not Zarr"),
     ("empty.npz", "not NumPy archive")],
)  # fmt: skip
def test_content_that_a_suffix_promises_and_the_file_lacks(name, message):
    data = b"PK\x05\x06" + bytes(18) if name == "empty.npz" else b"\x01junk" * 1000
    with pytest.raises(UnreadableFile, match=message):
        loaded(Made(name, data, None))


def test_a_tiff_of_one_page_is_a_volume_where_it_is_named_one():
    array = samples((6, 7), "float32")
    signal = loaded(Made("a.tif", made_volumes.tiff(array), None))
    assert signal.meta["axes"] == "yx"
    np.testing.assert_array_equal(array_of(signal)[..., 0], array)


def test_limits_hold_before_anything_is_allocated():
    header = b"NRRD0004\ntype: float\ndimension: 3\nsizes: 4000 4000 4000\nencoding: raw\n\n"
    with pytest.raises(InrfitError, match="--max-voxels"):
        loaded(Made("a.nrrd", header, None))
    with pytest.raises(RefusedInput, match="ends early"):
        loaded(Made("a.nrrd", header.replace(b"4000", b"400"), None))


def test_samples_without_a_value_are_left_out_and_written_back():
    array = samples((5, 6, 7), "float32")
    array[:, 1] = np.nan
    array[0, 0, 0] = np.inf
    signal = loaded(Made("a.npy", npy(array), None))
    assert signal.grid is None
    assert signal.n == np.isfinite(array).sum() == signal.points.shape[0]
    assert "samples without a value are neither fitted nor measured" in signal.notes[0]
    assert signal.notes[1] == "1 of them infinite: they come back as samples without a value"
    decoded = volume.with_missing(np.zeros((5, 6, 7, 1), "float32"), signal.meta, signal.attachments)
    np.testing.assert_array_equal(np.isnan(decoded[..., 0]), ~np.isfinite(array))
    half = volume.with_missing(np.zeros((5, 3, 7, 1), "float32"), signal.meta, signal.attachments)
    assert np.isnan(half[:, 0]).all()
    assert not np.isnan(half[:, 1:]).any()


def test_scaling_axes_and_units_of_netcdf_are_read():
    made = FILES["netcdf-recordFalse.nc"]
    signal = loaded(made)
    assert signal.meta["slope"] == 0.5
    assert signal.meta["intercept"] == 273.0
    assert signal.meta["axes"] == "tyx"
    assert signal.meta["units"][0] == "hours since 2000-01-01"


def test_bad_signals_are_never_taken_for_others():
    for name, made in FILES.items():
        if not name.startswith("numpy-raw"):
            assert next(m.name for m in MODALITIES.values() if m.sniff(made.data)) == "volume", name
    assert formats.recognised(b"") is None


def test_affine_of_nifti_is_read_as_nibabel_reads_it():
    signal = loaded(Made("a.nii", nifti(samples((7, 6, 5))), None))
    np.testing.assert_allclose(np.array(signal.meta["affine"]).reshape(4, 4), AFFINE, atol=1e-6)
    assert signal.meta["units"] == ["mm", "mm", "mm"]


def tiff_of(data):
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.ome_metadata, dict(file.imagej_metadata or {}), file.series[0].axes


def test_descriptions_of_microscopes_come_back_as_they_are():
    array = samples((2, 5, 6, 7), "uint16")
    about = {"axes": "CZYX", "Channel": {"Name": ["DAPI", "GFP"]}, "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    source = made_volumes.tiff(array, ome=True, metadata=about, photometric="minisblack")
    signal = loaded(Made("a.ome.tif", source, array))
    again = written(signal)
    assert tiff_of(again) == tiff_of(source)  # with its UUID
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(again)), array)
    half = written(signal, request=Request(size=(3, 3, 4)), decoded=np.zeros((3, 3, 4, 2), "uint16"))
    assert tifffile.imread(io.BytesIO(half)).shape == (2, 3, 3, 4)
    assert all(part in tiff_of(half)[0] for part in ('SizeX="4"', 'Name="DAPI"', 'Name="GFP"'))
    for more in ({"loop": False}, {"loop": True, "spacing": 1.0, "unit": "um"}, {"finterval": 0.5, "spacing": 2.5}):
        source = made_volumes.tiff(array, imagej=True, metadata={"axes": "TZYX", **more})
        signal = loaded(Made("a.tif", source, array))
        assert tiff_of(written(signal)) == tiff_of(source), more
    source = made_volumes.tiff(array, imagej=True, metadata={"axes": "TZYX", "Info": "made", "Labels": ["a"] * 10})
    assert "metadata of ImageJ not kept: Info, Labels" in loaded(Made("a.tif", source, array)).notes
    source = made_volumes.tiff(array[0], photometric="minisblack", resolution=(300, 300), resolutionunit="INCH")
    assert "pixel density not kept" in loaded(Made("a.tif", source, array)).notes
    assert "pixel density not kept" not in loaded(FILES["tiff-pages.tif"]).notes

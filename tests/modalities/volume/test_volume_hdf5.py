"""HDF5 and netCDF-4: what is kept of a file, parts of it, and files that are refused. h5py judges."""

from __future__ import annotations

import sys
import zlib

import h5py
import numpy as np
import pytest
from made_stores import hdf5, netcdf4, opened, read_here
from made_volumes import samples

import inrfit
from inrfit.__main__ import run
from inrfit.errors import InrfitError, RefusedInput, UnreadableFile, UnsupportedInput, UsageError
from inrfit.io.limits import Limits
from inrfit.modalities import Request
from inrfit.modalities.volume import domain, hdf5_file, meta, volume

QUICK = ["--budget", "40it", "--width", "16", "--depth", "2", "--batch", "128", "--device", "cpu"]


@pytest.fixture
def apart():
    """For tests with damaged files, which are read in a process of their own."""


@pytest.fixture(autouse=True)
def here(monkeypatch, request):
    """Other files are read in this process."""
    if "apart" not in request.fixturenames:
        read_here(monkeypatch)


def loaded(data, limits=Limits(), **options):
    return volume.load(data, "made.h5", meta.Options(**options), limits)


def written(signal, decoded=None, part=None, request=Request()):
    """The file of the whole signal, or of a part: its meta and attachments."""
    described, attachments = part or (signal.meta, signal.attachments)
    decoded = signal.samples.reshape(*signal.meta["shape"], -1) if decoded is None else decoded
    suffix = volume.suffix(described)[0]
    volume.check_writable(described, suffix, request, attachments)
    return volume.write(decoded, described, suffix, request, attachments)


def full(file):
    """A file with all that may be kept."""
    array = samples((5, 6, 7), ">u2")
    data = file.create_dataset(
        "entry/data", data=array, chunks=(2, 3, 4), compression="gzip", compression_opts=7, shuffle=True,
        fletcher32=True, maxshape=(None, 6, 7), fillvalue=9,
    )  # fmt: skip
    file.attrs["title"], file.attrs["words"] = "hé", ["a", "bb"]
    file.attrs["nothing"] = h5py.Empty("f4")
    file["entry"].attrs["NX_class"] = "NXentry"
    data.attrs["pair"] = np.array([(1, 2.5)], [("a", "i4"), ("b", ">f8")])
    data.attrs["padded"] = np.bytes_("xyz")
    data.attrs["me"] = data.ref
    for axis, name in enumerate("zyx"):
        data.dims[axis].label = name
    entry = file["entry"]
    entry["text"], entry["words"] = np.array([b"ab", b"c"]), ["x", "yy"]
    entry["one"], entry["empty"], entry["gap"] = "scalar", np.zeros(0), h5py.Empty("i4")
    entry.create_dataset("ragged", (2,), h5py.vlen_dtype("i4"))[0] = [1, 2, 3]
    for number in range(20):  # more than fit into the header of a group
        entry.create_group(f"group{number}")
    file["again"], file["soft"] = data, h5py.SoftLink("/entry/data")


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}, {"track_order": True}, {"userblock_size": 512}])
def test_a_file_comes_back_with_all_that_it_has(options):
    data = hdf5(full, **options)
    if "userblock_size" in options:
        data = b"MATLAB 7.3 MAT-file".ljust(512) + data[512:]
    signal = loaded(data, array="/entry/data")
    after = written(signal)
    assert after == written(signal)
    assert after[: options.get("userblock_size", 0)] == data[: options.get("userblock_size", 0)]
    with opened(data) as old, opened(after) as new:
        names: list[str] = []
        old.visit(names.append)
        assert sorted(names) == sorted(_visited(new))
        assert list(old) == list(new) or "track_order" in options
        a, b = old["entry/data"], new["entry/data"]
        np.testing.assert_array_equal(a[...], b[...])
        kept = ("dtype", "chunks", "compression", "compression_opts", "shuffle", "fletcher32", "maxshape", "fillvalue")
        assert [getattr(a, name) for name in kept] == [getattr(b, name) for name in kept]
        assert [axis.label for axis in b.dims] == ["z", "y", "x"]
        assert new[b.attrs["me"]] == b == new["again"]
        assert b.attrs["pair"] == a.attrs["pair"]
        assert b.attrs["padded"] == b"xyz"
        assert b.attrs.get_id("pair").get_type().equal(a.attrs.get_id("pair").get_type())
        assert (new.attrs["title"], list(new.attrs["words"])) == ("hé", ["a", "bb"])
        assert isinstance(new.attrs["nothing"], h5py.Empty)
        assert new["entry"].attrs["NX_class"] == "NXentry"
        assert list(new["entry/words"].asstr()) == ["x", "yy"]
        assert list(new["entry/ragged"][0]) == [1, 2, 3]
        assert new.get("soft", getlink=True).path == "/entry/data"


def _visited(file):
    names: list[str] = []
    file.visit(names.append)
    return names


def test_samples_of_every_number_type_come_back():
    for dtype in ("bool", "int8", "uint64", "float16", ">f8", "complex128"):
        array = samples((4, 5, 6), dtype)
        signal = loaded(hdf5(lambda file, array=array: file.create_dataset("a", data=array)))
        with opened(written(signal)) as file:
            assert file["a"].dtype == np.dtype(dtype)
            np.testing.assert_array_equal(file["a"][...], array)


def test_large_data_sets_are_not_kept_which_is_said():
    def fill(file):
        file["a"], file["few"] = samples((5, 6, 7)), np.arange(3)
        file["many"] = samples((1_200_000,), "float64")

    signal = loaded(hdf5(fill), array="a")
    assert signal.notes == ("arrays not kept: many",)
    with opened(written(signal)) as file:
        assert list(file) == ["a", "few"]


def test_coordinates_of_netcdf_are_its_place():
    data = netcdf4(samples((4, 6, 7), "int16"), scale_factor=0.5, add_offset=273.0)
    found = loaded(data).meta
    assert (found["format"], found["axes"], found["slope"], found["intercept"]) == ("netCDF-4", "tyx", 0.5, 273.0)
    assert found["spacing"] == [6.0, -10.0, 1.0]
    assert found["origin"] == [0.0, 60.0, 0.0]
    assert found["units"] == ["hours since 2000-01-01", "degrees_north", ""]


def test_a_part_has_its_coordinates():
    array = samples((4, 6, 7), "int16")
    signal = loaded(netcdf4(array, several=True), array="t2m")
    part = domain.window(signal.meta, signal.attachments, [(1, 3), (2, 5), (0, 7)])
    part = domain.window(*part, [(0, 2), (1, 3), (3, 7)])
    with opened(written(signal, array[1:3, 3:5, 3:, None], part)) as file:
        np.testing.assert_array_equal(file["t2m"][...], array[1:3, 3:5, 3:])
        np.testing.assert_array_equal(file["time"][...], [6, 12])
        np.testing.assert_array_equal(file["lat"][...], np.linspace(60, 10, 6)[3:5].astype("f4"))
        np.testing.assert_array_equal(file["more/other"][...], np.arange(24.0).reshape(4, 6)[1:3, 3:5])
        assert file["lon"].shape == (4,)
        assert file["lon"].attrs["NAME"].endswith(b"         4")
        assert [axis.keys()[0] for axis in file["t2m"].dims] == ["time", "lat", file["lon"].attrs["NAME"].decode()]
        assert file["t2m"].maxshape[0] is None
    found = loaded(written(signal, array[1:3, 3:5, 3:, None], part), array="t2m").meta
    assert (found["origin"], found["spacing"]) == ([6.0, 30.0, 0.0], [6.0, -10.0, 1.0])


def test_another_grid_has_coordinates_between_those_of_the_source():
    signal = loaded(netcdf4(samples((4, 6, 7), "int16"), several=True), array="t2m")
    data = written(signal, np.ones((8, 3, 7, 1), "int16"), request=Request(size=(8, 3, 7)))
    with opened(data) as file:
        np.testing.assert_allclose(file["time"][...], np.arange(8) * 3 - 1.5)
        np.testing.assert_allclose(file["lat"][...], [55, 35, 15])
        assert "other" not in file["more"]


def test_uneven_positions_are_kept_but_no_place():
    def fill(file):
        file["p"], file["level"] = samples((4, 5)), [1000.0, 500.0, 200.0, 100.0]
        file["level"].make_scale("level")
        file["p"].dims[0].attach_scale(file["level"])

    signal = loaded(hdf5(fill))
    assert signal.meta["spacing"] is None
    assert signal.notes == ("positions along level are not evenly spaced: regions and queries count its samples",)
    part = domain.window(signal.meta, signal.attachments, [(1, 3), (0, 5)])
    with opened(written(signal, samples((2, 5))[..., None], part)) as file:
        np.testing.assert_array_equal(file["level"][...], [500.0, 200.0])


def test_samples_without_a_value_are_those_of_both_attributes():
    array = samples((4, 6, 7), "int16")
    array[0], array[1] = -999, -32768
    signal = loaded(netcdf4(array, _FillValue=np.int16(-32768), missing_value=np.int16(-999)))
    assert signal.n == 84
    assert signal.meta["missing"] == -32768
    decoded = volume.with_missing(np.zeros((4, 6, 7, 1), "int16"), signal.meta, signal.attachments)
    assert (decoded[:2] == -32768).all()


def test_one_of_several_data_sets_must_be_named():
    def fill(file):
        file["entry/data"], file["entry/dark"], file["entry/x"] = samples((5, 6, 7)), samples((6, 7)), np.arange(7)

    with pytest.raises(UsageError, match="several arrays; choose one with -O array=NAME: entry/dark, entry/data"):
        loaded(hdf5(fill))
    for wrong in ("entry", "entry/none", "../entry/data"):
        with pytest.raises(UsageError, match="no such array, but entry/dark, entry/data"):
            loaded(hdf5(fill), array=wrong)
    assert loaded(hdf5(fill), array="entry/dark").meta["shape"] == [6, 7]
    assert loaded(hdf5(fill), array="entry/x").meta["shape"] == [7]


def test_axes_that_no_name_tells_are_those_of_an_array():
    with pytest.raises(UsageError, match="may have channels on its last axis"):
        loaded(hdf5(lambda file: file.create_dataset("a", data=samples((5, 6, 3)))))
    many = hdf5(lambda file: file.create_dataset("a", data=samples((2, 3, 4, 5, 6))))
    with pytest.raises(UsageError, match="-O axes="):
        loaded(many)
    assert loaded(many, axes="ctzyx").meta["channels"] == 2


def test_other_files_are_not_read(tmp_path):
    """Neither by an external link, nor as external storage, nor as a part of a virtual data set."""
    secret = tmp_path / "secret.h5"
    secret.write_bytes(hdf5(lambda file: file.create_dataset("a", data=samples((5, 6)))))
    raw = tmp_path / "secret.raw"
    raw.write_bytes(bytes(1000))

    def fill(file):
        file["link"] = h5py.ExternalLink(str(secret), "/a")
        file["own"] = samples((4, 5))
        file.create_dataset("raw", (10, 10), "u1", external=[(str(raw), 0, 100)])
        layout = h5py.VirtualLayout((5, 6), "u1")
        layout[...] = h5py.VirtualSource(str(secret), "a", (5, 6))
        file.create_virtual_dataset("virtual", layout)

    data = hdf5(fill, libver="latest")
    with pytest.raises(UsageError, match="no such array, but own, raw, virtual"):
        loaded(data, array="link")
    for name in ("raw", "virtual"):
        with pytest.raises(UnsupportedInput, match="its samples are in other files, which are not read"):
            loaded(data, array=name)
    signal = loaded(data, array="own")
    assert signal.notes == ("arrays not kept: raw, virtual",)
    with opened(written(signal)) as file:
        assert sorted(file) == ["link", "own"]
        assert file.get("link", getlink=True).filename == str(secret)


REFUSED = {
    "compound": (lambda f: f.create_dataset("a", data=np.zeros(9, [("x", "i4")])), "not numbers"),
    "text": (lambda f: f.create_dataset("a", data=["x", "y"]), "not numbers"),
    "bytes": (lambda f: f.create_dataset("a", data=np.array([[b"x"]])), "not numbers"),
    "ragged": (lambda f: f.create_dataset("a", (3, 3), h5py.vlen_dtype("f4")), "not numbers"),
    "references": (lambda f: f.create_dataset("a", (3, 3), h5py.ref_dtype), "not numbers"),
    "opaque": (lambda f: f.create_dataset("a", data=np.zeros((3, 3), "V5")), "not numbers"),
    "zero": (lambda f: f.create_dataset("a", data=np.zeros((0, 5, 6))), "has no samples: its shape is 0x5x6"),
    "scalar": (lambda f: f.create_dataset("a", data=3.0), "is not an array"),
    "empty": (lambda f: f.create_dataset("a", data=h5py.Empty("f4")), "is not an array"),
    "never": (lambda f: f.create_dataset("a", (9, 9), "f4"), "no sample was ever written"),
    "wide": (lambda f: f.create_dataset("a", data=np.full((3, 9), 2**40)), "beyond 32 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_of_numbers_is_refused(name):
    fill, message = REFUSED[name]
    with pytest.raises(RefusedInput, match=message):
        loaded(hdf5(fill), array="a")


@pytest.mark.usefixtures("apart")
def test_attributes_of_any_kind_do_no_harm():
    def fill(file):
        data = file.create_dataset("a", data=samples((5, 6, 7), "float32"))
        data.attrs["_FillValue"], data.attrs["missing_value"] = "none", np.zeros(0)
        data.attrs["scale_factor"], data.attrs["add_offset"] = np.nan, [1.0, 2.0]
        data.attrs["DIMENSION_LIST"], data.attrs["CLASS"] = 5, h5py.Empty("f4")
        data.attrs["DIMENSION_LABELS"] = np.arange(3)
        file.attrs["_NCProperties"] = 1

    signal = loaded(hdf5(fill))
    assert (signal.meta["slope"], signal.meta["intercept"], signal.meta["axes"]) == (1.0, 1.0, "zyx")
    with opened(written(signal)) as file:
        assert np.isnan(file["a"].attrs["scale_factor"])


def test_a_filter_that_h5py_lacks_is_named():
    def fill(file):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 4))
        plist.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((8, 8))
        h5py.Dataset(h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_FLOAT, space, plist))[...] = 1

    with pytest.raises(UnsupportedInput, match=r"a filter that h5py lacks \(32015.*h5repack"):
        loaded(hdf5(fill))


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_file_that_is_cut_is_refused(share):
    data = hdf5(full)
    with pytest.raises(UnreadableFile):
        loaded(data[: int(share * len(data))], array="entry/data")


@pytest.mark.usefixtures("apart")
def test_a_changed_file_is_refused_or_read_but_never_a_fault():
    data, draw = netcdf4(samples((4, 6, 7), "int16")), np.random.default_rng(0)
    for _ in range(12):
        broken = bytearray(data)
        for place in draw.integers(0, 3000, 4):
            broken[place] = int(draw.integers(0, 256))
        try:
            signal = loaded(bytes(broken), Limits(max_voxels=10**6), array="t2m")
        except InrfitError:
            continue
        meta.check_meta(signal.meta)
        volume.write(np.zeros((*signal.meta["shape"], signal.channels), signal.samples.dtype), signal.meta,
                     volume.suffix(signal.meta)[0], Request(), signal.attachments)  # fmt: skip


@pytest.mark.usefixtures("apart")
def test_sizes_are_refused_before_anything_is_allocated():
    chunks = {"chunks": (64, 64, 64), "compression": "gzip"}

    def huge(file):
        file.create_dataset("a", (100_000,) * 3, "f8", **chunks)[0, 0, :9] = 1

    def wide_chunk(file):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1024, 1024, 1000))
        space = h5py.h5s.create_simple((2, 2, 2), (h5py.h5s.UNLIMITED,) * 3)
        made = h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_UINT8, space, plist)
        made.write_direct_chunk((0, 0, 0), b"x")

    with pytest.raises(InrfitError, match=r"voxels: 1,000,000,000,000,000.*--max-voxels"):
        loaded(hdf5(huge))
    with pytest.raises(InrfitError, match=r"voxels in a chunk.*--max-voxels"):
        loaded(hdf5(wide_chunk), Limits(max_voxels=10**6), axes="zyx")


def test_a_chunk_that_unpacks_to_more_than_a_chunk_is_refused():
    def fill(file):
        data = file.create_dataset("a", (64, 64, 64), "u1", chunks=(64, 64, 64), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(10**9), 1))

    with pytest.raises(UnreadableFile, match="unpacks to more than the 262,144 bytes of a chunk"):
        loaded(hdf5(fill))


@pytest.mark.usefixtures("apart")
def test_a_damaged_rest_of_a_file_is_refused_when_it_is_written():
    signal = loaded(hdf5(lambda file: file.create_dataset("a", data=samples((5, 6, 7)))))
    for content in (b"x", zlib.compress(b"x" * 3000), zlib.compress(hdf5(lambda file: file.create_group("b")))):
        with pytest.raises(InrfitError):
            written(signal, part=(signal.meta, {"header": content}))


def test_other_formats_have_no_hdf5_to_write():
    array = np.arange(210.0, dtype="f4").reshape(5, 6, 7)
    field = inrfit.encode(array, axes="zyx", budget="1it", width=8, depth=1, device="cpu")
    for suffix, name in ((".h5", "HDF5"), (".nc4", "netCDF-4"), (".zarr.zip", "Zarr")):
        with pytest.raises(UsageError, match=f"{name} is written only for a source of that format"):
            volume.check_writable(field.meta, suffix, Request(), {})


@pytest.mark.usefixtures("apart")
def test_a_missing_extra_is_a_usage_error_before_torch(tmp_path, monkeypatch, capsys):
    path, loaded_modules = tmp_path / "a.h5", set(sys.modules)
    path.write_bytes(hdf5(lambda file: file.create_dataset("a", data=samples((5, 6, 7)))))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"needs inrfit\[hdf5\]: pip install 'inrfit\[hdf5\]'"):
        hdf5_file.require()
    assert run(["encode", str(path)]) == 2
    assert "pip install 'inrfit[hdf5]'" in capsys.readouterr().err
    assert "torch" not in set(sys.modules) - loaded_modules


@pytest.mark.usefixtures("apart")
def test_a_crop_of_a_field_is_a_file_of_its_kind(tmp_path):
    source, field, crop = (tmp_path / name for name in ("a.nc", "a.nc.safetensors", "crop.nc"))
    array = (np.indices((4, 6, 7)).sum(0) * 10).astype("int16")
    source.write_bytes(netcdf4(array))
    assert run(["encode", str(source), *QUICK]) == 0
    assert run(["measure", str(field), str(source)]) == 0
    assert run(["query", str(field), "--region", "y=20u:45u,x=2:5", "-o", str(crop)]) == 0
    with h5py.File(crop) as file:
        assert file["t2m"].shape == (4, 3, 3)
        np.testing.assert_array_equal(file["lat"][...], [40.0, 30.0, 20.0])
    assert run(["decode", str(field)]) == 0
    assert (tmp_path / "a.decoded.nc").exists()

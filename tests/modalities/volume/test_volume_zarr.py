"""Zarr and OME-Zarr: folders and archives as sources, what is kept, parts, and stores that are refused."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from made_stores import ome_zarr, read_here, zarr_array, zarr_dataset, zarr_store
from made_volumes import samples

from inrfit.__main__ import run
from inrfit.errors import InrfitError, RefusedInput, UnreadableFile, UnsupportedInput, UsageError
from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES, Request
from inrfit.modalities.sources import read_source
from inrfit.modalities.volume import domain, meta, volume
from inrfit.modalities.volume import zarr_store as stores

QUICK = ["--budget", "40it", "--width", "16", "--depth", "2", "--batch", "128", "--device", "cpu"]
IMAGE = samples((2, 5, 16, 14), "uint16")


@pytest.fixture
def apart():
    """For tests with damaged files, which are read in a process of their own."""


@pytest.fixture(autouse=True)
def here(monkeypatch, request):
    """Other files are read in this process."""
    if "apart" not in request.fixturenames:
        read_here(monkeypatch)


def loaded(data, limits=Limits(), **options):
    return volume.load(data, "made.zarr", meta.Options(**options), limits)


def written(signal, decoded=None, part=None, request=Request(), suffix=".zarr.zip"):
    described, attachments = part or (signal.meta, signal.attachments)
    decoded = signal.samples.reshape(*signal.meta["shape"], -1) if decoded is None else decoded
    volume.check_writable(described, suffix, request, attachments)
    return volume.write(decoded, described, suffix, request, attachments)


def files_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in files.items():
            made.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return out.getvalue()


def opened(data: bytes, tmp_path: Path):
    """The store as zarr reads it."""
    path = tmp_path / "opened.zarr.zip"
    path.write_bytes(data)
    return zarr.open(zarr.storage.ZipStore(path, read_only=True), mode="r")


def multiscale(group):
    attributes = dict(group.attrs)
    return attributes.get("ome", attributes)["multiscales"][0]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image_comes_back_at_its_highest_resolution(version, tmp_path):
    data = zarr_store(lambda path: ome_zarr(path, IMAGE, version, coordinateTransformations=[
        {"type": "scale", "scale": [1, 2, 1, 1]}]))  # fmt: skip
    signal = loaded(data)
    assert (signal.meta["axes"], signal.meta["channels"], signal.meta["layout"]["name"]) == ("zyx", 2, "s0")
    assert signal.meta["spacing"] == [4.0, 0.65, 0.65]
    assert signal.meta["origin"] == [20.0, 0.0, 0.0]
    assert signal.meta["units"] == ["um"] * 3
    assert signal.notes[0] == "lower resolutions not kept: 1"
    after = written(signal)
    assert after == written(signal)
    group = opened(after, tmp_path)
    np.testing.assert_array_equal(group["s0"][...], IMAGE)
    before = zarr.open(zarr.storage.MemoryStore(_held(data)), mode="r")
    assert group["s0"].metadata == before["s0"].metadata
    kept = multiscale(before) | {"datasets": multiscale(before)["datasets"][:1]}
    assert multiscale(group) == kept
    assert dict(group["labels"].attrs) == {"labels": ["cells"]}
    assert list(files_of(after))[:1] == (["zarr.json"] if version == "0.5" else [".zattrs"])


def _held(data):
    from zarr.core.buffer import default_buffer_prototype

    kind = default_buffer_prototype().buffer
    return {name: kind.from_bytes(content) for name, content in files_of(data).items()}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_part_and_another_grid_of_an_image_are_at_their_place(version, tmp_path):
    signal = loaded(zarr_store(lambda path: ome_zarr(path, IMAGE, version)))
    part = domain.window(signal.meta, signal.attachments, [(1, 4), (2, 10), (0, 14)])
    group = opened(written(signal, np.moveaxis(IMAGE, 0, -1)[1:4, 2:10], part), tmp_path)
    np.testing.assert_array_equal(group["s0"][...], IMAGE[:, 1:4, 2:10])
    place = {step["type"]: step[step["type"]] for step in multiscale(group)["datasets"][0]["coordinateTransformations"]}
    assert place == {"scale": [1.0, 2.0, 0.65, 0.65], "translation": [0.0, 12.0, 1.3, 0.0]}
    half = np.zeros((5, 8, 7, 2), "uint16")
    group = opened(written(signal, half, request=Request(size=(5, 8, 7))), tmp_path)
    place = {step["type"]: step[step["type"]] for step in multiscale(group)["datasets"][0]["coordinateTransformations"]}
    assert place == {"scale": [1.0, 2.0, 1.3, 1.3], "translation": [0.0, 10.0, 0.325, 0.325]}


def test_a_zipped_image_is_written_by_its_name_only_from_one():
    signal = loaded(zarr_store(lambda path: ome_zarr(path, IMAGE)))
    assert next(iter(files_of(written(signal, suffix=".ozx")))) == "zarr.json"
    old = loaded(zarr_store(lambda path: ome_zarr(path, IMAGE, "0.4")))
    with pytest.raises(UsageError, match=r"\.ozx holds only an image of OME-Zarr 0\.5"):
        written(old, suffix=".ozx")


def test_labels_and_lower_resolutions_are_read_by_name():
    data = zarr_store(lambda path: ome_zarr(path, IMAGE))
    assert loaded(data, array="labels/cells/0").meta["shape"] == [5, 16, 14]
    with pytest.raises(UsageError, match="no such array, but labels/cells/0, s0"):
        loaded(data, array="s1")  # the folder is read without it


def test_images_of_several_positions_are_named_by_their_group():
    def fill(path):
        zarr.open_group(path, mode="w").attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
        for name in ("0", "1"):
            ome_zarr(f"{path}/{name}", IMAGE[int(name) :])

    data = zarr_store(fill)
    with pytest.raises(UsageError, match="several arrays"):
        loaded(data)
    found = loaded(data, array="1")
    assert (found.meta["layout"]["name"], found.meta["channels"]) == ("1/s0", 1)


CODECS = {
    "blosc": {"form": 2, "compressors": numcodecs.Blosc()},
    "lz4": {"form": 2, "compressors": numcodecs.LZ4()},
    "shuffled": {"form": 2, "compressors": numcodecs.Zlib(), "filters": [numcodecs.Shuffle(4)]},
    "plain": {"form": 2, "compressors": None, "order": "F"},
    "gzip": {"compressors": [zarr.codecs.GzipCodec()]},
    "checked": {"compressors": [zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()]},
    "turned": {"filters": [zarr.codecs.TransposeCodec(order=(2, 1, 0))]},
    "shards": {"chunks": (2, 3, 4), "shards": (4, 6, 8), "compressors": [zarr.codecs.GzipCodec()]},
}


@pytest.mark.parametrize("name", CODECS)
def test_arrays_keep_chunks_and_codecs(name, tmp_path):
    array = samples((5, 6, 7), "float32")
    data = zarr_store(lambda path: zarr_array(path, array, attributes={"a": 1}, **CODECS[name]))
    after = written(loaded(data))
    assert after == written(loaded(data))
    found, before = opened(after, tmp_path), zarr.open(zarr.storage.MemoryStore(_held(data)), mode="r")
    np.testing.assert_array_equal(found[...], array)
    assert found.metadata == before.metadata


@pytest.mark.parametrize("form", [2, 3])
def test_coordinates_beside_an_array_are_its_place(form, tmp_path):
    array = samples((4, 6, 7), "int16")
    array[0, 0] = -32768
    data = zarr_store(lambda path: zarr_dataset(path, array, form))
    signal = loaded(data, array="t2m")
    assert (signal.meta["axes"], signal.meta["slope"], signal.meta["missing"]) == ("tyx", 0.5, -32768)
    assert signal.meta["spacing"] == [6.0, -10.0, 1.0]
    assert signal.meta["units"][:2] == ["hours since 2000-01-01", "degrees_north"]
    part = domain.window(signal.meta, signal.attachments, [(1, 3), (2, 5), (0, 7)])
    group = opened(written(signal, array[1:3, 2:5, :, None], part), tmp_path)
    np.testing.assert_array_equal(group["t2m"][...], array[1:3, 2:5])
    np.testing.assert_array_equal(group["time"][...], [6, 12])
    np.testing.assert_array_equal(group["lat"][...], [40.0, 30.0, 20.0])
    np.testing.assert_array_equal(group["other"][...], np.arange(24.0).reshape(4, 6)[1:3, 2:5])
    assert set(group.array_keys()) == {"lat", "other", "t2m", "time"}
    finer = opened(written(signal, np.ones((8, 6, 7, 1), "int16"), request=Request(size=(8, 6, 7))), tmp_path)
    np.testing.assert_allclose(finer["time"][...], np.arange(8) * 3 - 1.5)
    assert set(finer.array_keys()) == {"lat", "t2m", "time"}
    assert zarr.open_consolidated(finer.store, mode="r")["time"].shape == (8,)


@pytest.mark.usefixtures("apart")
def test_a_folder_is_one_source(tmp_path, capsys):
    folder, field = tmp_path / "img.zarr", tmp_path / "img.zarr.safetensors"
    ome_zarr(str(folder), (np.indices((2, 5, 16, 14)).sum(0) * 9).astype("uint16"))
    assert run(["encode", f"{folder}/", *QUICK]) == 0
    assert run(["measure", str(field), str(folder)]) == 0
    assert run(["decode", str(field)]) == 0
    assert (tmp_path / "img.decoded.zarr.zip").exists()
    assert run(["query", str(field), "--region", "z=12um:20um", "-o", str(tmp_path / "part.ozx")]) == 0
    assert loaded((tmp_path / "part.ozx").read_bytes()).meta["origin"][0] == 12.0
    for name in ("new.zarr", "other.zarr/"):
        assert run(["decode", str(field), "-o", str(tmp_path / name)]) == 0
        assert zarr.open(str(tmp_path / name), mode="r")["s0"].shape == (2, 5, 16, 14)
    assert run(["query", str(field), "--region", "z=12um:20um", "-o", str(tmp_path / "part.zarr")]) == 0
    assert loaded(read_source(tmp_path / "part.zarr", Limits())).meta["origin"][0] == 12.0
    capsys.readouterr()
    before = sorted(os.listdir(folder))
    for words in ([], ["--force"]):
        assert run(["decode", str(field), "-o", str(folder), *words]) == 2
        assert "already exists (a folder is not replaced: remove it first)" in capsys.readouterr().err
    assert sorted(os.listdir(folder)) == before
    (tmp_path / "more").mkdir()
    folder.rename(tmp_path / "more" / "img.zarr")
    capsys.readouterr()
    assert run(["encode", str(tmp_path / "more"), "-o", f"{tmp_path}/fields/", "--dry-run", "--json"]) == 0
    assert '"files": 1' in capsys.readouterr().out


def test_an_archive_of_a_folder_is_read_without_its_name():
    files = files_of(zarr_store(lambda path: zarr_array(path, samples((5, 6, 7)))))
    data = archive({f"img.zarr/{name}": content for name, content in files.items()})
    assert MODALITIES["volume"].sniff(data)
    assert loaded(data).meta["shape"] == [5, 6, 7]


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    zarr_array(str(tmp_path / "a.zarr"), samples((5, 6, 7)))
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "a.zarr" / "c" / "9").symlink_to(tmp_path)
    with pytest.raises(UnsupportedInput, match="9 is a link, which is not followed"):
        read_source(tmp_path / "a.zarr", Limits())
    (tmp_path / "a.zarr" / "c" / "9").unlink()
    (tmp_path / "a.zarr" / "x").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsupportedInput, match="x is a link"):
        read_source(tmp_path / "a.zarr", Limits())


def described(form=2, **changes):
    """The files of a small array, with changes to its description."""
    data = files_of(zarr_store(lambda path: zarr_array(path, samples((5, 6, 7), "float32"), form)))
    name = "zarr.json" if form == 3 else ".zarray"
    return data | {name: json.dumps(json.loads(data[name]) | changes).encode()}


REFUSED = {
    "pickle": ({"filters": [{"id": "pickle"}]}, "codec 'pickle' is not read"),
    "objects": ({"dtype": "|O", "filters": [{"id": "vlen-utf8"}]}, "no arrays|codec 'vlen-utf8'"),
    "compound": ({"dtype": [["x", "<i4"]]}, "no arrays"),
    "text": ({"dtype": "<U4"}, "no arrays"),
    "zero": ({"shape": [0, 6, 7]}, "0x6x7|no samples"),
    "negative": ({"shape": [-1, 6, 7]}, "no arrays"),
    "no shape": ({"shape": "many"}, "no arrays"),
    "wide": ({"dtype": "<f16"}, "not supported|not read"),
    "filters": ({"filters": 5, "compressor": 7}, "codec '' is not read"),
    "chunks": ({"chunks": [0, 0, 0]}, "not read|chunks of 0x0x0"),
    "two": ({"filters": [{"id": "zlib"}]}, "in the order zlib, zstd"),
    "huge": ({"shape": [10**5] * 3}, "--max-voxels"),
    "wide chunk": ({"shape": [5, 6, 7], "chunks": [4000, 4000, 4000]}, "voxels in a chunk"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_of_numbers_is_refused(name):
    changes, message = REFUSED[name]
    with pytest.raises(InrfitError, match=message):
        loaded(archive(described(**changes)))


@pytest.mark.parametrize("form", [2, 3])
def test_broken_descriptions_are_refused_or_read_but_never_a_fault(form):
    name = "zarr.json" if form == 3 else ".zarray"
    whole = json.loads(described(form)[name])
    for key in sorted(whole)[:: 1 + form % 2]:
        for value in (None, "x"):
            try:
                signal = loaded(archive(described(form, **{key: value})))
            except InrfitError:
                continue
            meta.check_meta(signal.meta)
    for content in (b"", b"[]", b"{", b"[" * 100_000, b'{"zarr_format": 2}'):
        with pytest.raises(InrfitError):
            loaded(archive(described(form) | {name: content}))


@pytest.mark.parametrize("form", [2, 3])
def test_images_that_are_described_wrongly_are_refused_or_read(form):
    good = files_of(zarr_store(lambda path: ome_zarr(path, IMAGE, "0.5" if form == 3 else "0.4", levels=1)))
    name = "zarr.json" if form == 3 else ".zattrs"
    top = json.loads(good[name])
    (image,) = (top["attributes"]["ome"] if form == 3 else top)["multiscales"]
    for change in ({"axes": 3}, {"axes": ["z"]}, {"datasets": 3}, {"datasets": [{"path": 3}]}, {"datasets": []},
                   {"coordinateTransformations": [{"type": "scale", "scale": [0, "x"]}]}):  # fmt: skip
        wrong = {"version": "0.5", "multiscales": [image | change]}
        changed = top | {"attributes": {"ome": wrong}} if form == 3 else wrong
        try:
            signal = loaded(archive(good | {name: changed}), array="s0")
        except RefusedInput:
            continue
        meta.check_meta(signal.meta)


@pytest.mark.usefixtures("apart")
def test_damaged_chunks_and_archives_are_refused():
    data = archive(described())
    for cut in (data[: len(data) // 2], data[:-30], b"PK\x03\x04" + data[40:]):
        with pytest.raises(InrfitError):
            volume.load(cut, "a.zarr.zip", meta.Options(), Limits())
    name = next(name for name in described() if name[0].isdigit())
    for content in (b"", b"x" * 20, described()[name][:-3], described()[name][:9] + b"\xff" * 40):
        with pytest.raises(UnreadableFile, match="damaged"):
            loaded(archive(described() | {name: content}))
    alone = {key: content for key, content in described().items() if not key[0].isdigit()}
    with pytest.raises(UnreadableFile, match="no sample was ever written"):
        loaded(archive(alone))


BOMBS = {
    "zstd": ({"id": "zstd", "level": 1}, numcodecs.Zstd()),
    "blosc": ({"id": "blosc", "cname": "lz4", "clevel": 1, "shuffle": 0}, numcodecs.Blosc()),
    "gzip": ({"id": "gzip", "level": 1}, numcodecs.GZip()),
    "zlib": ({"id": "zlib", "level": 1}, numcodecs.Zlib()),
    "lz4": ({"id": "lz4", "acceleration": 1}, numcodecs.LZ4()),
}


@pytest.mark.parametrize("name", BOMBS)
def test_chunks_that_unpack_to_more_than_a_chunk_are_refused(name):
    compressor, codec = BOMBS[name]
    files = described(compressor=compressor)
    chunk = next(key for key in files if key[0].isdigit())
    with pytest.raises(UnreadableFile, match="unpacks to more than the 576 bytes of a chunk"):
        loaded(archive(files | {chunk: codec.encode(bytes(300_000_000))}))


def test_a_store_is_limited_by_its_bytes(tmp_path):
    zarr_array(str(tmp_path / "a.zarr"), samples((16, 16, 16), "float64"))
    with pytest.raises(InrfitError, match="--max-bytes"):
        read_source(tmp_path / "a.zarr", Limits(max_bytes=1000))
    data = archive({".zgroup": {"zarr_format": 2}, "a/.zarray": bytes(10**7)})
    with pytest.raises(InrfitError, match="--max-bytes"):
        loaded(data, Limits(max_bytes=10**6))


def test_a_damaged_rest_of_a_store_is_refused_when_it_is_written():
    import zlib

    signal = loaded(zarr_store(lambda path: zarr_array(path, samples((5, 6, 7)))))
    other = zlib.compress(archive({".zgroup": {"zarr_format": 2}}))
    for content in (b"x", zlib.compress(b"x" * 3000), other):
        with pytest.raises(InrfitError):
            written(signal, part=(signal.meta, {"header": content}))


@pytest.mark.usefixtures("apart")
def test_a_missing_extra_is_a_usage_error_before_torch(tmp_path, monkeypatch, capsys):
    zarr_array(str(tmp_path / "a.zarr"), samples((5, 6, 7)))
    before = set(sys.modules)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(UsageError, match=r"needs inrfit\[zarr\]: pip install 'inrfit\[zarr\]'"):
        stores.require()
    assert run(["encode", str(tmp_path / "a.zarr")]) == 2
    assert "pip install 'inrfit[zarr]'" in capsys.readouterr().err
    assert "torch" not in set(sys.modules) - before


@pytest.mark.usefixtures("apart")
def test_a_package_that_cannot_be_imported_is_told(tmp_path, monkeypatch):
    """numcodecs raises a ValueError beside some versions of zfpy."""
    data = zarr_store(lambda path: zarr_array(path, samples((5, 6, 7))))
    (tmp_path / "zarr.py").write_text("raise ValueError(\"invalid literal for int() with base 10: 'post0'\")")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"zarr cannot be imported \(ValueError: invalid literal.*remove zfpy"):
        loaded(data)

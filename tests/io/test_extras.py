"""Optional packages that are missing: one exit code and one line, for reading and for writing."""

from __future__ import annotations

import io
import sys

import av
import made_clips
import numpy as np
import pytest
import tifffile
import tifffile._imagecodecs
from conftest import picture
from PIL import Image

import inrfit
from inrfit.__main__ import run
from inrfit.errors import NotEnoughMemory, UsageError
from inrfit.io import extras

QUICK = {"budget": "2it", "width": 8, "depth": 1, "device": "cpu"}
RASTER = picture(12, 16)


def by_pillow(name, opener):
    opener()
    out = io.BytesIO()
    Image.fromarray(RASTER).save(out, name)
    return out.getvalue()


def heic():
    import pillow_heif

    return by_pillow("HEIF", pillow_heif.register_heif_opener)


def jxl():
    return by_pillow("JXL", lambda: __import__("pillow_jxl"))


def openexr():
    from inrfit.modalities.image.openexr import write_openexr

    return write_openexr(RASTER.astype(np.float32), "RGB")


def tiff(*shape):
    out = io.BytesIO()
    tifffile.imwrite(out, np.resize(RASTER.astype(np.uint16), shape), compression="lerc")
    return out.getvalue()


def sound():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux([*track.encode(frame), *track.encode(None)])
    return out.getvalue()


READ = {
    "a.heic": ("pillow_heif", "heic", heic),
    "a.jxl": ("pillow_jxl", "jxl", jxl),
    "a.exr": ("OpenEXR", "exr", openexr),
    "a.tif": ("imagecodecs", "tiff", lambda: tiff(12, 16)),
    "stack.tif": ("imagecodecs", "tiff", lambda: tiff(5, 12, 16)),
    "a.m4a": ("av", "video", sound),
    "a.mp4": ("av", "video", made_clips.video),
    "a.webm": ("av", "video", lambda: made_clips.video("webm", "libvpx-vp9")),
}


@pytest.fixture
def without(monkeypatch):
    """Makes a package one that is not installed."""

    def remove(module):
        monkeypatch.setitem(sys.modules, module, None)
        if module == "imagecodecs":  # which tifffile has already, and its codecs
            monkeypatch.setattr(tifffile.tifffile, "imagecodecs", tifffile._imagecodecs)
            monkeypatch.setattr(tifffile.TIFF.DECOMPRESSORS, "_codecs", {})

    return remove


@pytest.mark.parametrize("name", READ)
def test_reading_without_a_package_exits_with_2_and_says_what_to_install(name, tmp_path, without, capsys):
    module, extra, made = READ[name]
    (tmp_path / name).write_bytes(made())
    assert run(["encode", str(tmp_path / name), "--dry-run"]) == 0, capsys.readouterr().err
    without(module)
    assert run(["encode", str(tmp_path / name), "--dry-run"]) == 2
    assert f"needs inrfit[{extra}]: pip install 'inrfit[{extra}]'" in capsys.readouterr().err


WRITTEN = {
    ".heic": ("pillow_heif", np.uint8),
    ".jxl": ("pillow_jxl", np.uint8),
    ".exr": ("OpenEXR", np.float32),
    ".mp4": ("av", None),
    ".webm": ("av", None),
}


@pytest.mark.parametrize("suffix", WRITTEN)
def test_writing_without_a_package_is_refused_before_anything_is_decoded(suffix, tmp_path, without, capsys):
    module, dtype = WRITTEN[suffix]
    field, out = tmp_path / "a.safetensors", tmp_path / f"a{suffix}"
    if dtype is None:
        (tmp_path / "a.gif").write_bytes(made_clips.animation("GIF"))
        inrfit.encode(tmp_path / "a.gif", **QUICK).save(field)
    else:
        inrfit.encode(RASTER.astype(dtype), **QUICK).save(field)
    without(module)
    assert run(["decode", str(field), "-o", str(out)]) == 2
    extra = extras.EXTRAS[module]
    assert f"needs inrfit[{extra}]: pip install 'inrfit[{extra}]'" in capsys.readouterr().err
    assert not out.exists()


def test_a_field_is_shown_measured_and_queried_without_the_package_of_its_source(tmp_path, without):
    field, source = str(tmp_path / "a.safetensors"), tmp_path / "a.mp4"
    source.write_bytes(made_clips.video())
    inrfit.encode(source, **QUICK).save(field)
    without("av")
    assert run(["info", field]) == 0
    assert run(["measure", field]) == 0
    assert run(["query", field, "--slice", "t=2", "-o", str(tmp_path / "a.npy")]) == 0
    assert run(["decode", field, "-o", str(tmp_path / "a.y4m")]) == 0
    assert run(["measure", field, str(source)]) == 2


def test_a_package_that_cannot_be_imported_is_told_from_a_missing_one(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(extras.EXTRAS, "broken_package", "none")
    with pytest.raises(UsageError, match="pip install 'inrfit"):
        extras.load("broken_package", "this")
    (tmp_path / "broken_package.py").write_text("import no_such_library")
    with pytest.raises(UsageError, match=r"cannot be imported \(ModuleNotFoundError.*no_such_library"):
        extras.load("broken_package", "this")
    (tmp_path / "broken_package.py").write_text("raise MemoryError")
    with pytest.raises(NotEnoughMemory):
        extras.load("broken_package", "this")
    (tmp_path / "broken_package.py").write_text("")
    assert extras.load("broken_package", "this").__name__ == "broken_package"

"""A modality is one description: a copy of ``image`` under another name does all that ``image`` does."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from conftest import picture
from PIL import Image

import inrfit
from inrfit.__main__ import run
from inrfit.config.plan import plan
from inrfit.config.settings import Settings
from inrfit.errors import UsageError
from inrfit.modalities import MODALITIES, file_of
from inrfit.modalities.image import IMAGE
from inrfit.modalities.shape import SHAPE
from inrfit.viz.recorder import Recorder

QUICK = {"budget": "60it", "width": 16, "depth": 2, "batch": 256, "device": "cpu"}


@pytest.fixture(autouse=True)
def same_order():
    """Modalities that a test takes away come back in their order, in which they recognise files."""
    before = dict(MODALITIES)
    yield
    MODALITIES.clear()
    MODALITIES.update(before)


@pytest.fixture
def photo(monkeypatch):
    """``image`` is registered as ``photo``, and nothing is registered as ``image``."""
    monkeypatch.delitem(MODALITIES, "image")
    monkeypatch.setitem(MODALITIES, "photo", replace(IMAGE, name="photo"))


def encoded(**settings):
    return inrfit.encode(picture(), **QUICK | settings)


def of_both(monkeypatch, work):
    """What ``work`` gives of ``image`` and of its copy."""
    first = work()
    with monkeypatch.context() as patch:
        patch.delitem(MODALITIES, "image")
        patch.setitem(MODALITIES, "photo", replace(IMAGE, name="photo"))
        return first, work()


@pytest.mark.parametrize(
    "settings",
    [{}, {"arch": "auto"}, {"arch": "gauss"}, {"regime": "paper"}, {"bytes": "12kB", "store": "fp16", "width": None}],
)
def test_a_copy_gives_the_same_pixels(settings, monkeypatch):
    def pixels():
        return encoded(**settings).decode()

    original, copy = of_both(monkeypatch, pixels)
    assert np.array_equal(original, copy)


@pytest.mark.usefixtures("photo")
def test_a_copy_is_saved_under_its_own_name(tmp_path):
    made = encoded()
    made.save(tmp_path / "a.safetensors")
    loaded = inrfit.load(tmp_path / "a.safetensors")
    assert made.modality == loaded.modality == "photo"
    assert np.array_equal(made.decode(), loaded.decode())


@pytest.mark.usefixtures("photo")
def test_a_copy_is_shown():
    seen = Recorder(frames=3)
    made = encoded(on_step=seen)
    assert Image.open(BytesIO(seen.map())).size == (32, 24)
    assert Image.open(BytesIO(seen.video(made, ".gif"))).n_frames == len(seen.frames) + 1


@pytest.mark.usefixtures("photo")
def test_all_commands_work_with_a_copy(png, tmp_path, capsys):
    out, small = str(tmp_path / "a.safetensors"), ["--width", "8", "--depth", "2", "--budget", "20it"]
    maps = ["--sampling-map", str(tmp_path / "map.png")]
    assert run(["encode", str(png), "-o", out, "--type", "photo", *small, *maps, "--explain"]) == 0
    assert "PSNR" in capsys.readouterr().err
    assert run(["info", out]) == 0
    assert "photo: 32x24 RGB PNG" in capsys.readouterr().out
    assert run(["decode", out, "-o", str(tmp_path / "b.png")]) == 0
    for drawn in ("b.png", "map.png"):
        assert Image.open(BytesIO((tmp_path / drawn).read_bytes())).size == (32, 24)
    capsys.readouterr()
    compared = ["compare", str(png), "--samplers", "full,uniform", "--seeds", "1", *small, "--json"]
    assert run(compared) == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert found["plan"]["sources"][0]["modality"] == "photo"
    assert [result["ok"] for result in found["results"]] == [True, True]


def test_drawn_points_belong_to_the_copy(monkeypatch):
    import torch

    from inrfit.fit.point_pool import draw_all_points

    monkeypatch.delitem(MODALITIES, "shape")
    monkeypatch.setitem(MODALITIES, "solid", replace(SHAPE, name="solid"))
    box = b"".join(b"v %d %d %d\n" % (x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1))
    faces = ("1 2 4", "1 4 3", "5 8 6", "5 7 8", "1 6 2", "1 5 6", "3 4 8", "3 8 7", "1 3 7", "1 7 5", "2 6 8", "2 8 4")
    data = box + "".join(f"f {face}\n" for face in faces).encode()
    signal = plan(data, "box.obj", Settings(options={"points": "2000"})).signal
    drawn = draw_all_points(signal, torch.Generator().manual_seed(0))
    assert (signal.modality, drawn.modality) == ("solid", "solid")


REFUSED = {
    "image": {"rate", "resolution"},
    "audio": {"size", "scale", "resolution"},
    "shape": {"size", "scale", "rate"},
    "volume": {"rate", "resolution"},
    "video": {"rate", "resolution"},
    "points": {"scale", "rate", "resolution"},
}


@pytest.mark.parametrize("name", MODALITIES)
def test_an_unsupported_request_is_refused(name):
    asked = {"size": (3, 2), "scale": 2.0, "rate": 8, "resolution": 8}
    for field, value in asked.items():
        request = inrfit.Request(**{field: value})
        if field in REFUSED[name]:
            with pytest.raises(UsageError, match=f"--{field} is not supported for "):
                MODALITIES[name].check_request(request)
        else:
            MODALITIES[name].check_request(request)


def test_an_unsupported_request_is_refused_before_decoding():
    with pytest.raises(UsageError, match="--rate is not supported for images"):
        encoded().decode(inrfit.Request(rate=8000))


def test_an_array_with_unknown_arguments_is_refused():
    with pytest.raises(UsageError, match="no modality encodes arrays with the arguments frames_per_second"):
        file_of(picture(), {"frames_per_second": 25})


@pytest.mark.parametrize("modality", MODALITIES.values(), ids=list(MODALITIES))
def test_the_main_measure_is_one_of_the_measures(modality):
    assert modality.main_measure in modality.measures
    assert modality.unit == modality.measures[modality.main_measure].unit
    assert MODALITIES[modality.name] is modality

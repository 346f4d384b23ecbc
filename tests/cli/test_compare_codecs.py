"""``inrfit compare --codecs`` as a user types it."""

from __future__ import annotations

import json
import os
import re
import sys
import typing

import pytest
from conftest import picture
from PIL import Image

from inrfit.__main__ import run
from inrfit.cli.compare import compare as command
from inrfit.modalities import MODALITIES

FAST = ["--samplers", "uniform", "--seeds", "1", "--budget", "4it", "--device", "cpu", "--archs", "siren:depth=1"]


@pytest.fixture
def small(tmp_path):
    """A picture of 20 by 24 pixels."""
    path = tmp_path / "photo.png"
    Image.fromarray(picture(20, 24)).save(path)
    return path


def test_the_help_names_every_codec():
    described = typing.get_type_hints(command, include_extras=True)["codecs"].__metadata__[0].help
    offered = {name for modality in MODALITIES.values() for name in modality.codecs}
    assert offered
    assert offered <= set(re.findall(r"\w+", described))


def compare(*words):
    return run(["compare", *map(str, words), *FAST])


def test_the_tables_have_files_and_bytes_at_equal_quality(small, capsys):
    assert compare(small, "--codecs", "jpeg,webp", "--bytes", "5kB,9kB") == 0
    out, err = capsys.readouterr()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out + err)
    times, files, beside, legend = out.split("\n\n")[0], *out.split("\n\n")[2:5]
    assert times.startswith("photo.png: PSNR in dB\n")
    lines = files.splitlines()
    assert lines[0] == "photo.png: bytes and quality"
    assert lines[1].split() == ["file", "bytes", "bits/sample", "PSNR"]
    assert lines[2].startswith("siren:depth=1:bytes=5kB uniform ")
    assert re.search(r"^jpeg:quality=\d+:subsampling=4:2:0 +[\d,]+ +\d+\.\d{3} +\d+\.\d\d dB$", files, re.M)
    assert beside.splitlines()[1].split() == ["field", "bytes", "PSNR", "jpeg", "webp"]
    assert len(beside.splitlines()) == 4
    assert legend.startswith("Bytes are those of whole files.")
    assert "run 1 of 4: photo.png jpeg: 18 files of " in err


def test_json_and_plots_are_kept_and_the_same_command_goes_on(small, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    words = (small, "--codecs", "webp", "--json", "-o", tmp_path / "out")
    assert compare(*words) == 0
    first = json.loads(capsys.readouterr().out)
    assert sorted(os.listdir(tmp_path / "out")) == ["comparison.json", "comparison.png", "rates.png"]
    with Image.open(tmp_path / "out" / "rates.png") as drawn:
        assert drawn.format == "PNG"
    assert first["rate_plot"] == str(tmp_path / "out" / "rates.png")
    assert first["codecs"][0]["codec"] == "webp"
    assert first["codecs"][0]["points"][0]["settings"] == {"quality": 1}
    assert first["rates"][0]["codecs"][0]["name"] == "webp"
    assert compare(*words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == first
    assert "2 of 2 runs are already finished" in err


def test_without_matplotlib_the_tables_remain(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert compare(small, "--codecs", "webp", "-o", tmp_path / "out") == 0
    assert os.listdir(tmp_path / "out") == ["comparison.json"]
    assert "bytes of each codec" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--codecs", "gif"], "must be names of jpeg"),
        (["--codecs", ""], "must be names"),
        (["--codecs", "opus"], "choose jpeg, webp, avif, jxl"),
        (["--bytes", "5kB,5kB"], "twice"),
        (["--bytes", "5kB,many"], "--bytes many"),
        (["--bytes", "5kB,9kB", "--params", "100"], "cannot be combined"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_compared_is_refused_in_one_line(small, words, said, capsys):
    assert compare(small, *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1

"""The example package of docs/extending.md is installed and used; objects are taken where names are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inrfit
from inrfit.errors import UsageError
from inrfit.fields.mlp.siren import Siren
from inrfit.samplers import SAMPLERS, Selection
from inrfit.samplers.nint import Nint

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"


def command(*words: str, cwd: Path, plugins: Path) -> subprocess.CompletedProcess[str]:
    """``inrfit`` with the given words, where Python also sees the packages in the folder ``plugins``."""
    root = str(PAGE.parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(plugins), root])}
    arguments = [sys.executable, "-m", "inrfit", *words]
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory) -> Path:
    """A folder into which the example package is installed, as pip does it."""
    project, folder = tmp_path_factory.mktemp("hardest"), tmp_path_factory.mktemp("installed")
    blocks = dict(re.findall(r"```(toml|python)\n(.*?)```", PAGE.read_text("utf-8"), re.S)[:2])
    (project / "pyproject.toml").write_text(blocks["toml"])
    (project / "hardest.py").write_text(blocks["python"])
    assert sum(len(block.splitlines()) for block in blocks.values()) <= 35
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(folder), str(project)], check=True)
    return folder


@pytest.fixture
def picture(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path


def test_the_example_package_is_found_by_name(plugins, picture):
    encode = ("encode", "photo.png", "--sampler", "hardest", "-O", "ratio=0.1", "--width", "16", "--budget", "20it")
    done = command(*encode, "--json", cwd=picture, plugins=plugins)
    assert done.returncode == 0, done.stderr
    artifact = inrfit.load(picture / "photo.png.safetensors")
    assert artifact.provenance["sampler"] == {"name": "hardest", "options": {"ratio": 0.1}}
    assert json.loads(done.stdout)["ok"]


def test_the_example_package_is_compared(plugins, picture):
    words = ("compare", "photo.png", "--samplers", "uniform,hardest:ratio=0.1", "--seeds", "1", "--budget", "10it")
    done = command(*words, "--width", "16", "-o", "out", cwd=picture, plugins=plugins)
    assert done.returncode == 0, done.stderr
    assert "hardest" in done.stdout


def test_without_the_package_the_name_is_unknown(tmp_path, picture):
    done = command("encode", "photo.png", "--sampler", "hardest", cwd=picture, plugins=tmp_path)
    assert done.returncode == 2
    assert "choose from auto, full, uniform" in done.stderr


def test_help_does_not_search_the_plugins(plugins, picture):
    script = (
        "import sys; from inrfit.__main__ import run; run(['encode', '--help']); "
        "sys.exit('importlib.metadata' in sys.modules and 'hardest' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(plugins), str(PAGE.parent.parent)])}
    assert subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.DEVNULL).returncode == 0


@dataclass(frozen=True)
class Firsts:
    """The first points."""

    ratio: float = 0.5

    def select(self, learner, previous):
        count = max(1, int(self.ratio * learner.n))
        return Selection(learner.draw(learner.n)[:count], origin={"first": count})


PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)


def test_a_sampler_is_taken_as_an_object():
    artifact = inrfit.encode(PIXELS, sampler=Firsts(ratio=0.25), budget="10it", width=16)
    assert artifact.provenance["sampler"] == {"name": "firsts", "options": {"ratio": 0.25}}
    del SAMPLERS["firsts"]


def test_an_object_is_the_same_as_its_name_and_options():
    given = {"budget": "10it", "width": 16, "threads": 1}
    objects = inrfit.encode(PIXELS, sampler=Nint(ratio=0.3), arch=Siren(omega=20.0), **given)
    names = inrfit.encode(PIXELS, sampler="nint", arch="siren", options={"ratio": 0.3, "omega": 20.0}, **given)
    assert objects.spec == names.spec
    assert objects.provenance["sampler"] == names.provenance["sampler"]
    for name, weight in objects.weights.items():
        np.testing.assert_array_equal(weight, names.weights[name])


@pytest.mark.parametrize("wrong", [3, object(), Siren()])
def test_other_objects_are_no_samplers(wrong):
    with pytest.raises(UsageError, match=r"a sampler (is a frozen dataclass|has a method)"):
        inrfit.encode(PIXELS, sampler=wrong)


def test_an_option_is_not_given_twice():
    with pytest.raises(UsageError, match="ratio"):
        inrfit.encode(PIXELS, sampler=Firsts(ratio=0.25), options={"ratio": 0.1})
    del SAMPLERS["firsts"]


@pytest.fixture
def comparison(picture):
    """Names and objects compared."""
    ended = []
    samplers = ["uniform", Firsts(ratio=0.25), "nint:xi=0.5"]
    done = inrfit.compare(
        picture / "photo.png", samplers, [Siren(omega=20.0)], seeds=2, budget="10it", width=16, output=picture / "out",
        on_run_end=lambda number, total, result: ended.append((number, total, result.ok)),
    )  # fmt: skip
    yield done, ended, picture
    del SAMPLERS["firsts"]


def test_names_and_objects_are_compared(comparison):
    done, ended, _ = comparison
    assert ended == [(number, 6, True) for number in range(1, 7)]
    assert done.unfinished == 0
    (table,) = done.summary().tables
    assert [row.sampler for row in table.rows] == ["uniform", "firsts:ratio=0.25", "nint:xi=0.5"]
    assert {row.arch for row in table.rows} == {"siren:omega=20.0"}
    assert all(result.trace for result in done.results.values())


def test_finished_runs_are_not_made_again(comparison):
    done, _, folder = comparison
    again = []
    given = {"seeds": 2, "budget": "10it", "width": 16, "output": folder / "out"}
    samplers = ["uniform", Firsts(ratio=0.25), "nint:xi=0.5"]
    same = inrfit.compare(
        folder / "photo.png", samplers, ["siren:omega=20.0"], on_run_end=lambda *told: again.append(told), **given
    )
    assert again == []
    assert same.summary() == done.summary()


def test_a_stopped_comparison_returns_what_it_has(picture):
    done = inrfit.compare(
        picture / "photo.png", ["uniform"], seeds=1, budget="10it", width=16, should_stop=lambda: True
    )
    assert done.unfinished == 1
    assert done.ordered() == []

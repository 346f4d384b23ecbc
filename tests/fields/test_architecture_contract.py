"""Everything that the package has to know about an architecture is in its class.

A copy of an architecture, another class under another name, behaves as the original does: no table is keyed by the
name or the class.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile
import torch
import trimesh
from conftest import picture
from PIL import Image

import inrfit
from inrfit.__main__ import run
from inrfit.artifact.artifact import Artifact
from inrfit.artifact.loading import load
from inrfit.fields import FIELDS, FieldSpec, architecture
from inrfit.fields.mlp import mlp
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.engine.backends import analytic_gradients, autograd_gradients
from inrfit.modalities.shape import quality
from inrfit.signal import Grid

COPIES = {name: name[::-1] if name[::-1] != name else "other" for name in FIELDS}
"""Of the same length, so that headers are about equally long and ``--bytes`` has room for as many weights. Coded
weights use every byte, and would differ by what compression makes of the names."""

QUICK = ["--budget", "20it", "--device", "cpu", "--seed", "3"]


def copied(kind):
    """Another class with the same contents."""
    own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    return type("Copy", (), own)


def source_for(arch, sources):
    """A source that the architecture takes."""
    traits = FIELDS[arch].TRAITS
    return sources["shape" if traits.surfaces_only else "audio" if traits.grid_axes == 1 else "image"]


@pytest.fixture(autouse=True)
def copies(monkeypatch):
    """A copy of every architecture, registered under its name written backwards."""
    for name, kind in list(FIELDS.items()):
        monkeypatch.setitem(FIELDS, COPIES[name], copied(kind))


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A file of every kind, as small as can be; shapes are measured on few cells and points."""
    monkeypatch.setattr(quality, "RESOLUTION", 12)
    monkeypatch.setattr(quality, "CHAMFER_POINTS", 100)
    Image.fromarray(picture(24, 20, 3)).save(tmp_path / "photo.png")
    time = np.arange(400) / 400
    soundfile.write(tmp_path / "sound.wav", 0.5 * np.sin(60 * time) * np.exp(-2 * time), 8000)
    trimesh.creation.box((2.0, 1.0, 1.5)).export(tmp_path / "box.obj")
    return {"image": tmp_path / "photo.png", "audio": tmp_path / "sound.wav", "shape": tmp_path / "box.obj"}


def both(source, name, **asked):
    """What the original and its copy become."""
    asked = {"budget": "20it", "seed": 3, "device": "cpu"} | asked
    return [inrfit.encode(source, arch=arch, **asked) for arch in (name, COPIES[name])]


def assert_same_field(first, second):
    assert {**first.spec.json(), "architecture": ""} == {**second.spec.json(), "architecture": ""}
    assert first.store == second.store
    assert first.quality == second.quality
    for name, weight in first.weights.items():
        assert np.array_equal(weight, second.weights[name]), name


def assert_same_after_saving(first, second, folder):
    decoded = []
    for artifact in (first, second):
        path = folder / f"{artifact.spec.architecture}.safetensors"
        artifact.save(path)
        decoded.append(load(path).field())
    grid = Grid((5,) * first.spec.inputs)
    if first.spec.formula.raster() is not None:
        grid = Grid(first.spec.formula.raster())
    assert torch.equal(*(field.on_grid(grid, 0, grid.n) for field in decoded))


@pytest.mark.parametrize("name", FIELDS)
def test_a_copy_of_an_architecture_becomes_the_same_field(name, sources, tmp_path):
    first, second = both(source_for(name, sources), name, width=12, depth=2, budget="200it")
    assert second.spec.architecture == COPIES[name]
    assert_same_field(first, second)
    assert_same_after_saving(first, second, tmp_path)
    decoded = [inrfit.decode(field) for field in (first, second)]
    assert np.array_equal(*(getattr(values, "vertices", values) for values in decoded))


@pytest.mark.parametrize("modality", ["image", "audio", "shape"])
@pytest.mark.parametrize("name", ["siren", "grid", "asmr"])
@pytest.mark.parametrize("asked", [{}, {"regime": "paper"}, {"bytes": "12kB", "store": "fp16"}, {"params": 3000}])
def test_of_its_usual_size_and_of_any_other(name, modality, asked, sources, tmp_path):
    if name == "asmr" and modality == "shape":
        pytest.skip("knows rasters only")
    size = {} if "bytes" in asked or "params" in asked or name == "grid" else {"width": 16, "depth": 2}
    drawn = {"options": {"points": 1000}} if modality == "shape" else {}
    first, second = both(sources[modality], name, **size, **drawn, **asked)
    assert_same_field(first, second)
    assert_same_after_saving(first, second, tmp_path)


@pytest.mark.parametrize("name", ["siren", "grid"])
def test_on_the_command_line_with_its_sampling_map(name, sources, tmp_path, capsys):
    records, maps, pictures = [], [], []
    for arch in (name, COPIES[name]):
        out, chart, back = (str(tmp_path / f"{arch}.{suffix}") for suffix in ("safetensors", "map.png", "back.png"))
        words = ["--arch", arch, "--bytes", "12kB", "--store", "fp16", "-o", out, "--sampling-map", chart]
        words += ["--json", "-q"]
        assert run(["encode", str(sources["image"]), *words, *QUICK]) == 0
        records.append(json.loads(capsys.readouterr().out))
        assert run(["decode", out, "-o", back, "-q"]) == 0
        maps.append((tmp_path / f"{arch}.map.png").read_bytes())
        pictures.append((tmp_path / f"{arch}.back.png").read_bytes())
    assert records[0]["quality"] == records[1]["quality"]
    assert records[0]["parameters"] == records[1]["parameters"]
    assert maps[0] == maps[1]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("name", FIELDS)
def test_what_explains_its_choices_is_the_same(name, sources, capsys):
    told = []
    for arch in (name, COPIES[name]):
        words = ["--arch", arch, "--explain", "--dry-run", "--precision", "fp32", "--threads", "1"]
        assert run(["encode", str(source_for(name, sources)), *words, *QUICK]) == 0
        told.append("".join(capsys.readouterr()))
    assert told[0].count("\n") > (10 if FIELDS[name].TRAITS.closed_form is None else 5)
    first, second = (re.sub(r"stored: about [^:]*:|[\d.]+ bits per sample", "", text) for text in told)
    assert first == second.replace(COPIES[name], name)  # but for the bytes, as the names differ in length


@pytest.mark.parametrize("name", ["siren", "grid"])
def test_compared_with_its_original_it_is_as_good(name, sources, capsys):
    words = ["--archs", f"{name},{COPIES[name]}", "--samplers", "uniform", "--seeds", "1", "--json", "-q"]
    assert run(["compare", str(sources["image"]), *words, "--budget", "20it", "--device", "cpu"]) == 0
    first, second = json.loads(capsys.readouterr().out)["results"]
    assert (first["arch"], second["arch"]) == (name, COPIES[name])
    assert first["quality"] == second["quality"]


def test_its_default_sampler_its_options_and_its_limits_are_its_own(sources):
    first, second = both(sources["image"], "asmr", width=12, depth=2)
    assert first.provenance["sampler"] == second.provenance["sampler"]
    assert second.provenance["sampler"]["name"] == "full"
    with pytest.raises(inrfit.errors.UsageError, match=f"--arch {COPIES['asmr']} works only on regular grids"):
        inrfit.encode(sources["shape"], arch=COPIES["asmr"], budget="5it")


@pytest.mark.parametrize("name", FIELDS)
def test_its_recipe_on_every_device_is_the_same(name):
    for device in ("cpu", "cuda"):
        for regime in ("inrfit", "paper"):
            recipes = []
            for arch in (name, COPIES[name]):
                plain = FieldSpec(arch, 2, 3, 64, 3, {})
                spec = plain.formula.sized(plain, (24, 20), None)
                asked = recipe.UserChoices(precision="fp32", regime=regime)
                recipes.append(recipe.choose(spec, torch.device(device), asked))
            assert recipes[0] == recipes[1]


def test_the_kernel_suits_whatever_has_its_activation():
    for name, copy in COPIES.items():
        suited = [FieldSpec(arch, 2, 3, 64, 3, {}).formula.kernel_activation(2) is not None for arch in (name, copy)]
        assert suited == [name in ("siren", "finer", "gauss", "mlp", "pemlp", "ffn", "grid", "tiles")] * 2


@dataclass(frozen=True)
class Cosine:
    """A perceptron that has nothing of its own but its activation: whatever has a default is the default."""

    TRAITS = architecture.Traits(
        width=16, depth=2, hyperparameters=FIELDS["mlp"].TRAITS.hyperparameters, own_gradients=False
    )

    encoding_size, encode = mlp.no_encoding_size, mlp.no_encoding
    sized, shapes, macs, sines = mlp.sized, mlp.shapes, mlp.macs, mlp.one_sine_per_unit
    constant, muon_tensors, forward = mlp.constant, mlp.muon_tensors, mlp.forward
    initial, rates = FIELDS["mlp"].initial, FIELDS["mlp"].rates
    gradients, on_grid = architecture.autograd_gradients, architecture.forward_in_chunks
    fp32_tensors, raster, block = architecture.no_fp32_tensors, architecture.no_raster, architecture.no_blocks
    rounding_groups = architecture.layer_groups
    notes, options_for, reason = architecture.no_notes, architecture.frequency_options, architecture.no_reason
    kernel_activation = architecture.no_kernel

    def activate(self, phase, first, inplace):
        return phase.cos()


def test_a_new_architecture_needs_no_more_than_its_formula(monkeypatch, sources, tmp_path):
    monkeypatch.setitem(FIELDS, "cosine", Cosine)
    spec = FieldSpec("cosine", 2, 3, 16, 2, {})
    assert recipe.choose(spec, torch.device("cpu")).config.engine == "autograd"
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    given = (weights, torch.rand(9, 2), torch.rand(9, 3), torch.full((9, 1), 0.1))
    for make in (analytic_gradients, autograd_gradients):
        residuals, gradients = make(spec.formula, torch.float32)(*given)
        torch.testing.assert_close(residuals, Field(spec, weights)(given[1]).detach() - given[2])
        assert gradients.keys() == weights.keys()
    artifact = inrfit.encode(sources["image"], arch="cosine", budget="60it", device="cpu")
    assert np.array_equal(inrfit.decode(Artifact.from_bytes(artifact.to_bytes())), inrfit.decode(artifact))


@pytest.mark.parametrize("name", FIELDS)
def test_the_description_agrees_with_the_methods(name):
    plain = FieldSpec(name, 2, 3, 16, 2, {})
    formula = plain.formula.sized(plain, (12, 10), None).formula
    assert (formula.block() is not None) == formula.TRAITS.shares_blocks
    assert (formula.raster() is not None) == formula.TRAITS.raster_only
    options = set(type(formula).__dataclass_fields__)
    assert options >= formula.TRAITS.initialization_options | set(formula.TRAITS.frequency_scaling)
    assert options >= set(formula.TRAITS.paper_options)

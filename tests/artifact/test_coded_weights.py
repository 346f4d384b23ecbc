"""Coded weights come back as they were rounded; a damaged code is refused; the loss by rounding is bounded."""

from __future__ import annotations

import math
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from conftest import picture

import inrfit
from inrfit.artifact import entropy_coder, header_dictionary, quantisation
from inrfit.artifact.artifact import Artifact
from inrfit.artifact.rounding import Rounding, stored_as
from inrfit.config.plan import plan
from inrfit.config.settings import Settings
from inrfit.errors import UnreadableFile, UsageError
from inrfit.fields import FIELDS
from inrfit.fit.evaluation import evaluation_set
from inrfit.modalities import file_of


@pytest.fixture(scope="module")
def fitted() -> Artifact:
    return inrfit.encode(picture(32, 32), width=24, depth=3, budget="200it", device="cpu", store="fp32")


@pytest.fixture(scope="module")
def rounding(fitted: Artifact) -> Rounding:
    data = file_of(picture(32, 32), {})
    signal = plan(data, "a.png", Settings()).signal
    return Rounding(fitted.spec, fitted.weights, evaluation_set(signal, 4096, torch.device("cpu")), torch.device("cpu"))


# --- the entropy coder


def test_every_table_is_a_distribution_of_its_class():
    for table in range(entropy_coder.TABLES):
        frequencies = np.array(entropy_coder.frequencies(table), float)
        symbols = np.arange(len(frequencies)) - len(frequencies) // 2
        assert frequencies.sum() == 1 << 14
        assert frequencies.min() >= 1
        assert (frequencies == frequencies[::-1]).all()
        deviation = np.sqrt((frequencies * symbols**2).sum() / frequencies.sum())
        if table > 12:  # of the narrow ones the least frequency 1 adds to the tails
            assert deviation == pytest.approx(2 ** (table / 4) / 8, rel=0.05)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 2047, 4096, 5000])
def test_integers_come_back(count):
    draws = np.random.default_rng(count)
    deviation = 2.0 ** draws.uniform(-3, 20, count)
    integers = np.rint(draws.normal(0, deviation)).clip(-entropy_coder.LARGEST, entropy_coder.LARGEST).astype(np.int64)
    classes = np.searchsorted(entropy_coder.capacities(), np.abs(integers))
    code = entropy_coder.encode(integers, classes)
    np.testing.assert_array_equal(entropy_coder.decode(code, classes), integers)
    ideal = entropy_coder.code_lengths(integers, classes).sum()
    assert 8 * len(code) <= 1.01 * ideal + 32 * entropy_coder.state_count(count) + 16


def test_the_largest_integer_has_a_class():
    assert entropy_coder.capacities()[-1] >= entropy_coder.LARGEST
    assert (np.diff(entropy_coder.capacities()) >= 0).all()
    for value in (-entropy_coder.LARGEST, entropy_coder.LARGEST):
        classes = np.array([entropy_coder.CLASSES - 1])
        assert entropy_coder.decode(entropy_coder.encode(np.array([value]), classes), classes).tolist() == [value]


def test_normal_weights_take_about_their_entropy():
    integers = np.rint(np.random.default_rng(0).normal(0, 20, 100_000)).astype(np.int64)
    entropy = np.log2(20 * np.sqrt(2 * np.pi * np.e))
    assert quantisation.coded_bytes(integers, {"a": (100_000,)}) * 8 / 100_000 == pytest.approx(entropy, rel=0.01)


# --- files


@pytest.mark.parametrize("arch", FIELDS)
@pytest.mark.parametrize("store", ["int8", "int6"])
def test_a_field_of_every_architecture_decodes_as_it_was_measured(arch, store, tmp_path):
    options = {"finest": "8x8", "levels": 2} if arch == "grid" else {}
    source, given = picture(16, 16), {"options": options}
    if FIELDS[arch].TRAITS.grid_axes == 1:
        source, given = np.sin(np.arange(900) ** 1.3 / 9).astype(np.float32)[:, None] / 2, {"rate": 8000}
    if FIELDS[arch].TRAITS.surfaces_only:
        trimesh.creation.icosphere(3).export(source := tmp_path / "ball.ply")
    artifact = inrfit.encode(source, arch=arch, width=16, depth=2, budget="60it", device="cpu", store=store, **given)
    assert artifact.store == "int"
    artifact.save(tmp_path / "a.safetensors")
    loaded = inrfit.load(tmp_path / "a.safetensors")
    assert loaded.steps == artifact.steps
    assert loaded.to_bytes() == artifact.to_bytes() == (tmp_path / "a.safetensors").read_bytes()
    for name, weight in artifact.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], weight)
    exact = loaded.spec.fp32_tensors
    for name, sizes in loaded.spec.rounding_groups.items():
        assert name not in exact
        multiples = loaded.weights[name].reshape(-1) / np.repeat(loaded.steps[name], sizes)
        restored = {"bands": 0.451, "distances": 0.51}.get(loaded.spec.formula.TRAITS.coefficients, 1e-3)
        np.testing.assert_allclose(multiples, np.rint(multiples), atol=restored)


def test_int8_and_int6_take_their_bits():
    for store, bits in (("int8", 6.6), ("int6", 4.6)):
        artifact = inrfit.encode(picture(48, 48), width=64, depth=4, budget="60it", device="cpu", store=store)
        weights = sum(map(sum, artifact.spec.rounding_groups.values()))
        assert artifact.stored_bytes < 1200 + 4 * (artifact.spec.parameters - weights) + 1.03 * bits / 8 * weights


def test_the_page_names_the_constants_of_the_code():
    page = (Path(__file__).parents[2] / "docs" / "artifact.md").read_text(encoding="utf-8")
    (listing,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    constants: dict = {}
    exec(listing[listing.index("DICTIONARY =") : listing.index("def read(")], constants)
    assert constants["DICTIONARY"] == header_dictionary.TEXT
    assert constants["DECAYS"] == entropy_coder._DECAYS


def test_two_hundred_damaged_codes_are_refused_in_bounded_memory(fitted, rounding):
    coded = replace(fitted, store="int", steps=rounding.steps(1e-3)).to_bytes()
    start = 8 + int.from_bytes(coded[:8], "little")
    weights = coded.rindex(quantisation.pack(fitted.weights, rounding.groups, rounding.steps(1e-3)))
    draws = np.random.default_rng(0)
    for trial in range(200):
        damaged = bytearray(coded)
        where = int(draws.integers(weights, len(coded)))
        if trial % 3 == 0:
            damaged[where] ^= 1 << int(draws.integers(8))
        elif trial % 3 == 1:
            damaged[where : where + 16] = draws.bytes(min(16, len(coded) - where))
        else:  # two parts swapped
            other = int(draws.integers(weights, len(coded) - 8))
            damaged[other : other + 8], damaged[weights : weights + 8] = (
                coded[weights : weights + 8],
                coded[other : other + 8],
            )
        if bytes(damaged) == coded:
            continue
        tracemalloc.start()
        with pytest.raises(UnreadableFile) as caught:
            Artifact.from_bytes(bytes(damaged))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()
        assert "\n" not in str(caught.value)
    assert start < weights


@pytest.mark.parametrize("cut", [0, 3, 4, 7, 8, 9, 40, 200])
def test_a_code_that_ends_early_is_refused(fitted, rounding, cut):
    groups, shapes = rounding.groups, fitted.spec.shapes
    code = quantisation.pack(fitted.weights, groups, rounding.steps(1e-3))
    for damaged in (code[:cut], code[: len(code) - 1], code[: len(code) - 2], code + b"\0\0", code + b"\0"):
        with pytest.raises(UnreadableFile):
            quantisation.unpack(damaged, shapes, groups)


def test_a_store_of_integers_needs_its_steps(fitted):
    with pytest.raises(UsageError, match="step"):
        replace(fitted, store="int").to_bytes()


# --- which steps


def test_the_sensitivity_is_the_mean_square_derivative(fitted, rounding):
    """Against derivatives with respect to every weight of a group, by differences."""
    exact = []
    for index in np.ndindex(fitted.spec.shapes["hidden.bias"]):
        values = []
        for sign in (1, -1):
            weights = {key: torch.tensor(weight) for key, weight in fitted.weights.items()}
            weights["hidden.bias"][index] += sign * 1e-2
            values.append(fitted.spec.formula.forward(weights, rounding.points.coords, torch.float32))
        exact.append(float(((values[0] - values[1]) / 2e-2).square().mean()))
    (found,) = rounding._sensitivities()["hidden.bias"]
    assert 0.5 < found / np.mean(exact) < 2  # estimated with one random sign a value


def test_the_loss_is_bounded_by_measurement(rounding):
    first = rounding.within_bytes(6.6 / 8 * rounding.weight_count)
    found = [rounding.within_loss(limit, first) for limit in (0.02, 0.5)]
    assert None not in found
    for limit, rounded in zip((0.02, 0.5), found, strict=True):
        assert rounded.loss <= limit
    assert found[0].bytes > found[1].bytes
    assert found[1].loss > 0.25


def test_the_bytes_are_bounded(rounding):
    for limit in (800, 1200, 2000):
        steps = rounding.steps(rounding.within_bytes(limit))
        size = len(quantisation.pack(rounding.weights, rounding.groups, steps))
        assert 0.9 * limit < size < 1.02 * limit


@pytest.mark.parametrize("store", ["auto", "int8"])
def test_auto_loses_no_more_than_it_may_and_int8_what_it_takes(store):
    kept = inrfit.encode(picture(32, 32), width=32, depth=3, budget="300it", device="cpu", store="fp32", seed=3)
    found = inrfit.encode(picture(32, 32), width=32, depth=3, budget="300it", device="cpu", store=store, seed=3)
    loss = kept.quality["psnr"] - found.quality["psnr"]
    assert loss < (0.06 if store == "auto" else 1.0)
    assert found.stored_bytes < kept.stored_bytes / 2


def test_smallest_uses_the_whole_budget_and_gives_the_surplus_for_bytes():
    common = {"width": 32, "depth": 3, "budget": "600it", "target": 20, "device": "cpu", "threads": 1}
    ended, smallest = inrfit.encode(picture(32, 32), **common), inrfit.encode(picture(32, 32), smallest=True, **common)
    assert ended.provenance["ended"] == "target"
    assert smallest.provenance["ended"] == "steps"
    assert smallest.provenance["spent"]["steps"] == 600
    assert smallest.provenance["budget"]["target"] == 20
    assert smallest.provenance["target_reached"] is True
    assert 20 <= smallest.quality["psnr"] < 21
    assert smallest.stored_bytes < 0.9 * ended.stored_bytes


def test_a_target_is_still_reached_after_rounding():
    artifact = inrfit.encode(picture(32, 32), width=32, depth=3, budget="2000it", target=20, device="cpu", threads=1)
    assert artifact.provenance["target_reached"] is True
    assert artifact.quality["psnr"] >= 20


def test_a_perfect_fit_stays_perfect():
    artifact = inrfit.encode(np.full((16, 16, 3), 77, np.uint8), width=16, depth=2, budget="50it", device="cpu")
    assert artifact.quality["psnr"] is None
    assert "psnr" in artifact.quality["infinite"]
    assert (artifact.decode() == 77).all()


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf"), 0.1, 1e300])
def test_steps_that_the_format_cannot_hold_are_refused(fitted, step):
    steps = {name: (step,) * len(sizes) for name, sizes in fitted.spec.rounding_groups.items()}
    with pytest.raises(UsageError, match="steps of"):
        replace(fitted, store="int", steps=steps).to_bytes()


@pytest.mark.parametrize("factor", [1e9, float("inf"), float("nan")])
def test_weights_beyond_the_integers_are_refused(fitted, rounding, factor):
    with np.errstate(all="ignore"):
        weights = {name: (weight * np.float32(factor)) for name, weight in fitted.weights.items()}
    with pytest.raises(UsageError, match="beyond" if math.isfinite(factor) else "not finite"):
        replace(fitted, store="int", steps=rounding.steps(1e-3), weights=weights).to_bytes()


@pytest.mark.parametrize("given", [1000, 1400, 2000])
def test_few_bytes_are_used_and_not_thrown_away(given):
    artifact = inrfit.encode(
        picture(24, 24), bytes=given, depth=2, budget="60it", device="cpu", threads=1, provenance="short"
    )
    assert 0.85 * given < artifact.stored_bytes <= given
    assert any(np.abs(artifact.weights[name]).max() > 0 for name in artifact.spec.rounding_groups)


def test_a_field_without_a_surface_keeps_its_weights(tmp_path):
    import trimesh

    trimesh.creation.icosphere(1).export(tmp_path / "a.ply")
    artifact = inrfit.encode(
        tmp_path / "a.ply", width=16, depth=3, budget="2it", device="cpu", verify="sample", options={"points": 1000}
    )
    hidden = artifact.weights["hidden.weight"]
    assert np.count_nonzero(hidden) > 0.9 * hidden.size


def test_a_large_claim_in_a_small_file_is_bounded_by_max_bytes(fitted):
    from inrfit.errors import OverLimit
    from inrfit.io.limits import Limits

    coded = replace(fitted, store="int", steps={n: (1.0,) * len(g) for n, g in fitted.spec.rounding_groups.items()})
    with pytest.raises(OverLimit, match="size of the weights"):
        Artifact.from_bytes(coded.to_bytes(), Limits(max_bytes=4 * fitted.spec.parameters - 1))


def test_weights_that_fp16_would_damage_are_coded_if_that_is_smaller_than_fp32(
    fitted: Artifact, rounding: Rounding, monkeypatch: pytest.MonkeyPatch
):
    needed = rounding.at(rounding.within_bytes(2.6 * rounding.weight_count))
    monkeypatch.setattr(Rounding, "within_loss", lambda self, limit, first_scale: needed)
    stored = stored_as(fitted, "auto", rounding.points, -1.0, None, torch.device("cpu"))
    assert (stored.store, stored.steps) == ("int", needed.steps)

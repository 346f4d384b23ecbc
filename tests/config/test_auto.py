"""What is left open is decided as promised: the architecture by rules that exist, the size within what was granted."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

import inrfit
from inrfit import execution
from inrfit.config import auto, plan, sizing
from inrfit.config.auto import candidates, matching_rule
from inrfit.config.settings import Settings, parsed_count
from inrfit.errors import UsageError
from inrfit.fields import FIELDS, MAX_WIDTH, FieldSpec
from inrfit.fit import fitting, recipe
from inrfit.fit.explanation import explain
from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES
from inrfit.modalities.image import IMAGE, image
from inrfit.modalities.modality import ArchitectureRule as Rule
from inrfit.samplers import SAMPLERS

PICTURE = image.from_array(picture())


def planned(name="photo.png", **settings):
    return plan.plan(PICTURE, name, Settings(**settings))


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        ("params", "50000", 50_000),
        ("params", 50_000, 50_000),
        ("params", "50k", 50_000),
        ("params", "1M", 1_000_000),
        ("params", "1.5 M", 1_500_000),
        ("bytes", "500kB", 500_000),
        ("bytes", "2MB", 2_000_000),
        ("bytes", "2.5 MB", 2_500_000),
        ("bytes", "100K", 100_000),
        ("bytes", "1GB", 10**9),
        ("bytes", "800B", 800),
    ],
)
def test_numbers_may_have_thousands(option, given, expected):
    assert parsed_count(option, given) == expected


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("params", "50kB"),
        ("params", "0"),
        ("params", "-5"),
        ("params", "5٠"),
        ("bytes", "٥kB"),
        ("params", ""),
        ("params", "1e5"),
        ("params", "many"),
        ("params", "9" * 5000),
        ("bytes", "1KiB"),
        ("bytes", "0.1B"),
        ("bytes", "nan"),
        ("bytes", -1),
        ("bytes", True),
    ],
)
def test_anything_else_is_refused_with_an_example(option, given):
    with pytest.raises(UsageError, match=f"--{option}"):
        Settings(**{option: given})


@pytest.mark.parametrize(("first", "second"), [("width", "params"), ("width", "bytes"), ("params", "bytes")])
def test_only_one_says_how_large(first, second):
    with pytest.raises(UsageError, match=f"--{first} and --{second}"):
        Settings(**{first: 5000, second: 5000})


# --- auto


def test_every_rule_names_an_architecture_that_the_modality_has():
    known = auto.rule_inputs(Settings(), planned().signal, planned().budget)
    for modality in MODALITIES.values():
        assert modality.default_sampler in SAMPLERS
        for one in modality.architecture_rules:
            assert one.arch in FIELDS
            assert not (FIELDS[one.arch].TRAITS.raster_only and modality.layout in ("points", "scattered"))
            assert set(one.within) <= set(known)
            assert one.why


@pytest.mark.parametrize("modality", MODALITIES.values(), ids=list(MODALITIES))
def test_auto_is_something_whatever_the_situation(modality):
    last = modality.architecture_rules[-1]
    assert not last.within
    assert last.arch in candidates(modality)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"bytes": "4kB"}, "wavelet"),
        ({"target": "34dB", "smallest": True}, "wavelet"),
        ({"bytes": "4kB", "options": {"metadata": "drop"}}, "wavelet"),
        ({}, "grid"),
        ({"target": "34dB", "budget": "60s"}, "grid"),
        ({"params": "4k"}, "grid"),
        ({"bytes": "4kB", "sampler": "nint"}, "grid"),
        ({"bytes": "4kB", "budget": "100it"}, "grid"),
        ({"bytes": "4kB", "depth": 2}, "grid"),
        ({"bytes": "4kB", "store": "int8"}, "grid"),
        ({"bytes": "4kB", "options": {"levels": 4}}, "grid"),
    ],
)
def test_a_picture_of_few_bytes_is_one_of_wavelets_unless_steps_are_asked_for(settings, expected):
    assert planned(arch="auto", **settings).spec.architecture == expected


@pytest.mark.parametrize(
    "settings", [{}, {"target": 30, "bytes": "4kB"}, {"target": 30, "store": "int8"}], ids=["alone", "bytes", "store"]
)
def test_smallest_needs_a_target_and_no_other_limit_of_bytes(settings):
    with pytest.raises(UsageError, match="--smallest"):
        Settings(smallest=True, **settings)


def test_auto_takes_the_first_rule_that_holds():
    rules = (
        Rule("tiles", "a", {"weights": (0, 5_000)}),
        Rule("grid", "b", {"seconds": (0, 10), "samples": (100, 1e9)}),
        Rule("siren", "d"),
    )
    modality = replace(IMAGE, architecture_rules=rules)

    def found(**settings):
        one = planned(**settings)
        return matching_rule(modality, auto.rule_inputs(one.settings, one.signal, one.budget)).arch

    assert found() == found(params="5001") == found(bytes="4kB", budget="60s") == "siren"
    assert found(params=5_000) == found(bytes="3kB") == found(params=50, budget="5s") == "tiles"
    assert found(bytes="11kB", store="fp32") == "tiles"
    assert found(budget="10s") == found(params=9_000, budget="10s") == "grid"
    assert found(budget="10it") == "siren"
    assert candidates(modality) == ["tiles", "grid", "siren"]
    modality = replace(
        IMAGE, architecture_rules=(Rule("siren", "a", {"samples_per_second": (0, 2)}), Rule("grid", "b"))
    )
    size = planned().signal.n
    assert found(budget=f"{size}s") == found(budget=f"{-(-size // 2)}s") == "siren"
    assert found(budget=f"{size // 3}s") == found(budget="10it") == "grid"


def test_auto_is_stored_as_what_it_was(monkeypatch):
    rules = (Rule("siren", "measured in no benchmark"),)
    monkeypatch.setitem(MODALITIES, "image", replace(IMAGE, architecture_rules=rules))
    made = planned(arch="auto", options={"omega": "20"})
    assert made.spec.architecture == "siren"
    assert made.spec.options == {"omega": 20.0}
    assert made.choices[0] == ("architecture", f"siren 5x{made.spec.width}", "auto: measured in no benchmark")
    artifact = inrfit.encode(picture(), arch="auto", width=8, depth=2, budget="40it")
    assert artifact.spec.architecture == "siren"


def test_auto_refuses_options_that_what_it_chose_does_not_have(monkeypatch):
    @dataclass(frozen=True)
    class Other:
        magic: int = 1
        TRAITS = FIELDS["siren"].TRAITS

    monkeypatch.setitem(FIELDS, "other", Other)
    rules = (Rule("other", "x", {"seconds": (0, 1)}), Rule("siren", "y"))
    monkeypatch.setitem(MODALITIES, "image", replace(IMAGE, architecture_rules=rules))
    with pytest.raises(UsageError, match="unknown option -O magic"):
        planned(arch="auto", options={"magic": "2"})
    with pytest.raises(UsageError, match="unknown option -O tragic"):
        planned(arch="auto", options={"tragic": "2"})


# --- how large


def test_parameters_are_as_many_as_asked_for_at_the_depth_asked_for():
    for depth in (1, 3, 7):
        spec = planned(params="20k", depth=depth).spec
        assert spec.depth == depth
        assert spec.parameters <= 20_000 < replace(spec, width=spec.width + 1).parameters


def test_no_field_is_wider_than_an_artifact_may_be():
    assert planned(params="50M", depth=1).spec.width == planned(bytes="50MB", depth=1).spec.width == MAX_WIDTH


@pytest.mark.parametrize(("store", "times"), [("auto", 6.4), ("int8", 4.85), ("int6", 6.96), ("fp16", 2)])
def test_bytes_buy_more_weights_in_a_smaller_store(store, times):
    made, whole = planned(bytes="100kB", store=store), planned(bytes="100kB", store="fp32")
    assert made.spec.parameters == pytest.approx(times * whole.spec.parameters, rel=0.05)
    assert made.stored_bytes <= 100_000
    assert "the most that --bytes allows" in made.choices[1]


@pytest.mark.parametrize("store", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("given", [3_000, 9_001, 50_000])
def test_the_widest_field_that_the_bytes_allow_is_taken(given, depth, store):
    made = planned(bytes=given, depth=depth, store=store)
    wider = planned(width=made.spec.width + 1, depth=depth, store=store)
    assert made.stored_bytes <= given < wider.stored_bytes


@pytest.mark.parametrize("name", ["a.png", "\N{GRINNING FACE}" * 300 + ".png", "\x1b\n" * 2000])
@pytest.mark.parametrize("store", ["fp32", "fp16", "bf16", "auto", "int8", "int6"])
@pytest.mark.parametrize("given", [20_000, 60_000])
def test_a_file_never_exceeds_the_bytes_granted(name, store, given):
    made = planned(name, bytes=given, store=store, budget="3it", depth=2)
    size = execution.execute_plan(made).stored_bytes
    assert 0.75 * given < size <= given


def test_remarks_beyond_what_was_reserved_are_left_out_and_not_the_promise(monkeypatch):
    honest = fitting.fit

    def talking(*given, **more):
        texts = (hashlib.sha512(bytes([n])).hexdigest() for n in range(50))
        return replace(honest(*given, **more), notes=tuple(2 * text for text in texts))

    monkeypatch.setattr(fitting, "fit", talking)
    bound = execution.execute_plan(planned(bytes=20_000, budget="3it"))
    free = execution.execute_plan(planned(width=bound.spec.width, store="fp32", budget="3it"))
    assert bound.stored_bytes <= 20_000 < free.stored_bytes
    assert 0 < len(bound.provenance["notes"]) < len(free.provenance["notes"]) == 50


@pytest.mark.parametrize("modality", MODALITIES)
def test_what_is_reserved_for_the_header_holds_for_every_modality(modality, tmp_path):
    if modality == "image":
        source = picture()
        rate = None
    elif modality == "audio":
        source, rate = np.sin(np.arange(4000) / 20).astype(np.float32), 8000
    elif modality == "points":
        source, rate = tmp_path / "stations.npz", None
        np.savez(source, coords=np.random.default_rng(0).uniform(0, 9, (700, 2)), values=np.arange(700.0))
    else:
        source, rate = tmp_path / "box.obj", None
        corners = [f"v {x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, 1)]
        faces = (
            "1 2 4",
            "1 4 3",
            "5 8 6",
            "5 7 8",
            "1 6 2",
            "1 5 6",
            "3 4 8",
            "3 8 7",
            "1 3 7",
            "1 7 5",
            "2 6 8",
            "2 8 4",
        )
        source.write_text("\n".join([*corners, *(f"f {face}" for face in faces)]) + "\n")
    limits = ("60s", "100it")
    verify = "sample" if modality == "shape" else None  # measuring a mesh whole takes seconds
    artifact = inrfit.encode(source, rate=rate, bytes="8kB", budget=limits, batch=512, device="cpu", verify=verify)
    assert artifact.stored_bytes <= 8000
    assert artifact.provenance["spent"]["steps"] == 100


def test_too_few_bytes_are_refused_with_the_least_that_would_do():
    with pytest.raises(UsageError, match=r"--bytes 800: the smallest siren .* takes up to ([\d,]+) bytes") as caught:
        planned(bytes="800")
    least = int(str(caught.value).split("up to ")[1].split(" bytes")[0].replace(",", ""))
    assert planned(bytes=least).spec.width == 1
    with pytest.raises(UsageError):
        planned(bytes=least - 1)


def test_the_smallest_field_is_found_by_trying():
    spec = FieldSpec("siren", 2, 3, 256, 5, {})
    signal = image.load(PICTURE, "photo.png", image.Options(), Limits()).named("image")
    assert sizing.Sizer(spec, signal, ()).smallest() == replace(spec, width=1)


@pytest.mark.parametrize("size", [{"bytes": "10kB"}, {"params": "8k"}], ids=str)
def test_a_depth_asked_for_is_kept_within_a_size(size):
    depths = [planned(arch="grid", depth=depth, **size).spec.depth for depth in (2, FIELDS["grid"].TRAITS.depth, None)]
    assert depths == [2, FIELDS["grid"].TRAITS.depth, 2]


# --- stored as it is judged


@pytest.mark.parametrize("store", ["fp32", "fp16", "bf16"])
def test_the_artifact_returned_has_the_weights_that_were_judged(store, tmp_path):
    artifact = inrfit.encode(picture(), store=store, width=16, depth=2, budget="30it", device="cpu")
    artifact.save(tmp_path / "a")
    loaded = inrfit.load(tmp_path / "a")
    assert loaded.store == artifact.store == store
    for name, weight in artifact.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], weight)
    error = np.mean((artifact.decode().astype(float) - picture()) ** 2)
    assert artifact.quality["psnr"] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-6)


def test_a_weight_beyond_fp16_is_stored_as_bf16_and_told(monkeypatch):
    honest = fitting.fit

    def large(*given, **more):
        made = honest(*given, **more)
        with torch.no_grad():
            made.field.weights["last.bias"].fill_(70_000)
        return made

    monkeypatch.setattr(fitting, "fit", large)
    artifact = inrfit.encode(picture(), store="fp16", width=16, depth=2, budget="30it", device="cpu")
    assert artifact.store == "bf16"
    assert "beyond the range of fp16: all are stored as bf16" in artifact.provenance["notes"][-1]
    assert artifact.weights["last.bias"].max() == pytest.approx(70_000, rel=0.004)


# --- what is said about it


def test_reasons_tell_what_was_asked_what_the_size_brought_and_what_the_signal():
    spec = FieldSpec("siren", 2, 3, 8, 2, {"omega": 20.0, "first_omega": 40.0})
    chosen = recipe.choose(spec, torch.device("cpu"))

    def told(regime, asked, made):
        rows = explain(chosen, spec, planned().signal, regime, asked, made)
        return {name: why for name, _, why in rows if "omega" in name}

    assert told("inrfit", {"omega"}, {"omega", "first_omega"}) == {
        "omega": "set by the user",
        "first_omega": "follows from the size of the signal and the number of weights",
    }
    assert told("inrfit", (), ("omega",))["first_omega"] == MODALITIES["image"].omega_source
    assert told("paper", (), ("omega",))["first_omega"] == "as in the papers"


def test_the_plan_says_what_sizes_follow_from():
    def told(**settings):
        made = planned(**settings)
        return made.spec.width, {what: why for what, _, why in made.choices}["parameters"]

    assert told(arch="siren")[1].startswith("usual for ")
    assert told(arch="siren", regime="paper") == (256, "default of the architecture")
    assert told(arch="siren", width=16, depth=3) == (16, "set by --width and --depth")
    assert told(arch="grid", width=128) == (128, "set by --width")
    width, why = told(arch="grid", depth=3)
    assert width < 64
    assert why == "set by --depth; narrower, to leave weights for the rest of the field"


def test_a_wider_field_is_expected_to_take_more_memory():
    assert plan.check_memory(planned(width=512)) > plan.check_memory(planned())


def test_the_plan_and_the_summary_say_what_is_stored(tmp_path, capsys):
    from inrfit.__main__ import run

    source = tmp_path / "photo.png"
    Image.fromarray(picture()).save(source)
    words = ["encode", str(source), "--bytes", "20kB", "--budget", "5it", "--device", "cpu", "--json"]
    assert run([*words, "--dry-run"]) == 0
    plan_said = json.loads(capsys.readouterr().out)
    assert run([*words, "--explain"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    size, source_size = (tmp_path / "photo.png.safetensors").stat().st_size, source.stat().st_size
    assert max(size, plan_said["stored_bytes"]) <= 20_000
    for record in (plan_said, said):
        assert record["store"] in ("auto", "int")
        assert record["source_bytes"] == source_size
        assert record["source_bits_per_sample"] == 8 * source_size / (24 * 32)
    same = ("parameters", "macs_per_sample", "sines_per_sample")
    assert [plan_said[key] for key in same] == [said[key] for key in same]
    assert said["bits_per_sample"] == 8 * size / (24 * 32)
    assert f"{size:,} bytes (integers, {8 * size / said['parameters']:.1f} bits a weight), " in err
    assert f"times the source's {source_size:,}" in err
    assert f"{said['parameters']:,} parameters, {said['bits_per_sample']:.2f} bits per sample" in err
    assert "the most that --bytes allows" in err
    assert run(["info", f"{source}.safetensors"]) == 0
    shown = capsys.readouterr().out
    assert f"{size:,} bytes (integers, " in shown
    assert run(["info", f"{source}.safetensors", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert {key: known[key] for key in same} == {key: said[key] for key in same}

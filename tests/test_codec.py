"""encode and decode from Python: round trips, the reported quality, interrupts, limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import picture

import inrfit
from inrfit.config import plan
from inrfit.errors import BudgetTooShort, InrfitWarning, NotEnoughMemory, RefusedInput, UsageError
from inrfit.fit import evaluation
from inrfit.io.temporary import temporary_name
from inrfit.modalities import MODALITIES

QUICK = {"budget": "60it", "width": 32, "depth": 2, "device": "cpu"}


def test_the_quality_is_that_of_the_written_weights(png, tmp_path):
    artifact = inrfit.encode(png, **QUICK)
    artifact.save(tmp_path / "out.safetensors")
    decoded = inrfit.load(tmp_path / "out.safetensors").decode()
    error = np.mean((decoded.astype(float) - picture()) ** 2)
    assert artifact.quality["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)


def test_an_array_is_encoded_as_a_picture():
    array = picture(channels=4)
    decoded = inrfit.encode(array, **QUICK).decode()
    assert decoded.shape == array.shape
    assert decoded.dtype == np.uint8


def test_an_array_with_a_rate_is_encoded_as_a_sound():
    time = np.arange(2000) / 8000
    sound = (8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    artifact = inrfit.encode(sound, rate=8000, **(QUICK | {"budget": "400it", "width": 64, "depth": 3}))
    assert artifact.decode().shape == (2000, 1)
    assert artifact.quality["snr"] > 3


SOUND = np.sin(np.arange(1000) / 9).astype(np.float32)


@pytest.mark.parametrize(
    ("array", "rate", "words"),
    [
        (np.stack([SOUND, SOUND]), 8000, r"\(n, c\): \(2, 1000\) has more channels than samples; transpose it"),
        (SOUND, 8000.5, "rate must be a whole number, or None, not float"),
        (SOUND, "8k", "rate must be a whole number, or None, not str"),
        (SOUND, 0, "rate: must be 1 to 2,147,483,647 Hz, not 0"),
        (SOUND, 2**40, "rate: must be 1 to"),
        (SOUND[:0], 8000, r"the array is empty: its shape is \(0,\)"),
        (np.zeros((8, 0, 3), np.uint8), None, r"the array is empty: its shape is \(8, 0, 3\)"),
        (SOUND.astype(np.int32), 8000, r"not int32 of the shape \(1000,\)"),
        (np.zeros((9, 2000), np.float32), 8000, "transpose"),
        (np.zeros((3000, 2000), np.float32), 8000, r"of the shape \(3000, 2000\) at 8,000 Hz is no sound"),
    ],
)
def test_the_message_says_what_is_wrong_with_an_array(array, rate, words):
    with pytest.raises(UsageError, match=words):
        inrfit.encode(array, rate=rate, **QUICK)


@pytest.mark.parametrize("name", ["b.png", "b.WAV", "b.obj"])
def test_a_field_is_not_written_under_the_name_of_a_picture(name, tmp_path):
    output = tmp_path / name
    for force in (False, True):
        with pytest.raises(UsageError, match=r"encode writes a field .* not a .* file") as caught:
            inrfit.encode(picture(), output=output, force=force, **QUICK)
    assert caught.value.reason == "suffix"
    assert not output.exists()


def test_measuring_says_that_samples_were_reduced(recwarn):
    artifact = inrfit.encode(picture(), **QUICK)
    artifact.measure(picture())
    assert not recwarn
    with pytest.warns(InrfitWarning, match="16-bit samples reduced to 8 bits"):
        artifact.measure(picture().astype(np.uint16) * 257)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4)), np.zeros((4, 4, 65), np.uint8), np.zeros((0, 3), np.uint8), np.zeros(4, complex)]
)
def test_other_arrays_are_refused(array):
    with pytest.raises(UsageError):
        inrfit.encode(array, **QUICK)


def test_a_new_process_decodes_the_file(png, tmp_path):
    artifact = inrfit.encode(png, **QUICK)
    artifact.save(tmp_path / "out.safetensors")
    script = "import inrfit, sys, numpy; numpy.save(sys.argv[2], inrfit.load(sys.argv[1]).decode())"
    subprocess.run([sys.executable, "-c", script, tmp_path / "out.safetensors", tmp_path / "x.npy"], check=True)
    assert np.array_equal(np.load(tmp_path / "x.npy"), artifact.decode())


def test_another_size_is_the_same_picture(png):
    artifact = inrfit.encode(png, **(QUICK | {"budget": "300it"}))
    large = artifact.decode(inrfit.Request(size=(64, 48)))
    assert large.shape == (48, 64, 3)
    halved = large.reshape(24, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(halved - artifact.decode()).mean() < 4


def test_the_provenance_records_source_sampler_and_budget(png):
    artifact = inrfit.encode(png, sampler="nint", options={"xi": 0.5}, seed=7, **QUICK)
    provenance = artifact.provenance
    assert provenance["source"]["name"] == "photo.png"
    assert provenance["source"]["bytes"] == os.path.getsize(png)
    assert provenance["sampler"] == {"name": "nint", "options": provenance["sampler"]["options"]}
    assert provenance["sampler"]["options"]["xi"] == 0.5
    assert provenance["settings"]["seed"] == 7
    assert provenance["spent"]["steps"] == 60
    assert sum(provenance["spent"]["origin"].values()) >= provenance["spent"]["points"]
    assert str(png.parent) not in str(artifact.to_bytes())


def test_the_first_frequency_follows_from_the_size_of_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (150, 200), dtype=np.uint8)
    assert inrfit.encode(picture, **QUICK).spec.options == {"first_omega": 45.0, "axis_factors": "1x1.33"}
    asked = inrfit.encode(picture, options={"first_omega": 12.0}, **QUICK)
    assert asked.spec.options == {"first_omega": 12.0}
    assert inrfit.encode(picture, regime="paper", **QUICK).spec.options == {}
    options = inrfit.encode(picture, regime="paper", sampler="nint", **QUICK).provenance["sampler"]["options"]
    assert (options["schedule"], options["xi"], options["scoring"]) == ("released", 0.7, 1.0)


def test_the_provenance_records_whether_the_target_was_reached(png):
    assert inrfit.encode(png, target="90dB", **QUICK).provenance["target_reached"] is False
    assert inrfit.encode(png, target=8.0, **QUICK).provenance["target_reached"] is True


def test_same_seed_same_file(png):
    first, second = (inrfit.encode(png, seed=3, **QUICK) for _ in range(2))
    assert all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_ctrl_c_returns_what_was_learned(png):
    artifact = inrfit.encode(
        png,
        budget="60s",
        width=32,
        depth=2,
        device="cpu",
        engine="analytic",
        on_report=lambda report: os.kill(os.getpid(), signal.SIGINT) if report.step > 20 else None,
    )
    assert artifact.provenance["ended"] == "interrupted"
    assert artifact.quality["estimate"] is True
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("arch", ["siren", "grid"])
def test_stopped_before_the_first_step_nothing_is_returned(png, arch):
    kept = {"budget": "60s", "arch": arch, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        inrfit.encode(png, should_stop=lambda: True, output=png.parent / "field.safetensors", **kept)
    assert list(png.parent.iterdir()) == [png]


def test_a_budget_that_ends_before_the_first_step_replaces_nothing(png, tmp_path):
    output = tmp_path / "field.safetensors"
    output.write_bytes(b"old")
    with pytest.raises(BudgetTooShort, match="ended before the first step"):
        inrfit.encode(png, arch="grid", budget="0.000001s", output=output, force=True)
    assert output.read_bytes() == b"old"


def test_works_outside_the_main_thread(png):
    artifacts = []
    thread = threading.Thread(target=lambda: artifacts.append(inrfit.encode(png, **QUICK)))
    thread.start()
    thread.join()
    assert artifacts[0].quality["psnr"] > 5


def test_a_one_colour_picture_decodes_exactly():
    artifact = inrfit.encode(np.full((9, 9, 3), 40, np.uint8), **QUICK)
    assert artifact.quality["psnr"] is None
    assert artifact.quality["infinite"] == "psnr"
    assert (artifact.decode() == 40).all()


def test_long_signals_are_measured_by_a_sample(png, monkeypatch):
    monkeypatch.setattr(evaluation, "FULL_MEASURE_LIMIT", 100)
    monkeypatch.setattr(evaluation, "FULL_MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(evaluation, "SAMPLE_POINTS", 300)
    sampled = inrfit.encode(png, **QUICK)
    assert sampled.quality["estimate"] is True
    assert sampled.quality["samples"] == 300
    whole = inrfit.encode(png, verify="full", **QUICK)
    assert whole.quality["estimate"] is False
    assert whole.quality["samples"] == 24 * 32


def test_a_signal_too_large_for_the_machine_is_refused_before_the_fit(png, monkeypatch):
    monkeypatch.setattr(plan, "physical_memory", lambda: 100_000_000)
    with pytest.raises(NotEnoughMemory):
        inrfit.encode(png, **QUICK)


@pytest.mark.parametrize(
    "words", ["CUDA out of memory", "[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"]
)
@pytest.mark.parametrize("kind", [RuntimeError, MemoryError])
def test_out_of_memory_in_the_fit_is_an_error_of_its_own(png, monkeypatch, kind, words):
    from inrfit.fit.engine.step import Engine

    def full(*args):
        raise kind(words)

    monkeypatch.setattr(Engine, "step", full)
    with pytest.raises(NotEnoughMemory):
        inrfit.encode(png, **QUICK)


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "best"},
        {"arch": "perceptron"},
        {"width": 0},
        {"depth": 0},
        {"batch": "some"},
        {"batch": 0},
        {"lr": -1.0},
        {"precision": "fp8"},
        {"device": "mps"},
        {"device": "cuda:99"},
        {"verify": "no"},
        {"budget": "soon"},
        {"options": {"alpha": 9}},
        {"sampler": "full", "ratio": 0.5},
    ],
    ids=str,
)
def test_settings_without_meaning_are_refused(png, settings):
    with pytest.raises(UsageError):
        inrfit.encode(png, **(QUICK | settings))


def test_bytes_of_no_known_kind_are_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"nothing in particular")
    with pytest.raises(RefusedInput):
        inrfit.encode(tmp_path / "x", **QUICK)


def test_importing_does_not_import_torch():
    script = "import inrfit, inrfit.codec, inrfit.cli, inrfit.artifact.artifact, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_number_of_threads_is_restored(png):
    import torch

    before = torch.get_num_threads()
    inrfit.encode(png, threads=before + 1, **QUICK)
    assert torch.get_num_threads() == before


def test_names_and_suffixes_are_consistent():
    known = {suffix for modality in MODALITIES.values() for suffix in modality.input_suffixes}
    for modality in MODALITIES.values():
        # .raw says nothing of its content, and of .zip files in a folder few hold frames: they are read by name
        assert set(modality.output_suffixes) - {".raw", ".zip"} <= known


def test_old_argument_names_are_accepted_with_a_notice(png):
    events = []
    with pytest.warns(InrfitWarning, match="argument of encode 'watch' is now called 'on_step'"):
        inrfit.encode(png, watch=events.append, **QUICK)
    assert events
    with pytest.raises(UsageError, match="watch and on_step"):
        inrfit.encode(png, watch=events.append, on_step=events.append, **QUICK)


def test_what_a_killed_process_left_of_an_output_is_removed(png, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    output = tmp_path / "field.safetensors"
    for name in (output.name, f"{output.name}.state"):
        left = temporary_name(name).replace(f"-{os.getpid()}-", f"-{ended.pid}-")
        (tmp_path / left).write_bytes(b"a part of it")
    inrfit.encode(png, output=output, checkpoint="1h", **QUICK)
    assert sorted(tmp_path.iterdir()) == sorted([png, output])

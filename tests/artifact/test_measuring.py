"""The figure in a header is that of the file, and anyone can check it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tifffile
import trimesh
from conftest import picture
from PIL import Image

import inrfit
from inrfit.__main__ import run
from inrfit.artifact import container, contents
from inrfit.errors import UsageError
from inrfit.fields import FIELDS

SOLID = ["--arch", "grid", "--budget", "300it", "-O", "finest=16x16x16"]
QUICK = ["--budget", "60it", "--width", "16", "--depth", "2", "--device", "cpu", "--threads", "1", "-q"]


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setattr("inrfit.modalities.shape.quality.RESOLUTION", 16)
    monkeypatch.setattr("inrfit.modalities.shape.quality.CHAMFER_POINTS", 500)
    monkeypatch.setattr("inrfit.modalities.shape.shape.RESOLUTION", 16)
    paths = {"image": tmp_path / "a.png", "audio": tmp_path / "a.wav", "shape": tmp_path / "a.ply"}
    Image.fromarray(picture(24, 24)).save(paths["image"])
    soundfile.write(paths["audio"], (0.5 * np.sin(np.arange(900) / 9)).astype(np.float32), 8000)
    trimesh.creation.icosphere(2).export(paths["shape"])
    return paths


def encoded(source: Path, *words: str) -> Path:
    assert run(["encode", str(source), *QUICK, "-f", *words]) == 0
    return source.with_name(source.name + ".safetensors")


def restated(path: Path, **changes) -> None:
    """Another quality in the header of a file."""
    artifact = inrfit.load(path)
    header = artifact.header()
    header["quality"] |= changes
    path.write_bytes(
        container.serialize(3, {**contents.tensors_of(artifact), container.KEY: container.deflated(header)})
    )


@pytest.mark.parametrize("kind", ["image", "audio", "shape"])
@pytest.mark.parametrize("store", ["auto", "int6", "fp16", "fp32"])
def test_the_figure_of_every_kind_and_store_is_confirmed(kind, store, sources, capsys):
    field = encoded(sources[kind], "--store", store)
    assert run(["measure", str(field), str(sources[kind])]) == 0
    shown = capsys.readouterr().out
    assert "confirmed" in shown
    assert "NOT" not in shown
    assert run(["measure", str(field), str(sources[kind]), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["confirmed"]) == (True, True)


@pytest.mark.parametrize("arch", FIELDS)
def test_the_figure_of_every_architecture_is_confirmed(arch, sources):
    traits = FIELDS[arch].TRAITS
    source = sources["shape" if traits.surfaces_only else "audio" if traits.grid_axes == 1 else "image"]
    field = encoded(source, "--arch", arch)
    assert run(["measure", str(field), str(source), "-q"]) == 0


@pytest.mark.parametrize(
    ("kind", "key", "change"), [("image", "psnr", 0.1), ("audio", "snr", -0.1), ("shape", "iou", 0.01)]
)
def test_a_changed_figure_is_found(kind, key, change, sources, capsys):
    field = encoded(sources[kind])
    restated(field, **{key: inrfit.load(field).quality[key] + change})
    capsys.readouterr()
    assert run(["measure", str(field), str(sources[kind])]) == 8
    printed = capsys.readouterr()
    assert "NOT CONFIRMED" in printed.out
    assert "figure not confirmed" in printed.err
    assert run(["measure", str(field), str(sources[kind]), "--json", "-q"]) == 8
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["confirmed"]) == (False, False)
    assert abs(said["quality"][key] - said["stated"][key]) == pytest.approx(abs(change), abs=1e-3)


def test_a_figure_that_claims_to_be_perfect_is_found(sources):
    field = encoded(sources["image"])
    restated(field, psnr=None, infinite="psnr")
    assert run(["measure", str(field), str(sources["image"]), "-q"]) == 8


def test_without_a_source_the_integrity_is_checked(sources, capsys):
    field = encoded(sources["image"])
    assert run(["measure", str(field)]) == 0
    assert "well-formed" in capsys.readouterr().out
    data = bytearray(field.read_bytes())
    data[-9] ^= 16
    field.write_bytes(data)
    assert run(["measure", str(field)]) == 3


def test_a_source_of_another_size_or_kind_is_refused(sources, tmp_path, capsys):
    field = encoded(sources["image"])
    Image.fromarray(picture(24, 25)).save(tmp_path / "b.png")
    assert run(["measure", str(field), str(tmp_path / "b.png")]) == 2
    assert "not the source of this field" in capsys.readouterr().err
    capsys.readouterr()
    assert run(["measure", str(field), str(sources["audio"])]) == 2
    assert "a.wav: of the type audio, the field is of the type image" in capsys.readouterr().err


def test_another_file_of_the_same_size_is_told(sources, tmp_path, capsys):
    field = encoded(sources["image"])
    Image.fromarray(picture(24, 24)).save(tmp_path / "b.png", compress_level=1)
    capsys.readouterr()
    assert run(["measure", str(field), str(tmp_path / "b.png")]) == 0
    assert "SHA-256 differs" in capsys.readouterr().err


def test_another_place_or_size_of_a_mesh_is_not_confirmed(sources, tmp_path):
    field, mesh = encoded(sources["shape"], *SOLID), trimesh.load(sources["shape"])
    quality = inrfit.load(field).quality
    assert quality["iou"] > 0.5
    for other in (mesh.copy().apply_translation((0.5, 0, 0)), mesh.copy().apply_scale(2.0)):
        other.export(tmp_path / "other.ply")
        assert run(["measure", str(field), str(tmp_path / "other.ply"), "-q"]) == 8
        assert inrfit.load(field).measure(tmp_path / "other.ply").quality["iou"] < quality["iou"] - 0.1


@pytest.mark.parametrize("kind", ["image", "audio", "shape"])
def test_against_its_own_decode_a_field_is_perfect(kind, sources, tmp_path, capsys):
    field = encoded(sources[kind], *(SOLID if kind == "shape" else []))
    decoded = tmp_path / f"decoded{sources[kind].suffix}"
    assert run(["decode", str(field), "-o", str(decoded), "-q"]) == 0
    capsys.readouterr()
    assert run(["measure", str(field), str(decoded), "--json"]) == 8  # the header has the figure of the source
    said = json.loads(capsys.readouterr().out)
    assert said["error"]["code"] == 8
    if kind == "shape":
        assert said["quality"]["iou"] > 0.9
    else:
        assert {"image": "psnr", "audio": "snr"}[kind] in said["quality"]["infinite"]


def test_a_field_without_quality_is_neither_confirmed_nor_not(sources, tmp_path, capsys):
    artifact = inrfit.load(encoded(sources["image"], "--store", "fp32"))
    replace(artifact, store="fp16").save(tmp_path / "b.safetensors")
    capsys.readouterr()
    assert run(["measure", str(tmp_path / "b.safetensors"), str(sources["image"]), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["confirmed"] is None
    assert "no quality in the header" in printed.err
    assert run(["info", str(tmp_path / "b.safetensors")]) == 0
    assert "not measured" in capsys.readouterr().out


def test_errors_name_the_file_they_are_about(sources, tmp_path, capsys):
    field, photo = str(encoded(sources["image"])), str(sources["image"])
    (tmp_path / "cut.png").write_bytes(sources["image"].read_bytes()[:100])
    capsys.readouterr()
    for words, code, message in (
        ([field, "no.png"], 3, "no.png: no such file"),
        ([photo, field], 2, "is a field: name the field first"),
        ([field, field], 2, "is a field: name its source"),
        ([field, str(tmp_path / "cut.png")], 3, "cut.png: "),
    ):
        assert run(["measure", *words]) == code
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["image", "audio", "shape"])
def test_a_decoded_file_has_the_figure_of_its_field(kind, sources, tmp_path, capsys):
    field = encoded(sources[kind])
    decoded = tmp_path / f"decoded{sources[kind].suffix}"
    assert run(["decode", str(field), "-o", str(decoded), "-q"]) == 0
    capsys.readouterr()
    assert run(["measure", str(decoded), str(sources[kind]), "--json"]) == 0
    said, quality = json.loads(capsys.readouterr().out)["quality"], inrfit.load(field).quality
    for key in {"image": ("psnr", "ssim"), "audio": ("snr", "psnr"), "shape": ("iou", "chamfer")}[kind]:
        assert said[key] == pytest.approx(quality[key], rel=1e-3)


def test_pictures_of_other_types_are_compared_in_that_of_the_second(tmp_path, capsys):
    pixels = picture(16, 16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([pixels, np.full((16, 16), 255, np.uint8)])).save(tmp_path / "alpha.png")
    inrfit.encode  # noqa: B018 - imported for its readers
    tifffile.imwrite(tmp_path / "deep.tif", pixels.astype(np.uint16) * 257, photometric="rgb")
    for other in ("alpha.png", "deep.tif"):
        for pair in (("a.png", other), (other, "a.png")):
            assert run(["measure", *(str(tmp_path / name) for name in pair)]) == 0
            assert "PSNR  inf dB" in capsys.readouterr().out


@pytest.mark.parametrize("other", ["b.png", "a.wav", "missing.png"])
def test_files_that_cannot_be_compared_are_refused(sources, tmp_path, other, capsys):
    Image.fromarray(picture(8, 9)).save(tmp_path / "b.png")
    assert run(["measure", str(sources["image"]), str(tmp_path / other)]) == (3 if other == "missing.png" else 2)
    assert capsys.readouterr().err.startswith("inrfit: error: ")


def test_a_file_that_is_no_field_needs_another(sources):
    assert run(["measure", str(sources["image"])]) == 2


# --- from Python


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "looks like a Git LFS pointer: fetch the file"),
        (b"\x80\x04\x95", "looks like a pickle file"),
        (bytes(9), "the header has length 0"),
        (bytes([0] * 7 + [128]) + b"{}", "claims a header of"),
        (b"\x04" + bytes(7) + b"null", "the header is not a JSON object"),
    ],
)
def test_a_damaged_field_is_refused_as_a_field(content, words, sources, tmp_path, capsys):
    field = tmp_path / "field.safetensors"
    field.write_bytes(content)
    for arguments in ([field], [field, sources["image"]], [sources["image"], field]):
        assert run(["measure", *map(str, arguments)]) == 3
        assert re.search(f"inrfit: error: {field}: .*{words}", capsys.readouterr().err)


def test_an_artifact_whose_weights_were_changed_has_no_quality_until_it_is_measured(sources):
    artifact = inrfit.load(encoded(sources["image"], "--store", "fp32"))
    assert artifact.quality["psnr"] > 0
    worse = replace(artifact, weights={name: 0.9 * weight for name, weight in artifact.weights.items()})
    assert worse.quality == {}
    assert inrfit.Artifact.from_bytes(worse.to_bytes()).quality == {}
    measured = worse.measure(sources["image"])
    assert measured.quality["psnr"] < artifact.quality["psnr"] - 0.1
    assert artifact.measure(picture(24, 24)).quality["psnr"] == pytest.approx(artifact.quality["psnr"], abs=1e-6)


def test_another_store_has_no_quality_and_another_note_keeps_it(sources):
    artifact = inrfit.load(encoded(sources["image"], "--store", "fp32"))
    assert replace(artifact, store="bf16").quality == {}
    assert replace(artifact, provenance={**artifact.provenance, "notes": []}).quality == artifact.quality
    assert artifact.with_quality({"psnr": 1.0}).quality == {"psnr": 1.0}
    rounded = replace(artifact, store="bf16").measure(sources["image"])
    assert rounded.quality["psnr"] == pytest.approx(artifact.quality["psnr"], abs=0.5)


def test_measuring_against_another_size_is_refused(sources):
    with pytest.raises(UsageError, match="not the source"):
        inrfit.load(encoded(sources["image"])).measure(picture(7, 8))


# --- bytes


def test_the_header_of_a_short_provenance_has_less_than_600_bytes(sources):
    for kind, path in sources.items():
        for arch in ("siren", "grid"):
            data = encoded(path, "--provenance", "short", "--arch", arch).read_bytes()
            table = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            assert 8 + int.from_bytes(data[:8], "little") + table["inrfit"]["data_offsets"][1] < 600, kind


@pytest.mark.parametrize("kept", ["short", "none"])
def test_a_field_with_less_provenance_is_a_field(kept, sources, capsys):
    field = encoded(sources["image"], "--provenance", kept)
    provenance = inrfit.load(field).provenance
    assert ("sha256" in provenance.get("source", {})) == (kept == "short")
    assert "settings" not in provenance
    for words in (["info"], ["info", "--json"], ["decode", "-f"], ["measure"]):
        assert run([*words, str(field)]) == 0
    assert run(["encode", str(sources["image"]), *QUICK, "--resume"]) == 2
    assert "does not say which settings" in capsys.readouterr().err


def test_the_summary_tells_the_bytes_beside_those_of_the_source_and_of_a_plain_codec(sources, capsys):
    assert run(["encode", str(sources["image"]), *QUICK[:-1], "-f"]) == 0
    second = capsys.readouterr().err.splitlines()[1]
    size, source = (path.stat().st_size for path in (Path(f"{sources['image']}.safetensors"), sources["image"]))
    assert second.startswith(f"  {size:,} bytes (integers, ")
    assert f"times the source's {source:,}" in second
    assert "JPEG needs about" in second
    assert run(["info", f"{sources['image']}.safetensors"]) == 0
    assert "JPEG needs about" in " ".join(capsys.readouterr().out.split())


# --- what a review found


def test_another_range_or_loudness_is_not_confirmed(tmp_path):
    floats = np.random.default_rng(0).uniform(0, 1, (16, 16)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", floats)
    tifffile.imwrite(tmp_path / "b.tif", 2 * floats)
    soundfile.write(tmp_path / "a.wav", floats.ravel() - 0.5, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", 2 * (floats.ravel() - 0.5), 8000, subtype="FLOAT")
    Image.fromarray(np.full((16, 16), 77, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((16, 16), 200, np.uint8)).save(tmp_path / "b.png")
    for suffix in (".tif", ".wav", ".png"):
        field = encoded(tmp_path / f"a{suffix}")
        assert run(["measure", str(field), str(tmp_path / f"a{suffix}"), "-q"]) == 0
        assert run(["measure", str(field), str(tmp_path / f"b{suffix}"), "-q"]) in (2, 8)


def test_floats_are_compared_as_they_are(tmp_path, capsys):
    floats = np.random.default_rng(0).uniform(0, 1, (16, 16)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", floats)
    tifffile.imwrite(tmp_path / "b.tif", 2 * floats)
    assert run(["measure", str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quality"]["psnr"] < 20


@pytest.mark.parametrize("missing", [["threads"], ["ended"], ["settings"], ["source"], ["created", "notes"]])
def test_a_provenance_may_lack_any_key(missing, sources, capsys):
    artifact = inrfit.load(field := encoded(sources["image"]))
    provenance = {key: value for key, value in artifact.provenance.items() if key not in missing}
    replace(artifact, provenance=provenance).save(field, force=True)
    for words in (["info"], ["info", "--json"], ["decode", "-f"], ["measure"]):
        assert run([*words, str(field)]) == 0
    assert run(["encode", str(sources["image"]), *QUICK, "--resume"]) in (0, 2)


@pytest.mark.parametrize("quality", [{"estimate": True, "samples": 0}, {"estimate": True}, {}, {"ssim": 0.5}])
def test_a_header_without_the_main_figure_confirms_nothing(quality, sources, capsys):
    artifact = inrfit.load(field := encoded(sources["image"]))
    field.write_bytes(artifact.with_quality(quality).to_bytes())
    assert run(["info", str(field)]) == 0
    assert run(["measure", str(field), str(sources["image"])]) == (8 if "ssim" in quality else 0)


def test_copies_keep_their_quality_and_weights_cannot_be_edited(sources):
    import copy
    import pickle

    artifact = inrfit.load(encoded(sources["image"]))
    for twin in (copy.deepcopy(artifact), pickle.loads(pickle.dumps(artifact))):
        assert replace(twin, provenance_kept="short").quality == artifact.quality
    equal = {name: weight.copy() for name, weight in artifact.weights.items()}
    assert replace(artifact, weights=equal).quality == artifact.quality
    with pytest.raises(ValueError, match="read-only"):
        artifact.weights["last.weight"][:] = 0

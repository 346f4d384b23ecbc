"""Where outputs go: names, folders, standard output, and files that exist already."""

from __future__ import annotations

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from inrfit.__main__ import run

QUICK = ["--budget", "30it", "--width", "16", "--depth", "1", "--device", "cpu"]


def encode(*words) -> int:
    return run(["encode", *map(str, words), *QUICK])


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(16, 20, seed=seed)).save(path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two pictures of the same name in two folders, with files that are not sources."""
    save(tmp_path / "photos" / "a" / "img_00.png")
    save(tmp_path / "photos" / "b" / "img_00.png", seed=1)
    (tmp_path / "photos" / "notes.txt").write_text("x")
    save(tmp_path / "photos" / "a" / "img_00.decoded.png")
    (tmp_path / "photos" / "a" / "old.png.safetensors").write_bytes(b"x")
    return tmp_path / "photos"


def test_a_folder_tree_is_mirrored_into_a_new_folder_and_back(tree: Path, tmp_path: Path) -> None:
    assert encode(tree, "-o", f"{tmp_path}/fields/") == 0
    assert names(tmp_path / "fields") == ["a/img_00.png.safetensors", "b/img_00.png.safetensors"]
    assert run(["decode", f"{tmp_path}/fields", "-o", f"{tmp_path}/decoded/"]) == 0
    assert names(tmp_path / "decoded") == ["a/img_00.decoded.png", "b/img_00.decoded.png"]


def test_several_folders_are_mirrored_under_their_names(tree: Path, tmp_path: Path) -> None:
    assert encode(tree / "a", tree / "b", "-o", f"{tmp_path}/fields/") == 0
    assert names(tmp_path / "fields") == ["a/img_00.png.safetensors", "b/img_00.png.safetensors"]


def test_what_is_left_out_of_a_folder_is_counted_and_listed(tree: Path, tmp_path: Path, capsys) -> None:
    assert encode(tree, "-o", f"{tmp_path}/fields/", "--json", "-v") == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[0]) == {
        "schema": 1, "ok": True, "folder": str(tree), "files": 2, "left_out": {"other": 1, "products": 2},
    }  # fmt: skip
    for left_out in ("notes.txt", "img_00.decoded.png", "old.png.safetensors"):
        assert f"{left_out} (" in err


def test_a_dry_run_into_a_new_folder_succeeds_and_makes_none(tmp_path: Path, capsys) -> None:
    source = save(tmp_path / "photo.png")
    assert encode(source, "-o", f"{tmp_path}/new/below/", "--dry-run") == 0
    assert "would fail" not in capsys.readouterr().out
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("x")
    assert encode(source, "-o", f"{tmp_path}/file/below/", "--dry-run") == 0
    assert "would fail" in capsys.readouterr().out


def test_two_formats_in_one_request_are_refused(tmp_path: Path, capsys) -> None:
    assert encode(save(tmp_path / "photo.png")) == 0
    field = f"{tmp_path}/photo.png.safetensors"
    assert run(["decode", field, "-o", f"{tmp_path}/a.png", "--format", "jpg"]) == 2
    assert "name two formats" in capsys.readouterr().err
    assert run(["decode", field, "-o", f"{tmp_path}/a.raw", "--format", "jpg"]) == 0


def test_the_summary_describes_the_written_file(tmp_path: Path, capsys) -> None:
    deep = np.linspace(0, 65535, 320).reshape(16, 20).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert encode(tmp_path / "deep.png") == 0
    assert run(["decode", f"{tmp_path}/deep.png.safetensors", "-o", f"{tmp_path}/a.jpg", "--bits", "8"]) == 0
    assert "20x16 L, " in capsys.readouterr().err


def test_a_source_that_comes_back_as_another_format_is_named_before_the_fit(tmp_path: Path, capsys) -> None:
    Image.fromarray(picture(16, 20)).resize((16, 16)).save(tmp_path / "a.ico")
    assert encode(tmp_path / "a.ico", "--dry-run") == 0
    assert "ICO is written as PNG by decode" in capsys.readouterr().err


def test_decode_repeats_what_was_changed_when_the_source_was_read(tmp_path: Path, capsys) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (24, 24), dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    assert encode(tmp_path / "labels.png") == 0
    capsys.readouterr()
    assert run(["decode", str(tmp_path / "labels.png.safetensors")]) == 0
    assert "when encoded: few different values, like labels" in capsys.readouterr().err


def test_a_missing_parent_of_a_named_file_is_not_created(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png")
    assert encode(photo, "-o", tmp_path / "no" / "such.safetensors") == 4
    assert not (tmp_path / "no").exists()


def test_twins_decode_to_two_files(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        assert encode(save(tmp_path / f"photo.{suffix}")) == 0
    fields = [str(tmp_path / f"photo.{suffix}.safetensors") for suffix in ("png", "jpg")]
    assert run(["decode", *fields]) == 0
    assert {"photo.decoded.png", "photo.decoded.jpg"} <= set(names(tmp_path))
    assert run(["decode", *fields, "--format", "png", "--force"]) == 2


def test_only_known_suffixes_are_removed_from_names(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png")
    assert encode(photo, "-o", tmp_path / "scan.v2.safetensors") == 0
    assert run(["decode", str(tmp_path / "scan.v2.safetensors")]) == 0
    assert (tmp_path / "scan.v2.decoded.png").exists()


@pytest.mark.parametrize("name", ["y.png", "y.WAV", "y.stl", "y.exr"])
def test_a_field_is_not_given_the_suffix_of_a_picture(tmp_path: Path, name: str, capsys) -> None:
    assert encode(save(tmp_path / "photo.png"), "-o", tmp_path / name) == 2
    assert "inrfit decode" in capsys.readouterr().err


def test_existing_outputs_are_skipped_on_request(tree: Path, capsys) -> None:
    field = tree / "a" / "img_00.png.safetensors"
    field.write_bytes(b"mine")
    assert encode(tree, "--skip-existing", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record.get("skipped", False) for record in records[1:]] == [True, False]
    assert field.read_bytes() == b"mine"
    assert run(["decode", str(tree / "b"), "--skip-existing"]) == 0
    decoded = tree / "b" / "img_00.decoded.png"
    decoded.write_bytes(b"mine")
    assert run(["decode", str(tree / "b"), "--skip-existing"]) == 0
    assert decoded.read_bytes() == b"mine"


def test_a_field_and_a_picture_go_through_pipes(tmp_path: Path) -> None:
    photo = save(tmp_path / "photo.png")
    words = [sys.executable, "-m", "inrfit"]
    encoded = subprocess.run([*words, "encode", str(photo), "-o", "-", *QUICK], capture_output=True)
    assert encoded.returncode == 0, encoded.stderr
    assert b"PSNR" in encoded.stderr
    decode = [*words, "decode", "-", "-o", "-", "--format", "jpg"]
    decoded = subprocess.run(decode, input=encoded.stdout, capture_output=True)
    assert decoded.returncode == 0, decoded.stderr
    assert np.asarray(Image.open(BytesIO(decoded.stdout))).shape == (16, 20, 3)
    assert names(tmp_path) == ["photo.png"]


def test_standard_output_takes_either_json_or_a_file(tmp_path: Path, capsys) -> None:
    photo = save(tmp_path / "photo.png")
    assert encode(photo, "-o", "-", "--json") == 2
    assert "--json" in capsys.readouterr().err
    assert encode(photo) == 0
    assert run(["decode", f"{photo}.safetensors", "-o", "-", "--json"]) == 2
    assert encode(photo, "-o", "-", "--checkpoint", "5s") == 2


def test_info_takes_a_folder(tmp_path: Path, capsys) -> None:
    assert encode(save(tmp_path / "photo.png")) == 0
    capsys.readouterr()
    assert run(["info", str(tmp_path)]) == 0
    assert "photo.png.safetensors" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert run(["info", str(tmp_path / "empty")]) == 2


@pytest.mark.parametrize(("text", "size"), [("40x", (40, 32)), ("x8", (10, 8)), ("30x24", (30, 24)), ("10X8", (10, 8))])
def test_sizes_may_have_one_side(tmp_path: Path, text: str, size: tuple[int, int]) -> None:
    assert encode(save(tmp_path / "photo.png")) == 0
    assert run(["decode", str(tmp_path / "photo.png.safetensors"), "--size", text]) == 0
    with Image.open(tmp_path / "photo.decoded.png") as decoded:
        assert decoded.size == size


@pytest.mark.parametrize(
    "words",
    [
        ["--size", "x"], ["--size", "0x5"], ["--size", "5"], ["--bits", "9"], ["--image-quality", "0"],
        ["--background", "bleu"], ["--format", "wav"],
    ],
)  # fmt: skip
def test_wrong_requests_are_refused(tmp_path: Path, words: list[str]) -> None:
    assert encode(save(tmp_path / "photo.png")) == 0
    assert run(["decode", str(tmp_path / "photo.png.safetensors"), *words]) == 2


def test_metadata_and_frame_are_options_of_encode(tmp_path: Path, capsys) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(picture(16, 20)).save(photo, dpi=(300, 300))
    assert encode(photo, "--metadata", "drop", "--json") == 0
    assert encode(photo, "--page", "2", "--force") == 2
    sound = tmp_path / "x.wav"
    import soundfile

    soundfile.write(sound, np.sin(np.arange(2000) / 9), 8000)
    assert encode(sound, "--frame", "2") == 2
    assert "--frame has no effect" in capsys.readouterr().err


def frames(folder: Path, count: int = 9) -> Path:
    """A folder of numbered pictures."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(picture(10, 14, seed=number)).save(folder / f"f{number}.png")
    return folder


def test_frames_become_a_new_folder_of_frames(tmp_path: Path, capsys) -> None:
    field = tmp_path / "f.safetensors"
    assert encode("--type", "video", frames(tmp_path / "in"), "-o", field) == 0
    assert run(["decode", str(field), "-o", f"{tmp_path}/deep/out/"]) == 0
    assert names(tmp_path / "deep") == [f"out/{number:04}.png" for number in range(1, 10)]
    with Image.open(tmp_path / "deep" / "out" / "0009.png") as image:
        assert (image.mode, image.size) == ("RGB", (14, 10))
    assert "out/: 9 frames of 14x10 RGB" in capsys.readouterr().err
    assert run(["encode", "--type", "video", f"{tmp_path}/deep/out", "--dry-run"]) == 0
    assert run(["decode", str(field), "-o", f"{tmp_path}/deep/out/"]) == 0  # a folder that is there
    assert (tmp_path / "deep" / "out" / "f.decoded.zip").exists()
    assert run(["decode", str(field), "-o", f"{tmp_path}/zipped/", "--format", "zip"]) == 0
    assert names(tmp_path / "zipped") == ["f.decoded.zip"]
    assert run(["query", str(field), "--region", "t=2:5", "-o", f"{tmp_path}/part/"]) == 0
    assert names(tmp_path / "part") == ["f.query.zip"]
    copy = tmp_path / "g.safetensors"
    copy.write_bytes(field.read_bytes())
    assert run(["decode", str(field), str(copy), "-o", f"{tmp_path}/both/"]) == 0
    assert names(tmp_path / "both") == ["f.decoded.zip", "g.decoded.zip"]


def test_a_name_without_a_suffix_is_told_its_format(tmp_path: Path, capsys) -> None:
    field = tmp_path / "a.safetensors"
    assert encode(save(tmp_path / "a.png"), "-o", field) == 0
    assert run(["decode", str(field), "-o", f"{tmp_path}/plain"]) == 0
    assert "plain has no suffix: it is a .png file" in capsys.readouterr().err
    with Image.open(tmp_path / "plain") as image:
        assert image.format == "PNG"
    assert run(["decode", str(field), "-o", f"{tmp_path}/a.webp"]) == 0
    assert "no suffix" not in capsys.readouterr().err


def test_numbered_pictures_may_be_frames(tmp_path: Path, capsys) -> None:
    def hinted(*words) -> bool:
        assert run(["encode", *map(str, words), "--dry-run"]) == 0
        return "9 numbered pictures are fitted one by one; as one clip: --type video" in capsys.readouterr().err

    folder = frames(tmp_path / "in")
    assert hinted(folder)
    assert hinted(*sorted(folder.iterdir()))
    assert not hinted(folder, "--type", "image")
    assert run(["encode", "--type", "video", *map(str, sorted(folder.iterdir())), "--dry-run"]) == 2
    assert "give their folder as one clip: --type video" in capsys.readouterr().err
    Image.fromarray(picture(14, 10)).save(folder / "f0.png")  # another size, as in a folder of photographs
    assert not hinted(folder)
    Image.fromarray(picture(10, 14)).save(folder / "f0.png")
    (folder / "f3.png").rename(folder / "f33.png")
    assert not hinted(folder)


def test_a_header_and_its_samples_are_one_source(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a", "b"):
        header = f"NDims = 3\nDimSize = 6 5 4\nElementType = MET_UCHAR\nElementDataFile = {name}.raw\n"
        (folder / f"{name}.mhd").write_text(header)
        (folder / f"{name}.raw").write_bytes(bytes(range(120)))
    assert run(["encode", str(folder), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert out.count("4x5x6 (zyx) uint8 MetaImage") == 2
    assert "left out" not in err
    (folder / "b.mhd").unlink()
    assert run(["encode", str(folder), "--dry-run"]) == 7  # samples without a header


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["fit", "a.png"], "encode?"), (["Encod", "a.png"], "encode?"), (["a.safetensors"], "decode a.safetensors?"),
     (["batch", "rn"], "batch run?"), (["xyzzy"], "there are encode, decode"), (["photo.png"], "encode photo.png?")],
)  # fmt: skip
def test_a_word_that_is_no_command_is_told_the_one_that_was_meant(words, hint, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photo.png", "a.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    assert run(words) == 2
    assert hint in capsys.readouterr().err

"""Archives that are written as folders: all files or none."""

from __future__ import annotations

import io
import os
import zipfile

import pytest

from inrfit.errors import OutputExists, UnwritableOutput
from inrfit.io import files, folders

CONTENT = {"a.txt": b"one", "deep/er/b.bin": bytes(range(256)) * 50, "empty": b""}


def archive(content=CONTENT):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, data in content.items():
            opened.writestr(name, data)
    return lambda out: out.write(made.getvalue())


def content_of(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_all_files_are_written(tmp_path):
    size = folders.write_with(f"{tmp_path}/new/", archive())
    assert content_of(tmp_path / "new") == CONTENT
    assert size == sum(map(len, CONTENT.values()))
    assert os.listdir(tmp_path) == ["new"]


def test_an_existing_folder_is_not_replaced(tmp_path):
    (tmp_path / "old").mkdir()
    for path in (f"{tmp_path}/old", f"{tmp_path}/old/"):
        with pytest.raises(OutputExists, match="remove it first"):
            folders.check_target(path)
        with pytest.raises(OutputExists, match="remove it first"):
            folders.write_with(path, archive())
    assert content_of(tmp_path / "old") == {}


def test_a_folder_that_another_process_makes_meanwhile_is_kept(tmp_path):
    def rival(out):
        archive()(out)
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "theirs").write_bytes(b"x")

    with pytest.raises(OutputExists):
        folders.write_with(f"{tmp_path}/new/", rival)
    assert content_of(tmp_path) == {"new/theirs": b"x"}


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_no_file_is_written_outside_of_the_folder(tmp_path, name):
    (tmp_path / "room").mkdir()
    with pytest.raises(UnwritableOutput, match="outside of its folder"):
        folders.write_with(f"{tmp_path}/room/new", archive({"a": b"x", name: b"x"}))
    assert content_of(tmp_path) == {}


def test_nothing_is_left_of_a_folder_that_is_not_completed(tmp_path, monkeypatch):
    def fails(out):
        archive()(out)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        folders.write_with(f"{tmp_path}/new", fails)
    written = files.write

    def full(path, data, force):
        if path.endswith("b.bin"):
            raise UnwritableOutput("no space left", "enospc")
        written(path, data, force)

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(UnwritableOutput):
        folders.write_with(f"{tmp_path}/new", archive())
    assert os.listdir(tmp_path) == []
    with pytest.raises(UnwritableOutput, match="no such folder"):
        folders.check_target(f"{tmp_path}/missing/new")

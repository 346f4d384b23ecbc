"""What was written to a file, in whatever order, is what reads back, or it is noticed."""

from __future__ import annotations

import errno
import io
import os
import random

import pytest

from inrfit.io import checked_file
from inrfit.io.checked_file import CheckedFile


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_parts_that_are_written_again_read_back(tmp_path, monkeypatch, seed, short):
    monkeypatch.setattr(checked_file, "BLOCK", 16)
    real, chance, plain = os.write, random.Random(seed), io.BytesIO()
    if short:
        monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:5]))
    with CheckedFile(str(tmp_path / "a")) as file:
        for _ in range(60):
            data = chance.randbytes(chance.randrange(40))
            for either in (plain, file):
                assert either.write(data) == len(data)
            place = chance.choice([plain.tell(), 0, chance.randrange(len(plain.getvalue()) + 1)])
            assert plain.seek(place) == file.seek(place) == file.tell()
        assert file.seek(0, os.SEEK_END) == len(plain.getvalue()) == file.size
    assert (tmp_path / "a").read_bytes() == plain.getvalue()
    assert file.reads_back()


@pytest.mark.parametrize("at", [0, 20, 63])
@pytest.mark.parametrize("change", ["a bit", "shorter", "longer"])
def test_a_file_that_was_changed_does_not_read_back(tmp_path, monkeypatch, at, change):
    monkeypatch.setattr(checked_file, "BLOCK", 16)
    with CheckedFile(str(tmp_path / "a")) as file:
        file.write(bytes(64))
        file.seek(0)
        file.write(b"size")
    assert file.reads_back()
    spoiled = bytearray((tmp_path / "a").read_bytes())
    if change == "a bit":
        spoiled[at] ^= 1
    (tmp_path / "a").write_bytes({"a bit": spoiled, "shorter": spoiled[:at], "longer": spoiled + bytes(at + 1)}[change])
    assert not file.reads_back()


def test_what_was_damaged_before_a_part_was_written_again_is_noticed(tmp_path):
    with CheckedFile(str(tmp_path / "a")) as file:
        file.write(b"0000 and more")
        (tmp_path / "a").write_bytes(b"0000 and less")
        file.seek(0)
        file.write(b"size")
    assert not file.reads_back()


def test_a_failure_is_not_forgotten(tmp_path, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with CheckedFile(str(tmp_path / "a")) as file:
        file.write(b"new")
        monkeypatch.setattr(os, "write", full)
        for act in (lambda: file.write(b"er"), lambda: file.seek(0), lambda: file.write(b"n"), file.sync):
            with pytest.raises(OSError, match="No space left"):
                act()
            monkeypatch.undo()


def test_there_is_nothing_beyond_the_end_and_no_file_is_replaced(tmp_path):
    with CheckedFile(str(tmp_path / "a")) as file:
        file.write(b"abc")
        for wrong in ((4, 0), (-1, 0), (1, 2)):
            with pytest.raises(OSError, match="Invalid argument"):
                file.seek(*wrong)
        assert file.tell() == 3
    with pytest.raises(FileExistsError):
        CheckedFile(str(tmp_path / "a"))
    with pytest.raises(FileNotFoundError):
        CheckedFile(str(tmp_path / "b"), new=False)

"""Readers and writers of media files run in a process of their own, which may crash."""

from __future__ import annotations

import os

import pytest
from conftest import picture
from PIL import Image

from inrfit.__main__ import run
from inrfit.io import worker_process as module
from inrfit.io.worker_process import Worker

QUICK = ["--budget", "40it", "--width", "24", "--depth", "2", "--device", "cpu"]


@pytest.fixture
def pictures(tmp_path):
    for name in "abc":
        Image.fromarray(picture()).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in "abc"]


class Crashing(Worker):
    """A worker whose process crashes at call number ``at``."""

    at, calls = 1, 0

    def call(self, function, *args, **kwargs):
        Crashing.calls += 1
        if Crashing.calls - 1 == self.at:
            function, args = os.abort, ()
        return super().call(function, *args, **kwargs)


def test_in_a_batch_a_crash_is_the_failure_of_one_file(pictures, monkeypatch, capsys):
    monkeypatch.setattr(module, "Worker", Crashing)
    Crashing.calls = 0
    assert run(["encode", *map(str, pictures), *QUICK]) == 7
    assert "b.png: a library crashed while it read the file (SIGABRT)" in capsys.readouterr().err
    fields = [path.with_name(path.name + ".safetensors") for path in pictures]
    assert [field.exists() for field in fields] == [True, False, True]
    Crashing.calls = 0
    assert run(["decode", str(fields[0]), str(fields[2])]) == 7
    assert "a library crashed while it wrote a .png (SIGABRT)" in capsys.readouterr().err
    assert (pictures[0].with_name("a.decoded.png")).exists()
    assert not (pictures[2].with_name("c.decoded.png")).exists()


def test_a_single_file_needs_no_second_process(pictures, monkeypatch):
    monkeypatch.setattr(Worker, "_start", lambda self: pytest.fail("a process was started"))
    assert run(["encode", str(pictures[0]), *QUICK]) == 0
    assert run(["decode", f"{pictures[0]}.safetensors"]) == 0

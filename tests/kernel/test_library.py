"""Only a library that is complete and of the same sources is loaded: its functions take what this version passes."""

from __future__ import annotations

import json
import shutil

import pytest

from inrfit.errors import InrfitWarning
from inrfit.kernel import library

built = pytest.mark.skipif(not library.available(), reason="the package was built without its compiled kernel")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the library and its record, which is the one that is loaded."""
    for name in (library.PATH.name, library.RECORD):
        shutil.copy(library.PATH.with_name(name), tmp_path)
    monkeypatch.setattr(library, "PATH", tmp_path / library.PATH.name)
    return tmp_path / library.PATH.name


def loaded():
    return library.library.__wrapped__()


@built
def test_the_library_of_these_sources_is_loaded(copy):
    assert loaded() is not None


@built
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_library_that_was_cut_is_not(copy, kept):
    content = copy.read_bytes()
    copy.write_bytes(content[: int(kept * len(content))])
    with pytest.warns(InrfitWarning, match="the compiled kernel is damaged and is not used"):
        assert loaded() is None


@built
def test_a_library_of_other_sources_is_not(copy):
    record = copy.with_name(library.RECORD)
    record.write_text(json.dumps({**json.loads(record.read_text()), "sources": "0" * 64}))
    with pytest.warns(InrfitWarning, match="was built from other sources"):
        assert loaded() is None


@built
@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b"\xff"])
def test_a_library_without_a_record_is_not(copy, content):
    record = copy.with_name(library.RECORD)
    record.unlink() if content is None else record.write_bytes(content)
    with pytest.warns(InrfitWarning, match="not used"):
        assert loaded() is None


def test_a_package_without_a_library_says_nothing(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(library, "PATH", tmp_path / "kernel.so")
    assert loaded() is None
    assert not recwarn

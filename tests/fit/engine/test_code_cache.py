"""Compiled code is kept and found only where nobody else can have put it."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

import pytest

from inrfit.fit.engine import background_compile, code_cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A private folder, and the environment that names it."""
    place = tmp_path / "above" / "code"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(place))
    assert code_cache.cache_folder() is None
    assert code_cache.cache_folder(create=True) == str(place)
    return place


def test_the_folder_is_made_for_this_user_alone(folder):
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}
    assert code_cache.cache_folder() == str(folder)


def test_a_folder_where_others_may_write_is_not_used(folder):
    for place, mode in ((folder, 0o770), (folder, 0o707), (folder, 0o1777), (folder.parent, 0o770)):
        before = place.stat().st_mode
        place.chmod(mode)
        assert code_cache.cache_folder(create=True) is None
        place.chmod(before)
        assert code_cache.cache_folder() == str(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_folder_of_another_user_is_not_used(folder):
    os.chown(folder, 12345, -1)
    assert code_cache.cache_folder() is None


def test_a_link_to_the_folder_is_not_used(folder, monkeypatch):
    link = folder.parent / "link"
    link.symlink_to(folder)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(link))
    assert code_cache.cache_folder(create=True) is None


@pytest.mark.parametrize("relative", ["code", ".", "./code", ""])
def test_a_relative_folder_is_not_used(folder, monkeypatch, relative):
    monkeypatch.chdir(folder if relative == "." else folder.parent)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", relative)
    assert code_cache.cache_folder(create=True) is None


def test_nothing_is_kept_where_no_folder_is_named(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert code_cache.cache_folder(create=True) is None


def test_marks_of_what_torch_has_compiled_count_in_a_private_folder_alone(folder, monkeypatch):
    background_compile.Compilation("this kind", 4, lambda: print).wait()
    assert background_compile.is_compiled("this kind")
    assert not background_compile.is_compiled("another kind")
    folder.chmod(0o770)
    assert not background_compile.is_compiled("this kind")
    folder.chmod(0o700)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", ".")
    assert not background_compile.is_compiled("this kind")


@pytest.mark.parametrize("mode", [0o777, 0o700])
def test_torch_is_given_a_private_folder_where_its_own_is_not(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(getpass, "getuser", lambda: "some/one")
    usual = tmp_path / "torchinductor_some_one"
    usual.mkdir()
    usual.chmod(mode)
    for given in ("", str(usual)):
        monkeypatch.setenv(code_cache.FOLDER_VARIABLE, given)
        code_cache.ensure_private_torch_cache()
        used = Path(os.environ[code_cache.FOLDER_VARIABLE])
        assert (used == usual) == (mode == 0o700)
        assert used.stat().st_mode & 0o077 == 0


def test_torch_is_given_a_folder_where_the_user_has_no_name(tmp_path, monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setenv(code_cache.FOLDER_VARIABLE, "relative")
    code_cache.ensure_private_torch_cache()
    assert Path(os.environ[code_cache.FOLDER_VARIABLE]).parent == tmp_path

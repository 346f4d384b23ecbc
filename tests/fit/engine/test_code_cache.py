"""Compiled code is loaded only where nobody else can have put it, and only whole."""

from __future__ import annotations

import ctypes
import getpass
import os
import sys
import tempfile
from pathlib import Path

import pytest
from numpy.linalg import lapack_lite

from inrfit.fit.engine import background_compile, code_cache

LIBRARY = Path(lapack_lite.__file__)
"""Some shared library, in the place of the kernel."""

NAME = "kernel.so"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are loaded through /proc")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the library in it, and the environment that names it."""
    place = tmp_path / "above" / "code"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(place))
    code_cache.store(NAME, str(LIBRARY))
    assert loaded()
    return place


def loaded():
    """Whether the library is loaded; ``holds`` must say the same."""
    library = code_cache.load(NAME)
    assert code_cache.contains(NAME) == (library is not None)
    return library is not None and hasattr(library, "PyInit_lapack_lite")


def test_what_is_kept_is_there_whole_and_for_this_user_alone(folder):
    assert sorted(os.listdir(folder)) == [NAME, NAME + code_cache.CHECKSUM_SUFFIX]
    assert (folder / NAME).read_bytes() == LIBRARY.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}


def test_a_library_is_loaded_once_in_a_process(folder):
    open_before = len(os.listdir("/proc/self/fd"))
    assert code_cache.load(NAME) is code_cache.load(NAME)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_another_library_of_the_same_name_is_another(folder):
    """The dynamic linker takes a name that it has seen for the library it has loaded."""
    before = code_cache.load(NAME)
    other = folder.parent / "other.so"
    other.write_bytes(LIBRARY.read_bytes() + b"more")
    code_cache.store(NAME, str(other))
    after = code_cache.load(NAME)
    assert after is not None
    assert len({ctypes.cast(library.PyInit_lapack_lite, ctypes.c_void_p).value for library in (before, after)}) == 2


def cut(library, sums):
    library.write_bytes(library.read_bytes()[:-1000])


def cut_with_its_sums(library, sums):
    cut(library, sums)
    sums.write_bytes(sums.read_bytes()[:20])


def empty(library, sums):
    library.write_bytes(b"")
    sums.write_bytes(b"")


def changed(library, sums):
    data = bytearray(library.read_bytes())
    data[len(data) // 2] ^= 1
    library.write_bytes(data)


def longer(library, sums):
    library.write_bytes(library.read_bytes() + b"\0")


def without_sums(library, sums):
    sums.unlink()


def gone(library, sums):
    library.unlink()


def writable_by_the_group(library, sums):
    library.chmod(0o620)


def writable_by_all(library, sums):
    library.chmod(0o602)


def sums_writable_by_all(library, sums):
    sums.chmod(0o602)


def linked(library, sums):
    library.rename(library.with_name("other"))
    library.symlink_to("other")


def sums_linked(library, sums):
    sums.rename(sums.with_name("other"))
    sums.symlink_to("other")


def a_folder(library, sums):
    library.unlink()
    library.mkdir()


def a_pipe(library, sums):
    library.unlink()
    os.mkfifo(library)


def no_library(library, sums):
    library.write_bytes(b"text")
    sums.write_bytes(b"4 982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1\n")


DAMAGES = [
    *(cut, cut_with_its_sums, empty, changed, longer, without_sums, gone, no_library),
    *(writable_by_the_group, writable_by_all, sums_writable_by_all, linked, sums_linked, a_pipe),
]


@pytest.mark.parametrize("damage", [*DAMAGES, a_folder])
def test_a_file_that_fails_a_check_is_not_loaded_and_is_replaced(folder, damage):
    open_before = len(os.listdir("/proc/self/fd"))
    damage(folder / NAME, folder / (NAME + code_cache.CHECKSUM_SUFFIX))
    assert code_cache.load(NAME) is None
    assert len(os.listdir("/proc/self/fd")) == open_before
    code_cache.store(NAME, str(LIBRARY))
    assert loaded() == (damage is not a_folder)
    assert not [path for path in folder.iterdir() if path.name.startswith("tmp")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("suffix", ["", code_cache.CHECKSUM_SUFFIX])
def test_a_file_of_another_user_is_not_loaded(folder, suffix):
    os.chown(folder / (NAME + suffix), 12345, -1)
    assert not loaded()


def test_nothing_is_loaded_or_kept_where_others_may_write(folder):
    for place, mode in ((folder, 0o770), (folder, 0o707), (folder, 0o1777), (folder.parent, 0o770)):
        before = place.stat().st_mode
        place.chmod(mode)
        (folder / NAME).unlink(missing_ok=True)
        code_cache.store(NAME, str(LIBRARY))
        assert not (folder / NAME).exists()
        place.chmod(before)
        code_cache.store(NAME, str(LIBRARY))
        assert loaded()
        place.chmod(mode)
        assert not loaded()
        place.chmod(before)


def test_nothing_is_loaded_or_kept_through_a_link_to_the_folder(folder, monkeypatch):
    link = folder.parent / "link"
    link.symlink_to(folder)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(link))
    assert not loaded()
    code_cache.store("other.so", str(LIBRARY))
    assert not (folder / "other.so").exists()


@pytest.mark.parametrize("relative", ["code", ".", "./code", ""])
def test_nothing_is_loaded_from_or_kept_in_a_relative_folder(folder, monkeypatch, relative):
    monkeypatch.chdir(folder if relative == "." else folder.parent)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", relative)
    assert not loaded()
    code_cache.store("other.so", str(LIBRARY))
    assert not list(folder.parent.rglob("other.so"))


def test_nothing_is_kept_without_a_folder(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    code_cache.store(NAME, str(LIBRARY))
    assert not loaded()


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

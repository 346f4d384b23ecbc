"""Private folders, and where the command line keeps compiled code."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from inrfit import runtime


@pytest.fixture
def place(tmp_path):
    """The folder cache/inrfit/compiled, private to this user."""
    folder = tmp_path / "cache" / "inrfit" / "compiled"
    assert runtime.private_folder(str(folder), own_levels=2, create=True)
    return folder


def test_missing_folders_are_created_for_this_user_alone_and_only_on_request(tmp_path):
    before, folder = os.umask(0), tmp_path / "a" / "b"
    try:
        assert not runtime.private_folder(str(folder))
        assert not folder.parent.exists()
        assert runtime.private_folder(str(folder), create=True)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
    assert runtime.private_folder(str(folder))


@pytest.mark.parametrize("path", ["", ".", "cache/inrfit/compiled", "./cache", "~/.cache"])
def test_a_relative_folder_is_not_private_and_not_created(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    assert not runtime.private_folder(path, create=True)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("up", range(3))
@pytest.mark.parametrize("mode", [0o770, 0o720, 0o707, 0o702])
def test_others_may_write_neither_to_the_folder_nor_to_one_above_it(place, up, mode):
    [place, *place.parents][up].chmod(mode)
    assert not runtime.private_folder(str(place), own_levels=2)


def test_a_sticky_folder_may_be_above_our_own_folders_but_not_among_them(place):
    for folder, expected in ((place.parents[1], True), (place.parent, False), (place, False)):
        folder.chmod(0o1777)
        assert runtime.private_folder(str(place), own_levels=2) is expected
        folder.chmod(0o700)
    assert runtime.private_folder(str(place), own_levels=2)


def test_nothing_is_created_where_others_may_write(tmp_path):
    tmp_path.chmod(0o777)
    assert not runtime.private_folder(str(tmp_path / "a" / "b"), create=True)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("up", [0, 1])
def test_our_own_folders_must_not_be_links(place, up):
    folder = [place, *place.parents][up]
    folder.rename(folder.with_name("moved"))
    folder.symlink_to("moved")
    assert not runtime.private_folder(str(place), own_levels=2)
    assert runtime.private_folder(str(place), own_levels=1) is (up == 1)


@pytest.mark.parametrize("absolute", [False, True])
def test_a_link_above_them_counts_as_its_target(place, absolute):
    cache = place.parents[1]
    moved = cache.parent / "elsewhere" / "moved"
    moved.parent.mkdir(0o700)
    cache.rename(moved)
    cache.symlink_to(moved if absolute else "elsewhere/moved")
    assert runtime.private_folder(str(place), own_levels=2)
    moved.parent.chmod(0o777)
    assert not runtime.private_folder(str(place), own_levels=2)


def test_dangling_and_cyclic_links_are_refused(tmp_path):
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("nowhere", "circle"):
        assert not runtime.private_folder(str(tmp_path / name / "code"), create=True)
    assert sorted(os.listdir(tmp_path)) == ["circle", "nowhere"]


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert not runtime.private_folder(str(tmp_path / "file"), create=True)
    assert not runtime.private_folder(str(tmp_path / "file" / "code"), create=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
@pytest.mark.parametrize("up", range(3))
def test_folders_of_another_user_are_refused(place, up):
    os.chown([place, *place.parents][up], 12345, -1)
    assert not runtime.private_folder(str(place), own_levels=2)


def kept_in(**environment):
    """TORCHINDUCTOR_CACHE_DIR after ``keep_compiled_code`` with only these environment variables."""
    code = "import os; from inrfit import runtime; runtime.keep_compiled_code();"
    code += "print(os.environ.get('TORCHINDUCTOR_CACHE_DIR'))"
    more = {"PYTHONPATH": os.path.dirname(os.path.dirname(runtime.__file__)), **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=more, check=True)
    return done.stdout.strip()


def test_the_command_line_keeps_compiled_code_in_the_users_cache(tmp_path):
    home = tmp_path / "home"
    home.mkdir(0o700)
    assert kept_in(HOME=str(home)) == str(home / ".cache" / "inrfit" / "compiled")
    assert kept_in(HOME=str(home), XDG_CACHE_HOME=str(tmp_path / "x")) == str(tmp_path / "x" / "inrfit" / "compiled")
    assert kept_in(HOME=str(home), TORCHINDUCTOR_CACHE_DIR="/own") == "/own"


def test_a_relative_folder_for_compiled_code_is_ignored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir(0o700)
    usual = str(tmp_path / "home" / ".cache" / "inrfit" / "compiled")
    for relative in ("", "code", "./code"):
        assert kept_in(HOME=str(tmp_path / "home"), TORCHINDUCTOR_CACHE_DIR=relative) == usual
    assert kept_in(HOME=str(tmp_path / "home"), XDG_CACHE_HOME="cache") == usual
    for relative in ({"HOME": "."}, {"HOME": "home"}):
        assert not kept_in(**relative).startswith((".", "home"))
    assert os.listdir(tmp_path) == ["home"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without a passwd entry")
def test_without_a_home_folder_torch_keeps_its_default(tmp_path):
    """``~`` would then be a folder in the current one."""
    code = (
        "import os, sys, platformdirs; sys.path.insert(0, sys.argv[1]); from inrfit import runtime; "
        "import platformdirs.unix; os.setuid(54321); runtime.keep_compiled_code(); "
        "print(os.environ.get('TORCHINDUCTOR_CACHE_DIR'), os.path.expanduser('~'))"
    )
    tmp_path.chmod(0o777)
    root = os.path.dirname(os.path.dirname(runtime.__file__))
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, env={}, cwd=tmp_path)
    assert done.stdout.strip() == "None ~", done.stderr
    assert not os.listdir(tmp_path)


def test_a_cache_that_others_may_write_to_is_not_used(tmp_path):
    tmp_path.chmod(0o777)
    assert kept_in(XDG_CACHE_HOME=str(tmp_path)) == "None"
    assert not os.listdir(tmp_path)

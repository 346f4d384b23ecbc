"""A target is the old file or the new one, whatever fails; an input is refused for its exact reason."""

import contextlib
import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from inrfit.errors import FolderNotSynced, OutputExists, OverLimit, UnreadableFile, UnwritableOutput
from inrfit.io import files, temporary
from inrfit.io.limits import Limits

LIMITS = Limits(max_bytes=1000)


def refusal(path, limits=LIMITS):
    with pytest.raises(UnreadableFile) as caught:
        files.read(path, limits)
    return caught.value.reason, str(caught.value)


def leftovers(folder):
    return [name for name in os.listdir(folder) if name.endswith(temporary.SUFFIX)]


def test_a_file_is_read_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1000)
    assert files.read(tmp_path / "a", LIMITS) == b"x" * 1000
    assert files.read(str(tmp_path / "a"), LIMITS) == b"x" * 1000


def test_inputs_that_are_no_files_are_refused_with_a_reason(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refusal(tmp_path / "missing") == ("missing", "no such file")
    assert refusal(tmp_path) == ("directory", "is a directory")
    assert refusal("/dev/zero") == ("device", "is a device")
    assert refusal(tmp_path / "empty") == ("empty", "the file is empty")
    assert refusal(tmp_path / "dangling") == ("missing", "no such file (a broken link)")
    assert refusal(tmp_path / "loop")[0] == "unreadable"
    assert refusal("a\0b")[0] == "missing"
    assert refusal("")[0] == "missing"
    assert refusal(tmp_path / "empty" / "below")[0] == "unreadable"


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(os, "open", failing(errno.EACCES))
    assert refusal(tmp_path / "a") == ("permission", "permission denied")


def test_a_disk_error_is_a_refusal(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(os, "read", failing(errno.EIO))
    assert refusal(tmp_path / "a") == ("unreadable", "cannot be read: input/output error")


def test_a_large_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(10**12)
    monkeypatch.setattr(os, "read", failing(errno.EIO))
    with pytest.raises(OverLimit, match="--max-bytes") as caught:
        files.read(tmp_path / "sparse", LIMITS)
    assert caught.value.reason == "limit.max_bytes"


def test_a_file_that_grows_while_it_is_read_stays_under_the_limit(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x")
    endless = lambda descriptor, count: b"x" * min(count, 300)  # noqa: E731
    monkeypatch.setattr(os, "read", endless)
    with pytest.raises(OverLimit):
        files.read(tmp_path / "a", LIMITS)


def test_a_fifo_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"y" * 900,))
    writer.start()
    assert files.read(tmp_path / "pipe", LIMITS) == b"y" * 900
    writer.join()


@pytest.mark.parametrize(("given", "outcome"), [(b"abc", "b'abc'"), (b"", "empty"), (b"z" * 1001, "limit")])
def test_standard_input_is_read_up_to_the_limit(given, outcome):
    script = """
import sys
from inrfit import errors
from inrfit.io import files, limits
try:
    print(files.read("-", limits.Limits(max_bytes=1000)))
except errors.RefusedInput as error:
    print(error.reason)
"""
    done = subprocess.run([sys.executable, "-c", script], input=given, capture_output=True, check=True)
    assert done.stdout.decode().startswith(outcome)


@pytest.mark.parametrize("old", [None, b"old"])
def test_write_puts_the_bytes_there(tmp_path, old):
    target = tmp_path / "a.png"
    if old is not None:
        target.write_bytes(old)
    files.write(target, b"new", force=old is not None)
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_existing_output_is_kept_without_force(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    for refuse in (
        lambda: files.write(tmp_path / "a", b"new", False),
        lambda: files.check_target(tmp_path / "a", False),
    ):
        with pytest.raises(OutputExists, match="--force"):
            refuse()
    assert (tmp_path / "a").read_bytes() == b"old"
    files.check_target(tmp_path / "a", force=True)


@pytest.mark.parametrize("links", [True, False])
def test_a_target_that_appears_meanwhile_is_kept_without_force(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    rival = lambda data: (tmp_path / "a").write_bytes(b"rival")  # noqa: E731
    with pytest.raises(OutputExists):
        files.write(tmp_path / "a", b"new", False, check=rival)
    assert (tmp_path / "a").read_bytes() == b"rival"
    assert not leftovers(tmp_path)


def test_without_hard_links_a_new_target_is_still_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    files.write(tmp_path / "a", b"new", False)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_honours_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        files.write(tmp_path / "a", b"new", False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(mode)
    files.write(tmp_path / "a", b"new", force=True)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_file_that_is_replaced_keeps_its_owner(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    status, owners = (tmp_path / "a").stat(), []
    monkeypatch.setattr(os, "fchown", lambda descriptor, user, group: owners.append((user, group)))
    files.write(tmp_path / "a", b"new", force=True)
    assert owners == [(status.st_uid, status.st_gid)]


def test_what_replaces_a_private_file_is_private_all_the_time(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o600)
    modes = []
    files.write(
        tmp_path / "a", b"new", True, lambda data: modes.extend(p.stat().st_mode & 0o777 for p in tmp_path.iterdir())
    )
    assert modes == [0o600, 0o600]


def test_the_mode_of_a_link_put_in_place_of_the_temporary_file_is_not_changed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"secret")
    victim.chmod(0o600)
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o644)

    def swap(data):
        (temporary_file,) = tmp_path.glob(".a.*")
        temporary_file.unlink()
        temporary_file.symlink_to(victim)

    with pytest.raises(UnwritableOutput):
        files.write(tmp_path / "a", b"new", True, swap)
    assert victim.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_synced_leaves_the_new_file_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing_at(os.fsync, errno.EIO, 1))
    with pytest.raises(FolderNotSynced, match="the new file is complete and in its place"):
        files.write(tmp_path / "a", b"new", force=True)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder / "real")
    files.write(tmp_path / "link", b"one", False)
    files.write(tmp_path / "link", b"two", True)
    assert (tmp_path / "link").is_symlink()
    assert (folder / "real").read_bytes() == b"two"
    assert not leftovers(tmp_path) + leftovers(folder)


def failing(number):
    """A function that raises ``OSError(number)``."""

    def inner(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return inner


def failing_at(real, number, call):
    """``real``, but its call number ``call`` fails; a descriptor to be closed is closed all the same."""
    calls = iter(range(10**6))

    def inner(*args, **kwargs):
        if next(calls) != call:
            return real(*args, **kwargs)
        if real is os.close:
            real(*args)
        raise OSError(number, os.strerror(number))

    return inner


CALLS = [
    ("open", 3),
    ("write", 2),
    ("fsync", 2),
    ("close", 3),
    ("read", 2),
    ("replace", 1),
    ("link", 1),
]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS])
@pytest.mark.parametrize(("name", "call"), [(name, call) for name, count in CALLS for call in range(count)])
@pytest.mark.parametrize("old", [None, b"old"])
def test_whatever_fails_the_target_is_old_or_new(tmp_path, monkeypatch, name, call, number, old):
    target = tmp_path / "a"
    if old is not None:
        target.write_bytes(old)
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real_write(descriptor, data[:2]))
    monkeypatch.setattr(os, name, failing_at(getattr(os, name), number, call))
    unused = name == ("link" if old else "replace")
    with contextlib.nullcontext() if unused else pytest.raises(UnwritableOutput) as caught:
        files.write(target, b"new!", force=old is not None)
    monkeypatch.undo()
    found = target.read_bytes() if target.exists() else None
    assert found in ((b"new!",) if unused else (old, b"new!"))
    assert not leftovers(tmp_path)
    if not unused:
        assert (caught.value.exit_code, caught.value.reason) == (4, errno.errorcode[number].lower())
        assert os.strerror(number).lower() in str(caught.value).lower()


def test_ctrl_c_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def interrupted(*args):
        raise KeyboardInterrupt

    for name in ("write", "fsync", "replace", "read"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                files.write(tmp_path / "a", b"new", True)
        assert os.listdir(tmp_path) == ["a"]
        assert (tmp_path / "a").read_bytes() == b"old"


def test_bytes_that_do_not_read_back_are_never_published(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    real = os.write
    for spoil in (lambda data: b"N" + bytes(data)[1:], lambda data: bytes(data) + b"more"):
        monkeypatch.setattr(os, "write", lambda fd, data, spoil=spoil: real(fd, spoil(data)) and len(data))
        with pytest.raises(UnwritableOutput, match="differs from what was written") as caught:
            files.write(tmp_path / "a", b"new", True)
        assert caught.value.reason == "readback"
        assert (tmp_path / "a").read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["a"]


def interrupted(file):
    raise KeyboardInterrupt


def refused(file):
    raise UnreadableFile("no more", "truncated")


def full(file):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("old", [None, b"old"])
def test_what_is_written_bit_by_bit_is_there_whole_or_not_at_all(tmp_path, old):
    target = tmp_path / "a"
    if old is not None:
        target.write_bytes(old)

    def parts(then):
        def produce(file):
            file.write(b"size n")
            assert (target.read_bytes() if target.exists() else None) == old
            assert len(leftovers(tmp_path)) == 1
            then(file)

        return produce

    def finish(file):
        file.write(b"ew")
        file.seek(0)
        file.write(b"8888")

    for then, error in ((interrupted, KeyboardInterrupt), (refused, UnreadableFile), (full, UnwritableOutput)):
        with pytest.raises(error):
            files.write_with(target, parts(then), force=old is not None)
        assert (target.read_bytes() if target.exists() else None) == old
        assert not leftovers(tmp_path)
    assert files.write_with(target, parts(finish), force=old is not None) == 8
    assert target.read_bytes() == b"8888 new"
    assert os.listdir(tmp_path) == ["a"]


def test_what_the_check_refuses_is_never_published(tmp_path):
    def check(data):
        assert data == b"new"
        raise UnwritableOutput("no")

    with pytest.raises(UnwritableOutput):
        files.write(tmp_path / "a", b"new", False, check)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("act", [files.check_target, lambda path, force: files.write(path, b"new", force)])
@pytest.mark.parametrize("force", [True, False])
def test_an_impossible_target_is_named_before_anything_is_made(tmp_path, act, force):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(os.listdir(tmp_path))
    impossible = {
        tmp_path: "directory",
        tmp_path / "none" / "a": "folder",
        tmp_path / "file" / "a": "folder",
        tmp_path / ("x" * 256): "enametoolong",
        tmp_path / "pipe": "device",
        "/dev/null": "device",
        f"{tmp_path}/new/": "name",
        "": "name",
        f"{tmp_path}/a\0b": "name",
        tmp_path / "loop": "eloop",
    }
    for path, reason in impossible.items():
        with pytest.raises(UnwritableOutput) as caught:
            act(path, force)
        assert (caught.value.reason, caught.value.exit_code) == (reason, 4), path
    assert sorted(os.listdir(tmp_path)) == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_takes_no_file_is_known_beforehand(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "open", failing(number))
    with pytest.raises(UnwritableOutput, match="(?i)" + os.strerror(number)):
        files.check_target(tmp_path / "a", False)


def test_too_little_space_is_known_beforehand(tmp_path):
    files.check_target(tmp_path / "a", False, size=1)
    with pytest.raises(UnwritableOutput, match="free") as caught:
        files.check_target(tmp_path / "a", False, size=10**18)
    assert caught.value.reason == "enospc"


def test_checking_a_target_leaves_nothing(tmp_path):
    files.check_target(tmp_path / "a", False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        b"\xff\xfe.png",
        b"x" * 255,
        "é".encode() * 127,
        b"two\nlines",
        b"-rf",
        b" ",
        b"trailing.",
        b"\x1b[31mred",
    ],
)
def test_any_name_the_system_allows_can_be_written_and_read(tmp_path, name):
    path = os.path.join(tmp_path, os.fsdecode(name))
    files.check_target(path, False)
    files.write(path, b"new", False)
    assert files.read(path, LIMITS) == b"new"
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    with pytest.raises(OutputExists) as caught:
        files.write(path, b"newer", False)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a", "x" * 255, "é" * 127])
def test_temporary_names_are_short_hidden_and_distinct(name):
    first, second = temporary.temporary_name(name), temporary.temporary_name(name)
    assert first != second
    assert first.startswith(".")
    assert max(len(os.fsencode(first)), len(os.fsencode(second))) <= 143


def test_temporary_files_of_ended_processes_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in ("a", "x" * 255):
        stale = temporary.temporary_name(name).replace(f"-{os.getpid()}-", f"-{ended.pid}-")
        ours = temporary.temporary_name(name)
        foreign = stale.replace(temporary.host_id(), "00000000")
        old = foreign.replace("00000000", "11111111")
        others = [
            f"{stale}x",
            temporary.temporary_name("a.b").replace(f"-{os.getpid()}-", f"-{ended.pid}-"),
            ".a.txt.inrfit-tmp",
        ]
        for made in (stale, ours, foreign, old, *others):
            (tmp_path / made).touch()
        os.utime(tmp_path / old, (time.time() - 7200,) * 2)
        assert files.remove_stale(tmp_path, name) == 2
        assert sorted(os.listdir(tmp_path)) == sorted({ours, foreign, *others})
        for rest in os.listdir(tmp_path):
            os.unlink(tmp_path / rest)


def test_removing_stale_files_from_a_missing_folder_is_no_error(tmp_path):
    assert files.remove_stale(tmp_path / "none", "a") == 0


def test_a_killed_write_leaves_the_old_file_and_a_temporary_one_that_is_removed(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    script = """
import os, sys
from inrfit.io import files
files.write(sys.argv[1], b"new", True, lambda data: os.kill(os.getpid(), 9))
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    assert done.returncode == -9
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(leftovers(tmp_path)) == 1
    assert files.remove_stale(tmp_path, "a") == 1
    assert os.listdir(tmp_path) == ["a"]


def test_a_temporary_folder_removes_those_of_ended_processes(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = temporary.temporary_name(temporary.FOLDER)
    stale = tmp_path / own.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    (stale / "below").mkdir(parents=True)
    other = tmp_path / "inrfit.of.the.user"
    other.mkdir()
    with temporary.temporary_folder(str(tmp_path)) as first, temporary.temporary_folder(str(tmp_path)) as second:
        assert stat.S_IMODE(os.stat(first).st_mode) == 0o700
        assert set(tmp_path.iterdir()) == {Path(first), Path(second), other}
    assert list(tmp_path.iterdir()) == [other]


def test_sha256_matches_a_known_digest():
    assert files.sha256(b"abc").startswith("ba7816bf8f01cfea414140de5dae2223")

"""The header of a field is judged by its first bytes, before the rest of the file is read."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from test_artifact import made

from inrfit.artifact import loading as module
from inrfit.artifact.container import HEAD_BYTES
from inrfit.errors import RefusedInput
from inrfit.io import descriptors, files
from inrfit.io.limits import Limits

GIGABYTE = 10**9


@pytest.fixture
def count_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of bytes of each read."""
    counts: list[int] = []

    def counting(real: Callable[..., bytes]) -> Callable[..., bytes]:
        def read(*arguments: int) -> bytes:
            piece = real(*arguments)
            counts.append(len(piece))
            return piece

        return read

    monkeypatch.setattr(os, "read", counting(os.read))
    monkeypatch.setattr(os, "pread", counting(os.pread))
    return counts


def sparse(path: Path, start: bytes, size: int = GIGABYTE) -> Path:
    """A file of ``size`` bytes, zeros after ``start``."""
    path.write_bytes(start)
    os.truncate(path, size)
    return path


OTHER = b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[249999977],"data_offsets":[0,999999908]}}'
FIELD = made(width=64).to_bytes()
STARTS = {
    "zeros": b"",
    "another program's": len(OTHER).to_bytes(8, "little") + OTHER,
    "a header of another size": FIELD,
    "a wrong header": FIELD.replace(b'"F32"', b'"F64"', 1),
    "a header that is too long": (1 << 30).to_bytes(8, "little") + b"{",
    "a pickle": b"\x80\x04\x95",
}


@pytest.mark.parametrize("kind", STARTS)
def test_a_wrong_header_is_refused_before_the_rest_is_read(kind: str, tmp_path: Path, count_read: list[int]) -> None:
    path = sparse(tmp_path / "a.safetensors", STARTS[kind])
    with pytest.raises(RefusedInput):
        module.load(path)
    assert sum(count_read) <= HEAD_BYTES


@pytest.mark.parametrize("kind", STARTS)
def test_a_wrong_header_in_a_pipe_is_refused_without_reading_on(
    kind: str, tmp_path: Path, count_read: list[int]
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def write() -> None:
        try:
            with path.open("wb") as pipe:
                pipe.write(STARTS[kind])
                for _ in range(1000):
                    pipe.write(bytes(1_000_000))
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(RefusedInput):
        module.load(path)
    writer.join()
    assert sum(count_read) <= HEAD_BYTES + 1


def test_a_field_is_read_alike_from_a_file_a_pipe_and_a_descriptor(tmp_path: Path, count_read: list[int]) -> None:
    data = made(width=800, depth=3).to_bytes()
    assert len(data) > 2 * HEAD_BYTES
    path, fifo = tmp_path / "a.safetensors", tmp_path / "fifo"
    path.write_bytes(data)
    assert module.load(path).to_bytes() == data
    assert len([count for count in count_read if count]) == 2  # the head, and the whole file at once
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(data,))
    writer.start()
    assert module.load(fifo).to_bytes() == data
    writer.join()
    (tmp_path / "b").write_bytes(b"before" + data)
    descriptor = os.open(tmp_path / "b", os.O_RDONLY)
    os.lseek(descriptor, 6, os.SEEK_SET)
    assert module.load(descriptor).to_bytes() == data
    os.close(descriptor)


def test_reading_keeps_to_the_limit_on_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(FIELD)
    with pytest.raises(RefusedInput) as caught:
        module.load(path, Limits(max_bytes=len(FIELD) - 1))
    assert caught.value.reason == "limit.max_bytes"


def test_a_head_is_given_whole_with_the_size_of_the_file(tmp_path: Path) -> None:
    seen = []

    def expected_bytes(start: bytes, size: int | None) -> int:
        seen.append((start, size))
        return 20

    (tmp_path / "a").write_bytes(b"x" * 10 + b"y" * 10)
    assert files.read(tmp_path / "a", Limits(), descriptors.Head(10, expected_bytes)) == b"x" * 10 + b"y" * 10
    assert seen == [(b"x" * 10, 20)]
    (tmp_path / "a").write_bytes(b"z" * 100)
    assert len(files.read(tmp_path / "a", Limits(), descriptors.Head(10, expected_bytes))) == 21

"""A clip is decoded, checked and written frame by frame: the same bytes as of the whole clip, in bounded memory."""

from __future__ import annotations

import errno
import gc
import io
import os
import subprocess
import sys
import tracemalloc
import weakref

import made_clips
import numpy as np
import pytest
import torch

from inrfit import codec
from inrfit.__main__ import run
from inrfit.artifact.artifact import Artifact
from inrfit.artifact.decode_cost import decode_cost
from inrfit.errors import OverLimit, UnreadableFile
from inrfit.fields import FieldSpec
from inrfit.io.checked_file import CheckedFile
from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES, Request
from inrfit.modalities.streaming import ArrayStream
from inrfit.modalities.video import quality
from inrfit.modalities.video.meta import Options

VIDEO = MODALITIES["video"]
SUFFIXES = sorted(VIDEO.output_suffixes)
STREAMED = sorted(set(SUFFIXES) - {".gif", ".png", ".apng", ".webp"})
"""Formats whose writers do not hold the file, or all pictures of it."""

SOURCES = {
    "rgb": made_clips.video(frames=7),
    "grey, 10 bits": made_clips.y4m("mono10", 10),
    "transparent": made_clips.animation("WEBP", alpha=True),
    "uneven": made_clips.video(times=[0, 40, 100, 110, 300, 333]),
    "one frame": made_clips.y4m(frames=1),
}


FRAME = 72 * 80 * 3
"""Bytes of a frame of the clips whose memory is measured."""


def artifact(source="rgb", **changes):
    """A field of random weights with the description of a source."""
    signal = VIDEO.load(SOURCES[source], "clip", Options(), Limits())
    meta = {**signal.meta, **changes}
    spec = FieldSpec("siren", *VIDEO.field_size(meta), 8, 2, {"first_omega": 3.0, "omega": 3.0})
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(spec.outputs))
    arrays = {name: weight.numpy() for name, weight in weights.items()}
    return Artifact(spec, arrays, "video", meta, {}, {}, attachments=signal.attachments)


def streamed(made, suffix, request=Request(), limits=Limits()):
    """The frames of a field, made while they are iterated over."""
    return codec.decode_stream(made, suffix, request, "cpu", limits, lambda fraction: None)


def write(made, decoded, suffix, out, request=Request()):
    VIDEO.streaming.write(decoded, made.meta, suffix, request, made.attachments, out)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("source", SOURCES)
def test_the_file_is_that_of_the_whole_clip(source, suffix, tmp_path):
    made = artifact(source)
    whole = VIDEO.write(made.decode(), made.meta, suffix, Request(), made.attachments)
    with CheckedFile(str(tmp_path / "out")) as out:
        write(made, streamed(made, suffix), suffix, out)
    assert (tmp_path / "out").read_bytes() == whole
    assert out.reads_back()


@pytest.mark.parametrize("chunk", [50, 130, 24 * 18, 1000, 10**6])
@pytest.mark.parametrize("request_", [Request(), Request(scale=0.5), Request(size=(40, 31))], ids=str)
def test_frames_do_not_depend_on_how_many_are_evaluated_together(chunk, request_, monkeypatch):
    made = artifact("grey, 10 bits")
    usual = made.decode(request_)
    monkeypatch.setattr(FieldSpec, "decode_chunk", property(lambda spec: chunk))
    frames = streamed(made, ".y4m", request_)
    assert (frames.shape, frames.dtype, len(frames)) == (usual.shape, usual.dtype, len(usual))
    difference = np.stack(list(frames)).astype(int) - usual
    assert np.abs(difference).max() <= 1  # products of other sizes are rounded otherwise
    assert np.array_equal(made.decode(request_), difference + usual)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_few_frames_are_alive_at_a_time(suffix, tmp_path):
    made, alive, most = artifact(shape=[40, 32, 48]), weakref.WeakSet(), 0

    class Counted(np.ndarray):
        """An array that can be counted."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def counted():
        nonlocal most
        for frame in streamed(made, suffix):
            watched = frame.view(Counted)
            alive.add(watched)
            most = max(most, len(alive))
            yield watched
            del frame, watched

    frames = streamed(made, suffix)
    with CheckedFile(str(tmp_path / "out")) as out:
        write(made, ArrayStream(frames.shape, frames.dtype, counted()), suffix, out)
    assert 1 <= most <= 3


def peak(work):
    """Bytes that Python and NumPy hold at most during ``work``, beyond those before."""
    gc.collect()
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize("suffix", STREAMED)
def test_the_memory_of_writing_does_not_grow_with_the_clip(suffix, tmp_path):
    def written(frames):
        made = artifact(shape=[frames, 72, 80])
        with CheckedFile(str(tmp_path / f"{frames}")) as out:
            write(made, streamed(made, suffix), suffix, out)

    written(3)  # what is made once
    few, many = peak(lambda: written(20)), peak(lambda: written(80))
    assert many < few + 6 * FRAME  # of 60 more


def test_the_memory_of_the_check_does_not_grow_with_the_clip():
    def signal(frames):
        source = made_clips.y4m("444", frames=frames, height=72, width=80)
        return VIDEO.load(source, "clip", Options(), Limits()).named("video")

    def measured(signal):
        field = artifact(shape=signal.meta["shape"]).field("cpu")
        quality.measure(field, signal, lambda fraction: None)

    short, long = signal(20), signal(80)
    measured(short)  # imports
    few, many = peak(lambda: measured(short)), peak(lambda: measured(long))
    assert many < few + 6 * FRAME  # of 60 more


def test_the_check_is_that_of_the_whole_clip():
    source = made_clips.video(frames=40)
    signal = VIDEO.load(source, "clip", Options(), Limits()).named("video")
    made = artifact(shape=[40, 32, 48])
    decoded, truth = made.decode().astype(np.float64), signal.samples.reshape(40, 32, 48, 3).astype(np.float64)
    errors = ((decoded - truth) ** 2).mean(axis=(1, 2, 3)) / 255**2
    found = quality.measure(made.field("cpu"), signal, lambda fraction: None)
    assert found["psnr"] == pytest.approx(-10 * np.log10(errors.mean()), abs=1e-4)
    assert found["worst_frame"] == pytest.approx(-10 * np.log10(errors.max()), abs=1e-4)
    whole = VIDEO.compare(VIDEO.load(source, "clip", Options(), Limits()).named("video"), signal, lambda _: None)
    assert whole["ssim"] == 1


def test_the_estimate_of_the_memory_does_not_grow_with_the_clip():
    def memory(frames, suffix):
        made = artifact(shape=[frames, 1080, 1920])
        return decode_cost(made.spec, "video", made.meta, Request(), suffix).memory

    for suffix in (".mp4", ".mkv", ".webm", ".y4m", ".npy", ".zip"):
        assert memory(100, suffix) == memory(10_000, suffix), suffix
    assert memory(10_000, ".gif") > 10 * memory(100, ".gif")
    assert memory(10_000, None) > 10 * memory(100, None)


def test_a_limit_on_the_decoded_bytes_holds_before_the_first_frame():
    with pytest.raises(OverLimit, match="--max-output"):
        streamed(artifact(shape=[1000, 32, 48]), ".y4m", limits=Limits(max_output=10**6))


@pytest.fixture
def field(tmp_path):
    made = artifact(shape=[12, 32, 48])
    made.save(tmp_path / "clip.safetensors")
    return tmp_path / "clip.safetensors"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".y4m", ".zip", ".gif", ".webp", ".npy"])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_leaves_the_old_file(suffix, old, field, monkeypatch, capsys):
    target, real, room = field.with_name(f"out{suffix}"), os.write, 500
    if old:
        target.write_bytes(old)

    def full(descriptor, data):
        nonlocal room
        if f"out{suffix}" not in os.readlink(f"/proc/self/fd/{descriptor}"):
            return real(descriptor, data)
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", full)
    assert run(["decode", str(field), "-o", str(target), *(["--force"] if old else [])]) == 4
    assert "no space left on device" in capsys.readouterr().err
    assert (target.read_bytes() if old else not target.exists()) in (old, True)
    assert len(list(field.parent.iterdir())) == (2 if old else 1)


def test_values_that_are_not_finite_leave_no_file(field, monkeypatch, capsys):
    made, evaluate = artifact(shape=[12, 32, 48]), type(artifact().field("cpu")).on_grid

    def spoiled(self, grid, start, stop):
        return evaluate(self, grid, start, stop) * (float("nan") if stop == grid.n else 1.0)

    monkeypatch.setattr(type(made.field("cpu")), "on_grid", spoiled)
    monkeypatch.setattr(FieldSpec, "decode_chunk", property(lambda spec: 4000))
    with pytest.raises(UnreadableFile, match="not finite"):
        made.decode()
    for suffix in (".mp4", ".webp", ".y4m"):
        assert run(["decode", str(field), "-o", str(field.with_name(f"out{suffix}"))]) == 3
        assert "values that are not finite" in capsys.readouterr().err
    assert list(field.parent.iterdir()) == [field]


@pytest.mark.parametrize("suffix", [".mp4", ".y4m", ".zip"])
def test_several_fields_and_a_pipe_give_the_same_file(suffix, field):
    other = field.with_name("other.safetensors")
    other.write_bytes(field.read_bytes())
    folder = field.parent / "out"
    assert run(["decode", str(field), str(other), "-o", f"{folder}/", "--format", suffix[1:]]) == 0
    single = field.with_name(f"single{suffix}")
    assert run(["decode", str(field), "-o", str(single)]) == 0
    for made in folder.iterdir():
        assert made.read_bytes() == single.read_bytes()
    assert len(list(folder.iterdir())) == 2
    words = [sys.executable, "-m", "inrfit", "decode", str(field), "-q", "-o", "-", "--format", suffix[1:]]
    assert subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout == single.read_bytes()


def test_npy_files_are_those_of_numpy():
    from inrfit.io.tables import npy_bytes, write_npy

    for shape, dtype in (((3, 4, 5, 2), "u1"), ((1, 1, 1, 1), "<u2"), ((2, 3), "f8")):
        array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        write_npy(array.shape, array.dtype, array, out := io.BytesIO())
        assert out.getvalue() == npy_bytes(array)

"""Clips: what is read, kept and written, judged by PyAV and Pillow."""

from __future__ import annotations

import io
import zipfile
from fractions import Fraction
from types import SimpleNamespace

import av
import made_clips
import numpy as np
import pytest
from conftest import picture
from PIL import Image

import inrfit
from inrfit.__main__ import run
from inrfit.errors import OverLimit, UnreadableFile, UnsupportedInput, UsageError
from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES, Request
from inrfit.modalities.regions import parsed, resolved
from inrfit.modalities.video import clip, colour
from inrfit.modalities.video.clip import Colours
from inrfit.modalities.video.meta import Options

VIDEO = MODALITIES["video"]
QUICK = {"budget": "20it", "width": 16, "depth": 2, "batch": 128, "device": "cpu"}


def load(data, name="clip", limits=Limits(), **options):
    return VIDEO.load(data, name, Options(**options), limits).named("video")


def again(signal, suffix, request=Request()):
    """The bytes of a file with the samples of ``signal`` themselves."""
    frames = signal.samples.reshape(*signal.meta["shape"], -1)
    VIDEO.check_writable(signal.meta, suffix, request, signal.attachments)
    return VIDEO.write(frames, signal.meta, suffix, request, signal.attachments)


def described(data):
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        context, frames = stream.codec_context, list(container.decode(stream))
        return SimpleNamespace(
            rate=stream.average_rate, aspect=stream.sample_aspect_ratio, pixels=context.pix_fmt,
            range=context.color_range,
            colours=(context.color_primaries, context.color_trc, context.colorspace),
            times=[float((frame.pts - frames[0].pts) * frame.time_base) for frame in frames],
            size=(frames[0].width, frames[0].height), codec=context.name, frames=frames,
        )  # fmt: skip


@pytest.mark.parametrize(
    "made",
    [{}, {"pixels": "yuv422p"}, {"pixels": "yuv444p"}, {"pixels": "yuv420p10le"}, {"full": 2}, {"colours": (1, 1, 1)},
     {"colours": (9, 16, 9), "pixels": "yuv420p10le"}, {"aspect": Fraction(128, 117)}, {"suffix": "matroska"},
     {"suffix": "matroska", "codec": "ffv1"}, {"suffix": "matroska", "codec": "ffv1", "pixels": "yuv422p10le"},
     {"suffix": "mov"}, {"suffix": "webm", "codec": "libvpx-vp9"}, {"times": [0, 40, 100, 110, 300, 333]}],
    ids=str,
)  # fmt: skip
def test_what_a_file_says_about_its_frames_comes_back(made):
    source = made_clips.video(**made)
    signal = load(source)
    ending = VIDEO.suffix(signal.meta)[0]
    before, after = described(source), described(again(signal, ending))
    for name in ("rate", "pixels", "range", "colours", "size", "codec"):
        if name != "rate" or "times" not in made:
            assert getattr(before, name) == getattr(after, name), name
    np.testing.assert_allclose(before.times, after.times, atol=1.1e-3)
    if made.get("codec") != "ffv1":
        assert before.aspect == after.aspect
    bits = signal.meta["bits"]
    truth = made_clips.moving() * ((1 << bits) - 1)
    if "colours" not in made:  # which the maker writes down without using them
        assert np.abs(signal.samples.reshape(truth.shape) - truth).mean() < 0.04 * (1 << bits)


def test_colours_are_those_of_another_decoder():
    for made in ({}, {"colours": (1, 1, 1)}, {"full": 2}):
        source = made_clips.video(**made)
        frames = described(source).frames
        for ours, frame in zip(load(source).samples.reshape(6, 32, 48, 3), frames, strict=True):
            theirs = frame.to_ndarray(format="rgb24").astype(int)
            assert np.abs(ours - theirs).mean() < 3.5, made  # it repeats chroma between its samples


@pytest.mark.parametrize("chroma", ["420", "422", "444", "411"])
@pytest.mark.parametrize("matrix", [0, 1, 2, 6, 7, 9])
@pytest.mark.parametrize("full", [True, False])
def test_luma_and_chroma_survive_rgb(chroma, matrix, full):
    rows, columns = colour.SUBSAMPLED[chroma]
    y, x = np.mgrid[:16, :24]
    luma = (80 + 2 * x + 3 * y).astype(np.uint8)
    blue, red = (np.full((16 // rows, 24 // columns), level, np.uint8) for level in (120, 140))
    colours = Colours(matrix=matrix, full_range=full, chroma=chroma)
    frame = colour.to_rgb([luma, blue, red], 8, colours, centred=False)
    found = colour.from_rgb(frame, 8, colours, centred=False)
    for before, after in zip((luma, blue, red), found, strict=True):
        assert before.shape == after.shape
        assert np.abs(before.astype(int) - after).max() <= 2


@pytest.mark.parametrize(
    ("space", "bits"),
    [("420jpeg", 8), ("420mpeg2", 8), ("422", 8), ("444", 8), ("411", 8), ("mono", 8), ("420p10", 10), ("444p12", 12),
     ("mono10", 10)],
)  # fmt: skip
def test_y4m_comes_back(space, bits):
    source = made_clips.y4m(space, bits)
    signal = load(source)
    assert (signal.meta["bits"], signal.meta["rate"], signal.meta["aspect"]) == (bits, [30_000, 1001], [128, 117])
    written = again(signal, ".y4m")
    assert written.partition(b"\n")[0] == source.partition(b"\n")[0]
    assert len(written) == len(source)
    dtype = np.uint8 if bits == 8 else "<u2"
    first = [np.frombuffer(data, dtype, 18 * 24, data.index(b"FRAME\n") + 6) for data in (source, written)]
    assert np.abs(first[0].astype(int) - first[1]).max() <= 2 << (bits - 8)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("durations", [40, [100, 20, 300, 50, 70]])
def test_animations_come_back(kind, durations):
    source = made_clips.animation(kind, durations)
    signal = load(source)
    assert signal.meta["shape"] == [5, 16, 20]
    written = again(signal, VIDEO.suffix(signal.meta)[0])
    with Image.open(io.BytesIO(source)) as before, Image.open(io.BytesIO(written)) as after:
        assert before.format == after.format
        assert after.n_frames == 5
        for number in range(5):
            before.seek(number)
            after.seek(number)
            before.load(), after.load()
            assert before.info["duration"] == after.info["duration"]


def test_transparency_of_animations():
    signal = load(made_clips.animation("WEBP", alpha=True))
    assert signal.channels == 4
    with Image.open(io.BytesIO(again(signal, ".webp"))) as image:
        assert image.mode == "RGBA"
    assert "transparency not kept" in VIDEO.check_writable(signal.meta, ".y4m", Request(), {})


def test_turned_frames_are_written_upright():
    plain, turned = made_clips.video(), made_clips.turned(made_clips.video())
    first, second = load(plain), load(turned)
    assert second.meta["shape"] == [6, 48, 32]
    assert any("written upright" in note for note in second.notes)
    frame = first.samples.reshape(6, 32, 48, 3)[0]
    clockwise = np.rot90(frame, -1)
    assert np.array_equal(second.samples.reshape(6, 48, 32, 3)[0], clockwise)


def test_sound_is_told_and_frames_are_chosen():
    source = made_clips.video(sound=True)
    signal = load(source)
    assert "sound not kept (1 stream)" in signal.notes
    part = load(source, frames="2:5", crop="24x20", resize="12x10", rate="25")
    assert part.meta["shape"] == [3, 10, 12]
    assert part.meta["rate"] == [25, 1]
    whole = signal.samples.reshape(6, 32, 48, 3)
    cropped = load(source, frames="2:5", crop="24x20").samples.reshape(3, 20, 24, 3)
    assert np.array_equal(cropped, whole[2:5, 6:26, 12:36])
    with pytest.raises(UsageError, match="frames have 48x32"):
        load(source, crop="50x20")
    for data in (source, made_clips.y4m(), made_clips.animation("GIF")):
        with pytest.raises(UsageError, match="-O frames=50:60: the clip has fewer frames"):
            load(data, frames="50:60")
    with pytest.raises(OverLimit):
        load(source, limits=Limits(max_voxels=1000))


def test_folders_and_archives_of_frames(tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(picture(10, 14, 3, seed=number)).save(folder / f"frame{number}.png")
    field = tmp_path / "field.safetensors"
    words = ["--budget", "20it", "--width", "16", "--depth", "2", "--batch", "64", "-O", "rate=12.5"]
    assert run(["encode", "--type", "video", f"{folder}/", "-o", str(field), *words]) == 0
    assert run(["decode", str(field), "-o", str(tmp_path / "out.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == [f"{number:04}.png" for number in range(1, 13)]
    assert "12 frames of 14x10 RGB, 12.5 a second" in capsys.readouterr().err
    assert run(["encode", str(tmp_path / "out.zip"), "-o", str(tmp_path / "two.safetensors"), *words]) == 0
    signal = load((tmp_path / "out.zip").read_bytes())
    assert signal.meta["format"] == "frames"
    folder_signal = load((tmp_path / "out.zip").read_bytes(), frames="9:11")
    assert folder_signal.meta["shape"] == [2, 10, 14]
    Image.fromarray(picture(9, 14, 3)).save(folder / "frame3.png")
    assert run(["encode", "--type", "video", str(folder), "-o", str(tmp_path / "b.safetensors"), *words]) == 3
    assert "frame 4 is 14x9 uint8, the first one is 14x10" in capsys.readouterr().err


def test_a_clip_from_file_to_file(tmp_path, capsys):
    source, field = tmp_path / "clip.mp4", tmp_path / "clip.mp4.safetensors"
    source.write_bytes(made_clips.video())
    assert run(["encode", str(source), "--budget", "60it", "--width", "32", "--depth", "2", "--batch", "1024"]) == 0
    assert run(["measure", str(field), str(source)]) == 0
    assert run(["info", str(field)]) == 0
    assert "video: 6 frames of 48x32 RGB, 29.97 a second, MP4 (h264)" in capsys.readouterr().out
    for suffix, codec in ((".mp4", "h264"), (".mkv", "ffv1"), (".webm", "vp9"), (".y4m", None), (".npy", None)):
        out = tmp_path / f"out{suffix}"
        assert run(["decode", str(field), "-o", str(out), *(["--codec", codec] if codec else [])]) == 0
    assert np.load(tmp_path / "out.npy").shape == (6, 32, 48, 3)
    lossless = load((tmp_path / "out.mkv").read_bytes()).samples
    assert np.abs(lossless.reshape(6, 32, 48, 3).astype(int) - np.load(tmp_path / "out.npy")).mean() < 3
    assert described((tmp_path / "out.mp4").read_bytes()).codec == "h264"
    assert run(["decode", str(field), "-o", str(tmp_path / "large.mp4"), "--codec", "hevc", "--scale", "3"]) == 0
    assert described((tmp_path / "large.mp4").read_bytes()).codec == "hevc"
    assert run(["decode", str(field), "-o", str(tmp_path / "small.mp4"), "--codec", "hevc"]) == 2
    assert run(["decode", str(field), "-o", str(tmp_path / "a.mp4"), "--codec", "ffv1"]) == 2
    assert run(["decode", str(field), "-o", str(tmp_path / "a.y4m"), "--codec", "h264"]) == 2
    assert run(["decode", str(field), "-o", str(tmp_path / "s.y4m"), "--scale", "0.5"]) == 0
    assert b"W24 H16" in (tmp_path / "s.y4m").read_bytes()[:40]
    assert run(["query", str(field), "--time", "0.05s:0.15s", "-o", str(tmp_path / "part.mp4")]) == 0
    assert len(described((tmp_path / "part.mp4").read_bytes()).frames) == 3
    assert run(["query", str(field), "--slice", "t=2", "-o", str(tmp_path / "frame.npy")]) == 0
    assert np.load(tmp_path / "frame.npy").shape == (32, 48, 3)


def test_the_bytes_of_a_source_that_was_read_in_part_are_said_to_be_those_of_the_whole(tmp_path, capsys):
    source, field = tmp_path / "clip.y4m", tmp_path / "field.safetensors"
    source.write_bytes(made_clips.y4m())
    words = ["--budget", "2it", "--width", "8", "--depth", "1", "-o", str(field), "-f"]
    assert run(["encode", str(source), *words]) == 0
    assert "part was fitted" not in capsys.readouterr().err
    assert run(["encode", str(source), "-O", "frames=:2", *words]) == 0
    err = capsys.readouterr().err
    assert "not all of the file is fitted (-O frames=:2)" in err
    assert f"times the source's {len(made_clips.y4m()):,}, of which a part was fitted" in err
    assert run(["info", str(field)]) == 0
    assert "of which a part was fitted" in " ".join(capsys.readouterr().out.split())


def test_an_animated_picture_is_a_clip_unless_a_frame_is_named(tmp_path):
    path = tmp_path / "a.gif"
    path.write_bytes(made_clips.animation("GIF"))
    assert inrfit.encode(path, **QUICK).modality == "video"
    assert inrfit.encode(path, type="image", frame=2, **QUICK).modality == "image"


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    "data",
    [
        made_clips.video(),
        made_clips.video(suffix="matroska", codec="ffv1"),
        made_clips.y4m(),
        made_clips.animation("GIF"),
    ],
    ids=["mp4", "mkv", "y4m", "gif"],
)
def test_cut_files_are_refused_or_end_early(data, cut):
    try:
        signal = load(data[: int(len(data) * cut)])
    except (UnreadableFile, UnsupportedInput):
        return
    assert 1 <= signal.meta["shape"][0] <= 6


@pytest.mark.parametrize(
    "header",
    ["W0 H4 C420", "W4", "Wx H4", "W4 H4 C420alpha", "W4 H4 Cbogus", "W4 H4 It", "W99999999 H4"],
)
def test_headers_of_y4m_that_are_not_read(header):
    with pytest.raises((UnreadableFile, UnsupportedInput)):
        load(f"YUV4MPEG2 {header}\nFRAME\n".encode() + bytes(64))


def test_a_part_of_a_large_clip_has_the_colours_of_the_whole():
    source = made_clips.y4m("444", frames=1, height=720, width=16)
    signal = load(source)
    frames = signal.samples.reshape(*signal.meta["shape"], -1)
    part, attachments = VIDEO.window(signal.meta, signal.attachments, [(0, 1), (0, 64), (0, 16)])
    for suffix in (".y4m", ".mkv"):
        written = VIDEO.write(
            frames[:, :64], part, suffix, Request(codec="ffv1" if suffix == ".mkv" else None), attachments
        )
        again = load(written).samples.reshape(1, 64, 16, 3).astype(int)
        assert np.abs(again - frames[:, :64]).max() <= 4


def test_frames_with_uneven_times_are_found_by_their_times():
    signal = load(made_clips.animation("GIF", [1000, 1000, 100, 100, 3000]))
    domain = VIDEO.domain(signal.meta, signal.attachments)
    for text, start, stop in (("0s:2s", 0, 2), ("2s:2.15s", 2, 4), ("2.05s:", 3, 5), ("1s", 1, 2)):
        found = resolved(parsed({"t": text}), domain)
        assert (found.start[0], found.stop[0]) == (start, stop), text
    part, attachments = VIDEO.window(signal.meta, signal.attachments, [(1, 3), (0, 16), (0, 20)])
    frames = signal.samples.reshape(5, 16, 20, -1)[1:3]
    with Image.open(io.BytesIO(VIDEO.write(frames, part, ".gif", Request(), attachments))) as image:
        times = []
        for number in range(2):
            image.seek(number)
            image.load()
            times.append(image.info["duration"])
    assert times == [1000, 100]
    with pytest.raises(UsageError, match="not evenly spaced"):
        domain.to_unit_matrix("physical")


def test_a_rate_that_was_asked_for_is_written():
    signal = load(made_clips.y4m(), rate="50")
    assert b" F50:1 " in again(signal, ".y4m")[:100]
    assert load(made_clips.y4m(words="F1:999999999")).meta["rate"] == [25, 1]


def test_deep_and_narrow_frames_in_archives_have_their_levels():
    signal = load(made_clips.y4m("mono10", 10))
    with zipfile.ZipFile(io.BytesIO(again(signal, ".zip"))) as archive:
        deep = load(archive_of(archive.read("0001.png"))).samples
    expected = signal.samples[: 18 * 24].astype(float) * 65_535 / 1023
    assert np.abs(deep - expected).max() <= 0.5
    bilevel = io.BytesIO()
    Image.fromarray(picture(6, 8)[..., 0] > 100).save(bilevel, "PNG")
    assert set(np.unique(load(archive_of(bilevel.getvalue())).samples)) == {0, 255}


def archive_of(*frames, names="frame{}.png"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, frame in enumerate(frames):
            archive.writestr(names.format(number), frame)
    return out.getvalue()


def test_odd_names_and_sizes_are_no_bugs():
    frame = io.BytesIO()
    Image.fromarray(picture(6, 8)).save(frame, "PNG")
    assert load(archive_of(frame.getvalue(), names="\u00b2{}.png")).meta["shape"] == [1, 6, 8]
    with pytest.raises(OverLimit):
        load(made_clips.video("matroska", frames=40), limits=Limits(max_voxels=30 * 32 * 48))
    with pytest.raises(UnsupportedInput, match="matrix 8 "):
        load(made_clips.video(colours=(2, 2, 8)))


def test_large_clips_are_kept_in_a_file_without_a_name(monkeypatch, tmp_path):
    source = tmp_path / "clip.mkv"  # which does not say how many frames it has, so that the file grows
    source.write_bytes(made_clips.video("matroska", "ffv1", frames=70))
    in_memory = load(source.read_bytes()).samples
    monkeypatch.setattr(clip, "FILE_BYTES", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "room"))
    (tmp_path / "room").mkdir()
    signal = load(source.read_bytes())
    assert isinstance(signal.samples.base, np.memmap) or isinstance(signal.samples, np.memmap)
    assert np.array_equal(signal.samples, in_memory)
    assert inrfit.encode(source, **QUICK).decode().shape == (70, 32, 48, 3)
    assert not list((tmp_path / "room").iterdir())

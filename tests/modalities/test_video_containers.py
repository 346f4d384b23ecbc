"""Clips of 8 to 16 bits in every container and codec: PyAV reads what was written as the samples that they have."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import made_clips
import numpy as np
import pytest

from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES, Request, scales
from inrfit.modalities.video import container_writer, y4m
from inrfit.modalities.video.clip import Clip, Colours, rescaled
from inrfit.modalities.video.meta import Options, meta_of

VIDEO = MODALITIES["video"]
WRITTEN = [(suffix, codec) for suffix, (_, codecs) in container_writer.WRITTEN.items() for codec in codecs]
CHROMA = ("420", "422", "444", "440", "411", "410", "rgb", "grey")
SUBSAMPLED = {"420": 33, "422": 35, "440": 35, "411": 32}
"""dB at least of clips with subsampled chroma, which FFmpeg repeats between its samples."""


def made(bits, chroma, odd, full):
    """A clip of a smooth pattern, with its description."""
    height, width = (67, 71) if odd else (66, 70)
    pattern = made_clips.moving(2, height, width)[..., : 1 if chroma == "grey" else 3]
    frames = (pattern * ((1 << bits) - 1)).round().astype(np.uint8 if bits == 8 else np.uint16)
    clip = Clip(frames, bits, Fraction(25), Colours(1, 1, 1, full, chroma))
    return clip, meta_of("MP4", clip, scales.linear(frames.dtype.name, 0.0, float((1 << bits) - 1), 1.0))


def decoded(data):
    """The frames as RGB from 0 to 1, the pixel format and the range of the first one, by PyAV."""
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(video=0))
    deep = frames[0].height % 2 == 0  # of odd sides swscale makes no RGB of 16 bits
    name, peak = ("rgb48le", 65_535) if deep else ("rgb24", 255)
    return np.stack([frame.to_ndarray(format=name) for frame in frames]) / peak, frames[0].format, frames[0].color_range


def test_frames_that_the_decoder_repaired_are_named():
    frames = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3)).astype(np.uint8)
    clip = Clip(frames, 8, Fraction(25), Colours(1, 1, 1, False, "420"))
    described = meta_of("MP4", clip, scales.linear("uint8", 0.0, 255.0, 1.0))
    data = bytearray(VIDEO.write(frames, described, ".mp4", Request(), {}))
    assert not any("damaged" in note for note in VIDEO.load(bytes(data), "a.mp4", Options(), Limits()).notes)
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 200] = bytes(200)
    notes = VIDEO.load(bytes(data), "a.mp4", Options(), Limits()).notes
    assert any("damaged" in note and "of 12 frames" in note for note in notes)


def least_psnr(chroma, pixels):
    return SUBSAMPLED[chroma] if f"{chroma}p" in pixels and chroma in SUBSAMPLED else 42


def psnr(a, b):
    return -10 * np.log10(max(np.square(a - b).mean(), 1e-12))


@pytest.mark.parametrize(("suffix", "codec"), WRITTEN)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_clips_are_read_by_others_as_they_are(suffix, codec, bits):
    for number, chroma in enumerate(CHROMA * 2):
        odd, full = number >= 8, number % 2 == number // 8
        clip, meta = made(bits, chroma, odd, full)
        request = Request(codec=codec, image_quality=100)
        notes = VIDEO.check_writable(meta, suffix, request, {})
        frames, kind, range_ = decoded(VIDEO.write(clip.frames, meta, suffix, request, {}))
        found, what = kind.components[0].bits, (chroma, odd, full, kind.name)
        reduced = f"{bits} bits a sample are reduced to {found}"
        assert (reduced in notes) == (found < bits), what
        told = VIDEO.describe_decoded(clip.frames, meta, suffix, request)
        assert (f"{min(bits, found)}-bit" in told) == (min(bits, found) > 8), what
        assert codec in ("vp9", "h264") or found >= min(bits, 12), what
        if not kind.is_rgb and not kind.name.startswith("gray"):
            assert range_ == 1 + full, what
        truth = np.broadcast_to(clip.frames / ((1 << bits) - 1), frames.shape)
        assert psnr(frames, truth) > least_psnr(chroma, kind.name), what
        if codec == "ffv1" and chroma in ("rgb", "grey"):
            again = VIDEO.load(VIDEO.write(clip.frames, meta, suffix, request, {}), "a.mkv", Options(), Limits())
            assert np.array_equal(again.samples.reshape(clip.frames.shape), clip.frames), what


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("chroma", CHROMA)
def test_y4m_is_read_by_others(bits, chroma):
    for odd in (False, True):
        clip, meta = made(bits, chroma, odd, full=True)
        out = io.BytesIO()
        y4m.write(clip, out)
        frames, kind, _ = decoded(out.getvalue())
        assert kind.components[0].bits == bits
        truth = np.broadcast_to(clip.frames / ((1 << bits) - 1), frames.shape)
        assert psnr(frames, truth) > least_psnr(chroma, kind.name), kind.name
        own = VIDEO.load(VIDEO.write(clip.frames, meta, ".y4m", Request(), {}), "a.y4m", Options(), Limits())
        assert own.meta["bits"] == bits


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("bits", [10, 16])
def test_animations_of_deep_clips_have_their_nearest_levels(suffix, bits):
    clip, meta = made(bits, "444", odd=True, full=None)
    assert f"{bits} bits a sample are reduced to 8" in VIDEO.check_writable(meta, suffix, Request(), {})
    again = VIDEO.load(VIDEO.write(clip.frames, meta, suffix, Request(), {}), f"a{suffix}", Options(), Limits())
    difference = again.samples.reshape(clip.frames.shape) / 255 - clip.frames / ((1 << bits) - 1)
    assert np.abs(difference).max() <= (0.5 / 255 + 1e-9 if suffix != ".gif" else 0.2)


def test_clips_of_other_bits_are_compared_by_their_levels():
    deep, meta = made(10, "rgb", odd=False, full=None)
    written = VIDEO.write(deep.frames, meta, ".webp", Request(), {})
    ours = VIDEO.load(written, "a.webp", Options(), Limits())
    theirs = VIDEO.load(VIDEO.write(deep.frames, meta, ".mkv", Request(codec="ffv1"), {}), "a.mkv", Options(), Limits())
    assert (ours.meta["bits"], theirs.meta["bits"]) == (8, 10)
    measured = VIDEO.compare(ours, theirs, lambda _: None)
    assert 57 < measured["psnr"] < 62  # the rounding to 8 bits
    assert measured["ssim"] > 0.999


def test_levels_of_other_bits_are_the_nearest_ones():
    levels = np.arange(1024, dtype=np.uint16)
    assert np.array_equal(rescaled(rescaled(levels, 10, 16), 16, 10), levels)
    assert np.abs(rescaled(levels, 10, 8) / 255 - levels / 1023).max() <= 0.5 / 255 + 1e-9
    assert rescaled(levels, 10, 10) is levels


@pytest.mark.parametrize("range_", [0, 1, 2])
def test_grey_has_the_levels_of_the_file_as_ffmpeg_takes_it(range_):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 64, "gray"
        stream.codec_context.color_range = range_
        frame = av.VideoFrame.from_ndarray(ramp, format="gray")
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    signal = VIDEO.load(out.getvalue(), "a.mkv", Options(), Limits())
    assert np.array_equal(signal.samples.reshape(64, 256), ramp)
    written = VIDEO.write(ramp[None, ..., None], signal.meta, ".mkv", Request(codec="ffv1"), {})
    with av.open(io.BytesIO(written)) as container:
        frame = next(container.decode(video=0))
    assert (frame.format.name, int(frame.color_range)) == ("gray", range_)
    assert np.array_equal(frame.to_ndarray(), ramp)

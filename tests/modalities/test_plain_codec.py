"""The bytes of a plain codec are about those of the smallest file that it makes of the same quality."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from conftest import image_signal, picture
from PIL import Image

from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES
from inrfit.modalities.audio import audio, plain_codec
from inrfit.modalities.image import image
from inrfit.modalities.image import plain_codec as jpeg


def sound(samples: np.ndarray, rate: int = 16_000):
    written = io.BytesIO()
    soundfile.write(written, samples, rate, format="WAV", subtype="PCM_16")
    return audio.load(written.getvalue(), "a.wav", audio.Options(), Limits())


def jpeg_file(pixels: np.ndarray, quality: int) -> tuple[int, float]:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    decoded = np.asarray(Image.open(written)).astype(float)
    return len(written.getvalue()), 10 * np.log10(255**2 / np.square(decoded - pixels).mean())


def test_the_smallest_jpeg_of_the_same_psnr_is_found():
    signal, pixels = image_signal(64, 96), picture(64, 96)
    for quality in (20, 60, 85):
        size, reached = jpeg_file(pixels, quality)
        assert jpeg.jpeg_bytes(signal, {"psnr": reached - 1e-6}) == ("JPEG", size)


def test_of_a_large_picture_a_part_is_tried(monkeypatch):
    noise = np.random.default_rng(0).normal(0, 20, (256, 384, 3))
    pixels = (picture(256, 384) + noise).clip(0, 255).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    signal = image.load(written.getvalue(), "a.png", image.Options(), Limits())
    whole = jpeg.jpeg_bytes(signal, {"psnr": 25.0})
    monkeypatch.setattr(jpeg, "_PIXELS", 256 * 96)
    part = jpeg.jpeg_bytes(signal, {"psnr": 25.0})
    assert whole[1] > 10_000
    assert part[1] == pytest.approx(whole[1], rel=0.15)


@pytest.mark.parametrize("quality", [{}, {"psnr": None}, {"psnr": float("inf")}, {"psnr": 99.0}])
def test_there_is_no_figure_where_no_jpeg_reaches_the_quality(quality):
    assert jpeg.jpeg_bytes(image_signal(16, 16), quality) is None


def test_there_is_no_figure_for_a_picture_that_jpeg_cannot_hold():
    assert jpeg.jpeg_bytes(image_signal(1, 65_500), {"psnr": 10.0}) is not None
    assert jpeg.jpeg_bytes(image_signal(1, 65_501), {"psnr": 10.0}) is None


def test_vorbis_files_of_more_quality_are_larger():
    draws = np.random.default_rng(0)
    samples = (0.1 * np.sin(np.arange(40_000) / 9) + 0.2 * draws.normal(size=40_000)).clip(-1, 1)
    signal = sound(samples)
    found = [plain_codec.vorbis_bytes(signal, {"snr": snr}) for snr in (2.0, 6.0, 10.0)]
    assert [name for name, _ in found] == ["Ogg Vorbis"] * 3
    sizes = [size for _, size in found]
    assert 1000 < sizes[0] < sizes[-1] / 1.1 < 80_000
    assert plain_codec.vorbis_bytes(signal, {"snr": 200.0}) is None


def test_silence_and_many_channels_have_no_figure():
    assert plain_codec.vorbis_bytes(sound(np.zeros(1000)), {"snr": 10.0}) is None
    assert plain_codec.vorbis_bytes(sound(np.full((1000, 3), 0.1)), {"snr": 10.0}) is None


def test_shapes_have_no_plain_codec():
    assert MODALITIES["shape"].plain_codec(image_signal(4, 4), {"iou": 0.9}) is None

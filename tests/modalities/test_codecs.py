"""The codecs beside fields: whole files, decoded from their bytes, measured on the samples of the source."""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
from conftest import image_signal, picture
from PIL import Image

from inrfit.errors import UsageError
from inrfit.io import extras
from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES
from inrfit.modalities.audio import audio
from inrfit.modalities.audio.codecs import aligned
from inrfit.modalities.image import codecs as image_codecs
from inrfit.modalities.image import image
from inrfit.modalities.shape import quality as shape_quality
from inrfit.modalities.shape import shape

needs_jxl = pytest.mark.skipif(find_spec("pillow_jxl") is None, reason="pip install 'inrfit[jxl]'")
needs_draco = pytest.mark.skipif(find_spec("DracoPy") is None, reason="pip install 'inrfit[draco]'")


def nothing(fraction: float) -> None:
    """Ignores the progress."""


def picture_signal(pixels: np.ndarray):
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return image.load(written.getvalue(), "a.png", image.Options(), Limits())


def sound_signal(rate: int, channels: int = 1, seconds: float = 1.0):
    time = np.arange(round(seconds * rate)) / rate
    notes = np.sin(2 * np.pi * 440 * time) + 0.5 * np.sin(2 * np.pi * 1000 * time) * np.exp(-3 * time)
    samples = np.stack([0.3 * notes * (k + 1) / channels for k in range(channels)], axis=1)
    written = io.BytesIO()
    soundfile.write(written, samples, rate, format="WAV", subtype="PCM_16")
    return audio.load(written.getvalue(), "a.wav", audio.Options(), Limits())


def trials(kind: str, name: str, signal) -> list[tuple[int, float]]:
    """The files of a codec at about both ends of its ladder, and between."""
    codec = MODALITIES[kind].codecs[name]
    assert codec.unsuited(signal.meta) is None
    assert codec.writer()
    ladder = codec.ladder(signal.meta)
    return [codec.trial(signal, ladder[k], nothing) for k in (0, len(ladder) // 2, -1)]


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", pytest.param("jxl", marks=needs_jxl)])
@pytest.mark.parametrize("colours", [True, False])
def test_larger_files_of_pictures_are_better(name, colours):
    pixels = picture(48, 64)
    found = trials("image", name, picture_signal(pixels if colours else np.ascontiguousarray(pixels[..., 0])))
    assert [size for size, _ in found] == sorted(size for size, _ in found)
    assert found[0][1] < found[1][1] < found[-1][1]
    assert found[-1][1] > 32


def test_the_psnr_is_that_of_the_file_decoded_by_pillow():
    pixels, codec = picture(48, 64), MODALITIES["image"].codecs["jpeg"]
    size, psnr = codec.trial(picture_signal(pixels), {"quality": 60, "subsampling": "4:4:4"}, nothing)
    files = []
    for progressive in (False, True):
        written = io.BytesIO()
        how = {"quality": 60, "subsampling": "4:4:4", "optimize": True, "progressive": progressive}
        Image.fromarray(pixels).save(written, "JPEG", **how)
        files.append(written)
    decoded = np.asarray(Image.open(files[0])).astype(float)
    assert size == min(len(file.getvalue()) for file in files)
    assert psnr == pytest.approx(10 * np.log10(255**2 / np.square(decoded - pixels).mean()))


def test_jpeg_tries_both_kinds_of_chroma_of_colours_and_one_of_grey():
    ladder = MODALITIES["image"].codecs["jpeg"].ladder
    assert {step["subsampling"] for step in ladder({"mode": "RGB"})} == {"4:2:0", "4:4:4"}
    assert len(ladder({"mode": "RGB"})) == 2 * len(ladder({"mode": "L"}))
    assert "subsampling" not in ladder({"mode": "L"})[0]


def test_pictures_that_a_codec_cannot_hold_are_named():
    codecs = MODALITIES["image"].codecs
    opaque = picture(16, 16)
    seen = np.concatenate([opaque, picture(16, 16, seed=1)[..., :1]], axis=2)
    assert "without transparency" in codecs["jpeg"].unsuited(picture_signal(seen).meta)
    wide = picture_signal(opaque[..., 0].astype(np.uint16) * 257)
    assert "8 bits" in codecs["avif"].unsuited(wide.meta)
    assert "16,383" in codecs["webp"].unsuited(image_signal(1, 16_384).meta)
    assert codecs["webp"].unsuited(image_signal(1, 16_383).meta) is None


def test_a_pillow_without_the_format_is_named(monkeypatch):
    from PIL import features

    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(UsageError, match="without avif: pip install --upgrade pillow"):
        image_codecs.CODECS["avif"].writer()


@pytest.mark.parametrize(("kind", "name", "module"), [("image", "jxl", "pillow_jxl"), ("shape", "draco", "DracoPy")])
def test_a_missing_package_is_named_with_its_extra(kind, name, module, monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda found: None)
    with pytest.raises(UsageError, match=rf"the codec {name} needs inrfit\[{name}\]"):
        MODALITIES[kind].codecs[name].writer()
    assert extras.EXTRAS[module] == name


@pytest.mark.parametrize("name", ["opus", "mp3", "vorbis"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
def test_larger_files_of_sounds_are_better(name, rate, channels):
    found = trials("audio", name, sound_signal(rate, channels))
    assert found[0][0] < found[-1][0]
    assert found[0][1] < found[-1][1]
    assert found[-1][1] > 20  # samples that are off by one would have less


def test_sounds_that_a_codec_cannot_hold_are_named():
    codecs = MODALITIES["audio"].codecs
    assert "one or two channels, not 3" in codecs["opus"].unsuited(sound_signal(16_000, 3, 0.1).meta)
    assert "no sounds of 20000 Hz" in codecs["mp3"].unsuited(sound_signal(20_000, 1, 0.1).meta)
    assert codecs["opus"].unsuited(sound_signal(20_000, 1, 0.1).meta) is None
    assert "no sounds of 96000 Hz" in codecs["opus"].unsuited(sound_signal(96_000, 1, 0.1).meta)
    assert "8000 to 48000" in codecs["vorbis"].unsuited(sound_signal(96_000, 1, 0.1).meta)


@pytest.mark.parametrize("delay", [0, 3, 1105, -40])
def test_the_delay_of_a_decoder_is_undone(delay):
    source = np.random.default_rng(0).normal(size=(5000, 2))
    decoded = np.pad(source, ((max(delay, 0), 100), (0, 0)))[max(-delay, 0) :]
    found = aligned(decoded, source)
    assert found.shape == source.shape
    lost = max(0, -delay)
    assert np.array_equal(found[lost:], source[lost:])
    assert not found[:lost].any()


def test_samples_that_a_decoder_lost_are_silent():
    source = np.random.default_rng(0).normal(size=(3000, 1))
    found = aligned(source[:2500], source)
    assert np.array_equal(found[:2500], source[:2500])
    assert not found[2500:].any()


def test_channels_of_opposite_sign_are_aligned_too():
    half = np.random.default_rng(0).normal(size=(3000, 1))
    source = np.concatenate([half, -half], axis=1)
    assert np.array_equal(aligned(np.pad(source, ((7, 0), (0, 0))), source), source)


@needs_draco
def test_more_bits_of_draco_are_closer_to_the_mesh(monkeypatch):
    import trimesh

    monkeypatch.setattr(shape_quality, "RESOLUTION", 32)
    ball = trimesh.creation.icosphere(subdivisions=2)
    signal = shape.load(ball.export(file_type="ply"), "a.ply", shape.Options(), Limits())
    codec = MODALITIES["shape"].codecs["draco"]
    coarse, fine = (codec.trial(signal, {"bits": bits}, nothing) for bits in (5, 12))
    assert coarse[0] < fine[0]
    assert coarse[1] < 0.99 < fine[1] <= 1

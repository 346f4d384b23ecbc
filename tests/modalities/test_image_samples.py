"""Samples of every number type are fitted and written back as they are; what is known exactly is not fitted."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import picture
from PIL import Image

import inrfit
from inrfit.errors import UnreadableFile, UnsupportedInput, UsageError
from inrfit.io.limits import Limits
from inrfit.modalities import Request
from inrfit.modalities.image import channels, image, quality, sample_types, writing
from inrfit.signal import Grid, Scale


class Exact:
    """A field that gives the values of ``samples`` (h, w, k) at cells of their own grid, and constant values within a
    cell on a finer one."""

    decode_chunk = 300

    def __init__(self, samples: np.ndarray, scale: Scale) -> None:
        self.samples, self.scale = samples, scale

    def on_grid(self, grid: Grid, start: int, stop: int) -> torch.Tensor:
        height, width = self.samples.shape[:2]
        rows = (np.arange(grid.shape[0]) * height) // grid.shape[0]
        columns = (np.arange(grid.shape[1]) * width) // grid.shape[1]
        flat = self.samples[rows][:, columns].reshape(grid.n, -1)[start:stop]
        return self.scale.values(torch.from_numpy(flat.astype(np.float64)))


def load(data: bytes, **options: Any) -> Any:
    return image.load(data, "name", image.Options(**options), Limits())


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, array, metadata=None, software=False, **options)
    return file.getvalue()


def png(array: np.ndarray, mode: str | None = None, **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(array, mode).save(file, "PNG", **options)
    return file.getvalue()


def exact(signal: Any) -> Exact:
    return Exact(signal.samples.reshape(*signal.grid.shape, -1), signal.scale)


def round_trip(data: bytes, suffix: str | None = None, request: Request = Request()) -> bytes:
    """The file that an exact field of ``data`` is written as."""
    signal = load(data)
    suffix = suffix or writing.default_suffix(signal.meta)[0]
    decoded = image.decode(exact(signal), signal.meta, request, Limits(), lambda fraction: None)  # type: ignore[arg-type]
    return writing.write(decoded, signal.meta, suffix, request, signal.attachments)


def ramp(dtype: str, bands: int = 1) -> np.ndarray:
    info: Any = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    high = 1.0 if dtype.startswith("float") else float(min(info.max, 2**24))
    low = 0.0 if info.min == 0 or dtype.startswith("float") else -high
    values = np.linspace(low, high, 12 * 16 * bands).reshape(bands, 12, 16).transpose(1, 2, 0)
    return np.ascontiguousarray(values.astype(dtype))


# Number types


@pytest.mark.parametrize("bands", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32"])
def test_every_number_type_comes_back_as_it_was(dtype: str, bands: int) -> None:
    source = ramp(dtype, bands)
    extra = {"photometric": "rgb"} if bands == 3 else {"photometric": "minisblack", "planarconfig": "contig"}
    written = round_trip(tiff(source[..., 0] if bands == 1 else source, **(extra if bands > 1 else {})))
    again = tifffile.imread(BytesIO(written)).reshape(source.shape)
    assert again.dtype == source.dtype
    if dtype.startswith("float"):
        np.testing.assert_allclose(again.astype(float), source.astype(float), atol=1e-3 if dtype == "float16" else 1e-6)
    else:
        np.testing.assert_array_equal(again, source)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_sixteen_bit_png_is_written_with_sixteen_bits(mode: str) -> None:
    source = ramp("uint16", len(mode))
    source[0, 0] = 65535, *[1] * (len(mode) - 1)
    from inrfit.modalities.image.png_writer import write_png

    written = round_trip(write_png(source, mode, 16))
    assert written[24:26] == bytes([16, {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6}[mode]])
    np.testing.assert_array_equal(quality.source_raster(load(written)), source)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_keeps_them(bits: int) -> None:
    from inrfit.modalities.image.png_writer import write_png

    source = (np.arange(15 * 9).reshape(15, 9, 1) % (1 << bits)).astype(np.uint8)
    written = round_trip(write_png(source, "L", bits))
    assert written[24] == bits
    scaled = np.asarray(Image.open(BytesIO(written)).convert("L"))
    np.testing.assert_array_equal(scaled, source[..., 0] * (255 // ((1 << bits) - 1)))


def test_bilevel_decodes_to_two_values_whatever_the_field_says() -> None:
    signal = load(png(np.random.default_rng(0).random((9, 8)) > 0.5))

    class Grey:
        decode_chunk = 1000

        def on_grid(self, grid: Grid, start: int, stop: int) -> torch.Tensor:
            return torch.linspace(-3, 3, grid.n)[start:stop, None]

    decoded = image.decode(Grey(), signal.meta, Request(), Limits(), lambda fraction: None)  # type: ignore[arg-type]
    assert set(np.unique(decoded)) == {0, 1}
    assert Image.open(BytesIO(writing.write(decoded, signal.meta, ".png", Request()))).mode == "1"


def test_labels_keep_type_and_range_and_are_named() -> None:
    source = (np.arange(48 * 64).reshape(48, 64) // 64).astype(np.uint16)
    signal = load(tiff(source))
    assert (signal.scale.low, signal.scale.high) == (0, 47)
    assert signal.notes[0].startswith("few different values")
    np.testing.assert_array_equal(tifffile.imread(BytesIO(round_trip(tiff(source)))), source)
    measured = image.measure(exact(signal), signal, lambda fraction: None)  # type: ignore[arg-type]
    assert measured["psnr"] == math.inf
    signal.samples[:, 0] = 47 - signal.samples[:, 0]
    off = image.measure(exact(signal), load(tiff(source)), lambda fraction: None)  # type: ignore[arg-type]
    error = np.mean((47.0 - 2 * source) ** 2)
    assert off["psnr"] == pytest.approx(10 * math.log10(65535**2 / error))
    assert off["psnr_range"] == pytest.approx(10 * math.log10(47**2 / error))


def test_photographs_are_not_called_labels() -> None:
    assert load(png(picture(64, 64, 1)[..., 0])).notes == ()


def test_channels_of_different_ranges_are_fitted_in_their_own() -> None:
    source = ramp("uint16", 5)
    source[..., 4] //= 100
    scale = load(tiff(source, photometric="minisblack", planarconfig="contig")).scale
    values = scale.values(torch.from_numpy(source.astype(np.int64)))
    assert values.amin(dim=(0, 1)).tolist() == pytest.approx([-1] * 5)
    assert values.amax(dim=(0, 1)).tolist() == pytest.approx([1] * 5)


def test_samples_that_are_not_finite_are_refused() -> None:
    source = ramp("float32")[..., 0]
    source[3, 4] = np.nan
    with pytest.raises(UnreadableFile) as caught:
        load(tiff(source))
    assert caught.value.reason == "nonfinite"


def test_bits_are_reduced_only_on_request_and_only_if_unsigned() -> None:
    source = ramp("uint16")[..., 0]
    assert load(tiff(source), bits=8).samples.dtype == np.uint8
    with pytest.raises(UsageError, match="float32"):
        load(tiff(ramp("float32")[..., 0]), bits=8)


@pytest.mark.parametrize(("dtype", "kind"), [("uint64", "uint64"), ("int64", "int64"), ("complex64", "complex")])
def test_unusual_samples_are_refused_by_their_kind(dtype: str, kind: str) -> None:
    with pytest.raises(UnsupportedInput, match=kind) as caught:
        load(tiff(np.ones((4, 5), dtype)))
    assert caught.value.reason == "samples"


# High dynamic range


def test_high_dynamic_range_is_fitted_through_a_curve_and_measured_in_logarithms() -> None:
    source = np.exp2(np.linspace(-8, 8, 40 * 50)).astype(np.float32).reshape(40, 50, 1)
    signal = load(tiff(source[..., 0]))
    assert signal.scale.knee > 0
    assert "asinh" in signal.notes[0]
    values = signal.scale.values(torch.from_numpy(source.astype(np.float64)))
    assert (values.min(), values.max()) == (pytest.approx(-1), pytest.approx(1))
    np.testing.assert_allclose(signal.scale.raw(values).numpy(), source, rtol=1e-5)
    twice = Exact(source * 2, signal.scale)
    measured = image.measure(twice, signal, lambda fraction: None)  # type: ignore[arg-type]
    high = source > signal.scale.high / 2
    logarithms = np.log2(np.maximum(source, signal.scale.knee))
    wanted = np.where(high, np.log2(signal.scale.high) - logarithms, 1.0)  # clamped to the largest sample
    below = source < signal.scale.knee
    wanted[below] = np.log2(np.maximum(2 * source[below], signal.scale.knee)) - logarithms[below]
    span = logarithms.max() - logarithms.min()
    assert measured["psnr_log2"] == pytest.approx(10 * math.log10(span**2 / np.mean(wanted**2)), abs=0.01)


def test_ordinary_floats_have_a_linear_scale() -> None:
    assert load(tiff(ramp("float32")[..., 0])).scale.knee == 0


# What is known exactly


def test_opaque_alpha_is_not_fitted_and_stays_opaque() -> None:
    source = np.concatenate([picture(20, 30, 3), np.full((20, 30, 1), 255, np.uint8)], axis=2)
    signal = load(png(source))
    assert signal.channels == 3
    assert signal.meta["channels"] == [0, 1, 2, {"value": 255}]
    artifact = inrfit.encode(source, budget="60it", arch="grid")
    assert (artifact.decode()[..., 3] == 255).all()
    assert artifact.spec.outputs == 3


def test_grey_stored_as_rgb_stays_grey() -> None:
    source = np.repeat(picture(20, 30, 1), 3, axis=2)
    artifact = inrfit.encode(source, budget="60it", arch="grid")
    decoded = artifact.decode()
    assert artifact.spec.outputs == 1
    assert decoded.shape == (20, 30, 3)
    assert (decoded == decoded[..., :1]).all()


@pytest.mark.parametrize(
    ("make", "sources"),
    [
        (lambda r: r, None),
        (lambda r: np.stack([r[..., 0], r[..., 1], r[..., 0]], -1), [0, 1, 0]),
        (lambda r: np.stack([r[..., 0] * 0 + 7, r[..., 1]], -1), [{"value": 7}, 0]),
        (lambda r: np.full((20, 30, 3), 9, np.uint8), [0, 0, 0]),
        (lambda r: np.full((20, 30, 2), [[[9, 255]]], np.uint8), [0, {"value": 255}]),
    ],
)
def test_channels_are_found_and_put_together_again(make: Any, sources: Any) -> None:
    raster = make(picture(20, 30, 3))
    assert channels.find_sources(raster) == sources
    outputs = raster[..., channels.fitted_channels(sources, raster.shape[2])]
    np.testing.assert_array_equal(channels.assemble(outputs, sources), raster)


def test_a_palette_is_kept_and_pixels_decode_to_its_entries() -> None:
    colours = np.random.default_rng(1).integers(0, 256, (11, 3)).astype(np.uint8)
    indices = np.random.default_rng(2).integers(0, 11, (20, 30)).astype(np.uint8)
    source = Image.fromarray(indices, "P")
    source.putpalette(colours.tobytes())
    file = BytesIO()
    source.save(file, "PNG")
    signal = load(file.getvalue())
    blurred = exact(signal)
    blurred.samples = np.clip(blurred.samples.astype(int) + 2, 0, 255)
    decoded = image.decode(blurred, signal.meta, Request(), Limits(), lambda fraction: None)  # type: ignore[arg-type]
    np.testing.assert_array_equal(decoded, colours[indices])
    again = Image.open(BytesIO(writing.write(decoded, signal.meta, ".png", Request())))
    assert again.mode == "P"
    np.testing.assert_array_equal(np.asarray(again), indices)


def test_colour_under_transparency_is_neither_taught_nor_counted() -> None:
    alpha = np.zeros((32, 32, 1), np.uint8)
    alpha[8:24, 8:24] = 255
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    quiet = np.where(alpha > 0, np.uint8(90), noise)
    signal = load(png(np.concatenate([quiet, alpha], axis=2)))
    assert signal.meta["channels"] == [{"value": 90}, {"value": 90}, {"value": 90}, 0]
    measured = image.measure(exact(signal), signal, lambda fraction: None)  # type: ignore[arg-type]
    assert measured["psnr"] == math.inf
    assert measured["psnr_raw"] < 20


def test_colours_are_continued_smoothly_under_transparency() -> None:
    plane = np.linspace(0, 255, 64)[None, :, None].repeat(64, 0)
    alpha = np.full((64, 64, 1), 255)
    alpha[20:40, 20:40] = 0
    raster = np.concatenate([plane, alpha], axis=2).astype(np.uint8)
    filled = channels.without_invisible_colours(raster)
    assert np.abs(filled[..., 0].astype(int) - plane[..., 0]).max() < 60
    np.testing.assert_array_equal(filled[alpha[..., 0] > 0], raster[alpha[..., 0] > 0])


def test_estimate_agrees_with_measure_under_transparency() -> None:
    raster = picture(24, 24, 4)
    signal = load(png(raster))
    wrong = exact(signal)
    wrong.samples = np.clip(wrong.samples.astype(int) + 9, 0, 255)
    measured = image.measure(wrong, signal, lambda fraction: None)  # type: ignore[arg-type]
    grid = signal.grid
    values = exact(signal).on_grid(grid, 0, grid.n)
    assert quality.estimate(wrong.on_grid(grid, 0, grid.n), values, signal) == pytest.approx(measured["psnr"], abs=1e-3)


# Another size


def test_fewer_pixels_are_means_over_their_areas() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    signal = load(png(stripes))
    decoded = image.decode(exact(signal), signal.meta, Request(scale=0.25), Limits(), lambda fraction: None)  # type: ignore[arg-type]
    assert decoded.shape == (16, 16, 1)
    assert set(np.unique(decoded)) <= {127, 128}


def test_area_means_weight_colours_by_alpha() -> None:
    raster = np.zeros((2, 2, 4), np.uint8)
    raster[0, 0] = 200, 100, 50, 255
    raster[1:, :, :3] = 7
    signal = load(png(raster))
    field = Exact(raster, sample_types.UINT8_SCALE)
    meta = signal.meta | {"channels": None, "scale": sample_types.UINT8_SCALE.json()}
    decoded = image.decode(field, meta, Request(size=(1, 1)), Limits(), lambda fraction: None)  # type: ignore[arg-type]
    assert decoded.ravel().tolist() == [200, 100, 50, 64]


@pytest.mark.parametrize(("size", "wanted"), [((30, None), (30, 20)), ((None, 20), (30, 20)), ((30, 20), (30, 20))])
def test_one_side_of_a_size_follows_from_the_aspect(size: Any, wanted: tuple[int, int]) -> None:
    meta = load(png(picture(40, 60, 3))).meta
    assert image.output_size(meta, Request(size=size)) == wanted
    assert image.check_writable(meta, ".png", Request(size=size)) == []


def test_another_aspect_is_told() -> None:
    meta = load(png(picture(40, 60, 3))).meta
    (note,) = image.check_writable(meta, ".png", Request(size=(60, 60)))
    assert "another aspect" in note


# Hostile headers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": 4}, "bands"),
        ({"channels": [0, 1]}, "channels"),
        ({"channels": [0, 2, 2]}, "channels"),
        ({"channels": [{"value": 1}] * 3}, "channels"),
        ({"palette": "AAAA" * 300}, "palette"),
        ({"bits": 16}, "scale"),
        ({"scale": sample_types.UINT8_SCALE.json() | {"factor": [1.0, 1.0]}}, "factor"),
        ({"scale": sample_types.UINT8_SCALE.json() | {"factor": [1.0, 0.0, 1.0]}}, "factor"),
        ({"scale": sample_types.UINT8_SCALE.json() | {"high": 300}}, "uint8"),
        ({"scale": sample_types.UINT8_SCALE.json() | {"low": 200, "high": 100}}, "low"),
    ],
)
def test_a_meta_that_contradicts_itself_is_refused(change: Any, message: str) -> None:
    meta = load(png(picture(4, 6, 3))).meta
    image.check_meta(meta)
    with pytest.raises(ValueError, match=message):
        image.check_meta(meta | change)

"""What the image modality promises, on pictures made here."""

from __future__ import annotations

import base64
import errno
import json
import math
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from conftest import image_meta as meta
from PIL import Image, ImageFile, PngImagePlugin, WebPImagePlugin

from inrfit.errors import (
    NotEnoughMemory,
    OverLimit,
    RefusedInput,
    UnreadableFile,
    UnsupportedInput,
    UnwritableOutput,
    UsageError,
)
from inrfit.io import json_schema
from inrfit.io.limits import Limits
from inrfit.modalities import Request
from inrfit.modalities.image import image, quality, sample_types, writing
from inrfit.modalities.image.picture import Picture
from inrfit.signal import Grid

CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
LOSSLESS = [
    *[("PNG", mode) for mode in CHANNELS],
    *[("TIFF", mode) for mode in CHANNELS],
    *[("WEBP", mode) for mode in ("RGB", "RGBA")],
    *[("BMP", mode) for mode in ("L", "RGB", "RGBA")],
]


def pixels(height: int = 5, width: int = 7, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def saved(array: np.ndarray | Image.Image, kind: str, **settings: Any) -> bytes:
    picture = (
        array
        if isinstance(array, Image.Image)
        else Image.fromarray(array.squeeze(2) if array.ndim == 3 and array.shape[2] == 1 else array)
    )
    file = BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


def load(data: bytes, **limits: int) -> Any:
    return image.load(data, "name", image.Options(), Limits(**limits))


def raster(signal: Any) -> np.ndarray:
    return quality.source_raster(signal)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    rows: bytes,
    *between: bytes,
    packed: bytes | None = None,
) -> bytes:
    """A PNG from its rows, each with its filter byte; ``between`` are chunks put before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows) if packed is None else packed)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + data + chunk(b"IEND", b"")


def sixteen(array: np.ndarray, colour: int, *between: bytes) -> bytes:
    """A 16-bit PNG of (h, w, c) uint16."""
    height, width = array.shape[:2]
    return png(width, height, 16, colour, b"".join(b"\0" + row.astype(">u2").tobytes() for row in array), *between)


def tiff(array: np.ndarray, *tags: tuple[int, int], order: str = "<") -> bytes:
    """An uncompressed TIFF of (h, w, c), with short-valued ``tags`` added or replaced."""
    height, width, channels = array.shape
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    depth = array.dtype.itemsize * 8
    entries = {
        256: width,
        257: height,
        258: depth,
        259: 1,
        262: 1 if channels < 3 else 2,
        277: channels,
        278: height,
    }
    entries |= dict(tags) | {273: 0, 279: len(data)}
    body = struct.pack(order + "H", len(entries))
    start = 8 + 2 + 12 * len(entries) + 4
    for tag, value in sorted(entries.items()):
        count, value = (channels, value) if tag == 258 else (1, start if tag == 273 else value)
        if count > 2:
            at, count_bytes = start + len(data), struct.pack(order + f"{count}H", *[value] * count)
            data += count_bytes
            body += struct.pack(order + "HHII", tag, 3, count, at)
        elif tag in (273, 279):
            body += struct.pack(order + "HHII", tag, 4, 1, value)
        else:
            body += struct.pack(order + "HHI2H", tag, 3, count, value, value if count == 2 else 0)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", 8) + body + b"\0" * 4 + data


class Known:
    """A field that gives a given picture, or a given value everywhere."""

    decode_chunk = 32_768

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.asked: list[tuple[int, int]] = []

    def on_grid(self, grid: Grid, start: int, stop: int) -> torch.Tensor:
        self.asked.append((start, stop))
        flat = torch.from_numpy(np.broadcast_to(self.array, (*grid.shape, self.array.shape[-1])).copy())
        return sample_types.UINT8_SCALE.values(flat.reshape(grid.n, -1)[start:stop])


def decode(field: Any, of: dict[str, Any], request: Request | None = None, **limits: int) -> np.ndarray:
    return image.decode(field, of, request or Request(), Limits(**limits), lambda share: None)


# What is kept


@pytest.mark.parametrize(("kind", "mode"), LOSSLESS)
def test_kept_modes_survive_load_write_load(kind: str, mode: str) -> None:
    source = pixels(channels=CHANNELS[mode])
    of = meta(7, 5, mode, kind)
    written = writing.write(source, of, writing.default_suffix(of)[0], Request())
    signal = load(written)
    assert (raster(signal) == source).all()
    assert signal.meta == of
    assert writing.write(raster(signal), signal.meta, writing.default_suffix(signal.meta)[0], Request()) == written


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_single_rows_columns_and_pixels_load(kind: str, shape: tuple[int, int]) -> None:
    signal = load(saved(pixels(*shape), kind))
    assert signal.grid == Grid(shape)
    assert signal.samples.shape == (shape[0] * shape[1], 1 if shape == (1, 1) else 3), "constant channels are equal"


def test_signal_is_what_the_contract_says() -> None:
    signal = load(saved(pixels(), "PNG"))
    assert signal.samples.dtype == np.uint8
    assert signal.samples.flags.c_contiguous
    assert signal.samples.flags.writeable
    assert (signal.scale.values(torch.tensor([0, 255])) == torch.tensor([-1.0, 1.0])).all()
    assert signal.notes == ()
    json_schema.check(json.loads(json.dumps(signal.meta)), image.META, "signal")
    assert image.describe_source(signal.meta) == "7x5 RGB PNG"


@pytest.mark.parametrize(
    ("key", "value"),
    [("mode", "HSV"), ("width", 0), ("height", 2**24 + 1), ("format", "PSD"), ("width", 3.0)],
)
def test_meta_schema_refuses_values_that_no_file_has(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        json_schema.check({**meta(7, 5), key: value}, image.META, "signal")


def test_meta_schema_refuses_a_scale_that_divides_by_zero() -> None:
    with pytest.raises(ValueError, match="factor"):
        image.check_meta({**meta(7, 5), "scale": {**sample_types.UINT8_SCALE.json(), "factor": 0.0}})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    source = np.zeros((16, 32, 3), np.uint8)
    source[:8, :8], source[8:, 16:] = 255, 90
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    signal = load(saved(source, kind, exif=exif, **settings))
    a = source.swapaxes(0, 1)
    upright = [
        source,
        source[:, ::-1],
        source[::-1, ::-1],
        source[::-1],
        a,
        a[:, ::-1],
        a[::-1, ::-1],
        a[::-1],
    ]
    wanted = upright[orientation - 1]
    assert raster(signal).shape == wanted.shape
    assert np.abs(raster(signal).astype(int) - wanted).max() <= (4 if kind == "JPEG" else 0)
    assert signal.samples.flags.c_contiguous
    assert signal.notes == (
        () if orientation == 1 else (f"{'' if kind == 'TIFF' else 'EXIF '}orientation applied to the pixels",)
    )
    assert signal.attachments == {}, "an EXIF block with nothing but the orientation"


def test_colour_under_full_transparency_survives_webp() -> None:
    source = pixels(channels=4)
    source[..., 3] = 0
    assert (raster(load(writing.write(source, meta(7, 5, "RGBA"), ".webp", Request()))) == source).all()


# What is not kept is named


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_sixteen_bit_samples_are_kept_and_reduced_only_when_asked(colour: int, channels: int) -> None:
    source = np.random.default_rng(0).integers(0, 65536, (6, 5, channels)).astype(np.uint16)
    source[0, 0], source[0, 1], source[0, 2] = 255, 256, 65535  # 255/257 rounds to 1, its high byte is 0
    signal = load(sixteen(source, colour))
    assert signal.samples.dtype == np.uint16
    assert (raster(signal) == source).all()
    assert signal.notes == ()
    reduced = image.load(sixteen(source, colour), "name", image.Options(bits=8), Limits())
    assert (raster(reduced) == np.rint(source / 257)).all()
    assert reduced.notes == ("16-bit samples reduced to 8 bits, as asked for",)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_tiff_is_kept_in_either_byte_order(order: str, channels: int) -> None:
    source = np.random.default_rng(0).integers(0, 65536, (6, 5, channels)).astype(np.uint16)
    signal = load(tiff(source, order=order))
    assert (raster(signal) == source).all()
    assert signal.notes == ()


def test_sixteen_bit_compressed_tiff_is_kept() -> None:
    source = np.arange(0, 65536, 512, dtype=np.uint16).reshape(8, 16)
    signal = load(saved(Image.fromarray(source), "TIFF", compression="tiff_lzw"))
    assert (raster(signal)[..., 0] == source).all()


def test_twelve_bit_tiff_is_kept_in_its_own_range() -> None:
    packed = np.array([[[0xFF], [0xF8], [0x00]]], np.uint8)
    signal = load(tiff(packed, (256, 2), (258, 12)))
    assert raster(signal).ravel().tolist() == [0xFFF, 0x800]
    assert signal.meta["bits"] == 12


def test_lossy_animation_has_a_note() -> None:
    frames = [Image.fromarray(pixels(seed=seed)) for seed in range(2)]
    lossy = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    lossless = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert "lossy WebP written back as lossless WebP (lossy with --image-quality)" in load(lossy).notes
    assert "lossy WebP written back as lossless WebP (lossy with --image-quality)" not in load(lossless).notes


def test_sixteen_bit_tiff_with_white_as_zero_is_not_negative() -> None:
    source = np.arange(6, dtype=np.uint16).reshape(2, 3, 1) * 1000
    assert (raster(load(tiff(source, (262, 0)))) == 65535 - source).all()


@pytest.mark.parametrize(
    ("data", "mode", "note"),
    [
        (saved(Image.new("YCbCr", (9, 3)), "TIFF"), "RGB", "YCbCr converted to RGB"),
        (saved(pixels(), "WEBP"), "RGB", "lossy WebP written back as lossless WebP (lossy with --image-quality)"),
        (saved(pixels(), "TIFF", compression="jpeg"), "RGB", "lossy compression written back as lossless"),
        (saved(pixels(), "JPEG", xmp=b"<x/>"), "RGB", "XMP not kept"),
        (saved(pixels(), "WEBP", xmp=b"<x/>"), "RGB", "XMP not kept"),
        (saved(pixels(), "JPEG", comment=b"hello"), "RGB", "comment not kept"),
        (saved(pixels(), "TIFF", description="ImageJ=1.5"), "RGB", "description not kept"),
        (
            saved(pixels(), "TIFF", save_all=True, append_images=[Image.new("L", (3, 3))]),
            "RGB",
            "page 1 of 2 used (choose one with --page)",
        ),
        (
            saved(pixels(), "WEBP", save_all=True, append_images=[Image.new("RGB", (7, 5))]),
            "RGB",
            "picture 1 of 2 in the file used (choose one with --frame)",
        ),
        (
            saved(pixels(), "MPO", save_all=True, append_images=[Image.new("RGB", (7, 5))]),
            "RGB",
            "picture 1 of 2 in the file used (choose one with --frame)",
        ),
        (
            saved(pixels(), "PNG", save_all=True, append_images=[Image.new("RGB", (7, 5))]),
            "RGB",
            "1 of 2 frames used",
        ),
        (png(2, 1, 8, 0, b"\0ab", chunk(b"prVt", b"x")), "L", "private chunks not kept"),
        (tiff(pixels(channels=4), (338, 1)), "RGBA", "premultiplied alpha divided out"),
    ],
)
def test_what_is_not_kept_has_one_note(data: bytes, mode: str, note: str) -> None:
    signal = load(data)
    assert signal.meta["mode"] == mode
    assert signal.notes.count(note) == 1


@pytest.mark.parametrize(
    ("depth", "colour", "rows", "key", "wanted"),
    [
        (1, 0, b"\0\x80", 1, [[255, 0], [0, 255]]),
        (2, 0, b"\0\x60", 1, [[85, 0], [170, 255]]),
        (4, 0, b"\0\x3f", 3, [[51, 0], [255, 255]]),
        (8, 0, b"\0\x07\x08", 7, [[7, 0], [8, 255]]),
        (16, 0, b"\0\x01\x00\x01\x01", 256, [[256, 0], [257, 65535]]),
    ],
)
def test_transparent_grey_becomes_alpha_at_its_own_depth(
    depth: int, colour: int, rows: bytes, key: int, wanted: Any
) -> None:
    signal = load(png(2, 1, depth, colour, rows, chunk(b"tRNS", struct.pack(">H", key))))
    assert raster(signal)[0].tolist() == wanted
    assert "transparent colour turned into an alpha channel" in signal.notes


def test_transparent_rgb_becomes_alpha() -> None:
    signal = load(png(2, 1, 8, 2, b"\0\1\2\3\1\2\4", chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))))
    assert raster(signal)[0].tolist() == [[1, 2, 3, 0], [1, 2, 4, 255]]


def test_text_bomb_and_broken_profile_do_not_stop_a_picture() -> None:
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000)))
    signal = load(png(2, 1, 8, 0, b"\0ab", bomb, chunk(b"iCCP", b"no profile"), chunk(b"eXIf", b"no exif")))
    assert raster(signal).ravel().tolist() == [97, 98]
    assert {"text not kept", "damaged ICC profile not kept", "damaged EXIF ignored"} <= set(signal.notes)


def test_metadata_with_a_wrong_checksum_is_left_out_and_named() -> None:
    text = bytearray(chunk(b"tEXt", b"key\0value"))
    text[-1] ^= 1
    assert load(png(2, 1, 8, 0, b"\0ab", bytes(text))).notes == ("damaged text not kept",)


def test_broken_exif_in_jpeg_is_ignored_and_named(recwarn: pytest.WarningsRecorder) -> None:
    signal = load(saved(pixels(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"))
    assert signal.attachments == {}
    assert any("damaged" in note for note in signal.notes)
    assert not recwarn


def test_notes_carry_no_text_of_the_file() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("evil\x1b[31m", "\x1b[2J\nforged line")
    assert load(saved(pixels(), "PNG", pnginfo=info)).notes == ("text not kept",)


# What is refused


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"gimp xcf v011\0" + bytes(20), "XCF"),
        (b"8BPS\0\1" + bytes(20), "PSD"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        (b"%PDF-1.7\n", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG"),
        (b"DDS \x7c\0\0\0" + bytes(120), "DDS"),
    ],
)
def test_unsupported_image_formats_are_refused_with_the_list_of_supported_ones(data: bytes, kind: str) -> None:
    assert image.sniff(data)
    with pytest.raises(
        UnsupportedInput, match=rf"^{kind} is not supported \(supported: PNG, JPEG, WebP, TIFF, BMP, .*\)$"
    ):
        load(data)


@pytest.mark.parametrize(
    "data", [b"", b"\x89", b"BM and other words", b"<html><svg></svg></html>", b"RIFF\0\0\0\0WAVE"]
)
def test_other_content_is_not_recognised_as_an_image(data: bytes) -> None:
    assert not image.sniff(data)
    with pytest.raises(UnsupportedInput, match="not a known image format"):
        load(data)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_no_prefix_of_a_png_is_accepted(mode: str) -> None:
    whole = saved(Image.fromarray(pixels()).convert(mode), "PNG")
    load(whole)
    for length in range(len(whole)):
        with pytest.raises(RefusedInput):
            load(whole[:length])


@pytest.mark.parametrize(("kind", "spare"), [("JPEG", 0), ("WEBP", 0), ("BMP", 3), ("TIFF", 0)])
def test_no_prefix_without_all_pixels_is_accepted(kind: str, spare: int) -> None:
    whole = saved(pixels(4, 5), kind)
    load(whole)
    for length in range(len(whole) - spare):
        with pytest.raises(RefusedInput):
            load(whole[:length])


def test_any_flipped_byte_of_png_pixels_is_refused() -> None:
    whole = saved(pixels(), "PNG")
    start = whole.index(b"IDAT")
    for at in range(start, len(whole) - 12):
        with pytest.raises(RefusedInput):
            load(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])


def test_png_whose_stream_ends_early_is_refused_though_every_checksum_is_right() -> None:
    with pytest.raises(UnreadableFile, match="pixels end early: 6 of 12 bytes"):
        load(png(2, 4, 8, 0, b"\0ab\0ab"))


def test_png_stream_with_a_wrong_sum_is_refused() -> None:
    packed = bytearray(zlib.compress(b"\0ab"))
    packed[-1] ^= 1
    with pytest.raises(UnreadableFile, match="damaged pixels"):
        load(png(2, 1, 8, 0, b"", packed=bytes(packed)))


def test_palette_png_without_palette_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="palette is missing"):
        load(png(2, 1, 8, 3, b"\0\0\0"))


def test_bytes_after_the_end_of_a_png_are_ignored() -> None:
    assert (raster(load(saved(pixels(), "PNG") + b"PK\3\4junk")) == pixels()).all()


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0), (0, 0)])
def test_pictures_without_pixels_are_refused(width: int, height: int) -> None:
    with pytest.raises(UnreadableFile, match="no pixels"):
        load(png(width, height, 8, 0, b"\0"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_the_size_limit_names_its_option(kind: str) -> None:
    data = saved(pixels(), kind)
    with pytest.raises(OverLimit, match=r"7 x 5 pixels: 35, .*--max-pixels"):
        load(data, max_pixels=34)
    assert load(data, max_pixels=35).n == 35


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_bomb_limit_of_pillow_neither_decides_nor_warns(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(saved(pixels(), kind)).n == 35
    assert Image.MAX_IMAGE_PIXELS == 4


def test_webp_canvas_is_checked_before_a_decoder_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "_open", lambda self: pytest.fail("opened"))
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xfe\x3f\0" * 2
    with pytest.raises(OverLimit, match="16383 x 16383"):
        load(b"RIFF" + struct.pack("<I", len(body)) + body)


def test_truncated_webp_says_how_much_is_missing() -> None:
    whole = saved(pixels(), "WEBP")
    with pytest.raises(UnreadableFile, match=f"says {len(whole)} bytes, the file has {len(whole) - 1}"):
        load(whole[:-1])


def lying(kind: str) -> bytes:
    """A tiny file that claims 14,000 x 14,000 pixels, within the size limit."""
    data = bytearray(saved(pixels(16, 16), kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 14_000, 14_000)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 14_000, 14_000)
    elif kind == "PNG":
        return png(14_000, 14_000, 8, 2, b"\0" * 100)
    else:
        return tiff(pixels(16, 16), (256, 14_000), (257, 14_000))
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_claimed_pixels_that_cannot_be_in_the_file_are_refused_before_decoding(kind: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UnreadableFile, match=r"early") as caught:
        load(lying(kind))
    assert caught.value.reason == "truncated"


def test_run_length_bitmap_that_would_take_minutes_is_refused() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 14_000, 14_000, 1, 8, 1, 0, 0, 0, 256, 0)
    with pytest.raises(UnsupportedInput, match="run-length"):
        load(b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + head + bytes(1024) + b"\1\1\0\0" * 14_000)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (tiff(np.zeros((4, 4, 1), np.uint64)), "uint64"),
        (tiff(np.zeros((4, 4, 1), np.complex64), (339, 6)), "complex"),
        (tiff(pixels(), (254, 1)), "preview"),
        (png(2, 1, 8, 0, b"\0ab", chunk(b"CgBI", b"")), "CgBI"),
    ],
)
def test_samples_that_cannot_be_kept_are_refused_by_name(data: bytes, what: str) -> None:
    with pytest.raises(UnsupportedInput, match=what):
        load(data)


@pytest.mark.parametrize("error", [SyntaxError, struct.error, ValueError, RecursionError, KeyError, EOFError])
def test_any_exception_of_a_decoder_becomes_a_refusal(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any) -> None:
        raise error("told by\x1b[31m the decoder")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(RefusedInput) as caught:
        load(saved(pixels(), "BMP"))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), NotEnoughMemory),
        (OSError(errno.EMFILE, "Too many open files"), NotEnoughMemory),
        (FileNotFoundError("No usable temporary directory found in ['/tmp']"), UnwritableOutput),
    ],
)
def test_what_the_machine_lacks_is_no_damage_of_the_file(
    error: Exception, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(kind):
        load(saved(pixels(), "BMP"))


def test_an_interrupt_is_not_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load(saved(pixels(), "BMP"))


def test_libtiff_does_not_write_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    whole = saved(pixels(40, 40), "TIFF", compression="tiff_lzw")
    at = whole.index(b"\x80")
    with pytest.raises(UnreadableFile):
        load(whole[:at] + b"\xff" * 200 + whole[at + 200 :])
    assert capfd.readouterr() == ("", "")


def test_log_lines_of_pillow_do_not_reach_standard_error() -> None:
    code = (
        "import sys\n"
        "from inrfit.modalities.image import image\n"
        "from inrfit.errors import RefusedInput\n"
        "from inrfit.io.limits import Limits\n"
        "try: image.load(bytes.fromhex(sys.argv[1]), 'a', image.Options(), Limits())\n"
        "except RefusedInput: print('refused')\n"
    )
    data = tiff(pixels(), (277, 99)).hex()  # Pillow logs "More samples per pixel than can be decoded"
    done = subprocess.run([sys.executable, "-c", code, data], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_threads_load_side_by_side_and_leave_the_process_as_it_was() -> None:
    data = [saved(pixels(seed=seed), "PNG") for seed in range(8)]
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    found: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: raster(load(data[n]))})) for n in range(len(data))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[n] == pixels(seed=n)).all() for n in range(len(data)))
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_reading_imports_no_torch_and_starts_or_opens_nothing() -> None:
    code = (
        "import sys, base64\n"
        "from inrfit.modalities.image import image\n"
        "from inrfit.errors import RefusedInput\n"
        "from inrfit.io.limits import Limits\n"
        "import PIL.Image; PIL.Image.init()\n"
        "seen = []\n"
        "sys.addaudithook(lambda name, args: seen.append(name) if name in ('subprocess.Popen', 'os.system',\n"
        "    'socket.connect', 'os.posix_spawn') else None)\n"
        "image.load(base64.b64decode(sys.argv[1]), 'a', image.Options(), Limits())\n"
        "try: image.load(b'%!PS-Adobe-3.0 EPSF-3.0\\n', 'a', image.Options(), Limits())\n"
        "except RefusedInput: print('torch' in sys.modules, seen)\n"
    )
    data = base64.b64encode(saved(pixels(), "PNG")).decode()
    done = subprocess.run([sys.executable, "-c", code, data], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False []\n", "")


# Decoding


def test_decoded_picture_is_the_field_clamped_and_rounded() -> None:
    class Field:
        decode_chunk = 32_768

        def on_grid(self, grid: Grid, start: int, stop: int) -> torch.Tensor:
            return torch.tensor([[-7.0], [-1.0], [0.001], [1.0], [9e30]])[start:stop]

    assert decode(Field(), meta(5, 1, "L")).ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("mode", CHANNELS)
def test_decoding_a_perfect_field_gives_the_source(mode: str) -> None:
    source = pixels(channels=CHANNELS[mode])
    assert (decode(Known(source), meta(7, 5, mode)) == source).all()


@pytest.mark.parametrize("shape", [(300, 500), (1, 70_000), (70_000, 1)])
def test_large_pictures_are_decoded_in_chunks_that_cover_them_once(shape: tuple[int, int]) -> None:
    field, shares = Known(np.array([9], np.uint8)), []
    of = meta(shape[1], shape[0], "L")
    decoded = image.decode(field, of, Request(), Limits(), shares.append)  # type: ignore[arg-type]
    assert (decoded == 9).all()
    assert decoded.shape == (*shape, 1)
    assert len(field.asked) > 1
    assert [start for start, _ in field.asked[1:]] == [stop for _, stop in field.asked[:-1]]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_on_progress_can_cancel_decoding() -> None:
    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        image.decode(Known(np.array([9], np.uint8)), meta(300, 300, "L"), Request(), Limits(), stop)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "shape"),
    [
        (Request(size=(3, 2)), (2, 3)),
        (Request(scale=2.0), (10, 14)),
        (Request(scale=0.5), (2, 4)),
        (Request(scale=0.001), (1, 1)),
    ],
)
def test_another_size_is_decoded_on_its_own_grid(request_: Request, shape: tuple[int, int]) -> None:
    assert decode(Known(np.array([1, 2, 3], np.uint8)), meta(7, 5), request_).shape == (*shape, 3)


@pytest.mark.parametrize(
    "request_",
    [
        Request(size=(0, 4)),
        Request(size=(2**24 + 1, 1)),
        Request(scale=0.0),
        Request(scale=-1.0),
        Request(scale=math.nan),
        Request(scale=math.inf),
    ],
)
def test_sizes_out_of_range_are_usage_errors(request_: Request) -> None:
    with pytest.raises(UsageError):
        decode(Known(pixels()), meta(7, 5), request_)


def test_output_limit_is_checked_before_the_field_is_asked() -> None:
    field = Known(pixels())
    with pytest.raises(OverLimit, match="--max-output"):
        decode(field, meta(7, 5), Request(scale=10.0), max_output=7 * 5 * 3 * 100 - 1)
    assert not field.asked


def test_non_finite_values_are_counted_and_refused() -> None:
    class Field:
        decode_chunk = 32_768

        def on_grid(self, grid: Grid, start: int, stop: int) -> torch.Tensor:
            values = torch.zeros(stop - start, 3)
            values[0], values[2, 1] = math.nan, math.inf
            return values

    with pytest.raises(UnreadableFile, match="non-finite values at 2 points") as caught:
        decode(Field(), meta(7, 5))
    assert caught.value.reason == "nonfinite"


def test_field_with_another_number_of_channels_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="4 values per pixel, its header says 3"):
        decode(Known(pixels(channels=4)), meta(7, 5, "RGB"))


# Writing


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".png", "PNG"),
        (".PNG", "PNG"),
        (".webp", "WEBP"),
        (".tif", "TIFF"),
        (".tiff", "TIFF"),
        (".bmp", "BMP"),
    ],
)
def test_written_pixels_are_the_decoded_ones(channels: int, suffix: str, kind: str) -> None:
    source = pixels(channels=channels)
    picture = Image.open(BytesIO(writing.write(source, meta(7, 5, list(CHANNELS)[channels - 1]), suffix, Request())))
    assert picture.format == kind
    wanted = Image.fromarray(source.squeeze(2) if channels == 1 else source)
    assert (np.asarray(picture.convert(wanted.mode)) == np.asarray(wanted)).all()


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_is_written_at_full_chroma(suffix: str) -> None:
    picture: Any = Image.open(BytesIO(writing.write(pixels(), meta(7, 5), suffix, Request())))
    assert picture.format == "JPEG"
    assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_into_jpeg_is_a_usage_error_that_names_what_can(channels: int) -> None:
    with pytest.raises(UsageError, match=r"\.png"):
        writing.write(pixels(channels=channels), meta(7, 5, list(CHANNELS)[channels - 1]), ".jpg", Request())


@pytest.mark.parametrize("suffix", ["", ".psd", ".wav", "png"])
def test_unknown_suffix_is_a_usage_error_that_lists_the_known(suffix: str) -> None:
    with pytest.raises(UsageError, match=r"\.png \.jpg \.webp \.tif \.bmp"):
        writing.write(pixels(), meta(7, 5), suffix, Request())


def test_sides_that_a_format_cannot_hold_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="16,383"):
        writing.write(np.zeros((1, 16_384, 3), np.uint8), meta(16_384, 1), ".webp", Request())


@pytest.mark.parametrize(
    ("kind", "suffix", "noted"),
    [
        ("PNG", ".png", False),
        ("JPEG", ".jpg", False),
        ("WEBP", ".webp", False),
        ("TIFF", ".tif", False),
        ("BMP", ".bmp", False),
    ],
)
def test_suffix_is_that_of_the_source(kind: str, suffix: str, noted: bool) -> None:
    found, note = writing.default_suffix(meta(7, 5, kind=kind))
    assert found == suffix
    assert (note is not None) == noted


@pytest.mark.parametrize("suffix", writing.SUFFIXES)
def test_every_suffix_that_is_offered_can_be_written_and_read(suffix: str) -> None:
    known = writing.FORMATS[writing.ALIASES.get(suffix, suffix)]
    mode = "RGB" if "RGB" in known.modes else "L"
    source = pixels(channels=CHANNELS[mode])
    if "u8" not in known.kinds:
        source = source.astype(np.float32) / 255
    elif suffix == ".gif":
        mode, source = "L", source[..., :1]
    picture = Picture(source, mode, source.dtype.itemsize * 8)
    of = image.to_signal("PNG", picture).meta
    data = writing.write(source, of, suffix, Request())
    assert image.load(data, "name" + suffix, image.Options(), Limits()).n == 35


# Measuring


def test_perfect_fit_measures_inf_and_one() -> None:
    signal = load(saved(pixels(16, 16), "PNG"))
    assert image.measure(Known(raster(signal)), signal, lambda share: None) == {
        "psnr": math.inf,
        "ssim": pytest.approx(1),
    }  # type: ignore[arg-type]


def test_psnr_counts_every_channel_with_alpha() -> None:
    source = pixels(16, 16, 4)
    source[..., :3] = 0  # black: nothing of it changes with alpha
    source[0, 0, :3] = 255, 254, 253
    signal = load(saved(source, "PNG"))
    wrong = raster(signal).copy()
    wrong[1:, :, 3] ^= 1
    measured = image.measure(Known(wrong), signal, lambda share: None)  # type: ignore[arg-type]
    assert measured["psnr"] == measured["psnr_raw"] == pytest.approx(10 * math.log10(255**2 / (15 / 16 / 4)))


def test_jpeg_is_also_measured_as_the_file_that_is_written() -> None:
    signal = load(saved(pixels(16, 16), "JPEG"))
    measured = image.measure(Known(raster(signal)), signal, lambda share: None)  # type: ignore[arg-type]
    assert measured["psnr"] == math.inf
    again = raster(load(writing.write(raster(signal), signal.meta, ".jpg", Request()))).astype(float)
    assert measured["psnr_in_file"] == pytest.approx(10 * math.log10(255**2 / np.mean((again - raster(signal)) ** 2)))


def test_estimate_is_the_psnr_of_what_would_be_written() -> None:
    signal = load(saved(np.array([[[0, 10], [20, 255]]], np.uint8), "PNG"))
    values = sample_types.UINT8_SCALE.values(torch.tensor([[0, 10], [20, 255]]))
    assert quality.estimate(values + 0.3 * 2 / 255, values, signal) == math.inf
    grey = load(saved(np.array([[[0], [10], [20], [255]]], np.uint8), "PNG"))
    values = values.reshape(4, 1)
    assert quality.estimate(values.clone().fill_(0), values, grey) == pytest.approx(
        10 * math.log10(255**2 / np.mean((np.array([0, 10, 20, 255]) - 128) ** 2))
    )


@pytest.mark.parametrize("top", [65_535, 70_000, -1, 2**31 - 1])
def test_a_32_bit_tiff_is_kept(top: int) -> None:
    values = np.array([[0, 257 * 100, 1], [3, 4, top]], np.int32)
    file = BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    signal = image.load(file.getvalue(), "x.tif", image.Options(), Limits())
    assert signal.samples.dtype == np.int32
    assert signal.samples[:, 0].tolist() == values.ravel().tolist()


def test_lab_becomes_srgb_with_a_note():
    """L* = 100 is white, L* = 0 black; TIFF stores a* and b* signed, so neutral is 0."""
    file = BytesIO()
    Image.fromarray(np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8), "LAB").save(file, "TIFF")
    signal = image.load(file.getvalue(), "x.tif", image.Options(), Limits())
    assert np.abs(raster(signal)[0].astype(int) - [[255, 255, 255], [0, 0, 0]]).max() <= 2
    assert "Lab converted to sRGB" in signal.notes

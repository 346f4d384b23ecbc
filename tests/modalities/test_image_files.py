"""Image formats besides PNG, JPEG, WebP, TIFF and BMP, metadata, and what written files keep."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import picture
from PIL import Image, ImageCms
from test_image_samples import png, ramp, round_trip, tiff

from inrfit.errors import OverLimit, UnreadableFile, UnsupportedInput, UsageError
from inrfit.io.limits import Limits
from inrfit.modalities import Request
from inrfit.modalities.image import formats, image, netpbm, quality, radiance, writing

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def load(data: bytes, name: str = "name", limits: Limits = Limits(), **options: Any) -> Any:
    return image.load(data, name, image.Options(**options), limits)


def raster(signal: Any) -> np.ndarray:
    return quality.source_raster(signal)


def writing_of(signal: Any, suffix: str) -> bytes:
    return writing.write(raster(signal), signal.meta, suffix, Request(), signal.attachments)


def saved(array: np.ndarray, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


# Formats


@pytest.mark.parametrize("kind", ["TGA", "QOI", "JPEG2000", "PPM", "GIF", "ICO"])
def test_further_formats_are_read_by_their_content(kind: str) -> None:
    source = picture(32, 32, 3)
    if kind == "GIF":
        source = np.repeat(source[..., :1] // 8 * 8, 3, axis=2)
    signal = load(saved(source, kind))
    np.testing.assert_array_equal(raster(signal), source)


@pytest.mark.parametrize("suffix", [".tga", ".qoi", ".jp2", ".ppm", ".pam", ".png", ".bmp", ".tif", ".webp", ".jxl"])
def test_lossless_formats_come_back_as_they_were(suffix: str) -> None:
    source = picture(17, 23, 3)
    data = writing.write(source, load(png(source)).meta, suffix, Request())
    np.testing.assert_array_equal(raster(load(data, "x" + suffix)), source)
    assert writing.default_suffix(load(data, "x" + suffix).meta)[0] in (suffix, ".ppm")


@pytest.mark.parametrize(
    ("text", "wanted", "bits"),
    [
        (b"P1 # comment\n3 2\n1 0 1\n010", [[0, 1, 0], [1, 0, 1]], 1),
        (b"P2\n3 1\n15\n0 7 15\n", [[0, 7, 15]], 4),
        (b"P4\n3 2\n\xa0\x40", [[0, 1, 0], [1, 0, 1]], 1),
        (b"P5 2 1 255\n\x05\x06", [[5, 6]], 8),
        (b"P5\n2 1\n65535\n\x01\x00\xff\xff", [[256, 65535]], 16),
        (b"P5\n2 1\n1023\n\x01\x00\x03\xff", [[256, 1023]], 10),
    ],
)
def test_netpbm_samples_keep_their_bits(text: bytes, wanted: Any, bits: int) -> None:
    signal = load(text)
    assert raster(signal)[..., 0].tolist() == wanted
    assert signal.meta["bits"] == bits
    np.testing.assert_array_equal(raster(load(round_trip(text)))[..., 0], wanted)


@pytest.mark.parametrize("scale", [b"-1.0", b"1.0"])
def test_pfm_is_read_in_either_byte_order_from_the_bottom_up(scale: bytes) -> None:
    source = ramp("float32", 3) * 3 - 1
    data = b"PF\n16 12\n" + scale + b"\n" + source[::-1].astype("<f4" if scale == b"-1.0" else ">f4").tobytes()
    np.testing.assert_array_equal(raster(load(data)), source)
    np.testing.assert_allclose(raster(load(round_trip(data))), source, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P5\n2 2\n255\nabc", "truncated"),
        (b"P5\n2 2\n0\nabcd", "header"),
        (b"P5\n2 x\n255\nabcd", "header"),
        (b"P2\n2 1\n255\n1 300", "corrupt"),
        (b"P2\n2 1\n255\n1 a", "corrupt"),
        (b"P3\n9999 9999\n255\n1 2 3", "truncated"),
        (b"P7\nWIDTH 2\nENDHDR\nab", "header"),
        (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\na", "truncated"),
        (b"Pf\n2 1\nnan\n12345678", "header"),
        (b"Pf\n2 1\n-1.0\n1234567", "truncated"),
    ],
)
def test_damaged_netpbm_is_refused_for_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        load(data)
    assert caught.value.reason == reason


def test_the_pixel_limit_holds_for_every_format() -> None:
    for data in (b"P5\n9999 9999\n255\n", b"#?RADIANCE\n\n-Y 9999 +X 9999\n", b"Pf\n9999 9999\n-1.0\n"):
        with pytest.raises(OverLimit, match="--max-pixels"):
            load(data, limits=Limits(max_pixels=1_000_000))


def hdr(rows: bytes, size: bytes = b"-Y 2 +X 8") -> bytes:
    return b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n" + size + b"\n" + rows


def test_radiance_runs_are_undone() -> None:
    row = b"\2\2\0\x08" + b"\x88\x40" + b"\x03abc\x85\x09" + b"\x88\x80" + b"\x88\x81"
    pixels = raster(load(hdr(row * 2)))
    assert pixels.shape == (2, 8, 3)
    assert pixels[0, 0].tolist() == [(0x40 + 0.5) / 128, (ord("a") + 0.5) / 128, (0x80 + 0.5) / 128]
    assert pixels[0, 7, 1] == (9 + 0.5) / 128
    old = b"\x40\x80\x20\x80" + b"\1\1\1\x07"
    np.testing.assert_array_equal(raster(load(hdr(old * 2)))[0, 0], raster(load(hdr(old * 2)))[1, 7])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [(b"\2\2\0\x08\x88\x40", "truncated"), (b"\2\2\0\x08\x89\x40\0\0", "corrupt"), (b"\2\2\0\x09\x88\x40", "corrupt")],
)
def test_damaged_radiance_is_refused(rows: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        load(hdr(rows))
    assert caught.value.reason == reason


def test_radiance_is_written_within_its_precision() -> None:
    source = np.exp2(np.random.default_rng(0).uniform(-9, 9, (9, 11, 3))).astype(np.float32)
    again = raster(load(radiance.write_radiance(source)))
    assert (np.abs(again - source).max(axis=2) <= source.max(axis=2) / 128).all()


@pytest.mark.parametrize("bands", [1, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_openexr_keeps_its_samples(bands: int, dtype: str) -> None:
    from inrfit.modalities.image.openexr import write_openexr

    source = (np.random.default_rng(0).random((9, 11, bands)) + 0.1).astype(dtype)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(bands, "bands")
    signal = load(write_openexr(source, mode))
    assert signal.meta["mode"] == mode
    np.testing.assert_allclose(raster(signal).astype(float), source, rtol=1e-3 if dtype == "float16" else 1e-6)
    written = raster(load(round_trip(write_openexr(source, mode))))
    assert written.dtype == source.dtype
    np.testing.assert_allclose(written.astype(float), source, rtol=2e-3)


def test_heic_and_jpeg_xl_are_read_by_their_plug_ins() -> None:
    source = picture(64, 64, 3)
    for suffix in (".heic", ".jxl"):
        signal = load(writing.write(source, load(png(source)).meta, suffix, Request()))
        assert raster(signal).shape == source.shape
        assert np.abs(raster(signal).astype(int) - source).mean() < 6


def test_a_tga_file_without_a_signature_is_known_by_its_name() -> None:
    source = picture(8, 8, 3)
    data = saved(source, "TGA")[:-26]
    np.testing.assert_array_equal(raster(load(data, "photo.TGA")), source)
    with pytest.raises(UnsupportedInput):
        load(data, "photo")


@pytest.mark.parametrize(
    ("array", "options", "mode"),
    [
        (ramp("uint16", 4), {"photometric": "separated"}, "CMYK"),
        (ramp("uint8", 5), {"photometric": "separated", "extrasamples": ["unassalpha"]}, "CMYKA"),
        (ramp("uint16", 2), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}, "LA"),
        (ramp("float32", 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, "RGBA"),
        (ramp("uint8", 7), {"photometric": "minisblack"}, "bands"),
        (ramp("uint8", 4), {"photometric": "rgb", "extrasamples": ["unspecified"]}, "bands"),
    ],
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_of_any_channels_is_what_its_tags_say(array: np.ndarray, options: Any, mode: str, planar: str) -> None:
    stored = array if planar == "contig" else np.moveaxis(array, -1, 0)
    signal = load(tiff(stored, planarconfig=planar, **options))
    assert signal.meta["mode"] == mode
    np.testing.assert_array_equal(raster(signal), array)


def test_associated_alpha_is_divided_in_the_precision_of_the_file() -> None:
    alpha = np.linspace(6000, 65535, 12 * 16).reshape(12, 16, 1)
    colours = np.random.default_rng(0).integers(0, 65536, (12, 16, 3))
    stored = np.concatenate([colours * alpha / 65535, alpha], axis=2).round().astype(np.uint16)
    signal = load(tiff(stored, photometric="rgb", extrasamples=["assocalpha"]))
    assert np.abs(raster(signal)[..., :3].astype(int) - colours).max() <= 65535 / 6000
    assert "premultiplied alpha divided out" in signal.notes


@pytest.mark.parametrize(("frame", "note"), [(1, "page 1 of 3 used (choose one with --page)"), (3, "page 3 of 3 used")])
def test_a_page_is_chosen_and_the_others_are_counted(frame: int, note: str) -> None:
    pages = np.stack([picture(8, 8, 1, seed=seed)[..., 0] for seed in range(3)])
    signal = load(tiff(pages, photometric="minisblack"), frame=frame)
    np.testing.assert_array_equal(raster(signal)[..., 0], pages[frame - 1])
    assert any(found.startswith(note) for found in signal.notes)
    with pytest.raises(UsageError, match="3 pages"):
        load(tiff(pages, photometric="minisblack"), frame=4)


def test_a_frame_of_an_animation_is_chosen() -> None:
    frames = [picture(8, 8, 3, seed=seed) for seed in range(3)]
    others = [Image.fromarray(frame) for frame in frames[1:]]
    data = saved(frames[0], "WEBP", save_all=True, append_images=others, lossless=True)
    np.testing.assert_array_equal(raster(load(data, frame=2)), frames[1])
    with pytest.raises(UsageError, match="3 pictures"):
        load(data, frame=4)


def test_slices_without_pages_are_counted() -> None:
    file = BytesIO()
    tifffile.imwrite(file, np.zeros((8, 9), np.uint8), description="ImageJ=1.11a\nimages=5\nslices=5\n", metadata=None)
    assert "1 of 5 slices used: the others have no pages of their own" in load(file.getvalue()).notes


def test_compressions_that_imagecodecs_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("<COMPRESSION.ZSTD: 50000> requires the 'imagecodecs' package")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda self, *args, **kwargs: (_ for _ in ()).throw(error))
    with pytest.raises(UnsupportedInput, match="ZSTD") as caught:
        load(tiff(ramp("float32")[..., 0]))
    assert caught.value.reason == "compression"


@pytest.mark.parametrize("cut", [20, 60, -1])
def test_truncated_tiff_is_refused(cut: int) -> None:
    with pytest.raises(UnreadableFile):
        load(tiff(ramp("uint16", 3), photometric="rgb")[:cut])


# Metadata


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_profile_and_exif_come_back_without_orientation_and_position(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera", 6
    exif.get_ifd(0x8769)[0x9003] = "2026:11:29 12:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    signal = load(saved(picture(16, 24, 3), kind, icc_profile=PROFILE, exif=exif))
    assert signal.attachments["icc"] == PROFILE
    if kind != "TIFF":  # Pillow does not write it there
        assert any("GPS position not kept" in note for note in signal.notes)
    again: Any = Image.open(BytesIO(round_trip(saved(picture(16, 24, 3), kind, icc_profile=PROFILE, exif=exif))))
    assert again.info["icc_profile"] == PROFILE
    found = again.getexif()
    assert found.get(0x010F) == "Camera"
    assert found.get(0x0112, 1) == 1
    assert not found.get_ifd(0x8825)
    if kind != "TIFF":
        assert found.get_ifd(0x8769).get(0x9003) == "2026:11:29 12:00:00"


@pytest.mark.parametrize("block", [False, True])
def test_a_caption_of_tiff_comes_back_without_empty_blocks_of_exif(block: bool) -> None:
    exif = Image.Exif()
    exif[270], exif[315] = "a caption", "somebody"
    if block:
        exif.get_ifd(0x8769)[0x829A] = 0.5
    data = saved(picture(16, 24, 3), "TIFF", exif=exif.tobytes())
    assert not any("not kept" in note for note in load(data).notes)
    with tifffile.TiffFile(BytesIO(round_trip(data))) as file:
        tags = {tag.code: tag.value for tag in file.pages[0].tags}  # type: ignore[union-attr]
    assert (tags[270], tags[315]) == ("a caption", "somebody")
    assert (0x8769 in tags, 0x8825 in tags) == (block, False)
    assert tags[259] == (1 if block else 5)  # without EXIF blocks it is compressed


def test_position_and_maker_notes_are_kept_on_request_and_everything_is_dropped_on_request() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8769)[0x927C] = b"maker"
    data = saved(picture(16, 24, 3), "JPEG", icc_profile=PROFILE, exif=exif, dpi=(300, 150))
    kept = load(data)
    assert {note.partition(" not kept")[0] for note in kept.notes} == {"GPS position", "maker notes of the camera"}
    every = load(data, metadata="all")
    assert every.notes == ()
    again = Image.Exif()
    again.load(every.attachments["exif"])
    assert again.get_ifd(0x8825)[1] == "N"
    assert again.get_ifd(0x8769)[0x927C] == b"maker"
    dropped = load(data, metadata="drop")
    assert dropped.attachments == {}
    assert dropped.meta["density"] is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_density_comes_back(kind: str) -> None:
    data = saved(picture(16, 24, 3), kind, dpi=(300, 150))
    again: Any = Image.open(BytesIO(round_trip(data)))
    assert [round(value) for value in again.info["dpi"]] == [300, 150]


def test_the_shape_of_pixels_survives_an_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    signal = load(saved(picture(16, 24, 3), "JPEG", exif=exif, dpi=(300, 150)))
    assert (signal.meta["density"]["x"], signal.meta["density"]["y"]) == (150, 300)


def chunk(kind: bytes, content: bytes) -> bytes:
    import zlib

    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"gAMA", struct.pack(">I", 100_000)),
        chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)),
        chunk(b"cICP", b"\x09\x10\0\x01"),
        chunk(b"sRGB", b"\0"),
        chunk(b"sRGB", b"\3"),
        chunk(b"pHYs", struct.pack(">IIB", 2000, 1000, 1)),
        chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0)),
    ],
)
def test_chunks_about_colour_and_density_come_back(added: bytes) -> None:
    data = png(picture(16, 24, 3))
    signal = load(data[:33] + added + data[33:])
    assert signal.notes == ()
    assert added in round_trip(data[:33] + added + data[33:])


def test_the_code_points_of_avif_come_back_in_png() -> None:
    data = saved(picture(16, 24, 3), "AVIF", quality=90)
    at = data.index(b"colrnclx") + 8
    hdr = data[:at] + bytes([0, 9, 0, 16]) + data[at + 4 :]  # BT.2020 with PQ
    assert b"cICP\x09\x10\0\x01" in writing_of(load(hdr), ".png")
    assert load(data).meta["colour"] is None
    assert any("transfer curve" in note for note in image.check_writable(load(hdr).meta, ".avif", Request()))


def test_large_metadata_is_not_kept_and_named() -> None:
    huge = PROFILE[:128] + bytes(200_000)
    signal = load(saved(picture(16, 24, 3), "PNG", icc_profile=huge))
    assert signal.attachments == {}
    assert any(note.startswith("ICC profile of 200,128 bytes not kept") for note in signal.notes)


def test_what_another_format_does_not_keep_is_told() -> None:
    data = saved(picture(16, 24, 3), "PNG", icc_profile=PROFILE, dpi=(300, 300))
    signal = load(data)
    notes = image.check_writable(signal.meta, ".tga", Request(), signal.attachments)
    assert "TGA does not keep the colour profile: colours may look different" in notes
    assert "TGA does not keep the pixel density" in notes
    assert image.check_writable(signal.meta, ".png", Request(), signal.attachments) == []


def test_gain_map_and_film_are_named() -> None:
    data = saved(picture(16, 24, 3), "JPEG", xmp=b'<x hdrgm:Version="1.0" GCamera:MotionPhoto="1"/>')
    notes = load(data).notes
    assert any(note.startswith("HDR gain map not kept") for note in notes)
    assert "film behind the picture not kept" in notes


# Writing


@pytest.mark.parametrize(
    ("array", "suffix", "message"),
    [
        (ramp("uint16", 3), ".jpg", "--bits 8"),
        (ramp("float32", 3), ".png", "floating-point"),
        (ramp("uint8", 4), ".jpg", "--background"),
        (ramp("uint8", 7), ".png", "7 channels"),
        (ramp("int16", 1), ".png", "signed"),
        (picture(8, 8, 3), ".gif", "palette"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_decoding(array: np.ndarray, suffix: str, message: str) -> None:
    extra = {"photometric": "rgb" if array.shape[2] in (3, 4) else "minisblack"}
    extra |= {"planarconfig": "contig"} if array.shape[2] > 1 else {}
    if array.shape[2] == 4:
        extra["extrasamples"] = ["unassalpha"]
    meta = load(tiff(array if array.shape[2] > 1 else array[..., 0], **extra)).meta
    with pytest.raises(UsageError, match=message):
        image.check_writable(meta, suffix, Request())


def test_bits_and_background_make_a_jpeg_of_anything() -> None:
    source = ramp("uint16", 4)
    source[..., 3] = 32768
    data = tiff(source, photometric="rgb", extrasamples=["unassalpha"])
    signal = load(data)
    request = Request(bits=8, background="white", image_quality=100)
    written = writing.write(source, signal.meta, ".jpg", request, {})
    wanted = (source[..., :3] / 65535 * 0.5 + 0.5) * 255
    assert np.abs(raster(load(written)).astype(float) - wanted).max() < 5
    with pytest.raises(UsageError, match="colour"):
        image.check_writable(signal.meta, ".jpg", Request(bits=8, background="bleu"))


def test_a_background_without_an_alpha_channel_is_told() -> None:
    meta = load(saved(picture(16, 24, 3), "PNG")).meta
    notes = image.check_writable(meta, ".png", Request(background="white"))
    assert notes == ["--background has no effect: the picture has no alpha channel"]


def test_an_opaque_alpha_channel_needs_no_background() -> None:
    source = np.concatenate([picture(16, 16, 3), np.full((16, 16, 1), 255, np.uint8)], axis=2)
    signal = load(png(source))
    notes = image.check_writable(signal.meta, ".jpg", Request())
    assert any("opaque everywhere" in note for note in notes)
    assert Image.open(BytesIO(writing.write(source, signal.meta, ".jpg", Request()))).mode == "RGB"


def test_image_quality_makes_smaller_files_and_is_told_where_it_does_nothing() -> None:
    source = picture(64, 64, 3)
    meta = load(png(source)).meta
    for suffix in (".jpg", ".webp", ".avif"):
        sizes = [len(writing.write(source, meta, suffix, Request(image_quality=q))) for q in (10, 90)]
        assert sizes[0] < sizes[1]
    assert any("no effect" in note for note in image.check_writable(meta, ".png", Request(image_quality=50)))


def test_cmyk_keeps_its_four_channels() -> None:
    source = picture(16, 16, 4)
    file = BytesIO()
    Image.fromarray(source, mode="CMYK").save(file, "TIFF")
    signal = load(file.getvalue())
    assert signal.meta["mode"] == "CMYK"
    assert Image.open(BytesIO(round_trip(file.getvalue()))).mode == "CMYK"


def test_every_format_that_is_read_has_a_suffix_to_write() -> None:
    meta = load(png(picture(8, 8, 3))).meta
    for name in formats.FORMATS:
        suffix, _ = writing.default_suffix(meta | {"format": name.upper()})
        assert suffix in writing.FORMATS


def test_netpbm_reader_refuses_unknown_kinds() -> None:
    with pytest.raises(UnsupportedInput):
        netpbm.read_netpbm(b"P9\n", Limits(), [])


# Kinds that a review found


def test_one_bit_colour_keeps_its_colours() -> None:
    signal = load(b"P6\n4 1\n1\n" + bytes([1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1]))
    for suffix in (".png", ".tif", ".bmp"):
        again = raster(load(writing.write(raster(signal), signal.meta, suffix, Request())))
        assert again[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    assert "1-bit samples are scaled to 8 bits" in image.check_writable(signal.meta, ".png", Request())


@pytest.mark.parametrize(("bits", "suffix", "largest"), [(5, ".png", 255), (3, ".tif", 255), (12, ".png", 65535)])
def test_samples_of_few_bits_fill_the_range_of_the_format(bits: int, suffix: str, largest: int) -> None:
    top = (1 << bits) - 1
    body = struct.pack(">3H", 0, top // 2, top) if bits > 8 else bytes([0, top // 2, top])
    signal = load(b"P5\n3 1\n%d\n" % top + body)
    again = raster(load(writing.write(raster(signal), signal.meta, suffix, Request())))
    assert again.ravel().tolist() == [0, round(top // 2 * largest / top), largest]
    assert any("scaled" in note for note in image.check_writable(signal.meta, suffix, Request()))


def test_a_page_of_compressed_16_bit_tiff_is_the_one_that_was_asked_for() -> None:
    pages = [Image.fromarray(ramp("uint16")[..., 0] + np.uint16(k)) for k in range(2)]
    file = BytesIO()
    pages[0].save(file, "TIFF", compression="tiff_lzw", save_all=True, append_images=pages[1:])
    assert raster(load(file.getvalue(), frame=2))[0, 0, 0] == ramp("uint16")[0, 0, 0] + 1


@pytest.mark.parametrize(
    ("factor", "bits", "note"),
    [(257, 8, None), (256, 8, None), (1, 8, "palette written back as RGB"), (255, 16, "palette written back as RGB")],
)
def test_a_tiff_palette_keeps_the_bits_of_its_colours(factor: int, bits: int, note: str | None) -> None:
    colours = np.arange(256, dtype=np.uint16)[::-1] * np.stack([[factor]] * 3).astype(np.uint16)
    indices = ramp("uint8")[..., 0]
    signal = load(tiff(indices, photometric="palette", colormap=colours))
    wanted = colours.T[indices] if bits == 16 else (255 - indices)[..., None].repeat(3, axis=2)
    np.testing.assert_array_equal(raster(signal), wanted)
    assert signal.meta["bits"] == bits
    assert signal.notes == (() if note is None else (note,))


@pytest.mark.parametrize("photometric", [8, 9])
def test_lab_samples_of_16_bits_are_named(photometric: int) -> None:
    data = tiff(ramp("uint16", 3), photometric=photometric)
    assert "Lab samples kept as three channels without a colour space" in load(data).notes


def test_transparent_palette_entries_become_one_in_gif() -> None:
    source = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(1, 4), "P")
    source.putpalette([10, 0, 0, 20, 0, 0, 30, 0, 0, 40, 0, 0])
    file = BytesIO()
    source.save(file, "PNG", transparency=bytes([0, 255, 0, 255]))
    signal = load(file.getvalue())
    again = Image.open(BytesIO(writing.write(raster(signal), signal.meta, ".gif", Request()))).convert("RGBA")
    assert np.asarray(again)[0, :, 3].tolist() == [0, 255, 0, 255]
    notes = image.check_writable(signal.meta, ".tif", Request())
    assert "a palette with transparency is written as colours" in notes


def test_openexr_colours_are_multiplied_by_alpha_in_the_file_only() -> None:
    from inrfit.modalities.image.openexr import write_openexr

    straight = np.full((3, 4, 4), 0.5, np.float32)
    straight[0, 0, 0] = 1
    stored = write_openexr(straight, "RGBA")
    np.testing.assert_allclose(raster(load(stored)), straight)
    import OpenEXR

    with OpenEXR.File(BytesIO(stored), separate_channels=True) as file:
        assert file.parts[0].channels["R"].pixels[1, 1] == 0.25


def test_the_density_of_a_turned_tiff_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    signal = load(saved(picture(16, 24, 3), "TIFF", exif=exif, dpi=(300, 150)))
    assert (signal.meta["density"]["x"], signal.meta["density"]["y"]) == (150, 300)


def test_jpeg_2000_keeps_16_bit_grey_and_refuses_16_bit_colour() -> None:
    grey = ramp("uint16")
    signal = load(tiff(grey[..., 0]))
    np.testing.assert_array_equal(raster(load(writing.write(grey, signal.meta, ".jp2", Request()))), grey)
    colour = load(tiff(ramp("uint16", 3), photometric="rgb"))
    with pytest.raises(UsageError, match="16 bits for grey only"):
        image.check_writable(colour.meta, ".jp2", Request())


def test_a_frame_of_gif_without_a_palette_is_written_as_png() -> None:
    meta = load(png(picture(8, 8, 3))).meta | {"format": "GIF"}
    assert writing.default_suffix(meta)[0] == ".png"


@pytest.mark.parametrize(
    "change",
    [
        {"density": {"x": 1e12, "y": 1e12, "unit": "metre"}},
        {"density": {"x": 1e-3, "y": 1e12, "unit": "inch"}},
        {"colour": {"gamma": 1e5, "chromaticities": [1e5] * 8, "cicp": [255] * 4, "srgb": None}},
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tif"])
def test_extreme_headers_are_written_within_the_limits_of_the_format(change: Any, suffix: str) -> None:
    source = picture(8, 8, 3)
    meta = load(png(source)).meta | change
    attachments = {"exif": b"\xff" * 70, "icc": b"x"} if suffix != ".jpg" else {"exif": b"\xff" * 70}
    Image.open(BytesIO(writing.write(source, meta, suffix, Request(), attachments))).load()


def test_a_number_type_that_does_not_match_the_bits_is_refused() -> None:
    meta = load(png(picture(8, 8, 3))).meta
    with pytest.raises(ValueError, match="uint16"):
        image.check_meta(meta | {"scale": meta["scale"] | {"dtype": "uint16"}})

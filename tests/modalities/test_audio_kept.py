"""What sounds keep besides their samples: speaker positions, valid bits, tags; further containers; lower rates."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import soundfile
from test_audio import decode, equal, file, load, sound, wav

from inrfit.errors import UnreadableFile, UnsupportedInput, UsageError
from inrfit.io.limits import Limits
from inrfit.modalities import Request
from inrfit.modalities.audio import audio, flac, resampling, speakers, writing

TONES = (200, 300, 500, 60, 1100, 1300, 1700, 1900)
"""One per speaker, in the order of WAV; that of LFE is low, because lossy codecs keep nothing else of it."""


def tones(channels: int, rate: int = 48_000) -> np.ndarray:
    time = np.arange(rate // 2) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * tone * time) for tone in TONES[:channels]], axis=1)


def strongest(samples: np.ndarray, rate: int = 48_000) -> list[int]:
    """The strongest of TONES in each channel."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))[:, None], axis=0))
    bins = [round(tone * len(samples) / rate) for tone in TONES]
    return [TONES[int(channel.argmax())] for channel in spectrum[bins].T]


def extensible(mask: int, channels: int, valid: int = 16, bits: int = 16) -> bytes:
    """A WAV file with an extensible header."""
    data = file(tones(channels), "WAVEX", f"PCM_{bits}", 48_000)
    at = data.index(b"fmt ") + 8
    return data[: at + 18] + struct.pack("<HI", valid, mask) + data[at + 24 :]


def fmt_of(data: bytes) -> tuple[int, int]:
    """Valid bits and speaker mask of an extensible WAV file."""
    at = data.index(b"fmt ") + 8
    assert data[at : at + 2] == b"\xfe\xff"
    return struct.unpack("<HI", data[at + 18 : at + 24])


def round_trip(data: bytes, suffix: str | None = None, request: Request = Request()) -> bytes:
    signal = load(data)
    decoded = decode(signal, request)
    return writing.write(decoded, signal.meta, suffix or writing.suffix(signal.meta)[0], request, signal.attachments)


# Speakers


@pytest.mark.parametrize(("channels", "mask"), [(6, 0x3F), (6, 0x60F), (8, 0x63F), (5, 0x37), (3, 0x7)])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus"])
def test_each_tone_stays_on_its_speaker(channels: int, mask: int, suffix: str) -> None:
    written = round_trip(extensible(mask, channels), suffix)
    samples, _ = soundfile.read(io.BytesIO(written), always_2d=True)
    if suffix in (".ogg", ".opus"):
        order = [speakers.VORBIS_ORDERS[channels].index(bit) for bit in speakers._BITS if _twin(bit, channels)]
        samples = samples[:, order]
    assert strongest(samples) == list(TONES[:channels])
    again = load(written)
    assert strongest(again.samples) == list(TONES[:channels])
    if suffix in (".wav", ".flac"):
        assert again.meta["mask"] == mask


def _twin(bit: int, channels: int) -> bool:
    return bit in speakers.VORBIS_ORDERS[channels]


def test_a_mask_of_no_positions_is_kept() -> None:
    assert fmt_of(round_trip(extensible(0, 6)))[1] == 0


def test_valid_bits_are_kept() -> None:
    data = extensible(3, 2, valid=20, bits=24)
    assert load(data).meta["valid_bits"] == 20
    assert fmt_of(round_trip(data)) == (20, 3)


def test_positions_that_a_format_has_not_are_told() -> None:
    signal = load(extensible(0x3F, 6))
    assert any("speaker positions" in note for note in writing.check_writable(signal.meta, ".aiff", Request()))
    signal = load(extensible(0x1F0, 5))
    assert any("own speaker positions" in note for note in writing.check_writable(signal.meta, ".ogg", Request()))


def test_fields_of_before_keep_the_order_that_they_were_fitted_in() -> None:
    meta = load(file(tones(6), "OGG", "VORBIS", 48_000)).meta
    old = {key: value for key, value in meta.items() if key not in ("mask", "valid_bits", "tags")}
    upgraded = audio.META_BEFORE_3.upgrade(old)
    samples = tones(6).astype(np.float32)
    written, _ = soundfile.read(io.BytesIO(writing.write(samples, upgraded, ".ogg", Request())))
    assert strongest(written)[:3] == list(TONES[:3])


# Containers


@pytest.mark.parametrize(
    ("kind", "suffix"), [("AIFF", ".aiff"), ("AU", ".au"), ("CAF", ".caf"), ("W64", ".w64"), ("RF64", ".wav")]
)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_further_containers_come_back_as_they_were(kind: str, suffix: str, subtype: str) -> None:
    source = load(file(sound(400, 2), kind, subtype))
    assert source.meta["format"] == kind
    written = round_trip(file(sound(400, 2), kind, subtype))
    assert writing.suffix(source.meta)[0] == suffix
    again = load(written)
    assert (again.meta["format"], again.meta["subtype"]) == (kind, subtype)
    assert equal(again.samples, source.samples)


@pytest.mark.parametrize("kind", ["AIFF", "AU", "CAF", "W64", "RF64"])
def test_truncated_containers_are_refused(kind: str) -> None:
    data = file(sound(400, 2), kind)
    for cut in (len(data) - 100, len(data) // 2, 30, 14):
        with pytest.raises(UnreadableFile):
            load(data[:cut])


def test_opus_files_stay_opus() -> None:
    signal = load(file(sound(4800), "OGG", "OPUS", 48_000))
    assert writing.suffix(signal.meta)[0] == ".opus"
    assert soundfile.info(io.BytesIO(round_trip(file(sound(4800), "OGG", "OPUS", 48_000)))).subtype == "OPUS"
    with pytest.raises(UsageError, match="Opus has the rates"):
        writing.check_writable(load(file(sound(400), rate=11_025)).meta, ".opus", Request())


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"OggS\0\2" + bytes(20) + b"\1\5\x7fFLAC", "FLAC in Ogg"),
        (b"OggS\0\2" + bytes(20) + b"\1\x08Speex   ", "Speex in Ogg"),
    ],
)
def test_other_codecs_in_ogg_are_named(data: bytes, match: str) -> None:
    from inrfit.modalities.audio.containers import _ogg_crc

    page = data[:22] + _ogg_crc(data).to_bytes(4, "little") + data[26:]
    with pytest.raises(UnsupportedInput, match=match):
        load(page)


def test_two_data_chunks_are_refused_by_name() -> None:
    data = wav(b"abcd")
    extra = b"data" + struct.pack("<I", 4) + b"efgh"
    with pytest.raises(UnsupportedInput, match="two data chunks"):
        load(data[:4] + struct.pack("<I", len(data) - 8 + len(extra)) + data[8:] + extra)


def test_a_tag_before_the_sound_is_skipped_and_named() -> None:
    data = b"ID3\3\0\0\0\0\0\x0a" + bytes(10) + wav(b"abcd")
    signal = load(data)
    assert signal.n == 2
    assert signal.notes == ("ID3 tag before the sound not kept",)


def aac(container: str = "mp4") -> bytes:
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as target:
        stream = target.add_stream("aac", rate=44_100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(tones(2, 44_100).T.astype(np.float32)), format="fltp", layout="stereo"
        )
        frame.sample_rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            target.mux(packet)
    return buffer.getvalue()


def test_m4a_is_read_by_its_content() -> None:
    signal = load(aac())
    assert signal.meta["format"] == "M4A"
    assert signal.channels == 2
    assert strongest(signal.samples[:22_050], 44_100) == list(TONES[:2])
    assert writing.suffix(signal.meta) == (".wav", "M4A is written as WAV")
    assert any(note.startswith("AAC is lossy") for note in signal.notes)


def test_damaged_m4a_is_refused() -> None:
    with pytest.raises(UnreadableFile):
        load(aac()[:200])


# Metadata


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    data = file(sound(400))
    more = b"".join(tag + struct.pack("<I", len(body)) + body + bytes(len(body) & 1) for tag, body in chunks)
    return data[:4] + struct.pack("<I", len(data) - 8 + len(more)) + data[8:] + more


def test_chunks_of_wav_come_back_as_they_were() -> None:
    chunks = [(b"bext", b"broadcast" * 70), (b"cue ", struct.pack("<I", 0)), (b"iXML", b"<x/>!")]
    data = with_chunks(*chunks)
    signal = load(data)
    assert signal.notes == ()
    written = round_trip(data)
    for tag, body in chunks:
        assert tag + struct.pack("<I", len(body)) + body in written
    assert struct.unpack("<I", written[4:8])[0] == len(written) - 8
    notes = writing.check_writable(signal.meta, ".flac", Request(), signal.attachments)
    assert "FLAC does not keep: broadcast data, cue points, iXML" in notes
    assert b"cue " not in round_trip(data, request=Request(rate=4000))
    slower = writing.check_writable(signal.meta, ".wav", Request(rate=4000), signal.attachments)
    assert "WAV does not keep: cue points" in slower


def test_unknown_chunks_are_named() -> None:
    assert load(with_chunks((b"junQ", b"1234"))).notes == ("chunks not kept: junQ",)


def tagged_flac(*texts: str) -> bytes:
    return flac.with_metadata(file(sound(400), "FLAC"), b"", None, list(texts))


def test_comments_of_flac_come_back_and_common_ones_go_everywhere() -> None:
    data = tagged_flac("TITLE=Song", "REPLAYGAIN_TRACK_GAIN=-7 dB", "LYRICS=la")
    signal = load(data)
    assert signal.meta["tags"] == {"title": "Song"}
    block = next(content for kind, content in _blocks(round_trip(data)) if kind == flac.COMMENT)
    assert flac.comments(block) == ["TITLE=Song", "REPLAYGAIN_TRACK_GAIN=-7 dB", "LYRICS=la"]
    for suffix in (".wav", ".ogg", ".aiff"):
        written = round_trip(data, suffix)
        with soundfile.SoundFile(io.BytesIO(written)) as target:
            assert target.title == "Song"
        notes = writing.check_writable(signal.meta, suffix, Request(), signal.attachments)
        assert any("does not keep: REPLAYGAIN_TRACK_GAIN, LYRICS" in note for note in notes)
    assert load(round_trip(file(sound(400), "FLAC"), ".wav")).meta["tags"] == {}


def _blocks(data: bytes) -> list[tuple[int, bytes]]:
    return [(kind, data[start : start + size]) for kind, start, size in flac._blocks(data)]


def test_tags_of_wav_go_into_flac() -> None:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8000, 1, "PCM_16", format="WAV") as target:
        target.artist = "Somebody"
        target.write(sound(400))
    assert load(round_trip(buffer.getvalue(), ".flac")).meta["tags"] == {"artist": "Somebody"}
    assert load(round_trip(buffer.getvalue(), ".wav")).meta["tags"] == {"artist": "Somebody"}


def test_large_blocks_are_named_and_nothing_is_kept_on_request() -> None:
    content = b"name" + bytes(100_000)
    block = bytes([flac.APPLICATION]) + len(content).to_bytes(3, "big") + content
    data = flac.with_metadata(file(sound(400), "FLAC"), block, None, [])
    assert any(note.startswith("application data of 100,008 bytes not kept") for note in load(data).notes)
    tagged = tagged_flac("TITLE=Song", "X=y")
    dropped = audio.load(tagged, "name", audio.Options(metadata="drop"), Limits())
    assert dropped.attachments == {}
    assert dropped.meta["tags"] == {}


def id3(*frames: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + len(content).to_bytes(4, "big") + b"\0\0" + content for name, content in frames)
    size = len(body)
    return b"ID3\3\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + body


def test_frames_of_id3_are_named_in_words() -> None:
    from inrfit.modalities.audio import tags

    data = id3((b"TIT2", b"\0Song"), (b"APIC", b"picture"), (b"USLT", b"text"), (b"TBPM", b"\x00120"))
    assert tags.id3_losses(data) == ["cover", "lyrics", "TBPM"]


# Rates and clipping


@pytest.mark.parametrize(("rate", "lower"), [(8000, 4000), (44_100, 8000), (48_000, 44_100), (16_000, 11_025)])
def test_a_lower_rate_keeps_low_tones_and_removes_high_ones(rate: int, lower: int) -> None:
    time = (np.arange(rate) + 0.5) / rate
    low, high = (np.sin(2 * np.pi * tone * time)[:, None] for tone in (0.2 * lower, 0.55 * lower))
    middle = slice(lower // 4, 3 * lower // 4)
    wanted = np.sin(2 * np.pi * 0.2 * lower * (np.arange(lower) + 0.5) / lower)
    kept = resampling.downsample(low, rate, lower, lower)[:, 0]
    np.testing.assert_allclose(kept[middle], wanted[middle], atol=2e-4)
    if 0.55 * lower < rate / 2:
        removed = resampling.downsample(high, rate, lower, lower)[middle]
        assert 20 * np.log10(np.abs(removed).max()) < -60


def test_decoding_at_a_lower_rate_filters_first() -> None:
    tone = 0.8 * np.sin(2 * np.pi * 3000 * np.arange(8000) / 8000)
    decoded = decode(load(file(tone[:, None])), Request(rate=4000))
    assert decoded.dtype == np.int16
    assert len(decoded) == 4000
    assert np.abs(decoded[200:-200]).max() <= 32768 * 10 ** (-60 / 20)


def test_a_constant_stays_constant_at_a_lower_rate() -> None:
    constant = np.full((900, 2), 0.5)
    np.testing.assert_allclose(resampling.downsample(constant, 9, 4, 400), 0.5, atol=1e-4)


def test_clipped_samples_are_counted() -> None:
    samples = np.array([[0.5], [1.5], [-2.0], [1.0]], np.float32)
    signal = load(file(samples, "WAV", "FLOAT"))
    assert writing.losses(samples, signal.meta, ".flac", Request()) == ["3 of 4 samples clipped to full scale"]
    assert writing.losses(samples, signal.meta, ".wav", Request()) == []
    notes = writing.check_writable(signal.meta, ".flac", Request())
    assert "FLOAT is written as PCM_24: fewer bits than the source has" in notes


@pytest.mark.parametrize("request_", [Request(rate=10**9), Request(rate=0), Request(rate=768_001)])
def test_rates_out_of_range_are_refused_before_anything_is_decoded(request_: Request) -> None:
    meta = load(file(sound(10))).meta
    with pytest.raises(UsageError, match="768000"):
        writing.check_writable(meta, ".wav", request_)


def test_sizes_that_a_container_cannot_hold_are_refused_before_anything_is_decoded() -> None:
    meta: dict[str, Any] = load(file(sound(10))).meta | {"frames": 2**33}
    with pytest.raises(UsageError, match=r"\.w64"):
        writing.check_writable(meta, ".wav", Request())
    writing.check_writable(meta, ".rf64", Request())


def test_a_meta_that_contradicts_itself_is_refused() -> None:
    meta = load(file(sound(10))).meta
    audio.check_meta(meta)
    for change in ({"tags": {"mood": "x"}}, {"scale": meta["scale"] | {"high": 2.0**31}}):
        with pytest.raises(ValueError):
            audio.check_meta(meta | change)


# Kinds that a review found


@pytest.mark.parametrize("suffix", writing.TARGETS)
def test_tags_go_where_they_can_and_are_named_where_they_cannot(suffix: str) -> None:
    signal = load(tagged_flac("TITLE=Song", "ALBUM=Album", "LICENSE=CC0"))
    meta = signal.meta | {"rate": 48_000}
    written = writing.write(signal.samples, meta, suffix, Request(), signal.attachments)
    notes = " ".join(writing.check_writable(meta, suffix, Request(), signal.attachments))
    found = load(written).meta["tags"]
    for name in ("title", "album", "license"):
        assert (name in found) != (name in notes.partition("does not keep:")[2]), name


def test_further_values_of_a_tag_and_lists_of_wav_are_named() -> None:
    signal = load(tagged_flac("ARTIST=One", "ARTIST=Two", "COMMENT=" + "x" * 5000))
    notes = writing.check_writable(signal.meta, ".ogg", Request(), signal.attachments)
    assert "OGG does not keep: the end of a long comment, further artist" in notes
    assert len(load(round_trip(tagged_flac("COMMENT=" + "x" * 3000), ".ogg")).meta["tags"]["comment"]) == 3000
    info = b"INFO" + b"".join(tag + struct.pack("<I", 4) + b"abc\0" for tag in (b"IART", b"IENG"))
    signal = load(with_chunks((b"LIST", info), (b"LIST", b"adtllabl" + struct.pack("<I", 4) + bytes(4))))
    notes = writing.check_writable(signal.meta, ".flac", Request(), signal.attachments)
    assert "FLAC does not keep: IENG, labels" in notes
    assert writing.check_writable(signal.meta, ".wav", Request(), signal.attachments) == []


def test_chunks_after_the_sound_of_rf64_are_kept_or_named() -> None:
    data = file(sound(400), "RF64") + b"bext" + struct.pack("<I", 4) + b"abcd" + b"junQ" + struct.pack("<I", 2) + b"ab"
    signal = load(data)
    assert signal.attachments["riff"].startswith(b"bext")
    assert "chunks not kept: junQ" in signal.notes
    assert "RF64 does not keep: broadcast data" in writing.check_writable(
        signal.meta, ".rf64", Request(), signal.attachments
    )


@pytest.mark.parametrize("mask", [0, 0x30])
def test_unusual_masks_go_into_flac(mask: int) -> None:
    written = round_trip(extensible(mask, 2 if mask else 6), ".flac")
    assert load(written).meta["mask"] == mask


def test_made_up_attachments_are_left_out() -> None:
    signal = load(file(sound(400)))
    hostile = {"riff": b"data\4\0\0\0abcd" + b"LIST\xff\0\0\0ab", "flac": b"\x06\0\0\x50abc" + b"\x00\0\0\x01a"}
    for suffix in (".wav", ".flac"):
        written = writing.write(signal.samples, signal.meta, suffix, Request(), hostile)
        assert equal(load(written).samples, signal.samples)


def test_rates_that_need_an_endless_filter_are_refused() -> None:
    meta = load(file(sound(10))).meta | {"rate": 2**31 - 1}
    with pytest.raises(UsageError, match="cannot be resampled"):
        writing.check_writable(meta, ".wav", Request(rate=44_100))


@pytest.mark.parametrize("bits", [12, 20, 32])
def test_flac_of_unusual_bits_is_refused_by_kind(bits: int) -> None:
    data = bytearray(file(sound(400), "FLAC"))
    at = int.from_bytes(data[20:22], "big") & ~(31 << 4) | (bits - 1) << 4
    data[20:22] = at.to_bytes(2, "big")
    with pytest.raises(UnsupportedInput, match=f"{bits} bits"):
        load(bytes(data))


def test_chunks_of_big_endian_files_are_read_in_their_order() -> None:
    data = bytearray(file(sound(400), "WAV", "PCM_16", 8000, "BIG"))
    data += b"cue " + (4).to_bytes(4, "big") + bytes(4)
    data[4:8] = (len(data) - 8).to_bytes(4, "big")
    assert b"cue " in round_trip(bytes(data))
    assert b"cue " not in round_trip(bytes(data), request=Request(rate=4000))

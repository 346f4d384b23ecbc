"""Sound: what goes in comes out, and what does not add up is refused."""

from __future__ import annotations

import contextlib
import io
import math
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from inrfit.errors import OverLimit, RefusedInput, UnreadableFile, UnsupportedInput, UsageError
from inrfit.io.json_schema import check
from inrfit.io.limits import Limits
from inrfit.modalities import Request
from inrfit.modalities.audio import audio, writing
from inrfit.signal import Scale

LOSSLESS = [
    *(("WAV", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("WAVEX", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    *(("FLAC", s) for s in ("PCM_S8", "PCM_16", "PCM_24")),
]


class Perfect:
    """A field that knows the signal: the nearest source sample, in float64 (a double may be off by a
    rounding)."""

    decode_chunk, point_chunk = 1 << 15, 1 << 16

    def __init__(self, signal):
        raw = torch.from_numpy(signal.samples).double()
        self.values = raw * signal.scale.factor

    def on_grid(self, grid, start, stop):
        position = (torch.arange(start, stop).double() + 0.5) / grid.n * len(self.values)
        return self.values[position.long()]


def sound(frames=300, channels=1, seed=0):
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (frames, channels))


def file(samples, kind="WAV", subtype="PCM_16", rate=8000, endian=None):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, subtype, endian, kind)
    return buffer.getvalue()


def load(data, **limits):
    return audio.load(data, "name", audio.Options(), Limits(**limits))


def equal(a, b):
    return np.allclose(a, b, rtol=1e-15, atol=0) if b.dtype == np.float64 else np.array_equal(a, b)


def decode(signal, request=Request(), limits=Limits()):
    return audio.decode(Perfect(signal), signal.meta, request, limits, lambda share: None)


def wav(body, code=1, channels=1, rate=8000, bits=16, size=None, riff=None):
    align = channels * bits // 8
    layout = struct.pack("<HHIIHH", code, channels, rate, rate * align % 2**32, align, bits)
    size = len(body) if size is None else size
    inner = b"WAVEfmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", size) + body
    return b"RIFF" + struct.pack("<I", len(inner) if riff is None else riff) + inner


def test_a_rate_beyond_those_of_libsndfile_is_refused_by_name():
    with pytest.raises(UnsupportedInput, match="a sample rate of 4,294,967,295 Hz: at most 2,147,483,647 are read"):
        load(wav(bytes(100), rate=2**32 - 1))


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("kind", "subtype"), LOSSLESS)
def test_samples_and_kind_come_back_the_same(kind, subtype, channels):
    signal = load(file(sound(channels=channels), kind, subtype, rate=12345))
    check(dict(signal.meta), audio.META, "meta")
    assert (signal.n, signal.channels, signal.meta["rate"]) == (300, channels, 12345)
    again = load(writing.write(decode(signal), signal.meta, writing.suffix(signal.meta)[0], Request()))
    assert again.samples.dtype == signal.samples.dtype
    assert equal(again.samples, signal.samples)
    assert {**again.meta, "scale": 0} == {**signal.meta, "scale": 0}


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_big_endian_wav_stays_big_endian(subtype):
    signal = load(file(sound(), "WAV", subtype, endian="BIG"))
    data = writing.write(decode(signal), signal.meta, ".wav", Request())
    assert data[:4] == b"RIFX"
    assert equal(load(data).samples, signal.samples)


@pytest.mark.parametrize("codec", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_32"])
def test_telephone_codecs_keep_their_length_and_codec(codec):
    data = bytearray(file(sound(1000) * 0.1, "WAV", codec))
    fact = data.index(b"fact") + 8
    data[fact : fact + 4] = (1000).to_bytes(4, "little")
    signal = load(bytes(data))
    assert signal.n == 1000
    again = load(writing.write(decode(signal), signal.meta, ".wav", Request()))
    assert (again.n, again.meta["subtype"]) == (1000, codec)
    assert any("lossy" in note for note in signal.notes)


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_ogg_keeps_codec_length_and_roughly_the_sound(codec):
    tone = 0.5 * np.sin(np.arange(200_000) * 0.05)[:, None]
    signal = load(file(tone, "OGG", codec, rate=48000))
    again = load(writing.write(decode(signal), signal.meta, ".ogg", Request()))
    assert (again.n, again.meta["subtype"]) == (200_000, codec)
    assert np.square(again.samples - signal.samples).mean() < 0.01 * np.square(signal.samples).mean()


def test_mp3_is_read_and_comes_back_as_16_bit_wav():
    signal = load(file(0.5 * np.sin(np.arange(20_000) * 0.05), "MP3", "MPEG_LAYER_III", rate=44100))
    assert (signal.n, signal.meta["format"]) == (20_000, "MP3")
    assert writing.suffix(signal.meta)[0] == ".wav"
    again = load(writing.write(decode(signal), signal.meta, ".wav", Request()))
    assert again.meta["subtype"] == "PCM_16"
    assert np.abs(again.samples / 32768 - signal.samples).max() <= 0.5001 / 32768


def test_samples_are_the_files_own_numbers():
    expected = np.array([[-32768], [32767], [0], [1]], np.int16)
    signal = load(file(expected))
    assert signal.samples.dtype == np.int16
    assert np.array_equal(signal.samples, expected)
    assert (signal.scale.factor, signal.scale.low, signal.scale.high) == (1 / 32768, -32768, 32767)


@pytest.mark.parametrize(("kind", "subtype", "step"), [("WAV", "PCM_U8", 256), ("FLAC", "PCM_24", 256)])
def test_values_between_samples_round_to_what_the_source_can_hold(kind, subtype, step):
    scale = load(file(sound(), kind, subtype)).scale
    raw = scale.raw(torch.linspace(-3, 3, 1001))
    assert torch.equal(raw, (raw / step).round() * step)
    assert (raw.min(), raw.max()) == (scale.low, scale.high)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_truncated_sound_is_refused_or_has_a_note(kind):
    data = file(sound(400), kind, "VORBIS" if kind == "OGG" else "PCM_16")
    whole = load(data)
    for length in range(len(data)):
        with contextlib.suppress(RefusedInput):
            assert load(data[:length]).notes != whole.notes, length


def test_a_truncated_mp3_is_refused_without_output_on_stderr(capfd):
    data = file(sound(20_000), "MP3", "MPEG_LAYER_III", rate=44100)
    for length in range(len(data) - 1, 0, -97):
        with pytest.raises(RefusedInput):
            load(data[:length])
    assert capfd.readouterr().err == ""


def test_a_truncated_wav_says_how_much_is_missing():
    with pytest.raises(UnreadableFile, match="says 600 bytes of samples, the file has 500") as caught:
        load(file(sound())[:-100])
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(("size", "riff"), [(0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0, 36), (0x7FFFF000, 0x7FFFF024)])
def test_a_streamed_wav_is_read_to_its_end_with_a_note(size, riff):
    body = np.arange(50, dtype="<i2")
    signal = load(wav(body.tobytes(), size=size, riff=riff))
    assert np.array_equal(signal.samples[:, 0], body)
    assert any("streamed" in note for note in signal.notes)


def test_a_flac_with_one_wrong_bit_is_refused():
    data = file(np.cumsum(sound(2000), axis=0) / 100, "FLAC")
    for position in range(data.index(b"\xff\xf8"), len(data), 37):
        damaged = bytearray(data)
        damaged[position] ^= 4
        with pytest.raises(RefusedInput):
            load(bytes(damaged))


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_an_ogg_with_one_wrong_bit_is_refused(codec):
    data = file(sound(2000), "OGG", codec, rate=16000)
    assert load(data).n == 2000
    for position in range(4, len(data), 97):
        damaged = bytearray(data)
        damaged[position] ^= 4
        with pytest.raises(RefusedInput):
            load(bytes(damaged))


def test_a_damaged_mp3_prints_nothing_on_stderr(capfd):
    data = file(sound(20_000), "MP3", "MPEG_LAYER_III", rate=44100)
    for position in range(300, len(data), 41):
        with contextlib.suppress(RefusedInput):
            load(data[:position] + b"\xff\x00\xff" + data[position + 3 :])
    assert capfd.readouterr().err == ""


def test_a_flac_without_a_length_is_refused():
    data = bytearray(file(sound(), "FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    with pytest.raises(UnreadableFile, match="length not recorded"):
        load(bytes(data))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_a_sample_that_is_not_finite_is_refused_with_its_position(subtype, bad):
    samples = sound(70_000, 2)
    samples[69_000, 1] = bad
    with pytest.raises(UnreadableFile, match="sample 69000 of channel 1") as caught:
        load(file(samples, "WAV", subtype))
    assert caught.value.reason == "nonfinite"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF\4\0\0\0WAVE",
        b"fLaC",
        b"OggS",
        b"ID3\4\0\0\0\0\0\0",
        wav(b""),
        wav(b"abcd", channels=0),
        wav(b"abcd", rate=0),
        wav(b"abcd", rate=2**32 - 1),
        wav(b"abcd", bits=0),
        wav(b"abcd", code=0x7777),
    ],
)
def test_files_without_samples_are_refused(data):
    with pytest.raises(RefusedInput):
        load(data)


@pytest.mark.parametrize("kind", ["VOC", "NIST"])
def test_unsupported_sound_formats_are_refused_with_the_list_of_supported_ones(kind):
    data = file(sound(), kind)
    assert audio.sniff(data)
    with pytest.raises(UnsupportedInput, match="WAV, RF64, W64, AIFF, AU, CAF, FLAC, OGG, MP3"):
        load(data)


def test_other_content_is_not_recognised_as_sound():
    for data in (
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"solid x",
        "text".encode("utf-16"),
        b"RIFFxxxxWEBP",
    ):
        assert not audio.sniff(data)


def test_limits_hold_before_samples_are_read():
    with pytest.raises(OverLimit, match="--max-samples"):
        load(file(sound(300)), max_samples=299)
    with pytest.raises(OverLimit, match="--max-channels"):
        load(file(sound(10, 5)), max_channels=4)
    with pytest.raises(OverLimit, match="--max-output"):
        decode(load(file(sound(300))), limits=Limits(max_output=599))
    assert load(file(sound(300)), max_samples=300).n == 300


@pytest.mark.parametrize("peak", [0.0, 1e-45, 1e-30, 5.0, 3e38])
@pytest.mark.parametrize("frames", [1, 2, 100])
def test_silence_denormals_and_huge_floats_come_back(frames, peak):
    samples = np.full((frames, 1), peak, np.float32)
    signal = load(file(samples, "WAV", "FLOAT"))
    values = signal.scale.values(torch.from_numpy(signal.samples))
    assert torch.allclose(values, torch.full_like(values, 1.0 if peak else 0.0))
    assert np.array_equal(decode(signal), samples)
    assert 0 < audio.first_omega(signal)[0] < math.inf
    measured = audio.measure(Perfect(signal), signal, lambda share: None)
    assert math.isnan(measured["snr"]) if not peak else measured["snr"] == math.inf


@pytest.mark.parametrize("peak", [5e-324, 1e-200, 1.7e308])
def test_the_range_of_doubles_does_not_overflow(peak):
    signal = load(file(np.array([[peak], [-peak / 2], [0]]), "WAV", "DOUBLE"))
    check(dict(signal.meta), audio.META, "meta")
    assert torch.isfinite(signal.scale.values(torch.from_numpy(signal.samples))).all()
    audio.measure(Perfect(signal), signal, lambda share: None)


def test_what_is_not_kept_is_noted():
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8000, 1, "PCM_24", format="WAV") as target:
        target.title = "a\x1b[31mtitle"
        target.write(sound())
    signal = load(buffer.getvalue())
    assert "24 bits" in " ".join(signal.notes)
    (note,) = [
        n for n in writing.check_writable(signal.meta, ".caf", Request(), signal.attachments) if "keep" in n
    ] or [""]
    assert "\x1b" not in note
    assert load(file(sound())).notes == ()


def test_another_rate_keeps_the_duration():
    signal = load(file(sound(300), rate=8000))
    doubled = decode(signal, Request(rate=16000))
    assert np.array_equal(doubled, np.repeat(signal.samples, 2, axis=0))
    data = writing.write(doubled, signal.meta, ".wav", Request(rate=16000))
    assert (load(data).n, load(data).meta["rate"]) == (600, 16000)
    assert len(decode(signal, Request(rate=1))) == 1


def test_a_rate_of_zero_is_a_usage_error():
    with pytest.raises(UsageError):
        decode(load(file(sound())), Request(rate=0))


@pytest.mark.parametrize(("kind", "subtype"), [*LOSSLESS, ("OGG", "VORBIS"), ("OGG", "OPUS")])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_every_subtype_can_be_written_to_every_container(kind, subtype, suffix):
    signal = load(file(sound(400, 2), kind, subtype, rate=16000))
    again = load(writing.write(decode(signal), signal.meta, suffix, Request()))
    assert (again.n, again.channels, again.meta["rate"]) == (400, 2, 16000)
    if suffix != ".ogg":
        before, after = (
            s.samples / {2: 2**15, 4: 2**31}[s.samples.itemsize] if s.samples.dtype.kind == "i" else s.samples
            for s in (signal, again)
        )
        assert np.abs(np.clip(before, -1, 1) - after).max() <= 2**-15


def test_floats_beyond_full_scale_are_clipped_where_they_become_integers():
    signal = load(file(np.array([[2.0], [-3.0], [0.5]], np.float32), "WAV", "FLOAT"))
    again = load(writing.write(decode(signal), signal.meta, ".flac", Request()))
    assert again.samples[:, 0].tolist() == [2**31 - 256, -(2**31), 2**30]


def test_what_a_container_cannot_hold_is_a_usage_error():
    signal = load(file(sound(10, 9)))
    with pytest.raises(UsageError, match=r"9 channels at 8000 Hz cannot be written as \.flac"):
        writing.write(decode(signal), signal.meta, ".flac", Request())
    with pytest.raises(UsageError, match=r"\.wav, \.flac, \.ogg"):
        writing.write(decode(signal), signal.meta, ".mp3", Request())


def ogg_of(rate):
    """A Vorbis file whose header gives this rate, checksum included."""
    data = bytearray(file(sound(2000), "OGG", "VORBIS", rate=48000))
    place = data.index(b"\x01vorbis") + 12
    data[place : place + 4] = rate.to_bytes(4, "little")
    first = 27 + data[26] + sum(data[27 : 27 + data[26]])
    data[22:26] = bytes(4)
    data[22:26] = ogg_crc(data[:first]).to_bytes(4, "little")
    return bytes(data)


def ogg_crc(page):
    """Bit by bit: polynomial 0x04C11DB7, from the high bit down, starting at 0."""
    found = 0
    for byte in page:
        found ^= byte << 24
        for _ in range(8):
            found = (found << 1 ^ (0x04C11DB7 if found >> 31 else 0)) & 0xFFFFFFFF
    return found


def test_an_ogg_file_that_could_not_be_written_back_is_refused():
    assert load(ogg_of(200_000)).meta["rate"] == 200_000
    for rate in (200_001, 2**31 - 1):
        with pytest.raises(
            UnsupportedInput, match=rf"1 channels at {rate} Hz is not supported \(at most 255 channels and 200000 Hz\)"
        ):
            load(ogg_of(rate))


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize(("rate", "channels"), [(200_000, 1), (200_000, 255), (8000, 255), (1, 2)])
def test_ogg_is_written_up_to_its_limits(subtype, rate, channels):
    meta = dict(load(file(sound(2, 1), "WAV", subtype)).meta) | {"channels": channels, "rate": rate}
    writing.check_writable(meta, ".ogg", Request())
    data = writing.write(np.zeros((1000, channels), meta["scale"]["dtype"]), meta, ".ogg", Request())
    again = load(data, max_channels=255)
    assert (again.n, again.channels, again.meta["rate"]) == (1000, channels, rate)


REFUSED_TWICE = """
import sys
import numpy as np
from inrfit.errors import UsageError
from inrfit.modalities import Request
from inrfit.modalities.audio import writing

rate, channels, wanted = map(int, sys.argv[2:])
meta = {"format": "OGG", "subtype": sys.argv[1], "endian": "FILE", "rate": rate, "channels": channels, "frames": 9}
meta["scale"] = {"dtype": "float32"}
request, decoded = Request(rate=wanted or None), np.zeros((9, channels), np.float32)
for refuse in (writing.check_writable, lambda *how: writing.write(decoded, *how)):
    try:
        refuse(meta, ".ogg", request)
    except UsageError as error:
        print(error)
"""


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
@pytest.mark.parametrize(
    ("rate", "channels", "request_"),
    [(200_001, 1, Request()), (48_000, 256, Request()), (48_000, 1024, Request()), (48_000, 1, Request(rate=10**9))],
)
def test_ogg_beyond_its_limits_is_refused_before_libsndfile_would_crash(codec, rate, channels, request_):
    """In a process of its own: without the refusal that process dies."""
    words = [codec, str(rate), str(channels), str(request_.rate or 0)]
    done = subprocess.run([sys.executable, "-c", REFUSED_TWICE, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"holds at most 255 channels|must be from 1 to 768000 Hz", done.stdout)) == 2


@pytest.mark.parametrize(("suffix", "request_"), [(".flac", Request(rate=700_000)), (".flac", Request(rate=65_537))])
def test_what_libsndfile_refuses_is_refused_before_a_sound_is_decoded(suffix, request_):
    meta = load(file(sound(10))).meta
    with pytest.raises(UsageError, match=rf"{request_.rate} Hz cannot be written as \{suffix}"):
        writing.check_writable(meta, suffix, request_)
    writing.check_writable(meta, ".wav", request_)


@pytest.mark.parametrize(("kind", "subtype"), [*LOSSLESS, ("OGG", "VORBIS"), ("OGG", "OPUS"), ("WAV", "GSM610")])
@pytest.mark.parametrize("suffix", writing.TARGETS)
def test_what_can_be_written_passes_the_check(kind, subtype, suffix):
    writing.check_writable(load(file(sound(400), kind, subtype)).meta, suffix, Request())


def test_the_same_sound_gives_the_same_bytes():
    signal = load(file(sound(), "WAV", "FLOAT"))
    data = writing.write(decode(signal), signal.meta, ".wav", Request())
    peak = data.index(b"PEAK")
    assert data[peak + 12 : peak + 16] == bytes(4)


def test_fields_with_nan_or_other_channels_are_refused():
    signal = load(file(sound()))
    broken = Perfect(signal)
    broken.values[7] = math.nan
    with pytest.raises(UnreadableFile) as caught:
        audio.decode(broken, signal.meta, Request(), Limits(), lambda share: None)
    assert caught.value.reason == "nonfinite"
    with pytest.raises(UnreadableFile, match="has 1 values per sample, its header says 2 channels"):
        audio.decode(Perfect(signal), {**signal.meta, "channels": 2}, Request(), Limits(), lambda share: None)


def test_quality_is_the_snr_of_the_numbers_in_the_file():
    signal = load(file(sound(1000)))
    truth = signal.samples.astype(float)
    off = Perfect(signal)
    off.values = off.values * 1.01
    expected = 10 * math.log10((truth**2).mean() / ((np.round(truth * 1.01) - truth) ** 2).mean())
    true = signal.scale.values(torch.from_numpy(signal.samples))
    assert audio.measure(off, signal, lambda share: None)["snr"] == pytest.approx(expected)
    assert audio.estimate(off.values.float(), true, signal) == pytest.approx(expected, abs=0.01)
    assert audio.estimate(true, true, signal) == math.inf
    assert audio.estimate(true * 0, true * 0, signal) == math.inf
    assert audio.estimate(true, true * 0, signal) == -math.inf


def test_lossy_subtypes_are_also_measured_after_writing():
    signal = load(file(np.sin(np.arange(5000) * 0.05) / 2, "OGG", "VORBIS"))
    measured = audio.measure(Perfect(signal), signal, lambda share: None)
    assert measured["snr"] > 100
    assert 5 < measured["snr_in_file"] < 60
    assert "snr_in_file" not in audio.measure(Perfect(load(file(sound()))), load(file(sound())), lambda s: None)


def test_the_first_frequency_follows_the_sound_and_its_duration():
    def omega(frequency, seconds):
        time = np.arange(int(8000 * seconds)) / 8000
        return audio.first_omega(load(file(np.sin(2 * np.pi * frequency * time) / 2)))[0]

    assert omega(1000, 2) == omega(1000, 2)
    assert omega(1000, 10) > omega(1000, 2)
    assert omega(3000, 2) >= omega(1000, 2)
    assert audio.first_omega(load(file(np.full((1000, 1), 0.5)))) == (audio.LOWEST_OMEGA,)


def test_describe_source_names_length_rate_channels_and_subtype():
    meta = load(file(sound(24800), "FLAC", rate=8000)).meta
    assert audio.describe_source(meta) == "3.10 s, 8000 Hz, 1 channel, FLAC PCM_16"


def test_a_sound_is_read_without_torch(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(file(sound()))
    code = (
        "import sys; from inrfit.modalities.audio import audio; from inrfit.io.limits import Limits;"
        "audio.load(open(sys.argv[1], 'rb').read(), 'a', audio.Options(), Limits());"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 0


def test_meta_with_an_invalid_scale_is_refused():
    meta = dict(load(file(sound())).meta)
    for strange in ({"dtype": "uint8"}, {"factor": 0}, {"factor": -1.0}):
        with pytest.raises(ValueError):
            check({**meta, "scale": {**meta["scale"], **strange}}, audio.META, "meta")
    assert Scale.from_json(meta["scale"]).dtype == "int16"


def test_describe_decoded_uses_the_requested_rate():
    meta = {"rate": 8000, "channels": 2, "frames": 8000}
    decoded = np.zeros((4000, 2), np.int16)
    assert audio.describe_decoded(decoded, meta, ".wav", Request(rate=4000)) == "1.00 s, 4000 Hz, 2 channels"
    assert audio.describe_decoded(decoded[:, :1], meta, ".wav", Request()) == "0.50 s, 8000 Hz, 1 channel"

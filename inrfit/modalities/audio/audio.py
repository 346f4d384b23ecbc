"""Sound: WAV, FLAC, Ogg and MP3 files as functions of time, and back.

Raw samples are the file's own numbers (``sample_formats`` says in which type). All channels are one signal over
time, scaled by their common peak.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InrfitError, UnreadableFile, UnsupportedInput, UsageError, printable
from ...io import json_schema
from ...io.limits import Limits
from ...signal import CHUNK, SCALE, Grid, Scale, Signal
from .. import metrics
from ..modality import OnProgress, Request
from . import containers, sample_formats
from .sample_formats import BLOCK, Array
from .writing import check_rate, suffix, write

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

FORMATS: tuple[str, ...] = containers.READ
SUFFIXES: tuple[str, ...] = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
LOWEST_OMEGA, HIGHEST_OMEGA = 500.0, 4500.0
SHARE, QUANTILE = 0.2, 0.95
"""The rule of ``first_omega``."""

META: json_schema.Schema = {
    "format": json_schema.one_of("WAV", "WAVEX", "FLAC", "OGG", "MP3"),
    "subtype": json_schema.one_of(
        *sample_formats.PCM, *sample_formats.FLOATS, *sample_formats.MPEG, *sample_formats.PHONE
    ),
    "endian": json_schema.one_of("FILE", "LITTLE", "BIG"),
    "rate": json_schema.integer(1, 2**31 - 1),
    "channels": json_schema.integer(1, 65_535),
    "frames": json_schema.integer(1, 2**40),
    "scale": {
        **SCALE,
        "dtype": json_schema.one_of("int16", "int32", "float32", "float64"),
        "factor": json_schema.number(1e-310, 1e300),
    },
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Sound has no settings."""


def sniff(data: bytes) -> bool:
    """Whether the content is sound by its signature, of a format read here or not."""
    return containers.signature(data) is not None


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The sound as a signal over its frames. Every fault of the bytes is a ``RefusedInput``."""
    try:
        return _load(data, limits)
    except InrfitError:
        raise
    except Exception as error:
        why = printable(getattr(error, "error_string", None) or error or type(error).__name__)
        raise UnreadableFile(f"damaged or cut short: {why}", "decode") from error


def _load(data: bytes, limits: Limits) -> Signal:
    import soundfile

    container = containers.examine(data)
    with containers.quiet(container.kind), soundfile.SoundFile(io.BytesIO(container.data)) as file:
        claimed = _claim(file, container)
        _require_ogg_source(container.kind, file.samplerate, file.channels)
        limits.require("max_channels", file.channels, "channels")
        limits.require("max_samples", claimed, "samples per channel")
        scale = sample_formats.raw_scale(file.subtype)
        samples = _read(file, scale.dtype)
        if len(samples) != claimed and not container.loose:
            raise UnreadableFile(f"header says {claimed:,} samples, found {len(samples):,}", "truncated")
        if file.subtype in sample_formats.BLOCKS:
            samples = samples[: _without_padding(container.frames, claimed)]
        meta: dict[str, Any] = {
            "format": file.format,
            "subtype": file.subtype,
            "endian": file.endian,
            "rate": file.samplerate,
            "channels": file.channels,
        }
        notes = (*container.notes, *_notes(meta, list(file.copy_metadata())))
    if not len(samples):
        raise UnreadableFile("there are no samples in it", "empty")
    if container.md5 and sample_formats.md5(samples, meta["subtype"]) != container.md5:
        raise UnreadableFile("damaged: the samples do not match the file's own checksum", "checksum")
    scale = dataclasses.replace(scale, factor=1 / _peak(samples))
    meta |= {"frames": len(samples), "scale": dataclasses.asdict(scale)}
    return Signal("", samples, scale, meta, Grid((len(samples),)), notes=notes)


def _claim(file: Any, container: containers.Container) -> int:
    """Frames that the decoder announces, once kind, codec and the container's own count agree with it."""
    kinds = ("WAV", "WAVEX") if container.kind == "WAV" else (container.kind,)
    codecs = (
        sample_formats.MPEG
        if container.kind == "MP3"
        else (*sample_formats.PCM, *sample_formats.FLOATS, *sample_formats.PHONE)
    )
    if file.format not in kinds or file.subtype not in codecs:
        raise UnsupportedInput(f"{file.format} {file.subtype} sound is not read", "format")
    claimed, told = int(file.frames), container.frames
    if told is not None and told != claimed and file.subtype not in sample_formats.BLOCKS:
        raise UnreadableFile(f"header says {told:,} samples, the decoder {claimed:,}", "header")
    return claimed


def _require_ogg_source(kind: str, rate: int, channels: int) -> None:
    """Raises ``UnsupportedInput`` for an Ogg file that can be read and not be written: ``measure`` writes one after the
    fit, and ``decode`` would have to."""
    if kind == "OGG" and sample_formats.beyond_ogg(rate, channels):
        most = f"at most {sample_formats.OGG_CHANNELS} channels and {sample_formats.OGG_RATE} Hz are written"
        what = f"an Ogg file of {channels} channels at {rate} Hz, of which {most}"
        raise UnsupportedInput(f"{what}: convert it to WAV first", "ogg.range")


def _without_padding(told: int | None, decoded: int) -> int:
    """The sound's own length where its codec decodes to whole blocks and the header tells it credibly."""
    return told if told and decoded - BLOCK < told <= decoded else decoded


def _read(file: Any, dtype: str) -> Array:
    """All frames (n, c), read in blocks; refuses the first sample that is not finite."""
    blocks: list[Array] = []
    total = 0
    while True:
        block = file.read(BLOCK, dtype=dtype, always_2d=True)
        if dtype.startswith("float") and not np.isfinite(block).all():
            index, channel = np.argwhere(~np.isfinite(block))[0]
            what = f"is {block[index, channel]} (counted from 0)"
            raise UnreadableFile(f"sample {total + index} of channel {channel} {what}", "nonfinite")
        total += len(block)
        blocks.append(block)
        if len(block) < BLOCK:
            return np.ascontiguousarray(np.concatenate(blocks))


def _peak(samples: Array) -> float:
    """The largest magnitude, so that raw / peak is in [-1, 1]; 1 for silence, and 1e-300 for less than that:
    the reciprocal of a denormal double is infinite."""
    peak = max(float(samples.max()), -float(samples.min()))
    return max(peak, 1e-300) if peak else 1.0


def _notes(meta: Mapping[str, Any], tags: list[str]) -> list[str]:
    """What will not come back."""
    subtype, notes = meta["subtype"], []
    if subtype in ("PCM_24", "PCM_32", "DOUBLE"):
        fine = "samples of 24 bits and more are fitted in float32 arithmetic"
        notes.append(f"{fine}: precision beyond 24 bits cannot be kept")
    if subtype in sample_formats.LOSSY:
        notes.append(f"{subtype} is lossy: its decoded samples are fitted, and writing it loses again")
    if meta["endian"] == "BIG" and meta["format"] == "WAVEX":
        notes.append("written back as a big-endian WAV without the extensible header")
    if tags:
        notes.append(f"tags not kept: {', '.join(map(printable, tags))}")
    return notes


def from_array(array: Array, rate: int) -> bytes:
    """A sound (n,) or (n, c), int16 or float, at ``rate`` Hz, as the WAV it would be; else ``UsageError``."""
    import soundfile

    subtypes = {"int16": "PCM_16", "float32": "FLOAT", "float64": "DOUBLE"}
    if array.dtype.name not in subtypes or array.ndim not in (1, 2) or not array.size or rate < 1:
        raise UsageError("a sound must be int16 or float, (n,) or (n, c), with a rate in Hz", "array")
    buffer = io.BytesIO()
    soundfile.write(buffer, array, rate, subtype=subtypes[array.dtype.name], format="WAV")
    return buffer.getvalue()


def first_omega(signal: Signal) -> float:
    """The first layer's frequency factor, in radians per unit of a time axis from -1 to 1.

    SHARE pi f T, where 95 % of the energy lies below f (Hz) and T is the duration (s): a tone of f Hz has pi f T, and
    the hidden layers multiply frequencies. Measured by tests/bench/omega.py and by hand (docs/benchmarks.md): on
    speech, a cello and an orchestra the SNR still rises at 5,500; on a trumpet it falls from 16.8 dB at 3,500 to 4.5 at
    6,000, and at 9,000 the cello is lost. Hence the upper bound; the lower one was tried on a single short tone."""
    window = min(signal.n, 32_768)
    power = np.zeros(window // 2 + 1)
    for start in np.linspace(0, signal.n - window, min(64, -(-signal.n // window))).astype(int):
        block = signal.samples[start : start + window] * np.float64(signal.scale.factor)
        spectrum = np.fft.rfft((block - block.mean(axis=0)) * np.hanning(window + 2)[1:-1, None], axis=0)
        power += np.square(np.abs(spectrum)).sum(axis=1)
    total = np.cumsum(power[1:])
    if not len(total) or not total[-1] > 0:
        return LOWEST_OMEGA
    cycles = (1 + int(np.searchsorted(total, QUANTILE * total[-1]))) / window
    omega = SHARE * math.pi * cycles * signal.n
    return min(max(omega, LOWEST_OMEGA), HIGHEST_OMEGA)


def estimate(predicted: Tensor, values: Tensor, scale: Scale) -> float:
    """SNR in dB of all channels pooled, both sides clamped and rounded as the file would hold them. inf when
    equal, silence included, so that a perfect fit of silence ranks first (``measure`` calls it nan:
    undefined)."""
    truth = scale.raw(values) * scale.factor
    noise = (scale.raw(predicted) * scale.factor - truth).square().mean().item()
    return metrics.decibels(truth.square().mean().item(), noise) if noise else math.inf


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Array:
    """Raw samples (n, c) in the source's type; another rate asks the field at the centres of that many cells
    over the same duration. Raises ``UsageError``, ``OverLimit``, ``UnreadableFile`` (weights that give
    NaN)."""
    check_rate(request)
    frames = meta["frames"]
    if request.rate is not None:
        frames = max(1, round(frames * request.rate / meta["rate"]))
    size = frames * meta["channels"] * np.dtype(meta["scale"]["dtype"]).itemsize
    limits.require("max_output", size, "bytes of decoded samples")
    return _samples(field, meta, frames, on_progress)


def _samples(field: Field, meta: Mapping[str, Any], frames: int, on_progress: OnProgress) -> Array:
    """``frames`` raw samples, in chunks."""
    import torch

    scale, grid = Scale(**meta["scale"]), Grid((frames,))
    decoded = np.empty((frames, meta["channels"]), scale.dtype)
    for start in range(0, frames, 4 * CHUNK):
        stop = min(start + 4 * CHUNK, frames)
        values = field.on_grid(grid, start, stop)
        if values.shape[1] != meta["channels"]:
            raise UnreadableFile(f"a field of {values.shape[1]} channels for {meta['channels']}", "channels")
        if not bool(torch.isfinite(values).all()):
            raise UnreadableFile("the weights give values that are not finite", "nonfinite")
        decoded[start:stop] = scale.raw(values).numpy()
        on_progress(stop / frames)
    return decoded


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """The whole sound's "snr", "si_snr" and "psnr" in dB. The peak of psnr is the full scale of the sample
    type: 2^15 for int16, 2^31 for int32, 1 for floats. "snr_in_file" for lossy codings: after writing and
    reading back."""
    import soundfile

    meta, source = signal.meta, signal.samples
    decoded = _samples(field, meta, signal.n, on_progress)
    peak = 1.0 if source.dtype.kind == "f" else 2.0 ** (8 * source.itemsize - 1)
    mine, true = decoded, source
    if source.dtype == np.float64:  # whose squares could overflow
        factor = signal.scale.factor
        mine, true, peak = decoded * factor, source * factor, peak * factor
    found = {
        "snr": metrics.snr(mine, true),
        "si_snr": metrics.si_snr(mine, true),
        "psnr": metrics.psnr(mine, true, peak),
    }
    if meta["subtype"] in sample_formats.LOSSY:
        data = write(decoded, meta, suffix(meta)[0], Request())
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            heard = _read(file, meta["scale"]["dtype"])
        both = min(len(heard), signal.n)
        found["snr_in_file"] = metrics.snr(heard[:both], source[:both])
    return found


def describe_source(meta: Mapping[str, Any]) -> str:
    """Duration, rate, channels, coding."""
    return f"{_told(meta['frames'], meta['rate'], meta['channels'])}, {meta['format']} {meta['subtype']}"


def describe_decoded(decoded: Array, meta: Mapping[str, Any], request: Request) -> str:
    """Duration, rate, channels."""
    return _told(decoded.shape[0], request.rate or meta["rate"], decoded.shape[1])


def _told(frames: int, rate: int, channels: int) -> str:
    return f"{frames / rate:.2f} s, {rate} Hz, {'1 channel' if channels == 1 else f'{channels} channels'}"

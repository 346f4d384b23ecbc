"""Sounds: WAV, FLAC, Ogg and MP3 files as functions of time, and back.

Raw samples are in the number types of ``sample_formats``. All channels form one signal over time, scaled by their
common peak.
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
from ...signal import CHUNK, SCALE, SCALE_BEFORE_3, Grid, Scale, Signal
from .. import metrics
from ..modality import EarlierMeta, OnProgress, Request
from . import containers, sample_formats
from .sample_formats import FRAMES_PER_BLOCK, Array
from .writing import check_rate, suffix, write

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

INPUT_SUFFIXES: tuple[str, ...] = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
LOWEST_OMEGA, HIGHEST_OMEGA = 500.0, 4500.0
OMEGA_SHARE, ENERGY_QUANTILE = 0.2, 0.95
"""Constants of ``first_omega``, chosen by tests/bench/omega.py (docs/benchmarks.md)."""

META: dict[str, Any] = {
    "format": json_schema.one_of("WAV", "WAVEX", "FLAC", "OGG", "MP3"),
    "subtype": json_schema.one_of(
        *sample_formats.PCM_BITS,
        *sample_formats.FLOAT_DTYPES,
        *sample_formats.MPEG_SUBTYPES,
        *sample_formats.TELEPHONE_SUBTYPES,
    ),
    "endian": json_schema.one_of("FILE", "LITTLE", "BIG"),
    "rate": json_schema.integer(1, 2**31 - 1),
    "channels": json_schema.integer(1, 65_535),
    "frames": json_schema.integer(1, 2**40),
    "scale": {
        **SCALE,
        "dtype": json_schema.one_of("int16", "int32", "float32", "float64"),
        "factor": json_schema.number(1e-310, 1e300),
        "offset": json_schema.number(),
        "low": json_schema.number(),
        "high": json_schema.number(),
        "knee": json_schema.number(0, 0),
    },
}


def _upgrade(meta: Mapping[str, Any]) -> dict[str, Any]:
    """``Signal.meta`` of the format versions 1 and 2 as that of today."""
    return {**meta, "scale": {**meta["scale"], "knee": 0.0}}


META_BEFORE_3 = EarlierMeta(
    {**META, "scale": {**SCALE_BEFORE_3, **{key: META["scale"][key] for key in ("dtype", "factor")}}}, _upgrade
)


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if the range of the samples is beyond their number type."""
    scale, dtype = meta["scale"], np.dtype(meta["scale"]["dtype"])
    limits = np.iinfo(dtype) if dtype.kind == "i" else np.finfo(dtype)
    if not limits.min <= scale["low"] <= scale["high"] <= limits.max:
        raise ValueError(f"scale: the range of the samples is beyond {dtype}")


@dataclasses.dataclass(frozen=True)
class Options:
    """Sounds have no options."""


def sniff(data: bytes) -> bool:
    """Whether the content has the signature of a sound format, supported or not."""
    return containers.signature(data) is not None


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The sound as a signal over time. Raises a ``RefusedInput``."""
    try:
        return _load(data, limits)
    except InrfitError:
        raise
    except Exception as error:
        cause = printable(getattr(error, "error_string", None) or error or type(error).__name__)
        raise UnreadableFile(f"damaged or cut short: {cause}", "decode") from error


def _load(data: bytes, limits: Limits) -> Signal:
    """``load`` without the translation of exceptions."""
    import soundfile

    container = containers.check(data)
    with containers.suppressed_stderr(container.kind), soundfile.SoundFile(io.BytesIO(container.data)) as file:
        claimed = _claimed_frames(file, container)
        _require_writable_ogg(container.kind, file.samplerate, file.channels)
        limits.check("max_channels", file.channels, "channels")
        limits.check("max_samples", claimed, "samples per channel")
        scale = sample_formats.raw_scale(file.subtype)
        samples = _read(file, scale.dtype)
        if len(samples) != claimed and not container.length_is_estimate:
            raise UnreadableFile(f"the header says {claimed:,} samples, the file has {len(samples):,}", "truncated")
        if file.subtype in sample_formats.BLOCK_SUBTYPES:
            samples = samples[: _length_without_padding(container.frames, claimed)]
        meta: dict[str, Any] = {
            "format": file.format,
            "subtype": file.subtype,
            "endian": file.endian,
            "rate": file.samplerate,
            "channels": file.channels,
        }
        notes = (*container.notes, *_notes(meta, list(file.copy_metadata())))
    if not len(samples):
        raise UnreadableFile("the file has no samples", "empty")
    if container.md5 and sample_formats.md5(samples, meta["subtype"]) != container.md5:
        raise UnreadableFile("damaged: the samples do not match the file's own checksum", "checksum")
    scale = dataclasses.replace(scale, factor=1 / _peak(samples))
    meta |= {"frames": len(samples), "scale": scale.json()}
    return Signal("", samples, scale, meta, Grid((len(samples),)), notes=notes)


def _claimed_frames(file: Any, container: containers.Container) -> int:
    """The number of frames by the decoder. Raises a ``RefusedInput`` if the format is not supported or the container
    has another number."""
    formats = ("WAV", "WAVEX") if container.kind == "WAV" else (container.kind,)
    subtypes = (
        sample_formats.MPEG_SUBTYPES
        if container.kind == "MP3"
        else (*sample_formats.PCM_BITS, *sample_formats.FLOAT_DTYPES, *sample_formats.TELEPHONE_SUBTYPES)
    )
    if file.format not in formats or file.subtype not in subtypes:
        raise UnsupportedInput(f"{file.format} {file.subtype} sound is not supported", "format")
    claimed, in_header = int(file.frames), container.frames
    if in_header is not None and in_header != claimed and file.subtype not in sample_formats.BLOCK_SUBTYPES:
        raise UnreadableFile(f"damaged: the header says {in_header:,} samples, the decoder {claimed:,}", "header")
    return claimed


def _require_writable_ogg(kind: str, rate: int, channels: int) -> None:
    """Raises ``UnsupportedInput`` for an Ogg file that can be read but not written, because ``measure`` and ``decode``
    write files of the source's format."""
    if kind == "OGG" and sample_formats.exceeds_ogg_limits(rate, channels):
        limit = f"at most {sample_formats.MAX_OGG_CHANNELS} channels and {sample_formats.MAX_OGG_RATE} Hz"
        raise UnsupportedInput(
            f"Ogg with {channels} channels at {rate} Hz is not supported ({limit}): convert it to WAV first",
            "ogg.range",
        )


def _length_without_padding(in_header: int | None, decoded: int) -> int:
    """The number of frames without the padding of the last block: that of the header if it is plausible."""
    return in_header if in_header and decoded - FRAMES_PER_BLOCK < in_header <= decoded else decoded


def _read(file: Any, dtype: str) -> Array:
    """All frames (n, c), read in blocks. Raises ``UnreadableFile`` at the first sample that is not finite."""
    blocks: list[Array] = []
    total = 0
    while True:
        block = file.read(FRAMES_PER_BLOCK, dtype=dtype, always_2d=True)
        if dtype.startswith("float") and not np.isfinite(block).all():
            index, channel = np.argwhere(~np.isfinite(block))[0]
            position = f"sample {total + index} of channel {channel} (counted from 0)"
            raise UnreadableFile(f"{position} is {block[index, channel]}", "nonfinite")
        total += len(block)
        blocks.append(block)
        if len(block) < FRAMES_PER_BLOCK:
            return np.ascontiguousarray(np.concatenate(blocks))


def _peak(samples: Array) -> float:
    """The largest magnitude, so that raw / peak is in [-1, 1]. 1 for silence, and at least 1e-300 otherwise, because
    the reciprocal of a denormal double is infinite."""
    peak = max(float(samples.max()), -float(samples.min()))
    return max(peak, 1e-300) if peak else 1.0


def _notes(meta: Mapping[str, Any], tags: list[str]) -> list[str]:
    """Notes on what a decoded file will not have."""
    subtype, notes = meta["subtype"], []
    if subtype in ("PCM_24", "PCM_32", "DOUBLE"):
        arithmetic = "samples of 24 bits and more are fitted in float32 arithmetic"
        notes.append(f"{arithmetic}: precision beyond 24 bits cannot be kept")
    if subtype in sample_formats.LOSSY_SUBTYPES:
        notes.append(f"{subtype} is lossy: its decoded samples are fitted, and writing it loses again")
    if meta["endian"] == "BIG" and meta["format"] == "WAVEX":
        notes.append("written back as a big-endian WAV without the extensible header")
    if tags:
        notes.append(f"tags not kept: {', '.join(map(printable, tags))}")
    return notes


def from_array(array: Array, rate: int) -> bytes:
    """The bytes of a WAV file with the samples of ``array``: int16 or float, (n,) or (n, c), at ``rate`` Hz. Raises
    ``UsageError`` for any other array."""
    import soundfile

    subtypes = {"int16": "PCM_16", "float32": "FLOAT", "float64": "DOUBLE"}
    if array.dtype.name not in subtypes or array.ndim not in (1, 2) or not array.size or rate < 1:
        raise UsageError(
            "the array of a sound must be int16 or float, (n,) or (n, c), with a rate in Hz of at least 1", "array"
        )
    buffer = io.BytesIO()
    soundfile.write(buffer, array, rate, subtype=subtypes[array.dtype.name], format="WAV")
    return buffer.getvalue()


def first_omega(signal: Signal) -> float:
    """Frequency factor of a SIREN's first layer, in radians per unit of a time axis from -1 to 1.

    It is OMEGA_SHARE * pi f T, from LOWEST_OMEGA to HIGHEST_OMEGA, where f (Hz) is the frequency below which
    ENERGY_QUANTILE of the energy lies and T is the duration (s). A tone of f Hz has pi f T; less is enough, because the
    hidden layers multiply frequencies. Above the upper bound some sounds are no longer fitted (tests/bench/omega.py,
    docs/benchmarks.md)."""
    window = min(signal.n, 32_768)
    power = np.zeros(window // 2 + 1)
    for start in np.linspace(0, signal.n - window, min(64, -(-signal.n // window))).astype(int):
        block = signal.samples[start : start + window] * np.float64(1 / _peak(signal.samples))
        spectrum = np.fft.rfft((block - block.mean(axis=0)) * np.hanning(window + 2)[1:-1, None], axis=0)
        power += np.square(np.abs(spectrum)).sum(axis=1)
    total = np.cumsum(power[1:])
    if not len(total) or not total[-1] > 0:
        return LOWEST_OMEGA
    cycles = (1 + int(np.searchsorted(total, ENERGY_QUANTILE * total[-1]))) / window
    omega = OMEGA_SHARE * math.pi * cycles * signal.n
    return min(max(omega, LOWEST_OMEGA), HIGHEST_OMEGA)


def estimate(predicted: Tensor, values: Tensor, signal: Signal) -> float:
    """SNR in dB over all channels, of samples clamped and rounded as in a file. inf if they are equal, also for
    silence, for which ``measure`` returns nan."""
    scale, factor = signal.scale, signal.meta["scale"]["factor"]
    truth = scale.raw(values) * factor
    noise = (scale.raw(predicted) * factor - truth).square().mean().item()
    return metrics.decibels(truth.square().mean().item(), noise) if noise else math.inf


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Array:
    """Raw samples (n, c) in the source's number type. For another rate, the field is evaluated at the centres of
    correspondingly more or fewer cells over the same duration. Raises ``UsageError``, ``OverLimit``, and
    ``UnreadableFile`` for a field with other channels or with values that are not finite."""
    check_rate(request)
    frames = meta["frames"]
    if request.rate is not None:
        frames = max(1, round(frames * request.rate / meta["rate"]))
    size = frames * meta["channels"] * np.dtype(meta["scale"]["dtype"]).itemsize
    limits.check("max_output", size, "bytes of decoded samples")
    return _samples(field, meta, frames, on_progress)


def _samples(field: Field, meta: Mapping[str, Any], frames: int, on_progress: OnProgress) -> Array:
    """``frames`` raw samples (frames, c), evaluated in chunks."""
    import torch

    scale, grid = Scale.from_json(meta["scale"]), Grid((frames,))
    decoded = np.empty((frames, meta["channels"]), scale.dtype)
    for start in range(0, frames, 4 * CHUNK):
        stop = min(start + 4 * CHUNK, frames)
        values = field.on_grid(grid, start, stop)
        if values.shape[1] != meta["channels"]:
            raise UnreadableFile(
                f"the field has {values.shape[1]} values per sample, its header says {meta['channels']} channels",
                "channels",
            )
        if not bool(torch.isfinite(values).all()):
            raise UnreadableFile("the field has values that are not finite", "nonfinite")
        decoded[start:stop] = scale.raw(values).numpy()
        on_progress(stop / frames)
    return decoded


def measure(field: Field, signal: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """``snr``, ``si_snr`` and ``psnr`` of the whole sound, in dB. The peak of ``psnr`` is the full scale of the number
    type: 2^15 for int16, 2^31 for int32, 1 for floats. For lossy sources also ``snr_in_file``, after writing and
    reading a file of the same format."""
    import soundfile

    meta, source = signal.meta, signal.samples
    decoded = _samples(field, meta, signal.n, on_progress)
    peak = 1.0 if source.dtype.kind == "f" else 2.0 ** (8 * source.itemsize - 1)
    estimate, reference = decoded, source
    if source.dtype == np.float64:  # the squares could overflow
        factor = meta["scale"]["factor"]
        estimate, reference, peak = decoded * factor, source * factor, peak * factor
    quality = {
        "snr": metrics.snr(estimate, reference),
        "si_snr": metrics.si_snr(estimate, reference),
        "psnr": metrics.psnr(estimate, reference, peak),
    }
    if meta["subtype"] in sample_formats.LOSSY_SUBTYPES:
        data = write(decoded, meta, suffix(meta)[0], Request(), {})
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            reread = _read(file, meta["scale"]["dtype"])
        length = min(len(reread), signal.n)
        quality["snr_in_file"] = metrics.snr(reread[:length], source[:length])
    return quality


def describe_source(meta: Mapping[str, Any]) -> str:
    """A description such as "3.10 s, 8000 Hz, 1 channel, FLAC PCM_16"."""
    return f"{_format_shape(meta['frames'], meta['rate'], meta['channels'])}, {meta['format']} {meta['subtype']}"


def describe_decoded(decoded: Array, meta: Mapping[str, Any], request: Request) -> str:
    """A description such as "3.10 s, 8000 Hz, 1 channel"."""
    return _format_shape(decoded.shape[0], request.rate or meta["rate"], decoded.shape[1])


def _format_shape(frames: int, rate: int, channels: int) -> str:
    """Duration, rate and number of channels as text."""
    return f"{frames / rate:.2f} s, {rate} Hz, {'1 channel' if channels == 1 else f'{channels} channels'}"

"""Sounds: WAV, FLAC, Ogg and MP3 files as functions of time, and back.

Raw samples are in the number types of ``sample_formats``. All channels form one signal over time, scaled by their
common peak.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import InrfitError, UnreadableFile, UsageError, machine_error, printable
from ...io import json_schema
from ...io.limits import Limits
from ...io.options import setting
from ...signal import SCALE, SCALE_BEFORE_3, Grid, Scale, Signal
from .. import metrics
from ..modality import DecodeNeed, EarlierMeta, OnProgress
from ..request import Request
from ..scales import check_scale
from . import containers, reading, sample_formats, speakers, tags
from .resampling import downsample, filter_bytes
from .sample_formats import Array
from .writing import OUTPUT_SUFFIXES, check_rate, suffix, write

if TYPE_CHECKING:
    from torch import Tensor

    from ...fields.module import Field

INPUT_SUFFIXES: tuple[str, ...] = (*OUTPUT_SUFFIXES, ".mp3", ".m4a", ".m4b", ".aac", ".bwf")
LOWEST_OMEGA, HIGHEST_OMEGA = 500.0, 20_000.0
VALUE_BYTES, FINISH_FACTOR = 28, 3
"""Bytes that converting a value to a sample takes, and times that a sound is in memory when it is written: as samples,
as a file while that grows, and as the finished file (docs/benchmarks.md)."""

OMEGA_SHARE, ENERGY_QUANTILE = 0.5, 0.95
"""Constants of ``first_omega``, chosen by tests/bench/omega.py (docs/benchmarks.md)."""

META: dict[str, Any] = {
    "format": json_schema.one_of("WAVEX", *containers.FORMATS),
    "subtype": json_schema.one_of(*sample_formats.SUBTYPES),
    "endian": json_schema.one_of("FILE", "LITTLE", "BIG"),
    "rate": json_schema.integer(1, 2**31 - 1),
    "channels": json_schema.integer(1, 65_535),
    "frames": json_schema.integer(1, 2**40),
    "mask": json_schema.optional(json_schema.integer(0, 2**32 - 1)),
    "valid_bits": json_schema.optional(json_schema.integer(1, 32)),
    "tags": json_schema.mapping(json_schema.text(tags.MAX_CHARACTERS)),
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
    return {**meta, "mask": None, "valid_bits": None, "tags": {}, "scale": {**meta["scale"], "knee": 0.0}}


META_BEFORE_3 = EarlierMeta(
    {key: schema for key, schema in META.items() if key not in ("mask", "valid_bits", "tags")}
    | {
        "format": json_schema.one_of("WAV", "WAVEX", "FLAC", "OGG", "MP3"),
        "scale": {**SCALE_BEFORE_3, **{key: META["scale"][key] for key in ("dtype", "factor")}},
    },
    _upgrade,
)


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if the range of the samples is beyond their number type, the rate beyond the format, or for
    an unknown tag."""
    if unknown := [name for name, value in meta["tags"].items() if name not in tags.TAGS or not value]:
        raise ValueError(f"tags: {unknown[0][:40]!r} is not a tag of sounds")
    if meta["format"] == "OGG" and sample_formats.exceeds_ogg_limits(meta["rate"], meta["channels"]):
        raise ValueError(f"rate: Ogg has no sounds of {meta['channels']} channels at {meta['rate']} Hz")
    check_scale(Scale.from_json(meta["scale"]), meta["channels"])


@dataclasses.dataclass(frozen=True)
class Options:
    """How a sound is read."""

    metadata: Literal["keep", "drop", "all"] = setting("keep", "tags, cover, cue points and loops: keep, drop, or all")


def sniff(data: bytes) -> bool:
    """Whether the content has the signature of a sound format, supported or not."""
    return containers.signature(data) is not None


_CAUSES = {"Internal error : SF_INFO struct incomplete.": "its rate or its channels are those of no sound"}
"""Messages of libsndfile about itself, and what they say about the file."""


def load(data: bytes, name: str, options: Options, limits: Limits) -> Signal:
    """The sound as a signal over time. Raises a ``RefusedInput``."""
    try:
        return reading.read(data, options.metadata != "drop", limits)
    except InrfitError:
        raise
    except Exception as error:
        cause = printable(getattr(error, "error_string", None) or error or type(error).__name__)
        cause = _CAUSES.get(cause, cause)
        raise machine_error(error) or UnreadableFile(f"damaged or cut short: {cause}", "decode") from error


def first_omega(signal: Signal) -> tuple[float]:
    """Frequency factor of a SIREN's first layer, in radians per unit of a time axis from -1 to 1.

    It is OMEGA_SHARE * pi f T, from LOWEST_OMEGA to HIGHEST_OMEGA, where f (Hz) is the frequency below which
    ENERGY_QUANTILE of the energy lies and T is the duration (s). A tone of f Hz has pi f T; less is enough, because the
    hidden layers multiply frequencies (tests/bench/omega.py, docs/benchmarks.md)."""
    window = min(signal.n, 32_768)
    power = np.zeros(window // 2 + 1)
    for start in np.linspace(0, signal.n - window, min(64, -(-signal.n // window))).astype(int):
        block = signal.samples[start : start + window] * np.float64(1 / reading.peak_of(signal.samples))
        spectrum = np.fft.rfft((block - block.mean(axis=0)) * np.hanning(window + 2)[1:-1, None], axis=0)
        power += np.square(np.abs(spectrum)).sum(axis=1)
    total = np.cumsum(power[1:])
    if not len(total) or not total[-1] > 0:
        return (LOWEST_OMEGA,)
    cycles = (1 + int(np.searchsorted(total, ENERGY_QUANTILE * total[-1]))) / window
    omega = OMEGA_SHARE * math.pi * cycles * signal.n
    return (min(max(omega, LOWEST_OMEGA), HIGHEST_OMEGA),)


def estimate(predicted: Tensor, values: Tensor, signal: Signal) -> float:
    """SNR in dB over all channels, of samples clamped and rounded as in a file. inf if they are equal, also for
    silence, for which ``measure`` returns nan."""
    scale, factor = signal.scale, signal.meta["scale"]["factor"]
    truth = scale.raw(values) * factor
    noise = (scale.raw(predicted) * factor - truth).square().mean().item()
    return metrics.decibels(truth.square().mean().item(), noise) if noise else math.inf


def decode(field: Field, meta: Mapping[str, Any], request: Request, limits: Limits, on_progress: OnProgress) -> Array:
    """Raw samples (n, c) in the source's number type. For a higher rate, the field is evaluated at the centres of
    correspondingly more cells over the same duration; for a lower one, its samples at the source's rate are filtered
    and resampled. Raises ``UsageError``, ``OverLimit``, and ``UnreadableFile`` for a field with other channels or with
    values that are not finite."""
    check_rate(meta, request)
    frames, lower, size = _decoded_size(meta, request)
    scale = Scale.from_json(meta["scale"])
    limits.check("max_output", size, "bytes of decoded samples")
    if not lower:
        return _samples(field, meta, frames, on_progress)
    exact = _samples(field, meta, meta["frames"], on_progress, rounded=False)
    return _rounded(downsample(exact, meta["rate"], request.rate or 1, frames), scale)


def _decoded_size(meta: Mapping[str, Any], request: Request) -> tuple[int, bool, int]:
    """Frames of the decoded sound, whether its rate is lower than the source's, and bytes of the samples that are
    computed for it."""
    frames, lower = meta["frames"], request.rate is not None and request.rate < meta["rate"]
    if request.rate is not None:
        frames = max(1, round(frames * request.rate / meta["rate"]))
    sample_bytes = 8 if lower else np.dtype(meta["scale"]["dtype"]).itemsize
    return frames, lower, max(frames, meta["frames"] if lower else 0) * meta["channels"] * sample_bytes


def decode_need(meta: Mapping[str, Any], request: Request) -> DecodeNeed:
    """What decoding needs, and writing the sound."""
    check_rate(meta, request)
    frames, lower, held = _decoded_size(meta, request)
    written = frames * meta["channels"] * max(2, np.dtype(meta["scale"]["dtype"]).itemsize)
    finish = FINISH_FACTOR * written
    points = frames
    if lower:
        points = meta["frames"]
        finish = max(finish, 3 * held + 16 * frames * meta["channels"] + filter_bytes(meta["rate"], request.rate or 1))

    def cells(chunk: int) -> int:
        return min(points, 4 * chunk)

    return DecodeNeed((points,), points, cells, VALUE_BYTES, held, finish)


def _rounded(raw: Array, scale: Scale) -> Array:
    """Raw samples in float64, rounded and clamped to the valid range, in the number type of ``scale``."""
    if scale.step:
        raw = np.round(raw / scale.step) * scale.step
    return raw.clip(scale.low, scale.high).astype(scale.dtype)


def _samples(
    field: Field, meta: Mapping[str, Any], frames: int, on_progress: OnProgress, rounded: bool = True
) -> Array:
    """``frames`` raw samples (frames, c), evaluated in chunks; in float64 unless they are ``rounded``."""
    import torch

    scale, grid = Scale.from_json(meta["scale"]), Grid((frames,))
    if not rounded:
        scale = dataclasses.replace(scale, step=0.0, dtype="float64")
    decoded = np.empty((frames, meta["channels"]), scale.dtype)
    step = 4 * field.decode_chunk
    for start in range(0, frames, step):
        stop = min(start + step, frames)
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
    quality = _measures(decoded, source, meta)
    if meta["subtype"] in sample_formats.LOSSY_SUBTYPES:
        data = write(decoded, meta, suffix(meta)[0], Request(), {})
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            reread = reading.read_frames(file, meta["scale"]["dtype"])
        if meta["format"] == "OGG" and meta["mask"] and (places := speakers.from_vorbis(meta["channels"])) is not None:
            reread = reread[:, places]
        length = min(len(reread), signal.n)
        quality["snr_in_file"] = metrics.snr(reread[:length], source[:length])
    return quality


def _measures(decoded: Array, source: Array, meta: Mapping[str, Any]) -> dict[str, Any]:
    """``snr``, ``si_snr`` and ``psnr`` of samples (n, c) in the number type of ``source``."""
    peak = 1.0 if source.dtype.kind == "f" else 2.0 ** (8 * source.itemsize - 1)
    if source.dtype == np.float64:  # the squares could overflow
        factor = meta["scale"]["factor"]
        decoded, source, peak = decoded * factor, source * factor, peak * factor
    return {
        "snr": metrics.snr(decoded, source),
        "si_snr": metrics.si_snr(decoded, source),
        "psnr": metrics.psnr(decoded, source, peak),
    }


def compare(signal: Signal, reference: Signal, on_progress: OnProgress) -> dict[str, Any]:
    """The measures of one sound against another, over the length that both have, in full scale of the reference. Raises
    ``UsageError`` if their rates or channels differ."""
    shapes = [(m["rate"], m["channels"], m["mask"]) for m in (signal.meta, reference.meta)]
    if shapes[0][:2] != shapes[1][:2]:
        said = " and ".join(f"{rate} Hz, {channels} channels" for rate, channels, _ in shapes)
        raise UsageError(f"the sounds have {said}", "different")
    arrays = (signal.samples, reference.samples)
    full_scales = [1.0 if array.dtype.kind == "f" else 2.0 ** (8 * array.itemsize - 1) for array in arrays]
    length = min(signal.n, reference.n)
    samples = signal.samples[:length] * (full_scales[1] / full_scales[0])
    on_progress(1.0)
    return {**_measures(samples, reference.samples[:length], reference.meta), "samples": length}


def describe_source(meta: Mapping[str, Any]) -> str:
    """A description such as "3.10 s, 8000 Hz, 1 channel, FLAC PCM_16"."""
    layout = speakers.describe(meta["mask"], meta["channels"]) if meta["channels"] > 2 else ""
    shape = _format_shape(meta["frames"], meta["rate"], meta["channels"])
    return f"{shape}{f' ({layout})' if layout else ''}, {meta['format']} {meta['subtype']}"


def describe_decoded(decoded: Array, meta: Mapping[str, Any], suffix: str, request: Request) -> str:
    """A description such as "3.10 s, 8000 Hz, 1 channel"."""
    return _format_shape(decoded.shape[0], request.rate or meta["rate"], decoded.shape[1])


def _format_shape(frames: int, rate: int, channels: int) -> str:
    """Duration, rate and number of channels as text."""
    return f"{frames / rate:.2f} s, {rate} Hz, {'1 channel' if channels == 1 else f'{channels} channels'}"

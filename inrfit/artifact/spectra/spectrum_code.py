"""The coded form of the coefficients of a lapped cosine transform. docs/artifact.md is the specification."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .. import rans, sealing
from ..latents import laplace
from ..latents.integer_wavelets import Ints
from . import scales
from .scales import LAGS, PAD, PHASES, Part, Sample

MODEL = 1
"""How contexts are made in new files."""

_SAMPLE = 1 << 15
"""About the number of coefficients from which the parameters of a phase are fitted."""

Parameters = tuple[tuple[Part, ...], ...]
"""The parameters of the phases, of the first channel and, if there are several, of the others."""

Rows = tuple[list[Ints], Ints | None]
"""Padded magnitudes (frames, frequencies + 2 PAD): of frames and of the ones before each, and of the same frames in the
channel before."""


def pack(integers: Ints) -> bytes:
    """The code of coefficients (channels, frames, frequencies) in steps."""
    used = used_frequencies(integers)
    parameters = fitted(integers, used)
    numbers = scale_numbers(integers, parameters, used)
    channels, frames, _ = integers.shape
    encoder = laplace.Encoder(rans.lanes(channels * frames * used))
    for frame in range(frames):
        for channel in range(channels):
            for phase, (start, step) in enumerate(PHASES):
                own = integers[channel, frame, start:used:step]
                encoder.add(own, np.zeros_like(own), numbers[phase][channel][frame])
    code, escapes = encoder.code()
    head = bytes([MODEL]) + used.to_bytes(2, "little")
    if used:
        head += b"".join(_part_bytes(part) for parts in parameters for part in parts)
    return sealing.sealed(head + sealing.deflated(escapes) + code)


def unpack(code: bytes, shape: tuple[int, int, int]) -> Ints:
    """The coefficients of ``shape``. Raises ``UnreadableFile`` for a damaged code."""
    channels, frames, hop = shape
    content = sealing.opened(code, 7)
    used = int.from_bytes(content[1:3], "little")
    if content[0] != MODEL or used > hop:
        raise sealing.damaged()
    parameters, start = _parameters(content[3:], channels) if used else ((), 0)
    count = channels * frames * used
    escapes, rest = sealing.inflated(content[3 + start :], 4 * count)
    decoder = laplace.Decoder(rans.lanes(count), rest, escapes)
    found = np.zeros(shape, np.int32)
    if used:
        _decode(decoder, found, parameters, used)
    decoder.end()
    return found


def _decode(decoder: laplace.Decoder, found: Ints, parameters: Parameters, used: int) -> None:
    """Fills ``found`` frame by frame."""
    channels, frames, hop = found.shape
    octaves = [scales.bands(hop, used, phase) for phase in range(len(PHASES))]
    means = [np.zeros(len(octave), np.int64) for octave in octaves]
    history = np.zeros((channels, LAGS, used + 2 * PAD), np.int64)
    for frame in range(frames):
        history[:, 1:] = history[:, :-1].copy()
        history[:, 0] = 0
        for channel in range(channels):
            rows = list(history[channel])
            before = history[channel - 1, 0] if channel else None
            for phase, (start, step) in enumerate(PHASES):
                sums = scales.surroundings(rows, before, phase)
                numbers = scales.scale_numbers(sums, parameters[min(channel, 1)][phase], octaves[phase])
                integers = decoder.take(means[phase], numbers)
                found[channel, frame, start:used:step] = integers
                rows[0][PAD + start : PAD + used : step] = np.abs(integers)


def used_frequencies(integers: Ints) -> int:
    """Number of frequencies up to the last one that any frame has."""
    present = np.flatnonzero(integers.any((0, 1)))
    return int(present[-1]) + 1 if len(present) else 0


def fitted(integers: Ints, used: int) -> Parameters:
    """The parameters for which the coefficients take the fewest bits, fitted on frames spread over the sound."""
    channels, frames, hop = integers.shape
    found = []
    for own in (range(1), range(1, channels)) if used else ():
        stride = max(1, len(own) * frames * used // 3 // _SAMPLE)
        rows = [
            ([row[::stride] for row in around], None if before is None else before[::stride])
            for around, before in _all_rows(integers, used, own)
        ]
        if rows:
            found.append(tuple(_sample(rows, scales.bands(hop, used, phase), phase).fitted() for phase in range(3)))
    return tuple(found)


def _sample(all_rows: Sequence[Rows], octaves: Ints, phase: int) -> Sample:
    """The coefficients of a phase in the frames of ``all_rows``."""
    sums, magnitudes, (start, step) = [], [], PHASES[phase]
    for rows, before in all_rows:
        around = scales.surroundings(rows, before, phase)
        sums.append(np.stack(around, -1).reshape(-1, len(around)))
        magnitudes.append(rows[0][:, PAD + start : rows[0].shape[1] - PAD : step].reshape(-1))
    magnitude = np.concatenate(magnitudes).astype(np.float64)
    return Sample(np.concatenate(sums).astype(np.float64), np.resize(octaves, len(magnitude)), magnitude)


def scale_numbers(integers: Ints, parameters: Parameters, used: int) -> list[list[Ints]]:
    """By phase and channel, the numbers (frames, n) of the scales of the coefficients."""
    channels, _, hop = integers.shape
    found: list[list[Ints]] = [[] for _ in PHASES]
    for channel, (rows, before) in enumerate(_all_rows(integers, used, range(channels))):
        for phase in range(len(PHASES)):
            if used:
                sums = scales.surroundings(rows, before, phase)
                part, octaves = parameters[min(channel, 1)][phase], scales.bands(hop, used, phase)
                found[phase].append(scales.scale_numbers(sums, part, octaves))
            else:
                found[phase].append(np.zeros((integers.shape[1], 0), np.int64))
    return found


def _all_rows(integers: Ints, used: int, channels: range) -> Iterator[Rows]:
    """The magnitudes around all frames of each channel."""
    frames = integers.shape[1]
    for channel in channels:
        padded = _padded(integers[channel], used)
        rows = [padded[LAGS - 1 - lag : LAGS - 1 - lag + frames] for lag in range(LAGS)]
        yield rows, _padded(integers[channel - 1], used)[LAGS - 1 :] if channel else None


def _padded(integers: Ints, used: int) -> Ints:
    """The magnitudes of frames (f, hop), after LAGS - 1 empty ones."""
    return np.pad(np.abs(integers[:, :used]).astype(np.int64), ((LAGS - 1, 0), (PAD, PAD)))


def _part_bytes(part: Part) -> bytes:
    return np.concatenate([part.weights, part.biases]).astype(np.uint8).tobytes()


def _parameters(content: bytes, channels: int) -> tuple[Parameters, int]:
    """The parameters at the beginning of ``content``, and the number of their bytes."""
    found, start = [], 0
    for first in (True, False)[: 1 if channels == 1 else 2]:
        parts = []
        for phase in range(len(PHASES)):
            count = scales.weight_count(phase, first) + scales.BANDS
            values = np.frombuffer(content[start : start + count], np.uint8).astype(np.int64)
            start += count
            if len(values) < count or values[-scales.BANDS :].max() >= laplace.SCALES:
                raise sealing.damaged()
            parts.append(Part(values[: -scales.BANDS], values[-scales.BANDS :]))
        found.append(tuple(parts))
    return tuple(found), start

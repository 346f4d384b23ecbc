"""The coded form of signed distances at the nodes of a cube. docs/artifact.md is the specification."""

from __future__ import annotations

import numpy as np

from .. import rans, sealing
from ..latents import laplace
from ..latents.integer_wavelets import Ints
from . import magnitudes, signs
from .magnitudes import LEVELS, Part
from .signs import PHASES, Signs

MODEL = 1
"""How contexts are made in new files."""

_SAMPLE = 20_000
"""Nodes of a phase from which its weights are fitted."""


def pack(sides: Signs, numbers: Ints) -> bytes:
    """The code of the signs (n, n, n) of nodes, and of the numbers of the levels of those beside the surface."""
    weights, coded = _fitted_signs(sides)
    beside, known, parts = magnitudes.beside_surface(sides), np.zeros(sides.shape, np.int16), []
    encoder = laplace.Encoder(lanes := rans.lanes(coded + int(beside.sum())))
    exceptions, position = [], 0
    for phase in signs.phases(sides):
        uniform, expected = phase.uniform()
        own = phase.own.reshape(-1)
        exceptions += (position + np.flatnonzero(uniform & (own != expected))).tolist()
        position += len(own)
        table = signs.table_numbers(phase.signs[:, ~uniform], weights[phase.number])
        encoder.symbols.add(signs.tables(), table, (own[~uniform] > 0).astype(np.int64))
    for phase_number in (0, 1):
        at = magnitudes.places(beside, phase_number)
        sums = magnitudes.surroundings(at, phase_number, sides, known)
        parts.append(magnitudes.fitted(sums, numbers[at]))
        encoder.add(numbers[at], *magnitudes.distributions(sums, parts[-1]))
        known[at] = (2 * numbers[at] + 1) * sides[at]
    code, escapes = encoder.code()
    listed = np.diff(np.array(exceptions, np.int64), prepend=0).astype("<u4").tobytes()
    base = np.packbits(sides[_coarsest(len(sides))].reshape(-1) > 0).tobytes()
    head = bytes([MODEL]) + lanes.to_bytes(2, "little") + base
    head += np.array([w for own in weights for w in own], np.int8).tobytes() + b"".join(map(_part_bytes, parts))
    return sealing.sealed(head + sealing.deflated(listed) + sealing.deflated(escapes) + code)


def unpack(code: bytes, nodes: int) -> tuple[Signs, Ints]:
    """The signs (n, n, n) and the numbers. Raises ``UnreadableFile`` for a damaged code."""
    content = sealing.opened(code, 11)
    lanes = int.from_bytes(content[1:3], "little")
    if content[0] != MODEL or not 1 <= lanes <= 256:
        raise sealing.damaged()
    sides, start = np.zeros((nodes,) * 3, np.int8), 3
    base = sides[_coarsest(nodes)]
    size = (base.size + 7) // 8
    bits = np.unpackbits(np.frombuffer(content[start : start + size], np.uint8))
    weights, parts, rest = _parameters(content[start + size :])
    if len(bits) < base.size:
        raise sealing.damaged()
    base[...] = 2 * bits[: base.size].reshape(base.shape).astype(np.int8) - 1
    listed, rest = sealing.inflated(rest, 4 * nodes**3)
    escapes, rest = sealing.inflated(rest, 4 * nodes**3)
    if len(listed) % 4:
        raise sealing.damaged()
    decoder = laplace.Decoder(lanes, rest, escapes)
    _decode_signs(decoder, sides, weights, np.frombuffer(listed, "<u4").astype(np.int64).cumsum())
    numbers = _decode_numbers(decoder, sides, parts)
    decoder.end()
    return sides, numbers


def _decode_signs(decoder: laplace.Decoder, sides: Signs, weights: list[list[int]], exceptions: Ints) -> None:
    """Fills in all signs but those of the coarsest level."""
    position = 0
    for phase in signs.phases(sides):
        uniform, own = phase.uniform()
        count = len(own)
        first, last = np.searchsorted(exceptions, (position, position + count))
        turned = exceptions[first:last] - position
        if not uniform[turned].all():
            raise sealing.damaged()
        own[turned] *= -1
        position += count
        table = signs.table_numbers(phase.signs[:, ~uniform], weights[phase.number])
        own[~uniform] = 2 * decoder.symbols.take(signs.tables(), table) - 1
        phase.own[...] = own.reshape(phase.own.shape)
    if len(exceptions) and exceptions[-1] >= position:
        raise sealing.damaged()


def _decode_numbers(decoder: laplace.Decoder, sides: Signs, parts: list[Part]) -> Ints:
    beside, known = magnitudes.beside_surface(sides), np.zeros(sides.shape, np.int16)
    numbers = np.zeros(sides.shape, np.int16)
    for phase, part in enumerate(parts):
        at = magnitudes.places(beside, phase)
        sums = magnitudes.surroundings(at, phase, sides, known)
        found = decoder.take(*magnitudes.distributions(sums, part))
        if found.min(initial=0) < 0 or found.max(initial=0) >= LEVELS:
            raise sealing.damaged()
        numbers[at] = found
        known[at] = (2 * found + 1) * sides[at]
    return numbers


def _coarsest(nodes: int) -> tuple[slice, slice, slice]:
    every = slice(None, None, signs.strides(nodes)[0])
    return every, every, every


def _fitted_signs(sides: Signs) -> tuple[list[list[int]], int]:
    """The weights of every phase of signs, and the number of signs that they are needed for."""
    around: list[list[Signs]] = [[] for _ in PHASES]
    own: list[list[Signs]] = [[] for _ in PHASES]
    for phase in signs.phases(sides):
        mixed = ~phase.uniform()[0]
        around[phase.number].append(phase.signs[:, mixed])
        own[phase.number].append(phase.own.reshape(-1)[mixed])
    weights, count = [], 0
    for number in range(len(PHASES)):
        none = np.zeros((len(signs.neighbours(number)), 0), np.int8)
        all_around, all_own = np.concatenate([none, *around[number]], 1), np.concatenate([none[0], *own[number]])
        stride = max(1, len(all_own) // _SAMPLE)
        weights.append(signs.fitted(all_around[:, ::stride], all_own[::stride]))
        count += len(all_own)
    return weights, count


def _part_bytes(part: Part) -> bytes:
    return part.weights.astype("<i2").tobytes() + part.scales.astype(np.uint8).tobytes()


def _parameters(content: bytes) -> tuple[list[list[int]], list[Part], bytes]:
    """The weights of signs, the parameters of distances, and what follows them."""
    counts, start, weights, parts = [len(signs.neighbours(number)) for number in range(len(PHASES))], 0, [], []
    for count in counts:
        weights.append(np.frombuffer(content[start : start + count], np.int8).tolist())
        start += count
    for phase in (0, 1):
        end = start + 2 * magnitudes.weight_count(phase)
        scales = np.frombuffer(content[end : end + magnitudes.CLASSES], np.uint8).astype(np.int64)
        if len(scales) < magnitudes.CLASSES or scales.max() >= laplace.SCALES:
            raise sealing.damaged()
        parts.append(Part(np.frombuffer(content[start:end], "<i2").astype(np.int64), scales))
        start = end + magnitudes.CLASSES
    return weights, parts, content[start:]

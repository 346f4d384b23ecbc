"""The code of signed distances: the same integers on every machine, and damaged codes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inrfit.artifact import sealing
from inrfit.artifact.distances import distance_code, distance_weights, magnitudes, signs
from inrfit.artifact.distances.magnitudes import LEVELS
from inrfit.errors import UnreadableFile
from inrfit.fields import FieldSpec


def shape(nodes=24, seed=0):
    """Values in nodes: a torus with bumps."""
    x, y, z = np.meshgrid(*[(2 * np.arange(nodes) + 1) / nodes - 1] * 3, indexing="ij")
    around = np.sqrt(x * x + y * y) - 0.55
    bumps = 0.05 * np.sin(9 * x + seed) * np.cos(7 * y) * np.sin(8 * z)
    return ((np.sqrt(around * around + z * z) - 0.25 + bumps) * nodes / 2).astype(np.float32)


def coded(values):
    sides = np.where(values < 0, -1, 1).astype(np.int8)
    numbers = np.where(magnitudes.beside_surface(sides), (np.abs(values) * LEVELS).astype(np.int16), 0)
    return sides, numbers.clip(0, LEVELS - 1).astype(np.int16)


@pytest.mark.parametrize("nodes", [2, 3, 4, 7, 24, 33])
def test_signs_and_distances_come_back(nodes):
    sides, numbers = coded(shape(nodes))
    found = distance_code.unpack(distance_code.pack(sides, numbers), nodes)
    assert np.array_equal(found[0], sides)
    assert np.array_equal(found[1], numbers)


def test_noise_specks_and_nothing_come_back():
    chance = np.random.default_rng(0)
    noise = chance.standard_normal((11, 11, 11)).astype(np.float32)
    speck, empty, full = (np.full((20, 20, 20), value, np.float32) for value in (1.0, 1.0, -1.0))
    speck[13, 4, 7] = -0.3
    for values in (noise, speck, empty, full):
        sides, numbers = coded(values)
        code = distance_code.pack(sides, numbers)
        found = distance_code.unpack(code, len(values))
        assert np.array_equal(found[0], sides)
        assert np.array_equal(found[1], numbers)


def test_contexts_save_most_bits():
    sides, numbers = coded(shape(64))
    beside = int(magnitudes.beside_surface(sides).sum())
    plain = 64**3 / 8 + beside * math.log2(LEVELS) / 8
    assert len(distance_code.pack(sides, numbers)) < 0.12 * plain


def test_a_sign_is_predicted_from_what_is_decoded_before():
    """Nodes of a phase and of later ones and levels have no part in its contexts."""
    sides, _ = coded(shape(21))
    seen = [phase.signs.copy() for phase in signs.phases(sides)]
    hidden = sides.copy()
    stride = signs.strides(21)[0]
    known = np.zeros(sides.shape, bool)
    known[::stride, ::stride, ::stride] = True
    hidden[~known] = 0
    for number, phase in enumerate(signs.phases(hidden)):
        assert np.array_equal(phase.signs, seen[number])
        own = list(signs.phases(sides))[number].own
        phase.own[...] = own
    assert np.array_equal(hidden, sides)


def test_tables_are_the_same_on_every_machine():
    odds = [signs.TOTAL / (1 + math.exp(-k / 8)) for k in range(-signs._CLASSES, signs._CLASSES + 1)]
    assert min(abs(one % 1 - 0.5) for one in odds) > 1e-6  # none is rounded the other way
    assert signs.tables().frequency.min() >= 1


def test_weights_are_those_of_the_code():
    values, spec = shape(24), FieldSpec("tsdf", 3, 1, 1, 1, {"nodes": 24, "band": 0.05})
    spacing = spec.formula.spacing
    rounded = distance_weights.rounded(values * spacing, spacing)
    step = distance_weights.step_of(spacing)
    weights, steps = distance_weights.unpack(distance_weights.pack(spec, {"nodes": rounded}, step), spec)
    assert np.array_equal(weights["nodes"], rounded)
    assert steps == {"nodes": (step,)}
    beside = magnitudes.beside_surface(np.sign(values).astype(np.int8)) & (np.abs(values) < 1)
    assert np.abs(rounded / spacing - values)[beside].max() < 0.52 / LEVELS
    assert (np.sign(rounded) == np.sign(values)).all()


def test_damaged_codes_are_refused():
    sides, numbers = coded(shape())
    code, chance, refused = distance_code.pack(sides, numbers), np.random.default_rng(3), 0
    for _ in range(300):
        damaged = bytearray(code)
        damaged[chance.integers(4, len(code))] ^= int(chance.integers(1, 256))
        del damaged[len(damaged) - int(chance.integers(0, 3)) :]
        try:
            distance_code.unpack(sealing.sealed(bytes(damaged[4:])), 24)
        except UnreadableFile:
            refused += 1
    assert refused > 250
    for cut in range(0, len(code) - 1, 7):
        with pytest.raises(UnreadableFile):
            distance_code.unpack(sealing.sealed(code[4 : max(4, cut)]), 24)

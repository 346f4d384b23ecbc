"""The code of the coefficients of sounds: the same integers on every machine, and damaged codes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from inrfit.artifact import sealing
from inrfit.artifact.latents import laplace
from inrfit.artifact.spectra import scales, spectrum_code, spectrum_rate
from inrfit.errors import UnreadableFile


def exact(channels=1, frames=40, hop=64, seed=0):
    """Coefficients in steps, of which the low frequencies and some stretches are louder."""
    chance = np.random.default_rng(seed)
    loudness = np.exp(-np.arange(hop) / 12) * 3 * np.exp(2 * np.sin(np.arange(frames) / 9))[None, :, None]
    return (chance.laplace(size=(channels, frames, hop)) * loudness).astype(np.float32)


def integers(**sizes):
    return np.rint(exact(**sizes)).astype(np.int32)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("frames", "hop"), [(1, 64), (40, 64), (300, 128)])
def test_coefficients_come_back(channels, frames, hop):
    values = integers(channels=channels, frames=frames, hop=hop)
    assert np.array_equal(spectrum_code.unpack(spectrum_code.pack(values), values.shape), values)


@pytest.mark.parametrize("magnitude", [0, 1, 300, laplace.LARGEST])
def test_silence_and_outliers_come_back(magnitude):
    values = np.zeros((2, 7, 64), np.int32)
    values[1, 3, 63] = -magnitude
    code = spectrum_code.pack(values)
    assert np.array_equal(spectrum_code.unpack(code, values.shape), values)
    assert len(code) < (20 if not magnitude else 250)


def test_contexts_save_bits():
    """Against one scale for each frequency."""
    values = integers(frames=400)
    plain = 0.0
    for frequency in values[0].T:
        own = [laplace.bits(frequency, np.zeros_like(frequency), np.full_like(frequency, s)).sum() for s in range(53)]
        plain += min(own) / 8
    assert len(spectrum_code.pack(values)) < 0.95 * plain


def test_a_scale_depends_only_on_what_is_decoded_before():
    """Changing a coefficient leaves the scales of its own and of earlier phases and frames as they are."""
    values = integers(channels=2, frames=9)
    parameters = spectrum_code.fitted(values, 64)
    before = spectrum_code.scale_numbers(values, parameters, 64)
    for phase, (start, step) in enumerate(scales.PHASES):
        changed = values.copy()
        changed[0, 5, start::step] += 40
        after = spectrum_code.scale_numbers(changed, parameters, 64)
        for other in range(3):
            assert np.array_equal(before[other][0][:5], after[other][0][:5])
            same = np.array_equal(before[other][0][5], after[other][0][5])
            assert same if other <= phase else not same


def test_all_is_integers_so_that_every_machine_has_the_same_scales():
    sums = [np.arange(3000) * (k + 1) for k in range(6)]
    part = scales.Part(np.array([0, 1, 7, 30, 100, 255]), np.arange(10, 18))
    found = scales.scale_numbers(sums, part, np.arange(3000) % 8)
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()[:16] == "88556e9e60b07cd8"
    exactly = 32 * 2.0 ** ((np.arange(1, laplace.SCALES) - 0.5) / 4)
    assert np.abs(exactly % 1 - 0.5).min() > 1e-4  # no threshold is rounded the other way


def test_fitted_parameters_are_about_the_best():
    chance = np.random.default_rng(1)
    sums = chance.uniform(0, 9, (20_000, 6))
    scale = 0.5 + sums @ [0.5, 0.25, 0.0, 0.125, 0.0, 0.25]
    sample = scales.Sample(sums, np.zeros(20_000, np.int64), np.abs(np.rint(chance.laplace(scale=scale))))
    found = sample.fitted()
    np.testing.assert_allclose(found.weights / scales.WEIGHT, [0.5, 0.25, 0.0, 0.125, 0.0, 0.25], atol=0.06)


def test_damaged_codes_are_refused():
    values, chance = integers(channels=2), np.random.default_rng(3)
    code = spectrum_code.pack(values)
    refused = 0
    for _ in range(300):
        damaged = bytearray(code)
        damaged[chance.integers(4, len(code))] ^= int(chance.integers(1, 256))
        del damaged[len(damaged) - int(chance.integers(0, 3)) :]
        try:
            spectrum_code.unpack(sealing.sealed(bytes(damaged[4:])), values.shape)
        except UnreadableFile:
            refused += 1
    assert refused > 290
    for cut in range(len(code) - 1):
        with pytest.raises(UnreadableFile):
            spectrum_code.unpack(code[:cut], values.shape)
        with pytest.raises(UnreadableFile):
            spectrum_code.unpack(sealing.sealed(code[4 : max(4, cut)]), values.shape)


def test_what_costs_less_is_chosen():
    values = exact(frames=200)
    plain, chosen = np.rint(values).astype(np.int32), spectrum_rate.optimised(values, passes=3)

    def cost(found):
        return np.square(found - values).sum() + spectrum_rate.TRADE * 8 * len(spectrum_code.pack(found))

    assert cost(chosen) < 0.985 * cost(plain)

"""The code of wavelet coefficients: the same integers on every machine, and damaged codes."""

from __future__ import annotations

import gc
import hashlib
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch
from conftest import picture

import inrfit
from inrfit.artifact import latents, sealing, weight_code
from inrfit.artifact.latents import integer_wavelets, laplace, latent_code, network, rate_distortion
from inrfit.errors import UnreadableFile
from inrfit.fields.wavelet import transform
from inrfit.fields.wavelet.bands import bands, level_count


def integers(shape=(40, 52), channels=3, step=0.05, seed=0):
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.avg_pool2d(
        torch.rand(1, channels, shape[0] + 4, shape[1] + 4, generator=generator), 5, 1
    )
    found = transform.analysis(4 * smooth[0] - 2, level_count(shape))
    return {name: np.rint(values.numpy() / step).astype(np.int64) for name, values in found.items()}


def sizes(shape=(40, 52), channels=3, step=0.05):
    return latent_code.Coefficients(bands(shape, level_count(shape)), channels, step)


def test_every_table_is_a_distribution():
    for scale in range(laplace.SCALES):
        for part in range(-4, 4):
            table = laplace.frequencies(scale, part)
            assert table.sum() == 1 << 14
            assert table.min() >= 1
        assert np.array_equal(laplace.frequencies(scale, 0)[:-1], laplace.frequencies(scale, 0)[-2::-1])


def test_the_tables_are_those_of_the_specification():
    joined = np.concatenate([laplace.frequencies(scale, part) for scale in range(53) for part in range(-4, 4)])
    assert hashlib.sha256(joined.astype("<i4").tobytes()).hexdigest()[:16] == "579a4859e7c1d74d"


def test_integers_of_any_distribution_come_back():
    chance = np.random.default_rng(1)
    scales, means = chance.integers(0, laplace.SCALES, 50_000), chance.integers(-500, 500, 50_000)
    values = np.rint(means / 8 + chance.laplace(size=50_000) * 2.0 ** (scales / 4) / 32).astype(np.int64)
    values[::9999] = [10**6, -(10**6), 5000, -5000, 77777, 0]
    encoder = laplace.Encoder(3)
    for part in (slice(0, 7), slice(7, 20_000), slice(20_000, None)):
        encoder.add(values[part], means[part], scales[part])
    code, escapes = encoder.code()
    decoder = laplace.Decoder(3, code, escapes)
    for part in (slice(0, 7), slice(7, 20_000), slice(20_000, None)):
        assert np.array_equal(decoder.take(means[part], scales[part]), values[part])
    decoder.end()
    expected = laplace.bits(values, means, scales).sum() / 8
    assert len(code) + len(escapes) < 1.02 * expected + 30


@pytest.mark.parametrize("shape", [(40, 52), (17, 9), (33, 64), (9, 50), (3, 5), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_coefficients_come_back(shape, channels):
    values = integers(shape, channels)
    code = latent_code.pack(values, sizes(shape, channels))
    found = latent_code.unpack(code, sizes(shape, channels))
    assert values.keys() == found.keys()
    assert all(np.array_equal(values[name], found[name]) for name in values)


def test_low_bands_in_integers_are_those_of_the_transform():
    values = integers()
    low = values["low"] * integer_wavelets.FRACTION
    levels = level_count((40, 52))
    for level in reversed(range(levels)):
        low = integer_wavelets.finer(low, [values[f"{name}{level}"] for name in "hvd"])
    exact = transform.synthesis({name: torch.tensor(v).double() for name, v in values.items()}, levels)
    assert np.abs(low / integer_wavelets.FRACTION - exact.numpy()).max() < 0.2


def test_damaged_codes_are_refused():
    values, chance = integers(), np.random.default_rng(3)
    code = latent_code.pack(values, sizes())
    for _ in range(200):
        damaged = bytearray(code)
        damaged[chance.integers(4, len(code))] ^= int(chance.integers(1, 256))
        del damaged[len(damaged) - int(chance.integers(0, 3)) :]
        resealed = sealing.sealed(bytes(damaged[4:]))
        try:
            latent_code.unpack(resealed, sizes())
        except UnreadableFile:
            continue


def test_what_costs_less_is_chosen():
    raster = torch.tensor(picture(40, 52, 3, seed=4)).permute(2, 0, 1) / 127.5 - 1
    exact = {k: v.numpy() / np.float32(0.05) for k, v in transform.analysis(raster, 3).items()}
    plain = {name: np.rint(values).astype(np.int64) for name, values in exact.items()}
    chosen = rate_distortion.optimised(exact, sizes(), passes=4)

    def cost(integers):
        error = sum(np.square(integers[name] - exact[name]).sum() for name in exact)
        return error + rate_distortion.TRADE * 8 * len(latent_code.pack(integers, sizes()))

    assert cost(chosen) < 0.99 * cost(plain)


def test_whole_numbers_of_the_networks_stay_below_what_float32_holds():
    with resources.files(latents).joinpath("network-1.npz").open("rb") as file, np.load(file) as arrays:
        for name in (name for name in arrays if ".weight" in name and not name.startswith("restoration")):
            largest = 127 if name.startswith("first") else network.LARGEST_UNIT
            bias = np.abs(arrays[name.replace("weight", "bias")]).max()
            if name.startswith("first"):
                bias += 200 * np.abs(arrays[name.replace("weight", "step")]).max()  # steps from 2^-26 to 2^24
            assert largest * np.abs(arrays[name].astype(np.int64)).sum(-1).max() + bias < 1 << 24, name


def test_the_networks_of_an_id_never_change():
    content = resources.files(latents).joinpath("network-1.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "a7359c6e587c5de9"


def test_the_tables_of_contexts_are_the_same_on_every_machine():
    for numbers in (np.arange(4096), np.arange(4096) / 8):
        scaled = 24 * np.log1p(numbers)
        assert np.abs(scaled[scaled < 128] % 1 - 0.5).min() > 1e-4  # no logarithm is rounded the other way


def test_what_was_read_is_written_again_without_coding_it(monkeypatch):
    field = inrfit.encode(picture(40, 52, 3, seed=4), arch="wavelet", budget="1it", device="cpu")
    again = inrfit.Artifact.from_bytes(data := field.to_bytes())
    monkeypatch.setattr(latent_code, "pack", None)
    assert again.to_bytes() == data
    monkeypatch.undo()
    copied = replace(again, weights={name: weight.copy() for name, weight in again.weights.items()})
    assert copied.to_bytes() == data


def test_a_code_is_forgotten_with_its_weights():
    field = inrfit.encode(picture(24, 20, 3), arch="wavelet", budget="1it", device="cpu")
    field.to_bytes()
    before = len(weight_code._coded)
    del field
    gc.collect()
    assert len(weight_code._coded) < before

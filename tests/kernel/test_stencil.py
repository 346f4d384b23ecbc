"""Networks at places of maps: every instruction set gives what NumPy does; whole numbers exactly."""

from __future__ import annotations

import numpy as np
import pytest

from inrfit.artifact.latents import contexts, network, stencil
from inrfit.kernel import library
from inrfit.kernel import stencil as compiled

SETS = ("amx", "avx512_bf16", "avx512", "avx2", "neon")

built = pytest.mark.skipif(not library.available(), reason="the package was built without its compiled kernel")


def maps(shape, seed=0):
    """Padded maps, most of whose numbers are 0 and some as large as there are."""
    chance = np.random.default_rng(seed)
    numbers = chance.integers(-127, 128, (contexts.MAPS, shape[0] + 4, shape[1] + 4))
    return np.where(chance.random(numbers.shape) < 0.6, 0, numbers).astype(np.int8)


@built
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (9, 33), (64, 80), (17, 257)])
def test_every_instruction_set_gives_the_same_distributions(name, shape, monkeypatch):
    if name not in library.available():
        pytest.skip(f"this processor has no {name}")
    known = network.network(1)
    for phase in range(4):
        for kind, place in ((0, 0), (3, 7), (5, 17)):
            monkeypatch.setenv(library.VARIABLE, name)
            found = known.distributions(kind, phase, place, 11, maps(shape))
            monkeypatch.setenv(library.VARIABLE, "none")
            expected = known.distributions(kind, phase, place, 11, maps(shape))
            assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@built
@pytest.mark.parametrize("name", SETS)
def test_every_instruction_set_gives_nearly_the_same_offsets(name, monkeypatch):
    if name not in library.available():
        pytest.skip(f"this processor has no {name}")
    monkeypatch.setenv(library.VARIABLE, name)
    found = network.network(1).offsets(2, 4, maps((33, 70)))
    monkeypatch.setenv(library.VARIABLE, "none")
    expected = network.network(1).offsets(2, 4, maps((33, 70)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.01


def test_a_network_is_what_its_formula_says(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "none")
    chance = np.random.default_rng(1)
    sizes = ((7, 5), (7, 1), (7, 7), (7, 1), (2, 7), (2, 1))
    layers = stencil.Layers(*(chance.normal(size=size).astype(np.float32) for size in sizes))
    inputs = [(0, 0, 0), (1, 2, 1), (2, 1, 2), (3, 0, 2), (7, 2, 2)]
    own = maps((6, 8), seed=2)
    found = stencil.outputs(own, stencil.Places(inputs, (1, 0), 2, (3, 4)), layers)
    for row in range(3):
        for column in range(4):
            x = np.array([[float(own[k, 1 + 2 * row + y, 2 * column + z])] for k, y, z in inputs])
            x = np.maximum(layers.first @ x + layers.first_bias, 0)
            x = layers.last @ np.maximum(layers.second @ x + layers.second_bias, 0) + layers.last_bias
            np.testing.assert_allclose(found[:, 4 * row + column], x[:, 0], rtol=1e-5, atol=1e-4)


def test_no_places_are_no_work():
    if compiled.computes():
        layers = [np.zeros(size, np.float32) for size in ((4, 1), (4, 1), (4, 4), (4, 1), (2, 4), (2, 1))]
        assert compiled.outputs(maps((1, 1)), [(0, 0, 0)], (0, 0), 2, (0, 5), layers, (0.0, 0.0, 0.0)).shape == (2, 0)

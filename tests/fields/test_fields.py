"""What every architecture promises, over the registry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import image_signal

from inrfit.errors import UsageError
from inrfit.fields import FIELDS, FieldSpec, architecture
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.fitting import fit
from inrfit.samplers import Uniform
from inrfit.signal import Grid, Signal

RASTERS = {1: (35,), 2: (5, 7), 3: (3, 4, 5)}


FITTED = [name for name, known in FIELDS.items() if known.TRAITS.closed_form is None]
"""Architectures whose size does not follow from the signal alone; tests/fields/test_wavelet.py is about the other."""


def make(name, inputs=2, outputs=3, width=16, depth=3, seed=0):
    plain = FieldSpec(name, inputs, outputs, width, depth, {})
    spec = plain.formula.sized(plain, RASTERS[inputs], None)
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(seed), torch.zeros(outputs))
    return Field(spec, weights)


def usual(name):
    return FieldSpec(name, 2, 3, FIELDS[name].TRAITS.width, FIELDS[name].TRAITS.depth, {})


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_maps_coords_to_values(name, inputs, depth):
    field = make(name, inputs, 4, depth=depth)
    assert field(torch.zeros(7, inputs)).shape == (7, 4)


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_shapes_and_counts_are_those_of_the_tensors(name, depth):
    field = make(name, depth=depth)
    assert {key: tuple(w.shape) for key, w in field.weights.items()} == field.spec.shapes
    assert sum(w.numel() for w in field.parameters()) == field.spec.parameters


@pytest.mark.parametrize("name", FITTED)
def test_as_many_parameters_as_asked_for_and_no_more(name):
    for asked in (2_000, 20_000, 200_000):
        plain = usual(name)
        spec = plain.formula.sized(plain, (96, 64), asked)
        assert 0.8 * asked < spec.parameters <= asked


@pytest.mark.parametrize("name", FITTED)
def test_too_few_parameters_are_refused(name):
    plain = usual(name)
    with pytest.raises(UsageError):
        plain.formula.sized(plain, (96, 64), 5)


@pytest.mark.parametrize("name", FITTED)
def test_on_grid_equals_forward(name, monkeypatch):
    field, grid = make(name), Grid((5, 7))
    monkeypatch.setattr(architecture, "CHUNK", 8)
    expected = field(grid.coords(torch.arange(grid.n))).detach()
    torch.testing.assert_close(field.on_grid(grid, 0, grid.n), expected)
    torch.testing.assert_close(field.on_grid(grid, 9, 22), expected[9:22])


@pytest.mark.parametrize("name", [name for name in FITTED if not FIELDS[name].TRAITS.raster_only])
@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_slopes_in_the_coordinates_are_those_of_the_values(name, inputs):
    """Central differences of the field itself; a raster's field has none."""
    field = make(name, inputs, 2)
    coords = (torch.rand(60, inputs, generator=torch.Generator().manual_seed(2)) * 1.8 - 0.9).requires_grad_()
    slopes = torch.autograd.grad(field(coords).sum(), coords)[0]
    step = 1e-4 * torch.eye(inputs)
    with torch.no_grad():
        expected = torch.stack([(field(coords + h) - field(coords - h)).sum(1) / 2e-4 for h in step], 1)
    near = (slopes - expected).abs() < 0.05 * expected.abs().max()
    assert float(near.float().mean()) > 0.9  # the rest have a ReLU's or a grid's kink between the two


@pytest.mark.parametrize("name", FITTED)
def test_fits_a_ramp(name):
    picture = image_signal(1, 64, 1)
    ramp = np.arange(0, 256, 4, dtype=np.uint8)[:, None].copy()
    signal = Signal("image", ramp, picture.scale, picture.meta, Grid((1, 64)))
    plain = FieldSpec(name, 2, 1, 32, 2, {})
    spec = plain.formula.sized(plain, (1, 64), None)
    chosen = recipe.choose(spec, torch.device("cpu"), recipe.UserChoices(batch=64, precision="fp32")).config
    assert fit(signal, spec, Uniform(1.0), chosen, Budget(steps=300), torch.device("cpu")).quality > 30


@pytest.mark.parametrize("name", FITTED)
def test_a_constant_field_is_constant(name):
    field = make(name)
    weights = field.formula.constant(field.weights, torch.tensor([0.1, 0.2, 0.3]))
    values = Field(field.spec, {key: w.detach() for key, w in weights.items()})(torch.rand(9, 2))
    assert values.tolist() == [pytest.approx([0.1, 0.2, 0.3])] * 9


@pytest.mark.parametrize("name", FITTED)
def test_rates_and_matrices_name_tensors_that_exist(name):
    field = make(name)
    assert set(field.formula.rates()) >= set(field.weights)
    assert field.spec.fp32_tensors <= set(field.weights)
    for key in field.formula.muon_tensors() & set(field.weights):
        assert field.weights[key].dim() == 3


def test_siren_5x256_has_the_papers_size():
    spec = FieldSpec("siren", 2, 3, 256, 5, {})
    assert spec.parameters == 264_707
    assert spec.macs == 263_424


def test_siren_equals_the_papers_formula():
    """sin(omega (W x + b)) per layer with the unfolded weights."""
    field = make("siren", width=8, depth=3)
    w = {key: tensor.detach().double() for key, tensor in field.weights.items()}
    x = torch.rand(5, 2).double()
    h = torch.sin(30 * (x @ (w["first.weight"] / 30).T + w["first.bias"] / 30))
    for k in range(2):
        h = torch.sin(30 * (h @ (w["hidden.weight"][k] / 30).T + w["hidden.bias"][k] / 30))
    expected = h @ w["last.weight"].T + w["last.bias"]
    torch.testing.assert_close(field(x.float()).double(), expected, rtol=1e-5, atol=1e-5)


def test_siren_starts_in_the_papers_ranges():
    field = make("siren", width=256, depth=3)
    w = field.weights
    assert 14 < float(w["first.weight"].abs().max()) <= 15
    bound = (6 / 256) ** 0.5
    assert 0.9 * bound < float(w["hidden.weight"].abs().max()) <= bound
    assert float(w["last.weight"].abs().max()) <= bound / 30


def test_bfloat16_hidden_layers_stay_close():
    field = make("siren", width=64)
    coords = torch.rand(200, 2)
    gap = (field(coords) - field(coords, torch.bfloat16)).detach()
    assert 0 < float(gap.abs().max()) < 0.02

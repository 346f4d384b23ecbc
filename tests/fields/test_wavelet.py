"""The wavelet transform, and the field of its coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import picture

import inrfit
from inrfit.errors import UnreadableFile, UsageError
from inrfit.fields import FieldSpec
from inrfit.fields.module import Field
from inrfit.fields.wavelet import colours, transform
from inrfit.fields.wavelet.bands import bands, level_count
from inrfit.fields.wavelet.interpolation import cubic
from inrfit.signal import Grid

QUICK = {"arch": "wavelet", "budget": "1it", "device": "cpu"}  # a budget in seconds would bound the search


@pytest.mark.parametrize("shape", [(64, 96), (17, 9), (33, 64), (9, 50), (3, 5), (1, 1)])
def test_the_synthesis_of_the_analysis_is_the_raster(shape):
    raster = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    levels = level_count(shape)
    found = transform.analysis(raster, levels)
    assert {band.name: band.shape for band in bands(shape, levels)} == {k: tuple(v.shape[1:]) for k, v in found.items()}
    torch.testing.assert_close(transform.synthesis(found, levels), raster, rtol=0, atol=1e-5)


def test_an_error_of_a_coefficient_is_about_the_same_error_of_the_raster():
    levels = level_count((128, 128))
    zero = transform.analysis(torch.zeros(1, 128, 128), levels)
    for name, band in zero.items():
        changed = {k: v.clone() for k, v in zero.items()}
        changed[name][0, band.shape[1] // 2, band.shape[2] // 2] = 1
        assert 0.85 < float(transform.synthesis(changed, levels).norm()) < 1.15, name


def test_colours_are_rotated_so_that_the_first_channel_varies_most():
    noise = torch.randn(3, 40, 50, generator=torch.Generator().manual_seed(2))
    raster = torch.stack([noise[0], 0.9 * noise[0] + 0.1 * noise[1], noise[0] + 0.2 * noise[2]])
    angles = colours.decorrelating(raster)
    turned = colours.rotated(raster, angles)
    energy = turned.square().sum((1, 2))
    assert energy[0] > 50 * energy[1] > 50 * energy[2]
    torch.testing.assert_close(colours.rotated(turned, angles, back=True), raster, rtol=0, atol=1e-5)


def test_cubic_convolution_gives_lines_and_the_cells_themselves():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    raster = (2 * rows - 3 * columns)[None]
    places = torch.tensor([[3.0, 4.0], [3.25, 4.5], [2.9, 5.1]])
    coords = (2 * places + 1) / torch.tensor([8.0, 9.0]) - 1
    torch.testing.assert_close(cubic(raster, coords)[:, 0], 2 * places[:, 0] - 3 * places[:, 1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_comes_back(channels):
    source = picture(40, 56, channels)
    field = inrfit.encode(source, **QUICK)
    assert field.quality["psnr"] >= 39.9
    again = inrfit.Artifact.from_bytes(field.to_bytes())
    assert again.to_bytes() == field.to_bytes()
    assert field.measure(source).quality["psnr"] == pytest.approx(field.quality["psnr"], abs=1e-3)


@pytest.mark.parametrize("limit", [1500, 3000, 6000])
def test_no_file_is_larger_than_was_asked_for(limit):
    chance = np.random.default_rng(0)
    source = (picture(64, 96, 3) // 2 + chance.integers(0, 100, (64, 96, 3))).astype(np.uint8)
    assert limit * 0.9 < len(inrfit.encode(source, bytes=limit, **QUICK).to_bytes()) <= limit


def test_parts_gradients_and_other_sizes_are_asked_for_like_those_of_any_field():
    field = inrfit.encode(picture(40, 56, 3), **QUICK)
    whole = field.decode()
    assert np.array_equal(field.cropped("x=10:30,y=5:25").decode(), whole[5:25, 10:30])
    assert field.decode(inrfit.Request(size=(112, 80))).shape == (80, 112, 3)
    assert np.isfinite(field.query("x=10:30,y=5:25", what="gradient")).all()


def test_other_signals_and_sizes_are_refused():
    with pytest.raises(UsageError, match="works only on grids of 2 axes, and a source of type volume has 3"):
        inrfit.encode(np.zeros((8, 8, 8), np.uint8), axes="zyx", **QUICK)
    with pytest.raises(UsageError, match="has as many weights as the signal has values, here 6,723"):
        inrfit.encode(picture(40, 56, 3), params=1000, **QUICK)
    with pytest.raises(UsageError, match="the raster of this signal is 40x56"):
        inrfit.encode(picture(40, 56, 3), options={"cells": "56x40"}, **QUICK)


def drawn(shape=(13, 18), outputs=3, seed=0):
    spec = FieldSpec("wavelet", 2, outputs, 1, 1, {"cells": "x".join(map(str, shape))})
    values = torch.rand(shape[0] * shape[1], outputs, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return spec, values, spec.formula.TRAITS.closed_form(spec, values)


@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
def test_the_closed_form_has_the_values_at_all_cells(outputs):
    spec, values, weights = drawn(outputs=outputs)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == spec.shapes
    assert sum(weight.numel() for weight in weights.values()) == spec.parameters
    assert set(spec.formula.rates()) >= set(weights)
    field, grid = Field(spec, dict(weights)), Grid(spec.formula.shape)
    torch.testing.assert_close(field.on_grid(grid, 0, grid.n), values, rtol=0, atol=1e-5)
    torch.testing.assert_close(field(grid.coords(torch.arange(grid.n))).detach(), values, rtol=0, atol=1e-4)


def test_on_another_grid_it_is_what_it_is_at_the_coordinates():
    spec, _, weights = drawn()
    field, grid = Field(spec, dict(weights)), Grid((31, 40))
    expected = field(grid.coords(torch.arange(grid.n))).detach()
    torch.testing.assert_close(field.on_grid(grid, 7, 900), expected[7:900])


def test_a_constant_is_constant():
    spec, _, weights = drawn()
    constant = spec.formula.constant(weights, torch.tensor([0.1, 0.2, 0.3]))
    values = Field(spec, constant)(torch.rand(9, 2) * 2 - 1)
    assert values.tolist() == [pytest.approx([0.1, 0.2, 0.3], abs=1e-5)] * 9


def test_slopes_in_the_coordinates_are_those_of_the_values():
    spec, _, weights = drawn()
    field = Field(spec, {name: weight.double() for name, weight in weights.items()})
    coords = (torch.rand(60, 2, generator=torch.Generator().manual_seed(2)).double() * 1.8 - 0.9).requires_grad_()
    (slopes,) = torch.autograd.grad(field(coords).sum(), coords)
    with torch.no_grad():
        steps = 1e-5 * torch.eye(2).double()
        expected = torch.stack([(field(coords + h) - field(coords - h)).sum(1) / 2e-5 for h in steps], 1)
    torch.testing.assert_close(slopes, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cells", ["", "9", "9x0", "0x9", "9x9x9", "-9x9", "a", "9x9999999999", "９x9"])
def test_files_of_no_raster_are_refused(cells):
    field = inrfit.encode(picture(20, 24, 3), **QUICK)
    data = replace(field, spec=replace(field.spec, options={"cells": cells}), store="fp32")
    with pytest.raises((UnreadableFile, UsageError), match="cells="):
        inrfit.Artifact.from_bytes(data.to_bytes())


def test_16_bits_and_a_target_are_met():
    ramp = (picture(48, 64, 3).astype(np.uint16) << 8) + 7
    field = inrfit.encode(ramp, target=52, **QUICK)
    assert 52 <= field.quality["psnr"] < 53.5
    assert field.decode().dtype == np.uint16
    assert field.provenance["target_reached"]
    assert field.provenance["ended"] == "closed-form"


def test_a_constant_picture_and_the_smallest_ones_come_back():
    for shape in ((1, 1, 3), (1, 7, 1), (9, 1, 4), (2, 2, 3)):
        flat = np.full(shape, 77, np.uint8)
        assert np.array_equal(inrfit.encode(flat, **QUICK).decode(), flat)
        quality = inrfit.encode(picture(*shape), **QUICK).quality["psnr"]
        assert quality is None or quality >= 39.9  # None: all samples are equal

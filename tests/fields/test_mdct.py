"""The lapped transform, and the field of its coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.fft import dct

import inrfit
from inrfit.errors import UnreadableFile, UsageError
from inrfit.fields import FieldSpec
from inrfit.fields.mdct import lapped
from inrfit.fields.mdct.mdct import HOPS, SPECTRUM
from inrfit.fields.module import Field
from inrfit.signal import Grid

QUICK = {"arch": "mdct", "budget": "1it", "device": "cpu"}  # a budget in seconds would bound the search


def sound(samples=4000, channels=1, seed=0):
    """Two tones and some noise, in float32 (n, c)."""
    time, chance = np.arange(samples)[:, None] / 8000, np.random.default_rng(seed)
    tones = 0.4 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 1130 * time) * (time > 0.2)
    return (tones * np.linspace(1, 0.3, channels) + 0.005 * chance.standard_normal((samples, channels))).astype("f4")


@pytest.mark.parametrize("hop", [64, 128, 512])
@pytest.mark.parametrize("samples", [1, 63, 64, 65, 1000])
def test_the_synthesis_of_the_analysis_is_the_signal(samples, hop):
    signal = torch.randn(2, samples, generator=torch.Generator().manual_seed(1)).double()
    spectrum = lapped.analysis(signal, hop)
    assert spectrum.shape == (2, lapped.frame_count(samples, hop), hop)
    torch.testing.assert_close(lapped.synthesis(spectrum, 0, samples), signal)
    part = lapped.synthesis(spectrum, samples // 3, max(samples // 2, samples // 3 + 1))
    torch.testing.assert_close(part, signal[:, samples // 3 : max(samples // 2, samples // 3 + 1)])
    assert float(spectrum.square().sum()) == pytest.approx(float(signal.square().sum()))  # orthonormal


def test_coefficients_are_those_of_the_definition():
    """Princen and Bradley's sum, term by term; and SciPy's transform of the fourth kind."""
    hop, signal = 64, torch.randn(1, 300, generator=torch.Generator().manual_seed(2)).double()
    spectrum = lapped.analysis(signal, hop)[0].numpy()
    padded, n, k = np.pad(signal[0].numpy(), (hop, 2 * hop)), np.arange(2 * hop), np.arange(hop)
    cosines = np.cos(np.pi / hop * (n[:, None] + 0.5 + hop / 2) * (k + 0.5))
    for frame in range(len(spectrum)):
        windowed = padded[frame * hop : (frame + 2) * hop] * np.sin(np.pi * (n + 0.5) / (2 * hop))
        np.testing.assert_allclose(spectrum[frame], windowed @ cosines * np.sqrt(2 / hop), atol=1e-12)
    values = torch.randn(5, 96).double()
    np.testing.assert_allclose(lapped._dct4(values), dct(values.numpy(), type=4, norm="ortho"), atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_sound_comes_back(channels):
    field = inrfit.encode(sound(channels=channels), rate=8000, **QUICK)
    assert 40 <= field.quality["snr"] < 40.2
    assert field.provenance["ended"] == "closed-form"
    again = inrfit.Artifact.from_bytes(field.to_bytes())
    assert again.to_bytes() == field.to_bytes()
    assert np.array_equal(again.decode(), field.decode())


def test_one_value_silence_and_one_sample_come_back():
    for values in (np.zeros((3000, 1)), np.full((3000, 2), 0.25), np.array([[0.5]])):
        field = inrfit.encode(values.astype("f4"), rate=8000, **QUICK)
        assert np.square(field.decode() - values).sum() <= 1e-4 * np.square(values).sum()


@pytest.mark.parametrize("limit", [1500, 2500, 5000])
def test_no_file_is_larger_than_was_asked_for(limit):
    chance = np.random.default_rng(0)
    noise = (0.2 * chance.standard_normal((12000, 1))).astype("f4")
    assert 0.9 * limit < len(inrfit.encode(noise, rate=8000, bytes=limit, **QUICK).to_bytes()) <= limit


def test_a_target_is_just_reached():
    field = inrfit.encode(sound(16000), rate=8000, target=25, **QUICK)
    assert 25 <= field.quality["snr"] < 25.1
    assert field.provenance["target_reached"] is True


def test_the_hop_suits_the_sound_unless_it_is_given():
    click = np.zeros((8000, 1), "f4")
    click[::500] = 0.8
    tone = sound(8000)
    hops = [inrfit.encode(one, rate=8000, **QUICK).spec.options["hop"] for one in (click, tone)]
    assert hops[0] < 256 < hops[1]
    assert inrfit.encode(tone, rate=8000, options={"hop": 128}, **QUICK).spec.options["hop"] == 128


def test_a_long_sound_is_searched_by_excerpts(monkeypatch):
    from inrfit.artifact import spectrum_rounding

    monkeypatch.setattr(spectrum_rounding, "_EXCERPT", 256)
    field = inrfit.encode(sound(30_000, 2), rate=8000, bytes=5000, **QUICK)
    assert 4500 < len(field.to_bytes()) <= 5000
    error = np.square(field.decode() - sound(30_000, 2)).sum() / np.square(sound(30_000, 2)).sum()
    assert -10 * np.log10(error) == pytest.approx(field.quality["snr"], abs=0.01)


def test_parts_and_other_rates_are_asked_for_like_those_of_any_field():
    field = inrfit.encode(sound(), rate=8000, **QUICK)
    whole = field.decode()
    np.testing.assert_allclose(field.cropped("t=100:300").decode(), whole[100:300], atol=1e-5)
    twice = field.decode(inrfit.Request(rate=16000))
    assert twice.shape == (8000, 1)
    middle = (twice[:-1:2] + twice[1::2])[1000:3000] / 2  # two samples lie around each of the sound's own
    assert np.square(middle - whole[1000:3000]).mean() < 0.2**2 * np.square(whole).mean()


def test_other_signals_and_sizes_are_refused():
    with pytest.raises(UsageError, match="works only on grids of 1 axis, and a source of type image has 2"):
        inrfit.encode(np.zeros((8, 8), np.uint8), **QUICK)
    with pytest.raises(UsageError, match="has as many weights as the signal has values, here 5,120"):
        inrfit.encode(sound(), rate=8000, params=1000, **QUICK)
    with pytest.raises(UsageError, match="this signal has 4,000"):
        inrfit.encode(sound(), rate=8000, options={"samples": 4001}, **QUICK)
    with pytest.raises(UsageError, match="choose from 64, 128"):
        inrfit.encode(sound(), rate=8000, options={"hop": 100}, **QUICK)


def drawn(samples=500, outputs=2, hop=64):
    spec = FieldSpec("mdct", 1, outputs, 1, 1, {"samples": samples, "hop": hop})
    values = torch.rand(samples, outputs, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return spec, values, spec.formula.TRAITS.closed_form(spec, values)


@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize("hop", HOPS[:3])
def test_the_closed_form_has_the_values_at_all_samples(outputs, hop):
    spec, values, weights = drawn(outputs=outputs, hop=hop)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == spec.shapes
    assert sum(weight.numel() for weight in weights.values()) == spec.parameters
    assert set(spec.formula.rates()) >= set(weights)
    field, grid = Field(spec, dict(weights)), Grid((500,))
    torch.testing.assert_close(field.on_grid(grid, 0, 500), values, rtol=0, atol=1e-5)
    torch.testing.assert_close(field.on_grid(grid, 123, 456), values[123:456], rtol=0, atol=1e-5)
    torch.testing.assert_close(field(grid.coords(torch.arange(500))).detach(), values, rtol=0, atol=1e-4)


def test_the_channels_of_a_stereo_sound_are_rotated_so_that_the_first_varies_most():
    time = torch.linspace(0, 50, 500)
    values = torch.stack([time.sin(), 0.5 * time.sin() + 0.01 * (3 * time).cos()], 1)
    spec = drawn()[0]
    energy = spec.formula.TRAITS.closed_form(spec, values)[SPECTRUM].square().sum((1, 2))
    assert energy[0] > 1000 * energy[1]


def test_it_is_continuous_and_its_slopes_are_those_of_the_values():
    spec, _, weights = drawn()
    field = Field(spec, {name: weight.double() for name, weight in weights.items()})
    ends = (torch.arange(64, 500, 64).double()[:, None] - 0.5 + 0.5) / 250 - 1  # where frames change
    with torch.no_grad():
        torch.testing.assert_close(field(ends - 1e-9), field(ends + 1e-9), rtol=0, atol=1e-5)
    coords = (torch.rand(60, 1, generator=torch.Generator().manual_seed(2)).double() * 1.8 - 0.9).requires_grad_()
    (slopes,) = torch.autograd.grad(field(coords).sum(), coords)
    with torch.no_grad():
        expected = (field(coords + 1e-6) - field(coords - 1e-6)).sum(1, keepdim=True) / 2e-6
    torch.testing.assert_close(slopes, expected, rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("cells", [3, 480, 777])
def test_on_another_grid_it_is_what_it_is_at_the_coordinates(cells, monkeypatch):
    monkeypatch.setattr(lapped, "_TOGETHER", 100)
    spec, _, weights = drawn()
    field, grid = Field(spec, dict(weights)), Grid((cells,))
    positions = (torch.arange(cells).double() + 0.5) * (500 / cells) - 0.5
    expected = field((positions[:, None] + 0.5) / 250 - 1).detach()
    torch.testing.assert_close(field.on_grid(grid, 0, cells), expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(field.on_grid(grid, 1, cells - 1), expected[1:-1], rtol=0, atol=2e-5)


def test_a_constant_is_constant():
    spec, _, weights = drawn()
    constant = spec.formula.constant(weights, torch.tensor([0.1, 0.2]))
    values = Field(spec, constant).on_grid(Grid((500,)), 0, 500)
    torch.testing.assert_close(values, torch.tensor([[0.1, 0.2]]).expand(500, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{"samples": 0, "hop": 64}, {"samples": 9, "hop": 100}])
def test_files_of_no_sound_are_refused(options):
    field = inrfit.encode(sound(), rate=8000, **QUICK)
    data = replace(field, spec=replace(field.spec, options=options), store="fp32")
    with pytest.raises((UnreadableFile, UsageError)):
        inrfit.Artifact.from_bytes(data.to_bytes())

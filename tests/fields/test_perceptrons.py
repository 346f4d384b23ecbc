"""Every perceptron against its paper's formula written out slowly in float64, its backward pass against autograd."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
import torch
from conftest import image_signal

from inrfit.errors import UsageError
from inrfit.fields import FIELDS, FieldSpec
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.engine.backends import analytic_gradients, autograd_gradients
from inrfit.fit.engine.optimizer import Optimiser
from inrfit.modalities import MODALITIES
from inrfit.signal import Grid

VARIANTS = [
    ("siren", {}),
    ("finer", {"omega": 10.0, "first_omega": 20.0}),
    ("wire", {"omega": 20.0, "sigma": 10.0}),
    ("wire", {"variant": "2d", "omega": 8.0, "sigma": 2.0}),
    ("wire", {"variant": "real", "omega": 20.0, "sigma": 5.0}),
    ("gauss", {"scale": 3.0}),
    ("ffn", {"features": 7}),
    ("pemlp", {"frequencies": 3, "lowest": 1.5}),
    ("mlp", {}),
]


def drawn(name, options, width=20, depth=3, seed=0):
    spec = FieldSpec(name, 2, 3, width, depth, options)
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(seed), torch.tensor([0.1, 0.2, 0.3]))
    assert {key: tuple(w.shape) for key, w in weights.items()} == spec.shapes
    return spec, weights


def layers(weights):
    """(matrix, bias) of the first layer and of the hidden ones, float64."""
    w = {key: tensor.double() for key, tensor in weights.items()}
    hidden = list(zip(w["hidden.weight"], w["hidden.bias"], strict=True)) if "hidden.weight" in w else []
    return [(w["first.weight"], w["first.bias"]), *hidden]


def siren(weights, x):
    for matrix, bias in layers(weights):
        x = torch.sin(x @ matrix.T + bias)
    return x


def finer(weights, x, omega=10.0, first_omega=20.0):
    for k, (matrix, bias) in enumerate(layers(weights)):
        factor = omega if k else first_omega
        z = x @ (matrix / factor).T + bias / factor
        x = torch.sin(factor * (z.abs() + 1) * z)
    return x


def gauss(weights, x):
    for k, (matrix, bias) in enumerate(layers(weights)):
        scale = 3.0 if k else 30.0
        x = torch.exp(-((scale * (x @ (matrix / scale).T + bias / scale)) ** 2))
    return x


def wire(weights, x, variant="complex", omega=20.0, sigma=10.0):
    """With torch's own complex numbers; the first layer's window follows its frequency."""
    for k, (matrix, bias) in enumerate(layers(weights)):
        factor = omega if k else 20.0
        window = sigma * factor / omega
        maps = 1 if variant == "complex" else 2
        if k and variant != "real":
            matrices, biases = matrix.chunk(2 * maps), bias.chunk(2 * maps)
            matrices = [torch.complex(*matrices[i : i + 2]) for i in range(0, 2 * maps, 2)]
            biases = [torch.complex(*biases[i : i + 2]) for i in range(0, 2 * maps, 2)]
        else:
            matrices, biases = matrix.chunk(maps), bias.chunk(maps)
        z = [(x.to(w.dtype) @ w.T + b) / factor for w, b in zip(matrices, biases, strict=True)]
        if variant == "real":
            x = torch.cos(factor * z[0]) * torch.exp(-((window * z[1]) ** 2))
        else:
            x = torch.exp(1j * factor * z[0] - sum((window * each).abs() ** 2 for each in z))
    return x if variant == "real" else torch.cat([x.real, x.imag], 1)


def relu(weights, x):
    for matrix, bias in layers(weights):
        x = (x @ matrix.T + bias).clamp(min=0)
    return x


def ffn(weights, x):
    frequencies = weights["features"].double() / (2 * math.pi)
    phase = 2 * math.pi * x @ frequencies.T
    return relu(weights, torch.cat([phase.sin(), phase.cos()], 1))


def pemlp(weights, x):
    waves = [wave(1.5 * 2.0**k * x) for wave in (torch.sin, torch.cos) for k in range(3)]
    return relu(weights, torch.cat([x, *waves], 1))


FORMULAS = {"siren": siren, "finer": finer, "gauss": gauss, "wire": wire, "ffn": ffn, "pemlp": pemlp, "mlp": relu}
TOLD = {"wire"}
"""Formulas that want to be told the options."""


@pytest.mark.parametrize(("name", "options"), VARIANTS[1:])
@pytest.mark.parametrize("depth", [1, 3])
def test_equals_the_papers_formula(name, options, depth):
    spec, weights = drawn(name, options, depth=depth)
    coords = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    hidden = FORMULAS[name](weights, coords.double(), **(options if name in TOLD else {}))
    expected = hidden @ weights["last.weight"].double().T + weights["last.bias"].double()
    assert float(expected.std(0).min()) > 1e-4
    found = Field(spec, weights)(coords).detach().double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


def test_a_complex_last_layer_of_wire_gives_the_real_part():
    """(wr, wi) times (real parts, imaginary parts) is the real part of (wr - i wi) times the activation."""
    _, weights = drawn("wire", {"omega": 20.0, "sigma": 10.0})
    activation = torch.complex(*wire(weights, torch.rand(5, 2).double()).chunk(2, 1))
    real, imaginary = weights["last.weight"].double().chunk(2, 1)
    expected = (activation @ torch.complex(real, -imaginary).T).real
    torch.testing.assert_close(
        torch.cat([activation.real, activation.imag], 1) @ weights["last.weight"].double().T, expected
    )


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
def test_the_backward_pass_written_out_equals_autograd(name, options, depth, arithmetic):
    spec, weights = drawn(name, options, 32, depth)
    generator = torch.Generator().manual_seed(depth)
    coords = torch.rand(1024, 2, generator=generator) * 2 - 1
    values, loss_weights = torch.rand(1024, 3, generator=generator), torch.rand(1024, 1, generator=generator) / 1024
    with torch.no_grad():
        expected_residuals, expected = autograd_gradients(spec.formula, arithmetic)(
            weights, coords, values, loss_weights
        )
        residuals, found = analytic_gradients(spec.formula, arithmetic)(weights, coords, values, loss_weights)
    torch.testing.assert_close(residuals, expected_residuals)
    assert found.keys() == expected.keys() == spec.shapes.keys()
    for key, gradient in expected.items():
        assert found[key].dtype == torch.float32
        error = (found[key] - gradient).norm()
        assert error <= (1e-5 if arithmetic == torch.float32 else 0.03) * gradient.norm(), key
        assert key == "features" or bool(gradient.any()), key


@pytest.mark.parametrize("name", [n for n, k in FIELDS.items() if not (k.TRAITS.raster_only or k.TRAITS.closed_form)])
def test_bfloat16_hidden_layers_stay_close(name):
    spec, weights = drawn(name, {}, 64)
    field, coords = Field(spec, weights), torch.rand(200, 2, generator=torch.Generator().manual_seed(2))
    exact = field(coords).detach()
    gap = (exact - field(coords, torch.bfloat16)).detach()
    assert 0 < float(gap.square().mean().sqrt()) < 0.05 * float(exact.std())


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("mode", ["backward", "forward"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own forward mode
def test_the_slope_along_an_axis_is_that_of_the_papers_formula(name, options, mode):
    """Central differences of the formula in float64."""
    spec, weights = drawn(name, options)
    coords = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    field, told = Field(spec, weights), options if name in TOLD else {}

    def formula(at):
        hidden = FORMULAS[name](weights, at, **told)
        return (hidden @ weights["last.weight"].double().T).sum(1)

    for axis in (0, 1):
        along = torch.zeros(50, 2)
        along[:, axis] = 1.0
        step = 1e-6 * along.double()
        expected = (formula(coords.double() + step) - formula(coords.double() - step)) / 2e-6
        if mode == "forward":
            found = torch.func.jvp(field, (coords,), (along,))[1].sum(1)
        else:
            leaf = coords.clone().requires_grad_()
            found = torch.autograd.grad(field(leaf).sum(), leaf)[0][:, axis]
        error = (found.detach().double() - expected).norm() / expected.norm()
        assert float(error) < 5e-3  # a ReLU's kink lies within rounding of one of the points


@pytest.mark.parametrize("depth", [1, 3])
def test_finer_is_taught_with_the_authors_gradients(depth):
    """The authors' gradients, with the factor |z| + 1 held, by autograd on their formula in float64."""
    spec, weights = drawn("finer", VARIANTS[1][1], depth=depth)
    generator = torch.Generator().manual_seed(depth)
    coords, values = torch.rand(50, 2, generator=generator) * 2 - 1, torch.rand(50, 3, generator=generator)
    leaves = {name: w.double().requires_grad_() for name, w in weights.items()}
    x = coords.double()
    for k, (matrix, bias) in enumerate(layers(leaves)):
        factor = 10.0 if k else 20.0
        z = x @ (matrix / factor).T + bias / factor
        x = torch.sin(factor * (z.abs() + 1).detach() * z)
    residual = x @ leaves["last.weight"].T + leaves["last.bias"] - values
    expected = torch.autograd.grad((residual**2).sum(), list(leaves.values()))
    for make in (autograd_gradients, analytic_gradients):
        with torch.no_grad():
            found = make(spec.formula, torch.float32)(weights, coords, values, torch.ones(50, 1))[1]
        for name, gradient in zip(leaves, expected, strict=True):
            assert float((found[name].double() - gradient).norm() / gradient.norm()) < 1e-4


def test_finers_growing_frequency_counts_as_a_constant():
    """d sin(omega (|z| + 1) z) / dz = omega (|z| + 1) cos(...), as in the authors' code."""
    finer = FIELDS["finer"]()
    phase = torch.linspace(-40, 40, 9)[:, None].requires_grad_()
    (slope,) = torch.autograd.grad(finer.activate(phase, False, False).sum(), phase)
    z = phase.detach().double() / 30
    expected = (z.abs() + 1) * torch.cos(30 * (z.abs() + 1) * z)
    torch.testing.assert_close(slope.double(), expected, rtol=1e-4, atol=1e-4)


def test_fourier_features_stay_exactly_as_drawn():
    spec, weights = drawn("ffn", {})
    before = weights["features"].clone()
    settings = spec.formula
    for muon in (0.0, 1e-2):
        optimiser = Optimiser(weights, settings.rates(), settings.muon_tensors(), 1e-2, muon)
        for _ in range(3):
            with torch.no_grad():
                _, found = autograd_gradients(settings, torch.float32)(
                    weights, torch.rand(9, 2), torch.rand(9, 3), torch.full((9, 1), 0.1)
                )
            optimiser.step(found, torch.tensor(1.0))
    assert torch.equal(weights["features"], before)
    assert float((weights["first.weight"] - drawn("ffn", {})[1]["first.weight"]).abs().min()) > 0


@pytest.mark.parametrize(
    ("name", "options", "bounds"),
    [
        ("finer", {}, {"first.weight": 30 / 2, "first.bias": 30 / 2**0.5, "hidden.weight": (6 / 256) ** 0.5}),
        ("finer", {"first_bias": 5.0}, {"first.bias": 150.0}),
        ("gauss", {"scale": 30.0}, {"first.weight": 30 / 2**0.5, "first.bias": 30 / 2**0.5, "hidden.weight": 30 / 16}),
        (
            "wire",
            {"omega": 20.0},
            {"first.weight": 20 / 2**0.5, "hidden.weight": 20 / 181**0.5, "last.weight": 1 / 181**0.5},
        ),
        ("ffn", {}, {"first.weight": 1 / 16, "hidden.weight": 1 / 16, "last.weight": 1 / 16}),
        ("pemlp", {}, {"first.weight": 1 / 42**0.5, "first.bias": 1 / 42**0.5}),
        ("mlp", {}, {"first.weight": 1 / 2**0.5, "hidden.bias": 1 / 16}),
    ],
)
def test_starts_in_the_papers_ranges(name, options, bounds):
    _, weights = drawn(name, options, 256)
    for key, bound in bounds.items():
        assert 0.97 * bound < float(weights[key].abs().max()) <= bound * 1.0001, key
    assert weights["last.bias"].tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_fourier_features_are_normal():
    _, weights = drawn("ffn", {"features": 4000, "sigma": 3.0})
    assert float(weights["features"].std()) == pytest.approx(2 * math.pi * 3, rel=0.05)
    assert abs(float(weights["features"].mean())) < 1


@pytest.mark.parametrize("variant", ["complex", "2d", "real"])
def test_wire_is_about_as_large_as_a_real_perceptron_of_its_width(variant):
    made = FieldSpec("wire", 2, 3, 256, 5, {"variant": variant}).parameters
    assert made == pytest.approx(FieldSpec("siren", 2, 3, 256, 5, {}).parameters, rel=0.02)


def test_an_unknown_variant_is_refused():
    with pytest.raises(UsageError, match="complex"):
        _ = FieldSpec("wire", 2, 3, 16, 2, {"variant": "3d"}).formula


@pytest.mark.parametrize("name", [name for name, known in FIELDS.items() if known.TRAITS.frequency_scaling])
@pytest.mark.parametrize("modality", ["audio", "shape"])
def test_frequencies_follow_the_signal(name, modality, monkeypatch):
    for kind, first_omega in (("audio", 900.0), ("shape", 60.0)):
        known = replace(MODALITIES[kind], first_omega=lambda signal, omega=first_omega: (omega,))
        monkeypatch.setitem(MODALITIES, kind, known)
    signal = replace(image_signal(), modality=modality)
    omega, paper = {"audio": (900.0, 150.0), "shape": (60.0, 15.0)}[modality]
    formula = FieldSpec(name, 1, 1, 16, 2, {"tiles": "1"} if name == "tiles" else {}).formula
    found = recipe.architecture_options(signal, formula)
    theirs = recipe.architecture_options(signal, formula, "paper")
    assert found
    for key, value in found.items():
        assert value == pytest.approx(formula.TRAITS.frequency_scaling[key][modality] * omega)
        assert theirs[key] == pytest.approx(asdict(formula)[key] * paper / 30)
    assert FieldSpec(name, 1, 1, 16, 2, found).shapes == FieldSpec(name, 1, 1, 16, 2, {}).shapes


@pytest.mark.parametrize(
    ("shape", "omega", "factors"),
    [
        ((64, 48), 30.0, None),
        ((200, 400), 60.0, "1x2"),
        ((900, 64), 30.0, "4x1"),
        ((512, 768), 120.0, None),
        ((1, 300), 90.0, None),
        ((1, 1), 30.0, None),
        ((64, 144, 176), 30.0, "1x1.44x1.76"),
    ],
)
def test_short_axes_start_with_lower_frequencies(shape, omega, factors):
    signal = replace(image_signal(), grid=Grid(shape))
    found = recipe.architecture_options(signal, FIELDS["siren"]())
    assert found == {"first_omega": pytest.approx(omega)} | ({"axis_factors": factors} if factors else {})
    assert recipe.architecture_options(signal, FIELDS["finer"]()) == {}


def test_factors_of_the_axes_scale_the_first_frequencies():
    spec = FieldSpec("siren", 3, 1, 16, 2, {})
    generator = torch.Generator()
    equal, scaled = (
        replace(spec, options=options).formula.initial(spec, generator.manual_seed(0), torch.zeros(1))
        for options in ({}, {"axis_factors": "0.5x1x4"})
    )
    torch.testing.assert_close(scaled["first.weight"], equal["first.weight"] * torch.tensor([0.5, 1.0, 4.0]))
    assert all(torch.equal(scaled[name], equal[name]) for name in equal if name != "first.weight")


@pytest.mark.parametrize("factors", ["", "1x", "2x2", "-1", "1e3", "0", "1001", "1x1x1x1x1", "nan"])
def test_factors_of_the_axes_that_do_not_fit_are_refused(factors):
    spec = FieldSpec("siren", 3, 1, 16, 2, {"axis_factors": factors})
    with pytest.raises(UsageError, match="axis_factors"):
        spec.formula.sized(spec, (4, 4, 4), None)


def test_the_papers_regime_has_the_papers_frequencies():
    signal = image_signal()
    assert recipe.architecture_options(signal, FIELDS["gauss"](), "paper") == {"scale": 30.0}
    assert recipe.architecture_options(signal, FIELDS["wire"](), "paper") == {"omega": 20.0, "sigma": 10.0}
    assert recipe.architecture_options(signal, FIELDS["siren"](), "paper") == {}
    assert recipe.architecture_options(signal, FIELDS["gauss"]()) == {}


def test_exponentials_stay_away_from_the_end_of_float32():
    """Subnormal numbers are many times as slow."""
    for name, options in VARIANTS:
        if name in ("gauss", "wire"):
            spec, _ = drawn(name, options | ({"scale": 1e3} if name == "gauss" else {"sigma": 1e3}))
            phase = torch.linspace(-300, 300, 61 * 12).view(61, 12)
            found = spec.formula.activate(phase, False, False).abs()
            assert float(found.max()) > 0
            assert not bool(((found > 0) & (found < 1e-30)).any())

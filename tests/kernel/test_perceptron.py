"""Every instruction set of the kernel computes what the formula says; without the library everything works by torch."""

from __future__ import annotations

import pytest
import torch
from conftest import image_signal

from inrfit.errors import UsageError
from inrfit.fields import FieldSpec, kernel_passes
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.engine import precision
from inrfit.fit.engine_choice import choose_engine
from inrfit.fit.fitting import fit
from inrfit.kernel import library, perceptron
from inrfit.runtime import limited_threads
from inrfit.samplers import Uniform

CPU = torch.device("cpu")
SETS = ("amx", "avx512_bf16", "avx512", "avx2", "neon")
FLOAT32_SETS = [name for name in SETS if name not in library.BFLOAT16_SETS]

built = pytest.mark.skipif(not library.available(), reason="the package was built without its compiled kernel")

SPECS = [
    FieldSpec("siren", 2, 3, 256, 5, {"first_omega": 90.0}),
    FieldSpec("siren", 3, 4, 96, 4, {}),
    FieldSpec("siren", 1, 1, 40, 2, {}),
    FieldSpec("siren", 2, 3, 64, 1, {}),
    FieldSpec("siren", 2, 60, 100, 3, {}),
    FieldSpec("siren", 3, 1, 8, 3, {}),
    FieldSpec("siren", 2, 3, 16, 3, {}),
    FieldSpec("siren", 2, 3, 5, 2, {}),
    FieldSpec("siren", 2, 3, 512, 2, {}),
    FieldSpec("finer", 2, 3, 64, 4, {"first_omega": 20.0}),
    FieldSpec("gauss", 2, 3, 72, 3, {}),
    FieldSpec("mlp", 2, 3, 64, 3, {}),
    FieldSpec("pemlp", 2, 3, 64, 3, {}),
    FieldSpec("ffn", 2, 3, 64, 3, {"features": 20}),
    FieldSpec("grid", 2, 3, 64, 2, {"finest": "30x40"}),
    FieldSpec("grid", 2, 3, 64, 2, {"finest": "30x40", "interpolation": "quadratic"}),
    FieldSpec("grid", 3, 2, 16, 2, {"finest": "9x8x7", "table": 100, "interpolation": "quadratic"}),
    FieldSpec("grid", 2, 3, 24, 2, {"finest": "12x9", "features": 9, "interpolation": "quadratic"}),
    FieldSpec("grid", 1, 1, 20, 1, {"finest": "99", "levels": 5, "growth": 1.5, "features": 3}),
    FieldSpec("grid", 3, 1, 32, 3, {"finest": "20x16x9", "levels": 3, "table": 300, "features": 2}),
    FieldSpec("grid", 3, 2, 24, 2, {"finest": "5x6x4", "levels": 2, "planes": "7x20x9", "interpolation": "quadratic"}),
    FieldSpec("grid", 4, 1, 16, 2, {"finest": "3", "levels": 2, "planes": "9x1x8x7", "features": 7, "table": 60}),
    FieldSpec("tiles", 2, 3, 32, 4, {"tiles": "3x2"}),
    FieldSpec("tiles", 2, 2, 24, 3, {"tiles": "5x7", "overlap": 0.6}),
    FieldSpec("tiles", 1, 1, 5, 2, {"tiles": "9", "overlap": 1.0}),
    FieldSpec("tiles", 3, 4, 16, 1, {"tiles": "2x3x1", "overlap": 0.3}),
    FieldSpec("tiles", 4, 1, 8, 3, {"tiles": "2", "overlap": 0.3}),
    FieldSpec("tiles", 2, 3, 32, 3, {"tiles": "40x30"}),
]


def named(spec):
    return f"{spec.architecture} {spec.depth}x{spec.width}"


def given(spec, n=300):
    """Weights, coords, values and loss_weights."""
    generator = torch.Generator().manual_seed(n)
    weights = spec.formula.initial(spec, generator, torch.zeros(spec.outputs))
    if "table" in weights:
        weights["table"] *= 1e4  # the first features are tiny
    coords, values = (torch.rand(n, count, generator=generator) * 2 - 1 for count in (spec.inputs, spec.outputs))
    return weights, coords, values, torch.rand(n, 1, generator=generator) / n


def errors(found, expected):
    """Of residuals and of all gradients, relative to their size."""
    pairs = [(found[0], expected[0]), *((found[1][name], expected[1][name]) for name in expected[1])]
    return [float((one - other).norm() / other.norm()) if other.any() else float(one.norm()) for one, other in pairs]


@pytest.fixture(params=SETS)
def instructions(request):
    """Each instruction set; those that this processor, or the build, does not have are skipped."""
    if request.param not in library.available():
        pytest.skip(f"no {request.param} here")
    return request.param


@built
@pytest.mark.parametrize("spec", SPECS, ids=named)
def test_gradients_equal_those_of_the_formula(spec, instructions):
    for n in (1, 31, 300, 1000):
        arguments = given(spec, n)
        exact = spec.formula.gradients(*arguments, torch.float32)
        found = kernel_passes.gradients(spec.formula, *arguments, instructions)
        assert {name: tuple(gradient.shape) for name, gradient in found[1].items()} == spec.shapes
        if instructions in FLOAT32_SETS:
            assert max(errors(found, exact)) < 2e-5
            continue
        rounded = spec.formula.gradients(*arguments, torch.bfloat16)
        for ours, usual in zip(errors(found, exact), errors(rounded, exact), strict=True):
            assert ours < 2 * usual + 0.01


@built
@pytest.mark.parametrize("spec", SPECS, ids=named)
def test_values_equal_those_of_the_formula(spec, instructions):
    weights, coords, _, _ = given(spec, 700)
    exact = spec.formula.forward(weights, coords, torch.float32)
    found = kernel_passes.values(spec.formula, weights, coords, instructions)
    if instructions in FLOAT32_SETS:
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)
    else:
        rounded = spec.formula.forward(weights, coords, torch.bfloat16)
        assert float((found - exact).norm()) < 2 * float((rounded - exact).norm()) + 0.01 * float(exact.norm())


@built
def test_the_same_threads_give_the_same_gradients_and_any_give_the_same_values(instructions):
    spec, arguments = SPECS[1], given(SPECS[1], 3000)
    found, values = [], []
    for threads in (1, 1, 3, 3, 16):
        with limited_threads(threads):
            found.append(kernel_passes.gradients(spec.formula, *arguments, instructions))
            values.append(kernel_passes.values(spec.formula, *arguments[:2], instructions))
    assert all(torch.equal(values[0], other) for other in values)
    for one, other in ((0, 1), (2, 3)):
        for name, gradient in found[one][1].items():
            assert torch.equal(gradient, found[other][1][name])
    for other in found[1:]:
        assert max(errors(found[0], other)) < 1e-5


@built
@pytest.mark.parametrize("width", [8, 16, 32])
@pytest.mark.parametrize("threads", [1, 2])
def test_many_fields_at_once_equal_each_of_them(instructions, width, threads):
    spec = FieldSpec("siren", 2, 3, width, 3, {})
    each = [given(spec, n)[0] for n in range(1, 8)]
    points = [tuple(torch.rand(90 + 40 * k, count) for count in (2, 3, 1)) for k in range(7)]
    activation = spec.formula.kernel_activation(2)
    with limited_threads(threads):
        residuals, gradients = perceptron.gradients_of_many(activation, each, points, instructions)
    for k, weights in enumerate(each):
        with limited_threads(1):
            alone = perceptron.gradients(activation, weights, *points[k], instructions)
        assert torch.equal(residuals[k], alone[0])
        assert all(torch.equal(gradients[k][name], alone[1][name]) for name in alone[1])


@built
def test_without_memory_it_says_so(monkeypatch):
    spec = SPECS[0]

    class Poor:
        @staticmethod
        def inrfit_gradients(*arguments):
            return 1

    monkeypatch.setattr(perceptron, "library", lambda: Poor)
    with pytest.raises(MemoryError):
        kernel_passes.gradients(spec.formula, *given(spec), library.available()[0])


@built
def test_it_computes_perceptrons_and_grids_of_moderate_width():
    for architecture in ("siren", "finer", "gauss", "mlp", "pemlp", "ffn", "grid"):
        assert kernel_passes.instructions_of(FieldSpec(architecture, 2, 3, 64, 3, {}), torch.float32)
    wire, wide = FieldSpec("wire", 2, 3, 64, 3, {}), FieldSpec("siren", 2, 3, 513, 3, {})
    assert [kernel_passes.instructions_of(spec, torch.float32) for spec in (wire, wide)] == [None] * 2


@built
@pytest.mark.parametrize("name", [*SETS, "none"])
def test_one_set_can_be_forced(monkeypatch, name):
    monkeypatch.setenv(library.VARIABLE, name)
    is_there = name in library.available()
    found = [library.instruction_set(bfloat16) for bfloat16 in (False, True)]
    assert found == [name if is_there and (name in library.BFLOAT16_SETS) == bfloat16 else None for bfloat16 in (0, 1)]


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
def test_a_fit_says_which_instructions_it_used_and_learns_the_same(monkeypatch, arithmetic):
    spec, signal = FieldSpec("siren", 2, 3, 64, 3, {}), image_signal()
    found = {}
    for forced in ("none", ""):
        monkeypatch.setenv(library.VARIABLE, forced)
        instructions = kernel_passes.instructions_of(spec, torch.bfloat16 if arithmetic == "bf16" else torch.float32)
        config = recipe.choose(spec, CPU, recipe.UserChoices(batch=64, precision=arithmetic)).config
        found[forced] = fit(signal, spec, Uniform(), config, Budget(steps=60), CPU)
        name = "analytic" if instructions is None else f"kernel ({instructions})"
        assert found[forced].final_settings["engine"] == name
    assert found[""].quality == pytest.approx(found["none"].quality, abs=0.02 if arithmetic == "fp32" else 1.0)


def test_a_library_that_is_missing_or_of_another_platform_is_not_used(monkeypatch, tmp_path):
    other = tmp_path / "kernel.so"
    for write in (lambda: None, lambda: other.write_bytes(b"\x7fELF of another processor")):
        write()
        monkeypatch.setattr(library, "PATH", other)
        assert library.library.__wrapped__() is None
    monkeypatch.setattr(library, "available", lambda: ())
    spec = FieldSpec("siren", 2, 3, 64, 3, {})
    assert choose_engine(spec, CPU, Budget(steps=9), torch.float32, 64)[0] == "analytic"
    with pytest.raises(UsageError, match="kernel"):
        recipe.choose(spec, CPU, recipe.UserChoices(engine="kernel"))


@built
def test_the_precision_is_that_of_the_faster_kernel(monkeypatch):
    spec = FieldSpec("siren", 2, 3, 64, 3, {})
    for speeds, expected in (
        ({"fp32": 5, "bf16": 6}, "bf16"),
        ({"fp32": 5, "bf16": 5.5}, "fp32"),
        ({"fp32": 5}, "fp32"),
    ):
        monkeypatch.setattr(precision, "probe_kernel", lambda spec: speeds)  # noqa: B023
        assert recipe.choose(spec, CPU, budget=Budget(seconds=60)).config.precision == expected
    monkeypatch.undo()
    assert set(precision.probe_kernel(spec)) <= {"fp32", "bf16"}


@built
def test_batches_are_long_where_the_kernel_makes_steps_fast_and_there_are_enough_of_them(monkeypatch):
    spec = FieldSpec("siren", 2, 3, 64, 3, {})

    def batch(seconds, **more):
        asked = recipe.UserChoices(**{"precision": "bf16", **more})
        return recipe.choose(spec, CPU, asked, budget=Budget(seconds=seconds)).config.batch

    if library.instruction_set(bfloat16=True):
        assert (batch(3), batch(10)) == (4096, recipe.KERNEL_BATCH)
    assert batch(10, precision="fp32") == 4096
    assert batch(10, engine="analytic") == 4096
    assert batch(10, batch=512) == 512


@built
def test_evaluating_a_field_uses_it_and_equals_the_formula(monkeypatch):
    spec = FieldSpec("finer", 2, 3, 64, 3, {})
    weights, coords, _, _ = given(spec, 500)
    field = Field(spec, weights)
    calls = []
    monkeypatch.setattr(kernel_passes, "values", lambda *given: calls.append(1) or original(*given))
    torch.testing.assert_close(field.evaluate(coords), field(coords).detach(), rtol=1e-4, atol=1e-5)
    assert calls
    monkeypatch.setenv(library.VARIABLE, "none")
    assert torch.equal(field.evaluate(coords), field(coords).detach())
    assert len(calls) == 1


original = kernel_passes.values


@built
@pytest.mark.parametrize("name", FLOAT32_SETS)
def test_phases_beyond_the_range_of_the_sine_are_finite_and_what_is_not_a_number_stays_so(name):
    if name not in library.available():
        pytest.skip(f"this processor has no {name}")
    for architecture in ("siren", "finer", "gauss", "mlp"):
        spec = FieldSpec(architecture, 1, 1, 16, 2, {})
        weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(1))
        coords = torch.linspace(-1, 1, 50)[:, None]
        large = {**weights, "first.weight": weights["first.weight"] * 1e9}
        assert kernel_passes.values(spec.formula, large, coords, name).isfinite().all()
        unknown = {**weights, "first.weight": weights["first.weight"] * float("nan")}
        assert kernel_passes.values(spec.formula, unknown, coords, name).isnan().all()


@built
@pytest.mark.parametrize("name", FLOAT32_SETS)
def test_grids_are_read_within_their_tables_whatever_the_coordinates(name):
    if name not in library.available():
        pytest.skip(f"this processor has no {name}")
    finest = 2**23 + 2  # from 2^23 on, adding a half rounds up
    spec = FieldSpec("grid", 1, 1, 4, 1, {"finest": str(finest), "levels": 1, "interpolation": "quadratic"})
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(1))
    coords = torch.tensor([-1.0, 1.0, 1 - 2.0**-24, float("nan"), float("inf"), -float("inf")])[:, None]
    ours = kernel_passes.values(spec.formula, weights, coords, name)
    assert ours.isfinite().all()
    torch.testing.assert_close(ours[:3], spec.formula.forward(weights, coords[:3], torch.float32), atol=1e-5, rtol=1e-4)


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "sse9")
    with pytest.raises(UsageError, match="INRFIT_KERNEL=sse9: choose from amx, avx2"):
        library.instruction_set(False)


def test_without_the_kernel_a_fit_says_that_it_is_slower(monkeypatch):
    monkeypatch.setattr(library, "available", tuple)
    spec = FieldSpec("siren", 2, 3, 16, 2, {})
    made = recipe.choose(spec, CPU, recipe.UserChoices(batch=64, precision="fp32")).config
    found = fit(image_signal(16, 16), spec, Uniform(), made, Budget(steps=5), CPU)
    assert any("the compiled kernel is not installed" in note for note in found.notes)

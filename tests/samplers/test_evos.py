"""EVOS: two parents, a fresh mutation, a loss term; and none of the errors of the released code."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from conftest import image_signal
from test_samplers import learner
from torch.nn.functional import conv2d

from inrfit.fields import FieldSpec
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.engine.backends import analytic_gradients, autograd_gradients
from inrfit.fit.engine.step import Engine
from inrfit.fit.fitting import fit
from inrfit.samplers import Evos
from inrfit.samplers.evos import NO_LAPLACIAN_NOTE, crossover_positions, laplacian_error
from inrfit.samplers.loss_terms import GREY_LEVELS, LUMA, LaplacianLoss, laplacian_at
from inrfit.signal import Grid

CPU = torch.device("cpu")
STENCIL = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]


def curved(raster):
    """The Laplacian the slow way."""
    return conv2d(raster[None, None], STENCIL, padding=1)[0, 0]


def test_curvature_is_the_difference_of_the_laplacians_of_non_square_pictures():
    generator = torch.Generator().manual_seed(0)
    shown, true = torch.rand(5, 9, generator=generator), torch.rand(5, 9, generator=generator)
    expected = ((curved(shown) - curved(true)) * GREY_LEVELS).square().reshape(-1)
    torch.testing.assert_close(laplacian_error(shown - true, torch.arange(45)), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_supervision_is_the_gradient_of_the_term(channels):
    generator = torch.Generator().manual_seed(channels)
    cached = torch.rand(6, 7, generator=generator)
    indices = torch.randperm(42, generator=generator)[:17]
    residuals = torch.rand(17, channels, generator=generator, requires_grad=True)
    mix = torch.tensor([*LUMA, 0.0][:channels] if channels >= 3 else [1.0])
    pasted = cached.reshape(-1).index_put((indices,), residuals @ mix).view(6, 7)
    loss = 1e-5 * (curved(pasted) * GREY_LEVELS).reshape(-1)[indices].square().mean()
    (expected,) = torch.autograd.grad(loss, residuals)
    found = LaplacianLoss(1e-5, cached.clone()).gradient(indices, residuals.detach())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("depth", [1, 3])
def test_both_engines_add_the_term_alike(depth):
    signal = image_signal()
    spec = FieldSpec("siren", 2, 3, 32, depth, {})
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    coords, values = signal.on(CPU).take(torch.arange(100))
    loss_weights = torch.full((100, 1), 1 / 300)

    def extra_gradient(residuals):
        return LaplacianLoss(1e-3, torch.zeros(24, 32)).gradient(torch.arange(100), residuals)

    plain = autograd_gradients(spec.formula, torch.float32)(weights, coords, values, loss_weights, extra_gradient)[1]
    explicit = analytic_gradients(spec.formula, torch.float32)(weights, coords, values, loss_weights, extra_gradient)[1]
    without = analytic_gradients(spec.formula, torch.float32)(weights, coords, values, loss_weights)[1]
    for name, gradient in plain.items():
        torch.testing.assert_close(explicit[name], gradient, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(explicit["last.weight"], without["last.weight"], rtol=1e-3)


def test_a_step_with_the_term_lowers_the_laplacian_more():
    signal = image_signal()
    everything = torch.arange(signal.n)
    found = []
    for terms in ((), (LaplacianLoss(1e-3, torch.zeros(24, 32)),)):
        spec = FieldSpec("siren", 2, 3, 32, 3, {})
        weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
        engine = Engine(
            Field(spec, weights),
            signal.on(CPU),
            recipe.choose(spec, CPU, recipe.UserChoices(batch=0, precision="fp32")).config,
        )
        for _ in range(40):
            residuals = engine.step(everything, None, 0.5, terms)
        found.append(float(curved((residuals @ torch.tensor(LUMA)).view(24, 32)).square().mean()))
    assert found[1] < found[0]


def test_crossover_keeps_what_both_parents_have_and_shares_the_open_places():
    error = torch.tensor([9.0, 8, 7, 6, 0, 0, 0, 0])
    bent = torch.tensor([9.0, 0, 0, 0, 8, 7, 6, 0])
    found = set(crossover_positions(error, bent, 4).tolist())  # both: 0; means 3.75: half each of three places, rounded
    assert 0 in found
    assert len(found) == 4
    assert {1, 2} <= found
    assert 4 in found


def test_a_parent_without_a_place_gives_nothing():
    error, bent = torch.arange(10.0), torch.zeros(10)
    assert set(crossover_positions(error, bent, 3).tolist()) == {9, 8, 7}


def test_survivors_stay_between_fitness_steps_and_the_mutation_does_not():
    of = learner(image_signal())
    sampler, previous, chosen = Evos(ratio=0.5), None, []
    for k in range(30):
        of.step, of.progress = k, k / 1000  # fitness at 0 and at 2 %
        previous = sampler.select(of, previous)
        chosen.append(previous)
        of.trained_batches.clear()
        of.trained_batches.append((previous.indices, torch.rand(previous.indices.shape[0], 3)))
    assert all(torch.equal(chosen[k].memory["hard"], chosen[0].memory["hard"]) for k in range(20))
    assert not torch.equal(chosen[20].memory["hard"], chosen[19].memory["hard"])
    hard = chosen[0].memory["hard"].shape[0]
    assert hard == 24 * 32 // 4
    assert not torch.equal(chosen[1].indices[hard:], chosen[2].indices[hard:])


def test_seventy_two_fitness_steps_in_the_papers_regime():
    of, sampler, previous, passes = learner(image_signal(2, 3)), Evos(scoring=1.0), None, 0
    for k in range(5000):
        of.step, of.progress = k, k / 5000
        previous = sampler.select(of, previous)
        of.trained_batches.clear()
        indices = torch.arange(6) if previous.indices is None else previous.indices
        of.trained_batches.append((indices, of.residuals(indices)))
        passes += previous.indices is None
    assert 66 <= passes <= 72  # 72 where the counter is not reset; intervals of 100 to 50 counted down make 69


def test_signals_without_a_raster_are_selected_by_error_with_a_note():
    line = dataclasses.replace(image_signal(1, 50), grid=Grid((50,)))
    spec = FieldSpec("siren", 1, 3, 16, 2, {})
    made = recipe.choose(spec, CPU, recipe.UserChoices(batch=0, precision="fp32", regime="paper")).config
    fitted = fit(line, spec, Evos(), made, Budget(steps=5), CPU)
    assert NO_LAPLACIAN_NOTE in fitted.notes
    assert NO_LAPLACIAN_NOTE not in fit(line, spec, Evos(coefficient=0.0), made, Budget(steps=5), CPU).notes


def test_the_term_does_not_depend_on_the_pieces_of_a_step():
    signal = image_signal()
    chosen = torch.randperm(signal.n, generator=torch.Generator().manual_seed(2))[:400]
    found = []
    for piece in (8192, 100):
        spec = FieldSpec("siren", 2, 3, 32, 3, {})
        weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
        engine = Engine(
            Field(spec, weights),
            signal.on(CPU),
            recipe.choose(spec, CPU, recipe.UserChoices(batch=0, precision="fp32")).config,
        )
        engine.chunk_size = piece
        for _ in range(3):
            residuals = engine.step(chosen, None, 0.5, (LaplacianLoss(1e-3, torch.zeros(24, 32)),))
        found.append(residuals)
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-4)


def test_a_fit_that_diverged_leaves_no_trace_in_the_map():
    of, sampler = learner(image_signal()), Evos()
    first = sampler.select(of, None)
    of.trained_batches.append((first.indices, torch.full((first.indices.shape[0], 3), math.nan)))
    second = sampler.select(of, first)
    assert bool(second.memory["grey"].isfinite().all())
    residuals = torch.zeros(of.n, 3)
    residuals[7] = math.inf
    found = second.loss_terms[0].gradient(torch.arange(of.n), residuals)
    assert bool(found.isfinite().all())


def test_the_laplacian_of_a_volume_takes_the_neighbours_along_all_axes():
    raster = torch.rand(5, 6, 7, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(raster, (1, 1) * 3)
    expected = -6 * raster
    for axis in range(3):
        for shift in (0, 2):
            part = padded.narrow(axis, shift, raster.shape[axis])
            for other in {0, 1, 2} - {axis}:
                part = part.narrow(other, 1, raster.shape[other])
            expected = expected + part
    torch.testing.assert_close(laplacian_at(raster, torch.arange(210)), expected.reshape(-1))

"""Several fits at once give each field what it has alone."""

import numpy as np
import pytest
import torch
from conftest import image_signal

from inrfit.errors import Diverged
from inrfit.fields import FieldSpec
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.engine import stack
from inrfit.fit.fitting import Fit, fit, run_together
from inrfit.fit.outcome import Outcome
from inrfit.fit.progress import BudgetTracker
from inrfit.runtime import limited_threads
from inrfit.samplers import SAMPLERS

CPU = torch.device("cpu")


def arguments(k, spec, steps=25, sampler="full", **choices):
    """Those of ``fit`` for the k-th of several pictures."""
    signal = image_signal(20 + k % 3, 24, seed=k)
    budget = Budget(steps=steps)
    chosen = recipe.choose(spec, CPU, recipe.UserChoices(**choices), budget, signal.n).config
    return signal, spec, SAMPLERS[sampler](), chosen, budget, CPU, k


def started(signal, spec, sampler, config, budget, device, seed, **further):
    return Fit(signal, spec, sampler, config, BudgetTracker(budget, lambda: 0.0, 0.0), device, seed, **further)


def together(given, **further):
    fits = [started(*each, **further) for each in given]
    run_together(fits)
    return [each.result() for each in fits]


def equal(one, other):
    pairs = zip(one.field.weights.values(), other.field.weights.values(), strict=True)
    return one.quality == other.quality and all(torch.equal(*pair) for pair in pairs)


def spec_of(architecture, width=32, **options):
    return FieldSpec(architecture, 2, 3, width, 2, options)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("architecture", ["siren", "finer", "gauss", "pemlp", "wire", "tiles", "grid"])
def test_a_field_does_not_depend_on_those_beside_it(architecture, count):
    spec = spec_of(architecture, 16 if architecture in ("tiles", "grid") else 32)
    given = [arguments(k, spec, lr=1e-3) for k in range(count)]
    with limited_threads(1):
        alone = [fit(*each) for each in given]
    for threads in (1, 2) if architecture in ("siren", "finer") else (1,):  # then threads share the fields
        with limited_threads(threads):
            assert all(map(equal, alone, together(given)))


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "full"])
def test_every_strategy_has_the_same_fields_together_and_alone(sampler):
    given = [arguments(k, spec_of("siren"), sampler=sampler, batch=100) for k in range(3)]
    with limited_threads(1):
        assert all(map(equal, [fit(*each) for each in given], together(given)))


def test_fields_of_other_shapes_are_fitted_beside_each_other():
    given = [arguments(0, spec_of("siren")), arguments(1, spec_of("siren", 16)), arguments(2, spec_of("finer"))]
    with limited_threads(1):
        assert all(map(equal, [fit(*each) for each in given], together(given)))


def test_steps_of_equal_fields_are_made_by_one_call(monkeypatch):
    sizes = []
    honest = stack.KernelBackend.gradients_of_many

    def counted(self, weights, points):
        sizes.append(len(weights))
        return honest(self, weights, points)

    monkeypatch.setattr(stack.KernelBackend, "gradients_of_many", counted)
    given = [arguments(k, spec_of("siren", 16 if k == 2 else 32), steps=5) for k in range(4)]
    if given[0][3].engine != "kernel":
        pytest.skip("there is no kernel")
    together(given)
    assert sizes == [3, 1] * 5  # the third field has another size


def test_a_fit_that_ends_earlier_leaves_the_others_as_they_are():
    """One is exact before it starts, one is stopped, one reaches its target, one diverges."""
    given = [arguments(k, spec_of("siren"), steps=60) for k in range(5)]
    flat = image_signal(20, 24)
    flat = type(flat)("image", np.full_like(flat.samples, 7), flat.scale, flat.meta, flat.grid)
    given[0] = (flat, *given[0][1:])
    given[2] = (*given[2][:4], Budget(steps=60, target=15.0), *given[2][5:])
    wild = recipe.choose(spec_of("siren"), CPU, recipe.UserChoices(lr=50.0), Budget(steps=60), 480).config
    given[3] = (*given[3][:3], wild, *given[3][4:])
    with limited_threads(1):
        expected = [fit(*given[k]) for k in (2, 4)]
        fits = [started(*each, should_stop=stop) for each, stop in zip(given, stops(), strict=True)]
        run_together(fits)
        results = [fits[k].result() for k in (0, 1, 2, 4)]
        with pytest.raises(Diverged):
            fits[3].result()
    outcomes = [Outcome.EXACT, Outcome.INTERRUPTED, Outcome.TARGET, Outcome.STEPS]
    assert [each.outcome for each in results] == outcomes
    assert all(map(equal, expected, results[2:]))


def stops():
    """Whether to stop, for each of five fits: the second one at its thirtieth step."""
    calls = iter(range(10**6))
    return [lambda: False, lambda: next(calls) > 30, *[lambda: False] * 3]

"""Errors of the released codes that no strategy here may have."""

from __future__ import annotations

import pytest
import torch
from conftest import image_signal
from test_samplers import learner, selections

from inrfit.fields import FieldSpec
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.context import start_fit
from inrfit.fit.fitting import fit
from inrfit.fit.loop import Loop
from inrfit.fit.progress import BudgetTracker
from inrfit.modalities.image import quality
from inrfit.samplers import SAMPLERS, Int, Nint

CPU = torch.device("cpu")


def running(sampler, batch=64, steps=40):
    signal = image_signal()
    spec = FieldSpec("siren", 2, 3, 16, 2, {})
    chosen = recipe.choose(spec, CPU, recipe.UserChoices(batch=batch, precision="fp32")).config
    tracker = BudgetTracker(Budget(steps=steps), lambda: 0.0, 0.0)
    return Loop(*start_fit(signal, spec, sampler, chosen, tracker, CPU, 0, bool, None, None))


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "full"])
def test_the_batches_of_a_selection_are_different_points(name):
    """INT's megapixel loop hands the last batch's points to every batch of an epoch."""
    loop = running(SAMPLERS[name](ratio=0.2), batch=50)
    taught = torch.cat([loop.take_batch()[0] for _ in range(3)])  # a selection has 153 points
    assert taught.unique().shape[0] == 150


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_carries_nothing_from_one_signal_to_the_next(name):
    """One selector object for all tiles re-used the points of the last one."""
    sampler = SAMPLERS[name]()
    alone = [s.indices for s in selections(sampler, learner(image_signal()), rounds=3)]
    list(selections(sampler, learner(image_signal(9, 50, seed=1)), rounds=3))
    after = [s.indices for s in selections(sampler, learner(image_signal()), rounds=3)]
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(alone, after, strict=True))


@pytest.mark.parametrize("name", SAMPLERS)
def test_selections_neither_use_nor_touch_the_global_generator(name):
    """EVOS's code seeds it from entropy at every call."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append([s.indices for s in selections(SAMPLERS[name](), learner(image_signal()), rounds=6)])
        assert torch.equal(before, torch.get_rng_state())
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("refresh", ["dense2", "reverse-incremental"])
def test_a_reused_selection_is_judged_by_fresh_predictions(refresh):
    """INT's and NINT's selectors return old predictions, or the values themselves, when no look is due."""
    loop = running(Int(refresh=refresh), batch="selection")
    for _ in range(4):
        step = loop.begin()
        coords, values = loop.context.samples.take(step.indices)
        with torch.no_grad():
            expected = loop.context.field(coords) - values
        found = loop.context.engine.step(*step)
        loop.complete(found)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert float(found.abs().min(0).values.max()) > 0


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_reported_quality_is_that_of_the_weights_returned(name):
    """The released loops measure predictions made before the update, on scoring steps only."""
    signal = image_signal()
    spec = FieldSpec("siren", 2, 3, 16, 2, {})
    found = fit(
        signal,
        spec,
        SAMPLERS[name](),
        recipe.choose(spec, CPU, recipe.UserChoices(batch=64, precision="fp32")).config,
        Budget(steps=30),
        CPU,
    )
    coords, values = signal.on(CPU).take(torch.arange(signal.n))
    with torch.no_grad():
        assert quality.estimate(found.field(coords), values, signal) == pytest.approx(found.quality)


def test_no_quota_is_no_points():
    """[-0:] takes everything."""
    of = learner(image_signal())
    for selection in selections(Nint(schedule="paper", ratio=0.2, xi=1.0), of, rounds=3):
        assert selection.origin == {"ntk": 0, "error": 0, "chance": 153}


def test_dense2_looks_every_second_step():
    """NINT's code calls an interval of 5 by that name."""
    of = learner(image_signal())
    first = Int(refresh="dense2").select(of, None)
    of.step = 1
    assert Int(refresh="dense2").select(of, first) is first
    of.step = 2
    assert Int(refresh="dense2").select(of, first) is not first

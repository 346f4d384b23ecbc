"""stream: drawn in proportion to the map, weighted back, spread over the signal, never scored."""

from __future__ import annotations

import dataclasses
import inspect
import math

import pytest
import torch
from conftest import image_signal
from test_samplers import learner

from inrfit.fields import FieldSpec
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.fitting import fit
from inrfit.kernel import library, sampling
from inrfit.samplers import Stream, overdue, proportional
from inrfit.signal import Grid


def with_map(of, errors, sampler):
    """A selection made from this map (n,), and the map as it is remembered."""
    first = sampler.select(of, None)
    memory = dict(first.memory)
    memory["errors"] = errors[memory["order"].long()].clone()
    return dataclasses.replace(first, memory=memory)


@pytest.mark.parametrize("hard", [0.0, 0.5, 1.0])
def test_points_are_drawn_as_often_as_their_error_says(hard):
    of, sampler = learner(image_signal()), Stream(ratio=0.1, hard=hard, limit=5.0)
    errors = torch.rand(of.n, generator=torch.Generator().manual_seed(0)) + 0.1
    before = with_map(of, errors, sampler)
    rounds, hits = 600, torch.zeros(of.n)
    share = 0.1 * (1 - hard + hard * errors / errors.mean())
    for number in range(1, rounds + 1):
        before = sampler.select(of, before)
        hits[before.indices] += 1
        assert (hits - number * share).abs().max() < 3  # at any time, not only on average


def test_weights_undo_as_much_of_the_odds_as_is_asked():
    of = learner(image_signal())
    errors = torch.rand(of.n) + 0.1
    for temper in (0.5, 1.0):
        sampler = Stream(hard=0.5, temper=temper)
        found = sampler.select(of, with_map(of, errors, sampler))
        expected = (0.5 + 0.5 * errors / errors.mean())[found.indices] ** -temper
        torch.testing.assert_close(found.weights, expected)
    sampler = Stream(temper=0.0)
    assert sampler.select(of, with_map(of, errors, sampler)).weights is None


def test_the_plain_mean_is_kept_with_temper_one():
    of, sampler = learner(image_signal()), Stream(hard=0.9, temper=1.0, limit=5.0)
    generator = torch.Generator().manual_seed(1)
    errors, losses = torch.rand(of.n, generator=generator), torch.rand(of.n, generator=generator)
    before = with_map(of, errors, sampler)
    means = []
    for _ in range(400):
        before = sampler.select(of, before)
        means.append(float((before.weights * losses[before.indices]).mean()))
    assert sum(means) / len(means) == pytest.approx(float(losses.mean()), rel=0.02)


def test_every_batch_covers_the_picture_evenly():
    of = learner(image_signal(64, 64))
    of.batch = 64
    found = Stream(ratio=0.5).select(of, None)
    assert found.keep_order
    assert found.indices.shape[0] == 32 * 64
    assert found.indices.unique().shape[0] == 32 * 64
    for batch in found.indices.split(64):
        rows, columns = batch // 64, batch % 64
        blocks = rows // 8 * 8 + columns // 8
        assert blocks.unique().shape[0] == 64


def test_nothing_is_ever_scored_and_the_map_holds_the_errors_of_trained_points():
    of, sampler = learner(image_signal()), Stream(ratio=0.25, power=2.0)
    first = sampler.select(of, None)
    residuals = torch.rand(first.indices.shape[0], 3)
    of.trained_batches.append((first.indices, residuals))
    second = sampler.select(of, first)
    known = torch.empty(of.n)
    known[second.memory["order"].long()] = second.memory["errors"]
    torch.testing.assert_close(known[first.indices], residuals.sum(-1) ** 2)
    unseen = torch.ones(of.n, dtype=torch.bool)
    unseen[first.indices] = False
    torch.testing.assert_close(known[unseen], (residuals.sum(-1) ** 2).mean().expand(int(unseen.sum())))
    assert of.scoring_cost.passes == 0
    assert of.scoring_cost.forwards == 0


@pytest.mark.parametrize("shape", [(37, 50), (1, 1850), (1850,)])
def test_long_signals_are_mapped_in_cells(shape, monkeypatch):
    monkeypatch.setattr(proportional, "MAX_ERROR_CELLS", 200)
    signal = dataclasses.replace(image_signal(1, math.prod(shape)), grid=Grid(shape))
    of = learner(signal)
    of.batch = 16
    side, previous = proportional.cell_side(of), None
    for _ in range(6):
        previous = Stream(ratio=0.03).select(of, previous)
        assert previous.indices.unique().shape[0] == previous.indices.shape[0]
        assert 0 <= int(previous.indices.min()) <= int(previous.indices.max()) < signal.n
        of.trained_batches[:] = [(batch, torch.rand(batch.shape[0], 3)) for batch in previous.indices.split(16)]
    assert f"blocks of {side}" in previous.note
    cells = previous.memory["order"].long()
    assert cells.shape[0] <= 200
    assert torch.equal(proportional.cell_indices(of, proportional.sample_in_cells(of, cells, side), side), cells)


def drawn(errors, hard, highest, count, batches, compiled, monkeypatch):
    """The entries drawn from a map, their densities, and the draws that all are due."""
    if not compiled:
        monkeypatch.setattr(sampling, "computes", lambda *tensors: False)
    of, order = learner(image_signal()), torch.arange(errors.shape[0], dtype=torch.int32)
    due = torch.rand(errors.shape[0], generator=torch.Generator().manual_seed(0))
    return overdue.draw(of, errors, order, 0.3, due, hard, highest, count, batches)


@pytest.mark.parametrize("compiled", [True, False])
def test_errors_too_large_for_one_step_are_drawn_once_and_others_in_proportion(compiled, monkeypatch):
    errors = torch.full((5000,), 1e-3)
    errors[:5] = 1000.0
    found, _, due = drawn(errors, 0.9, 50.0, 100, 1, compiled, monkeypatch)
    assert found.unique().shape[0] == 100
    assert set(range(5)) <= set(found.tolist())
    assert 800 < found[found >= 5].float().mean() < 4200
    assert float(due.sum()) == pytest.approx(2500, rel=0.03)  # as before: as much is drawn as falls due


@pytest.mark.parametrize("tail", [1, 12])
@pytest.mark.parametrize(
    ("entries", "count", "batches"), [(100_000, 8000, 4), (1000, 900, 9), (5000, 5000, 1), (7, 3, 1), (1, 1, 1)]
)
def test_the_kernel_draws_what_torch_draws(entries, count, batches, tail, monkeypatch):
    if not library.available():
        pytest.skip("the package was built without its compiled kernel")
    errors = torch.rand(entries, generator=torch.Generator().manual_seed(tail)) ** tail
    (ours, density, due), (usual, expected, usually_due) = (
        drawn(errors, 0.9, min(10.0, entries / count), count, batches, compiled, monkeypatch)
        for compiled in (True, False)
    )
    assert ours.unique().shape[0] == usual.unique().shape[0] == count
    assert float((ours == usual).float().mean()) > 0.9  # sums are rounded differently, which shifts stretches by one
    assert float(density.mean()) == pytest.approx(float(expected.mean()), rel=0.02)
    assert float((due - usually_due).abs().mean()) < 0.05


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("start", [0.3, math.nan, -5.0, 1e30])
def test_the_kernel_draws_within_its_map_from_a_damaged_state(broken, start):
    if not library.available():
        pytest.skip("the package was built without its compiled kernel")
    errors, due = torch.full((50_000,), broken), torch.full((50_000,), math.nan)
    order, turns = torch.arange(50_000, dtype=torch.int32), torch.zeros(500, dtype=torch.int64)
    for damaged in (errors, torch.where(torch.arange(50_000) == 7, errors, 1.0)):
        found = sampling.draw(damaged, order, 0.5, (1e-3, 10.0), 2000, start, due, turns)[0]
        assert found.unique().shape[0] == 2000
        assert 0 <= int(found.min()) <= int(found.max()) < 50_000


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("due", [torch.zeros(0), torch.zeros(1), torch.zeros(1152), torch.zeros(1000).double()])
def test_a_state_with_another_number_of_due_draws_is_refused(due, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(sampling, "computes", lambda *tensors: False)
    of, order = learner(image_signal()), torch.arange(1000, dtype=torch.int32)
    draw = inspect.unwrap(overdue.draw)  # not the one whose types the tests check
    with pytest.raises(ValueError, match="do not match the map"):
        draw(of, torch.ones(1000), order, 0.3, due, 0.5, 10.0, 100, 1)


def test_shares_make_no_more_points_than_there_are():
    assert proportional._counts(5, {"ntk": 0.5, "error": 0.5}) == {"ntk": 2, "error": 3}


def test_the_kernel_records_what_torch_records():
    if not library.available():
        pytest.skip("the package was built without its compiled kernel")
    rank, indices = torch.randperm(5000).int(), torch.randperm(5000)[:3000]
    residuals = torch.rand(3000, 3) - 0.5
    residuals[:2] = torch.tensor([[math.nan], [math.inf]])
    for power in (1.5, 0.7):
        ours, usual = torch.zeros(5000), torch.zeros(5000)
        sampling.record(ours, rank, indices, residuals, proportional.MAX_ERROR, power)
        usual[rank[indices].long()] = proportional._powers(residuals, power)
        torch.testing.assert_close(ours, usual)


def test_hard_points_are_trained_more_in_a_whole_fit():
    signal = image_signal(48, 64)
    spec = FieldSpec("siren", 2, 3, 16, 2, {})
    times = torch.zeros(signal.n)

    def count(moment):
        times[moment.indices] += 1

    made = recipe.choose(spec, torch.device("cpu"), recipe.UserChoices(batch=128, precision="fp32")).config
    found = fit(signal, spec, Stream(), made, Budget(steps=300), torch.device("cpu"), on_step=count)
    coords, values = signal.on(torch.device("cpu")).take(torch.arange(signal.n))
    errors = (found.field(coords).detach() - values).abs().sum(-1)
    assert float(torch.corrcoef(torch.stack([times, errors]))[0, 1]) > 0.3
    assert found.usage["scoring_passes"] == 0


@pytest.mark.parametrize(("size", "batch"), [((70, 100), 4096), ((64, 64), 1000), ((5, 5), 4096)])
def test_no_point_is_left_out_for_good(size, batch):
    of = learner(image_signal(*size))
    of.batch = batch
    previous, seen = None, set()
    for _ in range(12):
        previous = Stream(ratio=1.0).select(of, previous)
        seen |= set(previous.indices.tolist())
        of.trained_batches[:] = [(previous.indices, torch.rand(previous.indices.shape[0], 3))]
    assert len(seen) == of.n


def test_long_signals_are_steered_as_strongly_as_short_ones(monkeypatch):
    monkeypatch.setattr(proportional, "MAX_ERROR_CELLS", 4000)
    of = learner(image_signal(120, 160))
    of.batch = 16
    sampler = Stream()
    first = sampler.select(of, None)
    places = first.memory["order"].shape[0]
    assert places <= 1000
    assert first.indices.shape[0] == 16 * (places // 10 // 16)


def test_a_fit_that_diverged_leaves_no_trace_in_the_map():
    of = learner(image_signal())
    of.batch = 64
    sampler, previous = Stream(), None
    for size in (1.0, math.nan, math.inf, 1.0):
        previous = sampler.select(of, previous)
        of.trained_batches[:] = [(previous.indices, torch.full((previous.indices.shape[0], 3), size))]
    assert bool(previous.memory["errors"].isfinite().all())
    assert bool(previous.weights.isfinite().all())


def test_the_kernel_refuses_points_and_ranks_outside_the_map():
    if not library.available():
        pytest.skip("the package was built without its compiled kernel")
    residuals, most = torch.rand(2, 3), proportional.MAX_ERROR
    for indices, last in ((torch.tensor([0, 5]), 4), (torch.tensor([-1, 0]), 4), (torch.tensor([0, 4]), 1 << 30)):
        rank = torch.tensor([0, 1, 2, 3, last], dtype=torch.int32)
        with pytest.raises(IndexError):
            sampling.record(torch.zeros(5), rank, indices, residuals, most, 1.5)

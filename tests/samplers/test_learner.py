"""NTK scores against the explicit Jacobian, draws, pools, costs."""

from __future__ import annotations

import pytest
import torch
from conftest import image_signal
from test_samplers import Movable

from inrfit.fields import FIELDS, FieldSpec
from inrfit.fields.module import Field
from inrfit.samplers.learner import MIN_SCORING_POINTS, Learner, ScoringCost


def learner(height=6, width=5, width_of_field=8, depth=2, seed=0, name="siren"):
    signal = image_signal(height, width)
    options = {"omega": 5.0, "first_omega": 7.0} if name == "siren" else {}
    plain = FieldSpec(name, 2, 3, width_of_field, depth, options)
    spec = plain.formula.sized(plain, (height, width), None)
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(seed), torch.zeros(3))
    samples = signal.on(torch.device("cpu"))
    return Movable(Field(spec, weights), samples, torch.Generator().manual_seed(1), torch.float32)


def explicit_scores(of: Learner) -> torch.Tensor:
    """|K g|^2 per point from the Jacobian with respect to the paper's, unfolded, parameters, built row by row."""
    coords, values = of.samples.take(torch.arange(of.n))
    rates = of.field.formula.rates()
    rows = []
    predicted = of.field(coords)
    for entry in predicted.reshape(-1):
        gradients = torch.autograd.grad(
            entry, list(of.field.weights.values()), retain_graph=True, materialize_grads=True
        )
        rows.append(
            torch.cat([(g * rates[name]).reshape(-1) for name, g in zip(of.field.weights, gradients, strict=True)])
        )
    jacobian = torch.stack(rows)
    g = (predicted - values).detach().reshape(-1)
    return (jacobian @ (jacobian.T @ g)).reshape(of.n, 3).square().sum(-1)


@pytest.mark.parametrize("name", [name for name, known in FIELDS.items() if known.TRAITS.closed_form is None])
def test_ntk_scores_equal_the_explicit_jacobian(name):
    of = learner(name=name)
    scores, residuals = of.ntk_scores()
    torch.testing.assert_close(scores, explicit_scores(of), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(residuals, of.residuals())


def test_ntk_scores_do_not_depend_on_the_chunks():
    of = learner()
    whole, _ = of.ntk_scores()
    of.chunk_size = 7
    pieces, _ = of.ntk_scores()
    torch.testing.assert_close(whole, pieces, rtol=1e-4, atol=1e-6)


def test_coord_gradients_are_the_slopes_of_each_points_own_error():
    """Central differences of |f(x + h) - y|, with the coordinates moved and the values held."""
    of = learner()
    indices = torch.tensor([3, 0, 17, 29])
    residuals, gradients = of.coord_gradients(indices)
    coords, values = of.samples.take(indices)

    def error(at):
        with torch.no_grad():
            return (of.field(at) - values).abs().sum(-1)

    for axis in range(2):
        h = torch.zeros(2)
        h[axis] = 1e-3
        slopes = (error(coords + h) - error(coords - h)) / 2e-3
        torch.testing.assert_close(gradients[:, axis], slopes, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(residuals, of.residuals(indices))


def test_coord_gradients_do_not_depend_on_the_chunks_and_count_two_forwards_a_point():
    of = learner()
    indices = torch.arange(of.n)
    whole = of.coord_gradients(indices)
    of.chunk_size = 7
    pieces = of.coord_gradients(indices)
    for a, b in zip(whole, pieces, strict=True):
        torch.testing.assert_close(a, b)
    assert of.scoring_cost == ScoringCost(4.0 * of.n, 2, 2 * of.n)


def test_scoring_counts_its_cost():
    of = learner()
    of.residuals(torch.arange(10))
    of.ntk_scores(torch.arange(5))
    assert of.scoring_cost == ScoringCost(40.0, 2, 15)


def test_candidates_keep_scoring_within_its_share():
    of = learner(160, 160)
    of.points_trained = 1_000_000
    pool = of.scoring_candidates(6.0, 0.04)
    assert pool is not None
    assert len(set(pool.tolist())) == pool.shape[0]
    assert 6 * pool.shape[0] <= 0.04 / 0.96 * 3_000_000
    of.scoring_cost.add(pool.shape[0], 6.0)
    assert of.scoring_candidates(6.0, 0.04) is None


def test_the_first_pass_may_run_into_debt_for_the_fewest_points():
    of = learner(200, 200)
    pool = of.scoring_candidates(1.0, 0.04)
    assert pool is not None
    assert pool.shape[0] == MIN_SCORING_POINTS


def test_a_budget_too_short_for_debt_gets_no_first_pass():
    of = learner(200, 200)
    of.progress = 0.4
    assert of.scoring_candidates(1.0, 0.04) is None


def test_a_share_of_one_scores_everything():
    assert learner(200, 200).scoring_candidates(6.0, 1.0).shape[0] == 40_000


@pytest.mark.parametrize(("count", "barred"), [(5, 0), (300, 100), (39_000, 500), (40_000, 0), (900, 39_500)])
def test_draws_are_distinct_and_leave_out_what_is_barred(count, barred):
    of = learner(200, 200)
    without = torch.arange(barred) if barred else None
    drawn = of.draw(count, without)
    assert drawn.shape[0] == min(count, 40_000 - barred)
    assert len(set(drawn.tolist())) == drawn.shape[0]
    assert int(drawn.min()) >= barred


def test_draws_are_uniform():
    of = learner(200, 200)
    hits = torch.zeros(40_000)
    for _ in range(200):
        hits[of.draw(2000)] += 1
    quarters = hits.reshape(4, -1).sum(1) / hits.sum()
    assert float((quarters - 0.25).abs().max()) < 0.005

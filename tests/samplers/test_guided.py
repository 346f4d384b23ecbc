"""What egra, expansive and soft-mining say they do."""

from __future__ import annotations

import pytest
import torch
from conftest import image_signal
from test_edge_map import shape_signal, sound_signal
from test_samplers import learner, selections

from inrfit.samplers import Egra, Expansive, SoftMining
from inrfit.samplers.edge_map import find_edges
from inrfit.samplers.egra import sample_wallenius

GUIDED = [Egra, Expansive, SoftMining]
SIGNALS = {
    "sound": sound_signal([int(9000 * (k % 37 > 20)) + k for k in range(300)]),
    "one sample": sound_signal([7]),
    "shape": shape_signal([(k - 150) / 150 for k in range(300)]),
    "one point": shape_signal([0.5]),
    "picture": image_signal(20, 15, 4),
}


@pytest.mark.parametrize("ratio", [0.2, 1.0])
@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("kind", GUIDED)
def test_every_modality_is_selected_from(kind, name, ratio):
    signal = SIGNALS[name]
    for selection in selections(kind(ratio=ratio), learner(signal), rounds=8):
        found = selection.indices.tolist()
        assert len(found) == len(set(found)) == max(1, int(ratio * signal.n))
        assert min(found) >= 0
        assert max(found) < signal.n
        assert sum(selection.origin.values()) == len(found)


def test_egra_draws_as_a_weighted_draw_without_replacement():
    of = learner(image_signal())
    weights = torch.cat([torch.full((30,), 4.0), torch.ones(70)])
    slow = [int((torch.multinomial(weights, 40, generator=of.generator) < 30).sum()) for _ in range(400)]
    fast = [sample_wallenius(of, 40, 30, 70, 4.0) for _ in range(400)]
    assert sum(fast) / 400 == pytest.approx(sum(slow) / 400, abs=0.6)
    assert torch.tensor(fast).double().std() == pytest.approx(float(torch.tensor(slow).double().std()), rel=0.2)


def test_egra_has_no_limit_of_points():
    """torch.multinomial ends at 2^24 of them."""
    drawn = sample_wallenius(learner(image_signal()), 10_000, 1 << 28, 1 << 29, 1.39)
    assert drawn / 10_000 == pytest.approx(1.39 / 3.39, abs=0.03)


def test_egra_favours_edges_by_the_published_odds():
    of = learner(image_signal(80, 60))
    hits = sum(s.origin["edge"] for s in selections(Egra(0.05), of, rounds=60)) / (60 * 240)

    share = sum(find_edges(of, None).count(shift) for shift in (6, 7, 8, 9)) / 4 / of.n
    assert hits == pytest.approx(1.39 * share / (1.39 * share + 1 - share), abs=0.02)


def test_expansive_keeps_its_anchors_and_selects_the_others_in_turn():
    of = learner(image_signal(40, 30))
    first, *later = list(selections(Expansive(0.2), of, rounds=8))
    anchored = first.origin["edge"]
    assert 0 < anchored <= 120
    rest = set()
    for selection in later:
        assert torch.equal(selection.indices[:anchored], first.indices[:anchored])
        rest |= set(selection.indices[anchored:].tolist())
    assert len(rest) > 3 * (240 - anchored)
    assert first.weights is None


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 3.0), (0.5, 2.0), (1.0, 1.0)])
def test_expansive_weighs_as_the_nerf_code_when_asked(progress, factor):
    """The weighted mean of any errors is in proportion to MSE(anchors) + c MSE(rest)."""
    of = learner(image_signal(40, 30))
    of.progress = progress
    selection = Expansive(weighting="nerf").select(of, None)
    anchored = selection.origin["edge"]
    errors = torch.rand(selection.indices.shape[0])
    weighted = (selection.weights * errors).sum() / selection.weights.sum()
    expected = (errors[:anchored].mean() + factor * errors[anchored:].mean()) / (1 + factor)
    torch.testing.assert_close(weighted, expected)


def late(signal, sampler, progress=0.9):
    """The third selection, late in the fit."""
    of = learner(signal)
    previous = None
    for _ in range(3):
        of.progress, of.points_trained = progress, 10**9
        previous = sampler.select(of, previous)
    return of, previous


@pytest.mark.parametrize("name", ["picture", "shape"])
def test_soft_mining_corrects_once(name):
    """The weight is e^-alpha, clamped, and nothing else."""
    of, found = late(SIGNALS[name], SoftMining())
    error = of.residuals(found.indices).abs().sum(-1)
    expected = error.clamp_min(2.0**-10).pow(-0.6)
    expected = expected.clamp(0.2, float(expected.mean() + expected.std(correction=0)))
    torch.testing.assert_close(found.weights, expected, rtol=1e-3, atol=1e-4)


def test_soft_mining_drifts_by_the_log_gradient_of_each_walker_alone():
    """In the units of the position, whatever the correction is and however many walk with it."""
    signal = image_signal(20, 33)
    for alpha in (0.0, 1.0):
        of, found = late(signal, SoftMining(alpha=alpha))
        alone = found.indices[:5]
        residuals, gradients = of.coord_gradients(alone)
        expected = 2 * gradients / residuals.abs().sum(-1).clamp_min(2.0**-10)[:, None]
        torch.testing.assert_close(found.memory["steepness"][:5], expected, rtol=1e-3, atol=1e-4)


def test_soft_mining_moves_up_the_error():
    """Without noise, walkers that are neither out of bounds nor re-drawn stand a step up their slope."""
    signal = image_signal(20, 33)
    of = learner(signal)
    sampler = SoftMining(b=0.0, ratio=0.05, a=1.0)
    first = sampler.select(of, None)
    of.points_trained = 10**9
    second = sampler.select(of, first)
    expected = first.memory["places"] + first.memory["steepness"] / 4096
    walked = ((second.memory["places"] - expected).abs() < 1e-7).all(1)
    assert int(walked.sum()) == second.origin["walk"] > 15


def test_soft_mining_puts_walkers_into_the_cells_they_stand_in():
    """A wide picture: the port of EVOS takes the height for the stride."""
    _, found = late(image_signal(11, 47), SoftMining(ratio=0.1))
    places = found.memory["places"]
    rows, columns = (places[:, 0] * 11).long().clamp(0, 10), (places[:, 1] * 47).long().clamp(0, 46)
    assert torch.equal(found.indices, rows * 47 + columns)


def test_soft_mining_moves_no_walker_uniformly_when_a_tenth_is_none():
    """The last 0 of a few walkers are none of them: [-0:] would be all."""
    of = learner(image_signal(20, 20))
    sampler = SoftMining(ratio=9 / 400, a=0.0, b=0.0)
    first = sampler.select(of, None)
    of.points_trained = 10**9
    second = sampler.select(of, first)
    assert second.origin == {"walk": 9, "edge": 0, "chance": 0}
    assert torch.equal(first.indices, second.indices)


def test_soft_mining_gathers_where_the_error_is():
    """On a point set: after many offers walkers are there in proportion to the error."""
    signal = shape_signal([1.0 if k < 500 else -0.2 for k in range(5000)])
    of = learner(signal)
    of.points_trained = 10**9
    error = of.residuals().abs().sum(-1)
    previous = None
    hits = []
    for _ in range(60):
        previous = SoftMining(ratio=0.02).select(of, previous)
        hits.append(float(error[previous.indices].mean()))
    assert sum(hits[20:]) / 40 > 1.05 * float(error.mean())
    assert sum(hits[20:]) / 40 == pytest.approx(float(error.square().mean() / error.mean()), rel=0.1)


def test_soft_mining_selects_again_what_it_cannot_afford_to_move():
    of = learner(image_signal())
    sampler = SoftMining(scoring=0.2)
    first = sampler.select(of, None)
    of.points_trained = first.indices.shape[0]
    assert sampler.select(of, first) is first
    of.points_trained *= 3
    assert sampler.select(of, first) is not first

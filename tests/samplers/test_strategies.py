"""What each strategy says it does."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import image_signal
from test_samplers import learner, selections

from inrfit.samplers import Int, Nint, Uniform
from inrfit.samplers.int import refresh_interval, scheduled_ratio


def test_uniform_selects_every_point_once_an_epoch():
    of = learner(image_signal(10, 10))
    epoch = torch.cat([s.indices for _, s in zip(range(5), selections(Uniform(0.2), of), strict=False)])
    assert sorted(epoch.tolist()) == list(range(100))


def test_int_selects_the_largest_errors():
    of = learner(image_signal())
    selection = Int(scoring=1.0).select(of, None)
    errors = of.residuals().abs().sum(-1)
    expected = set(torch.topk(errors, selection.indices.shape[0]).indices.tolist())
    assert set(selection.indices.tolist()) == expected


def test_int_notices_what_was_learned_without_scoring():
    """Residuals of the taught points alone change the next selection."""
    of = learner(image_signal())
    sampler = Int(scoring=1.0)
    first = sampler.select(of, None)
    of.trained_batches.append((first.indices, torch.zeros(first.indices.shape[0], 3)))
    second = Int(scoring=0.0).select(of, first)
    assert not set(first.indices.tolist()) & set(second.indices.tolist())


def test_int_incremental_reuses_its_selection_ever_longer():
    of = learner(image_signal())
    sampler = Int(refresh="incremental", scoring=1.0)
    first = sampler.select(of, None)
    of.step, of.progress = 5, 0.5
    assert sampler.select(of, first) is first
    of.step = 25
    assert sampler.select(of, first) is not first


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.2, 0.2, 0.2]),
        ("linear", [0.2, 0.6, 1.0]),
        ("step", [0.2, 0.6, 1.0]),
        ("cosine", [0.2, 0.6, 1.0]),
        ("reverse-cosine", [0.2, 0.2, 0.2]),
        ("progressive", [0.2, 0.6, 1.0]),
    ],
)
def test_the_ratio_grows_as_the_code_of_int_does(schedule, expected):
    assert [scheduled_ratio(schedule, 0.2, p) for p in (0.0, 0.5, 1.0)] == pytest.approx(expected)
    if schedule in ("step", "progressive"):
        assert scheduled_ratio(schedule, 0.2, 0.999) == pytest.approx(0.92)


@pytest.mark.parametrize(
    ("schedule", "mean"), [("constant", 0.2), ("linear", 0.6), ("step", 0.56), ("cosine", 0.6), ("progressive", 0.56)]
)
def test_the_mean_ratio_of_a_fit_is_that_of_the_code_of_int(schedule, mean):
    assert sum(scheduled_ratio(schedule, 0.2, s / 5000) for s in range(5000)) / 5000 == pytest.approx(mean, abs=1e-3)


def test_reverse_cosine_falls_to_a_fifth():
    assert [scheduled_ratio("reverse-cosine", 0.8, p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.8, 0.5, 0.2])
    assert scheduled_ratio("reverse-cosine", 0.1, 0.7) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("refresh", "looks"),
    [("dense", 5000), ("dense2", 2500), ("incremental", 1422), ("reverse-incremental", 642), ("decremental", 2157)],
)
def test_a_refresh_rule_looks_as_often_as_the_authors(refresh, looks):
    """Their rule: a look when step % interval == 0, in 5000 steps."""
    assert sum(s % max(1, refresh_interval(refresh, s / 5000)) == 0 for s in range(5000)) == looks


@pytest.mark.parametrize("refresh", ["dense2", "incremental", "reverse-incremental", "decremental"])
def test_int_selects_the_same_points_until_the_next_refresh(refresh):
    of = learner(image_signal())
    looks, previous = [], None
    for step in range(60):
        of.step, of.progress = step, 0.3
        found = Int(refresh=refresh, scoring=1.0).select(of, previous)
        if found is not previous:
            looks.append(step)
        previous = found
    assert looks == list(range(0, 60, refresh_interval(refresh, 0.3)))


PAPER = Nint(schedule="paper", ratio=0.2, xi=0.7)


def test_nint_draws_by_the_sum_of_its_three_densities():
    of, sampler = learner(image_signal(160, 160)), Nint(ratio=0.1)
    of.points_trained = 10**9
    found, count = list(selections(sampler, of, rounds=20)), int(0.1 * of.n)
    assert found[0].origin == {"chance": count}  # no error is known
    for number, selection in enumerate(found[1:], 1):
        share = 0.5 * math.exp(-number / 20 / 0.1)
        assert selection.origin["ntk"] == round(count * share)
        assert selection.origin["ntk"] + selection.origin["error"] == pytest.approx(0.5 * count, abs=1)
        assert selection.weights is None


@pytest.mark.parametrize("scored", [1.0, 0.02])
def test_nint_draws_where_its_scorer_says(scored, monkeypatch):
    """Also near points that were not scored themselves."""
    of = learner(image_signal(160, 160))
    of.points_trained, of.batch = 10**9, 256
    left = torch.arange(of.n).view(160, 160)[:, :80].reshape(-1)

    def candidates(cost, share):
        return of.permutation(of.n)[: int(scored * of.n)]

    def scores(indices=None):
        return 1e-6 + torch.isin(indices, left).float(), torch.ones(indices.shape[0], 3)

    monkeypatch.setattr(of, "scoring_candidates", candidates)
    monkeypatch.setattr(of, "ntk_scores", scores)
    first = Nint().select(of, None)
    of.trained_batches = [(torch.arange(of.n), torch.ones(of.n, 3))]
    second = Nint().select(of, first)
    of.progress = 0.9
    late = Nint().select(of, second)
    assert float(torch.isin(second.indices, left).float().mean()) == pytest.approx(0.75, abs=0.04)
    assert float(torch.isin(late.indices, left).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_nint_mixes_its_three_parts_as_the_paper_says():
    of = learner(image_signal(160, 160))
    of.points_trained = 10**9
    count = int(0.2 * of.n)
    for progress in (0.0, 0.1, 0.2):
        of.progress = progress
        selection = PAPER.select(of, None)
        share = 0.3 * math.exp(-progress / 0.1)
        assert selection.origin["ntk"] == int(count * share)
        assert selection.origin["chance"] + selection.origin["error"] == count - int(count * share)


def test_nint_follows_its_scorer(monkeypatch):
    """Swap the scorer and other indices come first."""
    of = learner(image_signal(160, 160))
    of.points_trained = 10**9
    favoured = torch.arange(300, 600)

    def scores(indices=None):
        wanted = torch.isin(indices, favoured).float()
        return wanted + 1e-3 * torch.rand(indices.shape[0]), torch.ones(indices.shape[0], 3)

    honest = PAPER.select(of, None)
    monkeypatch.setattr(of, "ntk_scores", scores)
    swapped = PAPER.select(of, None)
    leading = set(swapped.indices[: swapped.origin["ntk"]].tolist())
    assert set(favoured.tolist()) <= leading
    assert not set(favoured.tolist()) <= set(honest.indices[: honest.origin["ntk"]].tolist())


def test_nint_keeps_scoring_within_its_bound():
    of = learner(image_signal(200, 200))
    for _ in selections(PAPER, of, rounds=60):
        pass
    first_pool = 6 * 16_384
    # ``selections`` above scores to answer: those passes are not the sampler's.
    answered = 60 * int(0.2 * of.n)
    assert of.scoring_cost.forwards - answered <= max(first_pool, 0.05 * 3 * of.points_trained)


def test_nint_released_follows_the_released_schedule():
    """NTK points per call and the calls that score it: the table in the authors' code (share 0.3, period 10)."""
    of = learner(image_signal(100, 100))
    calls, scored = [], []
    honest = of.ntk_scores

    def counting(indices=None):
        scored.append(len(calls))
        return honest(indices)

    of.ntk_scores = counting
    for selection in selections(Nint(schedule="released", ratio=0.2, xi=0.7), of, rounds=75):
        calls.append(selection.origin["ntk"])
    assert scored == [0, 9, 19, 29, 39, 49]
    share = {0: -1, 9: -1, 18: -1, 19: -2, 29: -3, 39: -4, 49: -5, 59: -6, 69: -7}
    for call, power in share.items():
        assert calls[call] == int(2000 * 0.3 * math.exp(power)), call


def test_nint_released_gives_the_authors_counts_on_a_512_picture(monkeypatch):
    """The released code's table: NTK points by call, N = 512^2, 52,428 points a selection."""
    of = learner(image_signal(512, 512, 1))
    scores = torch.rand(of.n)
    monkeypatch.setattr(of, "residuals", lambda indices=None: scores[:, None])
    monkeypatch.setattr(of, "ntk_scores", lambda indices=None: (scores, scores[:, None]))
    table = {0: 5786, 9: 5786, 18: 5786, 19: 2128, 28: 2128, 29: 783, 39: 288, 49: 105, 58: 105, 59: 38, 69: 14}
    table |= {79: 5, 89: 1, 98: 1, 99: 0, 150: 0}
    sampler, previous = Nint(schedule="released", ratio=0.2, xi=0.7), None
    for call, count in table.items():
        if previous is not None:
            previous.memory["calls"].fill_(call)
        previous = sampler.select(of, previous)
        share = 0.3 * math.exp(math.floor(-max(1, (call + 1) // 10 * 10) / 10))
        assert previous.origin["ntk"] == count, call
        assert previous.origin["error"] == int(52_428 * (1 - 0.7 - share)), call
        assert previous.indices.shape[0] == 52_428

"""Adam against torch's own, Muon's orthogonal step against the SVD."""

from __future__ import annotations

import pytest
import torch

from inrfit.fit.engine.optimizer import Optimiser, orthogonalize
from inrfit.kernel import library
from inrfit.runtime import limited_threads


@pytest.mark.parametrize("forced", ["", "none"])
def test_adam_equals_torchs(monkeypatch, forced):
    monkeypatch.setenv(library.VARIABLE, forced)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(7, 5, generator=generator)
    ours = {"w": start.clone()}
    theirs = start.clone().requires_grad_()
    optimiser = Optimiser(ours, {"w": 3.0}, frozenset(), 1e-2, 0.0)
    reference = torch.optim.Adam([theirs], lr=3e-2 * 0.5, betas=(0.9, 0.99))
    for _ in range(20):
        gradient = torch.randn(7, 5, generator=generator)
        optimiser.step({"w": gradient}, torch.tensor(0.5))
        theirs.grad = gradient
        reference.step()
    torch.testing.assert_close(ours["w"], theirs.detach())


@pytest.mark.parametrize("name", [name for name in library.available() if name not in library.BFLOAT16_SETS])
@pytest.mark.parametrize("threads", [1, 3])
def test_adam_by_the_kernel_equals_that_by_torch(monkeypatch, name, threads):
    """Of tensors that end within the pieces that threads take."""
    shapes = {"a": (40_000,), "b": (3, 5), "c": (170, 101)}
    found = []
    for forced in (name, "none"):
        monkeypatch.setenv(library.VARIABLE, forced)
        generator = torch.Generator().manual_seed(0)
        weights = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
        optimiser = Optimiser(weights, {"a": 1.0, "b": 30.0, "c": 0.0}, frozenset(), 1e-2, 0.0)
        assert optimiser.instructions == (name if forced == name else None)
        with limited_threads(threads):
            for _ in range(5):
                gradients = {key: torch.randn(shape, generator=generator).mT.contiguous().mT if len(shape) > 1 else
                             torch.randn(shape, generator=generator) for key, shape in shapes.items()}  # fmt: skip
                optimiser.step(gradients, torch.tensor(0.5))
        found.append({**weights, **optimiser.state()})
    for key, expected in found[1].items():
        torch.testing.assert_close(found[0][key], expected)


def test_muons_step_has_singular_values_near_one():
    matrices = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(orthogonalize(matrices))
    assert float(s[:, :-2].min()) > 0.3
    assert float(s.max()) < 1.3


def test_muons_step_points_where_the_polar_factor_does():
    matrices = torch.randn(2, 48, 48, generator=torch.Generator().manual_seed(1))
    u, _, v = torch.linalg.svd(matrices)
    polar, found = u @ v, orthogonalize(matrices)
    assert float((polar * found).sum() / (polar.norm() * found.norm())) > 0.95


def test_stacked_matrices_are_orthogonalised_one_by_one():
    matrices = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(2))
    together = orthogonalize(matrices)
    alone = torch.cat([orthogonalize(matrix[None]) for matrix in matrices])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [name for name in library.available() if name not in library.BFLOAT16_SETS])
def test_the_kernel_takes_subnormal_moments_for_zeros(monkeypatch, name, threads):
    monkeypatch.setenv(library.VARIABLE, name)
    with limited_threads(threads):
        weights = {"a": torch.ones(40_000)}
        optimiser = Optimiser(weights, {"a": 1.0}, frozenset(), 1e-3, 0.0)
        optimiser.mean.fill_(1e-39)
        optimiser.square.fill_(1e-39)
        optimiser.step({"a": torch.zeros(40_000)}, torch.tensor(1.0))
        assert not optimiser.mean.any()
        assert not optimiser.square.any()
        assert bool((torch.full((100_000,), 1e-39) * 1).all())  # elsewhere in these threads they are what they were


def test_momentum_of_no_size_is_ignored():
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(2, 64, 64, generator=generator)
    matrices[:, 10:30] *= 1e-38
    found = orthogonalize(matrices)
    assert not found[:, 10:30].any()
    matrices[:, 10:30] = 0
    assert torch.equal(found, orthogonalize(matrices))


def test_reset_forgets_the_moments():
    weights = {"m": torch.zeros(1, 4, 4), "v": torch.zeros(4)}
    optimiser = Optimiser(weights, {"m": 1.0, "v": 1.0}, frozenset({"m"}), 0.1, 0.1)
    optimiser.step({"m": torch.ones(1, 4, 4), "v": torch.ones(4)}, torch.tensor(1.0))
    assert all(bool(moment.any()) for moment in optimiser.state().values())
    optimiser.reset()
    assert not any(bool(moment.any()) for moment in optimiser.state().values())


def test_muons_update_is_the_orthogonal_one_at_its_rate():
    generator = torch.Generator().manual_seed(3)
    gradient = torch.randn(2, 8, 8, generator=generator)
    weights = {"m": torch.zeros(2, 8, 8)}
    Optimiser(weights, {"m": 3.0}, frozenset({"m"}), 9.0, 0.1).step({"m": gradient}, torch.tensor(0.5))
    torch.testing.assert_close(weights["m"], -0.15 * orthogonalize(gradient), rtol=1e-3, atol=1e-4)


def test_muons_momentum_is_nesterovs():
    first, second = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    moved = {}
    for momentum in (0.5, 0.9):
        weights = {"m": torch.zeros(1, 8, 8)}
        optimiser = Optimiser(weights, {"m": 1.0}, frozenset({"m"}), 0.0, 1.0, momentum)
        optimiser.step({"m": first}, torch.tensor(0.0))
        optimiser.step({"m": second}, torch.tensor(1.0))
        mean = momentum * (1 - momentum) * first + (1 - momentum) * second
        expected = -orthogonalize((1 - momentum) * second + momentum * mean)
        torch.testing.assert_close(weights["m"], expected, rtol=1e-3, atol=1e-4)
        moved[momentum] = weights["m"]
    assert float((moved[0.5] - moved[0.9]).abs().max()) > 0.01


def test_every_tensor_has_its_own_adam_rate():
    weights = {"a": torch.zeros(2), "b": torch.zeros(3)}
    Optimiser(weights, {"a": 1.0, "b": 30.0}, frozenset(), 1e-2, 0.0).step(
        {"a": torch.ones(2), "b": -torch.ones(3)}, torch.tensor(1.0)
    )
    torch.testing.assert_close(weights["a"], torch.full((2,), -1e-2))
    torch.testing.assert_close(weights["b"], torch.full((3,), 0.3))

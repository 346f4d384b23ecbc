"""Fields of signed distances at the nodes of a cube."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

import inrfit
from inrfit.errors import UnreadableFile, UsageError
from inrfit.fields import FieldSpec
from inrfit.fields.module import Field
from inrfit.fields.tsdf import interpolation
from inrfit.modalities import MODALITIES
from inrfit.modalities.shape import node_distances
from inrfit.modalities.shape.mesh import Mesh
from inrfit.signal import Grid

QUICK = {"arch": "tsdf", "budget": "1it", "device": "cpu", "options": {"points": 1000}}


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """Two balls that overlap, as a file."""
    path = tmp_path_factory.mktemp("shape") / "ball.ply"
    first, second = trimesh.creation.icosphere(4, 1.0), trimesh.creation.icosphere(3, 0.5)
    second.apply_translation((1.2, 0.0, 0.1))
    trimesh.util.concatenate([first, second]).export(path)
    return path


def test_distances_are_exact_within_reach_and_have_the_right_sign_beyond():
    sphere = trimesh.creation.icosphere(5, 0.6)
    mesh = Mesh(np.array(sphere.vertices, np.float64), np.array(sphere.faces, np.int64))
    for nodes in (9, 40, 130):
        found = node_distances.signed_distances(mesh, nodes, 0.1)
        axis = (2 * np.arange(nodes) + 1) / nodes - 1
        exact = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) - 0.6
        near = np.abs(exact) < 0.099
        np.testing.assert_allclose(found[near], exact[near], atol=2e-3)
        assert (np.sign(found) == np.sign(exact))[np.abs(exact) > 2e-3].all()
        assert (np.abs(found[~near]) > 0.097).all()


@pytest.mark.parametrize("target", [0.97, 0.99])
def test_a_target_is_reached_with_about_the_fewest_nodes(ball, target):
    field = inrfit.encode(ball, target=target, **QUICK)
    assert target - 0.002 <= field.quality["iou"] < target + 0.006
    assert field.provenance["ended"] == "closed-form"
    again = inrfit.Artifact.from_bytes(field.to_bytes())
    assert again.to_bytes() == field.to_bytes()
    assert np.array_equal(again.weights["nodes"], field.weights["nodes"])


def test_a_small_file_holds_a_good_shape(ball):
    sizes = []
    for limit in (1500, 3000):
        field = inrfit.encode(ball, bytes=limit, **QUICK)
        sizes.append(len(field.to_bytes()))
        assert 0.75 * limit < sizes[-1] <= limit
        assert field.quality["iou"] > 0.975
    assert inrfit.encode(ball, arch="auto", bytes=1500, budget="60s", device="cpu").spec.architecture == "tsdf"


def test_the_budget_ends_the_search_for_a_target_out_of_reach(ball, monkeypatch):
    from inrfit.artifact import distance_rounding

    tried, rounded = [], distance_rounding.Shape.rounded
    monkeypatch.setattr(
        distance_rounding.Shape, "rounded", lambda self, nodes: (tried.append(nodes), rounded(self, nodes))[1]
    )
    common = {"arch": "tsdf", "device": "cpu", "options": {"points": 1000}}
    field = inrfit.encode(ball, target=0.99999, budget="0.01s", **common)
    assert tried == [96]
    assert field.quality["iou"] > 0.99
    assert field.provenance["target_reached"] is False


def test_the_nodes_may_be_given(ball):
    field = inrfit.encode(ball, arch="tsdf", budget="1it", device="cpu", options={"points": 1000, "nodes": 21})
    assert field.spec.options["nodes"] == 21
    assert field.weights["nodes"].shape == (21, 21, 21)


def test_it_is_decoded_and_asked_like_any_shape(ball, tmp_path):
    field = inrfit.encode(ball, target=0.98, **QUICK)
    mesh = field.decode()
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).is_watertight
    size = np.ptp(np.asarray(mesh.vertices), axis=0)
    np.testing.assert_allclose(size, [2.7, 2.0, 2.0], atol=0.03)
    inside, outside = field.query(
        points=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.3]]), coords="physical", what="distance"
    )
    assert inside < 0 < outside
    normal = field.query(points=np.array([[-1.0, 0.0, 0.0]]), coords="physical", what="normal")[0]
    np.testing.assert_allclose(normal, [-1, 0, 0], atol=0.15)


def test_what_is_no_plain_shape_is_refused(ball):
    with pytest.raises(UsageError, match=r"works only on shapes.*not on type image; choose from siren"):
        inrfit.encode(np.zeros((8, 8), np.uint8), arch="tsdf")
    with pytest.raises(UsageError, match="works only on shapes, with -O target=sdf"):
        inrfit.encode(ball, arch="tsdf", options={"target": "occupancy"})


def drawn(nodes=12, seed=0):
    spec = FieldSpec("tsdf", 3, 1, 1, 1, {"nodes": nodes, "band": 0.05})
    values = torch.randn(nodes**3, 1, generator=torch.Generator().manual_seed(seed))
    return spec, values, spec.formula.TRAITS.closed_form(spec, values)


def test_the_closed_form_has_the_values_at_the_nodes():
    spec, values, weights = drawn()
    field, grid = Field(spec, dict(weights)), spec.formula.own_grid
    torch.testing.assert_close(field.on_grid(grid, 0, grid.n), values, rtol=0, atol=1e-5)
    torch.testing.assert_close(field(grid.coords(torch.arange(grid.n))).detach(), values, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("start", "stop"), [(0, 4080), (137, 1000), (5, 6), (4000, 4080)])
def test_on_another_grid_it_is_what_it_is_at_the_coordinates(start, stop, monkeypatch):
    monkeypatch.setattr(interpolation, "_TOGETHER", 700)
    spec, _, weights = drawn()
    field, grid = Field(spec, dict(weights)), Grid((20, 17, 12))
    expected = field(grid.coords(torch.arange(start, stop))).detach()
    torch.testing.assert_close(field.on_grid(grid, start, stop), expected, rtol=0, atol=1e-4)


def test_slopes_in_the_coordinates_are_those_of_the_values():
    spec, _, weights = drawn()
    field = Field(spec, {name: weight.double() for name, weight in weights.items()})
    coords = (torch.rand(60, 3, generator=torch.Generator().manual_seed(2)).double() * 1.8 - 0.9).requires_grad_()
    (slopes,) = torch.autograd.grad(field(coords).sum(), coords)
    with torch.no_grad():
        steps = 1e-5 * torch.eye(3).double()
        expected = torch.stack([(field(coords + h) - field(coords - h)).sum(1) / 2e-5 for h in steps], 1)
    torch.testing.assert_close(slopes, expected, rtol=1e-3, atol=1e-3)


def test_files_of_no_shape_are_refused(ball):
    field = inrfit.encode(ball, target=0.95, **QUICK)
    for options in ({"nodes": 0, "band": 0.05}, {"nodes": 1, "band": 0.05}):
        with pytest.raises((UnreadableFile, UsageError)):
            inrfit.Artifact.from_bytes(replace(field, spec=replace(field.spec, options=options)).to_bytes())


def test_only_shapes_have_values_at_nodes():
    assert [name for name, known in MODALITIES.items() if known.values_on is not None] == ["shape"]

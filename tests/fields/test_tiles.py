"""Tiles: the blend of many small networks, its backward pass, its raster and its sizes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import image_signal, picture, with_header

import inrfit
from inrfit.artifact.artifact import Artifact
from inrfit.errors import UnreadableFile, UsageError
from inrfit.fields import FieldSpec, architecture, kernel_passes
from inrfit.fields.module import Field
from inrfit.fields.tiles import partition
from inrfit.fields.tiles.tiles import MAX_DEFAULT_TILES, MIN_SAMPLES_PER_TILE, SAMPLES_PER_TILE, Tiles
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.engine.backends import analytic_gradients, autograd_gradients
from inrfit.fit.fitting import fit
from inrfit.samplers import Uniform
from inrfit.signal import Grid, Signal

CUTS = {1: "5", 2: "3x4", 3: "2x3x2"}


def make(inputs=2, tiles=None, overlap=0.3, width=8, depth=3, outputs=2):
    spec = FieldSpec("tiles", inputs, outputs, width, depth, {"tiles": tiles or CUTS[inputs], "overlap": overlap})
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(outputs))
    generator = torch.Generator().manual_seed(1)
    weights["last.bias"] = torch.rand(weights["last.bias"].shape, generator=generator)  # neighbours that disagree
    return Field(spec, {name: weight * (20 if name == "last.weight" else 1) for name, weight in weights.items()})


def points(n, d, reach=1.0, seed=2):
    return (torch.rand(n, d, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * reach


def share(x, tile, count, overlap):
    """Weight of one tile of an axis at x, by the formula of docs/artifact.md: a smooth step around each border."""

    def step(border):
        u = min(max(((x + 1) * count / 2 - border) / overlap + 0.5, 0.0), 1.0)
        return u * u * (3 - 2 * u)

    rises = 1.0 if tile == 0 else step(tile)
    falls = 0.0 if tile == count - 1 else step(tile + 1)
    return rises - falls


def slowly(field, coords):
    """The blend in float64, from every tile at every point, one after another."""
    counts = partition.parse_tiles(field.formula.tiles, coords.shape[1])
    w = {name: tensor.detach().double() for name, tensor in field.weights.items()}
    total = math.prod(counts)
    values = torch.zeros(coords.shape[0], field.spec.outputs, dtype=torch.float64)
    for row, x in enumerate(coords.double()):
        for t, cell in enumerate(itertools.product(*map(range, counts))):
            weight = math.prod(
                share(float(x[a]), cell[a], counts[a], field.formula.overlap) for a in range(len(counts))
            )
            if weight > 0:
                h = torch.stack([(x[a] + 1) * counts[a] - 2 * cell[a] - 1 for a in range(len(counts))])
                h = torch.sin(w["first.weight"][t] @ h + w["first.bias"][t])
                for i in range(field.spec.depth - 1):
                    h = torch.sin(w["hidden.weight"][i * total + t] @ h + w["hidden.bias"][i * total + t])
                values[row] += weight * (w["last.weight"][t] @ h + w["last.bias"][t])
    return values


@pytest.mark.parametrize("inputs", CUTS)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("overlap", [0.1, 1.0])
def test_equals_every_tile_at_every_point(inputs, depth, overlap):
    field, coords = make(inputs, depth=depth, overlap=overlap), points(60, inputs, 1.2)
    torch.testing.assert_close(field(coords).double(), slowly(field, coords), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("inputs", CUTS)
def test_a_point_has_the_same_value_alone_and_in_a_batch(inputs):
    field, coords = make(inputs), points(40, inputs)
    together = field(coords)
    for i in (0, 17):
        torch.testing.assert_close(field(coords[i : i + 1]), together[i : i + 1], rtol=1e-4, atol=1e-5)
    assert field(coords[:0]).shape == (0, 2)


@pytest.mark.parametrize("overlap", [0.01, 0.3, 1.0])
def test_weights_of_tiles_sum_to_one(overlap):
    field = make(2, overlap=overlap)
    one = field.formula.constant(field.weights, torch.tensor([1.0, -2.0]))
    values = field.formula.forward(one, points(500, 2, 1.1), torch.float32)
    torch.testing.assert_close(values, torch.tensor([[1.0, -2.0]]).expand(500, 2))


@pytest.mark.parametrize("edge", ["border", "start of the band", "end of the band"])
def test_is_continuous_across_borders_and_edges_of_bands(edge):
    """Values at points 1e-6 apart agree, although the neighbouring tiles differ much."""
    field, overlap, gap = make(2, "4x4", overlap=0.2), 0.2, 1e-6
    alone = make(2, "4x4", overlap=0.01)
    for border in (1, 2, 3):
        at = (border + {"border": 0.0, "start of the band": -overlap / 2, "end of the band": overlap / 2}[edge]) / 2 - 1
        free = points(50, 1)
        for axis in (0, 1):
            sides = [torch.cat([torch.full((50, 1), at + s * gap), free], 1) for s in (-1, 1)]
            low, high = (field(side if axis == 0 else side.flip(1)).detach() for side in sides)
            assert float((low - high).abs().max()) < 1e-3
            apart = [torch.cat([torch.full((50, 1), border / 2 - 1 + s * 0.006), free], 1) for s in (-1, 1)]
            low, high = (alone(side if axis == 0 else side.flip(1)).detach() for side in apart)
            assert float((low - high).abs().max()) > 0.1


@pytest.mark.parametrize("shape", [(37,), (13, 17), (1, 9), (5, 6, 7)])
@pytest.mark.parametrize("overlap", [0.1, 1.0])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_raster_equals_its_points(shape, overlap, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(kernel_passes, "evaluates", lambda *arguments: False)
    monkeypatch.setattr(architecture, "points_at_a_time", lambda width: 5)
    field, grid = make(len(shape), overlap=overlap), Grid(shape)
    expected = field(grid.coords(torch.arange(grid.n))).detach()
    for start, stop in ((0, grid.n), (0, 1), (3, grid.n - 2), (grid.n // 2, grid.n // 2 + 3), (4, 4)):
        found = field.on_grid(grid, start, stop)
        torch.testing.assert_close(found, expected[start:stop], rtol=1e-4, atol=1e-4)


def test_boxes_are_the_cells_in_their_order():
    shape = (3, 4, 5)
    cells = list(itertools.product(*map(range, shape)))
    for start in range(0, 60, 7):
        for stop in range(start, 61):
            found = [
                cell
                for box in partition.split_into_boxes(shape, start, stop)
                for cell in itertools.product(*(range(low, high) for low, high in box))
            ]
            assert found == cells[start:stop]
            assert len(partition.split_into_boxes(shape, start, stop)) <= 5


def test_uneven_points_are_evaluated_in_bounded_memory():
    """4,000 points in one of 144 tiles, and one in another: rows as long as the longest would take 576,000 slots."""
    field = make(2, "12x12", overlap=0.1)
    coords = torch.cat([points(4000, 2, 0.03) + 1 / 12, torch.tensor([[0.9, -0.9]])])
    placed = partition.arrange(coords, (12, 12), 0.1)
    assert placed.local.shape[0] * placed.local.shape[1] < 3 * placed.point.shape[0]
    torch.testing.assert_close(field(coords)[-30:].double(), slowly(field, coords[-30:]), rtol=1e-4, atol=2e-4)


def test_padding_of_rows_is_bounded():
    for seed in range(20):
        coords = points(600, 2, seed=seed) ** (1 + 2 * (seed % 4))
        placed = partition.arrange(coords, (6, 7), 0.2)
        assert len(placed.slot.unique()) == placed.point.shape[0]
        places, pairs = placed.local.shape[0] * placed.local.shape[1], placed.point.shape[0]
        assert places <= pairs * (1 + partition.MAX_ROW_TO_MEAN) + partition.MIN_ROW_LENGTH * 42


@pytest.mark.parametrize("inputs", CUTS)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("even", [True, False])
def test_the_analytic_backward_pass_equals_autograd(inputs, depth, even):
    field = make(inputs, depth=depth)
    coords = points(2000, inputs)
    coords = coords if even else coords.abs().pow(4)
    uneven = partition.arrange(coords, partition.parse_tiles(CUTS[inputs], inputs), 0.3).tiles
    assert (uneven is None) == even
    values, loss_weights = torch.rand(2000, 2), torch.rand(2000, 1)
    expected = autograd_gradients(field.formula, torch.float32)(field.weights, coords, values, loss_weights)
    with torch.no_grad():
        found = analytic_gradients(field.formula, torch.float32)(field.weights, coords, values, loss_weights)
    torch.testing.assert_close(found[0], expected[0])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


def test_forward_mode_equals_a_difference():
    """Learner.ntk_scores differentiates the assignment to tiles in forward mode."""
    field, coords = make(2), points(50, 2)
    weights = {name: w.detach() for name, w in field.weights.items()}
    generator = torch.Generator().manual_seed(3)
    moved = {name: torch.randn(w.shape, generator=generator) for name, w in weights.items()}

    def at(w):
        return field.formula.forward(w, coords, torch.float32)

    tangent = torch.func.jvp(at, (weights,), (moved,))[1]
    ahead, behind = ({name: w + s * 1e-3 * moved[name] for name, w in weights.items()} for s in (1, -1))
    with torch.no_grad():
        difference = (at(ahead) - at(behind)) / 2e-3
    torch.testing.assert_close(tangent, difference, rtol=0.05, atol=0.05 * float(difference.abs().max()))


def test_gradients_by_coordinates_include_the_blend():
    field, coords = make(2, overlap=1.0), points(40, 2).requires_grad_()
    slope = torch.autograd.grad(field(coords).sum(), coords)[0]
    for axis in (0, 1):
        step = torch.zeros(2)
        step[axis] = 1e-4
        moved = (slowly(field, coords.detach() + step) - slowly(field, coords.detach() - step)).sum(1) / 2e-4
        torch.testing.assert_close(slope[:, axis].double(), moved, rtol=0.05, atol=0.05 * float(moved.abs().max()))


@pytest.mark.parametrize("shape", [(512, 512), (512, 768), (5400, 10800), (480_000,), (64, 64, 30), (1, 64)])
def test_tiles_follow_the_raster(shape):
    plain = FieldSpec("tiles", len(shape), 3, 32, 4, {})
    counts = partition.parse_tiles(plain.formula.sized(plain, shape, None).options["tiles"], len(shape))
    assert math.prod(counts) <= MAX_DEFAULT_TILES
    sides = [length / count for length, count in zip(shape, counts, strict=True)]
    assert math.prod(sides) >= SAMPLES_PER_TILE or math.prod(counts) == 1
    longest = max(sides)
    for length, side in zip(shape, sides, strict=True):
        assert side > 0.4 * min(longest, length)


@pytest.mark.parametrize("asked", [2_000, 50_000, 264_707, 2_000_000])
@pytest.mark.parametrize("shape", [(512, 768), (480_000,), (64, 64, 30), None])
def test_sizes_follow_the_number_of_parameters(asked, shape):
    inputs = 3 if shape is None else len(shape)
    plain = FieldSpec("tiles", inputs, 3, 32, 4, {})
    spec = plain.formula.sized(plain, shape, asked)
    assert 0.8 * asked < spec.parameters <= asked


@pytest.mark.parametrize(("width", "kept"), [(31, 31), (32, 32), (33, 32), (34, 32), (35, 35), (51, 48), (52, 52)])
def test_a_few_units_do_not_take_another_vector(width, kept):
    plain = FieldSpec("tiles", 2, 3, width, 4, {"tiles": "8x9"})
    assert plain.formula.sized(plain, (512, 512), plain.parameters).width == kept


def test_a_small_raster_has_few_tiles():
    plain = FieldSpec("tiles", 2, 3, 32, 4, {})
    spec = plain.formula.sized(plain, (64, 64), 1_000_000)
    assert math.prod(partition.parse_tiles(spec.options["tiles"], 2)) <= 64 * 64 / MIN_SAMPLES_PER_TILE


def test_tiles_asked_for_are_kept():
    plain = FieldSpec("tiles", 2, 3, 32, 4, {"tiles": "3x5"})
    spec = plain.formula.sized(plain, (512, 512), 100_000)
    assert spec.options["tiles"] == "3x5"
    assert 80_000 < spec.parameters <= 100_000


@pytest.mark.parametrize(
    "tiles", ["1000000x1000000", "99999x99999", "0x3", "-2", "3x", "", "3X4", "3x4x5x6x7", "٣", "3٣", "9" * 5000, "4\n"]
)
def test_invalid_partitions_are_refused(tiles):
    with pytest.raises(UsageError):
        FieldSpec("tiles", 2, 3, 32, 4, {"tiles": tiles}).shapes  # noqa: B018


def test_a_partition_with_other_axes_is_refused():
    with pytest.raises(UsageError, match="2 axes"):
        FieldSpec("tiles", 2, 3, 32, 4, {"tiles": "3x4x5"}).shapes  # noqa: B018


def test_macs_and_sines_count_points_in_bands_twice():
    coords = Grid((400, 600)).coords(torch.arange(240_000))
    spec = FieldSpec("tiles", 2, 3, 32, 4, {"tiles": "4x6", "overlap": 0.2})
    pairs = partition.arrange(coords, (4, 6), 0.2).point.shape[0] / 240_000
    one = FieldSpec("siren", 2, 3, 32, 4, {})
    assert spec.macs == pytest.approx(pairs * one.macs, rel=0.01)
    assert spec.sines == pytest.approx(pairs * one.sines, rel=0.01)
    assert spec.parameters == 24 * one.parameters


def test_one_tile_is_a_siren():
    field = make(2, "1")
    siren = Field(FieldSpec("siren", 2, 2, 8, 3, {}), {n: w.detach().squeeze(0) for n, w in one_network(field).items()})
    coords = points(100, 2)
    torch.testing.assert_close(field(coords), siren(coords), rtol=1e-4, atol=1e-5)


def one_network(field):
    return {name: w[None] if name.startswith("hidden") else w for name, w in field.weights.items()}


def test_a_fitted_field_has_no_seams():
    """Errors within the bands at most 1.5 times those elsewhere, on a smooth and textured picture."""
    signal = image_signal(96, 96, 1)
    spec = FieldSpec("tiles", 2, 1, 16, 3, {"tiles": "3x3", "overlap": 0.15})
    chosen = replace(
        recipe.choose(spec, torch.device("cpu"), recipe.UserChoices(batch=1024, precision="fp32")).config,
        engine="analytic",
    )
    field = fit(signal, spec, Uniform(1.0), chosen, Budget(steps=300), torch.device("cpu")).field
    wrong = (
        field.on_grid(signal.grid, 0, signal.n) - signal.on(torch.device("cpu")).take(torch.arange(signal.n))[1]
    ).abs()
    within = np.abs((np.arange(96) + 0.5) / 32 - np.round((np.arange(96) + 0.5) / 32)) < 0.075
    within &= (np.arange(96) > 16) & (np.arange(96) < 80)
    bands = torch.from_numpy(within[:, None] | within[None, :]).reshape(-1)
    assert 0.15 < float(bands.float().mean()) < 0.35
    assert float(wrong[bands].mean()) < 1.5 * float(wrong[~bands].mean())


def with_another_header(data, width, tiles):
    """The bytes of the artifact with another width and other tiles in its header."""
    artifact = Artifact.from_bytes(data)
    header = artifact.header()
    header["field"] |= {"width": width, "options": header["field"]["options"] | {"tiles": tiles}}
    return with_header(artifact, header)


def test_an_artifact_that_claims_too_much_is_unreadable():
    """Tiles for other axes, or too many of them, are refused by the header alone."""
    options = {"tiles": "2x2"}
    valid = inrfit.encode(picture(8, 8), arch="tiles", width=8, depth=3, options=options, budget="60it").to_bytes()
    assert Artifact.from_bytes(with_another_header(valid, 8, "2x2")).spec.options["tiles"] == "2x2"
    for width, tiles in ((8, "2x2x2"), (8, "1000000x1000000"), (512, "60000x1")):
        with pytest.raises(UnreadableFile) as caught:
            Artifact.from_bytes(with_another_header(valid, width, tiles))
        assert caught.value.reason == "field"


@pytest.mark.parametrize("regime", ["inrfit", "paper"])
def test_a_sounds_frequency_is_divided_by_the_number_of_tiles(regime):
    samples = np.sin(np.arange(4000) / 3)[:, None].astype(np.float32)
    signal = Signal("audio", samples, image_signal().scale, {}, Grid((4000,)))
    one, eight = (
        recipe.architecture_options(signal, Tiles(tiles=tiles), regime)["first_omega"] for tiles in ("1", "8")
    )
    assert one == pytest.approx(8 * eight)

"""ASMR: the shared evaluation and its gradients equal the formula point by point, on all rasters and subsets."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from conftest import image_signal, with_header
from jaxtyping import TypeCheckError
from torch.utils._python_dispatch import TorchDispatchMode

from inrfit import codec
from inrfit.__main__ import run
from inrfit.artifact.artifact import Artifact
from inrfit.comparison.spec import ComparisonSpec, parse_methods
from inrfit.config.plan import Settings, plan
from inrfit.errors import UnreadableFile, UsageError
from inrfit.fields import FieldSpec
from inrfit.fields.asmr import asmr, hierarchy, last_level, resample
from inrfit.fields.asmr.cells import ActiveCells, active_cells, unique_indices
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.batch_queue import points_of_blocks, shuffled_blocks
from inrfit.fit.engine.backends import autograd_gradients
from inrfit.fit.engine.step import Engine
from inrfit.modalities import Request
from inrfit.modalities.image import image
from inrfit.samplers import SAMPLERS
from inrfit.samplers.learner import Learner
from inrfit.signal import Grid

RASTERS = [
    ((35,), 3, "linear"),
    ((97,), 5, "nonlinear"),
    ((1, 24), 1, "linear"),
    ((48, 80), 3, "linear"),
    ((37, 23), 2, "nonlinear"),
    ((12, 10, 14), 3, "linear"),
    ((13, 1, 20), 4, "nonlinear"),
]
"""Composite and prime sides, portrait and landscape, axes of length 1, in one to three dimensions."""


def block_batches(learner, batch):
    """All batches of about ``batch`` points in whole blocks."""
    return [points_of_blocks(learner, column) for column in shuffled_blocks(learner, batch).unbind(1)]


def sized(shape, depth=3, width=16, outputs=3, **options):
    plain = FieldSpec("asmr", len(shape), outputs, width, depth, options)
    return plain.formula.sized(plain, shape, None)


def make(shape, depth=3, width=16, **options):
    spec = sized(shape, depth, width, **options)
    return Field(spec, spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(spec.outputs)))


def by_formula(field, indices):
    """The paper's formula in float64 at flat ``indices``, point by point and level by level, from the positions in the
    raster alone."""
    settings = field.formula
    shape = tuple(int(side) for side in settings.grid.split("x"))
    factors = [[int(side) for side in level.split("x")] for level in settings.factors.split(",")]
    w = {name: tensor.detach().double() for name, tensor in field.weights.items()}
    values = []
    for index in indices.tolist():
        position = np.unravel_index(index, shape)

        def place(level, position=position):
            found = []
            for axis, at in enumerate(position):
                below = math.prod(level[axis] for level in factors[level + 1 :])
                digit, base = int(at) // below % factors[level][axis], factors[level][axis]
                found.append(digit / (base - 1) if base > 1 else 0.0)
            return torch.tensor(found, dtype=torch.float64)

        def modulation(layer, x):
            if settings.modulation == "linear":
                return w["modulator.weight"][layer] @ x
            for name in ("first", "hidden"):
                x = torch.sin(w[f"modulator.{name}.weight"][layer] @ x + w[f"modulator.{name}.bias"][layer])
            return w["modulator.last.weight"][layer] @ x + w["modulator.last.bias"][layer]

        phase = w["first.weight"] @ place(0) + w["first.bias"]
        for layer in range(len(factors) - 1):
            unit = torch.sin(phase + modulation(layer, place(layer + 1)))
            if layer < len(factors) - 2:
                phase = w["hidden.weight"][layer] @ unit + w["hidden.bias"][layer]
        values.append(w["last.weight"] @ unit + w["last.bias"])
    return torch.stack(values)


@pytest.mark.parametrize(("shape", "depth", "modulation"), RASTERS)
def test_forward_and_on_grid_equal_the_formula(shape, depth, modulation):
    field, grid = make(shape, depth, modulation=modulation), Grid(shape)
    every = torch.arange(grid.n)
    expected = by_formula(field, every).float()
    close = {"rtol": 0, "atol": 2e-5}
    with torch.no_grad():
        torch.testing.assert_close(field(grid.coords(every)), expected, **close)
        some = torch.randperm(grid.n, generator=torch.Generator().manual_seed(1))[: max(1, grid.n // 9)]
        torch.testing.assert_close(field(grid.coords(some)), expected[some], **close)
        torch.testing.assert_close(field(grid.coords(some[:1])), expected[some[:1]], **close)
    torch.testing.assert_close(field.on_grid(grid, 0, grid.n), expected, **close)
    low, high = grid.n // 3, grid.n // 3 + max(1, grid.n // 4)
    torch.testing.assert_close(field.on_grid(grid, low, high), expected[low:high], **close)


def test_the_three_evaluations_of_the_last_level_are_all_used_and_agree(monkeypatch):
    field, grid = make((48, 80)), Grid((48, 80))
    block = torch.cat([torch.arange(8) + 80 * row for row in range(8)])
    taken = []
    for name in ("forward_folded", "forward_gathered"):
        real = getattr(last_level, name)
        monkeypatch.setattr(last_level, name, lambda *a, real=real, name=name: taken.append(name) or real(*a))
    with torch.no_grad():
        one_by_one = torch.cat([field(grid.coords(index[None])) for index in block])
        whole, shuffled = field(grid.coords(block)), field(grid.coords(block.flip(0))).flip(0)
    assert taken == ["forward_gathered"] * 64 + ["forward_folded"] * 2
    torch.testing.assert_close(whole, one_by_one, rtol=0, atol=1e-5)
    torch.testing.assert_close(shuffled, one_by_one, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("shape", "depth", "modulation"), RASTERS)
def test_the_analytic_backward_pass_equals_autograd(shape, depth, modulation):
    field, grid = make(shape, depth, modulation=modulation), Grid(shape)
    weights = {name: tensor.detach() for name, tensor in field.weights.items()}
    generator = torch.Generator().manual_seed(2)
    order = torch.randperm(grid.n, generator=generator)
    for indices in (torch.arange(grid.n), order, order[: grid.n // 9 + 1], order[:1], torch.cat([order, order[:5]])):
        coords = grid.coords(indices)
        values = torch.randn(indices.shape[0], 3, generator=generator)
        loss_weights = torch.rand(indices.shape[0], 1, generator=generator)
        extra_gradient = torch.cos
        expected = autograd_gradients(field.formula, torch.float32)(
            weights, coords, values, loss_weights, extra_gradient
        )
        found = field.formula.gradients(weights, coords, values, loss_weights, torch.float32, extra_gradient)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
        assert set(found[1]) == set(expected[1])
        for name, gradient in expected[1].items():
            scale = float(gradient.abs().max()) + 1e-6
            torch.testing.assert_close(found[1][name] / scale, gradient / scale, rtol=0, atol=2e-5)


@pytest.mark.parametrize("indices", [torch.arange(48 * 80), torch.arange(0, 48 * 80, 37)])
def test_bfloat16_products_stay_close_in_spite_of_large_phases(indices):
    field, coords = make((48, 80), width=64), Grid((48, 80)).coords(indices)
    assert float(field.weights["modulator.weight"].detach().abs().max()) > 500
    gap = (field(coords) - field(coords, torch.bfloat16)).detach()
    assert 0 < float(gap.abs().max()) < 0.02


def test_a_point_between_cells_has_the_value_of_the_nearest_cell():
    field, grid = make((6, 10)), Grid((6, 10))
    with torch.no_grad():
        values = field(grid.coords(torch.arange(60))).view(6, 10, 3)
        found = field(torch.tensor([[-5.0, 0.04], [0.99, 7.0], [1.0 / 6 + 0.1, -0.7 + 0.09]]))
    torch.testing.assert_close(found, torch.stack([values[0, 5], values[5, 9], values[3, 1]]))


@pytest.mark.parametrize("length", [1, 2, 3, 1009, (1 << 24) - 3])
def test_positions_are_recovered_from_coordinates(length):
    spec = sized((length,), 2, 4)
    indices = torch.unique(torch.tensor([0, 1, length // 2, length - 2, length - 1]).clamp(0, length - 1))
    active = active_cells(spec.formula.hierarchy, Grid((length,)).coords(indices))
    first, (step,) = active.top_positions, active.steps
    top, middle, last = (level[0] for level in spec.formula.hierarchy.factors)
    cells = first[step[0], 0] * middle + step[1]
    whole = active.point_parent is None
    slot = torch.arange(length) // last if whole else active.point_parent
    child = torch.arange(length) % last if whole else active.point_child
    places = cells[slot] * last + child
    assert top * middle * last >= length
    assert places.tolist() == indices.tolist()


@pytest.mark.parametrize(
    ("shape", "depth", "expected"),
    [
        ((512, 768), 3, "4x4,4x4,4x6,8x8"),
        ((768, 512), 3, "4x4,4x4,6x4,8x8"),
        ((32_000,), 3, "10,10,16,20"),
        ((512, 512), 2, "8x8,8x8,8x8"),
        ((512, 512), 3, "4x4,4x4,4x4,8x8"),
        ((512, 512), 6, "2x2,2x2,2x2,2x2,2x2,2x2,8x8"),
    ],
)
def test_the_papers_factors_are_chosen_for_the_papers_rasters(shape, depth, expected):
    assert sized(shape, depth).options["factors"] == expected


@pytest.mark.parametrize("shape", [(1,), (7,), (1009,), (5, 7), (1, 1), (499, 767), (10_800, 5_400), (11, 13, 1)])
@pytest.mark.parametrize("depth", [1, 2, 3, 9, 64])
def test_any_raster_is_split_with_little_padding(shape, depth):
    made = hierarchy.parse_hierarchy(
        hierarchy.format_shape(shape), sized(shape, depth).options["factors"], len(shape), depth + 1
    )
    assert made.levels == depth + 1
    for padded, side in zip(made.padded, shape, strict=True):
        assert side <= padded <= max(side + 1, 1.1 * side)


@pytest.mark.parametrize(
    "options",
    [
        {"factors": "4x4,4x4,4x6,8x9x1"},
        {"factors": "4x4,4x4,4x6"},
        {"factors": "4,4,4,8"},
        {"factors": "4x4,4x4,4x6,8x0"},
        {"factors": "4x4,4x4,4x6,8x-8"},
        {"factors": "1x1,1x1,1x1,8x8"},
        {"factors": "1x1,1x1,1x1,512x768"},
        {"factors": "9999999999999x1,1x1,1x1,999x999"},
        {"factors": "1" * 5000},
        {"factors": "4x4,4x4,4x6,8x8\n"},
        {"grid": "512x769", "factors": "4x4,4x4,4x6,8x8"},
        {"grid": "9999999999999x9999999999999", "factors": "4x4,4x4,4x6,8x8"},
        {"grid": "٥x٧"},
        {"grid": "51٢x768"},
        {"factors": "4x4,4x4,4x6,8x٨"},
        {"factors": 5},
        {"grid": 1.5},
    ],
)
def test_hostile_options_are_refused(options):
    spec = FieldSpec("asmr", 2, 3, 256, 3, {"grid": "512x768", "factors": "4x4,4x4,4x6,8x8", **options})
    with pytest.raises(UsageError):
        assert spec.shapes
    with pytest.raises(UsageError):
        sized((512, 768), **options)


@pytest.mark.parametrize(
    ("shape", "factors", "fewer"),
    [
        ((2, 1), "1x2097152,2x1", "1x1,2x1"),
        ((40, 60), "8x8,8x8,8x8,8x8", "1x1,1x1,5x8,8x8"),
        ((5, 7), "1x1,1x1,64x64", "1x1,1x1,5x7"),
        ((1009,), "9,9,20", "6,9,20"),
    ],
)
def test_factors_with_empty_cells_are_refused_and_smaller_ones_suggested(shape, factors, fewer):
    depth = factors.count(",")
    with pytest.raises(UsageError, match=f"use factors={fewer}"):
        sized(shape, depth, factors=factors)
    with pytest.raises(UsageError, match=f"use factors={fewer}"):
        assert FieldSpec(
            "asmr", len(shape), 3, 16, depth, {"grid": hierarchy.format_shape(shape), "factors": factors}
        ).shapes
    made = sized(shape, depth, factors=fewer).formula.hierarchy
    assert all(padded < 2 * side for padded, side in zip(made.padded, shape, strict=True))


def test_levels_may_be_written_with_slashes_and_are_stored_with_commas():
    asked = "asmr:depth=2:factors=1x1/3x2/8x8,asmr:depth=1:factors=3x2/8x8,siren"
    one, other, _ = parse_methods("full,uniform", asked)[::2]
    spec = ComparisonSpec((), (one, other), 1, Settings())
    data = image.from_array(PIXELS)
    assert plan(data, "a", spec.settings_for(one, "image")).spec.options["factors"] == "1x1,3x2,8x8"
    assert plan(data, "a", spec.settings_for(other, "image")).spec.options["factors"] == "3x2,8x8"
    with pytest.raises(UsageError, match="level after level"):
        assert FieldSpec("asmr", 2, 3, 16, 1, {"grid": "24x16", "factors": "3x2/8x8"}).shapes


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("length", [2, 1009, 65_537, 10_000_019])
def test_the_factors_chosen_need_all_their_coarsest_cells(length, depth):
    assert sized((length,), depth).formula.hierarchy.levels == depth + 1


@pytest.mark.parametrize(("shape", "factors"), [((37, 5, 23), "2x1x2,3x2x3,7x3x5"), ((9, 41), "2x3,2x4,3x4")])
def test_macs_and_sines_are_those_of_a_decode(shape, factors, monkeypatch):
    field, grid = make(shape, 2, 8, factors=factors), Grid(shape)
    rows = {"products": 0, "sines": 0}

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **kwargs or {})
            if function in (torch.ops.aten.addmm.default, torch.ops.aten.mm.default):
                rows["products"] += made.numel() * args[-1].shape[0]
            elif function in (torch.ops.aten.sin.default, torch.ops.aten.cos.default):
                rows["sines"] += made.numel()
            return made

    with Counting():
        values = field.on_grid(grid, 0, grid.n)
    torch.testing.assert_close(values, by_formula(field, torch.arange(grid.n)).float(), rtol=0, atol=2e-5)
    assert math.prod(field.formula.hierarchy.padded) > grid.n
    assert field.spec.macs == round(rows["products"] / grid.n)
    assert field.spec.sines == round(rows["sines"] / grid.n)


def test_a_last_level_too_large_to_fold_is_refused():
    with pytest.raises(UsageError, match="finer last level"):
        sized((4000,), 2, 256, outputs=65_535)
    assert sized((4000,), 2, 256, outputs=65_535, factors="40,100,1").shapes


def test_a_number_of_parameters_gives_the_widest_field_that_can_be_folded():
    plain = FieldSpec("asmr", 2, 3, 256, 1, {"factors": "1x1,64x64"})
    found = plain.formula.sized(plain, (64, 64), 10_000_000)
    assert found.parameters < 10_000_000
    assert (found.width + 1) * 2 * 64 * 64 * 3 > asmr.MAX_FOLDED_ENTRIES >= found.width * 2 * 64 * 64 * 3
    small = FieldSpec("asmr", 1, 65_535, 256, 2, {})
    assert small.formula.sized(small, (4000,), 10_000_000).width < 256  # the usual width could not be folded
    large = FieldSpec("asmr", 2, 65_535, 1, 1, {"factors": "1x1,64x64"})
    with pytest.raises(UsageError, match="finer last level"):
        large.formula.sized(large, (64, 64), 10_000_000)


def test_counts_are_the_papers_and_those_of_the_folded_decode():
    spec = sized((512, 768), 3, 256)
    assert spec.parameters == 134_659
    assert spec.formula.paper_macs(spec) == 1846
    coarse = 256 * 256 * (16 * 16 + 64 * 96)  # the hidden layers, a cell of the second and of the third level each
    last = 64 * 96 * 2 * 256 * 64 * 3  # [sin p, cos p] of a cell times the columns of its children
    small = 16 * 2 * 256 + (16 + 24 + 64) * 2 * 256  # first layer, modulators
    assert spec.macs == round((coarse + last + small) / (512 * 768)) == 2603
    sines = 256 * (16 * 16 + 64 * 96) + 2 * 256 * (64 * 96 + 64)
    assert spec.sines == round(sines / (512 * 768)) == 12


def test_sounds_and_the_deepest_cameraman_count_as_in_the_paper():
    spec = sized((32_000,), 3, 128, outputs=1)
    assert (spec.parameters, spec.formula.paper_macs(spec)) == (33_793, 1013)
    spec = sized((512, 512), 6, 256, outputs=1)
    assert (spec.parameters, spec.formula.paper_macs(spec)) == (333_057, 1632)


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"soft-mining"}))
def test_every_sampler_but_soft_mining_fits_it(sampler):
    artifact = codec.encode(
        np.random.default_rng(0).integers(0, 256, (19, 26, 3), dtype=np.uint8),
        sampler=sampler, arch="asmr", width=16, batch=128, budget="12it", precision="fp32",
    )  # fmt: skip
    assert artifact.provenance["spent"]["steps"] == 12
    assert artifact.decode().shape == (19, 26, 3)
    assert any("padded to" in note for note in artifact.provenance["notes"])


def test_soft_mining_is_refused_with_the_reason():
    data = image.from_array(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="between the cells") as refusal:
        plan(data, "a", Settings(arch="asmr", sampler="soft-mining"))
    assert "stream" in str(refusal.value)


def test_a_ratio_without_a_sampler_is_refused_with_those_that_take_one():
    data = image.from_array(PIXELS)
    with pytest.raises(UsageError, match="auto chooses for --arch asmr") as refusal:
        plan(data, "a", Settings(arch="asmr", ratio=0.2))
    named = str(refusal.value).split("from ")[1].split(", ")
    assert set(named) == set(SAMPLERS) - {"full", "soft-mining"}
    for sampler in named:
        assert plan(data, "a", Settings(arch="asmr", sampler=sampler, ratio=0.2)).sampler_name == sampler
    with pytest.raises(UsageError, match=r"full$"):
        plan(data, "a", Settings(arch="asmr", sampler="full", ratio=0.2))


def test_auto_trains_on_whole_blocks_and_every_point_once():
    data = image.from_array(np.random.default_rng(0).integers(0, 256, (37, 50, 3)).astype(np.uint8))
    planned = plan(data, "a", Settings(arch="asmr", width=16))
    assert planned.sampler_name == "full"
    signal = planned.signal.on(torch.device("cpu"))
    spec = planned.spec
    field = Field(spec, spec.formula.initial(spec, torch.Generator(), torch.zeros(3)))
    learner = Learner(field, signal, torch.Generator().manual_seed(0), torch.float32)
    assert learner.block_shape == spec.formula.hierarchy.block
    batches = block_batches(learner, 37 * 50 // 4)
    assert len(batches) == 4
    assert torch.cat(batches).sort().values.tolist() == list(range(37 * 50))
    tall, wide = learner.block_shape
    for batch in batches:
        touched = {(int(i) // 50 // tall, int(i) % 50 // wide) for i in batch}
        whole = sum(min(tall, 37 - y * tall) * min(wide, 50 - x * wide) for y, x in touched)
        assert batch.shape[0] == whole < 37 * 50


def test_blocks_come_in_the_order_of_the_folded_table():
    field, grid = make((48, 80)), Grid((48, 80))
    signal = image_signal(48, 80, 3).on(torch.device("cpu"))
    learner = Learner(field, signal, torch.Generator().manual_seed(0), torch.float32)
    for batch in block_batches(learner, 48 * 80 // 5):
        assert active_cells(field.formula.hierarchy, grid.coords(batch)).point_parent is None


PIXELS = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)


def encoded(pixels, **settings):
    usual = {"width": 16, "batch": 256, "budget": "5it"}
    return codec.encode(pixels, arch="asmr", precision="fp32", **usual | settings)


@pytest.mark.parametrize("batch", [1, 32, 63, 65])
def test_a_batch_has_at_least_one_block(batch):
    field, signal = make((13, 21)), image_signal(13, 21, 3).on(torch.device("cpu"))
    learner = Learner(field, signal, torch.Generator().manual_seed(0), torch.float32)
    batches = block_batches(learner, batch)
    assert min(made.shape[0] for made in batches) > 0
    assert torch.cat(batches).sort().values.tolist() == list(range(13 * 21))
    artifact = encoded(np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8), batch=batch)
    assert artifact.provenance["spent"]["steps"] == 5


def test_batches_halved_below_a_block_for_lack_of_memory_still_have_points(monkeypatch):
    real, calls = Engine.step, []

    def short_of_memory(engine, indices, *rest):
        calls.append(indices.shape[0])
        if len(calls) <= 3:
            raise MemoryError
        return real(engine, indices, *rest)

    monkeypatch.setattr(Engine, "step", short_of_memory)
    artifact = encoded(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8), batch=128)
    assert sum("out of memory" in note for note in artifact.provenance["notes"]) == 3
    assert artifact.provenance["spent"]["steps"] == 5
    assert calls[0] > 64
    assert calls[-5:] == [64] * 5


def test_another_size_is_the_decoded_raster_resampled():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    field = encoded(pixels).field()
    raster = field.on_grid(Grid((24, 16)), 0, 24 * 16).view(24, 16, 3)
    half = field.on_grid(Grid((12, 8)), 0, 12 * 8).view(12, 8, 3)
    torch.testing.assert_close(half, raster.view(12, 2, 8, 2, 3).mean((1, 3)))
    odd = field.on_grid(Grid((5, 16)), 0, 5 * 16).view(5, 16, 3)
    fine = raster.repeat_interleave(5, 0).view(5, 24, 16, 3).mean(1)
    torch.testing.assert_close(odd, fine)
    image = raster.permute(2, 0, 1)[None]
    larger = torch.nn.functional.interpolate(image, (50, 33), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    found = field.on_grid(Grid((50, 33)), 0, 50 * 33).view(50, 33, 3)
    torch.testing.assert_close(found, larger, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(field.on_grid(Grid((50, 33)), 700, 900), found.view(-1, 3)[700:900])


def overlaps(length, target):
    """(target, length): the share of each of ``target`` cells that each of ``length`` smaller cells covers."""
    made = torch.zeros(target, length, dtype=torch.float64)
    for i in range(target):
        for j in range(length):
            both = min((i + 1) * length, (j + 1) * target) - max(i * length, j * target)
            made[i, j] = max(0, both) / length
    return made


@pytest.mark.parametrize(
    ("source", "target"),
    [((1009,), (1,)), ((1009,), (7,)), ((60, 41), (1, 1)), ((97, 5), (6, 3)), ((30, 6, 20), (1, 9, 1))],
)
def test_a_raster_is_read_in_parts_for_any_target_size(source, target, monkeypatch):
    monkeypatch.setattr(resample, "CELLS_PER_PART", 256)
    raster, read = torch.randn(*source, 2, generator=torch.Generator().manual_seed(0)), []

    def rows(first, last):
        read.append((last - first) * math.prod(source[1:]))
        return raster[first:last]

    grid = Grid(target)
    found = resample.resample(rows, source, grid, 0, grid.n)
    expected = raster.double()
    for axis, (length, fewer) in enumerate(zip(source, target, strict=True)):
        if fewer < length:
            expected = torch.tensordot(overlaps(length, fewer), expected.movedim(axis, 0), 1).movedim(0, axis)
    if target == (1, 9, 1):
        expected = torch.nn.functional.interpolate(expected[0].permute(1, 2, 0), 9, mode="linear")
        expected = expected.permute(2, 0, 1)[None]
    torch.testing.assert_close(found, expected.float().reshape(grid.n, 2), rtol=1e-5, atol=1e-6)
    assert max(read) <= 256
    some = resample.resample(rows, source, grid, grid.n // 2, grid.n)
    torch.testing.assert_close(some, found[grid.n // 2 :])


def test_shrinking_takes_no_more_operations_for_more_cells():
    counts = []

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            counts[-1] += 1
            return function(*args, **kwargs or {})

    for length in (30, 3000):
        raster = torch.ones(4, length, 1)
        counts.append(0)
        with Counting():
            found = resample.resample(lambda a, b, raster=raster: raster[a:b], (4, length), Grid((2, 3)), 0, 6)
        torch.testing.assert_close(found, torch.ones(6, 1))
    assert counts[0] == counts[1]


def test_a_decode_at_another_size_is_reported_as_resampled():
    artifact = encoded(np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8))
    spec = artifact.spec
    assert spec.resampling((24, 16), (24, 16)) == ""
    assert "resampled to 8x12" in spec.resampling((24, 16), (12, 8))  # a width and a height
    assert artifact.decode(Request(scale=0.5)).shape == (12, 8, 3)


def test_a_file_whose_raster_is_not_its_signals_is_refused():
    artifact = encoded(np.zeros((24, 16, 3), np.uint8))
    options = {**artifact.spec.options, "grid": "24x17", "factors": "1x1,1x1,1x1,24x17"}
    other = dataclasses.replace(artifact, spec=dataclasses.replace(artifact.spec, options=options))
    for other_grid in ("24x15", "24y16", "99x99", "24x1\n"):
        with pytest.raises(UnreadableFile):
            Artifact.from_bytes(header_with(artifact, "grid", other_grid))
    with pytest.raises(Exception, match="raster"):
        other.to_bytes()


def header_with(artifact, option, value):
    """The bytes of the artifact with another value of an option in its header, and the header length adjusted."""
    header = artifact.header()
    header["field"]["options"] |= {option: value}
    return with_header(artifact, header)


@pytest.mark.parametrize("option", [f.name for f in dataclasses.fields(asmr.Asmr)])
def test_an_option_of_the_wrong_type_is_refused(option):
    wave = (10_000 * np.sin(np.arange(101))).astype(np.int16)
    usual = {"width": 8, "batch": 32, "budget": "2it", "precision": "fp32"}
    for artifact in (encoded(PIXELS, width=8), codec.encode(wave, rate=8000, arch="asmr", **usual)):
        right = getattr(artifact.spec.formula, option)
        assert Artifact.from_bytes(header_with(artifact, option, right)).spec.formula == artifact.spec.formula
        for wrong in (101, 1.5, True, False, None, [], {}, "", "x", "٥", str(right).encode().hex(), [right], -1):
            if type(wrong) in (int, float) and type(right) is float and wrong > 0:
                continue  # a number is a number
            with pytest.raises(UnreadableFile):
                Artifact.from_bytes(header_with(artifact, option, wrong))


def test_a_field_without_its_raster_is_refused():
    with pytest.raises(UsageError, match="raster"):
        assert FieldSpec("asmr", 2, 3, 16, 3, {}).shapes
    plain = FieldSpec("asmr", 2, 3, 16, 3, {})
    with pytest.raises(UsageError):
        plain.formula.sized(plain, None, None)


@pytest.mark.parametrize("modulation", ["linear", "nonlinear"])
def test_ntk_scores_equal_the_explicit_jacobian(modulation):
    """Chunks and the whole batch evaluate the last level differently, so both ways are differentiated."""
    field = make((16, 8), 2, 8, modulation=modulation, factors="2x2,2x1,4x4")
    signal = image_signal(16, 8, 3).on(torch.device("cpu"))
    learner = Learner(field, signal, torch.Generator(), torch.float32)
    rates = field.formula.rates()
    weights = {name: tensor.detach().requires_grad_() for name, tensor in field.weights.items()}
    coords, values = signal.take(torch.arange(128))
    predicted = field.formula.forward(weights, coords, torch.float32)
    rows = []
    for value in predicted.reshape(-1):
        slopes = torch.autograd.grad(value, list(weights.values()), retain_graph=True)
        rows.append(torch.cat([rates[n] * s.reshape(-1) for n, s in zip(weights, slopes, strict=True)]))
    jacobian = torch.stack(rows).double()
    residuals = (predicted.detach() - values).double()
    expected = (jacobian @ (jacobian.T @ residuals.reshape(-1))).view(128, 3).square().sum(1)
    for piece in (128, 37):
        scores, _ = dataclasses.replace(learner, chunk_size=piece).ntk_scores()
        torch.testing.assert_close(scores.double() / expected.max(), expected / expected.max(), rtol=0, atol=1e-4)


def test_sounds_are_fitted_and_decoded():
    wave = (10_000 * np.sin(np.arange(1009) ** 1.3 / 40)).astype(np.int16)
    artifact = codec.encode(wave, rate=8000, arch="asmr", width=32, depth=2, budget="150it", precision="fp32")
    assert artifact.decode().shape == (1009, 1)
    assert artifact.spec.options["grid"] == "1009"
    assert artifact.quality["snr"] > 3
    assert artifact.decode(Request(rate=4000)).shape[0] in (504, 505)


def test_the_commands_report_padding_and_resampling(png, tmp_path, capsys):
    words = ["--arch", "asmr", "--budget", "20it", "--width", "16", "--precision", "fp32", "--device", "cpu"]
    factors = ["-O", "factors=1x1,1x1,2x3,13x12"]
    assert run(["encode", str(png), *words, *factors, "--explain"]) == 0
    err = capsys.readouterr().err
    assert "the raster 24x32 is padded to 26x36 cells" in err
    assert re.search(r"grid +24x32 +follows from the size of the signal", err)
    model = f"{png}.safetensors"
    assert run(["info", model]) == 0
    assert "padded to 26x36" in " ".join(capsys.readouterr().out.split())
    assert run(["decode", model, "-o", str(tmp_path / "same.png")]) == 0
    assert "resampled" not in capsys.readouterr().err
    assert run(["decode", model, "-o", str(tmp_path / "twice.png"), "--scale", "2"]) == 0
    assert "decoded at 32x24 and resampled to 64x48" in capsys.readouterr().err


def test_modulators_start_small_on_large_rasters_only():
    small, large = image_signal(8, 8, 3), image_signal(8, 8, 3)
    large = dataclasses.replace(large, samples=np.broadcast_to(large.samples[:1], (asmr.LARGE_RASTER + 1, 3)))
    assert recipe.architecture_options(small, asmr.Asmr()) == {}
    assert recipe.architecture_options(large, asmr.Asmr()) == {"modulator_omega": 1.0}
    assert recipe.architecture_options(large, asmr.Asmr(), "paper") == {}


def test_annotated_shapes_are_checked():
    """In functions and data classes of modules that do not import torch."""
    with pytest.raises(TypeCheckError):
        unique_indices(torch.zeros(3), 5)
    with pytest.raises(TypeCheckError):
        ActiveCells(torch.zeros(3, 2, 1, dtype=torch.int64), (), None, None)

"""Feature grids: the formula against loops, points and rasters, both backward passes, sizes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from inrfit.errors import UsageError
from inrfit.fields import FieldSpec
from inrfit.fields.feature_grid import interpolation, raster_decode
from inrfit.fields.feature_grid.feature_grid import FeatureGrid
from inrfit.fields.feature_grid.sizes import MAX_FEATURES, MAX_NODE_LOSS
from inrfit.fields.module import Field
from inrfit.fields.sizing import DEFAULT_PARAMETERS, MIN_DEFAULT_PARAMETERS, default_parameters
from inrfit.fit import recipe
from inrfit.fit.engine.backends import analytic_gradients, autograd_gradients
from inrfit.signal import Grid

DENSE = {1: {"finest": "13"}, 2: {"finest": "9x14"}, 3: {"finest": "5x6x9"}}
SETTINGS = {
    f"{d}-D {kind}": (d, {**DENSE[d], "levels": 3, "features": 2, "growth": 1.7, **more})
    for d in DENSE
    for kind, more in {
        "dense": {},
        "hashed": {"table": 19},
        "smooth": {"interpolation": "quadratic"},
        "smooth and hashed": {"interpolation": "quadratic", "table": 19},
    }.items()
    if not (d == 1 and "hashed" in kind)
} | {
    "3-D planes": (3, {**DENSE[3], "levels": 2, "features": 2, "planes": "4x7x11"}),
    "3-D smooth planes, hashed": (
        3,
        {**DENSE[3], "levels": 2, "features": 1, "planes": "4x7x11", "table": 29, "interpolation": "quadratic"},
    ),
    "4-D planes": (4, {"finest": "3x4x5x4", "levels": 1, "features": 1, "planes": "3x5x6x7"}),
}
PRIMES = (1, 2654435761, 805459861, 3674653429)


def make(settings, outputs=3, width=8, depth=3):
    """A field with weights of visible size."""
    inputs, options = settings
    spec = FieldSpec("grid", inputs, outputs, width, depth, options)
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) / 2 for name, shape in spec.shapes.items()}
    return Field(spec, weights)


def spline(distance, interpolation):
    """The B-spline of degree one or two."""
    if interpolation == "linear":
        return max(0.0, 1 - distance)
    return 0.75 - distance**2 if distance < 0.5 else max(0.0, 1.5 - distance) ** 2 / 2


def slow(field, point):
    """The field at one point in float64, by the formula of docs/artifact.md."""
    options, w = field.formula, {name: weight.double() for name, weight in field.weights.items()}
    finest = [int(part) for part in options.finest.split("x")]
    found, start = [], 0
    scales = [options.growth ** (options.levels - 1 - level) for level in range(options.levels)]
    grids = [[math.ceil(most / scale) for most in finest] for scale in scales]
    if options.planes:
        sides = [int(part) for part in options.planes.split("x")]
        for pair in itertools.combinations(range(len(sides)), 2):
            grids.append([side if axis in pair else 1 for axis, side in enumerate(sides)])
    for nodes in grids:
        rows = min(math.prod(nodes), options.table)
        total = torch.zeros(options.features, dtype=torch.float64)
        places = [min(max((x + 1) / 2 * n - 0.5, 0.0), n - 1.0) for x, n in zip(point.tolist(), nodes, strict=True)]
        for around in itertools.product((-1, 0, 1, 2), repeat=len(nodes)):
            node = [min(max(int(p) + step, 0), n - 1) for p, step, n in zip(places, around, nodes, strict=True)]
            distances = [abs(p - int(p) - step) for p, step in zip(places, around, strict=True)]
            weight = math.prod(spline(distance, options.interpolation) for distance in distances)
            row, mixed = 0, 0
            for number, length in zip(node, nodes, strict=True):
                row = row * length + number
            for number, prime in zip(reversed(node), PRIMES, strict=False):
                mixed ^= number * prime
            at = row if math.prod(nodes) <= rows else mixed % rows
            total += weight * w["table"][start + at]
        found.append(total)
        start += rows
    x = torch.cat(found)
    x = (w["first.weight"] @ x + w["first.bias"]).relu()
    for matrix, bias in zip(w["hidden.weight"], w["hidden.bias"], strict=True):
        x = (matrix @ x + bias).relu()
    return w["last.weight"] @ x + w["last.bias"]


@pytest.mark.parametrize("name", SETTINGS)
def test_equals_the_formula_evaluated_in_loops(name):
    field = make(SETTINGS[name])
    hashed = [level.hashed for level in field.formula.grids(field.spec.inputs)]
    assert any(hashed) == ("hashed" in name)
    points = torch.rand(20, field.spec.inputs, generator=torch.Generator().manual_seed(1)) * 2.2 - 1.1
    with torch.no_grad():
        expected = torch.stack([slow(field, point) for point in points]).float()
        torch.testing.assert_close(field(points), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("scale", [1, 3])
def test_a_raster_equals_its_points(name, scale, monkeypatch):
    monkeypatch.setattr(raster_decode, "POINTS_IN_CACHE", 40)
    field = make(SETTINGS[name])
    grid = Grid({1: (29,), 2: (7, 11), 3: (4, 5, 6), 4: (3, 4, 2, 5)}[field.spec.inputs])
    grid = Grid(tuple(scale * length for length in grid.shape))
    expected = field(grid.coords(torch.arange(grid.n))).detach()
    for start, stop in ((0, grid.n), (grid.n // 3, grid.n // 3 + 2), (5, grid.n - 3), (0, grid.n // 2)):
        torch.testing.assert_close(field.on_grid(grid, start, stop), expected[start:stop], rtol=1e-4, atol=1e-4)


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that is created."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor):
            self.most = max(self.most, found.numel())
        return found


@pytest.mark.parametrize(
    ("shape", "finest", "table"),
    [
        ((16, 16), "1500x1500", 1),
        ((4, 5, 6), "60", 7),
        ((300, 2), "1x40000", 9),
        ((2, 40, 2), "1x1x9000", 1),
        ((16, 16), "500x500", 250_000),
    ],
)
def test_a_small_raster_of_a_fine_grid_takes_little_memory(shape, finest, table):
    field, grid = make((len(shape), {"finest": finest, "levels": 1, "table": table})), Grid(shape)
    expected = field(grid.coords(torch.arange(grid.n))).detach()
    with Largest() as made, torch.inference_mode():
        found = field.on_grid(grid, 0, grid.n)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert 0 < made.most <= max(64 * grid.n, field.weights["table"].numel())


def test_axes_of_length_one():
    field, grid = make((2, {"finest": "1x20", "levels": 4})), Grid((1, 33))
    expected = field(grid.coords(torch.arange(33))).detach()
    torch.testing.assert_close(field.on_grid(grid, 0, 33), expected, rtol=1e-4, atol=1e-4)


def test_nodes_on_samples_give_their_rows():
    """The finest level may coincide with the raster, and each sample then has its own row."""
    field, grid = make((2, {"finest": "5x7", "levels": 1, "features": 3})), Grid((5, 7))
    from inrfit.fields.feature_grid.interpolation import interpolate_at

    found = interpolate_at(field.weights["table"], field.formula.grids(2), grid.coords(torch.arange(35)))
    torch.testing.assert_close(found, field.weights["table"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("extra_gradient", [None, lambda residuals: residuals.sin() / 7])
def test_the_analytic_backward_pass_equals_autograd(name, depth, extra_gradient, monkeypatch):
    monkeypatch.setattr(interpolation, "POINTS_IN_CACHE", 32)
    field = make(SETTINGS[name], depth=depth)
    generator = torch.Generator().manual_seed(2)
    coords = torch.rand(100, field.spec.inputs, generator=generator) * 2 - 1
    values, loss_weights = torch.rand(100, 3, generator=generator), torch.rand(100, 1, generator=generator) / 100
    weights = {key: weight.detach() for key, weight in field.weights.items()}
    expected_residuals, expected = autograd_gradients(field.formula, torch.float32)(
        weights, coords, values, loss_weights, extra_gradient
    )
    residuals, found = analytic_gradients(field.formula, torch.float32)(
        weights, coords, values, loss_weights, extra_gradient
    )
    torch.testing.assert_close(residuals, expected_residuals)
    for key, gradient in expected.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_copies_nothing_from_the_host(name, monkeypatch):
    """Such copies are forbidden while a CUDA graph is captured."""
    field = make(SETTINGS[name])
    weights = {key: weight.detach() for key, weight in field.weights.items()}
    coords, values, loss_weights = torch.zeros(9, field.spec.inputs), torch.zeros(9, 3), torch.ones(9, 1)
    for maker in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.delattr(torch, maker)
    residuals, _ = analytic_gradients(field.formula, torch.float32)(weights, coords, values, loss_weights, None)
    assert residuals.shape == (9, 3)


def test_a_step_can_be_compiled():
    torch.compiler.reset()  # what other tests have compiled counts against torch's limit
    field = make(SETTINGS["2-D hashed"])
    weights = {key: weight.detach() for key, weight in field.weights.items()}
    gradients = analytic_gradients(field.formula, torch.float32)
    arguments = weights, torch.zeros(9, 2), torch.zeros(9, 3), torch.ones(9, 1), None
    traced = torch.compile(gradients, dynamic=False, fullgraph=True, backend="eager")
    torch.testing.assert_close(traced(*arguments), gradients(*arguments))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_autograd_of_the_table_equals_that_of_plain_indexing(name):
    from inrfit.fields.feature_grid.interpolation import Gather, nodes_around

    field = make(SETTINGS[name])
    coords = (torch.rand(30, field.spec.inputs, generator=torch.Generator().manual_seed(3)) * 2 - 1).requires_grad_()
    table = field.weights["table"].detach().requires_grad_()
    found = []
    for gather in (Gather.apply, lambda table, rows, weights: (table[rows] * weights[..., None]).sum(-2)):
        values = gather(table, *nodes_around(field.formula.grids(field.spec.inputs), coords))
        found.append((values.detach(), *torch.autograd.grad(values.sin().sum(), (table, coords))))
    for mine, plain in zip(*found, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own forward mode
@pytest.mark.parametrize("name", SETTINGS)
def test_the_forward_derivative_equals_differences(name):
    field = make(SETTINGS[name])
    points = torch.rand(25, field.spec.inputs, generator=torch.Generator().manual_seed(4)) * 2 - 1
    weights = {key: weight.detach() for key, weight in field.weights.items()}
    generator = torch.Generator().manual_seed(5)
    moved = {key: torch.randn(weight.shape, generator=generator) for key, weight in weights.items()}

    def at(w):
        return field.formula.forward(w, points, torch.float32)

    values, found = torch.func.jvp(at, (weights,), (moved,))
    torch.testing.assert_close(values, at(weights))
    grad = torch.func.vjp(at, weights)[1](torch.ones_like(values))[0]
    expected = sum((grad[key] * moved[key]).sum() for key in weights)
    torch.testing.assert_close(found.sum(), expected, rtol=1e-4, atol=1e-3)


SHAPES = [
    (1, 1),
    (2, 2),
    (35,),
    (80_000,),
    (2_000_000,),
    (1, 64),
    (64, 1),
    (3, 5),
    (512, 512),
    (512, 768),
    (5400, 10800),
    (30, 90, 160),
]


@pytest.mark.parametrize("shape", [*SHAPES, None], ids=str)
@pytest.mark.parametrize("parameters", [2_000, 30_000, 264_000, 3_000_000])
def test_sizes_stay_within_the_parameters_asked_for(shape, parameters):
    spec = FieldSpec("grid", 3 if shape is None else len(shape), 3, 64, 2, {})
    sized = spec.formula.sized(spec, shape, parameters)
    assert sized.parameters <= parameters
    assert sized.parameters >= 0.8 * parameters or sized.options["features"] == MAX_FEATURES
    if shape is not None:
        finest = sized.formula.grids(len(shape))[sized.options["levels"] - 1].nodes
        kept = math.prod(finest)
        assert sized.options["features"] == 1 or kept >= (1 - MAX_NODE_LOSS) * math.prod(shape)
        assert all(
            nodes <= length
            for level in sized.formula.grids(len(shape))
            for nodes, length in zip(level.nodes, shape, strict=True)
        )


SIZES = [
    (None, None, 64, {}, 3, (4, 64, 1, "103x103x103", 78_051)),
    (None, 1000, 64, {}, 3, (2, 8, 1, "15x15x15", 241)),
    (None, 20_000, 64, {}, 3, (2, 64, 1, "40x40x40", 4_571)),
    (None, 264_000, 64, {}, 3, (4, 64, 1, "103x103x103", 78_051)),
    (None, 10_000_000, 64, {}, 3, (4, 64, 1, "355x355x355", 3_195_633)),
    ((1,), None, 64, {}, 3, (2, 8, 12, "1", 1 << 24)),
    ((1,), 10_000_000, 64, {}, 3, (4, 64, 4096, "1", 1 << 24)),
    ((500,), None, 64, {}, 3, (2, 8, 2, "316", 1 << 24)),
    ((500,), 1000, 64, {}, 3, (2, 8, 1, "415", 1 << 24)),
    ((500,), 20_000, 64, {}, 3, (2, 64, 11, "452", 1 << 24)),
    ((500,), 10_000_000, 64, {}, 3, (4, 64, 4096, "500", 1 << 24)),
    ((100003,), None, 64, {}, 3, (4, 64, 1, "75196", 1 << 24)),
    ((100003,), 1000, 64, {}, 3, (2, 8, 1, "415", 1 << 24)),
    ((100003,), 20_000, 64, {}, 3, (2, 64, 1, "7562", 1 << 24)),
    ((100003,), 264_000, 64, {}, 3, (4, 64, 2, "62802", 1 << 24)),
    ((100003,), 10_000_000, 64, {}, 3, (4, 64, 51, "98040", 1 << 24)),
    ((1, 64), None, 64, {}, 3, (2, 8, 6, "1x55", 1 << 24)),
    ((1, 64), 1000, 64, {}, 3, (2, 8, 6, "1x55", 1 << 24)),
    ((1, 64), 20_000, 64, {}, 3, (2, 64, 36, "1x56", 1 << 24)),
    ((1, 64), 10_000_000, 64, {}, 3, (4, 64, 4096, "1x64", 1 << 24)),
    ((24, 32), None, 64, {}, 3, (2, 16, 2, "22x30", 1 << 24)),
    ((24, 32), 1000, 64, {}, 3, (2, 8, 1, "21x28", 1 << 24)),
    ((24, 32), 20_000, 64, {}, 3, (2, 64, 12, "23x31", 1 << 24)),
    ((24, 32), 264_000, 64, {}, 3, (4, 64, 187, "23x31", 1 << 24)),
    ((24, 32), 10_000_000, 64, {}, 3, (4, 64, 4096, "24x32", 1 << 24)),
    ((512, 768), None, 64, {}, 3, (4, 64, 1, "354x531", 1 << 24)),
    ((512, 768), 1000, 64, {}, 3, (2, 8, 1, "20x30", 1 << 24)),
    ((512, 768), 20_000, 64, {}, 3, (2, 64, 1, "87x130", 1 << 24)),
    ((512, 768), 264_000, 64, {}, 3, (4, 64, 1, "354x531", 1 << 24)),
    ((512, 768), 10_000_000, 64, {}, 3, (4, 64, 20, "499x749", 1 << 24)),
    ((32, 32, 32), None, 64, {}, 3, (4, 64, 2, "30x30x30", 1 << 24)),
    ((32, 32, 32), 1000, 64, {}, 3, (2, 8, 1, "6x6x6", 1 << 24)),
    ((32, 32, 32), 20_000, 64, {}, 3, (2, 64, 1, "20x20x20", 1 << 24)),
    ((32, 32, 32), 264_000, 64, {}, 3, (4, 64, 6, "30x30x30", 1 << 24)),
    ((32, 32, 32), 10_000_000, 64, {}, 3, (4, 64, 212, "31x31x31", 1 << 24)),
    ((512, 768), None, 32, {}, 3, (4, 32, 1, "360x540", 1 << 24)),
    ((24, 32), None, 128, {}, 3, (4, 128, 1, "24x32", 1 << 24)),
    ((512, 768), 20_000, 64, {"levels": 2, "features": 4}, 3, (2, 64, 4, "44x66", 1 << 24)),
]
"""Shape, parameters, width and options asked for, channels; the depth, width, features, finest grid and rows that are
chosen."""


@pytest.mark.parametrize(("shape", "parameters", "width", "options", "channels", "chosen"), SIZES)
def test_sizes_are_those_that_were_measured(shape, parameters, width, options, channels, chosen):
    spec = FieldSpec("grid", 3 if shape is None else len(shape), channels, width, FeatureGrid.TRAITS.depth, options)
    sized = spec.formula.sized(spec, shape, parameters, {"width"} if width != FeatureGrid.TRAITS.width else ())
    assert (sized.depth, sized.width, *(sized.options[key] for key in ("features", "finest", "table"))) == chosen


@pytest.mark.parametrize("shape", [*SHAPES, None], ids=str)
def test_default_sizes_do_not_exceed_the_number_of_values(shape):
    spec = FieldSpec("grid", 3 if shape is None else len(shape), 3, 64, 2, {})
    found = spec.formula.sized(spec, shape, None).parameters
    assert found <= (DEFAULT_PARAMETERS if shape is None else default_parameters(math.prod(shape)))
    if shape is not None:
        assert found <= max(MIN_DEFAULT_PARAMETERS, 3 * math.prod(shape))


@pytest.mark.parametrize(
    ("shape", "options"),
    [((1, 1), {}), ((2, 2), {}), ((512, 768), {}), (None, {}), (None, {"finest": "300"}), ((64, 64), {"finest": "64"})],
)
def test_a_refusal_names_the_smallest_accepted_number(shape, options):
    spec = FieldSpec("grid", 3 if shape is None else 2, 3, 64, 2, options)
    with pytest.raises(UsageError) as refused:
        spec.formula.sized(spec, shape, 5)
    least = int(str(refused.value).split()[-2].replace(",", ""))
    assert spec.formula.sized(spec, shape, least).parameters == least
    with pytest.raises(UsageError, match=f"at least {least:,} "):
        spec.formula.sized(spec, shape, least - 1)


@pytest.mark.parametrize(
    ("finest", "parameters"), [("32", None), ("300", None), ("300", 264_000), (None, 40_000_000), (None, 90_000_000)]
)
def test_shapes_get_a_table_whatever_is_asked_for(finest, parameters):
    asked = {} if finest is None else {"finest": finest}
    spec = FieldSpec("grid", 3, 1, 64, 2, asked)
    sized = spec.formula.sized(spec, None, parameters)
    assert {**sized.options, **asked} == sized.options
    most = DEFAULT_PARAMETERS if parameters is None else parameters
    assert (0.8 * most if finest != "32" else 32**3 / 14) < sized.parameters <= most


@pytest.mark.parametrize("shape", [(2, 2), (24, 32), (512, 768), None], ids=str)
@pytest.mark.parametrize("width", [1, 32, 64, 128, 256])
def test_a_width_asked_for_is_kept_and_leaves_weights_for_the_table(shape, width):
    spec = FieldSpec("grid", 3 if shape is None else 2, 3, width, 2, {})
    sized = spec.formula.sized(spec, shape, None, {"width"})
    assert sized.width == width
    target = DEFAULT_PARAMETERS if shape is None else default_parameters(math.prod(shape))
    assert math.prod(sized.shapes["table"]) >= 0.4 * min(target, 3 * math.prod(shape or (target,)))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_a_depth_asked_for_is_kept(depth):
    spec = FieldSpec("grid", 2, 3, 64, depth, {})
    sized = spec.formula.sized(spec, (512, 768), 5_000, {"depth"})
    assert sized.depth == depth
    assert sized.parameters <= 5_000


def test_options_asked_for_are_kept():
    spec = FieldSpec("grid", 2, 3, 64, 2, {"features": 6, "finest": "40x30", "levels": 2})
    sized = spec.formula.sized(spec, (512, 512), None)
    assert {key: sized.options[key] for key in spec.options} == spec.options
    assert sized.width == 64


@pytest.mark.parametrize(
    "options",
    [{"finest": text} for text in ("", "x", "0", "5x0", "-3", "1e9", "99999999999", "5,6", "٣", "4x4x4x4x4", None, 3.5)]
    + [
        {"levels": 0},
        {"levels": 10**9},
        {"growth": 0.5},
        {"growth": math.nan},
        {"table": 0},
        {"table": 10**9},
        {"features": 10**7},
    ],
)
def test_invalid_options_are_refused(options):
    with pytest.raises(UsageError):
        _ = FieldSpec("grid", 2, 3, 8, 2, options).formula


def test_too_many_axes_are_refused():
    with pytest.raises(UsageError):
        _ = FieldSpec("grid", 3, 3, 8, 2, {"finest": "4x4"}).shapes


def test_parameters_of_huge_options_are_counted_at_once():
    spec = FieldSpec("grid", 3, 3, 8, 2, {"finest": "16777216", "features": 4096, "table": 1 << 26, "levels": 32})
    assert spec.parameters > 10**10


def test_batches_grow_with_the_table():
    def batch(finest):
        spec = FieldSpec("grid", 2, 3, 64, 2, {"finest": finest})
        return recipe.choose(spec, torch.device("cpu"), recipe.UserChoices(precision="fp32")).config.batch

    assert batch("100") == 4096 < batch("2000") < batch("8000") == 1 << 18


def test_counts_are_those_of_the_formula():
    spec = FieldSpec("grid", 2, 3, 64, 2, {"levels": 5, "features": 2})
    assert spec.macs == 4 * 10 + 64 * (10 + 64 + 3)
    assert spec.sines == 0

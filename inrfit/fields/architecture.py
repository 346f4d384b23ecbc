"""The protocol of an architecture, and the description of its properties.

Methods that not every architecture needs have default implementations here, which a class assigns to the method's name:
``gradients = architecture.autograd_gradients``. Importing this module does not import torch. Shapes: n points, d input
dimensions, c output channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from ..signal import CHUNK, Grid
from .hyperparameters import Hyperparameters

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from ..kernel.perceptron import Activation
    from .spec import FieldSpec

FrequencyShares = Mapping[str, Mapping[str, float]]
"""Values of options, by option and class of signals, as a share of the initial frequency of a SIREN's first layer."""

DecodeBytes = Callable[["FieldSpec", tuple[int, ...], int], int]
"""``decode_bytes(spec, shape, cells)``: bytes for a number of cells of a grid of this shape, in Python integers."""

ClosedForm = Callable[["FieldSpec", "Tensor"], Mapping[str, "Tensor"]]
"""``closed_form(spec, values)``: weights by the values (n, c) of all cells of the signal's grid, or of the
architecture's own (``surfaces_only``), on the CPU."""

MAX_CHUNK_UNITS = 1 << 23
"""Units of the widest layer that are evaluated at a time on a CPU, over all points: 32 MB."""


@dataclass(frozen=True)
class Traits:
    """Constant properties of an architecture. The rest of the package knows an architecture by these only."""

    width: int
    """Default number of units per layer."""
    depth: int
    """Default number of hidden layers."""
    hyperparameters: Hyperparameters
    """Defaults for the optimiser."""
    raster_only: bool = False
    """The field is defined on the cells of one raster only (``raster``)."""
    grid_axes: int | None = None
    """Number of axes of the grids on which the field can be fitted; None: any number, and points too."""
    surfaces_only: bool = False
    """The field is that of a shape, as signed distances without colours; ``closed_form`` takes the values at the nodes
    of ``own_grid``."""
    derivatives: int = 2
    """Order of the highest derivatives with respect to coordinates that exist everywhere: 1 for fields with kinks."""
    planned_bits: float = 5.0
    """Bits a weight for which ``--bytes`` plans the number of weights: more weights of fewer bits, or fewer of more."""
    own_gradients: bool = True
    """``gradients`` is an analytic backward pass. Otherwise it is ``autograd_gradients``, and nothing is compiled."""
    same_shapes: bool = True
    """The shapes of all tensors of a step depend on the batch size only, so that a step can be compiled or captured."""
    gradient_chunk: int | None = None
    """Maximum number of points per call of ``gradients``; None: the engine's default."""
    decode_chunk: int | None = None
    """Preferred number of cells per call of ``on_grid``; None: ``signal.CHUNK``."""
    unit_bytes: int = 8
    """Bytes that a layer takes for each of its units and each point, when nothing is differentiated."""
    decode_bytes: DecodeBytes | None = None
    """Bytes that ``on_grid`` takes beside the weights; None: those of a perceptron (``FieldSpec.decode_bytes``)."""
    shares_blocks: bool = False
    """The cells of a block of the raster (``block``) share work, so batches consist of whole blocks where possible."""
    single_point_cost: float = 1.0
    """Cost of training one isolated point, relative to a point in a whole block."""
    default_sampler: str | None = None
    """The sampler that ``--sampler auto`` chooses; None: that of the modality."""
    initialization_options: frozenset[str] = frozenset()
    """Options that only the initial weights depend on. Fields that differ in nothing else share compiled code."""
    frequency_scaling: FrequencyShares = field(default_factory=dict)
    """The options that follow the frequencies of a signal. Classes of signals that are not listed keep the default."""
    class_options: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Values of options, by class of signals, where they differ from the defaults."""
    class_widths: Mapping[str, int] = field(default_factory=dict)
    """Default numbers of units per layer, by class of signals, where they differ from ``width``."""
    paper_options: Mapping[str, float] = field(default_factory=dict)
    """The paper's values of options whose defaults are different."""
    closed_form: ClosedForm | None = None
    """The weights for a signal on a grid, from all its values, if no steps are needed to find them."""
    coefficients: str = ""
    """"bands", "spectrum" or "distances": the weights are coefficients of a transform of the signal, or its values,
    which are rounded to multiples of one step, and coded with contexts (``artifact.latents``, ``spectra``,
    ``distances``)."""
    unreliable_on: frozenset[str] = frozenset()
    """Classes of signals that the architecture fits badly (docs/architectures.md)."""


@dataclass(frozen=True)
class OptionContext:
    """The facts about signal and regime that options depend on."""

    signal_class: str
    """Class of the signal: ``Modality.signal_class``."""
    samples: int
    """Number of samples of the signal."""
    first_omega: Callable[[], tuple[float, ...]]
    """Initial frequencies of a SIREN's first layer, by axis, in radians per unit. May read the whole signal."""
    paper_frequency_scale: float | None = None
    """With ``--regime paper`` the factor on frequencies for the papers' coordinates; otherwise None."""
    asked: Collection[str] = ()
    """Names of the options that the user has set."""


@runtime_checkable  # for the type checks in tests (beartype); the package does not use isinstance with it
class Architecture(Protocol):
    """An architecture: a frozen dataclass of options. ``spec`` holds the sizes, ``self`` the options.

    ``weights`` are tensors by the names of ``shapes``."""

    TRAITS: ClassVar[Traits]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def sized(
        self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None, asked: Collection[str] = ()
    ) -> FieldSpec:
        """``spec`` with sizes and options for a signal on a grid of ``shape`` (None: points). With ``parameters``, the
        largest field that has at most so many weights. Raises ``UsageError`` if there is none. Needs no torch.

        ``asked`` says which of ``width`` and ``depth`` were asked for and are kept; ``parameters`` exclude ``width``.
        """

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor, in the order in which they are stored."""

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates of a forward pass per sample. Work that samples of a grid share is divided by their
        number."""

    def sines(self, spec: FieldSpec) -> int:
        """Sines, cosines and exponentials of a forward pass per sample. Work that samples of a grid share is
        divided by their number."""

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """Initial weights in float32 on the CPU, drawn from ``generator``, for values around ``mean``."""

    def constant(self, weights: Mapping[str, Tensor], value: Float[Tensor, " c"]) -> dict[str, Tensor]:
        """Weights of a field that has the same ``value`` everywhere."""

    def forward(
        self, weights: Mapping[str, Tensor], coords: Float[Tensor, "n d"], precision: torch.dtype
    ) -> Float[Tensor, "n c"]:
        """Values at ``coords`` in float32. Hidden layers are computed in ``precision``."""

    def rates(self) -> dict[str, float]:
        """Factors on the learning rate by weight tensor. A tensor that includes a frequency factor needs a rate that is
        larger by this factor."""

    def muon_tensors(self) -> frozenset[str]:
        """Names of the stacked hidden matrices (l, out, in), which Muon can update."""

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Float[Tensor, "n d"],
        values: Float[Tensor, "n c"],
        loss_weights: Float[Tensor, "n 1"],
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
        """Residuals, and the gradients in float32 of sum(loss_weights * residual^2) with respect to ``weights``.
        ``extra_gradient`` maps the residuals (n, c) to the gradient (n, c) of further loss terms with respect to them.
        Default: ``autograd_gradients``."""

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Float[Tensor, "n c"]:
        """Values in float32 of the cells start..stop (flat, row-major) of ``grid``, on the device of the weights. They
        equal those of ``forward`` up to rounding. The memory used is proportional to stop - start. Default:
        ``forward_in_chunks``."""

    def fp32_tensors(self) -> frozenset[str]:
        """Names of the tensors that are always stored in float32, such as those that produce the phase of a sine:
        a phase may be thousands of radians, and rounding errors are proportional to it. Default:
        ``no_fp32_tensors``."""

    def rounding_groups(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """The numbers of each tensor that are rounded to multiples of one step, as the sizes of consecutive groups in
        row-major order: those of a layer, or of a level. Default: ``layer_groups``."""

    def raster(self) -> tuple[int, ...] | None:
        """Cells per axis of the only raster on which the field is defined; None: it is defined everywhere. Default:
        ``no_raster``."""

    def block(self) -> tuple[int, ...] | None:
        """Cells per axis of the blocks of the raster that share work. Default: ``no_blocks``."""

    def notes(self) -> tuple[str, ...]:
        """Remarks for the user about options that were chosen for the signal. Default: ``no_notes``."""

    def options_for(self, context: OptionContext) -> dict[str, float | str]:
        """Options that depend on the signal or the regime, by name. ``self`` has the options that the user has set.
        Default: ``frequency_options``."""

    def reason(self, option: str) -> str:
        """Why ``option`` has its default value, for ``--explain``; "" if there is nothing to explain. Default:
        ``no_reason``."""

    def kernel_activation(self, axes: int) -> Activation | None:
        """The activation, if the field is a perceptron (``mlp/mlp.py``) or a feature grid that the compiled kernel
        computes, for signals of so many axes. Default: ``no_kernel``."""


def autograd_gradients(
    net: Architecture,
    weights: Mapping[str, Tensor],
    coords: Float[Tensor, "n d"],
    values: Float[Tensor, "n c"],
    loss_weights: Float[Tensor, "n 1"],
    precision: torch.dtype,
    extra_gradient: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "n c"], dict[str, Tensor]]:
    """Default of ``gradients``: differentiates ``forward`` by autograd."""
    import torch

    with torch.enable_grad():
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        residuals = net.forward(leaves, coords, precision) - values
        loss = (loss_weights * residuals.square()).sum()
        if extra_gradient is not None:
            loss = loss + (extra_gradient(residuals.detach()) * residuals).sum()
        gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return residuals.detach(), dict(zip(leaves, gradients, strict=True))


def forward_in_chunks(
    net: Architecture, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int
) -> Float[Tensor, "n c"]:
    """Default of ``on_grid``: evaluates ``forward`` at the centres of the cells, in chunks."""
    import torch

    from .kernel_passes import evaluate

    device = next(iter(weights.values())).device
    # The activations of a quarter of a chunk fit into the caches of a CPU. A CUDA device needs large chunks.
    step = CHUNK if device.type == "cuda" else points_at_a_time(widest_layer(tuple(w.shape) for w in weights.values()))
    values: Tensor | None = None
    for begin in range(start, max(stop, start + 1), step):
        cells = torch.arange(begin, min(begin + step, stop), device=device)
        part = evaluate(net, weights, grid.coords(cells))
        # Results that were kept one by one would lie between the freed activations, which could then not be used again.
        values = part.new_empty(stop - start, part.shape[1]) if values is None else values
        values[begin - start : begin - start + step] = part
    assert values is not None
    return values


def widest_layer(shapes: Iterable[tuple[int, ...]]) -> int:
    """The largest number of units of a layer, or of inputs of one, among weights of these shapes."""
    return max((shape[-1] for shape in shapes), default=1)


def points_at_a_time(width: int) -> int:
    """Points that are evaluated together on a CPU by layers of up to ``width`` units."""
    return max(1, min(CHUNK // 4, MAX_CHUNK_UNITS // width))


def no_fp32_tensors(net: object) -> frozenset[str]:
    """Default of ``fp32_tensors``: all tensors may be rounded."""
    return frozenset()


def layer_groups(net: Architecture, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
    """Default of ``rounding_groups``: a tensor is one group. One of three or more axes is a stack of layers, each of
    which is a group."""
    groups = {}
    for name, shape in net.shapes(spec).items():
        stacked = shape[0] if len(shape) > 2 else 1
        groups[name] = (math.prod(shape) // stacked,) * stacked
    return groups


def no_raster(net: object) -> tuple[int, ...] | None:
    """Default of ``raster``: the field is defined everywhere."""
    return None


def no_blocks(net: object) -> tuple[int, ...] | None:
    """Default of ``block``: points share no work."""
    return None


def no_notes(net: object) -> tuple[str, ...]:
    """Default of ``notes``: no remarks."""
    return ()


def no_reason(net: object, option: str) -> str:
    """Default of ``reason``: no explanation."""
    return ""


def no_kernel(net: object, axes: int) -> Activation | None:
    """Default of ``kernel_activation``: the compiled kernel does not compute this architecture."""
    return None


def frequency_options(net: Architecture, context: OptionContext) -> dict[str, float | str]:
    """Default of ``options_for``: by the class of the signal and the lowest frequency of its axes; or the paper's."""
    traits, scale, kind = net.TRAITS, context.paper_frequency_scale, context.signal_class
    if scale is not None:
        own = asdict(net)
        scaled = {name: own[name] * scale for name in traits.frequency_scaling if scale != 1}
        return {**traits.paper_options, **scaled}
    shares = {name: by_class[kind] for name, by_class in traits.frequency_scaling.items() if kind in by_class}
    omega = min(context.first_omega()) if shares else 0.0
    return {**traits.class_options.get(kind, {}), **{name: share * omega for name, share in shares.items()}}

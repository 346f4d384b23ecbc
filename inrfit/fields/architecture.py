"""What an architecture is: its methods, and a description of what is special about it.

A method that not every architecture needs has a default here, a function that a class assigns to the method's name:
``gradients = architecture.autograd_gradients``. Nothing here imports torch before a tensor is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from ..signal import CHUNK
from .hyperparameters import Hyperparameters

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..signal import Grid
    from .spec import FieldSpec

Shares = Mapping[str, Mapping[str, float]]
"""Option -> class of signals -> value, as a share of the frequency that a SIREN's first layer would start with."""


@dataclass(frozen=True)
class Traits:
    """The constant facts about an architecture: everything that the rest of the package has to know about it."""

    width: int
    """Usual units per layer."""
    depth: int
    """Usual number of hidden layers."""
    hyperparameters: Hyperparameters
    """What the optimiser needs."""
    raster_only: bool = False
    """The field is defined on the cells of one raster only (``raster``): no shapes, no derivatives by coordinates."""
    own_gradients: bool = True
    """``gradients`` is written out. Otherwise it is ``autograd_gradients``, and nothing is compiled."""
    same_shapes: bool = True
    """Steps of one batch size work on tensors of the same shapes, so that they can be compiled or captured."""
    gradient_chunk: int | None = None
    """Points that ``gradients`` is given at a time; None: as many as the engine usually does."""
    decode_chunk: int | None = None
    """Cells that ``on_grid`` is best asked for at a time; None: signal.CHUNK."""
    shares_blocks: bool = False
    """The cells of a block of the raster (``block``) share work: batches are made of whole blocks where possible."""
    single_point_cost: float = 1.0
    """Cost of a point that is taught alone, in points of a whole block."""
    default_sampler: str | None = None
    """What ``--sampler auto`` stands for; None: the modality's."""
    initialization_options: frozenset[str] = frozenset()
    """Options that only the first weights depend on: fields that differ in nothing else share compiled code."""
    frequency_scaling: Shares = field(default_factory=dict)
    """The options that follow the frequencies of a signal. Classes of signals that are not named keep the default."""
    paper_options: Mapping[str, float] = field(default_factory=dict)
    """The paper's values where the defaults depart from them."""
    unreliable_on: frozenset[str] = frozenset()
    """Classes of signals that it learnt little of (docs/architectures.md)."""


@dataclass(frozen=True)
class OptionContext:
    """What the options of a field follow besides its size."""

    signal_class: str
    """Kind of function that the signal is, as ``Traits`` names it."""
    samples: int
    """Length of the signal."""
    first_omega: Callable[[], float]
    """Frequency that a SIREN's first layer would start with, in radians per unit of an axis from -1 to 1. It may read
    the whole signal, so that it is called only if needed."""
    paper_frequency_scale: float | None = None
    """With ``--regime paper``: the factor on frequencies that the papers' coordinates amount to; else None."""


@runtime_checkable  # for the tests, which check the types of arguments (beartype); nothing here asks by isinstance
class Architecture(Protocol):
    """An architecture: a frozen dataclass of options. ``spec`` gives the sizes, ``self`` the options."""

    TRAITS: ClassVar[Traits]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def sized(self, spec: FieldSpec, shape: tuple[int, ...] | None, parameters: int | None) -> FieldSpec:
        """``spec`` made to measure for a signal on a grid of ``shape`` (None: points), with options that follow from
        it; with at most ``parameters`` weights, if told, and as few less as the architecture can. Raises ``UsageError``
        where that is too few. No torch."""

    def shapes(self, spec: FieldSpec) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor, in the order they are stored."""

    def macs(self, spec: FieldSpec) -> int:
        """Multiply-accumulates per sample of one forward pass; of what is shared on a grid, a sample's part."""

    def sines(self, spec: FieldSpec) -> int:
        """Sines, cosines and exponentials per sample of one forward pass, counted likewise."""

    def initial(self, spec: FieldSpec, generator: torch.Generator, mean: Tensor) -> dict[str, Tensor]:
        """Fresh float32 weights on the CPU, drawn from ``generator`` alone, for values around ``mean`` (c,)."""

    def constant(self, weights: Mapping[str, Tensor], value: Tensor) -> dict[str, Tensor]:
        """Weights of the field that is ``value`` (c,) everywhere."""

    def forward(self, weights: Mapping[str, Tensor], coords: Tensor, precision: torch.dtype) -> Tensor:
        """Values (n, c), float32, at ``coords`` (n, d); hidden layers in ``precision``."""

    def rates(self) -> dict[str, float]:
        """Factor on the learning rate per weight tensor (a folded frequency makes the tensor that much larger)."""

    def muon_tensors(self) -> frozenset[str]:
        """Names of the stacked hidden matrices (l, out, in): the ones Muon is made for."""

    def gradients(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        precision: torch.dtype,
        extra_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Residuals (n, c) and the gradients, float32, of sum(loss_weights * residual^2) with respect to ``weights``.
        ``loss_weights`` is (n, 1). ``extra_gradient`` maps the residuals to the gradient of further loss terms with
        respect to them. Default: ``autograd_gradients``."""

    def on_grid(self, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Tensor:
        """Values (stop - start, c), float32, on the weights' device, of the cells start..stop (flat, row-major) of
        ``grid``, in memory that the length of the piece bounds; equal to ``forward`` there to rounding. Default:
        ``forward_in_chunks``."""

    def fp32_tensors(self) -> frozenset[str]:
        """Names of the tensors that are always stored in float32. A phase in a sine is one: rounded, it is off by its
        size, and it may be thousands of radians. Default: ``no_fp32_tensors``."""

    def raster(self) -> tuple[int, ...] | None:
        """Cells per axis of the only raster that the field knows. Default: ``no_raster``."""

    def block(self) -> tuple[int, ...] | None:
        """Sides of the blocks of the raster whose cells share work. Default: ``no_blocks``."""

    def notes(self) -> tuple[str, ...]:
        """What the user has to know of the options that were chosen for the signal. Default: ``no_notes``."""

    def options_for(self, context: OptionContext) -> dict[str, float]:
        """Options that the signal or the regime decides, by name; ``self`` has those that are fixed already. Default:
        ``frequency_options``."""

    def reason(self, option: str) -> str:
        """Why an option that nobody asked for is what it is, where that is special. Default: ``no_reason``."""

    def kernel_coefficients(self) -> tuple[float, float] | None:
        """a of the first and of the hidden layers, if this is a perceptron without encoding whose activations are
        sin(u + a u |u|): the C++ kernel has those. Default: ``no_kernel``."""


def autograd_gradients(
    net: Architecture,
    weights: Mapping[str, Tensor],
    coords: Tensor,
    values: Tensor,
    loss_weights: Tensor,
    precision: torch.dtype,
    extra_gradient: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """``gradients`` by differentiating ``forward``."""
    import torch

    with torch.enable_grad():
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        residuals = net.forward(leaves, coords, precision) - values
        loss = (loss_weights * residuals.square()).sum()
        if extra_gradient is not None:
            loss = loss + (extra_gradient(residuals.detach()) * residuals).sum()
        found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return residuals.detach(), dict(zip(leaves, found, strict=True))


def forward_in_chunks(net: Architecture, weights: Mapping[str, Tensor], grid: Grid, start: int, stop: int) -> Tensor:
    """``on_grid`` by evaluating ``forward`` at the cells' centres, in chunks."""
    import torch

    device = next(iter(weights.values())).device
    # A quarter of a chunk is what a CPU's caches hold; a CUDA device wants long ones.
    step = CHUNK if device.type == "cuda" else CHUNK // 4
    starts = range(start, max(stop, start + 1), step)
    cells = (torch.arange(begin, min(begin + step, stop), device=device) for begin in starts)
    return torch.cat([net.forward(weights, grid.coords(part), torch.float32) for part in cells])


def no_fp32_tensors(net: object) -> frozenset[str]:
    """No tensor is delicate."""
    return frozenset()


def no_raster(net: object) -> tuple[int, ...] | None:
    """The field is defined everywhere."""
    return None


def no_blocks(net: object) -> tuple[int, ...] | None:
    """Every point is computed by itself."""
    return None


def no_notes(net: object) -> tuple[str, ...]:
    """Nothing to say."""
    return ()


def no_reason(net: object, option: str) -> str:
    """No option is special."""
    return ""


def no_kernel(net: object) -> tuple[float, float] | None:
    """The C++ kernel does not know the activation."""
    return None


def frequency_options(net: Architecture, context: OptionContext) -> dict[str, float]:
    """``options_for``: the options that follow frequencies, and with ``--regime paper`` the paper's values."""
    traits = net.TRAITS
    stretch = context.paper_frequency_scale
    if stretch is not None:
        own = asdict(net)
        stretched = {name: own[name] * stretch for name in traits.frequency_scaling if stretch != 1}
        return {**traits.paper_options, **stretched}
    kind = context.signal_class
    shares = {name: each[kind] for name, each in traits.frequency_scaling.items() if kind in each}
    omega = context.first_omega() if shares else 0.0
    return {name: share * omega for name, share in shares.items()}

"""Gradients of SIREN and FINER in bfloat16 on the CPU as one C++ function (``kernel.cpp``), compiled on this machine.

torch, compiled or not, makes one pass over all activations per operation, and they do not fit a core's cache; here 256
points at a time go through the network and back within it. A step takes half the time of explicit ones (docs/
benchmarks.md), and g++ is done in about a second, where torch.compile takes ten. Linux on x86 with bfloat16 products.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .fields import FieldSpec
from .fields.finer import Finer
from .fields.siren import Siren
from .precision import capable_of_bf16

SOURCE = Path(__file__).with_name("kernel.cpp")
TORCH = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
BRGEMM = "_ZN2at6native7cpublas6brgemmEllllllbPKN3c108BFloat16ES5_Pfb"
"""torch's product as the linker knows it: not part of its documented interface, so it may go."""

MANY_THREADS = 9
"""From so many on, a batch of 4,096 points is divided more finely than 256 at a time."""

COMPILE = [
    *("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-fPIC", "-fopenmp", "-c"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
]

LAYERS = ("hidden.weight", "hidden.bias", "first.weight", "first.bias", "last.weight", "last.bias")

ROUGHLY = 0.1
"""Largest difference from the formula, relative: both round to bfloat16, which makes 0.01."""

Function = Callable[[Mapping[str, Tensor], Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]

Formula = Callable[..., tuple[Tensor, dict[str, Tensor]]]
"""The same in torch."""


class Unusable(Exception):
    """The kernel cannot be made or does not do what it should on this machine."""


def compiler() -> str | None:
    """g++, if there is one: others bring OpenMP threads of their own, beside torch's."""
    found = os.environ.get("CXX", "g++")
    return shutil.which(found) if "clang" not in found else None


def suits(spec: FieldSpec, precision: torch.dtype) -> bool:
    """Whether there is a kernel for this kind of field, on this kind of machine."""
    return (
        isinstance(spec.settings, Siren | Finer)
        and precision == torch.bfloat16
        and spec.depth > 1
        and spec.width % 32 == 0
        and capable()
    )


@functools.cache
def capable() -> bool:
    """Whether system, processor and torch have what it takes."""
    if not sys.platform.startswith("linux") or not capable_of_bf16(torch.device("cpu")):
        return False
    try:
        return hasattr(ctypes.CDLL(str(TORCH)), BRGEMM)
    except OSError:
        return False


def build(spec: FieldSpec, formula: Formula) -> Function:
    """The function for fields like ``spec``; ``formula`` is the architecture's own, beside which newly compiled code is
    tried before it is kept.

    Raises ``Unusable``."""
    found = compiler()
    if found is None:
        raise Unusable("no g++")
    kept = _kept_at(found)
    with contextlib.suppress(OSError):  # not there, or not whole
        return _function(spec, ctypes.CDLL(kept or os.devnull))
    try:
        with tempfile.TemporaryDirectory(prefix="inrfit") as folder:
            objects, made = os.path.join(folder, "kernel.o"), os.path.join(folder, "kernel.so")
            _output([found, *_options(), str(SOURCE), "-o", objects])
            # Without -fopenmp: the threads are to be those of torch, which brings an OpenMP under a name of its own.
            _output([found, "-shared", objects, "-o", made, str(TORCH)])
            function = _function(spec, ctypes.CDLL(made))
            _try(spec, function, formula)
            if kept:
                _keep(made, kept)
            return function
    except OSError as error:
        raise Unusable(str(error)) from None


def kept() -> bool:
    """Whether it was compiled before, and kept."""
    found = compiler()
    try:
        return found is not None and os.path.exists(_kept_at(found))
    except Unusable:
        return False


def _kept_at(found: str) -> str:
    """Where the compiled file is kept, beside torch's own code; empty without such a folder: then every process makes
    it anew."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return "" if folder is None else os.path.join(folder, _name(found, *_options()))


@functools.cache
def _name(*command: str) -> str:
    """What the compiled file is called, after all that it is made of."""
    macros = _output([command[0], "-march=native", "-dM", "-E", "-x", "c++", os.devnull])
    made_of = "\n".join([macros, *command, torch.__version__, SOURCE.read_text()])
    return f"kernel_{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.so"


def _options() -> list[str]:
    """Of the compiler: how, and how many points at a time."""
    return [*COMPILE, f"-DPOINTS_AT_A_TIME={128 if torch.get_num_threads() >= MANY_THREADS else 256}"]


def _keep(made: str, kept: str) -> None:
    """A copy under the name ``kept``, there whole or not at all; where that cannot be, none."""
    copy = f"{kept}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        shutil.copyfile(made, copy)
        os.replace(copy, kept)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(copy)


def _output(command: list[str]) -> str:
    """What ``command`` prints."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Unusable(f"{os.path.basename(command[0])}: {(done.stderr.splitlines() or ['no word'])[0]}"[:200])
    return done.stdout


def _function(spec: FieldSpec, library: Any) -> Function:
    """``inrfit_gradients`` of tensors, for fields like ``spec``."""
    if not library.inrfit_products(ctypes.c_int64(spec.width)):
        raise Unusable("torch has no such products here")
    shapes = {name: tuple(spec.shapes[name]) for name in LAYERS}
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    bends = (0.0, 0.0)
    if isinstance(spec.settings, Finer):
        bends = 1 / spec.settings.first_omega, 1 / spec.settings.omega
    work = library.inrfit_gradients
    whole = ctypes.c_int64
    sides = [whole(count) for count in (spec.inputs, spec.width, spec.depth - 1, spec.outputs)]
    settled = [*sides, *(ctypes.c_float(bend) for bend in bends)]

    def gradients(
        weights: Mapping[str, Tensor], coords: Tensor, values: Tensor, mass: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        coords, values, mass = coords.contiguous(), values.contiguous(), mass.contiguous()
        layers = [weights[name].contiguous() for name in LAYERS]
        residuals, found = torch.empty_like(values), torch.empty(sum(sizes))
        addresses = (ctypes.c_void_p * len(layers))(*(layer.data_ptr() for layer in layers))
        arrays = [ctypes.c_void_p(t.data_ptr()) for t in (coords, values, mass, residuals, found)]
        if not work(whole(coords.shape[0]), *settled, addresses, *arrays, ctypes.c_int(torch.get_num_threads())):
            raise MemoryError
        parts = found.split(sizes)
        return residuals, {n: part.view(shape) for (n, shape), part in zip(shapes.items(), parts, strict=True)}

    return gradients


def _try(spec: FieldSpec, function: Function, formula: Formula) -> None:
    """Its results beside the formula's, on points that do not fill a block."""
    generator = torch.Generator().manual_seed(0)
    weights = spec.settings.initial(spec, generator, torch.zeros(spec.outputs))
    coords, values = (torch.rand(333, count, generator=generator) * 2 - 1 for count in (spec.inputs, spec.outputs))
    mass = torch.rand(333, 1, generator=generator)
    given = weights, coords, values, mass
    (residuals, gradients), (expected, known) = function(*given), formula(*given)
    pairs = [(residuals, expected), *((gradients[name], known[name]) for name in LAYERS)]
    worst = max(float((one - other).norm() / other.norm().clamp_min(1e-12)) for one, other in pairs)
    if not worst < ROUGHLY:
        raise Unusable(f"off by {worst:.2g}")

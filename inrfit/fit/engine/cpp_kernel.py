"""Gradients of SIREN and FINER in bfloat16 on the CPU: one C++ function (``cpp_kernel.cpp``), compiled on this machine.

torch, compiled or not, makes one pass over all activations per operation, and they do not fit a core's cache; here 256
points at a time go through the network and back within it (docs/benchmarks.md, "Throughput"). g++ is done in about a
second, where torch.compile takes ten. Linux on x86 with bfloat16 products.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...fields import FieldSpec
from . import code_cache
from .precision import capable_of_bf16

SOURCE = Path(__file__).with_name("cpp_kernel.cpp")
TORCH = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
BRGEMM = "_ZN2at6native7cpublas6brgemmEllllllbPKN3c108BFloat16ES5_Pfb"
"""torch's product as the linker knows it: not part of its documented interface, so it may go."""

COMPILE = [
    *("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-fPIC", "-fopenmp", "-c"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
]

MOST_SECONDS = 60.0
"""After which a compiler counts as hanging."""

WIDTHS = range(32, 513, 32)
"""Of layers: the vectors' need, and the widest that was measured (1.7 times as fast as explicit steps)."""

LAYERS = ("hidden.weight", "hidden.bias", "first.weight", "first.bias", "last.weight", "last.bias")

DONE, NO_MEMORY = 0, 1
"""What ``inrfit_gradients`` returns."""

ROUGHLY = 0.1
"""Largest difference from the formula, relative: both round to bfloat16, which makes 0.01."""

Compiled = Callable[[Mapping[str, Tensor], Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""Weights, coords (n, d), values (n, c) and loss_weights (n, 1) -> residuals (n, c) and the gradients of
sum(loss_weights * residual^2)."""

why_unusable: list[str] = []
"""Why this process cannot have the kernel, once that is known."""


class Unusable(Exception):
    """The kernel cannot be made or does not do what it should on this machine."""


def compiler() -> list[str] | None:
    """g++, if there is one, as a command: clang's OpenMP is not torch's."""
    command = shlex.split(os.environ.get("CXX") or "g++")
    found = shutil.which(command[0])
    return None if found is None or "clang" in os.path.basename(command[-1]) else [found, *command[1:]]


def suits(spec: FieldSpec, precision: torch.dtype) -> bool:
    """Whether there is a kernel for this kind of field, on this machine."""
    made_for = spec.formula.kernel_coefficients() is not None and spec.depth > 1 and spec.width in WIDTHS
    return made_for and precision == torch.bfloat16 and not why_unusable and capable() and compiler() is not None


@functools.cache
def capable() -> bool:
    """Whether system, processor and torch have what it takes."""
    if not sys.platform.startswith("linux") or not capable_of_bf16(torch.device("cpu")):
        return False
    try:
        return hasattr(ctypes.CDLL(str(TORCH)), BRGEMM)
    except OSError:
        return False


def build(spec: FieldSpec) -> Compiled:
    """The function for fields like ``spec``. Newly compiled code is tried beside the formula before it is kept.

    Raises ``Unusable``, and from then on no field suits."""
    try:
        command = compiler()
        if command is None:
            raise Unusable("no g++")
        name = _name(*command)
        library = code_cache.load(name)
        if library is not None:
            return function_of(spec, library)
        with tempfile.TemporaryDirectory(prefix="inrfit") as folder:
            objects, made = os.path.join(folder, "kernel.o"), os.path.join(folder, "kernel.so")
            _output([*command, *COMPILE, str(SOURCE), "-o", objects])
            # Without -fopenmp: it takes whatever OpenMP torch has brought, so that there is one set of threads.
            _output([*command, "-shared", objects, "-o", made, str(TORCH)])
            library = ctypes.CDLL(made)
            _try(FieldSpec(spec.architecture, 2, 3, 64, 3, {}), library)
            code_cache.keep(name, made)
            return function_of(spec, library)
    except (OSError, AttributeError) as error:
        why_unusable.append(str(error))
        raise Unusable(str(error)) from None
    except Unusable as error:
        why_unusable.append(str(error))
        raise


def kept() -> bool:
    """Whether it was compiled before, and kept where it can be loaded from (``code_cache``)."""
    command = compiler()
    if command is None or code_cache.folder() is None:
        return False
    try:
        return code_cache.holds(_name(*command))
    except Unusable:
        return False


@functools.cache
def _name(*command: str) -> str:
    """What the compiled file is called, after all that it is made of: on another processor it is another."""
    macros = _output([*command, "-march=native", "-dM", "-E", "-x", "c++", os.devnull])
    made_of = "\n".join([macros, *COMPILE, torch.__version__, SOURCE.read_text("utf-8")])
    return f"kernel_{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.so"


def _output(command: list[str]) -> str:
    """What ``command`` prints. Raises ``Unusable``."""
    plain = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=plain,
            timeout=MOST_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(str(error)) from None
    if done.returncode:
        raise Unusable(f"{os.path.basename(command[0])}: {(done.stderr.splitlines() or ['no word'])[0]}"[:200])
    return done.stdout


def function_of(spec: FieldSpec, library: Any) -> Compiled:
    """``inrfit_gradients`` of the loaded ``library`` as a function of tensors, for fields like ``spec``. Raises
    ``Unusable`` where torch lacks the products."""
    if not library.inrfit_products(ctypes.c_int64(spec.width)):
        raise Unusable("torch has no such products here")
    shapes = {name: spec.shapes[name] for name in LAYERS}
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    bends = spec.formula.kernel_coefficients()
    assert bends is not None
    work, whole = library.inrfit_gradients, ctypes.c_int64
    sides = [whole(count) for count in (spec.inputs, spec.width, spec.depth - 1, spec.outputs)]
    settled = [*sides, *(ctypes.c_float(bend) for bend in bends)]

    def gradients(
        weights: Mapping[str, Tensor], coords: Tensor, values: Tensor, loss_weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        given = [tensor.float().contiguous() for tensor in (coords, values, loss_weights)]
        layers = [weights[name].float().contiguous() for name in LAYERS]
        residuals, found = torch.empty_like(given[1]), torch.empty(sum(sizes), dtype=torch.float32, device="cpu")
        addresses = (ctypes.c_void_p * len(layers))(*(layer.data_ptr() for layer in layers))
        arrays = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (*given, residuals, found)]
        ended = work(whole(coords.shape[0]), *settled, addresses, *arrays, ctypes.c_int(torch.get_num_threads()))
        if ended == NO_MEMORY:
            raise MemoryError
        if ended != DONE:
            raise RuntimeError("a product of torch failed in the kernel (is mkldnn switched off?)")
        parts = found.split(sizes)
        return residuals, {n: part.view(shape) for (n, shape), part in zip(shapes.items(), parts, strict=True)}

    return gradients


def _try(spec: FieldSpec, library: Any) -> None:
    """The function's results beside the formula's, on points that do not fill a block. Raises ``Unusable``."""
    generator = torch.Generator().manual_seed(0)
    weights = spec.formula.initial(spec, generator, torch.zeros(spec.outputs))
    coords, values = (torch.rand(333, count, generator=generator) * 2 - 1 for count in (spec.inputs, spec.outputs))
    loss_weights = torch.rand(333, 1, generator=generator)
    residuals, gradients = function_of(spec, library)(weights, coords, values, loss_weights)
    expected, known = spec.formula.gradients(weights, coords, values, loss_weights, torch.bfloat16)
    pairs = [(residuals, expected), *((gradients[name], known[name]) for name in LAYERS)]
    worst = max(float((one - other).norm() / other.norm()) for one, other in pairs)
    if not worst < ROUGHLY:
        raise Unusable(f"off by {worst:.2g}")

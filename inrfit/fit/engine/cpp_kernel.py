"""Gradients of SIREN and FINER in bfloat16 on the CPU by one C++ function (``cpp_kernel.cpp``), compiled here.

torch, compiled or not, makes one pass over all activations per operation, and these do not fit into a core's cache. The
kernel takes 256 points at a time through the network and back within the cache (docs/benchmarks.md, "Throughput"). g++
compiles it in about a second. It needs Linux on x86 with bfloat16 products.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...fields import FieldSpec
from ...io.temporary import temporary_folder
from ...runtime import python_command
from . import code_cache
from .precision import has_fast_bf16

SOURCE = Path(__file__).with_name("cpp_kernel.cpp")
TORCH_LIBRARY = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
BRGEMM_SYMBOL = "_ZN2at6native7cpublas6brgemmEllllllbPKN3c108BFloat16ES5_Pfb"
"""Linker symbol of torch's block product. It is not part of torch's documented interface and may disappear."""

COMPILER_FLAGS = [
    *("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-fPIC", "-fopenmp", "-c"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
]

COMPILER_TIMEOUT = 60.0
"""Maximum run time of the compiler in seconds."""

WIDTHS = range(32, 513, 32)
"""Supported layer widths: multiples of the vector length, up to the largest for which the kernel was measured."""

LAYERS = ("hidden.weight", "hidden.bias", "first.weight", "first.bias", "last.weight", "last.bias")
"""The weight tensors in the order of ``Layers`` in the C++ source."""

DONE, NO_MEMORY = 0, 1
"""Return values of ``inrfit_gradients``. Any other value is a failed product."""

MAX_RELATIVE_ERROR = 0.1
"""Largest accepted difference from the formula. Rounding to bfloat16 in both makes about 0.01."""

CompiledGradients = Callable[[Mapping[str, Tensor], Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""Maps weights, coords (n, d), values (n, c) and loss weights (n, 1) to residuals (n, c) and the gradients of
sum(loss_weights * residual^2)."""

failures: list[str] = []
"""Why this process cannot use the kernel; empty as long as no attempt has failed."""


class KernelUnavailable(Exception):
    """The kernel cannot be compiled on this machine, or its results are wrong."""


def compiler_command() -> list[str] | None:
    """The command that runs g++, if there is one. clang is not used, because its OpenMP runtime is not torch's."""
    command = shlex.split(os.environ.get("CXX") or "g++")
    path = shutil.which(command[0])
    return None if path is None or "clang" in os.path.basename(command[-1]) else [path, *command[1:]]


def is_supported(spec: FieldSpec, precision: torch.dtype) -> bool:
    """Whether the kernel computes this kind of field, and can be compiled on this machine."""
    suitable = spec.formula.kernel_coefficients() is not None and spec.depth > 1 and spec.width in WIDTHS
    return (
        suitable
        and precision == torch.bfloat16
        and not failures
        and machine_is_supported()
        and compiler_command() is not None
    )


@functools.cache
def machine_is_supported() -> bool:
    """Whether operating system, processor and torch meet the requirements of the kernel."""
    if not sys.platform.startswith("linux") or not has_fast_bf16(torch.device("cpu")):
        return False
    try:
        return hasattr(ctypes.CDLL(str(TORCH_LIBRARY)), BRGEMM_SYMBOL)
    except OSError:
        return False


def build(spec: FieldSpec) -> CompiledGradients:
    """The compiled function for fields like ``spec``. Newly compiled code is compared with the formula before it is
    kept.

    Raises ``KernelUnavailable``; ``is_supported`` is then false for all fields."""
    try:
        command = compiler_command()
        if command is None:
            raise KernelUnavailable("no g++")
        name = _library_name(*command)
        library = code_cache.load(name)
        if library is not None:
            return bind(spec, library)
        with temporary_folder() as folder:
            object_file, library_file = os.path.join(folder, "kernel.o"), os.path.join(folder, "kernel.so")
            _run([*command, *COMPILER_FLAGS, str(SOURCE), "-o", object_file])
            # Without -fopenmp the library uses the OpenMP runtime that torch has loaded: one set of threads.
            _run([*command, "-shared", object_file, "-o", library_file, str(TORCH_LIBRARY)])
            _try_in_child(library_file, spec.architecture)
            library = ctypes.CDLL(library_file)
            _verify(FieldSpec(spec.architecture, 2, 3, 64, 3, {}), library)
            code_cache.store(name, library_file)
            return bind(spec, library)
    except (OSError, AttributeError) as error:
        failures.append(str(error))
        raise KernelUnavailable(str(error)) from None
    except KernelUnavailable as error:
        failures.append(str(error))
        raise


def is_cached() -> bool:
    """Whether the kernel was compiled before and can be loaded from the disk (``code_cache``)."""
    command = compiler_command()
    if command is None or code_cache.cache_folder() is None:
        return False
    try:
        return code_cache.contains(_library_name(*command))
    except KernelUnavailable:
        return False


@functools.cache
def _library_name(*command: str) -> str:
    """File name of the compiled library: a digest of source, flags, compiler, processor and torch's version."""
    macros = _run([*command, "-march=native", "-dM", "-E", "-x", "c++", os.devnull])
    text = "\n".join([macros, *COMPILER_FLAGS, torch.__version__, SOURCE.read_text("utf-8")])
    return f"kernel_{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"


def _run(command: list[str]) -> str:
    """Runs ``command`` and returns what it prints. Raises ``KernelUnavailable``."""
    environment = os.environ | {"LC_ALL": "C"}
    try:
        process = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            timeout=COMPILER_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelUnavailable(str(error)) from None
    if process.returncode:
        message = (process.stderr.splitlines() or ["no message"])[0]
        raise KernelUnavailable(f"{os.path.basename(command[0])}: {message}"[:200])
    return process.stdout


def bind(spec: FieldSpec, library: Any) -> CompiledGradients:
    """``inrfit_gradients`` of the loaded ``library`` as a function of tensors, for fields like ``spec``. Raises
    ``KernelUnavailable`` if torch lacks the block products."""
    if not library.inrfit_products(ctypes.c_int64(spec.width)):
        raise KernelUnavailable("torch has no such products here")
    shapes = {name: spec.shapes[name] for name in LAYERS}
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    coefficients = spec.formula.kernel_coefficients()
    assert coefficients is not None
    function, int64 = library.inrfit_gradients, ctypes.c_int64
    dimensions = [int64(count) for count in (spec.inputs, spec.width, spec.depth - 1, spec.outputs)]
    constants = [*dimensions, *(ctypes.c_float(coefficient) for coefficient in coefficients)]

    def gradients(
        weights: Mapping[str, Tensor], coords: Tensor, values: Tensor, loss_weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        inputs = [tensor.float().contiguous() for tensor in (coords, values, loss_weights)]
        layers = [weights[name].float().contiguous() for name in LAYERS]
        residuals, flat = torch.empty_like(inputs[1]), torch.empty(sum(sizes), dtype=torch.float32, device="cpu")
        addresses = (ctypes.c_void_p * len(layers))(*(layer.data_ptr() for layer in layers))
        arrays = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (*inputs, residuals, flat)]
        status = function(int64(coords.shape[0]), *constants, addresses, *arrays, ctypes.c_int(torch.get_num_threads()))
        if status == NO_MEMORY:
            raise MemoryError
        if status != DONE:
            raise RuntimeError("a product of torch failed in the kernel (is mkldnn switched off?)")
        parts = flat.split(sizes)
        return residuals, {n: part.view(shape) for (n, shape), part in zip(shapes.items(), parts, strict=True)}

    return gradients


def _try_in_child(library_file: str, architecture: str) -> None:
    """``verify_library`` in a process of its own, which code that crashes takes with it. Raises
    ``KernelUnavailable``."""
    script = f"from {__name__} import verify_library; verify_library({library_file!r}, {architecture!r})"
    try:
        child = subprocess.run(python_command(script), capture_output=True, timeout=COMPILER_TIMEOUT, text=True)
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        raise KernelUnavailable(str(error)) from None
    if child.returncode:
        reason = f"killed by signal {-child.returncode}" if child.returncode < 0 else child.stderr.strip()[-150:]
        raise KernelUnavailable(f"the compiled code failed when it was tried: {reason}")


def verify_library(library_file: str, architecture: str) -> None:
    """Compares the kernel in ``library_file`` with the formula. Raises ``KernelUnavailable``."""
    _verify(FieldSpec(architecture, 2, 3, 64, 3, {}), ctypes.CDLL(library_file))


def _verify(spec: FieldSpec, library: Any) -> None:
    """Compares the kernel with the formula, on points that do not fill a block. Raises ``KernelUnavailable``."""
    generator = torch.Generator().manual_seed(0)
    weights = spec.formula.initial(spec, generator, torch.zeros(spec.outputs))
    coords, values = (torch.rand(333, count, generator=generator) * 2 - 1 for count in (spec.inputs, spec.outputs))
    loss_weights = torch.rand(333, 1, generator=generator)
    residuals, gradients = bind(spec, library)(weights, coords, values, loss_weights)
    expected_residuals, expected = spec.formula.gradients(weights, coords, values, loss_weights, torch.bfloat16)
    pairs = [(residuals, expected_residuals), *((gradients[name], expected[name]) for name in LAYERS)]
    error = max(float((result - reference).norm() / reference.norm()) for result, reference in pairs)
    if not error < MAX_RELATIVE_ERROR:
        raise KernelUnavailable(f"off by {error:.2g}")

"""Compilation of the gradient function by torch.compile in a background thread. Until it has finished, steps are
analytic.

It takes about 10 s the first time and 3 s if torch finds its code on disk (``runtime.keep_compiled_code``). Compiled
code is shared by all fits of one kind in a process. If a compilation fails, the fit continues with analytic steps.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ... import fields
from ...fields import FieldSpec
from . import code_cache

ExtraGradient = Callable[[Tensor], Tensor]
"""Maps residuals (n, c) to the gradient (n, c) of further loss terms with respect to them."""


@runtime_checkable
class Gradients(Protocol):
    """Forward and backward pass of one batch."""

    def __call__(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        extra_gradient: ExtraGradient | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Residuals (n, c) at ``coords`` (n, d), and the gradients of sum(loss_weights * residual^2) and further terms.
        ``loss_weights`` is (n, 1)."""


CompiledGradients = Callable[[Mapping[str, Tensor], Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""Maps weights, coords (n, d), values (n, c) and loss weights (n, 1) to residuals (n, c) and the gradients of
sum(loss_weights * residual^2)."""

RECOMPILE_LIMIT = 256
"""Maximum number of kinds of fits that torch.compile compiles in one process."""

POLL_SECONDS = 0.05
"""Time between two checks for cancellation while waiting for a compiler."""

compilations: dict[str, Compilation] = {}
"""The compilations of this process by ``compilation_key``. Files of one kind share them."""

_compile_lock = threading.Lock()
"""torch.compile and its configuration are not safe to use from several threads."""


def cpp_compiler() -> str | None:
    """Path of the C++ compiler that torch.compile would use, if there is one."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


def compilation_key(spec: FieldSpec, precision: torch.dtype, n_points: int) -> str:
    """Everything that a compiled function for ``n_points`` points depends on. Options that only the initial weights
    depend on are left out."""
    left_out = spec.formula.TRAITS.initialization_options
    options = {name: value for name, value in spec.options.items() if name not in left_out}
    state = f"{torch.get_num_threads()} {torch.get_float32_matmul_precision()} {torch.__version__}"
    return f"{spec.architecture} {spec.shapes} {options} {precision} {n_points} {state} {_architectures_digest()}"


@functools.cache
def _architectures_digest() -> str:
    """Digest of the source of ``fields``, so that code compiled by another version is not used."""
    digest = hashlib.sha256()
    for path in sorted(Path(fields.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def is_compiled(key: str) -> bool:
    """Whether code for ``key`` was compiled before, in this process or by one that kept its code on disk."""
    marker = _marker(key)
    return key in compilations or (marker is not None and os.path.exists(marker))


def _marker(key: str) -> str | None:
    """Path of the empty file that marks that torch's cache holds code for ``key``; None if no code is kept on disk."""
    folder = code_cache.cache_folder()
    return None if folder is None else os.path.join(folder, hashlib.sha256(key.encode()).hexdigest()[:16] + ".known")


def torch_compilation(spec: FieldSpec, precision: torch.dtype, n_points: int, gradients: Gradients) -> Compilation:
    """The compilation of ``gradients`` by torch.compile, started if needed; for ``n_points`` points and the present
    number of threads."""
    key = compilation_key(spec, precision, n_points)
    if key not in compilations:
        compilations[key] = Compilation(key, n_points, partial(_torch_compile, spec, n_points, gradients))
    return compilations[key]


def _torch_compile(spec: FieldSpec, n_points: int, gradients: Gradients) -> CompiledGradients:
    """``gradients`` compiled by torch.compile for ``n_points`` points."""
    weights = {name: torch.zeros(shape) for name, shape in spec.shapes.items()}
    coords, values = torch.zeros(n_points, spec.inputs), torch.zeros(n_points, spec.outputs)
    with _compile_lock:
        if not threading.main_thread().is_alive():
            raise RuntimeError("the interpreter is shutting down")
        code_cache.ensure_private_torch_cache()
        function: CompiledGradients = torch.compile(gradients, dynamic=False, fullgraph=True)
        with _raised_recompile_limit():
            function(weights, coords, values, torch.zeros(n_points, 1))
    return function


def _raised_recompile_limit() -> AbstractContextManager[None]:
    """torch stops compiling a function after eight variants, to protect against endless recompilation. Here every kind
    of fit is a variant."""
    from torch._dynamo import config

    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # until torch 2.6
    patch: AbstractContextManager[None] = config.patch({name: RECOMPILE_LIMIT})
    return patch


def is_compiling() -> bool:
    """Whether a compilation is running. The interpreter must not shut down meanwhile."""
    return any(not compilation.finished for compilation in compilations.values())


def wait_for_all(stop: Callable[[], bool]) -> None:
    """Waits for the compilations that earlier fits of this process started. The compiler changes process-wide switches
    and thread counts, and thereby the last bits of a fit beside it. Raises ``KeyboardInterrupt`` once ``stop()`` is
    true."""
    for compilation in tuple(compilations.values()):
        while not compilation.finished:
            compilation.wait(POLL_SECONDS)
            if stop():
                raise KeyboardInterrupt
    torch.set_num_threads(torch.get_num_threads())  # a compiling thread has changed the count of the matrix library


class Compilation:
    """A running or finished compilation.

    ``function`` is the result of ``build`` once it has finished. It is valid for ``n_points`` points and ``threads``
    threads. ``error`` says why the compilation failed."""

    def __init__(self, key: str, n_points: int, build: Callable[[], CompiledGradients]) -> None:
        self.n_points = n_points
        self.threads = torch.get_num_threads()
        self.function: CompiledGradients | None = None
        self.error = ""
        self._key, self._build = key, build
        # Not a daemon thread: an interpreter that shuts down while torch compiles aborts.
        self._thread = threading.Thread(target=self._work, daemon=False)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether the compilation has succeeded or failed."""
        return self.function is not None or bool(self.error)

    def supports(self, n_points: int) -> bool:
        """Whether ``function`` can be called with ``n_points`` points and the present number of threads."""
        return self.function is not None and n_points == self.n_points and torch.get_num_threads() == self.threads

    def wait(self, seconds: float | None = None) -> None:
        """Waits until the compilation has finished, at most ``seconds``."""
        self._thread.join(seconds)

    def _work(self) -> None:
        try:
            with torch.no_grad():
                torch.set_num_threads(self.threads)  # of this thread: torch compiles the count into its code
                function = self._build()
        except Exception as error:  # whatever the reason, the fit continues without compiled code
            self.error = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        else:
            self.function = function
            marker = _marker(self._key)
            if marker is not None:
                with contextlib.suppress(OSError), open(marker, "w"):
                    pass

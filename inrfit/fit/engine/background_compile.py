"""Code for one kind of fit, compiled in the background; until it is there steps are explicit.

For SIREN and FINER in bfloat16 it is ``cpp_kernel.cpp``, which takes a second the first time and is worth waiting for;
for the rest torch.compile, which takes about 10 s and both of two cores the first time, 3 s when torch finds its code
again on disk (the command line says where code is kept: ``runtime.keep_compiled_code``). For the next file of the same
kind in one process it takes nothing. Whatever goes wrong, the fit goes on without.
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
from . import code_cache, cpp_kernel
from .cpp_kernel import Compiled

ExtraGradient = Callable[[Tensor], Tensor]
"""Residuals (n, c) -> derivatives (n, c) of further loss terms with respect to them."""


@runtime_checkable
class Gradients(Protocol):
    """Forward and backward pass."""

    def __call__(
        self,
        weights: Mapping[str, Tensor],
        coords: Tensor,
        values: Tensor,
        loss_weights: Tensor,
        extra_gradient: ExtraGradient | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Residuals (n, c) at ``coords`` (n, d), and the gradients of sum(loss_weights * residual^2) and further terms;
        ``loss_weights`` is (n, 1)."""


MOST_KINDS = 256
"""Kinds of fits that one process compiles: torch's own bound on all code that comes from one place."""

WAIT_SECONDS = 0.05
"""Between two looks at whether to stop waiting."""

compilations: dict[str, Compilation] = {}
"""What this process has compiled or is compiling, by ``key``: files of one kind share it."""

_one_at_a_time = threading.Lock()
"""torch's compiler is not made for several threads, nor are its switches."""


def compiler() -> str | None:
    """The C++ compiler that torch would use, if there is one."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


def key(spec: FieldSpec, precision: torch.dtype, size: int | None) -> str:
    """What a compiled function for ``size`` points (None: for any number) depends on; frequencies that only the first
    weights depend on are left out."""
    left_out = spec.formula.TRAITS.initialization_options
    options = {name: value for name, value in spec.options.items() if name not in left_out}
    state = f"{torch.get_num_threads()} {torch.get_float32_matmul_precision()} {torch.__version__}"
    return f"{spec.architecture} {spec.shapes} {options} {precision} {size} {state} {_formulas()}"


@functools.cache
def _formulas() -> str:
    """A digest of the architectures' code: what an older version compiled is not found again."""
    digest = hashlib.sha256()
    for path in sorted(Path(fields.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def known(wanted: str) -> bool:
    """Whether this was compiled before: in this process, or by one that kept its code (``keep_compiled_code``)."""
    mark = _mark(wanted)
    return wanted in compilations or (mark is not None and os.path.exists(mark))


def _mark(wanted: str) -> str | None:
    """The empty file that says that code for ``wanted`` lies in torch's cache; None where nothing can be kept."""
    folder = code_cache.folder()
    return None if folder is None else os.path.join(folder, hashlib.sha256(wanted.encode()).hexdigest()[:16] + ".known")


def of_kernel(spec: FieldSpec) -> Compilation:
    """That of the kernel for fields like ``spec``, for any number of points and threads: the one there is, or a new
    one."""
    return _the_one(key(spec, torch.bfloat16, None), None, partial(cpp_kernel.build, spec))


def by_torch(spec: FieldSpec, precision: torch.dtype, size: int, gradients: Gradients) -> Compilation:
    """torch.compile's of ``gradients`` for ``size`` points and the present number of threads: the one there is, or a
    new one."""
    return _the_one(key(spec, precision, size), size, partial(_compiled, spec, size, gradients))


def _the_one(wanted: str, size: int | None, build: Callable[[], Compiled]) -> Compilation:
    if wanted not in compilations:
        compilations[wanted] = Compilation(wanted, size, build)
    return compilations[wanted]


def _compiled(spec: FieldSpec, size: int, gradients: Gradients) -> Compiled:
    """torch.compile's function for ``size`` points."""
    weights = {name: torch.zeros(shape) for name, shape in spec.shapes.items()}
    coords, values = torch.zeros(size, spec.inputs), torch.zeros(size, spec.outputs)
    with _one_at_a_time:
        if not threading.main_thread().is_alive():
            raise RuntimeError("the interpreter is about to end")
        code_cache.keep_torch_private()
        function: Compiled = torch.compile(gradients, dynamic=False, fullgraph=True)
        with _many_kinds():
            function(weights, coords, values, torch.zeros(size, 1))
    return function


def _many_kinds() -> AbstractContextManager[None]:
    """torch compiles one piece of code for eight kinds of tensors in a process and no more, against loops that never
    settle; here every kind of fit is one."""
    from torch._dynamo import config

    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # until torch 2.6
    found: AbstractContextManager[None] = config.patch({name: MOST_KINDS})
    return found


def under_way() -> bool:
    """Whether something is being compiled: the interpreter must not be taken down around it."""
    return any(not made.finished for made in compilations.values())


def wait_for_all(stop: Callable[[], bool]) -> None:
    """Waits for what earlier fits of this process have begun to compile: the compiler's switches and threads are those
    of the process, and would change the last bits of a fit beside it. Raises ``KeyboardInterrupt`` once ``stop`` says
    so."""
    for made in tuple(compilations.values()):
        while not made.finished:
            made.wait(WAIT_SECONDS)
            if stop():
                raise KeyboardInterrupt
    torch.set_num_threads(torch.get_num_threads())  # a compiling thread has set that of the matrix library


class Compilation:
    """``ready`` is what ``build`` returns, once it is there: a function for ``size`` points and ``threads`` threads, or
    without ``size`` for any; ``failed`` says why it never will be."""

    def __init__(self, wanted: str, size: int | None, build: Callable[[], Compiled]) -> None:
        self.size = size
        self.threads = torch.get_num_threads()
        self.ready: Compiled | None = None
        self.failed = ""
        self._wanted, self._build = wanted, build
        # No daemon: an interpreter that is taken down around torch's compiler aborts.
        self._thread = threading.Thread(target=self._work, daemon=False)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether it is ready or has failed."""
        return self.ready is not None or bool(self.failed)

    def fits(self, size: int) -> bool:
        """Whether the function is there, for ``size`` points and the present number of threads."""
        if self.ready is None or self.size is None:
            return self.ready is not None
        return size == self.size and torch.get_num_threads() == self.threads

    def wait(self, seconds: float | None = None) -> None:
        """Until it has finished, but no longer than ``seconds``."""
        self._thread.join(seconds)

    def _work(self) -> None:
        try:
            with torch.no_grad():
                torch.set_num_threads(self.threads)  # of this thread: the count becomes part of torch's code
                function = self._build()
        except Exception as error:  # the compilers' many ways to fail all mean the same: go on without
            self.failed = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        else:
            self.ready = function
            mark = _mark(self._wanted) if self.size is not None else None
            if mark is not None:
                with contextlib.suppress(OSError), open(mark, "w"):
                    pass

"""torch.compile in the background: the fit goes on with explicit steps until the compiled one is there.

Compiling takes about 10 s and both of two cores the first time, 3 s when torch finds its code again on disk (the
command line says where it is kept: ``machine.keep_compiled_code``), nothing for the next file of the same kind in one
process. Whatever goes wrong, the fit goes on without.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .fields import FieldSpec

Gradients = Callable[[Mapping[str, Tensor], Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(weights, coords (n, d), values (n, c), mass (n, 1)) -> residuals (n, c), gradients of sum(mass * residual^2)."""

_compiled: dict[str, Gradients] = {}
"""What this process has compiled, by ``_key``."""


def compiler() -> str | None:
    """The C++ compiler that torch would use, if there is one."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


def key(spec: FieldSpec, precision: torch.dtype, size: int) -> str:
    """What a compiled function depends on."""
    return f"{spec} {precision} {size} {torch.get_num_threads()} {torch.__version__}"


def known(wanted: str) -> bool:
    """Whether this was compiled before: in this process, or by one that kept its code (``keep_compiled_code``)."""
    mark = _mark(wanted)
    return wanted in _compiled or (mark is not None and os.path.exists(mark))


def _mark(wanted: str) -> str | None:
    """The empty file that says that code for ``wanted`` lies in torch's cache."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return None if folder is None else os.path.join(folder, hashlib.sha256(wanted.encode()).hexdigest()[:16] + ".known")


class Compilation:
    """``ready`` is the compiled function for ``size`` points and ``threads`` threads once it is there; ``failed`` says
    why it never will be."""

    def __init__(self, spec: FieldSpec, precision: torch.dtype, size: int, gradients: Gradients) -> None:
        self.size = size
        self.threads = torch.get_num_threads()
        self.failed = ""
        self._key = key(spec, precision, size)
        self.ready = _compiled.get(self._key)
        self._thread: threading.Thread | None = None
        if self.ready is None:
            self._thread = threading.Thread(target=self._compile, args=(spec, gradients), daemon=True)
            self._thread.start()

    def fits(self, size: int) -> bool:
        """Whether the function was compiled for ``size`` points and the present number of threads."""
        return size == self.size and torch.get_num_threads() == self.threads

    def wait(self) -> None:
        """Until it is ready or has failed."""
        if self._thread is not None:
            self._thread.join()

    def _compile(self, spec: FieldSpec, gradients: Gradients) -> None:
        try:
            with torch.no_grad():
                function = torch.compile(gradients, dynamic=False, fullgraph=True)
                weights = {name: torch.zeros(shape) for name, shape in spec.shapes.items()}
                coords, values = torch.zeros(self.size, spec.inputs), torch.zeros(self.size, spec.outputs)
                function(weights, coords, values, torch.zeros(self.size, 1))
        except Exception as error:  # the compiler's many ways to fail all mean the same: go on without
            self.failed = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        else:
            _compiled[self._key] = self.ready = function
            mark = _mark(self._key)
            if mark is not None:
                with contextlib.suppress(OSError), open(mark, "w"):
                    pass

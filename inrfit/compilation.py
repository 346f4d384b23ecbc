"""torch.compile in the background: the fit goes on with explicit steps until the compiled one is there.

Compiling takes 3 to 10 s, most of it in one thread; the compiled code is kept on disk by torch (the command line says
where: ``machine.keep_compiled_code``) and in this process, so that the next file of the same kind has it at once.
Whatever goes wrong, the fit goes on without.
"""

from __future__ import annotations

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


class Compilation:
    """``ready`` is the compiled function for ``size`` points and ``threads`` threads once it is there; ``failed`` says
    why it never will be."""

    def __init__(self, spec: FieldSpec, precision: torch.dtype, size: int, gradients: Gradients) -> None:
        self.size = size
        self.threads = torch.get_num_threads()
        self.failed = ""
        self._key = f"{spec} {precision} {size} {self.threads}"
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

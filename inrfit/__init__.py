"""inrfit turns files into neural fields and back.

    import inrfit
    artifact = inrfit.encode("photo.png", sampler="nint", budget="60s", on_report=print)
    artifact.save("photo.png.safetensors")
    pixels = inrfit.load("photo.png.safetensors").decode()

Importing this package does not import torch.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # that of typing, which takes a while to import: until ``main`` runs, Ctrl-C prints a traceback
if TYPE_CHECKING:
    from typing import Any

    from .artifact.artifact import Artifact
    from .batch.dataset import open_dataset
    from .codec import decode, encode
    from .comparison.compare import compare
    from .config.settings import Settings
    from .errors import InrfitError
    from .fit.budget import Budget
    from .io.limits import Limits
    from .modalities import Request

_HOME = {
    "Artifact": "artifact.artifact",
    "Budget": "fit.budget",
    "InrfitError": "errors",
    "Limits": "io.limits",
    "Request": "modalities",
    "Settings": "config.settings",
    "compare": "comparison.compare",
    "decode": "codec",
    "encode": "codec",
    "load": "artifact.loading",
    "open_dataset": "batch.dataset",
}

__all__ = [
    "Artifact",
    "Budget",
    "InrfitError",
    "Limits",
    "Request",
    "Settings",
    "__version__",
    "compare",
    "decode",
    "encode",
    "load",
    "open_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'inrfit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"inrfit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

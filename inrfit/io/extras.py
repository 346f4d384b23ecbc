"""Optional packages. Each comes with an extra, and every error that is due to a missing one is made here."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ..errors import UsageError, machine_error, printable

EXTRAS = {
    "av": "video",
    "OpenEXR": "exr",
    "pillow_heif": "heic",
    "pillow_jxl": "jxl",
    "imagecodecs": "tiff",
    "h5py": "hdf5",
    "zarr": "zarr",
    "DracoPy": "draco",
}
"""The extra of each package, by the name of its module."""


def missing(module: str, what: str) -> UsageError:
    """The error for a package that is not installed and that ``what`` needs."""
    extra = f"inrfit[{EXTRAS[module]}]"
    return UsageError(f"{what} needs {extra}: pip install '{extra}'", "extra")


def require(module: str, what: str) -> None:
    """Raises ``UsageError`` if the package, which ``what`` needs, is not installed. It is not imported."""
    if importlib.util.find_spec(module) is None:
        raise missing(module, what)


def load(module: str, what: str) -> Any:
    """The package, which ``what`` needs. Raises ``UsageError`` if it is not installed or cannot be imported."""
    require(module, what)
    try:
        return importlib.import_module(module)
    except Exception as error:  # of a package that does not suit the others that are installed
        if (of_machine := machine_error(error)) is not None:
            raise of_machine from error
        text = f"{type(error).__name__}: {printable(str(error))[:120]}"
        raise UsageError(
            f"{what}: the package {module} cannot be imported ({text}); install it again, or another version of it",
            "extra",
        ) from error

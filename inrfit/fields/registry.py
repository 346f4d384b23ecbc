"""The architectures by name. A new one needs a class in a file of its own and one line here (docs/extending.md)."""

from __future__ import annotations

from typing import Any

from ..io.options import class_fault
from ..io.registry import Registry
from .architecture import Architecture, Traits
from .asmr.asmr import Asmr
from .feature_grid.feature_grid import FeatureGrid
from .mdct.mdct import Mdct
from .mlp.finer import Finer
from .mlp.gauss import Gauss
from .mlp.relu import Ffn, Mlp, PeMlp
from .mlp.siren import Siren
from .mlp.wire import Wire
from .tiles.tiles import Tiles
from .tsdf.tsdf import Tsdf
from .wavelet.wavelet import Wavelet


def fault(name: str, entry: Any) -> str:
    """What an architecture of another package lacks; "" if it is valid."""
    if wrong := class_fault(entry):
        return f"an architecture is {wrong}"
    if not isinstance(getattr(entry, "TRAITS", None), Traits):
        return "an architecture has a constant TRAITS"
    missing = [method for method in vars(Architecture) if not method.startswith("_") and method not in dir(entry)]
    return f"the architecture lacks {', '.join(missing)}" if missing else ""


FIELDS: Registry[type[Architecture]] = Registry(
    "inrfit.fields",
    {
        "siren": Siren,
        "tiles": Tiles,
        "finer": Finer,
        "wire": Wire,
        "gauss": Gauss,
        "ffn": Ffn,
        "pemlp": PeMlp,
        "mlp": Mlp,
        "grid": FeatureGrid,
        "asmr": Asmr,
        "wavelet": Wavelet,
        "mdct": Mdct,
        "tsdf": Tsdf,
    },
    fault,
    "architecture",
)
"""The built-in architectures by name; more come from the entry points of other packages (docs/extending.md)."""

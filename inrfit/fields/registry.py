"""The architectures by name. To add one: one class in a file of its own, one line here (docs/extending.md)."""

from __future__ import annotations

from .architecture import Architecture
from .asmr.asmr import Asmr
from .feature_grid.feature_grid import FeatureGrid
from .mlp.finer import Finer
from .mlp.gauss import Gauss
from .mlp.relu import Ffn, Mlp, PeMlp
from .mlp.siren import Siren
from .mlp.wire import Wire
from .tiles.tiles import Tiles

FIELDS: dict[str, type[Architecture]] = {
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
}

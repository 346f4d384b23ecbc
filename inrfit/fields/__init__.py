"""Architectures: one frozen dataclass of options each, which knows its shapes, its cost and its formula.

Read ``architecture.py`` first. Nothing here imports torch before a tensor is asked for, so that `info` and refusals are
instant; only ``module.py``, which is not imported here, is made of torch.
"""

from .architecture import Architecture, OptionContext, Traits
from .hyperparameters import Hyperparameters
from .registry import FIELDS
from .sizing import MAX_DEPTH, MAX_PARAMETERS, MAX_WIDTH
from .spec import FieldSpec

__all__ = [
    "FIELDS",
    "MAX_DEPTH",
    "MAX_PARAMETERS",
    "MAX_WIDTH",
    "Architecture",
    "FieldSpec",
    "Hyperparameters",
    "OptionContext",
    "Traits",
]

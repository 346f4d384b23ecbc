"""Architectures: frozen dataclasses of options with the shapes, the cost and the formula of a field.

Read ``architecture.py`` first. Importing this package does not import torch, so that ``inrfit info`` and error messages
are fast. Only ``module.py`` needs torch; it is not imported here.
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

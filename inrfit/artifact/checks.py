"""Checks of artifacts that a program has put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InrfitError, UsageError
from ..fields import FieldSpec
from ..modalities import MODALITIES
from . import quantisation, weight_dtypes
from .quantisation import Steps

Weights = Mapping[str, npt.NDArray[np.float32]]


def check_weights(spec: FieldSpec, weights: Weights, error: type[InrfitError] = InrfitError) -> None:
    """Raises ``error`` unless ``weights`` are float32 arrays with the names and shapes of ``spec``."""
    shapes = spec.shapes
    if missing := sorted(shapes.keys() - weights.keys()):
        raise error(f"the weights lack {missing[0]!r}", "artifact")
    for name, shape in shapes.items():
        weight: Any = weights[name]
        if not isinstance(weight, np.ndarray) or weight.dtype != np.float32 or weight.shape != shape:
            raise error(f"the weight {name!r} must be a float32 array of the shape {shape}", "artifact")


def check_storable(spec: FieldSpec, weights: Weights, store: str, steps: Steps) -> None:
    """Raises ``InrfitError`` unless the weights can be stored as ``store`` says."""
    check_weights(spec, weights)
    if store == "int":
        groups = spec.rounding_groups
        found = {name: len(step) for name, step in steps.items() if isinstance(step, tuple | list)}
        if steps.keys() != groups.keys() or found != {name: len(sizes) for name, sizes in groups.items()}:
            raise InrfitError("the store int needs a step for each group of weights", "artifact")
        if problem := quantisation.problem(weights, groups, steps):
            raise InrfitError(problem, "artifact")
    elif store not in weight_dtypes.STORES:
        raise UsageError(
            f"store={store!r}: an artifact stores its weights as {', '.join(weight_dtypes.STORES)}, or as int "
            "with steps; int8, int6 and auto are settings of encode",
            "option",
        )
    elif weight_dtypes.fitting_store(weights, store, spec.fp32_tensors) != store:
        raise InrfitError(f"a weight is beyond the range of {store}", "artifact")


def check_described(modality: str, meta: Mapping[str, Any]) -> None:
    """Raises ``UsageError`` for an unknown modality, or a ``meta`` that lacks a part."""
    if modality not in MODALITIES:
        raise UsageError(f"modality {modality[:64]!r} is not installed", "modality")
    schema = MODALITIES[modality].meta_schema
    if isinstance(schema, Mapping) and (missing := sorted(schema.keys() - meta.keys())):
        raise UsageError(f"meta lacks {', '.join(missing)}", "meta")


def equal(first: Weights, second: Weights) -> bool:
    """Whether two sets of weights are the same."""
    same = first.keys() == second.keys()
    return same and all(first[name] is second[name] or np.array_equal(first[name], second[name]) for name in first)

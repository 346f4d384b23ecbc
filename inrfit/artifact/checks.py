"""Checks of artifacts that a program has put together, and of the coordinates that it gives to a field."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..fields import FieldSpec
from ..io.arguments import described
from ..modalities import MODALITIES
from . import quantisation, weight_dtypes
from .quantisation import Steps

if TYPE_CHECKING:
    from ..fields.module import Field

Weights = Mapping[str, npt.NDArray[np.float32]]


def in_float32(weights: Weights) -> Weights:
    """``weights`` with arrays of other floats converted to float32."""
    other = (np.float64, np.float16)
    if not any(isinstance(weight, np.ndarray) and weight.dtype in other for weight in weights.values()):
        return weights
    with np.errstate(over="ignore"):  # what becomes infinite is refused when it is used
        return {
            name: weight.astype(np.float32) if getattr(weight, "dtype", None) in other else weight
            for name, weight in weights.items()
        }


def check_weights(spec: FieldSpec, weights: Weights) -> None:
    """Raises ``UsageError`` unless ``weights`` are finite float32 arrays with the names and shapes of ``spec``."""
    shapes = spec.shapes
    if missing := sorted(shapes.keys() - weights.keys()):
        raise UsageError(f"the weights lack {missing[0]!r}, a float32 array of shape {shapes[missing[0]]}", "artifact")
    if extra := sorted(map(str, weights.keys() - shapes.keys())):
        raise UsageError(f"the weight {extra[0][:80]!r} is none of this field ({', '.join(shapes)})", "artifact")
    for name, shape in shapes.items():
        weight: Any = weights[name]
        if not isinstance(weight, np.ndarray) or weight.dtype != np.float32 or weight.shape != shape:
            found = described(weight)
            if isinstance(weight, np.ndarray):
                found = f"{weight.dtype.name} of shape {weight.shape}"
            raise UsageError(f"the weight {name!r} must be a float32 array of shape {shape}, not {found}", "artifact")
        if not_finite := weight.size - int(np.isfinite(weight).sum()):
            raise UsageError(f"the weight {name!r} has {not_finite:,} values that are not finite", "artifact")


def check_storable(spec: FieldSpec, weights: Weights, store: str, steps: Steps) -> None:
    """Raises ``UsageError`` unless the weights can be stored as ``store`` says."""
    check_weights(spec, weights)
    if store == "int":
        groups = spec.rounding_groups
        found = {name: len(step) for name, step in steps.items() if isinstance(step, tuple | list)}
        if steps.keys() != groups.keys() or found != {name: len(sizes) for name, sizes in groups.items()}:
            raise UsageError("the store int needs a step for each group of weights", "artifact")
        if problem := quantisation.problem(weights, groups, steps):
            raise UsageError(problem, "artifact")
    elif store not in weight_dtypes.STORES:
        raise UsageError(
            f"store={store!r}: an artifact stores its weights as {', '.join(weight_dtypes.STORES)}, or as int "
            "with steps; int8, int6 and auto are settings of encode",
            "option",
        )
    elif weight_dtypes.fitting_store(weights, store, spec.fp32_tensors) != store:
        raise UsageError(f"a weight is beyond the range of {store}", "artifact")


def check_described(modality: str, meta: Mapping[str, Any]) -> None:
    """Raises ``UsageError`` for an unknown modality, or a ``meta`` that lacks a part."""
    if modality not in MODALITIES:
        raise UsageError(f"modality {modality[:64]!r} is not installed", "modality")
    schema = MODALITIES[modality].meta_schema
    if isinstance(schema, Mapping) and (missing := sorted(schema.keys() - meta.keys())):
        raise UsageError(f"meta lacks {', '.join(missing)}", "meta")


def check_coords(field: Field, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A hook that runs before the field: coordinates of other number types become float32. Raises ``UsageError`` unless
    they are a tensor (n, d) of finite numbers on the device of the field."""
    import torch

    given = dict(zip(("coords", "precision"), args, strict=False)) | kwargs
    coords, axes = given.get("coords"), field.spec.inputs
    expected = f"coords must be a tensor (n, {axes}) with n of at least 1"
    if not isinstance(coords, torch.Tensor):
        raise UsageError(f"{expected}, not {described(coords)}", "coords")
    if coords.ndim != 2 or coords.shape[1] != axes or not len(coords) or coords.is_complex():
        raise UsageError(f"{expected}, not {str(coords.dtype)[6:]} of the shape {tuple(coords.shape)}", "coords")
    if coords.device != field.device:
        raise UsageError(f"coords are on the device {coords.device}, the field is on {field.device}", "coords")
    with contextlib.suppress(RuntimeError):  # in torch.func.vmap no value is known
        if not bool(coords.isfinite().all()):
            raise UsageError("coords must be finite; one of them is not", "coords")
    return (), given | {"coords": coords.float()}


def equal(first: Weights, second: Weights) -> bool:
    """Whether two sets of weights are the same."""
    same = first.keys() == second.keys()
    return same and all(first[name] is second[name] or np.array_equal(first[name], second[name]) for name in first)

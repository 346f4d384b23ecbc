"""Draws in proportion to a map of errors, and the map's update, by the compiled library.

Shapes: m entries of the map, k of them drawn, n trained points, c channels. Tensors are on the CPU.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from .library import available, library, usable

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

_DONE, _OUTSIDE = 0, 2


def draw(
    errors: Float[Tensor, " m"],
    order: Int[Tensor, " m"],
    hard: float,
    bounds: tuple[float, float],
    count: int,
    start: float,
    due: Float[Tensor, " m"],
    turns: Int[Tensor, " stretches"],
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"], Float[Tensor, " m"]]:
    """``samplers.overdue.draw`` with the random numbers ``turns``. Raises ``MemoryError``."""
    import torch

    indices, densities, due_after = torch.empty(count, dtype=torch.int64), torch.empty(count), torch.empty_like(due)
    status = _library().inrfit_draw(
        ctypes.c_int(available().index(usable()[0])),
        ctypes.c_int64(errors.shape[0]),
        _address(errors),
        _address(order),
        *(ctypes.c_float(value) for value in (hard, *bounds)),
        ctypes.c_int64(count),
        ctypes.c_float(start),
        _address(due),
        _address(due_after),
        ctypes.c_int64(count // turns.shape[0]),
        _address(turns),
        _address(indices),
        _address(densities),
        ctypes.c_int64(torch.get_num_threads()),
    )
    if status != _DONE:
        raise MemoryError
    return indices, densities, due_after


def record(
    errors: Float[Tensor, " m"],
    rank: Int[Tensor, " m"],
    indices: Int[Tensor, " n"],
    residuals: Float[Tensor, "n c"],
    most: float,
    power: float,
) -> None:
    """Sets errors[rank[indices]] to the L1 norm of ``residuals``, at most ``most``, to the power ``power``; to 0 where
    it is not a number. Raises ``IndexError`` if an index is outside the map."""
    import torch

    indices, residuals = indices.long().contiguous(), residuals.float().contiguous()
    if residuals.shape[0] != indices.shape[0]:
        raise IndexError("residuals and trained points differ in number")
    status = _library().inrfit_record(
        ctypes.c_int64(indices.shape[0]),
        ctypes.c_int64(residuals.shape[1]),
        _address(indices),
        _address(residuals),
        ctypes.c_int64(min(errors.shape[0], rank.shape[0])),
        _address(rank),
        ctypes.c_float(most),
        ctypes.c_float(power),
        _address(errors),
        ctypes.c_int64(torch.get_num_threads()),
    )
    if status == _OUTSIDE:
        raise IndexError("a trained point is outside the map of errors")


def computes(errors: Tensor, order: Tensor) -> bool:
    """Whether the library is there and can read this map, and its order or ranks."""
    import torch

    return (
        bool(usable())
        and errors.device.type == "cpu"
        and (errors.dtype, order.dtype, errors.shape) == (torch.float32, torch.int32, order.shape)
        and errors.is_contiguous()
        and order.is_contiguous()
    )


def _address(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _library() -> ctypes.CDLL:
    loaded = library()
    assert loaded is not None  # computes() was asked
    return loaded

"""Tables of numbers: CSV text and .npy arrays."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UnreadableFile, UnsupportedInput

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .checked_file import Output

DIGITS = {4: 9, 8: 17}
"""Significant digits that tell all numbers of so many bytes apart."""

COORDINATE_DIGITS = 12
"""Significant digits of a coordinate."""


def read_table(data: bytes) -> tuple[npt.NDArray[Any], tuple[str, ...] | None]:
    """The numbers (rows, columns) of a .npy file or of CSV text, and the names in its first line, if there are any.
    Columns are separated by commas, semicolons or blanks. Raises a ``RefusedInput``."""
    import numpy as np

    if data.startswith(b"\x93NUMPY"):
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except Exception as error:  # of whatever kind: NumPy's reader has several
            raise UnreadableFile(f"damaged .npy: {error}", "damaged") from error
        if array.ndim != 2 or array.dtype.kind not in "iuf":
            raise UnsupportedInput(f"a table of points is (n, d) numbers, not {array.dtype} {array.shape}", "points")
        return array, None
    try:
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UnsupportedInput("neither a .npy file nor CSV text", "points") from None
    if not lines:
        raise UnreadableFile("no points: the file is empty", "empty")
    separator = next((mark for mark in (",", ";", "\t") if mark in lines[0]), None)
    first = [word.strip().strip('"') for word in lines[0].split(separator)]
    names = None if all(map(_is_number, first)) else tuple(first)
    rows = lines[1:] if names else lines
    values = np.empty((len(rows), len(first)))
    for number, line in enumerate(rows):
        words = line.split(separator)
        if len(words) != len(first) or not all(map(_is_number, words)):
            hint = " (decimals are written with a point)" if separator == ";" and "," in line else ""
            raise UnreadableFile(
                f"line {number + 1 + bool(names)}: not {len(first)} numbers: {line:.60}{hint}", "points"
            )
        values[number] = [float(word) for word in words]
    return values, names


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def csv_bytes(names: Sequence[str], coordinates: npt.NDArray[Any], values: npt.NDArray[Any]) -> bytes:
    """CSV text with a line of ``names``, and one for each row of ``coordinates`` (rows, d) and ``values`` (rows, k)."""
    digits = DIGITS[values.dtype.itemsize]
    places = coordinates.round(COORDINATE_DIGITS) + 0.0  # no negative zeros
    lines = [",".join(names)]
    for place, row in zip(places.tolist(), values.tolist(), strict=True):
        lines.append(",".join([*(f"{x:.{COORDINATE_DIGITS}g}" for x in place), *(f"{x:.{digits}g}" for x in row)]))
    return ("\n".join(lines) + "\n").encode()


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a .npy file."""
    import numpy as np

    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def write_npy(shape: tuple[int, ...], dtype: np.dtype[Any], items: Iterable[npt.NDArray[Any]], out: Output) -> None:
    """Writes the same to ``out`` of an array whose ``items`` along the first axis come one after the other."""
    import numpy as np

    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, described)
    for item in items:
        out.write(item.tobytes())

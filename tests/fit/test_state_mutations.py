"""A saved state that is read can be resumed: no change of it makes ``encode --resume`` fail as a bug."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

import inrfit
from inrfit.__main__ import run
from inrfit.io import tensors as tensor_file

MISSING = object()

VALUES = (
    MISSING, None, True, 0, 1, -1, 0.5, 1e300, 2**40, 2**62, 10**39, "", "x", [], [1], [0.5] * 3, {}, {"a": 1}
)  # fmt: skip


def changed(value: Any) -> Iterator[Any]:
    """``value`` with each of its parts replaced or taken out in turn."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in items:
        for new in (*VALUES, *changed(item)):
            other = copy.copy(value)
            if new is MISSING:
                del other[key]
            else:
                other[key] = new
            yield other


def states(arrays: dict[str, np.ndarray], values: dict[str, Any]) -> Iterator[bytes]:
    """The bytes of each changed state, with a valid checksum."""
    for part in ("config", "callback", "version", "state"):
        for new in (*VALUES, *changed(values[part])):
            if new is not MISSING:
                yield tensor_file.dumps(arrays, tensor_file.STATE_KEY, {**values, part: new})
    for name, array in arrays.items():
        flawed = np.nan if array.dtype.kind == "f" else 2**31 - 1 if array.dtype.itemsize > 2 else 1
        others = {key: other for key, other in arrays.items() if key != name}
        yield tensor_file.dumps(others, tensor_file.STATE_KEY, values)
        for new in (array[:0] if array.ndim else array[None], np.full_like(array, flawed), array.astype(np.float64)):
            yield tensor_file.dumps({**others, name: new}, tensor_file.STATE_KEY, values)


@pytest.mark.parametrize("every", [61, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sampler", ["stream", "evos"])
def test_whatever_state_is_accepted_is_resumed(sampler, every, png, capsys):
    stops = iter(range(1000))
    output, state = png.with_name("field"), png.with_name("field.state")
    settings = {"sampler": sampler, "budget": "60it", "width": 16, "depth": 1}
    inrfit.encode(png, output=output, checkpoint="100s", should_stop=lambda: next(stops) > 40, **settings)
    arrays, values = tensor_file.loads(state.read_bytes(), tensor_file.STATE_KEY)
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    codes = set()
    for data in islice(states(arrays, values), 0, None, every):
        state.write_bytes(data)
        code = run(["encode", str(png), "-o", str(output), "--resume", "-q", *words])
        err = capsys.readouterr().err
        assert code in (0, 2, 3, 6), err
        assert err.count("\n") == (code != 0), err
        codes.add(code)
        output.unlink(missing_ok=True)
    assert {0, 3} <= codes

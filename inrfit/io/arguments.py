"""Checks of the arguments of public functions and classes: a wrong one raises ``UsageError``.

Without them, the first exception would come from somewhere inside, and be about something else.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Kind:
    """What an argument must be, in words, and the function that says whether a value is one."""

    words: str
    accepts: Callable[[Any], bool]


PATH = Kind("a path", lambda value: isinstance(value, str | os.PathLike))
FILE = Kind(
    "a path, or the number of an open file",
    lambda value: isinstance(value, str | os.PathLike | int) and not isinstance(value, bool),
)
FUNCTION = Kind("a function", callable)
MAPPING = Kind("a mapping", lambda value: isinstance(value, Mapping))
TEXT = Kind("a text", lambda value: isinstance(value, str))
NUMBER = Kind("a number", lambda value: isinstance(value, Real) and not isinstance(value, bool))
WHOLE = Kind("a whole number", lambda value: isinstance(value, Integral) and not isinstance(value, bool))
QUALITY = Kind("a number or a text such as 35dB", lambda value: NUMBER.accepts(value) or TEXT.accepts(value))
BYTES = Kind("bytes", lambda value: isinstance(value, bytes))
BOOLEAN = Kind("True or False", lambda value: isinstance(value, bool))
DEVICE = Kind(
    'a device: "cpu", "cuda" or "cuda:N"',
    lambda value: isinstance(value, str) or (type(value).__module__, type(value).__name__) == ("torch", "device"),
)


def a(cls: type[Any]) -> Kind:
    """An instance of ``cls``."""
    article = "an" if cls.__name__[0] in "AEIO" else "a"
    return Kind(f"{article} {cls.__name__}", lambda value: isinstance(value, cls))


def or_none(kind: Kind) -> Kind:
    """``kind``, or None."""
    return Kind(f"{kind.words}, or None", lambda value: value is None or kind.accepts(value))


def checked(**kinds: Kind) -> Callable[[T], T]:
    """A decorator for functions and classes: ``UsageError`` is raised for an unknown or missing argument, and for one
    that is not of its kind."""

    def decorate(target: Any) -> Any:
        if not isinstance(target, type):
            return _checked(target, target.__name__, kinds)
        type.__setattr__(target, "__init__", _checked(vars(target)["__init__"], target.__name__, kinds))
        return target

    return decorate


def _checked(function: Any, name: str, kinds: Mapping[str, Kind]) -> Any:
    """``function`` with checks. ``name`` is what messages call it."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise UsageError(f"{name}: {error}", "option") from None
        for argument, kind in kinds.items():
            if argument in given and not kind.accepts(given[argument]):
                raise UsageError(f"{name}: {argument} must be {kind.words}, not {described(given[argument])}", "option")
        return function(*args, **kwargs)

    return wrapper


def described(value: Any) -> str:
    """The type of a value, with advice for types that are often given by mistake."""
    name = type_name(value)
    if hasattr(value, "__array_interface__") and not name.startswith("numpy."):
        return f"{name} (pass numpy.asarray of it)"
    return name


def type_name(value: Any) -> str:
    """The type of a value, as in ``int`` or ``PIL.Image``."""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}".removeprefix("builtins.")


def unwrapped(value: Any) -> Any:
    """A torch tensor as a NumPy array, bfloat16 in float32; any other value as it is."""
    if type(value).__module__.split(".")[0] != "torch" or not hasattr(value, "detach"):
        return value
    tensor = value.detach().cpu().resolve_conj().resolve_neg()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def array_of(name: str, value: Any) -> npt.NDArray[Any]:
    """``value``, an array, a tensor or nested lists of numbers, as a NumPy array. Raises ``UsageError``."""
    import numpy as np

    try:
        return np.asanyarray(unwrapped(value))
    except (TypeError, ValueError):
        raise UsageError(f"{name}: must be an array of numbers, not {described(value)}", "array") from None


def source_or_values(source: Any, coords: Any, values: Any) -> Any:
    """``source``, or the array of ``values``, which stand in place of it and have a row of ``coords`` each. Raises
    ``UsageError`` unless there is one of both."""
    if (coords is None) != (values is None):
        raise UsageError("coords and values: give both, a row of coordinates for each sample", "option")
    if source is None and values is None:
        raise UsageError(
            "source: must be a path or a NumPy array, not NoneType; or coords and values instead", "option"
        )
    if source is not None and values is not None:
        raise UsageError("coords and values: come in place of a source, not with one", "option")
    return unwrapped(source) if values is None else array_of("values", values)

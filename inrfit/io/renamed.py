"""Old names of options, their values and arguments: accepted for one release, with a notice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from ..errors import UsageError, warn

P = ParamSpec("P")
R = TypeVar("R")

OLD_VALUES: Mapping[str, Mapping[str, str]] = {
    "engine": {"plain": "autograd", "explicit": "analytic", "graph": "cuda-graph"},
    "precision": {"medium": "fp32-fast"},
    "regime": {"engine": "inrfit"},
}
"""Old values of settings and their new names, by setting. Saved files may hold the old ones."""

OLD_OPTIONS: Mapping[str, str] = {"pool": "points"}
"""Old names of the modalities' options, and their new names."""


def renamed(old: str, new: str, what: str) -> str:
    """``new``, after a notice that ``what`` (such as "option" or "value of engine") is no longer called ``old``."""
    warn(f"{what} {old!r} is now called {new!r}; the next release will not accept {old!r}")
    return new


def with_new_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` read from a saved file, with old values replaced by the new ones."""
    return _replaced(settings, OLD_VALUES)


def with_old_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` with the old values. Hashes in saved files are computed from these, so that they stay valid."""
    return _replaced(settings, {name: {new: old for old, new in pairs.items()} for name, pairs in OLD_VALUES.items()})


def with_old_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a modality under their old names. Hashes in saved files are computed from these."""
    old_names = {new: old for old, new in OLD_OPTIONS.items()}
    return {old_names.get(name, name): value for name, value in options.items()}


def _replaced(settings: Mapping[str, Any], names: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """``settings`` with values replaced by ``names``: a mapping of old to new values for each setting."""
    return {
        name: names[name].get(value, value) if name in names and isinstance(value, str) else value
        for name, value in settings.items()
    }


def renamed_arguments(**old_to_new: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: the function also accepts keyword arguments under their old names."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            arguments: dict[str, Any] = dict(kwargs)
            for old, new in old_to_new.items():
                if old in arguments and new in arguments:
                    raise UsageError(f"{old} and {new} cannot be combined: {old} is the old name of {new}", "option")
                if old in arguments:
                    arguments[renamed(old, new, f"argument of {function.__name__}")] = arguments.pop(old)
            result: R = function(*args, **arguments)
            return result

        return wrapper

    return decorate

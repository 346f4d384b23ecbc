"""Registries: what is built in by name, and what other installed packages add through entry points."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InrfitWarning, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(dict[str, T]):
    """Objects by name. A name that is not built in is looked up among the entry points of ``group`` in the installed
    packages; a built-in name cannot be replaced.

    ``fault`` says what is wrong with an object from outside (an empty string: nothing). One that cannot be imported, or
    that has a fault, costs an ``InrfitWarning``, and its name stays unknown."""

    def __init__(self, group: str, built_in: Mapping[str, T], fault: Callable[[str, Any], str]) -> None:
        super().__init__(built_in)
        self.group = group
        self._fault = fault
        self._failed: set[str] = set()
        self._added: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self._load(name)

    def __missing__(self, name: str) -> T:
        if not self._load(name):
            raise KeyError(name)
        return self[name]

    def offered(self) -> list[str]:
        """All names, those of plug-ins included: reads the metadata of every installed package (some milliseconds)."""
        return [*self, *(name for name in _installed(self.group) if name not in self.keys() | self._failed)]

    def load_all(self) -> None:
        """Loads every plug-in of the group."""
        for name in _installed(self.group):
            self._load(name)

    def add(self, name: str, entry: T) -> str:
        """Registers an object of the running program, in place of an earlier one that was added; returns ``name``.
        Raises ``UsageError`` if the object cannot be used, or if the name is that of a built-in one or of a plug-in."""
        if self.get(name) is entry:
            return name
        fault = self._fault(name, entry)
        if not fault and name not in self._added and name in self:
            fault = "its name belongs to another one"
        if fault:
            raise UsageError(f"{name} cannot be used: {fault}", "plugin")
        self._added.add(name)
        self[name] = entry
        return name

    def _load(self, name: object) -> bool:
        """Loads the plug-in ``name``; whether it is there and usable."""
        installed = _installed(self.group)
        if not isinstance(name, str) or name not in installed or name in self._failed:
            return False
        if name in self.keys():
            return True
        try:
            entry = installed[name].load()
            problem = self._fault(name, entry)
        except Exception as error:  # whatever the code of another package raises
            problem = f"{type(error).__name__}: {error}"
        if problem:
            self._failed.add(name)
            package = installed[name].value
            warnings.warn(f"the plug-in {name} ({package}) is left out: {problem}", InrfitWarning, stacklevel=3)
            return False
        self[name] = entry
        return True


@functools.cache
def _installed(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name; the first of each name."""
    from importlib.metadata import entry_points  # some 40 ms, which only an unknown name has to pay

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, point)
    return found

"""Registries of built-in objects, and of objects that other installed packages add through entry points."""

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

    ``fault(name, entry)`` returns what is wrong with an object of another package, or "" if it can be used. An object
    with a fault, or one that cannot be imported, is left out with an ``InrfitWarning``."""

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
        """All names, including those of plug-ins. Reads the metadata of all installed packages."""
        return [*self, *(name for name in _installed(self.group) if name not in self.keys() | self._failed)]

    def load_all(self) -> None:
        """Loads every plug-in of the group."""
        for name in _installed(self.group):
            self._load(name)

    def add(self, name: str, entry: T) -> str:
        """Registers an object of the running program under ``name``, and returns ``name``. An object that was added
        earlier under this name is replaced. Raises ``UsageError`` if the object cannot be used, or if the name is that
        of a built-in object or of a plug-in."""
        if self.get(name) is entry:
            return name
        fault = self._fault(name, entry)
        if not fault and name not in self._added and name in self:
            fault = "the name is taken by a built-in object or a plug-in"
        if fault:
            raise UsageError(f"{name} cannot be used: {fault}", "plugin")
        self._added.add(name)
        self[name] = entry
        return name

    def _load(self, name: object) -> bool:
        """Loads the plug-in ``name``. Returns whether it exists and can be used."""
        installed = _installed(self.group)
        if not isinstance(name, str) or name not in installed or name in self._failed:
            return False
        if name in self.keys():
            return True
        try:
            entry = installed[name].load()
            problem = self._fault(name, entry)
        except Exception as error:  # depends on the code of another package
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
    """The entry points of a group by name. Of several with one name, the first is used."""
    from importlib.metadata import entry_points  # slow to import, so only done for names that are not built in

    entries: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        entries.setdefault(point.name, point)
    return entries

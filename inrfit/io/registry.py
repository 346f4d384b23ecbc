"""Registries of built-in objects, and of objects that other installed packages add through entry points."""

from __future__ import annotations

import contextlib
import functools
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InrfitError, PluginError, UsageError, warn

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

RESERVED_NAMES = ("auto",)
"""Words that stand for something else where a name is expected."""

_plugin_modules: dict[str, str] = {}
"""The modules that loaded plug-ins consist of, and the plug-in of each as messages call it."""


class Registry(dict[str, T]):
    """Objects by name. A name that is not built in is looked up among the entry points of ``group`` in the installed
    packages; a built-in name cannot be replaced.

    ``kind`` is what messages call an object. ``fault(name, entry)`` returns what is wrong with an object of another
    package, or "" if it can be used. An object with a fault, or one that cannot be imported, is left out with an
    ``InrfitWarning``."""

    def __init__(
        self, group: str, built_in: Mapping[str, T], fault: Callable[[str, Any], str], kind: str = "object"
    ) -> None:
        super().__init__(built_in)
        self.group = group
        self.kind = kind
        self._built_in = tuple(built_in.values())
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
        candidates = (name for name in _installed(self.group) if name not in self.keys() | self._failed)
        return [*self, *(name for name in candidates if not _name_fault(name))]

    def load_all(self) -> None:
        """Loads every plug-in of the group."""
        for name in _installed(self.group):
            self._load(name)

    def is_built_in(self, entry: object) -> bool:
        """Whether ``entry`` is one of the built-in objects."""
        return any(entry is known for known in self._built_in)

    def name_of(self, entry: T) -> str | None:
        """The name under which ``entry`` is known: built in, added, or a plug-in of the package that defines it. None
        if there is none."""
        package = getattr(entry, "__module__", "").partition(".")[0]
        for name, points in {} if self.is_built_in(entry) else _installed(self.group).items():
            if package in {point.value.partition(":")[0].partition(".")[0] for point in points}:
                self._load(name)
        return next((name for name, known in self.items() if known is entry), None)

    def add(self, name: str, entry: T) -> str:
        """Registers an object of the running program under ``name``, and returns ``name``. An object that was added
        earlier under this name is replaced. Raises ``UsageError`` if the object cannot be used, or if the name is that
        of a built-in object or of a plug-in."""
        if name in self and self[name] is entry:
            return name
        fault = _name_fault(name) or self._checked(name, entry)
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
        first, *others = installed[name]
        label = f"the {self.kind} plug-in {name} ({first.value})"
        try:
            entry = first.load()
            problem = _name_fault(name) or self._checked(name, entry)
        except (Exception, SystemExit) as error:  # depends on the code of another package
            problem = _describe(error)
        if problem:
            self._failed.add(name)
            warn(f"{label} is left out: {problem}")
            return False
        if others:
            warn(f"{label} is used; others of the same name are not: {', '.join(point.value for point in others)}")
        self[name] = entry
        _plugin_modules.update(dict.fromkeys(_modules_of(first, entry), label))
        return True

    def _checked(self, name: str, entry: Any) -> str:
        """What is wrong with an object of another package; "" if it can be used."""
        try:
            return self._fault(name, entry)
        except Exception as error:  # a check evaluates annotations and defaults of another package
            return _describe(error)


def describe_plugin(cls: type[Any], kind: str) -> str:
    """How messages name a class of another package: the plug-in it belongs to, or else its own name."""
    return _plugin_modules.get(cls.__module__, f"the {kind} {cls.__name__}")


@contextlib.contextmanager
def plugin_errors(error_class: type[InrfitError] = PluginError) -> Iterator[None]:
    """Context in which an exception that passed through the code of an installed plug-in becomes an ``error_class``
    that names the plug-in. Errors of inrfit and lack of memory pass unchanged, as do exceptions of objects that were
    given by the running program, whose author wants the traceback."""
    try:
        yield
    except (InrfitError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
            module = frame.f_globals.get("__name__", "")
            if label := _plugin_modules.get(module):
                raise error_class(f"{label} failed: {_describe(error)} ({module}, line {line})", "plugin") from error
        raise


@functools.cache
def _installed(group: str) -> Mapping[str, list[EntryPoint]]:
    """The entry points of a group by name. Of several with one name, the first is used."""
    from importlib.metadata import entry_points  # slow to import, so only done for names that are not built in

    entries: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        known = entries.setdefault(point.name, [])
        if point.value not in [earlier.value for earlier in known]:
            known.append(point)
    return entries


def _name_fault(name: str) -> str:
    """What is wrong with the name of an object of another package; "" if it can be typed as an option."""
    if name in RESERVED_NAMES:
        return "the name has another meaning"
    if not re.fullmatch(r"\w[\w.+-]{0,63}", name):
        return "a name consists of at most 64 letters, digits and the characters _ . + -"
    return ""


def _modules_of(point: EntryPoint, entry: Any) -> set[str]:
    """The names of the modules that a plug-in's own code is in: those of its class and of its functions."""
    parts = (entry, *getattr(entry, "__dict__", {}).values())
    names = {point.value.partition(":")[0], *(str(getattr(part, "__module__", "")) for part in parts)}
    return {name for name in names if name and name.partition(".")[0] not in ("inrfit", "builtins")}


def _describe(error: BaseException) -> str:
    """Kind and message of an exception, in one line."""
    text = str(error) if isinstance(error, InrfitError) else f"{type(error).__name__}: {error}"
    return text.partition("\n")[0].removesuffix(": ")

"""Options: dataclass fields that carry a help sentence and what they admit, and the one check of every value.

``Settings``, samplers, architectures and modalities declare their options with ``setting``. The command line makes its
options of the same fields (cli/shared_options.py); ``-O key=value`` fills the dataclass that knows the key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import UsageError
from .registry import Registry
from .renamed import renamed

T = TypeVar("T")

PAIR, FLAG = "-O {}={}", "--{} {}"
"""How a refusal begins: the name of an option and what was given for it."""


def setting(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    *,
    words: tuple[str, ...] = (),
    among: Collection[str] | Callable[[], Collection[str]] = (),
    parse: Callable[[Any], object] | None = None,
    factory: Callable[[], Any] | None = None,
    old_name: str = "",
    old_values: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """A dataclass field with its help sentence and what it admits.

    Numbers lie from ``low`` to ``high``. ``words`` and the names ``among`` a registry are admitted beside numbers, and
    alone where the type is text; ``among`` may be a function that returns the registry, called at each check.
    ``parse`` raises ``ValueError`` for what it cannot read; the field keeps what was given. ``factory`` makes a default
    that can be changed. ``old_name`` of the field and ``old_values`` (old to new) are accepted for one release with a
    notice (renamed.py)."""
    rules = {"help": help, "low": low, "high": high, "words": words, "among": among, "parse": parse}
    rules |= {"old_name": old_name, "old_values": old_values}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=rules)
    return dataclasses.field(default=default, metadata=rules)


@dataclasses.dataclass(frozen=True)
class Declared:
    """One option: its field's rules and what the annotation says. ``kind`` is the type of its values, None where there
    are several or it is not a plain one: such a value is kept as it is."""

    name: str
    help: str
    kind: type | None
    optional: bool
    literals: tuple[str, ...]
    rules: Mapping[str, Any]

    @property
    def among(self) -> Collection[str]:
        """The registry of admitted names; empty where there is none."""
        among: Any = self.rules.get("among", ())
        names: Collection[str] = among() if callable(among) else among
        return names

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are admitted, now."""
        return (*self.literals, *self.rules.get("words", ()), *self.among)

    def read(self, given: Any) -> Any:
        """``given``, a value or its text, as the field holds it. Raises ``ValueError`` with what to write instead."""
        if given is None and self.optional:
            return None
        words, among = self.words, self.among
        if isinstance(given, str) and given in (old_values := self.rules.get("old_values", {})):
            given = renamed(given, old_values[given], f"value of {self.name}")
        if given in words or given in among:
            return given
        if words and self.kind not in (int, float):
            return choose(given, (*words, *(among.offered() if isinstance(among, Registry) else ())))
        if (parse := self.rules.get("parse")) is not None:
            parse(given)
        if self.kind is bool:
            return _switch(given)
        if self.kind in (int, float):
            return _within(_number(self.kind, given, words), self.rules.get("low"), self.rules.get("high"))
        return given if self.kind is None else self.kind(given)


def declared(cls: type[Any]) -> Mapping[str, Declared]:
    """The options of the dataclass ``cls`` by name."""
    key: Any = cls  # mypy takes a type[Any] for unhashable
    return _all(key)


@functools.cache
def _all(cls: type[Any]) -> Mapping[str, Declared]:
    hints = get_type_hints(cls)
    return MappingProxyType({f.name: _declared(f, hints[f.name]) for f in dataclasses.fields(cls)})


def _declared(field: dataclasses.Field[Any], hint: Any) -> Declared:
    arms = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    literals = tuple(word for arm in arms if get_origin(arm) is Literal for word in get_args(arm))
    types = [arm for arm in arms if arm is not type(None) and get_origin(arm) is not Literal]
    kind = types[0] if len(types) == 1 and types[0] in (bool, int, float, str) else None
    return Declared(field.name, field.metadata.get("help", ""), kind, type(None) in arms, literals, field.metadata)


def checked(cls: type[Any], name: str, given: Any, said: str = FLAG) -> Any:
    """``given``, a value or its text, as the field ``name`` of ``cls`` holds it. Raises a ``UsageError`` that begins
    with ``said``, filled with the option's name and ``given``."""
    shown = name.replace("_", "-") if said == FLAG else name
    with refusing(said.format(shown, given)):
        return declared(cls)[name].read(given)


def from_mapping(cls: type[T], given: Mapping[str, Any]) -> T:
    """An instance of the options dataclass ``cls`` from texts or values; raises ``UsageError``. Keys that it does not
    have are left out."""
    given = with_present_names([cls], given)
    return cls(**{name: checked(cls, name, given[name], PAIR) for name in declared(cls) if name in given})


def with_present_names(classes: Iterable[type[Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` with old names of options of ``classes`` replaced by the present ones, with a notice. Raises
    ``UsageError`` for an option that is given under both names."""
    fields = [item for cls in classes for item in declared(cls).items()]
    present = {field.rules["old_name"]: name for name, field in fields if field.rules.get("old_name")}
    for old, new in present.items():
        if old in given and new in given:
            raise UsageError(f"-O {old} and -O {new} are one option under its old and its new name", "option")
    return {renamed(key, present[key], "option") if key in present else key: value for key, value in given.items()}


def build(classes: Mapping[str, type[Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """One instance per class in ``classes`` (label -> dataclass), filled from ``given``; an unknown key names the
    valid ones of every class."""
    given = with_present_names(classes.values(), given)
    for key in given:
        if not any(key in declared(cls) for cls in classes.values()):
            valid = "; ".join(
                f"{label}: {', '.join(sorted(declared(cls))) or 'none'}" for label, cls in classes.items()
            )
            raise UsageError(f"unknown option -O {key} (valid: {valid})", "option")
    return {label: from_mapping(cls, given) for label, cls in classes.items()}


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """``["a=1", "b=x"]`` as a mapping; raises ``UsageError`` for anything else."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"-O wants key=value, not {pair!r}", "option")
        if key in found:
            raise UsageError(f"-O {key} is given twice", "option")
        found[key] = value
    return found


@contextlib.contextmanager
def refusing(said: str) -> Iterator[None]:
    """Raises a ``ValueError`` from inside as a ``UsageError`` that begins with ``said``."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{said}: {error}", "option") from None


def choose(given: str, known: Collection[str]) -> str:
    """``given``, if it is ``known``; raises ``ValueError``."""
    if given not in known:
        names = dict.fromkeys(known.offered() if isinstance(known, Registry) else known)
        raise ValueError(f"choose from {', '.join(names)}")
    return given


def _switch(given: Any) -> bool:
    switches = {"true": True, "false": False, True: True, False: False}
    if given not in switches:
        raise ValueError("write true or false")
    return switches[given]


def _number(kind: type[Any], given: Any, words: tuple[str, ...]) -> Any:
    """``given`` as an int or a float; a fraction is no int, and nan no number."""
    with contextlib.suppress(TypeError, ValueError):
        if not (kind is int and isinstance(given, float) and not given.is_integer()):
            value = kind(given)
            if value == value:
                return value
    *first, last = ("a whole number" if kind is int else "a number", *words)
    raise ValueError(f"must be {', '.join(first)} or {last}" if first else f"must be {last}")


def _within(value: float, low: float | None, high: float | None) -> float:
    if (low is None or value >= low) and (high is None or value <= high):
        return value
    if low is not None and high is not None:
        raise ValueError(f"must be from {_bound(low)} to {_bound(high)}")
    raise ValueError(f"must be at least {_bound(low)}" if low is not None else f"must be at most {_bound(high)}")


def _bound(number: float | None) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"

"""Options: dataclass fields with a help sentence and rules for their values, and the functions that check values.

``Settings``, samplers, architectures and modalities declare their options with ``setting``. The options of the command
line are made from the same fields (cli/shared_options.py). ``-O key=value`` sets the field ``key`` of the dataclass
that has it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import UsageError
from .json_schema import scalar
from .registry import Registry
from .renamed import renamed

T = TypeVar("T")

PAIR_PREFIX, FLAG_PREFIX = "-O {}={}", "--{} {}"
"""Beginnings of error messages, with placeholders for the name of the option and the value."""


def setting(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    *,
    choices: tuple[str, ...] = (),
    registry: Collection[str] | Callable[[], Collection[str]] = (),
    parse: Callable[[Any], object] | None = None,
    factory: Callable[[], Any] | None = None,
    old_name: str = "",
    old_values: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """A dataclass field with a help sentence and rules for its values.

    - ``low``, ``high``: range of numbers, both ends included.
    - ``choices``, and the names in ``registry``: admitted strings. A field of type int or float admits numbers as well,
      one of type str only these. ``registry`` may be a function that returns the registry and is called at each check.
    - ``parse``: a function that raises ``ValueError`` for invalid values. Its result is ignored.
    - ``factory``: makes the default, if that is mutable.
    - ``old_name`` of the field, ``old_values`` (old to new): accepted for one release with a notice (renamed.py)."""
    rules = {"help": help, "low": low, "high": high, "choices": choices, "registry": registry, "parse": parse}
    rules |= {"old_name": old_name, "old_values": old_values}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=rules)
    return dataclasses.field(default=default, metadata=rules)


@dataclasses.dataclass(frozen=True)
class DeclaredOption:
    """One option: a dataclass field that was made by ``setting``, and its annotation. ``kind`` is bool, int, float or
    str; None for other or several types, whose values are kept as they are. ``optional``: whether None is admitted.
    ``literals``: the strings of a ``Literal``. ``rules``: the metadata of the field."""

    name: str
    help: str
    kind: type | None
    optional: bool
    literals: tuple[str, ...]
    rules: Mapping[str, Any]

    @property
    def registry(self) -> Collection[str]:
        """The registry whose names are admitted; empty if there is none."""
        registry: Any = self.rules.get("registry", ())
        names: Collection[str] = registry() if callable(registry) else registry
        return names

    @property
    def choices(self) -> tuple[str, ...]:
        """The admitted strings, without those of plug-ins that are not loaded."""
        return (*self.literals, *self.rules.get("choices", ()), *self.registry)

    def read(self, value: Any) -> Any:
        """``value``, or the value of the text ``value``, in the type of the field. Raises ``ValueError`` with a message
        that lists what is admitted."""
        if value is None and self.optional:
            return None
        choices, registry = self.choices, self.registry
        if isinstance(value, str) and value in (old_values := self.rules.get("old_values", {})):
            value = renamed(value, old_values[value], f"value of {self.name}")
        if isinstance(value, str) and (value in choices or value in registry):
            return value
        if choices and self.kind not in (int, float):
            return check_choice(value, (*choices, *(registry.offered() if isinstance(registry, Registry) else ())))
        if (parse := self.rules.get("parse")) is not None:
            parse(value)
        if self.kind is bool:
            return _to_bool(value)
        if self.kind in (int, float):
            return _check_range(_to_number(self.kind, value, choices), self.rules.get("low"), self.rules.get("high"))
        if self.kind is str and not isinstance(value, str | int | float):
            raise ValueError("must be a text")
        return value if self.kind is None else self.kind(value)


def declared(cls: type[Any]) -> Mapping[str, DeclaredOption]:
    """The options of the dataclass ``cls`` by name."""
    hashable: Any = cls  # for mypy, a type[Any] is not
    return _declared(hashable)


@functools.cache
def _declared(cls: type[Any]) -> Mapping[str, DeclaredOption]:
    """``declared``, computed once for each class."""
    hints = get_type_hints(cls)
    return MappingProxyType({f.name: _from_field(f, hints[f.name]) for f in dataclasses.fields(cls)})


def _from_field(field: dataclasses.Field[Any], hint: Any) -> DeclaredOption:
    """The option of a dataclass field whose annotation is ``hint``."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    literals = tuple(word for member in members if get_origin(member) is Literal for word in get_args(member))
    types = [member for member in members if member is not type(None) and get_origin(member) is not Literal]
    kind = types[0] if len(types) == 1 and types[0] in (bool, int, float, str) else None
    optional = type(None) in members
    return DeclaredOption(field.name, field.metadata.get("help", ""), kind, optional, literals, field.metadata)


def check_option(cls: type[Any], name: str, value: Any, prefix: str = FLAG_PREFIX) -> Any:
    """``value``, or the value of the text ``value``, in the type of the field ``name`` of ``cls``. Raises a
    ``UsageError`` whose message begins with ``prefix``, filled with the name of the option and ``value``."""
    label = name.replace("_", "-") if prefix == FLAG_PREFIX else name
    with usage_errors(prefix.format(label, value)):
        return declared(cls)[name].read(value)


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the options dataclass ``cls``, from values or their texts by name. Names that it does not have are
    ignored. Raises ``UsageError`` for invalid values."""
    values = with_new_names([cls], values)
    return cls(**{name: check_option(cls, name, values[name], PAIR_PREFIX) for name in declared(cls) if name in values})


def with_new_names(classes: Iterable[type[Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with old names of options of ``classes`` replaced by new ones, with a notice. Raises ``UsageError``
    for an option that is given under both names."""
    fields = [item for cls in classes for item in declared(cls).items()]
    new_names = {field.rules["old_name"]: name for name, field in fields if field.rules.get("old_name")}
    for old, new in new_names.items():
        if old in values and new in values:
            raise UsageError(f"-O {old} and -O {new} cannot be combined: {old} is the old name of {new}", "option")
    return {renamed(key, new_names[key], "option") if key in new_names else key: value for key, value in values.items()}


def class_fault(cls: Any) -> str:
    """What a class of options of another package should be; "" if it is: a frozen dataclass whose options have defaults
    that JSON can hold. May raise what the evaluation of its annotations and defaults raises."""
    params: Any = getattr(cls, "__dataclass_params__", None)
    if not (isinstance(cls, type) and params is not None and params.frozen):
        return f"a frozen dataclass, which {getattr(cls, '__name__', type(cls).__name__)} is not"
    without_default = [field.name for field in dataclasses.fields(cls) if field.init and not _has_default(field)]
    if without_default:
        return f"a frozen dataclass whose fields have defaults, and {', '.join(without_default)} has none"
    declared(cls)
    check_json(dataclasses.asdict(cls()))
    return ""


def _has_default(field: dataclasses.Field[Any]) -> bool:
    """Whether the dataclass field has a default value."""
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def check_json(values: Mapping[str, Any]) -> None:
    """Raises ``UsageError`` for values that a saved field cannot hold: numbers, strings, true, false and None."""
    for name, value in values.items():
        try:
            scalar(value)
        except ValueError as error:
            raise UsageError(f"{PAIR_PREFIX.format(name, value)}: {error}", "option") from None


def build(classes: Mapping[str, type[Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """One instance of each dataclass in ``classes`` (by label), from values or their texts by name. Raises
    ``UsageError`` for invalid values, and for a name that no class has, with the valid names by label."""
    values = with_new_names(classes.values(), values)
    for key in values:
        if not any(key in declared(cls) for cls in classes.values()):
            valid = "; ".join(
                f"{label}: {', '.join(sorted(declared(cls))) or 'none'}" for label, cls in classes.items()
            )
            raise UsageError(f"unknown option -O {key} (valid: {valid})", "option")
    return {label: from_mapping(cls, values) for label, cls in classes.items()}


def changed_options(instance: Any) -> dict[str, Any]:
    """The options of ``instance`` that differ from the defaults of its class."""
    default = type(instance)()
    values = {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """``["a=1", "b=x"]`` as a mapping. Raises ``UsageError`` for anything else, and for a name that is given twice."""
    values: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"-O must be key=value, got {pair!r}", "option")
        if key in values:
            raise UsageError(f"-O {key} is given twice", "option")
        values[key] = value
    return values


@contextlib.contextmanager
def usage_errors(prefix: str) -> Iterator[None]:
    """Context in which a ``ValueError`` becomes a ``UsageError`` whose message begins with ``prefix``."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{prefix}: {error}", "option") from None


def check_choice(value: str, choices: Collection[str]) -> str:
    """``value``. Raises ``ValueError`` if it is not among ``choices``."""
    if not isinstance(value, str) or value not in choices:
        names = dict.fromkeys(choices.offered() if isinstance(choices, Registry) else choices)
        raise ValueError(f"choose from {', '.join(names)}")
    return value


def _to_bool(value: Any) -> bool:
    """A bool, or its text. Raises ``ValueError``."""
    if isinstance(value, bool):
        return value
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return bool(value == "true")


def _to_number(kind: type[Any], value: Any, choices: tuple[str, ...]) -> Any:
    """``value``, or its text, as an int or a float. Raises ``ValueError``, also for nan, and for fractions if ``kind``
    is int. The message names ``choices``, which are admitted as well."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if not isinstance(value, bool) and not (kind is int and isinstance(value, float) and not value.is_integer()):
            number = kind(value)
            if number == number:
                return number
    *first, last = ("a whole number" if kind is int else "a number", *choices)
    raise ValueError(f"must be {', '.join(first)} or {last}" if first else f"must be {last}")


def _check_range(value: float, low: float | None, high: float | None) -> float:
    """``value``. Raises ``ValueError`` if it is out of range."""
    if (low is None or value >= low) and (high is None or value <= high):
        return value
    if low is not None and low == high:
        raise ValueError(f"must be {_format_bound(low)}")
    if low is not None and high is not None:
        raise ValueError(f"must be from {_format_bound(low)} to {_format_bound(high)}")
    raise ValueError(
        f"must be at least {_format_bound(low)}" if low is not None else f"must be at most {_format_bound(high)}"
    )


def _format_bound(number: float | None) -> str:
    """A bound as text, for messages."""
    return str(number) if isinstance(number, int) else f"{number:g}"

"""Checks that every dotted name in backticks exists (in the package, in a library, among files or header keys), and
every name with capitals as a class.

`fit.fitting.fit`, `fitting.fit`, `Selection.memory` and `selection.memory` are looked up in inrfit, `torch.optim` among
installed packages, `first.weight` among the tensors of the architectures, `signal.scale` in the header of an artifact,
`runtime.py` among the files of the repository. Names of data files (`photo.png`) are not checked. `FitContext` must be
a name of inrfit, of Python or of ``KNOWN``, or one that a Python block of the page defines.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import inrfit

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\(.*?\))?`")
CODE_SUFFIXES = {"py", "cpp", "toml", "md", "cff"}
CLASS = re.compile(r"`([A-Z][a-z]{2,}(?:[A-Z][a-z0-9]*)*)(?:\(.*?\))?`")
DATA_SUFFIXES = re.compile(
    "png|jpe?g|webp|tiff?|bmp|gif|svg|flac|wav|ogg|mp3|mp4|aiff|ply|obj|stl|off|glb|gltf"
    "|safetensors|jsonl?|np[yz]|csv|txt|html|gz|state"
)
ALIASES = {"nn": "torch.nn", "np": "numpy", "Path": "pathlib.Path"}
"""Names that stand for something of another package."""
KNOWN = frozenset({"Float", "Int", "Tensor", "Module", "Protocol", "Results", "Path", "Literal", "Infinity"})
"""Classes of other packages, and words in backticks that are no classes."""


def problems(pages: list[Path]) -> list[str]:
    """One line for every name that does not exist."""
    found = []
    for page in pages:
        text = page.read_text("utf-8")
        written = set(re.findall(r"^`([\w.]+)`:$", text, re.M))  # files that the page itself shows
        for number, line in enumerate(text.splitlines(), 1):
            for name in NAME.findall(line):
                if name not in written and not exists(name):
                    found.append(f"{page.relative_to(ROOT)}:{number}: `{name}` does not exist")
            for name in CLASS.findall(line):
                if not is_class(name) and f"class {name}" not in text:
                    found.append(f"{page.relative_to(ROOT)}:{number}: there is no class `{name}`")
    return found


@cache
def is_class(name: str) -> bool:
    """Whether a class or another object of inrfit, of Python or of ``KNOWN`` is called ``name``."""
    own = (module for same in modules().values() for module in same)
    return name in KNOWN or hasattr(builtins, name) or any(name in vars(module) for module in own)


@cache
def exists(name: str) -> bool:
    """Whether anything is called ``name``."""
    first, *rest = name.split(".")
    if DATA_SUFFIXES.fullmatch(rest[-1]):
        return True
    if rest[-1] in CODE_SUFFIXES:
        return name in file_names()
    starts = [*modules().get(first, ()), *classes().get(first, ()), *classes().get(first.capitalize(), ())]
    return (
        any(has(start, rest) for start in starts)
        or name in tensor_names()
        or in_header(name.split("."))
        or (not starts and importable(name))
    )


def has(start: Any, path: list[str]) -> bool:
    """Whether attributes, submodules or annotated fields lead from ``start`` along ``path``."""
    for place, word in enumerate(path):
        if isinstance(start, ModuleType) and word in imported_names(start):
            return False
        if isinstance(start, ModuleType) and not hasattr(start, word):
            try:
                start = importlib.import_module(f"{start.__name__}.{word}")
            except ImportError:
                return False
        elif hasattr(start, word):
            start = getattr(start, word)
        else:  # a field without default, or an attribute that __init__ sets
            source = f"self.{word}" in source_of(start) if isinstance(start, type) else False
            return place == len(path) - 1 and (source or word in getattr(start, "__annotations__", {}))
    return True


@cache
def imported_names(module: ModuleType) -> frozenset[str]:
    """The names that a module of inrfit only imports; a package may offer what its modules define."""
    if not module.__name__.startswith("inrfit.") or hasattr(module, "__path__"):
        return frozenset()
    imports = (node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom))
    return frozenset(alias.asname or alias.name for node in imports for alias in node.names)


def source_of(kind: type[Any]) -> str:
    """The source of a class."""
    return inspect.getsource(kind)


def importable(name: str) -> bool:
    """Whether ``name`` leads somewhere in another installed package or the standard library."""
    first, *rest = name.split(".")
    try:
        start, *parts = ALIASES.get(first, first).split(".")
        return has(importlib.import_module(start), [*parts, *rest])
    except ImportError:
        return False


@cache
def modules() -> dict[str, list[ModuleType]]:
    """The package's modules by each part of their path: `fit`, `loop`, `samplers` ..."""
    found: dict[str, list[ModuleType]] = {"inrfit": [inrfit]}
    for info in pkgutil.walk_packages(inrfit.__path__, "inrfit."):
        if not info.name.endswith("__main__"):
            module = importlib.import_module(info.name)
            found.setdefault(info.name.rsplit(".", 1)[1], []).append(module)
    return found


@cache
def classes() -> dict[str, list[type[Any]]]:
    """The package's classes by name."""
    found: dict[str, list[type[Any]]] = {}
    for module in (module for same in modules().values() for module in same):
        for name, value in vars(module).items():
            if isinstance(value, type) and value.__module__.startswith("inrfit"):
                found.setdefault(name, []).append(value)
    return found


@cache
def file_names() -> frozenset[str]:
    """The names of the repository's files."""
    folders = ("inrfit", "tests", "docs")
    files = (path for folder in folders for path in (ROOT / folder).rglob("*.*"))
    return frozenset(path.name for path in (*files, *ROOT.glob("*.*")))


@cache
def tensor_names() -> frozenset[str]:
    """The names of the weight tensors of all architectures."""
    from inrfit.fields import FIELDS, FieldSpec

    plain = [FieldSpec(name, 2, 3, 16, 2, {}) for name, kind in FIELDS.items() if not kind.TRAITS.raster_only]
    specs = [spec.formula.sized(spec, (24, 24), None) for spec in plain]
    raster = {"grid": "16x16", "factors": "2x2,2x2,4x4"}
    specs += [FieldSpec("asmr", 2, 3, 16, 2, raster | {"modulation": kind}) for kind in ("linear", "nonlinear")]
    return frozenset(tensor for spec in specs for tensor in spec.shapes)


def in_header(path: list[str]) -> bool:
    """Whether ``path`` leads to a key of an artifact's header, or of a part of it."""
    header = example_header()
    return any(leads(part, path) for part in (header, *(v for v in header.values() if isinstance(v, dict))))


def leads(values: Any, path: list[str]) -> bool:
    """Whether the keys ``path`` lead through nested mappings."""
    for word in path:
        if not isinstance(values, dict) or word not in values:
            return False
        values = values[word]
    return True


@cache
def example_header() -> dict[str, Any]:
    """The header of a small field."""

    import numpy as np

    pixels = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    header = inrfit.encode(pixels, width=16, depth=1, budget="100it").header()
    return {"header": header, **header}

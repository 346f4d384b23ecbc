"""Several sizes of each architecture in one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..config.settings import Settings, parsed_count
from ..errors import UsageError
from ..io import options
from .spec import SIZE_OPTIONS, Method


def several_sizes(given: Any) -> tuple[Any, tuple[Any, ...]]:
    """``given`` and () if it is one size in bytes, or None; None and the sizes if it is a text with commas, or a
    sequence."""
    if isinstance(given, str) and "," in given:
        return None, tuple(size.strip() for size in given.split(","))
    return (None, tuple(given)) if isinstance(given, list | tuple) else (given, ())


def with_sizes(methods: Sequence[Method], sizes: Sequence[str | int]) -> tuple[Method, ...]:
    """Each of ``methods`` whose size is not given, with each of ``sizes`` in bytes, from the smallest. Raises
    ``UsageError`` for a size that is invalid or repeated."""
    parsed = [parsed_count("bytes", options.check_option(Settings, "bytes", size)) for size in sizes]
    if len(set(parsed)) < len(parsed):
        raise UsageError(f"--bytes {','.join(map(str, sizes))}: contains the same size twice", "option")
    ordered = [size for _, size in sorted(zip(parsed, sizes, strict=True))]
    found = []
    for method in methods:
        own = {key for key, _ in method.architecture_options}
        chosen = [()] if own & set(SIZE_OPTIONS) - {"depth"} else [(("bytes", size),) for size in ordered]
        found += [replace(method, architecture_options=(*method.architecture_options, *size)) for size in chosen]
    return tuple(found)

"""Budgets and targets, and how they are written: ``60s``, ``5m``, ``1h30m``, ``2000it``; ``35dB``, ``0.98``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

from ..errors import UsageError
from ..io.arguments import checked
from ..io.options import check_option, setting

DEFAULT_SECONDS = 60.0
DEFAULT_SECONDS_TO_TARGET = 600.0

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?")


@checked()
@dataclass(frozen=True)
class Budget:
    """The limits of a fit; the first one reached ends it. ``target`` is a quality in the unit of the modality (dB or
    IoU). Raises ``UsageError``."""

    seconds: float | None = setting(None, "time in seconds", 0, 1e10)
    steps: int | None = setting(None, "number of optimiser steps", 0, 1 << 62)
    target: float | None = setting(None, "quality in the unit of the modality", -1e6, 1e6)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = check_option(Budget, field.name, getattr(self, field.name), "--budget: {}={}")
            object.__setattr__(self, field.name, value)  # the dataclass is frozen

    def __str__(self) -> str:
        parts = []
        if self.seconds is not None:
            parts.append(f"{self.seconds:g} s")
        if self.steps is not None:
            parts.append(f"{self.steps} steps")
        if self.target is not None:
            parts.append(f"target {self.target:g}")
        return ", ".join(parts)


def parse(texts: Iterable[str], target: float | None = None) -> Budget:
    """A budget from text such as ``60s,2000it``. Without text it is 60 s, or 10 min if there is a target. Raises
    ``UsageError``."""
    seconds: float | None = None
    steps: int | None = None
    for text in (part for line in texts for part in line.replace(",", " ").split()):
        if re.fullmatch(r"\d+it", text):
            steps = int(text[:-2]) if steps is None else min(int(text[:-2]), steps)
        else:
            seconds = parse_seconds(text) if seconds is None else min(parse_seconds(text), seconds)
    if steps == 0 or seconds == 0:
        raise UsageError("--budget must be more than 0", "budget")
    if seconds is None and steps is None:
        seconds = DEFAULT_SECONDS if target is None else DEFAULT_SECONDS_TO_TARGET
    return Budget(seconds, steps, target)


def parse_seconds(text: str, option: str = "--budget") -> float:
    """Seconds from text: ``1h30m`` -> 5400.0. Raises ``UsageError`` with the name of the ``option``."""
    match = _DURATION.fullmatch(text)
    if not match or not text:
        accepted = "a time with its unit, such as 60s, 5m or 1h30m"
        if option == "--budget":
            accepted = "a time or a number of steps with its unit, such as 60s, 5m, 1h30m or 2000it"
        raise UsageError(f"{option} {text}: must be {accepted}", "budget")
    return sum(float(match[unit] or 0) * size for unit, size in _UNITS.items())


def parse_target(target: str | float, unit: str) -> float:
    """A target from text: ``35dB`` -> 35.0 if ``unit`` is "dB"; ``0.98`` -> 0.98 if it is "" (IoU). A number above 1
    without a unit is in dB. Raises ``UsageError`` for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(dB)?\s*", str(target), re.IGNORECASE)
    value = float(match[1]) if match else math.nan
    decibels = match is not None and (match[2] is not None or value > 1)
    if not match or decibels != (unit == "dB"):
        example = "35dB" if unit == "dB" else "0.98"
        raise UsageError(f"--target {target}: must be a quality, such as {example} for this kind of file", "target")
    return value

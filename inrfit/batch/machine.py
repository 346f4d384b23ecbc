"""What the weights of a field depend on besides its plan: versions, the kernel, instruction sets, device, threads.

Each part has it in its header, without names of hosts and times, so that equal fits give equal parts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from .. import __version__
from ..artifact.provenance import device_name
from ..config.settings import Settings
from ..errors import OutputExists, UnreadableFile, UsageError, printable
from ..io import files, strict_json
from ..io.limits import Limits

Machine = Mapping[str, str | int]
"""Values by the names in NAMES."""

NAMES = {
    "inrfit": "inrfit",
    "torch": "torch",
    "device": "the device",
    "torch_cpu": "the instructions of torch",
    "kernel": "the kernel",
    "instructions": "the instructions of the kernel",
    "threads": "threads",
}
"""The keys of a ``Machine``, and what they are called."""

PINNED = "machine.json"
"""The file in the folder of a data set that says on which machines ``--require-same`` admits."""


def describe(settings: Settings) -> Machine:
    """The machine that this process is on, for fits with ``settings``."""
    import torch

    from ..fit.engine.step import choose_device
    from ..kernel import library

    return {
        "inrfit": __version__,
        "torch": torch.__version__,
        "device": device_name(choose_device(settings.device)),
        "torch_cpu": torch.backends.cpu.get_cpu_capability(),
        "kernel": (library.digest() or "none")[:16],
        "instructions": " ".join(library.usable()) or "none",
        "threads": settings.threads or torch.get_num_threads(),
    }


def differences(machines: Iterable[tuple[str, Machine]]) -> list[str]:
    """In words, what differs between machines, each with its place: ``torch 2.6.0 (a, b) and 2.7.0 (c)``."""
    found = list(machines)
    described = []
    for key, name in NAMES.items():
        places: dict[str, list[str]] = {}
        for place, machine in found:
            places.setdefault(str(machine.get(key, "unknown")), []).append(place)
        if len(places) > 1:
            described.append(f"{name} {' and '.join(f'{value} ({_some(at)})' for value, at in places.items())}")
    return described


def _some(places: list[str]) -> str:
    """Up to three places, and how many more there are."""
    shown = ", ".join(dict.fromkeys(places[:3]))
    return shown if len(places) <= 3 else f"{shown} and {len(places) - 3:,} more"


def refuse_unlike(folder: str, made: Iterable[Machine]) -> None:
    """Raises ``UsageError`` unless the parts that are there, made by the machines ``made``, come from one machine, or
    from several alike, that ``require`` admits."""
    found = [("parts that are there", machine) for machine in made]
    if (pinned := _pinned(folder)) is not None:
        found.append((PINNED, pinned))
    _refuse(folder, found)
    if found and pinned is None:
        _pin(folder, found[0][1])


def require(folder: str, machine: Machine) -> None:
    """Raises ``UsageError`` unless this ``machine`` is like that of the first call for the data set in ``folder``,
    whichever process made it."""
    pinned = _pinned(folder)
    if pinned is None:
        pinned = _pin(folder, machine)
    _refuse(folder, [("the first one", pinned), ("this one", machine)])


def _refuse(folder: str, found: list[tuple[str, Machine]]) -> None:
    if unlike := differences(found):
        raise UsageError(
            f"{printable(folder)}: --require-same, but the machines differ in {'; '.join(unlike)}. Use machines of one "
            "kind, or leave the option out",
            "machines",
        )


def _pinned(folder: str) -> Machine | None:
    """The content of PINNED; None if it is not there."""
    try:
        content = strict_json.loads(files.read(os.path.join(folder, PINNED), Limits()), PINNED)
    except UnreadableFile as error:
        if error.reason == "missing":
            return None
        raise
    return content if isinstance(content, dict) else {}


def _pin(folder: str, machine: Machine) -> Machine:
    """Writes PINNED, unless another process was first. Returns what it says."""
    try:
        files.write(os.path.join(folder, PINNED), strict_json.dumps(dict(machine)).encode() + b"\n", force=False)
    except OutputExists:
        return _pinned(folder) or {}
    return machine

"""The provenance of an artifact: the part of its header that decoding does not need."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..io.json_schema import (
    either,
    integer,
    items,
    mapping,
    matching,
    number,
    one_of,
    optional,
    scalar,
    text,
    with_keys,
)

if TYPE_CHECKING:
    import torch

COUNT = integer(0, 2**63 - 1)
"""Schema of a count."""

PROVENANCE: Mapping[str, Any] = {
    "inrfit": text(100),
    "torch": text(100),
    "numpy": text(100),
    "python": text(100),
    "platform": text(100),
    "device": text(200),
    "threads": integer(0, 65_535),
    "created": matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\+00:00)", "a time in UTC, as in 2030-01-31T12:00:00+00:00"),
    "source": {
        "name": text(1000),
        "bytes": COUNT,
        "sha256": matching("[0-9a-f]{64}", "64 hexadecimal digits"),
    },
    "samples": integer(1, 2**63 - 1),
    "sampler": {"name": text(100), "options": mapping(scalar)},
    "settings": mapping(scalar),
    "budget": {
        "seconds": optional(number(0)),
        "steps": optional(COUNT),
        "target": optional(number()),
    },
    # Keys are open: engines add counts and times, and decoding needs none of them.
    "spent": with_keys(
        {"fit_seconds": number(0), "steps": COUNT, "points": COUNT, "origin": mapping(COUNT)},
        mapping(either(mapping(COUNT), number(0))),
    ),
    "ended": one_of("budget", "target", "steps", "perfect", "closed-form", "interrupted"),
    "target_reached": optional(one_of(True, False)),
    "notes": items(text(), 0, 100),
}
"""Schema of what ``describe`` returns. A new key here requires a new ``artifact.VERSION``."""


KEPT = ("full", "short", "none")
"""How much of the provenance a file keeps."""

SHORT = ("inrfit", "created", "source", "samples", "ended", "target_reached", "notes")
"""The keys of a short provenance."""


def kept(provenance: Mapping[str, Any], how_much: str) -> dict[str, Any]:
    """The part of ``provenance`` that a file keeps: KEPT."""
    if how_much == "full":
        return dict(provenance)
    return {} if how_much == "none" else {key: provenance[key] for key in SHORT if key in provenance}


def describe(
    device: torch.device,
    *,
    source: Mapping[str, Any],
    samples: int,
    sampler: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    budget: Mapping[str, Any],
    spent: Mapping[str, Any],
    ended: str,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The provenance of a fit, as JSON values with the schema PROVENANCE: the arguments, versions, machine and time.

    ``target_reached`` is None; it is set once the stored weights are measured."""
    return {
        "inrfit": __version__,
        **machine(device),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": {**source, "name": source["name"][:1000]},
        "samples": samples,
        **({} if sampler is None else {"sampler": dict(sampler)}),
        "settings": dict(settings),
        "budget": dict(budget),
        "spent": {key: rounded(value) for key, value in spent.items()},
        "ended": ended,
        "target_reached": None,
        "notes": list(notes),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Versions, platform, device and CPU threads: what the speed of a fit depends on."""
    import numpy
    import torch

    return {
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """Model name of the CPU, from /proc/cpuinfo or else from ``platform``."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(models)) or platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """``cpu``, or ``cuda`` with the name of the GPU."""
    import torch

    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def rounded(value: Any) -> Any:
    """``value`` rounded to three decimals (milliseconds) if it is a float, otherwise unchanged."""
    if isinstance(value, Mapping):
        return dict(value)
    return round(value, 3) if isinstance(value, float) else value

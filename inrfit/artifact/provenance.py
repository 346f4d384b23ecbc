"""Where an artifact comes from: the part of the header that decoding does not need."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__

if TYPE_CHECKING:
    import torch

    from ..config.plan import Plan
    from ..fit.loop import Fit
    from ..fit.recipe import Recipe


def describe(planned: Plan, result: Fit, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """Settings, seed, versions, device, source and time spent, as JSON."""
    settings = planned.settings
    return {
        "inrfit": __version__,
        **machine(device),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": {"name": planned.name[:1000], "bytes": planned.bytes, "sha256": planned.sha256},
        "samples": result.signal.n,
        "sampler": {"name": planned.strategy, "options": asdict(planned.sampler)},  # type: ignore[call-overload]
        "settings": recipe.config.json() | result.used | {"seed": settings.seed},
        "budget": asdict(planned.budget),
        "spent": {k: rounded(v) for k, v in result.spent.items()},
        "ended": result.outcome.word,
        "target_reached": None,
        "notes": [*planned.signal.notes, *result.notes],
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Versions, platform, device and CPU threads: what the seconds of a fit depend on."""
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
    """The CPU's model, as Linux or else Python names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(models)) or platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """``cpu`` or the CUDA device's own name."""
    import torch

    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def rounded(value: Any) -> Any:
    """Seconds to the millisecond; everything else as it is."""
    if isinstance(value, Mapping):
        return dict(value)
    return round(value, 3) if isinstance(value, float) else value

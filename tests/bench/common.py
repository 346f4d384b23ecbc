"""What the benchmarks share: where real files are, what the machine is, tables."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
"""Real files beside the checkout; a benchmark that needs them says so and ends when they are not there."""


def data(*names: str) -> list[Path]:
    """The named files under SHARED/data, or a visible end."""
    found = [SHARED / "data" / name for name in names]
    missing = [str(path) for path in found if not path.exists()]
    if missing:
        print("skipped: no", ", ".join(missing))
        sys.exit(0)
    return found


RUNNER = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
said = process.stdout.read()
_, status, usage = os.wait4(process.pid, 0)
peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([said, time.perf_counter() - begun, peak / 1e6, os.waitstatus_to_exitcode(status)]))
"""
"""A child's peak memory counts from its fork, when it is as large as its parent: hence a bare interpreter between."""


def child(*words: str) -> tuple[str, float, float]:
    """One inrfit command as a user runs it: its stdout, wall seconds, and peak memory in MB."""
    command = [sys.executable, "-m", "inrfit", *words]
    told = subprocess.run([sys.executable, "-ISc", RUNNER, *command], stdout=subprocess.PIPE, text=True, check=True)
    said, wall, peak, code = json.loads(told.stdout)
    if code:
        raise SystemExit(f"inrfit {' '.join(words)}: exit code {code}")
    return said, wall, peak


def machine() -> dict[str, Any]:
    """Processor, threads, versions, commit."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = {line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line}
        cpu = ", ".join(sorted(models)) or cpu
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "bf16": bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()),
        "amx": bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)()),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


def table(rows: list[dict[str, Any]]) -> None:
    """Rows as a Markdown table, then as one JSON line; what a row lacks stays empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    filled = [{column: row.get(column, "") for column in columns} for row in rows]
    print("|", " | ".join(columns), "|")
    print("|" + "---|" * len(columns))
    for row in filled:
        print(
            "|",
            " | ".join(f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in columns),
            "|",
        )
    print(json.dumps({"machine": machine(), "rows": rows}))

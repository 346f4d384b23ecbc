"""Everything about one CUDA device in one command: its tests, graph against autograd steps, seconds to 30, 35, 40 dB,
the share of its matrix rate, batch, Muon's rate, architectures, strategies, decoding, memory, going on from a saved
state. Progress on stderr, one table on stdout. Without a device it says which rows it leaves out.

Measurements run in a process of their own, group by group: one that fails, hangs or breaks the device costs its own
rows, and the rest goes on in a new process. Nothing starts that is past ``--minutes``.

Needs torch, numpy and jaxtyping; the tests need pytest and beartype, 01.png pillow, the command's exit code typer, rich
and safetensors: what is missing costs its rows. On a machine without a network bring the pure Python ones along:

pip install --target brought jaxtyping beartype pytest     (elsewhere; --no-deps where numpy is there)
PYTHONPATH=brought python tests/bench/gpu.py --all --picture 01.png --output cuda.md
python tests/bench/gpu.py --all --device cpu --quick       (the same code in seconds; the figures mean nothing)
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import ROOT, table

if TYPE_CHECKING:
    from gpu_rows import Place

HARD = ("torch", "numpy", "jaxtyping")
SOFT = ("pytest", "beartype", "PIL", "typer", "rich", "safetensors", "skimage", "soundfile", "trimesh", "igl")
LEAST = 10.0
"""Seconds that must be left for a group to begin."""

Message = dict[str, Any]


class Worker:
    """A process that measures the groups it is told of, and says row by row what it finds."""

    def __init__(self, words: list[str]) -> None:
        """``words``: where it measures, as on the command line."""
        command = [sys.executable, __file__, "--worker", *words]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # so that the processes it starts end with it
        )
        self.told: queue.Queue[Message | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.put(json.loads(line))
        self.told.put(None)

    def measure(self, name: str, seconds: float) -> Iterator[Message]:
        """What it says of the group ``name``, the last message being its end, or why there will be none."""
        until = time.monotonic() + seconds
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(name + "\n")
            self.process.stdin.flush()
        while True:
            try:
                message = self.told.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                self.end()
                yield {"end": f"stopped after {seconds:.0f} s"}
                return
            if message is None:
                self.end()
                yield {"end": f"its process ended with code {self.process.returncode}"}
                return
            yield message
            if "end" in message:
                return

    def end(self) -> None:
        """Ends the process and those it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    @property
    def alive(self) -> bool:
        """Whether it can be asked for more."""
        return self.process.poll() is None


def serve(place: Place) -> None:
    """The worker: names of groups on stdin, messages on stdout; whatever else is printed goes to stderr."""
    import torch
    from gpu_fits import freed
    from gpu_groups import GROUPS

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if place.cuda and place.device.index:
        torch.cuda.set_device(place.device)  # the first one is current without, and "start" times its first use
    if place.quick and not place.cuda:
        torch.set_num_threads(1)  # threads of tiny sizes only wait for each other

    def say(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    for line in sys.stdin:
        why = ""
        try:
            for row in GROUPS[line.strip()].run(place):
                say(row=asdict(row))
        except Exception as error:  # one group's failure is a line of the table
            why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:200]
            say(failed=why)
        freed(place)
        place.wait()  # a device that an error has broken ends the process here
        say(end=why)


def left_out(names: list[str], why: str) -> list[Message]:
    """Rows that say what was not measured."""
    from gpu_groups import GROUPS

    return [
        {"what": what, "asked": asked, "measured": f"not measured: {why}"}
        for name in names
        for what, asked in (GROUPS[name].promised or {name: ""}).items()
    ]


def measured(names: list[str], words: list[str], deadline: float) -> list[Message]:
    """The rows of all groups, also of those that could not be measured."""
    from gpu_groups import GROUPS

    rows: list[Message] = []
    worker: Worker | None = None
    try:
        for name in names:
            left = deadline - time.monotonic()
            if left < LEAST:
                rows += left_out([name], "no time was left")
                continue
            if worker is None or not worker.alive:
                worker = Worker(words)
            rows += rows_of(worker, name, min(GROUPS[name].seconds, left))
    finally:
        if worker is not None:
            worker.end()
    return rows


def rows_of(worker: Worker, name: str, seconds: float) -> list[Message]:
    """The rows of one group, and why those that are missing are."""
    from gpu_groups import GROUPS

    group, begun, why = GROUPS[name], time.monotonic(), ""
    rows: list[Message] = []
    print(f"{name}: {group.about}", file=sys.stderr, flush=True)
    for message in worker.measure(name, seconds):
        why = why or message.get("failed", "") or message.get("end", "")
        if "row" in message:
            row = message["row"]
            rows.append({**row, "asked": group.promised.get(row["what"], "")})
            print(f"  {row['what']}: {row['measured']} {row['unit']}", file=sys.stderr, flush=True)
    print(f"  {time.monotonic() - begun:.1f} s {why}", file=sys.stderr, flush=True)
    if why:
        rows.append({"what": name, "measured": f"not complete: {why}"})
    seen = {row["what"] for row in rows}
    return rows + [row for row in left_out([name], why or "not reached") if group.promised and row["what"] not in seen]


def head(place: Place, lacking: list[str]) -> list[str]:
    """What the figures are of."""
    import torch
    from gpu_rows import picture_name

    name = "cpu"
    if place.cuda:
        name = "a CUDA device that does not answer any more"
        with contextlib.suppress(RuntimeError):
            name = torch.cuda.get_device_name(place.device)
    lines = [f"Device: {name}; torch {torch.__version__}; picture: {picture_name(place)}."]
    if lacking:
        lines.append(f"Missing here, with the rows that need them: {', '.join(lacking)}.")
    if place.quick:
        lines.append("Tiny sizes (--quick): the figures mean nothing.")
    return lines


def written(lines: list[str], rows: list[Message], output: str | None) -> None:
    """The table on stdout, and in a file where one is asked for."""
    order = ("what", "asked", "measured", "unit")
    made = io.StringIO()
    with contextlib.redirect_stdout(made):
        print("\n".join(lines) + "\n")
        table([{column: row.get(column, "") for column in order} for row in rows])
    print(made.getvalue(), end="")
    if output is not None:
        Path(output).write_text(made.getvalue(), "utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every group, in the order of gpu_groups.py")
    parser.add_argument("--only", action="append", default=[], metavar="GROUP", help="only this group (repeatable)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--picture", metavar="FILE", help="what whole fits are of, for ../shared/data's 01.png")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which nothing goes on")
    parser.add_argument("--output", metavar="FILE", help="also write the table there")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    lacking = [name for name in (*HARD, *SOFT) if importlib.util.find_spec(name) is None]
    if hard := [name for name in HARD if name in lacking]:
        parser.exit(2, f"gpu.py: cannot do without {', '.join(hard)} (python tests/bench/gpu.py --help says how)\n")
    deadline = time.monotonic() + 60 * given.minutes
    sys.path.insert(0, str(ROOT))
    import torch
    from gpu_groups import GROUPS
    from gpu_rows import PICTURE, Place

    there = torch.cuda.is_available()
    device = ("cuda:0" if there else "cpu") if given.device in ("auto", "cuda") else given.device
    place = Place(torch.device(device), given.quick, Path(given.picture or PICTURE))
    if given.worker:
        return serve(place)
    names = given.only or (list(GROUPS) if given.all else [])
    if not names or not set(names) <= set(GROUPS):
        parser.error("--all or --only " + ", ".join(GROUPS))
    out = [name for name in names if GROUPS[name].device_only and not place.cuda and not place.quick]
    words = ["--device", device, "--picture", str(place.source), *["--quick"] * place.quick]
    rows = measured([name for name in names if name not in out], words, deadline)
    written(head(place, lacking), rows + left_out(out, "no CUDA device"), given.output)
    return None


if __name__ == "__main__":
    main()

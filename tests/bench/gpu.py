"""All tests and benchmarks of one CUDA device in one command.

It measures the CUDA tests, CUDA-graph steps against autograd steps, the time to 30, 35 and 40 dB, the share of the
matrix rate, batch sizes, Muon's rate, architectures, samplers, decoding, memory and resumed fits. Progress goes
to stderr, one table to stdout. Rows that cannot be measured are in the table with the reason.

Measurements run in a separate process, group by group. If a group fails, hangs or breaks the device, only its rows are
missing, and the next group runs in a new process. No group starts after ``--minutes``.

Required are torch, numpy and jaxtyping. The tests need pytest and beartype, the picture 01.png needs pillow, and the
exit code of the command needs typer, rich and safetensors; without these their rows are missing. For a machine without
a network the pure Python packages can be brought along:

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
"""Minimum remaining time in seconds for a group to start."""

Message = dict[str, Any]


class Worker:
    """A process that measures groups by name and reports their rows one by one."""

    def __init__(self, words: list[str]) -> None:
        """``words`` are the command-line options for device, picture and sizes."""
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
        self.messages: queue.Queue[Message | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.messages.put(json.loads(line))
        self.messages.put(None)

    def measure(self, name: str, seconds: float) -> Iterator[Message]:
        """The messages about the group ``name``. The last one says that the group has ended, or why it was stopped."""
        until = time.monotonic() + seconds
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(name + "\n")
            self.process.stdin.flush()
        while True:
            try:
                message = self.messages.get(timeout=max(0.0, until - time.monotonic()))
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
        """Ends the process and its child processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    @property
    def alive(self) -> bool:
        """Whether the process is still running."""
        return self.process.poll() is None


def serve(place: Place) -> None:
    """The worker process: reads names of groups from stdin and writes messages to stdout. All other output goes to
    stderr."""
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
    """Rows with the reason why they were not measured."""
    from gpu_groups import GROUPS

    return [
        {"what": what, "asked": asked, "measured": f"not measured: {why}"}
        for name in names
        for what, asked in (GROUPS[name].promised or {name: ""}).items()
    ]


def measured(names: list[str], words: list[str], deadline: float) -> list[Message]:
    """The rows of all groups, including those that could not be measured."""
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
    """The rows of one group, and the reasons for missing ones."""
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
    """Description of device, versions and picture."""
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
    """Writes the table to stdout, and to the file ``output`` if given."""
    order = ("what", "asked", "measured", "unit")
    buffer = io.StringIO()
    with contextlib.redirect_stdout(buffer):
        print("\n".join(lines) + "\n")
        table([{column: row.get(column, "") for column in order} for row in rows])
    print(buffer.getvalue(), end="")
    if output is not None:
        Path(output).write_text(buffer.getvalue(), "utf-8")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every group, in the order of gpu_groups.py")
    parser.add_argument("--only", action="append", default=[], metavar="GROUP", help="only this group (repeatable)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--picture", metavar="FILE", help="what whole fits are of, for ../shared/data's 01.png")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which nothing goes on")
    parser.add_argument("--output", metavar="FILE", help="also write the table there")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    lacking = [name for name in (*HARD, *SOFT) if importlib.util.find_spec(name) is None]
    if hard := [name for name in HARD if name in lacking]:
        parser.exit(2, f"gpu.py: cannot do without {', '.join(hard)} (python tests/bench/gpu.py --help says how)\n")
    deadline = time.monotonic() + 60 * options.minutes
    sys.path.insert(0, str(ROOT))
    import torch
    from gpu_groups import GROUPS
    from gpu_rows import PICTURE, Place

    there = torch.cuda.is_available()
    device = ("cuda:0" if there else "cpu") if options.device in ("auto", "cuda") else options.device
    place = Place(torch.device(device), options.quick, Path(options.picture or PICTURE))
    if options.worker:
        return serve(place)
    names = options.only or (list(GROUPS) if options.all else [])
    if not names or not set(names) <= set(GROUPS):
        parser.error("--all or --only " + ", ".join(GROUPS))
    out = [name for name in names if GROUPS[name].device_only and not place.cuda and not place.quick]
    words = ["--device", device, "--picture", str(place.source), *["--quick"] * place.quick]
    rows = measured([name for name in names if name not in out], words, deadline)
    written(head(place, lacking), rows + left_out(out, "no CUDA device"), options.output)
    return None


if __name__ == "__main__":
    main()

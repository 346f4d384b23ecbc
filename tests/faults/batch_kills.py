"""SIGKILL of batches: at every call of the system that touches the data set (between sync and rename, too), of a worker
process, and of the driver with its workers.

    python tests/faults/batch_kills.py --count 50 --seed 0

After each kill every part that is there is that of an undisturbed run. A worker that is killed costs nothing. The next
run gives all parts of an undisturbed one, byte for byte, and leaves no temporary file.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from made_batches import InThisProcess, hashes, pictures, planned
from scenarios import leftovers
from system_calls import Calls
from workbench import Report, Verdict, chance, command, forked, parser, warm_up

from inrfit.batch import plan
from inrfit.batch.run import run
from inrfit.io.temporary import host_id
from inrfit.runtime import python_command

WORKER, DRIVER = 6, 7
"""Cases in eight that kill a process of a real run."""

PARTS = 3


def driven(folder: Path, calls: Calls | None = None) -> int:
    """Runs a plan in this process, under ``calls``."""
    made = plan.read(str(folder))
    if calls is not None:
        calls.install()
    return run(made, InThisProcess()).failed


def count_calls(folder: Path) -> int:
    """The number of calls of a run."""
    readable, writable = os.pipe()

    def counted() -> int:
        calls = Calls(str(folder))
        code = driven(folder, calls)
        os.write(writable, str(calls.count).encode())
        return code

    assert forked(counted).code == 0
    return int(os.read(readable, 20))


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        return [int(word) for thread in threads for word in (thread / "children").read_text().split()]
    except OSError:
        return []


def real_run(folder: Path, kind: int, moment: random.Random) -> Verdict:
    """A run with two processes, of which one is killed, or the driver."""
    script = f"import sys; from inrfit.__main__ import main; sys.argv = ['inrfit', 'batch', 'run', {str(folder)!r}, "
    begun = time.monotonic()
    driver = subprocess.Popen(
        python_command(script + "'--workers', '2']; main()"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    claimed = moment.randint(1, PARTS)  # kills are wanted while parts are fitted, not while torch is imported
    while driver.poll() is None and sum(map(_claims, (folder / "journal").glob("*"))) < claimed:
        time.sleep(0.01)
    time.sleep(moment.uniform(0, 0.3))
    victims = children(driver.pid) if kind == WORKER else [driver.pid]
    if victims:
        os.kill(moment.choice(victims), signal.SIGKILL)
    out, err = driver.communicate(timeout=300)
    return Verdict(driver.returncode, time.monotonic() - begun, out, err)


def _claims(journal: Path) -> int:
    return journal.read_bytes().count(b'"claim"')


def problem_of(folder: Path, wanted: dict[int, str]) -> str | None:
    """What is wrong after a kill, and after the next run."""
    if torn := [number for number, digest in hashes(folder).items() if digest != wanted[number]]:
        return f"parts {torn} are not those of an undisturbed run"
    again = forked(lambda: driven(folder))
    if again.code:
        return f"the next run: {again.problem((0,))}"
    if hashes(folder) != wanted:
        return "the next run gives other parts than an undisturbed one"
    if left := leftovers(folder):
        return f"the next run leaves {left}"
    checked = forked(lambda: command(["batch", "check", folder, "-q"]))
    return checked.problem((0,))


def ended(folder: Path) -> None:
    """Waits until the orphans of a killed driver have ended: they may still write."""
    host = host_id()
    for journal in (folder / "journal").glob(f"{host}-*.jsonl"):
        process = Path(f"/proc/{journal.stem.rpartition('-')[2]}")
        until = time.monotonic() + 60
        while process.exists() and int(process.name) != os.getpid() and time.monotonic() < until:
            time.sleep(0.05)


def main() -> None:
    """The loop."""
    given = parser(__doc__, 50).parse_args()
    warm_up()
    report = Report("batch_kills", given.seed)
    with tempfile.TemporaryDirectory() as root:
        sources = pictures(Path(root) / "pics", 6)
        fresh, complete = Path(root) / "fresh", Path(root) / "complete"
        planned(fresh, [sources])
        shutil.copytree(fresh, complete)
        assert driven(complete) == 0  # here, so that forks need not import what it imports
        wanted = hashes(complete)
        folder = Path(root) / "ds"
        shutil.copytree(fresh, folder)
        calls = count_calls(folder)
        for number in range(given.count) if given.only is None else [given.only]:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(fresh, folder)
            moment = chance(given.seed, number)
            if number % 8 in (WORKER, DRIVER):
                where = "a worker" if number % 8 == WORKER else "the driver"
                verdict = real_run(folder, number % 8, moment)
                ended(folder)
                problem = verdict.problem((0,)) if number % 8 == WORKER else None
                if number % 8 == WORKER and problem is None and hashes(folder) != wanted:
                    problem = "a run that lost a worker gives other parts than an undisturbed one"
            else:
                at = moment.randint(1, calls)
                where, problem = f"call {at} of {calls}", None
                verdict = forked(lambda: driven(folder, Calls(str(folder), at)))  # noqa: B023 - called at once
            report.add(number, where, verdict, problem or problem_of(folder, wanted))
    report.end()


if __name__ == "__main__":
    main()

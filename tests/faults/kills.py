"""SIGKILL at every call of the system that touches an output, and at random moments, of encode, decode and compare.

    python tests/faults/kills.py --count 200 --seed 0

After each kill every output is the old or a complete new file, and the next run succeeds, leaves no temporary file and,
with a saved state, gives the weights of an undisturbed fit.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

from scenarios import SCENARIOS, Scenario, Stage, is_complete, leftovers, torn, watched
from system_calls import Calls
from workbench import Report, Verdict, chance, command, forked, parser, warm_up


def killed(scenario: Scenario, folder: Path, calls: int, moment: random.Random) -> tuple[str, Verdict]:
    """The command, killed at one of its calls or, in one of four cases, at a random moment."""
    if moment.random() < 0.25:
        delay = moment.uniform(0.001, 0.15)
        return f"after {delay:.3f} s", forked(lambda: command(scenario.command(folder)), delay)
    at = moment.randint(1, calls)
    return f"call {at} of {calls}", forked(lambda: watched(scenario.command(folder), Calls(str(folder), at)))


def after_fault(scenario: Scenario, stage: Stage, folder: Path) -> str | None:
    """What is wrong with the outputs after a kill or an error, and after the next run of the same command."""
    problem = torn(scenario, stage, folder)
    if problem is not None:
        return problem
    finished = all(
        (path := folder / name).exists() and is_complete(name, path.read_bytes(), stage.complete[scenario.name] / name)
        for name in scenario.outputs
    )
    again = forked(lambda: command(scenario.command(folder, *scenario.repeat)))
    exists = finished and again.code == 2 and "already exists" in again.err
    if again.code and not exists:
        return f"the next run: {again.problem((0,))}"
    for name in scenario.outputs:
        if not is_complete(name, (folder / name).read_bytes(), stage.complete[scenario.name] / name):
            return f"after the next run {name} is not that of an undisturbed one"
    if not exists and (left := leftovers(folder)):
        return f"the next run leaves {left}"
    return None


def main() -> None:
    """The loop."""
    given = parser(__doc__, 200).parse_args()
    warm_up()
    report = Report("kills", given.seed)
    with tempfile.TemporaryDirectory() as root:
        os.environ["XDG_STATE_HOME"] = root  # where fields are rescued
        stage = Stage(Path(root))
        calls = {scenario.name: stage.count(scenario) for scenario in SCENARIOS}
        for number in range(given.count) if given.only is None else [given.only]:
            scenario = SCENARIOS[number % len(SCENARIOS)]
            folder = stage.fresh(scenario)
            where, verdict = killed(scenario, folder, calls[scenario.name], chance(given.seed, number))
            problem = verdict.problem((0,)) if verdict.code != -9 else after_fault(scenario, stage, folder)
            report.add(number, f"{scenario.name}, {where}", verdict, problem)
    report.end()


if __name__ == "__main__":
    main()

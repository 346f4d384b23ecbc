"""Errors of the system (ENOSPC, EDQUOT, EIO, EMFILE, EACCES, EROFS) from each call that touches an output, once and
from then on, in encode, decode and compare.

    python tests/faults/errors.py --count 200 --seed 0

Every output is the old or a complete new file. A command that fails exits with 3 (of a source), 4 or 5 and one
line, and leaves no temporary file unless removing one can fail; the next run without errors succeeds.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from kills import after_fault
from scenarios import SCENARIOS, Scenario, Stage, leftovers, torn, watched
from system_calls import POSSIBLE, Calls
from workbench import Report, Verdict, chance, forked, parser, warm_up

CODES = (0, 3, 4, 5)


def problem_of(scenario: Scenario, stage: Stage, folder: Path, verdict: Verdict, removable: bool) -> str | None:
    """What is wrong after an error."""
    codes = (*CODES, 7) if scenario.name == "compare" else CODES
    problem = verdict.problem(codes) or torn(scenario, stage, folder)
    if problem is None and removable and (left := leftovers(folder)):
        problem = f"leaves {left}"
    if problem is None and verdict.code == 0 and not all((folder / name).exists() for name in scenario.outputs):
        problem = "exit code 0 without an output"
    return problem or after_fault(scenario, stage, folder)


def main() -> None:
    """The loop."""
    given = parser(__doc__, 200).parse_args()
    warm_up()
    report = Report("errors", given.seed)
    with tempfile.TemporaryDirectory() as root:
        os.environ["XDG_STATE_HOME"] = root  # where fields are rescued
        stage = Stage(Path(root))
        counts: dict[tuple[str, int], int] = {}
        for number in range(given.count) if given.only is None else [given.only]:
            scenario, random = SCENARIOS[number % len(SCENARIOS)], chance(given.seed, number)
            error, lasting = random.choice(list(POSSIBLE)), random.random() < 0.5
            key = scenario.name, error
            counts[key] = counts.get(key) or stage.count(scenario, error)
            calls = Calls("", random.randint(1, counts[key]), error, lasting)
            folder = stage.fresh(scenario)
            calls.folder = str(folder)
            verdict = forked(lambda: watched(scenario.command(folder, "-q"), calls))  # noqa: B023 - called in this iteration
            removable = "unlink" not in POSSIBLE[error]
            problem = problem_of(scenario, stage, folder, verdict, removable)
            how = f"{errno.errorcode[error]} {'from' if lasting else 'at'} call {calls.at} of {counts[key]}"
            report.add(number, f"{scenario.name}, {how}", verdict, problem)
            report.figures[errno.errorcode[error]] += 1
    report.end()


if __name__ == "__main__":
    main()

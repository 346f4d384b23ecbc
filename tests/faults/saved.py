"""Damaged files that inrfit itself has saved: the state of a fit through ``encode --resume``, and comparison.json
through ``compare -o``.

    python tests/faults/saved.py --count 1000 --seed 0

Every command ends with 0, 2, 3, 4, 5, 6 or 7 and one line for an error, and the damaged file is never replaced unless
the command succeeds.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mutations import bytes_mutated, json_mutated
from scenarios import SCENARIOS, STATE, Scenario, Stage
from workbench import EXIT_CODES, Report, Verdict, chance, in_process, in_turn, parser, warm_up

RECORD = "comparison/comparison.json"
NUMBERS = (0, 1, -1, 2**31, -(2**63), 2**63 - 1)


def state_changed(data: bytes, chance: random.Random) -> bytes:
    """A state with one value or tensor changed and the checksum made right, or with other bytes."""
    from inrfit.io import tensors

    arrays, values = tensors.loads(data, tensors.STATE_KEY)
    change = chance.random()
    if change < 0.1:
        return bytes_mutated(data, chance)
    if change < 0.6:
        part = chance.choice([key for key in values if values[key] and isinstance(values[key], dict)])
        values = values | {part: json_mutated(values[part], chance)}
    else:
        name = chance.choice(list(arrays))
        arrays = dict(arrays) | {name: _array_changed(arrays[name], chance)}
        if change > 0.95:
            del arrays[name]
    return tensors.dumps(arrays, tensors.STATE_KEY, values)


def _array_changed(array: Any, chance: random.Random) -> Any:
    """Another shape or type, or other numbers."""
    change, made = chance.randrange(5), array.copy()
    if change == 0:
        return made.reshape(-1)[: made.size // 2]
    if change == 1:
        return made[None]
    if change == 2:
        return made.astype(chance.choice((np.float32, np.int64, np.uint8)))
    if made.size:
        at = chance.randrange(made.size)
        number = chance.choice((*NUMBERS, np.nan, np.inf, 3e38) if made.dtype.kind == "f" else NUMBERS)
        with np.errstate(all="ignore"):
            made.reshape(-1)[at] = np.array(number).astype(made.dtype)
    return made


def record_changed(data: bytes, chance: random.Random) -> bytes:
    """A comparison with one value changed, or with other bytes."""
    if chance.random() < 0.1:
        return bytes_mutated(data, chance)
    return json.dumps(json_mutated(json.loads(data), chance)).encode()


def scenario_of(number: int) -> tuple[Scenario, str]:
    """The command line, and the file that is damaged before it."""
    name, damaged = (("encode --resume", STATE), ("encode --resume", STATE), ("compare", RECORD))[number % 3]
    return next(scenario for scenario in SCENARIOS if scenario.name == name), damaged


def main() -> None:
    """The loop."""
    options = parser(__doc__, 1000)
    options.add_argument("--keep", metavar="FOLDER", help="Write the files of finds there.")
    given = options.parse_args()
    warm_up()
    report = Report("saved", given.seed)
    with tempfile.TemporaryDirectory() as root:
        stage = Stage(Path(root))
        record = (stage.complete["compare"] / RECORD).read_bytes()
        # In the folder in which the record was made, so that it is that of the same comparison.

        def damaged(number: int) -> bytes:
            if scenario_of(number)[1] == STATE:
                return state_changed(stage.state, chance(given.seed, number))
            return record_changed(record, chance(given.seed, number))

        def work(number: int) -> Verdict:
            scenario, name = scenario_of(number)
            folder = stage.fresh(scenario)
            (folder / name).parent.mkdir(exist_ok=True)
            data = damaged(number)
            (folder / name).write_bytes(data)
            verdict = in_process(scenario.command(folder))
            if verdict.code not in (0, 7) and (folder / name).read_bytes() != data:
                return Verdict(1, verdict.seconds, err=f"{name} was replaced: {verdict.err}")
            return verdict

        for number, verdict in in_turn(range(given.count) if given.only is None else [given.only], work):
            name = scenario_of(number)[1]
            codes = EXIT_CODES | ({7} if name == RECORD else set())
            problem = None if verdict.code == 7 and name == RECORD else verdict.problem(codes)
            report.add(number, name, verdict, problem)
            if problem is not None and given.keep is not None:
                (Path(given.keep) / f"{given.seed}-{number}-{Path(name).name}").write_bytes(damaged(number))
    report.end()


if __name__ == "__main__":
    main()

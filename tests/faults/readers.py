"""Damaged sources through every reader: ``encode --dry-run``, and for a share of those that are accepted a fit of a few
steps and its decoding.

    python tests/faults/readers.py --count 10000 --seed 0

Every command ends with 0, 2, 3, 4, 5 or 6, one line for an error, at most 512 MiB above the idle process, and no five
seconds without a line.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import made_files
from mutations import bytes_mutated, structure_mutated
from workbench import Report, Verdict, chance, in_process, in_turn, parser, warm_up

WHOLE_SHARE, WHOLE_SHARE_OF_SHAPES = 0.06, 0.01
"""Shares of the accepted sources that are fitted and decoded. Those of shapes take twenty times as long."""

FIT = ["--width", "16", "--depth", "2", "--budget", "60it", "--batch", "256", "--device", "cpu", "--engine", "analytic"]
FIT += ["--threads", "1", "--verify", "sample", "--force"]


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """The name and the bytes of a damaged source. All formats take turns."""
    random, seeds = chance(seed, number), made_files.distinct_sources()
    name = list(seeds)[number % len(seeds)]
    change = structure_mutated if random.random() < 0.6 else bytes_mutated
    data = change(seeds[name], random, random.choice(list(seeds.values())))
    return (name if random.random() < 0.95 else f"x{Path(random.choice(list(seeds))).suffix}"), data


def judge(folder: Path, name: str, data: bytes, whole: bool) -> Verdict:
    """The verdict on one source: that of its dry run, or of the first command that ends badly."""
    source, field, decoded = folder / name, folder / "field.safetensors", folder / "decoded"
    source.write_bytes(data)
    try:
        verdict = in_process(["encode", source, "-o", field, "--force", "--dry-run", "--json"])
        if whole and verdict.code == 0:
            fitted = in_process(["encode", source, "-o", field, "--json", *FIT])
            if fitted.problem() or fitted.code:
                return fitted
            verdict = in_process(
                ["decode", field, "-o", str(decoded) + _suffix(field), "--force", "--threads", "1", "--json"]
            )
        return verdict
    finally:
        source.unlink()


def stray_output(out: str) -> str | None:
    """What stands on stdout besides JSON objects."""
    stray = [line for line in out.splitlines() if not line.startswith('{"schema": 1')]
    return f"on stdout: {stray[0][:200]!r}" if stray else None


def _suffix(field: Path) -> str:
    """The suffix of the decoded file."""
    import inrfit
    from inrfit.modalities import MODALITIES

    artifact = inrfit.load(field)
    return MODALITIES[artifact.modality].suffix(artifact.meta)[0]


def main() -> None:
    """The loop."""
    options = parser(__doc__, 10_000)
    options.add_argument("--keep", metavar="FOLDER", help="Write the files of finds there.")
    given = options.parse_args()
    warm_up()
    from inrfit.modalities import MODALITIES

    report = Report("readers", given.seed)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        for name, data in made_files.distinct_sources().items():  # imports what the readers import
            verdict = judge(folder, name, data, whole=name in ("own.png", "own.wav", "own.obj"))
            if verdict.code not in (0, 6) or verdict.problem():
                sys.exit(f"{name}: {verdict}")

        def work(number: int) -> Verdict:
            name, data = mutant(given.seed, number)
            share = WHOLE_SHARE_OF_SHAPES if Path(name).suffix in MODALITIES["shape"].input_suffixes else WHOLE_SHARE
            return judge(folder, name, data, chance(given.seed, -1 - number).random() < share)

        for number, verdict in in_turn(range(given.count) if given.only is None else [given.only], work):
            name, data = mutant(given.seed, number)
            problem = verdict.problem(silent=True) or stray_output(verdict.out)
            report.add(number, f"{name}, {len(data)} bytes", verdict, problem)
            if problem is not None and given.keep is not None:
                (Path(given.keep) / f"{given.seed}-{number}-{name}").write_bytes(data)
    report.end()


if __name__ == "__main__":
    main()

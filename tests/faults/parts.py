"""Damaged parts of data sets: one value of their header, summary or table of tensors, their weights or bytes, through
``batch check``, ``status`` and ``export``, ``info``, ``open_dataset`` and the index.

    python tests/faults/parts.py --count 500 --seed 0

Every command ends with 0, 2, 3, 4, 5, 6 or 7 and one line for an error, and takes at most 512 MiB above the idle
process. Of a part that ``check`` accepts, all fields are read.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from made_batches import InThisProcess, planned
from made_files import picture, sound
from models import weight_changed
from mutations import bytes_mutated, json_mutated
from workbench import Report, Verdict, chance, in_process, in_turn, measured, parser, warm_up

if TYPE_CHECKING:
    from inrfit.batch.plan import BatchPlan

STORES = ("fp32", "fp16", "int8")
PLACES = ("header", "table", "header", "bytes", "header", "summary", "header", "large", "header", "bytes")
PLACES += ("header", "table", "weight")
"""What is changed, in turn."""

FILLERS = (b"[]", b"{}", b'"ab"', b"1e5", b"0", b'{"a":0}', b"[" * 10**6, b"9" * 10**6, b'"\\ud800"')
"""What an inflated header is filled with."""


@dataclass(frozen=True)
class Seed:
    """A data set of one part that is as it should be: pictures of which one has an attachment, one a field below the
    floor, and one cannot be read; with sounds there are two stacks."""

    plan: BatchPlan
    path: Path
    data: bytes

    @property
    def ids(self) -> list[str]:
        """The ids of its fields."""
        from inrfit.artifact.part_reading import Part

        return list(Part.from_bytes(self.data).places)


def made(folder: Path, store: str, sounds: bool) -> Seed:
    """A seed in ``folder``."""
    from inrfit.artifact.data_set import part_path
    from inrfit.batch.rules import AskedRules
    from inrfit.batch.run import run

    folder.mkdir()
    sources = {"a.png": picture(".png"), "b.jpg": picture(".jpg"), "bad.png": b"x", "c.flac": sound(".flac")}
    manifest = folder / "rows.jsonl"
    rows = []
    for name, data in sources.items():
        (folder / name).write_bytes(data)
        row = {"source": name, "label": name, "split": "train", "own": 1.5}
        rows += [row] if sounds or name != "c.flac" else []
    manifest.write_text("\n".join(map(json.dumps, rows)))
    plan = planned(folder / "ds", [manifest], part_size=8, asked=AskedRules(floor="60dB", cap="20it"), store=store)
    run(plan, InThisProcess())
    path = Path(part_path(plan.folder, 0))
    return Seed(plan, path, path.read_bytes())


def changed(data: bytes, place: str, other: bytes, chance: random.Random) -> bytes:
    """A part with a change in a place of PLACES. ``other`` is another part."""
    (length,) = struct.unpack_from("<Q", data)
    table, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    if place == "bytes":
        return bytes_mutated(data, chance, other)
    if place == "weight":
        return weight_changed(data, table, 8 + length, chance)[2]
    if place in ("header", "large"):
        return _with_header(table, body, place == "large", chance)
    if place == "summary":
        summary = json_mutated(json.loads(table["__metadata__"]["inrfit.part"]), chance)
        table["__metadata__"]["inrfit.part"] = json.dumps(summary)
    else:
        table = json_mutated(table, chance)
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + body


def _with_header(table: dict[str, Any], body: bytes, large: bool, chance: random.Random) -> bytes:
    """A part with another header: one value of it is another one, or there are many more."""
    from inrfit.artifact import container, header_dictionary

    key = container.PART_KEY
    tensors = {
        name: container.Stored(entry["dtype"], tuple(entry["shape"]), body[slice(*entry["data_offsets"])])
        for name, entry in table.items()
        if name != "__metadata__"
    }
    inflate = zlib.decompressobj(-zlib.MAX_WBITS, zdict=header_dictionary.TEXT)
    header = json.loads(inflate.decompress(tensors[key].content))
    if not large:
        made = container.deflated(json_mutated(header, chance))
    else:
        filler = chance.choice(FILLERS)
        count = ((1 << chance.choice((16, 22, 26))) - 10**5) // (len(filler) + 1)
        filled = b'{"failures":[' + ((filler + b",") * count)[:-1] + b"]," + json.dumps(header).encode()[1:]
        deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=header_dictionary.TEXT)
        content = deflate.compress(filled) + deflate.flush()
        made = container.bytes_tensor(content + bytes(-len(content) % 8))
    return container.serialize_with(table["__metadata__"], {**tensors, key: made})


def judge(seed: Seed, data: bytes, chance: random.Random) -> Verdict:
    """The verdict on ``check``, and on two other readers of a part; that of the first which ends badly."""
    seed.path.write_bytes(data)
    folder, out = seed.plan.folder, Path(seed.plan.folder).parent / "out"
    Path(folder, "index.jsonl").unlink(missing_ok=True)
    id = chance.choice(seed.ids)
    others: list[Callable[[], Verdict]] = [
        lambda: in_process(["batch", "status", folder]),
        lambda: in_process(["info", f"{seed.path}#{id}"]),
        lambda: in_process(["batch", "export", folder, "--to", "files", "-o", out, "--force"]),
        lambda: in_process(["batch", "export", folder, "--to", "npz", "-o", f"{out}.npz", "--force"]),
        lambda: in_process(["batch", "run", folder, "--workers", "1", "--json"]),
    ]
    checked = in_process(["batch", "check", folder, *["--json"] * chance.randrange(2)])
    read = measured(lambda: read_through(folder))
    told = [checked, read, chance.choice(others)()]
    for verdict in told:
        if problem_of(verdict):
            return verdict
    if checked.code == 0 and read.code:
        return replace(read, code=1, err=f"check accepts it, open_dataset does not: {read.err}")
    return replace(checked, seconds=max(each.seconds for each in told), peak=max(each.peak for each in told))


def problem_of(verdict: Verdict) -> str | None:
    """What is wrong with a verdict. Code 7 says that rows have failed, or parts are damaged."""
    return None if verdict.code == 7 else verdict.problem(silent=True)


def read_through(folder: str) -> int:
    """Reads every field of a data set from Python. Returns the exit code."""
    import inrfit
    from inrfit.errors import InrfitError

    try:
        for flat in (False, True):
            fields = inrfit.open_dataset(folder, flat=flat)
            for number in range(len(fields)):
                fields[number]
                fields.artifact(number)
    except InrfitError as error:
        print(f"inrfit: error: {error!s:.300}".encode("ascii", "replace").decode(), file=sys.stderr)
        return error.exit_code
    return 0


def main() -> None:
    """The loop."""
    options = parser(__doc__, 500)
    options.add_argument("--keep", metavar="FOLDER", help="Write the files of finds there.")
    given = options.parse_args()
    warm_up()
    report = Report("parts", given.seed)
    with tempfile.TemporaryDirectory() as root:
        kinds = [(store, sounds) for store in STORES for sounds in (False, True)]
        seeds = [made(Path(root) / f"{store}{sounds:d}", store, sounds) for store, sounds in kinds]
        for seed in seeds:  # imports what the commands import
            verdict = judge(seed, seed.data, chance(given.seed, -1))
            if verdict.code != 0 or problem_of(verdict):
                sys.exit(f"{verdict}")

        def mutant(number: int) -> bytes:
            random, seed = chance(given.seed, number), seeds[number % len(seeds)]
            return changed(seed.data, PLACES[number % len(PLACES)], random.choice(seeds).data, random)

        def work(number: int) -> Verdict:
            return judge(seeds[number % len(seeds)], mutant(number), chance(given.seed, -2 - number))

        for number, verdict in in_turn(range(given.count) if given.only is None else [given.only], work):
            place, problem = PLACES[number % len(PLACES)], problem_of(verdict)
            report.add(number, place, verdict, problem)
            report.figures[f"{place} refused"] += verdict.code != 0
            if problem is not None and given.keep is not None:
                (Path(given.keep) / f"{given.seed}-{number}.safetensors").write_bytes(mutant(number))
    report.end()


if __name__ == "__main__":
    main()

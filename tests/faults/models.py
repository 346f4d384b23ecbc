"""Hostile models: a valid artifact of every architecture, store and modality with one field of it changed, through
``info`` and ``decode``.

    python tests/faults/models.py --count 500 --seed 0

Every command ends with 0, 2, 3, 4, 5 or 6 and with a line every five seconds; a refusal has the reason that belongs to
what was changed. Above the idle process, ``decode`` takes at most twice the memory of its estimate
(``artifact.decode_cost``), ``info`` and what is refused 512 MiB.
"""

from __future__ import annotations

import itertools
import json
import random
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from made_files import clip, mesh, picture, samples_at_points, sound, volume
from mutations import bytes_mutated, json_mutated, paths
from workbench import MEMORY_CAP, Report, Verdict, chance, in_process, in_turn, parser, warm_up

if TYPE_CHECKING:
    from inrfit.artifact.artifact import Artifact

STORES = ("fp32", "fp16", "bf16", "int")
SIZES: dict[str, Any] = {"budget": "60it", "batch": 256, "device": "cpu", "engine": "analytic", "verify": "sample"}
REQUESTS: dict[str, dict[str, Any]] = {
    "image": {"scale": 1.5}, "audio": {"rate": 9000}, "shape": {"resolution": 16}, "volume": {"scale": 1.5},
    "video": {"scale": 1.5}, "points": {"size": "12x9"},
}  # fmt: skip
SUFFIXES = {"image": ".png", "audio": ".wav", "shape": ".ply", "volume": ".npy", "video": ".y4m", "points": ".npy"}
DAMAGE = {"version", "shape", "tensors", "attachment", "offsets", "trailing", "truncated"}
REASONS: dict[str, set[str]] = {
    "header": DAMAGE | {"code", "schema", "field"},
    "table": DAMAGE | {"metadata", "header", "dtype"},
    "weight": {"nonfinite"},
    "code": {"code", "nonfinite"},
    "bytes": set(),
    "size": {"work", "limit.max_output"},
}
"""Reasons of a refusal by what was changed; an empty set admits all."""


@dataclass(frozen=True)
class Model:
    """A changed model: ``part`` is what was changed (a key of REASONS), ``what`` says how; ``request`` is what its
    decode is asked for."""

    name: str
    modality: str
    part: str
    what: str
    data: bytes
    request: dict[str, Any]


@cache
def fitted(architecture: str, modality: str) -> Any:
    """A small field of a made source."""
    import inrfit
    from inrfit.errors import Diverged
    from inrfit.fields import FIELDS

    engine = "auto" if FIELDS[architecture].TRAITS.closed_form else SIZES["engine"]
    name, data = {
        "image": ("p.png", picture(".png")), "audio": ("s.flac", sound(".flac")), "shape": ("b.ply", mesh(".ply")),
        "volume": ("v.nrrd", volume(".nrrd")), "video": ("c.y4m", clip(".y4m")),
        "points": ("s.npz", samples_at_points(".npz")),
    }[modality]  # fmt: skip
    options = {"points": "1000"} if modality == "shape" else {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / name
        source.write_bytes(data)
        for budget in ("60it", "400it"):
            try:
                chosen = SIZES | {"budget": budget, "engine": engine}
                return inrfit.encode(source, arch=architecture, options=options, store="fp32", **chosen)
            except Diverged:
                continue
    raise AssertionError(f"{architecture} learns nothing of {name}")


def stored(artifact: Any, store: str) -> Any:
    """The artifact in another store."""
    from inrfit.artifact.quantisation import storable

    steps = {}
    for name, sizes in artifact.spec.rounding_groups.items() if store == "int" else ():
        weights = np.split(np.abs(artifact.weights[name].reshape(-1)), np.cumsum(sizes)[:-1])
        peaks = np.array([group.max(initial=1e-6) for group in weights], np.float64)
        steps[name] = storable(peaks / 100, peaks)
    return replace(artifact, store=store, steps=steps, quality=dict(artifact.quality))


def kinds() -> Iterator[tuple[str, str, str]]:
    """Every architecture, store and modality that go together."""
    from inrfit.fields import FIELDS
    from inrfit.modalities import MODALITIES

    for store, modality, architecture in itertools.product(STORES, MODALITIES, FIELDS):
        traits = FIELDS[architecture].TRAITS
        of_other_axes = traits.grid_axes not in (None, {"image": 2, "audio": 1}.get(modality))
        of_other_axes |= traits.surfaces_only and modality != "shape"
        if not (of_other_axes or (modality in ("shape", "points") and traits.raster_only)):
            yield architecture, store, modality


def changed(artifact: Any, chance: random.Random) -> tuple[str, str, bytes]:
    """What was changed, how, and the bytes of the file."""
    part = chance.choice(("header", "header", "header", "table", "weight", "bytes", "size"))
    if part == "header":
        return part, *_header_changed(artifact, chance)
    if part == "size":
        return part, *_enlarged(artifact, chance)
    data = artifact.to_bytes()
    (length,) = struct.unpack_from("<Q", data)
    table, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    if part == "table":
        made = json_mutated(table, chance)
        text = json.dumps(made).encode()
        return part, _difference(table, made), struct.pack("<Q", len(text)) + text + body
    if part == "weight":
        return weight_changed(data, table, 8 + length, chance)
    return part, "bytes", bytes_mutated(data, chance)


def _header_changed(artifact: Any, chance: random.Random) -> tuple[str, bytes]:
    """One value of inrfit's own header."""
    from inrfit.artifact import container, contents

    header = artifact.header()
    parts = ["field", "signal", "provenance", "quality", None]
    part = chance.choice([name for name in parts if name is None or header[name]])
    made = json_mutated(header, chance) if part is None else header | {part: json_mutated(header[part], chance)}
    tensors = {**contents.tensors_of(artifact), container.KEY: container.deflated(made)}
    return _difference(header, made), container.serialize(container.VERSION, tensors)


def _enlarged(artifact: Any, chance: random.Random) -> tuple[str, bytes]:
    """More pixels or frames than the source has: enough for the memory to show, few enough for seconds. A field of one
    raster keeps it."""
    sizes: dict[str, int] = {} if artifact.spec.formula.raster() is not None else {
        "image": {"width": chance.randint(12, 500), "height": chance.randint(10, 500)},
        "audio": {"frames": chance.randint(400, 200_000)},
        "shape": {},
        "volume": {"shape": [chance.randint(5, 60) for _ in range(3)]},
        "video": {"shape": [chance.randint(5, 60) for _ in range(3)]},
        "points": {"samples": chance.randint(40, 1 << 40)},
    }[artifact.modality]  # fmt: skip
    return f"sizes: {sizes}", replace(artifact, meta={**artifact.meta, **sizes}).to_bytes()


def weight_changed(data: bytes, table: dict[str, Any], start: int, chance: random.Random) -> tuple[str, str, bytes]:
    """One weight or all of a tensor; or bytes of the coded weights, with the checksum made right."""
    names = [name for name in table if not name.startswith(("__", "inrfit", "attachment."))]
    name = chance.choice(names)
    begin, end = (start + offset for offset in table[name]["data_offsets"])
    if table[name]["dtype"] == "U8":
        code = bytes_mutated(data[begin + 4 : end], chance)[: end - begin - 4].ljust(end - begin - 4, b"\0")
        return "code", name, data[:begin] + zlib.crc32(code).to_bytes(4, "little") + code + data[end:]
    size = {"F32": 4, "F16": 2, "BF16": 2}[table[name]["dtype"]]
    pattern = chance.choice((b"\xff", b"\x7f", b"\x00\x7f", b"\x80\x7f", b"\x00\x7c"))
    value = (bytes(4) + pattern)[-size:]
    count = chance.choice((1, 1, (end - begin) // size))
    at = begin + size * chance.randrange((end - begin) // size - count + 1)
    return "weight", f"{name}: {count} times {value.hex()}", data[:at] + value * count + data[at + size * count :]


def _difference(before: Any, after: Any) -> str:
    """Where two JSON values differ."""
    for path in dict.fromkeys([*paths(before), *paths(after)]):
        if repr(old := _at(before, path)) != repr(new := _at(after, path)) and not isinstance(old, dict | list):
            return f"{'.'.join(map(str, path))}: {str(old)[:40]!r} becomes {str(new)[:40]!r}"
    return "nothing"


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    try:
        for key in path:
            tree = tree[key]
    except (KeyError, IndexError, TypeError):
        return "nothing"
    return tree


def model(seed: int, number: int) -> Model:
    """One hostile model. All kinds take turns."""
    random, every = chance(seed, number), list(kinds())
    chance(seed, -1).shuffle(every)
    architecture, store, modality = every[number % len(every)]
    part, what, data = changed(stored(fitted(architecture, modality), store), random)
    request = large_request(modality, random) if part == "size" else REQUESTS[modality]
    return Model(f"{architecture} {store} {modality}", modality, part, what, data, request)


def large_request(modality: str, chance: random.Random) -> dict[str, Any]:
    """A request for more samples than the field has."""
    return {
        "image": {"scale": chance.choice((1.0, 1.5))},
        "audio": {"rate": 9000},
        "shape": {"resolution": chance.randint(16, 80)},
        "volume": {"scale": chance.choice((1.0, 1.5))},
        "video": {"scale": chance.choice((1.0, 1.5))},
        "points": {"size": f"{chance.randint(5, 400)}x{chance.randint(5, 400)}"},
    }[modality]


def judge(folder: Path, hostile: Model) -> Verdict:
    """The verdict on ``info`` and on ``decode``; that of the first which ends badly."""
    path, decoded = folder / "model.safetensors", folder / "decoded"
    path.write_bytes(hostile.data)
    told = [in_process(["info", path, "--json"]), in_process(["info", path])]
    for request in (hostile.request, hostile.request if hostile.modality in ("shape", "points") else {}):
        target = f"{decoded}{SUFFIXES[hostile.modality]}"
        words = [word for key, value in request.items() for word in (f"--{key}", value)]
        verdict = in_process(["decode", path, "-o", target, *words, "--force", "--threads", "1", "--json"])
        told.append(replace(verdict, cap=memory_cap(hostile, request)))
    bad = [verdict for verdict in told if problem_of(hostile, verdict)]
    return (bad or [max(told, key=lambda verdict: (verdict.code, verdict.peak / verdict.cap))])[0]


def memory_cap(hostile: Model, request: dict[str, Any]) -> int:
    """Twice the estimate for a decode, in bytes; MEMORY_CAP for a file that is refused. The surface of a shape is
    judged again when its values are known."""
    from inrfit.artifact.artifact import Artifact
    from inrfit.artifact.decode_cost import FIXED_BYTES, decode_cost
    from inrfit.errors import InrfitError
    from inrfit.modalities import Request

    try:
        loaded = Artifact.from_bytes(hostile.data)
        asked = {**request, **({"size": tuple(map(int, size.split("x")))} if (size := request.get("size")) else {})}
        cost = decode_cost(loaded.spec, loaded.modality, loaded.meta, Request(**asked))
    except InrfitError:
        return MEMORY_CAP
    if cost is None:
        return MEMORY_CAP
    memory = cost.memory
    if hostile.modality == "shape":
        memory = max(memory, FIXED_BYTES + surface_memory(loaded, request))
    return 2 * memory


def surface_memory(loaded: Artifact, request: dict[str, Any]) -> int:
    """The second estimate for a shape: field values and surface."""
    from inrfit.errors import InrfitError
    from inrfit.modalities.shape import surface

    try:
        values = surface.grid_values(loaded.field(), request["resolution"], lambda fraction: None)
    except InrfitError:
        return 0
    return int(values.nbytes) + surface.surface_need(values, loaded.meta["level"])


def problem_of(hostile: Model, verdict: Verdict) -> str | None:
    """What is wrong with a verdict."""
    problem = verdict.problem(silent=True)
    if problem is None and verdict.code == 3 and REASONS[hostile.part] and verdict.out.startswith("{"):
        reason = json.loads(verdict.out)["error"]["reason"]
        if reason not in REASONS[hostile.part]:
            return f"refused for the reason {reason}: {verdict.err.strip()}"
    return problem


def main() -> None:
    """The loop."""
    options = parser(__doc__, 500)
    options.add_argument("--keep", metavar="FOLDER", help="Write the files of finds there.")
    given = options.parse_args()
    warm_up()
    report = Report("models", given.seed)
    numbers = range(given.count) if given.only is None else [given.only]
    made = {number: model(given.seed, number) for number in numbers}
    with tempfile.TemporaryDirectory() as root:
        for number, verdict in in_turn(numbers, lambda number: judge(Path(root), made[number])):
            hostile, problem = made[number], problem_of(made[number], verdict)
            report.add(number, f"{hostile.name}, {hostile.part} {hostile.what}", verdict, problem)
            report.figures[f"{hostile.part} refused"] += verdict.code == 3
            if problem is not None and given.keep is not None:
                (Path(given.keep) / f"{given.seed}-{number}.safetensors").write_bytes(hostile.data)
    report.figures["kinds"] = len({hostile.name for hostile in made.values()})
    report.end()


if __name__ == "__main__":
    main()

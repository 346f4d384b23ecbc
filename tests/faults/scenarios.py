"""Command lines that write, each with what its outputs may hold afterwards: for the loops of kills and of errors."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_files import clip, mesh, picture, sound
from system_calls import Calls
from workbench import command, forked, in_process

SMALL = ["--width", "16", "--depth", "2", "--threads", "1", "--device", "cpu", "--engine", "analytic", "--seed", "5"]
STEPS = ["--budget", "60it", "--batch", "256"]
SPARSE = ["-O", "points=1000"]
OLD = b"what was here before"
STATE = "photo.png.safetensors.state"


@dataclass(frozen=True)
class Scenario:
    """``words`` is the command line, with ``{}`` for the folder; ``outputs`` the files that it writes; ``old`` those
    that are there before; ``repeat`` the options with which the next run finishes what was cut off."""

    name: str
    words: tuple[str, ...]
    outputs: tuple[str, ...]
    old: tuple[str, ...] = ()
    repeat: tuple[str, ...] = ()

    def command(self, folder: Path, *more: str) -> list[str]:
        """The command line in ``folder``."""
        return [word.replace("{}", str(folder)) for word in (*self.words, *more)]


def _scenarios() -> Iterator[Scenario]:
    field = "{}/photo.png.safetensors"
    encode = ("encode", "{}/photo.png", *SMALL, *STEPS)
    yield Scenario("encode", encode, ("photo.png.safetensors",))
    yield Scenario("encode a sound", ("encode", "{}/tone.wav", *SMALL, *STEPS), ("tone.wav.safetensors",))
    yield Scenario(
        "encode a mesh",
        ("encode", "{}/ball.obj", *SMALL, *STEPS, *SPARSE, "--verify", "sample"),
        ("ball.obj.safetensors",),
    )
    maps = ("photo.png.safetensors", "map.png")
    words = (*encode, "--force", "--sampling-map", "{}/map.png")
    yield Scenario("encode --force", words, maps, maps, ("--force",))
    saved = (*encode, "--checkpoint", "0.0001s")
    yield Scenario("encode --checkpoint", saved, ("photo.png.safetensors",), (), ("--resume",))
    yield Scenario("encode --resume", (*saved, "--resume"), ("photo.png.safetensors",), (STATE,))
    decode = ("decode", field.replace("photo", "kept"), "-o", "{}/new.png", "--threads", "1")
    yield Scenario("decode", decode, ("new.png",))
    yield Scenario("decode --force", (*decode, "--force"), ("new.png",), ("new.png",))
    yield Scenario("decode a sound", ("decode", "{}/kept.wav.safetensors", "-o", "{}/new.flac"), ("new.flac",))
    shape = ("decode", "{}/kept.obj.safetensors", "-o", "{}/new.stl", "--resolution", "12", "--force")
    yield Scenario("decode a mesh", shape, ("new.stl",), ("new.stl",))
    frames = ("decode", "{}/kept.y4m.safetensors", "-o", "{}/new.zip", "--threads", "1", "--force")
    yield Scenario("decode a clip", frames, ("new.zip",), ("new.zip",))
    methods = ("--samplers", "full,uniform", "--seeds", "1", "--checkpoint", "0.0001s", "-o", "{}/comparison")
    words = ("compare", "{}/photo.png", *SMALL[:-2], "--budget", "20it", *methods)
    yield Scenario("compare", words, ("comparison/comparison.json", "comparison/comparison.png"))


SCENARIOS = tuple(_scenarios())


class Stage:
    """The sources and the finished outputs, made once; ``fresh`` copies what a scenario begins with."""

    def __init__(self, root: Path) -> None:
        self.root, self.sources, self.complete = root, root / "sources", dict[str, Path]()
        self.state = b""
        self.sources.mkdir()
        sources = {"photo.png": picture(".png"), "tone.wav": sound(".wav"), "ball.obj": mesh(".obj")}
        for name, data in (sources | {"moving.y4m": clip(".y4m")}).items():
            source = self.sources / name
            source.write_bytes(data)
            field = self.sources / f"kept{source.suffix}.safetensors"
            must(["encode", source, "-o", field, *SMALL, *STEPS, *(SPARSE if name == "ball.obj" else ())])
        self.state = self._saved_state()
        for number, scenario in enumerate(SCENARIOS):
            folder = self.fresh(scenario)
            must(scenario.command(folder))
            self.complete[scenario.name] = folder.rename(root / f"complete-{number}")

    def fresh(self, scenario: Scenario) -> Path:
        """A folder as it is before the command of ``scenario``."""
        folder = self.root / "work"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.sources, folder)
        for name in scenario.old:
            (folder / name).write_bytes(self.state if name == STATE else OLD)
        return folder

    def _saved_state(self) -> bytes:
        """The state of a fit that was killed after about half of its steps."""
        scenario = next(each for each in SCENARIOS if each.name == "encode --checkpoint")
        calls = self.count(scenario)
        folder = self.fresh(scenario)
        forked(lambda: watched(scenario.command(folder), Calls(str(folder), at=calls // 2)))
        return (folder / STATE).read_bytes()

    def count(self, scenario: Scenario, error: int | None = None) -> int:
        """How many calls of the system the command makes that can be killed, or fail with ``error``."""
        folder = self.fresh(scenario)

        def counting() -> int:
            calls = Calls(str(folder), error=error)
            code = watched(scenario.command(folder), calls)
            print(f"calls {calls.count}")
            return code

        verdict = forked(counting)
        assert verdict.code == 0, verdict
        return int(verdict.out.split()[-1])


def watched(words: list[str], calls: Calls) -> int:
    """Runs a command line under ``calls``: in a forked process."""
    calls.install()
    return command(words)


def must(words: Sequence[Any]) -> None:
    """Runs a command line, which must succeed: in this process, so that its forks need not import what it imports."""
    verdict = in_process([*words, "-q"])
    assert verdict.code == 0, (words, verdict)


def torn(scenario: Scenario, stage: Stage, folder: Path) -> str | None:
    """What is wrong with the outputs in ``folder``: each must be as before the command, or complete."""
    for name in scenario.outputs:
        path, complete = folder / name, stage.complete[scenario.name] / name
        data = path.read_bytes() if path.exists() else None
        if data != (OLD if name in scenario.old else None) and not is_complete(name, data, complete):
            return f"{name} is neither the old nor a complete new file: {data[:40] if data else data!r}"
    state = folder / STATE
    if state.exists():
        from inrfit.fit.checkpoint import loads

        try:
            loads(state.read_bytes())
        except Exception as error:
            return f"the saved state is damaged: {error}"
    return None


def is_complete(name: str, data: bytes | None, complete: Path) -> bool:
    """Whether ``data`` is what the command writes when nothing goes wrong; times in it differ."""
    if data is None:
        return False
    if name.endswith(".json"):
        results = json.loads(data)["results"]
        return len(results) <= len(json.loads(complete.read_bytes())["results"])
    if name.endswith(".png") and "comparison" in name:
        return data.endswith(b"IEND\xaeB`\x82")
    if not name.endswith(".safetensors"):
        return data == complete.read_bytes()
    from inrfit.artifact.artifact import Artifact

    with suppress(Exception):
        found, wanted = (Artifact.from_bytes(each).weights for each in (data, complete.read_bytes()))
        return all(np.array_equal(found[key], wanted[key]) for key in wanted)
    return False


def leftovers(folder: Path) -> list[str]:
    """Names of temporary files under ``folder``."""
    return [name for _, _, names in os.walk(folder) for name in names if "inrfit-tmp" in name]

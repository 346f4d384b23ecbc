"""Runs the examples of the pages: every Python block, and every shell block made of ``inrfit`` commands.

Each page has a folder of its own with small made files under the names that the examples use, and its blocks run in
order, Python blocks in one namespace. Every fit takes ``STEPS`` steps, whatever budget the example names. A block that
follows a line such as "`hardest.py`:" becomes that file. A block that cannot be run has the comment
``<!-- not run: REASON -->`` on the line before it. Lines that install something, or run a script of the repository, are
left out: .ci/run and tests/test_plugins.py run those.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
STEPS = 12
FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.M | re.S)
LANGUAGES = dict.fromkeys(("python", "py", "python3"), "python")
LANGUAGES |= dict.fromkeys(("sh", "bash", "shell", "console"), "sh")
NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*$")
INSTALLS = re.compile(
    r"(?:\S*/)?(?:pip|git|cd|pytest|mypy|ruff|lint-imports) |\. \S*/activate"
    r"|(?:\S*/)?python3? (?:-m (?:venv|pip|pytest|build)|docs/|tests/bench/)"
)

SHORT_BUDGETS = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "docs")!r}]
from check_examples import short_budgets
from inrfit.__main__ import run
with short_budgets():
    sys.exit(run(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Block:
    """An example: where it stands, its language, its text, and the file that it is, if it is one."""

    page: Path
    line: int
    language: str
    text: str
    file: str | None

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The examples of a page that can be run."""
    text = page.read_text("utf-8")
    found = []
    for match in FENCED.finditer(text):
        before = text[: match.start()].rstrip()
        language = LANGUAGES.get(match[2].lower())
        if language is None or NOT_RUN.search(before):
            continue
        name = re.search(r"^\s*`([\w.]+)`:$", before.rsplit("\n", 1)[-1])
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(page, line, language, textwrap.dedent(match[3]), name and name[1]))
    return found


def problems(pages: list[Path]) -> list[str]:
    """One line for every example that fails."""
    return [problem for page in pages for problem in page_problems(blocks(page))]


def page_problems(examples: list[Block]) -> list[str]:
    """The examples of one page, run in order."""
    if not examples:
        return []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), short_budgets():
        make_inputs(Path(folder))
        sys.path.insert(0, folder)
        try:
            module = sys.modules["example"] = types.ModuleType("example")  # dataclasses look their module up
            names = vars(module)
            return [problem for block in examples if (problem := run_block(block, names))]
        finally:
            sys.path.remove(folder)


def run_block(block: Block, names: dict[str, Any]) -> str:
    """What went wrong, or nothing."""
    if block.file is not None:
        Path(block.file).write_text(block.text, "utf-8")
        if block.language == "python":
            sys.modules.pop(Path(block.file).stem, None)
    if block.language == "sh":
        return next((problem for line in commands(block.text) if (problem := run_command(block, line))), "")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block.text, block.place, "exec"), names)
    except (Exception, SystemExit):
        return f"{block.place}: the Python example fails: {traceback.format_exc(limit=-1).splitlines()[-1]}"
    return ""


def commands(text: str) -> list[str]:
    """The lines of a shell block without comments and installations, continued lines joined; a loop is one command."""
    text = re.sub(r"\\\n\s*", " ", text)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    lines = [line for line in lines if not INSTALLS.match(line)]
    return ["\n".join(lines)] if re.search(r"^(?:for|while|if)\b", text, re.M) else lines


def run_command(block: Block, line: str) -> str:
    """What went wrong in one command, or nothing. Plain ones run in this process, where torch is loaded already."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        return f"{block.place}: {line}: {error}"
    errors = io.StringIO()
    if words[0] == "inrfit" and not any(set(word) & set("|>&$*;") for word in words):
        from inrfit.__main__ import run

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            code, said = run(words[1:]), errors
        text = said.getvalue()
    else:
        Path("shim").mkdir(exist_ok=True)
        shim = Path("shim/inrfit")
        Path("shim/run.py").write_text(SHORT_BUDGETS)
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} {shim.parent.absolute()}/run.py "$@"\n')
        shim.chmod(0o755)
        path = os.environ | {"PATH": os.pathsep.join([str(shim.parent.absolute()), os.environ["PATH"]])}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], env=path, capture_output=True, text=True, check=False
        )
        code, text = done.returncode, done.stderr
    last = text.strip().splitlines()[-1:] or [""]
    return f"{block.place}: exit code {code}: {line}: {last[0]}" if code else ""


@contextlib.contextmanager
def short_budgets() -> Iterator[None]:
    """Every fit takes ``STEPS`` steps; budgets are read all the same. Commands with several sources read them in this
    process, for the one that they would start reads the budgets of the examples."""
    from inrfit.cli.worker import Worker
    from inrfit.fit import budget

    parse = budget.parse

    def parse_short(*given: Any) -> budget.Budget:
        return replace(parse(*given), seconds=None, steps=STEPS)

    with patch.object(budget, "parse", parse_short), patch.object(Worker, "_start", side_effect=RuntimeError):
        yield


def make_inputs(folder: Path) -> None:
    """Small files under the names that the examples use."""
    import av
    import nibabel
    import numpy as np
    import soundfile
    import trimesh
    from PIL import Image

    y, x = np.mgrid[0:48, 0:64]
    pixels = np.stack([x * 4, y * 5, 128 + 100 * np.sin(x / 5) * np.cos(y / 7)], axis=-1).astype(np.uint8)
    (folder / "pictures").mkdir()
    (folder / "docs").mkdir()
    for name in ("photo.png", "edited.png", "pictures/one.png", "pictures/two.png", "docs/astronaut.png"):
        Image.fromarray(pixels).save(folder / name)
    tone = 0.4 * np.sin(2 * np.pi * 220 * np.arange(8000) / 8000)
    for name in ("voice.flac", "voice.wav"):
        soundfile.write(folder / name, tone, 8000)
    for name in ("bunny.obj", "bunny.ply"):
        trimesh.creation.icosphere(subdivisions=2).export(folder / name)
    ramp = np.indices((12, 10, 8)).sum(0).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(ramp, np.eye(4)), folder / "brain.nii.gz")
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels, number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    found = problems([Path(name).resolve() for name in sys.argv[1:]])
    sys.stderr.write("".join(f"{line}\n" for line in found))
    sys.exit(1 if found else 0)

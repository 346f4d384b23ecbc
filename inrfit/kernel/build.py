"""Compiles the C++ code when the package is built, as a hook of hatchling (pyproject.toml).

Each instruction set is a file of its own and is compiled with its own flags; what a compiler does not know is left out.
Without a C++ compiler the package is built without the library, and says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ENTRIES = ("kernel", "tiles", "sampling", "stencil")
"""Files that are compiled for any processor."""

SOURCES, LIBRARY = Path("inrfit/kernel/src"), Path("inrfit/kernel/built/kernel.so")
RECORD = LIBRARY.with_name("kernel.json")
"""What the library was built from, and its SHA-256: library.py loads no other."""

FLAGS = [
    *("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unknown-pragmas"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fopenmp-simd"),
]
AVX512 = ["-mfma", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mprefer-vector-width=512"]
INSTRUCTION_SETS: dict[str, dict[str, list[str]]] = {
    "x86_64": {
        "avx2": ["-mavx2", "-mfma"],
        "avx512": AVX512,
        "avx512_bf16": [*AVX512, "-mavx512bf16"],
        "amx": [*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"],
    },
    "aarch64": {"neon": []},
}
"""Flags by processor and instruction set."""


class CompilationFailed(Exception):
    """The compiler has refused a file."""


class KernelBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # it is not generic at run time
    """Adds the library to the wheel, which is then one for this platform and any Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds the wheel, or an editable one."""
        try:
            built = compile_library(Path(self.root))
        except (OSError, CompilationFailed) as error:
            self.app.display_warning(f"inrfit is built without its compiled kernel, and slower: {error}")
            return
        self.app.display_info(f"compiled kernel: {', '.join(built)}")
        build_data["artifacts"] += [str(LIBRARY), str(RECORD)]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compile_library(root: Path) -> list[str]:
    """Compiles the library below ``root`` and returns its instruction sets. Raises ``CompilationFailed``, and
    ``OSError`` if there is no compiler."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    sets = INSTRUCTION_SETS.get(machine)
    if sets is None:
        raise CompilationFailed(f"it has no code for {machine}")
    compiler = compiler_command()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = {name: os.path.join(folder, f"{name}.o") for name in sets}
        made = {
            name: pool.submit(_compile, compiler, root / SOURCES / f"{name}.cpp", flags, objects[name])
            for name, flags in sets.items()
        }
        errors = {name: str(error) for name, task in made.items() if (error := task.exception()) is not None}
        built = [name for name in sets if name not in errors]
        if not built:
            raise CompilationFailed(next(iter(errors.values())))
        library, chosen = os.path.join(folder, LIBRARY.name), [f"-DINRFIT_{name.upper()}" for name in built]
        for entry in ENTRIES:
            objects[entry] = os.path.join(folder, f"{entry}.o")
            _compile(compiler, root / SOURCES / f"{entry}.cpp", chosen, objects[entry])
        linked = [objects[name] for name in (*ENTRIES, *built)]
        _run([*compiler, "-shared", *linked, "-o", library, "-pthread"])
        (root / LIBRARY).parent.mkdir(exist_ok=True)
        sources = b"".join(path.read_bytes() for path in sorted((root / SOURCES).glob("*.[chi]*")))
        contents = {"sources": sources, "library": Path(library).read_bytes()}
        record = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        (root / RECORD).unlink(missing_ok=True)
        os.replace(shutil.copy(library, root / f"{LIBRARY}.new"), root / LIBRARY)
        (root / RECORD).write_text(json.dumps(record))
    return built


def compiler_command() -> list[str]:
    """The command of the C++ compiler. Raises ``CompilationFailed``."""
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    try:
        commands = [shlex.split(candidate) for candidate in candidates]
    except ValueError as error:
        raise CompilationFailed(f"CXX={candidates[0]}: {error}") from None
    for command in commands:
        if command and (path := shutil.which(command[0])) is not None:
            return [path, *command[1:]]
    raise CompilationFailed(f"there is no C++ compiler ({', '.join(candidates)})")


def _compile(compiler: list[str], source: Path, flags: list[str], target: str) -> None:
    _run([*compiler, *FLAGS, *flags, "-c", str(source), "-o", target])


def _run(command: list[str]) -> None:
    """Runs a command of the compiler. Raises ``CompilationFailed`` with its first error."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=os.environ | {"LC_ALL": "C"})
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["?"]
        raise CompilationFailed(lines[0][:200])

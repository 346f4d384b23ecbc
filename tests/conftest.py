"""Generated inputs, marks by duration, and jaxtyping's shape checks for the tensor modules."""

from __future__ import annotations

import builtins
import importlib
import os
from functools import wraps
from inspect import isclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import beartype  # noqa: F401 - lists the built-in types on import, before import_checked extends them
import jaxtyping
import numpy as np
import pytest
from jaxtyping import Bool, Float, Int, jaxtyped

WITHOUT_TORCH = [
    "inrfit.fields.architecture",
    "inrfit.fields.asmr",
    "inrfit.fields.feature_grid",
    "inrfit.fields.mlp",
    "inrfit.fields.tiles",
    "inrfit.samplers",
]
"""Modules and packages that import torch for type checkers only, and whose annotated shapes are checked."""

WITH_TORCH = [
    "inrfit.fields.module",
    "inrfit.samplers.learner",
    "inrfit.fit.engine.cuda_graph",
    "inrfit.fit.engine.optimizer",
    "inrfit.fit.engine.step",
]
"""Modules that import torch, and whose annotated shapes are checked."""


checked_calls: set[Any] = set()
"""The functions that the running test has called, with the types of their arguments and the shapes of tensors."""


def jaxtyped_unless_compiling(*, typechecker):
    """The decorator ``jaxtyping.jaxtyped`` with fewer checks: of the calls with arguments of equal types and
    shapes each test checks the first, for a check takes longer than most functions. torch.compile can trace none."""
    import torch

    def kind(value):
        if isinstance(value, tuple):
            return tuple(map(kind, value))
        return (value.shape, value.dtype) if isinstance(value, torch.Tensor) else type(value)

    def either(plain, checked):
        @wraps(plain)
        def call(*given, **named):
            if torch.compiler.is_compiling():
                return plain(*given, **named)
            key = (plain, kind(given), *named, kind(tuple(named.values())))
            if key in checked_calls:
                return plain(*given, **named)
            result = checked(*given, **named)
            checked_calls.add(key)
            return result

        return call

    def decorate(item):
        if torch.compiler.is_compiling():
            return item
        init = vars(item).get("__init__") if isclass(item) else None
        checked = jaxtyped(item, typechecker=typechecker)
        if not isclass(item):
            return either(item, checked)
        if checked.__init__ is not init and init is not None:  # a dataclass
            checked.__init__ = either(init, checked.__init__)
        return checked

    return decorate


def import_checked() -> None:
    """Arrange shape checks for WITHOUT_TORCH and WITH_TORCH; import WITHOUT_TORCH.

    jaxtyping evaluates annotations when a function is defined and skips those that it cannot resolve, so the names that
    WITHOUT_TORCH imports for type checkers only are built-in while it is imported.
    """
    import torch

    names = {"torch": torch, "Tensor": torch.Tensor, "Bool": Bool, "Float": Float, "Int": Int}
    jaxtyping.jaxtyped = jaxtyped_unless_compiling  # the decorator that the import hook adds
    jaxtyping.install_import_hook([*WITHOUT_TORCH, *WITH_TORCH], "beartype.beartype")
    with patch.multiple(builtins, create=True, **names):
        for module in WITHOUT_TORCH:
            importlib.import_module(module)


import_checked()

if "PYTEST_XDIST_WORKER" in os.environ:
    # In .ci/run, coverage is measured in the processes of the tests. Most commands run there; measured in the processes
    # that tests start, too, it would take minutes.
    os.environ.pop("COVERAGE_PROCESS_START", None)


NOT_QUICK = {
    "artifact/test_measuring.py",
    "cli/test_cli.py",
    "cli/test_compare_command.py",
    "cli/test_resume.py",
    "cli/test_streams.py",
    "comparison/test_comparison.py",
    "config/test_auto.py",
    "fields/test_architecture_contract.py",
    "fit/engine/test_gpu_bench.py",
    "fit/engine/test_step.py",
    "fit/test_checkpoint.py",
    "io/test_isolation.py",
    "modalities/test_shape.py",
    "modalities/volume/test_volume_hdf5.py",
    "modalities/volume/test_volume_zarr.py",
    "test_codec.py",
    "test_docs.py",
    "test_docs_site.py",
    "test_plugin_faults.py",
    "test_plugins.py",
    "test_product.py",
}
"""Files that run whole commands, compile, or fit many fields. Tests in all other files are marked quick."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of quick files, unless a test is marked slow. Files that hold other tests come first, so that the
    processes of .ci/run end at about the same time."""
    tests, long = Path(__file__).parent, set()
    for item in items:
        if item.path.relative_to(tests).as_posix() not in NOT_QUICK and not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.quick)
        else:
            long.add(item.path)
    items.sort(key=lambda item: item.path not in long)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the seconds that quick, slow and all other tests took."""
    seconds = {"quick": 0.0, "other": 0.0, "slow": 0.0}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                mark = next((name for name in ("quick", "slow") if name in report.keywords), "other")
                seconds[mark] += report.duration
    terminalreporter.write_line("seconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()))


def pytest_runtest_setup() -> None:
    """Forgets the calls that earlier tests have checked."""
    checked_calls.clear()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tests' fields are tiny: more threads only wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fields that cannot be written are rescued into a folder of the tests, not into that of the user."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


def with_header(artifact: Any, header: dict[str, Any]) -> bytes:
    """The file of an artifact with another inrfit header."""
    from inrfit.artifact import container, contents

    return container.serialize(3, {**contents.tensors_of(artifact), container.KEY: container.deflated(header)})


def picture(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A smooth picture with an edge and a little texture, uint8 (h, w, c)."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    rng = np.random.default_rng(seed)
    planes = [
        120 + 80 * np.sin(4 * x + k) * np.cos(3 * y) + 40 * (x > 0.5) + 4 * rng.standard_normal((height, width))
        for k in range(channels)
    ]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def image_signal(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0):
    """The picture as a signal."""
    from inrfit.modalities.image.sample_types import UINT8_SCALE
    from inrfit.signal import Grid, Signal

    meta = image_meta(width, height, ["L", "LA", "RGB", "RGBA"][channels - 1])
    samples = picture(height, width, channels, seed).reshape(-1, channels)
    return Signal("image", samples, UINT8_SCALE, meta, Grid((height, width)))


def image_meta(width: int, height: int, mode: str = "RGB", kind: str = "PNG") -> dict[str, Any]:
    """``Signal.meta`` of an 8-bit picture."""
    from inrfit.modalities.image.image import META_BEFORE_3
    from inrfit.modalities.image.sample_types import UINT8_SCALE

    scale = UINT8_SCALE.json()
    del scale["knee"]
    return META_BEFORE_3.upgrade({"format": kind, "mode": mode, "width": width, "height": height, "scale": scale})


@pytest.fixture
def png(tmp_path):
    """A small PNG on disk."""
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.fromarray(picture()).save(path)
    return path

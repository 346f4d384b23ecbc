"""The C++ function computes what the formula says, and whatever is wrong with it leaves the fit without it."""

from __future__ import annotations

import math
import os
import stat
import subprocess
import sys
import threading

import pytest
import torch
from conftest import image_signal

from inrfit.fields import FieldSpec
from inrfit.fields.mlp.siren import Siren
from inrfit.fit import context, recipe
from inrfit.fit.budget import Budget
from inrfit.fit.engine import background_compile, code_cache, cpp_kernel, precision
from inrfit.fit.engine.backends import analytic_gradients
from inrfit.fit.engine_choice import choose_engine
from inrfit.fit.loop import fit
from inrfit.samplers import Uniform

CPU = torch.device("cpu")
BFLOAT = torch.bfloat16
SPEC = FieldSpec("siren", 2, 3, 64, 3, {})
FINER = {"first_omega": 20.0, "omega": 30.0}

works = pytest.mark.skipif(
    not cpp_kernel.machine_is_supported() or cpp_kernel.compiler_command() is None,
    reason="no bfloat16 products, or no g++, on this machine",
)


def given(spec, n=100):
    """Weights, coords, values and loss_weights."""
    generator = torch.Generator().manual_seed(n)
    weights = spec.formula.initial(spec, generator, torch.zeros(spec.outputs))
    coords, values = (torch.rand(n, count, generator=generator) * 2 - 1 for count in (spec.inputs, spec.outputs))
    return weights, coords, values, torch.rand(n, 1, generator=generator) / n


def error(found, expected):
    """Of residuals and of all gradients, relative to their size."""
    pairs = [(found[0], expected[0]), *((found[1][name], expected[1][name]) for name in expected[1])]
    return [float((one - other).norm() / other.norm()) for one, other in pairs]


@pytest.fixture(scope="module", autouse=True)
def own_folder(tmp_path_factory):
    """Code is kept, but not with the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("code")))
        yield


@works
@pytest.mark.parametrize(
    ("spec", "n"),
    [
        (SPEC, 1000),
        (FieldSpec("siren", 1, 1, 32, 2, {}), 1),
        (FieldSpec("siren", 3, 4, 96, 5, {}), 257),
        (FieldSpec("siren", 2, 3, 256, 5, {"first_omega": 90.0}), 4096),
        (FieldSpec("finer", 2, 3, 64, 4, FINER), 513),
        (FieldSpec("finer", 1, 1, 64, 3, {}), 300),
    ],
)
def test_it_is_as_close_to_the_exact_formula_as_the_rounded_formula(spec, n):
    function = cpp_kernel.build(spec)
    exact = analytic_gradients(spec.formula, torch.float32)(*given(spec, n))
    rounded = analytic_gradients(spec.formula, BFLOAT)(*given(spec, n))
    found = function(*given(spec, n))
    assert {name: tuple(gradient.shape) for name, gradient in found[1].items()} == spec.shapes
    for ours, usual in zip(error(found, exact), error(rounded, exact), strict=True):
        assert ours < 2 * usual + 1e-3


@works
def test_the_same_threads_give_the_same_gradients_and_others_nearly_so():
    function = cpp_kernel.build(SPEC)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 1, 3, 3, 16):
            torch.set_num_threads(threads)
            found.append(function(*given(SPEC, 3000)))
    finally:
        torch.set_num_threads(before)
    for one, other in ((0, 1), (2, 3)):
        for name, gradient in found[one][1].items():
            assert torch.equal(gradient, found[other][1][name])
    for other in found[1:]:
        assert max(error(found[0], other)) < 1e-5


def test_it_is_for_siren_and_finer_in_bfloat16_alone(monkeypatch):
    monkeypatch.setattr(cpp_kernel, "machine_is_supported", lambda: True)
    monkeypatch.setattr(cpp_kernel, "compiler_command", lambda: ["g++"])
    assert cpp_kernel.is_supported(SPEC, BFLOAT)
    assert cpp_kernel.is_supported(FieldSpec("finer", 2, 3, 64, 3, {}), BFLOAT)
    assert not cpp_kernel.is_supported(SPEC, torch.float32)
    for other in (FieldSpec("wire", 2, 3, 64, 3, {}), FieldSpec("siren", 2, 3, 72, 3, {})):
        assert not cpp_kernel.is_supported(other, BFLOAT)
    assert not cpp_kernel.is_supported(FieldSpec("siren", 2, 3, 64, 1, {}), BFLOAT)
    for name, found in (
        ("machine_is_supported", lambda: False),
        ("compiler_command", lambda: None),
        ("failures", ["it failed before"]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(cpp_kernel, name, found)
            assert not cpp_kernel.is_supported(SPEC, BFLOAT)
    assert cpp_kernel.is_supported(SPEC, BFLOAT)


def test_it_is_compiled_from_some_seconds_of_budget_and_used_at_once_when_kept(monkeypatch):
    monkeypatch.setattr(cpp_kernel, "machine_is_supported", lambda: True)
    monkeypatch.setattr(cpp_kernel, "compiler_command", lambda: ["g++"])
    for kept, seconds, expected in ((False, 2, "analytic"), (False, 5, "compiled"), (True, 2, "compiled")):
        monkeypatch.setattr(cpp_kernel, "is_cached", lambda: kept)  # noqa: B023
        assert choose_engine(SPEC, CPU, Budget(seconds=seconds), BFLOAT, 4096)[0] == expected
    assert choose_engine(SPEC, CPU, Budget(steps=100), BFLOAT, 4096)[0] == "analytic"


def kept_in(folder):
    """The one library in ``folder``."""
    (library,) = folder.glob("*.so")
    return library


@works
def test_what_is_kept_is_used_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "new"))
    assert not cpp_kernel.is_cached()
    cpp_kernel.build(SPEC)
    made = kept_in(tmp_path / "new")
    assert cpp_kernel.is_cached()
    written = made.stat().st_mtime_ns
    cpp_kernel.build(SPEC)
    assert made.stat().st_mtime_ns == written


@pytest.mark.slow
@works
@pytest.mark.parametrize("damage", ["cut", "changed", "no sums", "writable", "link"])
def test_what_is_damaged_is_not_loaded_but_made_again(tmp_path, damage):
    """In a process of its own: loaded, a library that is cut short ends the process with SIGBUS."""
    folder, elsewhere = tmp_path / "code", tmp_path / "elsewhere.so"
    assert built_in_a_process(folder) < 0.05
    made = kept_in(folder)
    whole = made.read_bytes()
    if damage == "cut":
        made.write_bytes(whole[: len(whole) // 2])
    elif damage == "changed":
        made.write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
    elif damage == "no sums":
        made.with_name(made.name + code_cache.CHECKSUM_SUFFIX).unlink()
    elif damage == "writable":
        made.chmod(0o666)
    else:
        made.rename(elsewhere)
        made.symlink_to(elsewhere)
    before = made.lstat().st_ino
    assert built_in_a_process(folder) < 0.05
    again = made.lstat()
    assert again.st_ino != before
    assert stat.S_ISREG(again.st_mode)
    assert again.st_size == len(whole)


BUILD = """
import sys
import torch
from inrfit.fields import FieldSpec
from inrfit.fit.engine import cpp_kernel
from inrfit.fit.engine.backends import analytic_gradients

spec = FieldSpec("siren", 2, 3, 64, 3, {})
weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
given = weights, torch.rand(100, 2), torch.rand(100, 3), torch.rand(100, 1) / 100
found, expected = cpp_kernel.build(spec)(*given)[1], analytic_gradients(spec.formula, torch.float32)(*given)[1]
print(max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected))
"""


def built_in_a_process(folder):
    """The largest error of the gradients that a kernel gives there, code being kept in ``folder``."""
    more = {"TORCHINDUCTOR_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, env=os.environ | more)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return float(done.stdout)


@works
def test_where_nothing_can_be_kept_it_is_made_all_the_same(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for folder in (blocked, None):
        if folder is None:
            monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
        else:
            monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        assert not cpp_kernel.is_cached()
        assert max(error(cpp_kernel.build(SPEC)(*given(SPEC)), given_exactly())) < 0.05
    assert os.listdir(tmp_path) == ["file"]


def given_exactly():
    """What the formula says to ``given(SPEC)``."""
    return analytic_gradients(SPEC.formula, torch.float32)(*given(SPEC))


def broken_compiler(tmp_path, script):
    path = tmp_path / "g++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo g++ is ill >&2; exit 1", "is ill"),
        ("exit 0", "(?i)cannot open|no such file"),
        ("printf '\\377' >&2; exit 1", "g.."),
    ],
)
def test_a_compiler_that_fails_leaves_the_fit_with_analytic_steps(tmp_path, monkeypatch, script, reason):
    monkeypatch.setenv("CXX", broken_compiler(tmp_path, script))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "code"))
    monkeypatch.setattr(cpp_kernel, "machine_is_supported", lambda: True)
    monkeypatch.setattr(background_compile, "compilations", {})
    monkeypatch.setattr(cpp_kernel, "failures", [])
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: True)
    assert not cpp_kernel.is_cached()
    with pytest.raises(cpp_kernel.KernelUnavailable, match=reason):
        cpp_kernel.build(SPEC)
    assert not cpp_kernel.is_supported(SPEC, BFLOAT)
    monkeypatch.setattr(cpp_kernel, "failures", [])
    chosen = recipe.choose(SPEC, CPU, recipe.UserChoices(batch=64, precision="bf16", engine="compiled")).config
    made = fit(image_signal(), SPEC, Uniform(), chosen, Budget(steps=3), CPU)
    assert made.final_settings["engine"].startswith("analytic (KernelUnavailable")


@works
def test_a_kernel_that_computes_something_else_is_neither_used_nor_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    formula = Siren.gradients

    def another(net, *args):
        residuals, gradients = formula(net, *args)
        return residuals, gradients | {"first.bias": 2 * gradients["first.bias"]}

    monkeypatch.setattr(Siren, "gradients", another)
    monkeypatch.setattr(cpp_kernel, "failures", [])
    with pytest.raises(cpp_kernel.KernelUnavailable, match="off by"):
        cpp_kernel.build(SPEC)
    assert not cpp_kernel.is_cached()


def test_without_memory_or_products_it_says_so():
    class Poor:
        @staticmethod
        def inrfit_products(width):
            return 1

        @staticmethod
        def inrfit_gradients(*args):
            return answer

    answer = cpp_kernel.NO_MEMORY
    function = cpp_kernel.bind(SPEC, Poor)
    with pytest.raises(MemoryError):
        function(*given(SPEC))
    answer = 2
    with pytest.raises(RuntimeError, match="mkldnn"):
        function(*given(SPEC))


def test_products_that_torch_has_not_here_are_noticed_in_time():
    class Elsewhere:
        @staticmethod
        def inrfit_products(width):
            return 0

    with pytest.raises(cpp_kernel.KernelUnavailable, match="products"):
        cpp_kernel.bind(SPEC, Elsewhere)


@works
def test_a_product_that_fails_in_a_thread_is_an_error_and_no_crash():
    function = cpp_kernel.build(SPEC)
    with torch.backends.mkldnn.flags(enabled=False), pytest.raises(RuntimeError, match="mkldnn"):
        function(*given(SPEC))


def test_batches_are_long_where_the_kernel_makes_steps_fast_and_there_are_enough_of_them(monkeypatch):
    monkeypatch.setattr(cpp_kernel, "machine_is_supported", lambda: True)
    monkeypatch.setattr(cpp_kernel, "compiler_command", lambda: ["g++"])
    monkeypatch.setattr(cpp_kernel, "is_cached", lambda: True)

    def batch(seconds, **more):
        return recipe.choose(
            SPEC, CPU, recipe.UserChoices(precision="bf16", **more), budget=Budget(seconds=seconds)
        ).config.batch

    assert (batch(3), batch(10)) == (4096, recipe.KERNEL_BATCH)
    assert batch(10, engine="analytic") == 4096
    assert batch(10, batch=512) == 512
    monkeypatch.setattr(cpp_kernel, "compiler_command", lambda: None)
    assert batch(10) == 4096


def test_a_fit_waits_for_the_kernel_but_not_too_long_and_not_against_its_user(monkeypatch):
    gone = threading.Event()

    def slow(spec):
        gone.wait(30)
        raise cpp_kernel.KernelUnavailable("too late")

    monkeypatch.setattr(cpp_kernel, "machine_is_supported", lambda: True)
    monkeypatch.setattr(cpp_kernel, "compiler_command", lambda: ["g++"])
    monkeypatch.setattr(cpp_kernel, "build", slow)
    monkeypatch.setattr(background_compile, "compilations", {})
    monkeypatch.setattr(context, "FLOAT32_FINISH_DB", math.inf)
    chosen = recipe.choose(SPEC, CPU, recipe.UserChoices(batch=64, precision="bf16", engine="compiled")).config
    stops = iter([False] * 3)
    with pytest.raises(KeyboardInterrupt):
        fit(image_signal(), SPEC, Uniform(), chosen, Budget(seconds=1e4), CPU, should_stop=lambda: next(stops, True))
    made = fit(image_signal(), SPEC, Uniform(), chosen, Budget(seconds=1.0), CPU)
    assert made.final_settings["engine"] == "analytic (still compiling)"
    gone.set()

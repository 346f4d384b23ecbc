"""Every way of making a step makes the same step; padding changes nothing; memory that runs out halves the batch."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
import torch
from conftest import image_signal, picture

import inrfit
from inrfit import runtime
from inrfit.errors import UsageError
from inrfit.fields import FIELDS, FieldSpec, kernel_passes
from inrfit.fields.module import Field
from inrfit.fit import context, engine_choice, recipe
from inrfit.fit.budget import Budget
from inrfit.fit.engine import background_compile, cuda_graph, precision
from inrfit.fit.engine.backends import analytic_gradients, autograd_gradients
from inrfit.fit.engine.config import TrainingConfig
from inrfit.fit.engine.cuda_graph import SECONDS_AHEAD, Capture, Throttle
from inrfit.fit.engine.step import Engine
from inrfit.fit.engine_choice import choose_engine, kernel_runs
from inrfit.fit.fitting import fit
from inrfit.fit.loop import MAX_BATCH_HALVINGS
from inrfit.kernel import library
from inrfit.samplers import Full, Uniform

CPU = torch.device("cpu")
BATCH = 96
TOLERANCE = {"fp32": 1e-3, "bf16": 0.03}
"""Largest difference of the residuals after 20 steps, in values from -1 to 1."""


def engine(kind="autograd", arithmetic="fp32", depth=3, batch=BATCH, width=64, wait_for_compiler=False):
    signal = image_signal()
    spec = FieldSpec("siren", 2, 3, width, depth, {})
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    chosen = recipe.choose(spec, CPU, recipe.UserChoices(batch=batch, precision=arithmetic, engine=kind)).config
    return Engine(Field(spec, weights), signal.on(CPU), chosen, wait_for_compiler)


def taught(of: Engine, steps=20, batch=BATCH):
    """Residuals of the last step."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        found = of.step(torch.randperm(of.samples.signal.n, generator=generator)[:batch], None, 1.0)
    return found


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
def test_the_backward_pass_written_out_equals_autograd(depth, channels, arithmetic):
    spec = FieldSpec("siren", 2, channels, 32, depth, {})
    generator = torch.Generator().manual_seed(depth)
    weights = spec.formula.initial(spec, generator, torch.zeros(channels))
    coords = torch.rand(2048, 2, generator=generator) * 2 - 1
    values, loss_weights = (
        torch.rand(2048, channels, generator=generator),
        torch.rand(2048, 1, generator=generator) / 2048,
    )
    expected_residuals, expected = autograd_gradients(spec.formula, arithmetic)(weights, coords, values, loss_weights)
    residuals, found = analytic_gradients(spec.formula, arithmetic)(weights, coords, values, loss_weights)
    torch.testing.assert_close(residuals, expected_residuals)
    assert found.keys() == expected.keys() == spec.shapes.keys()
    for name, gradient in expected.items():
        assert found[name].dtype == torch.float32
        error = (found[name] - gradient).norm() / gradient.norm()
        assert error < (1e-5 if arithmetic == torch.float32 else 0.01), name


@pytest.mark.parametrize("name", [name for name, known in FIELDS.items() if known.TRAITS.own_gradients])
def test_every_backward_pass_written_out_has_all_gradients(name):
    plain = FieldSpec(name, 3, 1, 8, 2, {})
    spec = plain.formula.sized(plain, (4, 5, 6), None)
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(1))
    _, found = analytic_gradients(spec.formula, torch.float32)(
        weights, torch.rand(5, 3), torch.rand(5, 1), torch.full((5, 1), 0.2)
    )
    assert {key: tuple(gradient.shape) for key, gradient in found.items()} == spec.shapes


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["analytic", "kernel", "cuda-graph"])
def test_twenty_steps_equal_the_plain_engines(kind, arithmetic):
    if kind == "kernel" and not kernel_runs(FieldSpec("siren", 2, 3, 64, 3, {}), arithmetic):
        pytest.skip(f"the kernel has no {arithmetic} on this processor")
    expected, found = taught(engine("autograd", arithmetic)), taught(engine(kind, arithmetic))
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[arithmetic])


@pytest.mark.skipif(background_compile.cpp_compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
def test_twenty_compiled_steps_equal_the_plain_engines(arithmetic):
    compiled = engine("compiled", arithmetic, width=64, wait_for_compiler=True)
    backend = compiled.backend
    assert backend.describe().startswith("analytic (")
    expected = taught(engine("autograd", arithmetic, width=64))
    torch.testing.assert_close(taught(compiled), expected, rtol=0, atol=TOLERANCE[arithmetic])
    assert backend.describe() == "compiled"
    assert backend.compiled_calls == 20
    again = engine("compiled", arithmetic, width=64)
    taught(again, 1)
    assert again.backend.compilation is backend.compilation


def test_one_process_compiles_more_than_eight_kinds(monkeypatch):
    """torch gives up on a function after eight kinds of tensors."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # no machine code: quick
    monkeypatch.setattr(background_compile, "compilations", {})
    for width in range(33, 43):
        of = engine("compiled", width=width, wait_for_compiler=True)
        taught(of, 1)
        assert of.backend.describe() == "compiled"


def test_a_compilation_that_fails_leaves_the_fit_with_analytic_steps(monkeypatch):
    def broken(*args, **more):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", broken)
    of = engine("compiled", width=24, wait_for_compiler=True)
    torch.testing.assert_close(taught(of), taught(engine("analytic", width=24)))
    assert of.backend.describe() == "analytic (RuntimeError: no compiler)"
    assert not background_compile.is_compiling()


def test_a_fit_in_steps_waits_for_what_an_earlier_fit_compiles(monkeypatch):
    """The compiler's switches are those of the process, and would change the last bits of the fit."""
    monkeypatch.setattr(background_compile, "compilations", {})
    done = threading.Event()

    def build():
        time.sleep(0.5)
        done.set()
        return autograd_gradients

    background_compile.compilations["made for this test"] = background_compile.Compilation("of it", 9, build)
    with pytest.raises(KeyboardInterrupt):
        background_compile.wait_for_all(lambda: True)
    assert not done.is_set()
    inrfit.encode(picture(), budget="50it", width=8, depth=2, device="cpu")
    assert done.is_set()


def test_a_script_that_ends_meanwhile_waits_for_its_compiler(tmp_path):
    """Around torch's compiler the interpreter would abort, with exit code 134."""
    script = (
        "import sys, threading, time\nfrom inrfit.fit.engine import background_compile as compilation\n"
        "build = lambda: time.sleep(1) or open(sys.argv[1], 'w').close()\n"
        "begin = lambda: compilation.Compilation('made for this test', None, build)\n"
        "worker = threading.Thread(target=begin, daemon=True)\nworker.start()\nworker.join()\nsys.exit(7)"
    )
    found = subprocess.run([sys.executable, "-c", script, str(tmp_path / "done")])
    assert found.returncode == 7
    assert (tmp_path / "done").exists()


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(engine_choice, "cpp_compiler", lambda: None)
    assert choose_engine(NOT_FOR_THE_KERNEL, CPU, Budget(seconds=600), torch.bfloat16, 4096)[0] == "analytic"


def test_sounds_of_other_frequencies_share_what_was_compiled():
    first, second = (FieldSpec("siren", 1, 1, 256, 5, {"first_omega": omega}) for omega in (900.0, 4500.0))
    assert background_compile.compilation_key(first, torch.bfloat16, 4096) == background_compile.compilation_key(
        second, torch.bfloat16, 4096
    )
    wider = FieldSpec("siren", 1, 1, 128, 5, {"first_omega": 900.0})
    assert background_compile.compilation_key(first, torch.bfloat16, 4096) != background_compile.compilation_key(
        wider, torch.bfloat16, 4096
    )


def test_other_threads_than_it_was_compiled_for_do_not_use_it():
    made = background_compile.Compilation.__new__(background_compile.Compilation)
    made.n_points, made.threads, made.function = 96, torch.get_num_threads() + 1, autograd_gradients
    assert not made.supports(96)
    made.threads -= 1
    assert made.supports(96)
    assert not made.supports(95)


@pytest.mark.parametrize("kind", ["autograd", "analytic", "cuda-graph"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("piece", [8192, 30])
def test_the_loss_is_the_weighted_mean_of_squared_residuals_over_points_and_channels(kind, weighted, piece):
    """Against the formula, differentiated: engines that agree with one another may all be wrong by a factor."""
    of, indices = engine(kind), torch.arange(70) * 3
    of.chunk_size = piece
    weights = torch.linspace(0.1, 4.0, 70) if weighted else None
    leaves = {name: weight.clone().requires_grad_() for name, weight in of.weights.items()}
    coords, values = of.samples.take(indices)
    squared = (of.field.formula.forward(leaves, coords, torch.float32) - values).square().mean(1)
    loss = squared.mean() if weights is None else (weights * squared).sum() / weights.sum()
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    taken = {}
    of.optimiser.step = lambda gradients, factor: taken.update(gradients)
    of.step(indices, weights, 1.0)
    for name in leaves:
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(taken[name], expected[name], rtol=1e-3, atol=1e-5 * scale)


def test_points_of_weight_zero_change_nothing():
    plain, padded = engine(), engine()
    indices = torch.arange(50)
    weights = torch.rand(50, generator=torch.Generator().manual_seed(3))
    plain.step(indices, weights, 1.0)
    padded.step(torch.cat([indices, torch.arange(14)]), torch.cat([weights, torch.zeros(14)]), 1.0)
    for name, weight in plain.weights.items():
        torch.testing.assert_close(padded.weights[name], weight)


def test_a_smaller_batch_does_not_capture_again_and_a_growing_one_seldom():
    of, plain = engine("cuda-graph"), engine()
    of.step(torch.arange(96), None, 1.0)
    plain.step(torch.arange(96), None, 1.0)
    captured = of.captures.captures[0]
    for count in (40, 96, 1):
        found, expected = (e.step(torch.arange(count), None, 1.0) for e in (of, plain))
        assert found.shape[0] == count
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)  # the tolerance of docs/architecture.md
    assert of.captures.captures[0] is captured
    sizes = set()
    for count in range(100, 700, 25):
        of.step(torch.arange(count), None, 1.0)
        sizes.add(of.captures.captures[-1].size)
    assert sizes == {128, 256, 512, 1024}


def test_much_smaller_batches_get_a_capture_of_their_own(monkeypatch):
    monkeypatch.setattr(cuda_graph, "SMALL_BATCH", 64)
    of = engine("cuda-graph")
    sizes = []
    for count in (700, 140, 700, 150, 139, 40, 700):
        of.step(torch.arange(count), None, 1.0)
        sizes.append(sorted(made.size for made in of.captures.captures))
    assert sizes == [[700], [140, 700], [140, 700], [150, 700], [150, 700], [40, 700], [40, 700]]


def test_a_capture_replays_what_it_was_given():
    seen = []

    def whole(indices, weights):
        seen.append((indices.clone(), weights.clone()))
        return indices[:, None].float()

    capture = Capture(whole, 5, [], CPU)
    assert capture.replay(torch.tensor([4, 2]), None).tolist() == [[4.0], [2.0]]
    assert capture.replay(torch.tensor([1]), torch.tensor([0.5])).tolist() == [[1.0]]
    assert [(i.tolist(), w.tolist()) for i, w in seen] == [
        ([4, 2, 0, 0, 0], [1, 1, 0, 0, 0]),
        ([1, 0, 0, 0, 0], [0.5, 0, 0, 0, 0]),
    ]


def test_a_large_batch_in_pieces_equals_the_same_in_one():
    whole, pieces = engine(width=32), engine(width=32)  # Muon's products in float32: bfloat16's roundings differ
    pieces.chunk_size = 100
    one, many = (e.step(torch.arange(768), None, 1.0) for e in (whole, pieces))
    torch.testing.assert_close(many, one)
    for name, weight in whole.weights.items():
        torch.testing.assert_close(pieces.weights[name], weight, rtol=1e-3, atol=1e-5)


def full_at(steps, kind, monkeypatch):
    """Makes memory run out at the steps named (counted over all attempts); the batches tried."""
    tried = []

    def step(self, indices, weights, factor, terms, honest=Engine.step):
        tried.append(indices.shape[0])
        if len(tried) in steps:
            raise kind("DefaultCPUAllocator: can't allocate memory")
        return honest(self, indices, weights, factor, terms)

    monkeypatch.setattr(Engine, "step", step)
    return tried


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError])
def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch, kind):
    signal, spec = image_signal(), FieldSpec("siren", 2, 3, 32, 2, {})
    tried = full_at({3, 4}, kind, monkeypatch)
    chosen = recipe.choose(spec, CPU, recipe.UserChoices(batch=128, precision="fp32")).config
    found = fit(signal, spec, Full(), chosen, Budget(steps=60), CPU)
    assert tried[:6] == [128, 128, 128, 64, 32, 32]
    assert found.usage["steps"] == 60
    assert found.final_settings["batch"] == 32
    assert [note for note in found.notes if "out of memory" in note]
    assert found.quality > 12


def test_out_of_memory_is_final_after_four_halvings(monkeypatch):
    signal, spec = image_signal(), FieldSpec("siren", 2, 3, 32, 2, {})
    tried = full_at(set(range(100)), MemoryError, monkeypatch)
    with pytest.raises(MemoryError):
        fit(
            signal,
            spec,
            Uniform(),
            recipe.choose(spec, CPU, recipe.UserChoices(batch=128, precision="fp32")).config,
            Budget(steps=60),
            CPU,
        )
    assert tried == [128, 64, 32, 16, 8]
    assert len(tried) == MAX_BATCH_HALVINGS + 1


def test_another_error_than_memory_is_not_swallowed(monkeypatch):
    def broken(*args):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Engine, "step", broken)
    signal, spec = image_signal(), FieldSpec("siren", 2, 3, 16, 2, {})
    with pytest.raises(RuntimeError, match="shapes"):
        fit(
            signal,
            spec,
            Uniform(),
            recipe.choose(spec, CPU, recipe.UserChoices(batch=128, precision="fp32")).config,
            Budget(steps=5),
            CPU,
        )


def test_a_very_good_fit_ends_in_float32(monkeypatch):
    monkeypatch.setattr(context, "FLOAT32_FINISH_DB", 15.0)
    signal, spec = image_signal(), FieldSpec("siren", 2, 3, 64, 2, {})
    chosen = recipe.choose(spec, CPU, recipe.UserChoices(batch=128, precision="bf16")).config
    found = fit(signal, spec, Uniform(), chosen, Budget(steps=400), CPU)
    assert 360 <= found.final_settings["exact_from_step"] <= 380
    monkeypatch.setattr(context, "FLOAT32_FINISH_DB", 90.0)
    assert fit(signal, spec, Uniform(), chosen, Budget(steps=100), CPU).final_settings["exact_from_step"] is None


def test_the_probe_measures_and_leaves_no_trace():
    torch.set_float32_matmul_precision("highest")
    threads = torch.get_num_threads()
    found = precision.probe(CPU, 64, seconds=5.0)
    assert found.keys() == {"bf16", "fp32", "fp32-fast"}
    assert found["fp32"].error < 1e-5
    assert 1e-4 < found["bf16"].error < precision.MAX_BF16_ERROR
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_num_threads() == threads


def test_emulated_bfloat16_does_not_count_as_fast(monkeypatch):
    """What torch says of a CUDA device older than Ampere, which has no such products."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not precision.has_fast_bf16(torch.device("cuda"))


def test_the_switch_is_put_back_after_an_error():
    torch.set_float32_matmul_precision("highest")
    with contextlib.suppress(ValueError), runtime.matmul_precision("medium"):
        assert torch.get_float32_matmul_precision() == "medium"
        raise ValueError
    assert torch.get_float32_matmul_precision() == "highest"


M = precision.Measurement


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"fp32": M(100, 4e-7), "fp32-fast": M(190, 7e-7), "bf16": M(500, 7e-3)}, "bf16"),
        ({"fp32": M(100, 4e-7), "fp32-fast": M(190, 7e-7), "bf16": M(90, 7e-3)}, "fp32-fast"),
        ({"fp32": M(100, 4e-7), "fp32-fast": M(500, 7e-3), "bf16": M(105, 7e-3)}, "fp32"),
        ({"fp32": M(100, 4e-7), "fp32-fast": M(190, 7e-7), "bf16": M(200, 7e-3)}, "fp32-fast"),
        ({"fp32": M(100, 4e-7), "bf16": M(900, 0.2)}, "fp32"),
        ({"bf16": M(900, 7e-3)}, "otherwise"),
        ({}, "otherwise"),
    ],
)
def test_the_fastest_safe_arithmetic_is_chosen(found, expected):
    assert precision.fastest(found, "otherwise") == expected


def test_a_budget_in_steps_never_probes(monkeypatch):
    for probe in ("probe", "probe_kernel"):
        monkeypatch.setattr(precision, probe, lambda *args: pytest.fail("probed"))
    spec = FieldSpec("siren", 2, 3, 256, 5, {})
    first = recipe.choose(spec, CPU, budget=Budget(steps=100)).config
    assert first.precision == ("bf16" if precision.has_fast_bf16(CPU) else "fp32")
    assert first.engine == ("kernel" if library.available() else "analytic")


NOT_FOR_THE_KERNEL = FieldSpec("wire", 2, 3, 250, 5, {})


def test_a_short_budget_does_not_compile_and_a_long_one_does_where_it_can(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # torch names its own, with what others left there
    expected = "compiled" if background_compile.cpp_compiler() else "analytic"
    for seconds, found in {5: "analytic", 20: "analytic", 60: expected}.items():
        chosen = choose_engine(NOT_FOR_THE_KERNEL, CPU, Budget(seconds=seconds), torch.bfloat16, 4096)[0]
        assert chosen == found


def test_what_was_compiled_before_is_used_sooner(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    wanted = background_compile.compilation_key(NOT_FOR_THE_KERNEL, torch.bfloat16, 4096)
    assert not background_compile.is_compiled(wanted)
    background_compile.Compilation(
        wanted, 4096, lambda: analytic_gradients(NOT_FOR_THE_KERNEL.formula, torch.bfloat16)
    ).wait()
    assert background_compile.is_compiled(wanted)
    expected = "compiled" if background_compile.cpp_compiler() else "analytic"
    budget = Budget(seconds=20)
    assert choose_engine(NOT_FOR_THE_KERNEL, CPU, budget, torch.bfloat16, 4096)[0] == expected


def test_points_sorted_anew_in_every_step_are_neither_compiled_nor_captured(monkeypatch):
    spec = FieldSpec("tiles", 2, 3, 32, 4, {"tiles": "3x4"})
    monkeypatch.setattr(kernel_passes, "instructions_of", lambda spec, precision: None)
    assert recipe.choose(spec, CPU, budget=Budget(seconds=3600)).config.engine == "analytic"
    for engine in ("compiled", "cuda-graph"):
        with pytest.raises(UsageError, match="sorts its points"):
            recipe.choose(spec, CPU, recipe.UserChoices(engine=engine))


def test_every_choice_has_a_reason():
    spec = FieldSpec("siren", 2, 3, 64, 5, {})
    made = recipe.choose(spec, CPU, budget=Budget(seconds=60))
    chosen = {f.name for f in dataclasses.fields(TrainingConfig)} - {"probe", "first_threads"}  # that: if it is busy
    assert chosen == {choice.name for choice in made.choices if choice.reason} - {"first_threads"}
    asked = recipe.choose(spec, CPU, recipe.UserChoices(batch=100, precision="fp32", lr=1e-3, engine="autograd"))
    assert {asked.reason(key) for key in ("batch", "precision", "adam_rate", "muon_rate", "engine")} == {
        "set by the user"
    }


def test_steps_on_a_whole_small_signal_get_larger_rates():
    def chosen(samples, width=64, **choices):
        spec = FieldSpec("siren", 2, 3, width, 3, {})
        return recipe.choose(spec, CPU, recipe.UserChoices(**choices), Budget(steps=60), samples).config

    usual, small = chosen(100_000), chosen(1024)
    assert (usual.whole_signal, small.whole_signal) == (False, True)
    assert usual.adam_rate == chosen(None).adam_rate == 1.5e-4
    assert (
        small.adam_rate / usual.adam_rate == pytest.approx(small.muon_rate / usual.muon_rate) == pytest.approx(4**0.7)
    )
    assert chosen(1024, width=256).adam_rate == chosen(1024, width=512).adam_rate == usual.adam_rate
    assert small.short_run_lr_factor(60) == pytest.approx((1100 / 60) ** 0.35)
    assert small.short_run_lr_factor(1) == 5.0
    assert not chosen(1024, regime="paper").whole_signal
    assert not chosen(1024, batch=1000).whole_signal
    assert chosen(1024, lr=1e-3).adam_rate == 1e-3


@pytest.mark.parametrize(("steps", "factor"), [(1, 1.6), (360, 1.6), (1100, 1.0), (1500, 0.856), (1e9, 0.8)])
def test_short_fits_get_larger_rates(steps, factor):
    made = recipe.choose(FieldSpec("siren", 2, 3, 64, 5, {}), CPU, budget=Budget(seconds=5)).config
    assert made.short_run_lr_factor(steps) == pytest.approx(factor, abs=0.01)
    asked = recipe.choose(
        FieldSpec("siren", 2, 3, 64, 5, {}), CPU, recipe.UserChoices(lr=1e-3), budget=Budget(seconds=5)
    ).config
    assert asked.short_run_lr_factor(steps) == 1.0


class FakeEvent:
    """A CUDA event on a made clock."""

    now = 0.0
    waited = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = FakeEvent.now

    def synchronize(self):
        FakeEvent.waited += 1

    def elapsed_time(self, other):
        return (other.at - self.at) * 1e3


@pytest.mark.parametrize("step_seconds", [1e-4, 1e-3, 0.02, 0.2])
def test_the_host_runs_ahead_by_a_bounded_time(monkeypatch, step_seconds):
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    throttle = Throttle()
    FakeEvent.waited = 0
    for _ in range(5000):
        FakeEvent.now += step_seconds
        throttle.record_step()
    ahead = throttle.interval * step_seconds * throttle.max_queued
    assert SECONDS_AHEAD / 4 <= ahead <= max(2 * SECONDS_AHEAD, step_seconds)
    assert FakeEvent.waited


def test_the_papers_regime_is_adam_at_a_constant_rate_one_step_a_selection():
    spec = FieldSpec("siren", 2, 3, 64, 5, {})
    chosen = recipe.choose(spec, CPU, recipe.UserChoices(regime="paper"), budget=Budget(steps=50))
    made = chosen.config
    assert (made.batch, made.precision, made.adam_rate, made.muon_rate) == (None, "fp32", 1e-4, 0.0)
    assert chosen.reason("batch") == chosen.reason("precision") == "as in the papers"
    assert recipe.choose(spec, CPU, recipe.UserChoices(batch=64, regime="paper")).reason("batch") == "set by the user"
    seen = []
    fit(image_signal(), spec, Full(), made, Budget(steps=3), CPU, on_step=seen.append)
    assert [moment.indices.shape[0] for moment in seen] == [image_signal().n] * 3


def test_the_papers_epsilon_is_the_architectures():
    def epsilon(name):
        return recipe.choose(
            FieldSpec(name, 2, 3, 64, 2, {}), CPU, recipe.UserChoices(regime="paper"), budget=Budget(steps=50)
        ).config.epsilon

    assert (epsilon("siren"), epsilon("grid")) == (1e-8, 1e-15)


def test_the_papers_first_step_is_adams_whole_rate():
    spec = FieldSpec("siren", 2, 3, 64, 5, {})
    made = recipe.choose(spec, CPU, recipe.UserChoices(regime="paper"), budget=Budget(steps=50)).config
    taught = []
    fit(image_signal(), spec, Full(), made, Budget(steps=2), CPU, on_step=lambda m: taught.append(m.weights()))
    moved = taught[1]["last.weight"] - taught[0]["last.weight"]
    assert 0.5e-4 < float(moved.abs().max()) < 1.5e-4


@pytest.mark.parametrize(("name", "momentum"), [("siren", 0.9), ("finer", 0.95)])
def test_the_optimiser_gets_the_recipes_momentum(name, momentum):
    spec = FieldSpec(name, 2, 3, 16, 2, {})
    made = recipe.choose(spec, CPU, recipe.UserChoices(batch=64, precision="fp32")).config
    signal = image_signal()
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    of = Engine(Field(spec, weights), signal.on(CPU), made)
    assert made.momentum == of.optimiser.decay == momentum
    assert of.optimiser.second_beta == made.second_beta
    assert of.optimiser.epsilon == made.epsilon


@pytest.mark.parametrize(("regime", "limit"), [("inrfit", recipe.FIRST_RATE_LIMIT), ("paper", 20_000.0)])
def test_the_rate_of_a_high_first_frequency_is_limited_but_not_in_the_papers_regime(regime, limit):
    spec = FieldSpec("siren", 1, 1, 16, 2, {"first_omega": 20_000.0})
    made = recipe.choose(spec, CPU, recipe.UserChoices(batch=64, precision="fp32", regime=regime)).config
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(1))
    of = Engine(Field(spec, weights), image_signal().on(CPU), made)
    rates = dict(zip(of.optimiser.adam_names, of.optimiser.rates_by_tensor, strict=True))
    assert rates["first.weight"] == pytest.approx(limit * made.adam_rate)
    assert rates["first.bias"] == pytest.approx(30 * made.adam_rate)
    assert rates["last.weight"] == pytest.approx(made.adam_rate)


def test_the_rates_of_other_layers_are_not_limited():
    rates = FIELDS["asmr"]().rates()
    made = recipe.choose(FieldSpec("siren", 2, 3, 16, 2, {}), CPU, recipe.UserChoices(precision="fp32")).config
    assert max(rates.values()) > recipe.FIRST_RATE_LIMIT
    assert made.limited_rates(rates) == rates

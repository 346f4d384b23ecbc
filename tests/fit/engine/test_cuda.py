"""The same promises on a CUDA device; skipped, visibly, without one."""

from __future__ import annotations

import pytest
import torch
from conftest import image_signal, picture

import inrfit
from inrfit.fields import FIELDS, FieldSpec
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.engine.cuda_graph import SECONDS_AHEAD, Capture
from inrfit.fit.loop import fit
from inrfit.samplers import SAMPLERS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
QUICK = {"budget": "200it", "width": 64, "depth": 3}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_sampler_fits_on_the_device(name, precision):
    signal, device = image_signal(), torch.device("cuda")
    spec = FieldSpec("siren", 2, 3, 64, 3, {})
    chosen = recipe.choose(spec, device, recipe.Asked(batch=256, precision=precision)).config
    assert fit(signal, spec, SAMPLERS[name](), chosen, Budget(steps=200), device).quality > 20


def test_the_quality_told_is_that_of_the_decode_on_the_cpu():
    made = inrfit.encode(picture(), device="cuda", **QUICK)
    decoded = made.decode(device="cpu").astype(float)
    from inrfit.modalities.metrics import psnr

    assert made.quality["psnr"] == pytest.approx(psnr(decoded, picture().astype(float), 255), abs=0.02)


def test_same_seed_same_quality_on_the_device():
    first, second = (inrfit.encode(picture(), device="cuda", seed=5, **QUICK).quality["psnr"] for _ in range(2))
    assert first == pytest.approx(second, abs=0.5)


def test_a_budget_in_seconds_is_kept_though_steps_are_queued():
    found = inrfit.encode(picture(256, 256), device="cuda", **(QUICK | {"budget": "3s"})).provenance["spent"]
    assert found["fit_seconds"] <= 3.5


def test_ntk_scores_equal_the_cpus():
    from test_learner import learner

    of = learner()
    expected, _ = of.ntk_scores()
    of.field.to("cuda")
    of.samples = of.samples.signal.on(torch.device("cuda"))
    found, _ = of.ntk_scores()
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)


def engine(kind, precision="bf16", batch=512, arch="siren"):
    from inrfit.fields.module import Field
    from inrfit.fit.engine.step import Engine

    signal, device = image_signal(64, 64), torch.device("cuda")
    plain = FieldSpec(arch, 2, 3, 64, 4, {})
    spec = plain.formula.sized(plain, (64, 64), None)
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    chosen = recipe.choose(spec, device, recipe.Asked(batch=batch, precision=precision, engine=kind)).config
    return Engine(Field(spec, weights).to(device), signal.on(device), chosen)


def taught(of, steps=20, batch=512):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        indices = torch.randperm(of.samples.signal.n, generator=generator)[:batch].to("cuda")
        found = of.step(indices, None, 1.0)
    return found


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 0.03)])
@pytest.mark.parametrize("kind", ["explicit", "graph"])
def test_twenty_steps_on_the_device_equal_the_plain_engines(kind, precision, tolerance):
    found, expected = taught(engine(kind, precision)), taught(engine("plain", precision))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("arch", FIELDS)
def test_steps_of_every_architecture_equal_the_plain_engines(arch):
    """Captured in a graph wherever the architecture allows it."""
    of, plain = (engine(kind, "fp32", arch=arch) for kind in ("auto", "plain"))
    torch.testing.assert_close(taught(of, 3), taught(plain, 3), rtol=0, atol=1e-2)


def test_a_graph_is_captured_once_for_all_smaller_batches():
    of, plain = engine("graph", "fp32"), engine("plain", "fp32")
    captured = None
    for count in (512, 300, 1, 512):
        indices = torch.arange(count, device="cuda")
        torch.testing.assert_close(of.step(indices, None, 1.0), plain.step(indices, None, 1.0), rtol=0, atol=1e-3)
        captured = captured or of.captures.made[0]
        assert of.captures.made[0] is captured


def test_the_capture_leaves_weights_and_moments_as_they_were(monkeypatch):
    monkeypatch.setattr(Capture, "replay", lambda self, indices, weights: self.residuals)
    of = engine("graph", "fp32")
    before = of.snapshot()
    of.step(torch.arange(512, device="cuda"), None, 1.0)
    assert [capture.size for capture in of.captures.made] == [512]
    for name, weight in of.weights.items():
        assert torch.equal(weight, before[name])
    assert not any(bool(moment.any()) for moment in of.optimiser.state().values())


def test_the_host_does_not_run_far_ahead():
    of = engine("graph")
    taught(of, 2000)
    queued = list(of.throttle.queued)
    torch.cuda.synchronize()
    assert queued[0].elapsed_time(queued[-1]) / 1e3 < 3 * SECONDS_AHEAD


def test_a_graph_goes_on_after_a_retreat_and_a_change_of_precision():
    of, plain = engine("graph", "fp32"), engine("plain", "fp32")
    start = of.snapshot()
    for e in (of, plain):
        taught(e, 5)
        e.load(start)
        e.use(torch.float32)
    torch.testing.assert_close(taught(of, 5), taught(plain, 5), rtol=0, atol=1e-3)


def test_out_of_memory_on_the_device_is_recognised():
    from inrfit.runtime import out_of_memory

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 45, device="cuda")
    assert out_of_memory(caught.value)

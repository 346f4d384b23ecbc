"""The same promises on a CUDA device; skipped, visibly, without one. Nothing here is timed: tests/bench/gpu.py is."""

from __future__ import annotations

import pytest
import torch
from conftest import image_signal, picture

import inrfit
from inrfit.fields import FIELDS, FieldSpec
from inrfit.fields.module import Field
from inrfit.fit import recipe
from inrfit.fit.budget import Budget
from inrfit.fit.checkpoint import Checkpointer, loads
from inrfit.fit.engine import precision
from inrfit.fit.engine.cuda_graph import side_stream
from inrfit.fit.engine.step import Engine
from inrfit.fit.fitting import fit
from inrfit.modalities.metrics import psnr
from inrfit.runtime import out_of_memory
from inrfit.samplers import SAMPLERS
from inrfit.samplers.learner import Learner
from inrfit.viz.recorder import Recorder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CUDA = torch.device("cuda")
QUICK = {"budget": "200it", "width": 64, "depth": 3}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_sampler_fits_on_the_device(name, precision):
    signal, spec = image_signal(), FieldSpec("siren", 2, 3, 64, 3, {})
    chosen = recipe.choose(spec, CUDA, recipe.UserChoices(batch=256, precision=precision)).config
    assert fit(signal, spec, SAMPLERS[name](), chosen, Budget(steps=200), CUDA).quality > 20


def test_the_quality_told_is_that_of_the_decode_on_the_cpu():
    source = picture(64, 64)  # a smaller one is learnt to the last pixel
    made = inrfit.encode(source, device="cuda", **QUICK)
    decoded = made.decode(device="cpu").astype(float)
    assert made.quality["psnr"] == pytest.approx(psnr(decoded, source.astype(float), 255), abs=0.02)


def test_same_seed_same_quality_on_the_device():
    first, second = (inrfit.encode(picture(64, 64), device="cuda", seed=5, **QUICK).quality["psnr"] for _ in range(2))
    assert first == pytest.approx(second, abs=0.5)


def learner(device):
    """A view of an untaught field, with its generator on the device."""
    signal, spec = image_signal(6, 5), FieldSpec("siren", 2, 3, 8, 2, {})
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    generator = torch.Generator(device).manual_seed(1)
    return Learner(Field(spec, weights).to(device), signal.on(device), generator, torch.float32)


def test_ntk_scores_equal_the_cpus():
    (expected, _), (found, _) = (learner(device).ntk_scores() for device in (torch.device("cpu"), CUDA))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)


def test_draws_are_on_the_device_and_follow_the_seed():
    first, second = (learner(CUDA).draw(9) for _ in range(2))
    assert first.device.type == "cuda"
    assert torch.equal(first, second)
    assert first.unique().shape[0] == 9


@pytest.mark.parametrize(("arch", "sampler"), [("siren", "stream"), ("siren", "evos"), ("finer", "nint")])
def test_a_fit_that_goes_on_from_its_saved_state_gives_the_same_weights(arch, sampler):
    """The generator is the device's, steps are captured again, and the memory of samplers is back on the device."""
    signal, spec = image_signal(), FieldSpec(arch, 2, 3, 32, 2, {})
    config = recipe.choose(spec, CUDA, recipe.UserChoices(batch=256, precision="fp32")).config
    states = []
    saving = Checkpointer({"source": "made"}, config.json(), 0.0, states.append)
    whole = fit(signal, spec, SAMPLERS[sampler](), config, Budget(steps=60), CUDA, checkpointer=saving)
    for data in (states[0], states[len(states) // 2], states[-1]):
        again = fit(signal, spec, SAMPLERS[sampler](), config, Budget(steps=60), CUDA, saved_state=loads(data))
        for name, weight in whole.field.weights.items():
            assert torch.equal(again.field.weights[name], weight), name


def test_a_recorder_counts_on_the_device():
    seen = Recorder(frames=3)
    made = inrfit.encode(picture(), device="cuda", on_step=seen, **QUICK)
    assert seen.counts.device.type == "cuda"
    assert int(seen.counts.sum()) == made.provenance["spent"]["points"]
    assert seen.map().startswith(b"\x89PNG")
    assert seen.video(made, ".gif").startswith(b"GIF")


def test_the_arithmetics_are_probed_on_the_device():
    found = precision.probe(CUDA, 256, seconds=5.0)
    assert found.keys() == {"fp32", "bf16", "fp32-fast"}
    assert found["fp32"].error < 1e-5
    assert found["bf16"].error < precision.MAX_BF16_ERROR


def engine(kind, precision="bf16", batch=512, arch="siren"):
    signal = image_signal(64, 64)
    plain = FieldSpec(arch, 2, 3, 64, 4, {})
    spec = plain.formula.sized(plain, (64, 64), None)
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    chosen = recipe.choose(spec, CUDA, recipe.UserChoices(batch=batch, precision=precision, engine=kind)).config
    return Engine(Field(spec, weights).to(CUDA), signal.on(CUDA), chosen)


def taught(of, steps=20, batch=512):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        indices = torch.randperm(of.samples.signal.n, generator=generator)[:batch].to("cuda")
        found = of.step(indices, None, 0.1)  # at full rates the last bit grows past the tolerance, on the CPU too
    return found


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 0.03)])
@pytest.mark.parametrize("kind", ["analytic", "cuda-graph"])
def test_twenty_steps_on_the_device_equal_the_plain_engines(kind, precision, tolerance):
    found, expected = taught(engine(kind, precision)), taught(engine("autograd", precision))
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("arch", [name for name, known in FIELDS.items() if known.TRAITS.closed_form is None])
def test_steps_of_every_architecture_equal_the_plain_engines(arch):
    """Captured in a graph wherever the architecture allows it."""
    of, plain = (engine(kind, "fp32", arch=arch) for kind in ("auto", "autograd"))
    torch.testing.assert_close(taught(of, 3), taught(plain, 3), rtol=0, atol=1e-2)


def test_a_graph_is_captured_once_for_all_smaller_batches():
    of, plain = engine("cuda-graph", "fp32"), engine("autograd", "fp32")
    captured = None
    for count in (512, 300, 1, 512):
        indices = torch.arange(count, device="cuda")
        torch.testing.assert_close(of.step(indices, None, 1.0), plain.step(indices, None, 1.0), rtol=0, atol=1e-3)
        captured = captured or of.captures.captures[0]
        assert of.captures.captures[0] is captured


def test_the_capture_leaves_weights_and_moments_as_they_were():
    of = engine("cuda-graph", "fp32")
    state = {**of.weights, **of.optimiser.state()}
    before = {name: tensor.clone() for name, tensor in state.items()}

    def whole(indices, weights):
        for tensor in state.values():
            tensor.add_(1.0)
        return indices[:, None].float()

    of.captures.step(whole, torch.arange(9, device="cuda"), None)
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, before[name] + 1.0, rtol=0, atol=0)  # once: the replay, not the warm-up


def test_all_captures_of_a_device_share_one_stream():
    """cuBLAS keeps a workspace for every stream it has worked on, for good."""
    of = engine("cuda-graph")
    device = of.field.device
    assert side_stream(device) is side_stream(device)
    assert side_stream(device).device == device


def test_the_host_has_a_bounded_number_of_events_in_front_of_the_device():
    of = engine("cuda-graph")
    taught(of, 500)
    assert len(of.throttle.queued) <= of.throttle.max_queued


def test_a_graph_goes_on_after_a_retreat_and_a_change_of_precision():
    of, plain = engine("cuda-graph", "fp32"), engine("autograd", "fp32")
    start = of.snapshot()
    for e in (of, plain):
        taught(e, 5)
        e.load(start)
        e.set_precision(torch.float32)
    torch.testing.assert_close(taught(of, 5), taught(plain, 5), rtol=0, atol=1e-3)


def test_out_of_memory_on_the_device_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 45, device="cuda")
    assert out_of_memory(caught.value)

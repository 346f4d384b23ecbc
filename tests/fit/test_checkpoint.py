"""A fit that resumes from its saved state gives the same weights as one that was not interrupted."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import torch
import trimesh
from conftest import image_signal

from inrfit.errors import Diverged, RefusedInput, UnreadableFile, UnsupportedInput, UsageError
from inrfit.fields import FIELDS, FieldSpec
from inrfit.fit import checkpoint, recipe
from inrfit.fit.budget import Budget
from inrfit.fit.checkpoint import Checkpointer, loads
from inrfit.fit.engine.config import TrainingConfig
from inrfit.fit.engine.step import CHUNK_POINTS
from inrfit.fit.fitting import fit
from inrfit.fit.progress import BudgetTracker
from inrfit.io import tensors
from inrfit.io.limits import Limits
from inrfit.modalities.audio import arrays, audio
from inrfit.modalities.points import arrays as point_arrays
from inrfit.modalities.points import meta, points
from inrfit.modalities.shape import shape
from inrfit.samplers import SAMPLERS, uses_coord_gradients

CPU = torch.device("cpu")
STEPS = 40
FIT = {"source": "a"}


def sound_signal():
    time = np.arange(500) / 500
    data = arrays.from_array((12_000 * np.sin(60 * time * (1 + time))).astype(np.int16), 8000)
    return audio.load(data, "sound.wav", audio.Options(), Limits()).named("audio")


def mesh_signal():
    data = trimesh.creation.icosphere(2).export(file_type="ply")
    return shape.load(data, "ball.ply", shape.Options(points=1500), Limits()).named("shape")


def points_signal():
    coords = np.random.default_rng(0).uniform(0, 9, (700, 2))
    data = point_arrays.from_arrays(np.sin(coords).sum(1), coords)
    return points.load(data, "array", meta.Options(), Limits()).named("points")


SIGNALS = {"image": image_signal, "audio": sound_signal, "shape": mesh_signal, "points": points_signal}


@pytest.fixture(autouse=True)
def beginning_with_the_mean(monkeypatch):
    """Starts all fields as constants: after so few steps on hard points a field may be worse than the mean, which is
    refused."""
    for known in FIELDS.values():
        drawn = known.initial
        monkeypatch.setattr(
            known,
            "initial",
            lambda self, spec, generator, mean, drawn=drawn: self.constant(drawn(self, spec, generator, mean), mean),
        )


class EveryStep:
    """Saves the state after every step, as a file."""

    def __init__(self, config):
        self.files = []
        self.inner = Checkpointer(FIT, config.json(), 0.0, self.files.append)

    due = staticmethod(lambda now: True)

    def save(self, state, now):
        self.inner.save(state, now)


def fitted(signal, arch, sampler, batch=64, budget=Budget(steps=STEPS), engine="analytic", **more):
    spec = FieldSpec(arch, signal.dimensions, signal.channels, 12, 2, {})
    spec = spec.formula.sized(spec, None if signal.grid is None else signal.grid.shape, None)
    config = recipe.choose(spec, CPU, recipe.UserChoices(batch=batch, precision="fp32", engine=engine)).config
    saving = None if "saved_state" in more else EveryStep(config)
    result = fit(signal, spec, sampler, config, budget, CPU, 3, checkpointer=saving, **more)
    return {name: weight.detach().clone() for name, weight in result.field.weights.items()}, saving, result


def resumed_everywhere(signal, arch, sampler, at=(1, 2, 7, 19, 20, 33, 39), **more):
    """Checks that fits resumed from the states after the steps ``at`` have the weights of the uninterrupted fit."""
    whole, saving, first = fitted(signal, arch, sampler, **more)
    assert len(saving.files) == STEPS
    for step in at:
        again, _, second = fitted(signal, arch, sampler, saved_state=loads(saving.files[step - 1]), **more)
        assert all(torch.equal(whole[name], again[name]) for name in whole), step
        for count in ("steps", "points", "scoring_passes", "scoring_points", "origin"):
            assert first.usage[count] == second.usage[count]


@pytest.mark.parametrize("modality", SIGNALS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_resumes_with_the_same_weights(name, modality):
    resumed_everywhere(SIGNALS[modality](), "siren", SAMPLERS[name]())


@pytest.mark.parametrize("modality", SIGNALS)
@pytest.mark.parametrize("arch", FIELDS)
def test_every_architecture_resumes_with_the_same_weights(arch, modality):
    if FIELDS[arch].TRAITS.raster_only and modality in ("shape", "points"):
        pytest.skip("knows rasters alone")
    if FIELDS[arch].TRAITS.closed_form is not None:
        pytest.skip("makes no steps")
    for name in ("full", "nint"):
        try:
            resumed_everywhere(SIGNALS[modality](), arch, SAMPLERS[name](), at=(1, 20, 33))
        except Diverged:
            pytest.skip("learns nothing of it")


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if not uses_coord_gradients(sampler)])
def test_the_paper_regime_resumes_with_the_same_weights(name):
    resumed_everywhere(image_signal(), "siren", SAMPLERS[name](), batch="selection")


@pytest.mark.parametrize("engine", ["autograd", "kernel", "cuda-graph"])
def test_every_engine_resumes_with_the_same_weights(engine):
    resumed_everywhere(image_signal(), "siren", SAMPLERS["stream"](), engine=engine)


def test_a_fit_with_a_target_resumes_its_annealing_cycles():
    budget = Budget(steps=STEPS, target=90.0)
    resumed_everywhere(image_signal(), "siren", SAMPLERS["uniform"](), budget=budget)


def stopped(signal, sampler, batch, calls, steps=STEPS):
    """The state of a fit that is stopped after ``calls`` calls of ``should_stop``; None if none was saved."""
    spec = FieldSpec("siren", signal.dimensions, signal.channels, 12, 2, {})
    config = recipe.choose(spec, CPU, recipe.UserChoices(batch=batch, precision="fp32", engine="analytic")).config
    asked, kept = iter(range(10**9)), []
    saving = Checkpointer(FIT, config.json(), None, kept.append)
    with contextlib.suppress(KeyboardInterrupt):  # before the first step
        fit(
            signal, spec, sampler, config, Budget(steps=steps), CPU, 3, checkpointer=saving,
            should_stop=lambda: next(asked) >= calls,
        )  # fmt: skip
    return loads(kept[0]) if kept else None


@pytest.mark.parametrize(
    ("name", "batch", "piece"), [("nint", 64, None), ("evos", "selection", 40), ("uniform", "selection", 10)]
)
def test_a_stopped_fit_saves_its_state_and_resumes_with_the_same_weights(monkeypatch, name, batch, piece):
    """Also if it is stopped within a selection or a step, which must be undone completely."""
    if piece is not None:  # of a step, between which it can be stopped
        monkeypatch.setitem(CHUNK_POINTS, "cpu", piece)
    signal, sampler = image_signal(), SAMPLERS[name](**({} if name == "uniform" else {"scoring": 1.0}))
    whole, _, _ = fitted(signal, "siren", sampler, batch)
    stopped_at = []
    for calls in range(3, 30):
        saved = stopped(signal, sampler, batch, calls)
        if saved is None:
            continue
        stopped_at.append(saved.values["tracker"]["step"])
        again, _, _ = fitted(signal, "siren", sampler, batch, saved_state=saved)
        assert all(torch.equal(whole[name], again[name]) for name in whole), calls
    assert 1 < len(set(stopped_at)) < len(stopped_at)  # several of them within one step


def test_a_fit_stopped_before_its_first_step_saves_no_state():
    """Otherwise the points of a shape drawn so far would be all that the resumed fit has."""
    data = trimesh.creation.icosphere(2).export(file_type="ply")
    signal = shape.load(data, "ball.ply", shape.Options(points=200_000), Limits()).named("shape")
    for calls in range(4):
        assert stopped(signal, SAMPLERS["uniform"](), 64, calls) is None


def test_step_durations_are_restored():
    """The learning rates of a fit in seconds depend on the expected number of steps."""
    first = BudgetTracker(Budget(seconds=10.0), lambda: 5.0, 0.0)
    for _ in range(9):
        first.count_step(0.1)
    first.reserve_for_evaluation(0.2)
    then = BudgetTracker(Budget(seconds=10.0), lambda: 105.0, 105.0)
    then.restore(first.to_json())
    assert then.expected_steps == first.expected_steps < 100
    assert (then.seconds, then.step, then.step_deadline) == (first.seconds, first.step, first.step_deadline)


def test_a_fit_resumes_with_a_larger_budget():
    signal = image_signal()
    _, saving, _ = fitted(signal, "siren", SAMPLERS["uniform"]())
    _, _, result = fitted(
        signal, "siren", SAMPLERS["uniform"](), saved_state=loads(saving.files[20]), budget=Budget(steps=3 * STEPS)
    )
    assert result.usage["steps"] == 3 * STEPS


def a_state():
    return fitted(image_signal(), "siren", SAMPLERS["int"]())[1].files[10]


def test_the_state_of_another_fit_is_refused_by_name():
    saved = loads(a_state())
    checkpoint.require_same_fit(saved, FIT)
    with pytest.raises(UsageError, match="another source"):
        checkpoint.require_same_fit(saved, {"source": "b"})


def test_a_truncated_state_is_refused_at_every_length():
    data = a_state()
    for length in (*range(0, 200, 7), *range(200, len(data), 997)):
        with pytest.raises(RefusedInput):
            loads(data[:length])


def changed(data, change):
    arrays, value = tensors.loads(data, tensors.STATE_KEY)
    change(arrays, value)
    return tensors.dumps(arrays, tensors.STATE_KEY, value)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, value: value["state"].pop("queue"),
        lambda arrays, value: value["state"]["tracker"].update(step=-1),
        lambda arrays, value: value["state"]["queue"].update(batch_size="many"),
        lambda arrays, value: value.update(more=1),
        lambda arrays, value: value["state"]["usage"]["origin"].update(error=1e38),
        lambda arrays, value: value["state"]["best"].update(error=10**30 * 10**12),
    ],
)
def test_invalid_values_in_a_state_are_refused(change):
    with pytest.raises(UnreadableFile):
        loads(changed(a_state(), change))


def test_a_state_of_another_version_is_refused():
    with pytest.raises(UnsupportedInput):
        loads(changed(a_state(), lambda arrays, value: value.update(version=99)))


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, value: arrays.pop("weights/last.bias"),
        lambda arrays, value: arrays.update({"optimizer/mean": arrays["optimizer/mean"][1:]}),
        lambda arrays, value: arrays.update(unknown=np.zeros(3)),
        lambda arrays, value: arrays["queue/points/indices"].fill(10**9),
        lambda arrays, value: value["state"].update(trained_batches=[5]),
        lambda arrays, value: arrays["generator"].fill(0),
        lambda arrays, value: arrays.pop("trained_batches/residuals"),
        lambda arrays, value: arrays.update(
            {"trained_batches/indices": arrays["trained_batches/indices"].astype(np.float32)}
        ),
        lambda arrays, value: arrays.update({"queue/points/indices": arrays["queue/points/indices"][:, None]}),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change):
    with pytest.raises(UnreadableFile):
        fitted(image_signal(), "siren", SAMPLERS["int"](), saved_state=loads(changed(a_state(), change)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("stream", lambda memory: memory.pop("memory/order")),
        ("stream", lambda memory: memory.update({"memory/rank": memory["memory/rank"][None]})),
        ("stream", lambda memory: memory.update({"memory/errors": memory["memory/errors"].astype(np.uint8)})),
        ("nint", lambda memory: memory.pop("memory/scored")),
    ],
)
def test_a_memory_that_the_sampler_cannot_use_is_refused(name, change):
    saved = fitted(image_signal(), "siren", SAMPLERS[name]())[1].files[10]
    with pytest.raises(UnreadableFile, match="no memory of the sampler"):
        fitted(image_signal(), "siren", SAMPLERS[name](), saved_state=loads(changed(saved, lambda a, v: change(a))))


@pytest.mark.parametrize(
    "change",
    [{"engine": "quick"}, {"adam_rate": "0.1"}, {"batch": -1}, {"warm_up": 0}, {"more": 1}, {"momentum": 10**30}],
)
def test_an_invalid_training_configuration_is_refused(change):
    config = TrainingConfig(64, "fp32", 1e-3, 0.0)
    assert TrainingConfig.from_json(config.json()) == config
    with pytest.raises(ValueError, match="config"):
        TrainingConfig.from_json(config.json() | change)


def test_a_state_is_safetensors_and_strict_json():
    data = a_state()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert json.loads(header["__metadata__"][tensors.STATE_KEY])["state"]["tracker"]["step"] == 11

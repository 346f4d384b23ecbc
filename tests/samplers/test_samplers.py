"""What every sampler promises, over the registry."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import image_signal

from inrfit.fields import FieldSpec
from inrfit.fields.module import Field
from inrfit.samplers import SAMPLERS, Selection, edge_map, egra, error_map, uniform
from inrfit.samplers import selection as selection_module
from inrfit.samplers.learner import Learner


class Movable(Learner):
    """A learner that a test moves by hand, in place of a fit that makes one for every selection."""

    __setattr__ = object.__setattr__


def learner(signal, seed=0):
    spec = FieldSpec("siren", signal.dimensions, signal.channels, 8, 2, {})
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(signal.channels))
    samples, generator = signal.on(torch.device("cpu")), torch.Generator().manual_seed(seed)
    return Movable(Field(spec, weights), samples, generator, torch.float32, trained_batches=[])


def selections(sampler, of, rounds=25):
    """A fit without the fit: every selection is answered with its residuals."""
    previous = None
    for k in range(rounds):
        of.step, of.progress = k, k / rounds
        previous = sampler.select(of, previous)
        of.trained_batches.clear()
        if previous.indices is not None:
            of.trained_batches.append((previous.indices, of.residuals(previous.indices)))
            of.points_trained += previous.indices.shape[0]
        yield previous


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("ratio", [0.2, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (12, 16)])
def test_selects_distinct_indices_in_range(name, ratio, size):
    signal = image_signal(*size)
    options = {} if name == "full" else {"ratio": ratio}
    options |= {"schedule": "constant"} if name == "int" else {}
    for selection in selections(SAMPLERS[name](**options), learner(signal)):
        if selection.indices is None:
            continue
        found = selection.indices.tolist()
        assert len(found) == max(1, int(ratio * signal.n))
        assert len(set(found)) == len(found)
        assert min(found) >= 0
        assert max(found) < signal.n


@pytest.mark.parametrize("name", SAMPLERS)
def test_memory_is_a_mapping_of_tensors(name):
    for selection in selections(SAMPLERS[name](), learner(image_signal())):
        assert all(isinstance(item, torch.Tensor) for item in selection.memory.values())


@pytest.mark.parametrize("name", SAMPLERS)
def test_origin_counts_every_selected_point(name):
    signal = image_signal()
    for selection in selections(SAMPLERS[name](), learner(signal)):
        taught = signal.n if selection.indices is None else selection.indices.shape[0]
        assert sum(selection.origin.values()) == taught


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_draws_same_selections(name):
    first, second = (list(selections(SAMPLERS[name](), learner(image_signal(), seed=3))) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert (a.indices is None and b.indices is None) or torch.equal(a.indices, b.indices)


@pytest.mark.parametrize("name", SAMPLERS)
def test_settings_are_frozen(name):
    sampler = SAMPLERS[name]()
    for field in dataclasses.fields(sampler):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(sampler, field.name, 1)


@pytest.mark.parametrize("name", ["uniform", "int", "nint", "egra", "expansive", "soft-mining"])
def test_long_signals_are_chosen_from_by_other_ways_with_the_same_promises(name, monkeypatch):
    monkeypatch.setattr(uniform, "MAX_SHUFFLED_POINTS", 1000)
    monkeypatch.setattr(egra, "MAX_SHUFFLED_POINTS", 1000)
    monkeypatch.setattr(edge_map, "MAX_MAP_CELLS", 1000)
    monkeypatch.setattr(error_map, "MAX_TOPK_POINTS", 1000)
    monkeypatch.setattr(selection_module, "MAX_RATIO_BASE", 2000)
    signal = image_signal(60, 80)
    options = {"schedule": "constant"} if name == "int" else {} if name == "nint" else {"ratio": 0.2}
    for selection in selections(SAMPLERS[name](**options), learner(signal), rounds=8):
        assert name not in ("int", "evos") or "random points" in selection.note
        found = selection.indices.tolist()
        assert len(found) == len(set(found)) == (200 if name == "nint" else 400)
        assert min(found) >= 0
        assert max(found) < signal.n


def test_full_selects_everything():
    assert next(selections(SAMPLERS["full"](), learner(image_signal()))) == Selection(None, origin={"chance": 24 * 32})


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_memory_is_never_changed_in_place(name):
    """What a sampler has returned stays as it was, whatever is selected after it."""
    seen = []
    for selection in selections(SAMPLERS[name](), learner(image_signal())):
        seen.append((selection.memory, {key: tensor.clone() for key, tensor in selection.memory.items()}))
    for memory, copies in seen:
        assert all(torch.equal(memory[key], copies[key]) for key in copies)


def test_a_learner_is_read_only():
    of = learner(image_signal())
    view = Learner(of.field, of.samples, of.generator, of.precision)
    for name in ("step", "progress", "trained_batches", "generation", "scoring_cost"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(view, name, 1)

"""Quality is estimated in one place: by the modality's own measure, on fixed points that stand for the whole signal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import image_signal

from inrfit.fields import FieldSpec
from inrfit.fields.module import Field
from inrfit.fit.evaluation import FitEvaluator, evaluation_set, predict
from inrfit.modalities import MODALITIES
from inrfit.modalities.image import IMAGE

CPU = torch.device("cpu")


def drawn():
    spec = FieldSpec("siren", 2, 3, 16, 2, {})
    return Field(spec, spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3)))


def test_the_estimate_on_all_samples_is_what_is_measured():
    signal, field = image_signal(), drawn()
    estimated = evaluation_set(signal, signal.n, CPU).quality(field, signal.n)
    assert estimated == pytest.approx(IMAGE.measure(field, signal, lambda share: None)["psnr"], abs=1e-6)


def test_chunks_change_only_rounding_and_report_progress():
    signal, field = image_signal(), drawn()
    points, shares = evaluation_set(signal, 100, CPU), []
    whole = points.quality(field, 100)
    assert points.quality(field, 30, shares.append) == pytest.approx(whole, abs=1e-4)
    assert shares == pytest.approx([0.3, 0.6, 0.9, 1.2])
    assert torch.allclose(predict(field, points.coords, 7), predict(field, points.coords, 100), atol=1e-5)


def test_a_fit_is_evaluated_at_the_probe_of_its_modality(monkeypatch):
    def probe(signal, count):
        return np.full((count, 2), 0.25, np.float32), np.full((count, 3), 0.5, np.float32)

    monkeypatch.setitem(MODALITIES, "image", replace(IMAGE, probe=probe))
    signal, field = image_signal(), drawn()
    evaluator = FitEvaluator(signal, signal.on(CPU))
    error, quality = evaluator.evaluate(field, 1000)
    at_probe = field(torch.full((1, 2), 0.25))
    assert error == pytest.approx(float((predict(field, evaluator.coords, 1000) - evaluator.values).square().mean()))
    assert quality == pytest.approx(IMAGE.estimate(at_probe, torch.full((1, 3), 0.5), signal), abs=1e-4)
    assert evaluator.cost > 2 * signal.n

"""The same promises on a CUDA device; skipped, visibly, without one."""

from __future__ import annotations

import pytest
import torch
from conftest import image_signal, picture

import inrfit
from inrfit import recipe
from inrfit.budget import Budget
from inrfit.fields import FieldSpec
from inrfit.fit import fit
from inrfit.samplers import SAMPLERS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
QUICK = {"budget": "200it", "width": 64, "depth": 3}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_sampler_fits_on_the_device(name, precision):
    signal, device = image_signal(), torch.device("cuda")
    spec = FieldSpec("siren", 2, 3, 64, 3, {})
    chosen = recipe.choose(spec, device, 256, precision)
    assert fit(signal, spec, SAMPLERS[name](), chosen, Budget(steps=200), device).quality > 20


def test_the_quality_told_is_that_of_the_decode_on_the_cpu():
    made = inrfit.encode(picture(), device="cuda", **QUICK)
    decoded = made.decode(device="cpu").astype(float)
    from inrfit.metrics import psnr

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

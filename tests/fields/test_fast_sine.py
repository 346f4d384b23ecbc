"""The polynomials of compiled steps against torch's sine and cosine."""

import pytest
import torch

from inrfit.fields.mlp.fast_sine import cosine_, sine


@pytest.mark.parametrize(("largest", "off"), [(3.0, 6e-7), (100.0, 6e-7), (10_000.0, 1e-6)])
def test_polynomials_of_any_angle(monkeypatch, largest, off):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    phase = torch.linspace(-largest, largest, 200_001)
    torch.testing.assert_close(sine(phase).double(), phase.double().sin(), rtol=0, atol=off)
    torch.testing.assert_close(cosine_(phase.clone()).double(), phase.double().cos(), rtol=0, atol=off)


def test_of_rounded_phases_in_their_own_type(monkeypatch):
    phase = torch.linspace(-40, 40, 10_001).bfloat16()
    expected = phase.float().sin().bfloat16(), phase.float().cos().bfloat16()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for found, value in zip((sine(phase), cosine_(phase.clone())), expected, strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, value, rtol=2**-8, atol=2**-20)


def test_a_spent_phase_is_overwritten_and_another_is_not():
    phase = torch.linspace(-4, 4, 101)
    kept = phase.clone()
    assert torch.equal(sine(phase), kept.sin())
    assert torch.equal(phase, kept)
    assert sine(phase, inplace=True).data_ptr() == phase.data_ptr()

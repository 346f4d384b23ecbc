"""The memory and the work of a decode are judged from the header, before anything is allocated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_artifact import META, made

from inrfit.artifact import decode_cost
from inrfit.artifact.decode_cost import check_decode, check_load
from inrfit.errors import NotEnoughMemory, OverLimit, TooMuchWork
from inrfit.fields import FieldSpec
from inrfit.fields.architecture import points_at_a_time
from inrfit.io import limits as limits_module
from inrfit.io.limits import Limits
from inrfit.modalities import Request
from inrfit.signal import Grid

UNLIMITED = Limits(max_output=2**62)
SIREN = FieldSpec("siren", 2, 3, 64, 3, {})


def image_meta(width: int, height: int, **more: Any) -> dict[str, Any]:
    return {**META, "width": width, "height": height, **more}


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 2 GB of memory."""
    monkeypatch.setattr(limits_module, "available_memory", lambda: 2 * 10**9)


HUNGRY = {
    "a large picture": (SIREN, image_meta(40_000, 40_000), Request()),
    "a large request": (SIREN, image_meta(64, 64), Request(size=(30_000, 30_000))),
    "a large factor": (SIREN, image_meta(640, 640), Request(scale=50.0)),
    "many features": (
        FieldSpec("grid", 2, 3, 64, 2, {"levels": 32, "features": 4096, "table": 1, "finest": "64"}),
        image_meta(4000, 4000),
        Request(),
    ),
    "many channels": (
        FieldSpec("siren", 2, 60, 64, 3, {}),
        image_meta(9000, 9000, mode="bands", bands=60),
        Request(),
    ),
}


@pytest.mark.parametrize("name", HUNGRY)
def test_a_decode_beyond_the_memory_is_refused_with_what_there_is_and_what_to_do(
    name: str, small_machine: None
) -> None:
    spec, meta, request = HUNGRY[name]
    with pytest.raises(NotEnoughMemory) as caught:
        check_decode(spec, "image", meta, request, UNLIMITED)
    assert "2.0 GB are available" in str(caught.value)
    assert "--size" in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("name", HUNGRY)
def test_max_output_bounds_the_memory_too(name: str) -> None:
    spec, meta, request = HUNGRY[name]
    with pytest.raises(OverLimit, match="--max-output"):
        check_decode(spec, "image", meta, request, Limits(max_output=10**9))


def test_the_message_about_memory_has_a_unit_and_says_whether_an_option_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits_module, "physical_memory", lambda: 10**12)
    with pytest.raises(OverLimit, match=r"decoding needs about [\d.,]+ GB of memory, the limit is 4\.0 GB") as caught:
        check_decode(SIREN, "image", image_meta(64, 64), Request(scale=1e4), Limits())
    assert "so that no --max-output helps: choose a smaller --size" in str(caught.value)
    with pytest.raises(OverLimit, match="raise it with --max-output"):
        check_decode(SIREN, "image", image_meta(20_000, 20_000), Request(), Limits(max_output=1000))


def test_a_small_decode_is_never_refused_for_a_small_max_output(small_machine: None) -> None:
    check_decode(SIREN, "image", image_meta(64, 64), Request(), Limits(max_output=64 * 64 * 3))


def test_more_work_than_the_bound_is_refused_with_its_hours(small_machine: None) -> None:
    deep = FieldSpec("siren", 2, 3, 1024, 64, {})
    with pytest.raises(TooMuchWork, match="hours"):
        check_decode(deep, "image", image_meta(10_000, 5_000), Request(), UNLIMITED)
    check_decode(deep, "image", image_meta(1000, 500), Request(), UNLIMITED)


def test_a_thumbnail_of_a_vast_picture_counts_the_points_it_is_averaged_over() -> None:
    whole = decode_cost.decode_cost(SIREN, "image", image_meta(16_000, 16_000), Request(size=(8, 8)))
    pixels = decode_cost.decode_cost(SIREN, "image", image_meta(8, 8), Request())
    assert whole is not None
    assert pixels is not None
    assert whole.macs > 10**6 * pixels.macs
    assert whole.memory < 2 * pixels.memory + 10**8


def test_weights_beyond_the_memory_are_refused_before_they_are_read(small_machine: None) -> None:
    check_load(10**8, 10**7, False)
    with pytest.raises(NotEnoughMemory):
        check_load(10**8, 10**9, False)


def test_the_check_needs_no_torch(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys; from inrfit.artifact.decode_cost import decode_cost; from inrfit.fields import FieldSpec; "
        "from inrfit.modalities import Request; import json; "
        "decode_cost(FieldSpec('siren', 2, 3, 64, 3, {}), 'image', json.loads(sys.argv[1]), Request()); "
        "assert 'torch' not in sys.modules"
    )
    import json

    subprocess.run([sys.executable, "-c", program, json.dumps(image_meta(64, 64))], check=True)


def test_wide_fields_are_evaluated_at_few_points_at_a_time() -> None:
    assert points_at_a_time(1024) == 8192
    assert points_at_a_time(8192) == 1024
    spec = FieldSpec("siren", 2, 3, 2048, 1, {})
    weights = spec.formula.initial(spec, torch.Generator().manual_seed(0), torch.zeros(3))
    sizes = []
    forward = type(spec.formula).forward

    class Spy(type(spec.formula)):  # type: ignore[misc]
        def forward(self, weights: Any, coords: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
            sizes.append(len(coords))
            return forward(self, weights, coords, precision)

    grid = Grid((100, 100))
    values = Spy().on_grid(weights, grid, 0, grid.n)
    assert max(sizes) == 4096
    torch.testing.assert_close(values, spec.formula.forward(weights, grid.coords(torch.arange(grid.n)), torch.float32))


def test_chunks_shrink_with_channels_and_work() -> None:
    assert FieldSpec("siren", 2, 3, 256, 5, {}).decode_chunk == 32_768
    assert FieldSpec("siren", 2, 60_000, 16, 2, {}).decode_chunk <= 64
    assert FieldSpec("siren", 2, 3, 8192, 2, {}).decode_chunk <= 512


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_rows_of_very_many_points_give_the_same_means(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bands = len(mode)
    meta = image_meta(60, 90, mode=mode, bands=bands)
    artifact = made(meta=meta, sizes=(2, bands), width=8)
    request = Request(size=(7, 5))
    usual = artifact.decode(request)
    monkeypatch.setattr(FieldSpec, "decode_chunk", property(lambda spec: 200))
    assert (artifact.decode(request) == usual).all()

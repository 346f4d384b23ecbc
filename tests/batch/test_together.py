"""Fields that are fitted together do not depend on each other; the rules of a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_batches import InThisProcess, pictures, planned

import inrfit
from inrfit import execution
from inrfit.batch import fitting
from inrfit.batch.rules import AskedRules
from inrfit.batch.run import run
from inrfit.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("sources") / "pics")


def contents(folder):
    """The parts of a data set, by their names."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("parts/**/*.safetensors"))}


def test_fields_are_the_same_in_groups_of_any_size(folder, tmp_path, monkeypatch):
    """The bits do not depend on how many are fitted at once."""
    found = []
    for size in (1, 2, 32):
        monkeypatch.setattr(fitting, "GROUP", size)
        made = planned(tmp_path / str(size), [folder], part_size=5)
        run(made, InThisProcess())
        found.append(list(contents(made.folder).values()))
    assert found[0] == found[1] == found[2]


def test_fields_are_the_same_beside_fields_of_other_sizes(folder, tmp_path, monkeypatch):
    """Neither weights nor what is measured depend on the group."""
    monkeypatch.setattr(fitting, "BRIEF_SAMPLES", 200)  # 12x12 pixels, not 20x20
    (larger,) = pictures(tmp_path / "larger", 1, size=20).iterdir()
    larger = larger.rename(larger.with_name("larger.png"))
    mixed = planned(tmp_path / "mixed", [folder, larger], part_size=6)
    alone = planned(tmp_path / "alone", [folder, larger], part_size=6)
    run(mixed, InThisProcess())
    monkeypatch.setattr(fitting, "GROUP", 1)
    run(alone, InThisProcess())
    assert list(contents(mixed.folder).values()) == list(contents(alone.folder).values())
    measured = [set(inrfit.open_dataset(mixed.folder).artifact(k).quality) for k in range(6)]
    assert sum("ssim" in each for each in measured) == 1


def test_with_shared_weights_fields_start_from_the_same_and_say_so(folder, tmp_path):
    apart = {}
    for init in ("own", "shared"):
        made = planned(tmp_path / init, [folder], part_size=5, asked=AskedRules(init))
        run(made, InThisProcess())
        fields = inrfit.open_dataset(made.folder, flat=True)
        apart[init] = max(float(np.abs(fields[0].weights - fields[k].weights).mean()) for k in range(1, 5))
        said = {fields.artifact(k).provenance["settings"].get("started_from") for k in range(5)}
    assert apart["shared"] < apart["own"] / 2
    assert len(said) == 1
    assert "SHA-256" in said.pop()


def test_a_field_below_the_floor_is_fitted_on_until_the_cap(folder, tmp_path):
    plain = planned(tmp_path / "plain", [folder], part_size=5)
    run(plain, InThisProcess())
    qualities = sorted(row["psnr"] for row in inrfit.open_dataset(plain.folder).rows)
    floor = f"{(qualities[1] + qualities[2]) / 2:.3f}dB"  # two of five are below it
    made = planned(tmp_path / "ds", [folder], part_size=5, asked=AskedRules(floor=floor, cap="70it"))
    run(made, InThisProcess())
    rows = inrfit.open_dataset(made.folder).rows
    assert sorted(row["steps"] for row in rows)[:3] == [20] * 3
    assert {row["steps"] for row in rows} <= {20, 40, 70}
    assert max(row["steps"] for row in rows) > 20
    gains = []
    for row, before in zip(rows, inrfit.open_dataset(plain.folder).rows, strict=True):
        gains.append(row["psnr"] - before["psnr"])
        assert gains[-1] >= 0 if row["steps"] > 20 else gains[-1] == 0
    assert max(gains) > 0.5


def test_a_field_that_stays_below_the_floor_counts_as_failed(folder, tmp_path):
    made = planned(tmp_path / "ds", [folder], part_size=5, asked=AskedRules(floor="90dB", cap="30it"))
    totals = run(made, InThisProcess())
    assert (totals.fields, totals.failed) == (5, 5)
    assert [(row["code"], row["steps"]) for row in inrfit.open_dataset(made.folder).rows] == [(6, 30)] * 5


@pytest.mark.parametrize(
    ("asked", "settings", "said"),
    [
        (AskedRules("both"), {}, "choose own or shared"),
        (AskedRules(cap="30it"), {}, "needs a --floor"),
        (AskedRules(floor="30dB"), {"budget": "5s"}, "budget in steps alone"),
        (AskedRules(floor="30dB"), {"target": "35dB"}, "budget in steps alone"),
        (AskedRules(floor="30dB", cap="10it"), {}, "at least the budget's 20"),
        (AskedRules(floor="30dB", cap="10s"), {}, "number of steps"),
        (AskedRules(floor="30it"), {}, "30it"),
    ],
)
def test_rules_that_do_not_fit_are_refused(folder, tmp_path, asked, settings, said):
    with pytest.raises(UsageError, match=said):
        planned(tmp_path / "ds", [folder], asked=asked, **settings)


def test_one_field_that_fails_beside_others_costs_them_nothing(folder, tmp_path, monkeypatch):
    """An error that is no error of one fit, such as a bug of a plug-in."""
    undisturbed = planned(tmp_path / "undisturbed", [folder], part_size=5)
    run(undisturbed, InThisProcess())
    real = execution.storing.build_artifact

    def failing(plan, *further):
        if plan.name == "p3.png":
            raise ZeroDivisionError("by a plug-in")
        return real(plan, *further)

    monkeypatch.setattr(execution.storing, "build_artifact", failing)
    made = planned(tmp_path / "ds", [folder], part_size=5)
    totals = run(made, InThisProcess())
    assert (totals.fields, totals.failed) == (4, 1)
    whole, rest = inrfit.open_dataset(undisturbed.folder), inrfit.open_dataset(made.folder)
    kept = {row["id"]: k for k, row in enumerate(whole.rows)}
    for k, row in enumerate(rest.rows):
        assert rest.artifact(k).to_bytes() == whole.artifact(kept[row["id"]]).to_bytes()

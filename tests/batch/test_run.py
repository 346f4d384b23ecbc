"""Plans are run part by part; what is there stays, what fails is a row."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from made_batches import InThisProcess, hashes, listing, pictures, planned

from inrfit import execution
from inrfit.artifact import data_set
from inrfit.artifact.part_reading import Part
from inrfit.batch import fitting, plan
from inrfit.batch.differences import differences
from inrfit.batch.manifest import rows_of
from inrfit.batch.part_job import Died, Done, Job
from inrfit.batch.run import Shard, TooManyFailures, parse_shard, run, state
from inrfit.config.settings import Settings
from inrfit.errors import Diverged, UnreadableFile, UnwritableOutput, UsageError
from inrfit.io import files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("sources") / "pics")


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    """A finished data set of three parts, the last of one field."""
    made = planned(tmp_path_factory.mktemp("sets") / "ds", [folder])
    run(made, InThisProcess())
    return made


def part_of(made, number):
    return Part.from_bytes(Path(data_set.part_path(made.folder, number)).read_bytes())


def test_every_row_has_its_field_with_the_quality_of_its_own_weights(undisturbed, folder):
    totals = state(undisturbed)
    assert (totals.rows, totals.done, totals.fields, totals.failed, totals.parts_done) == (5, 5, 5, 0, 3)
    for number in range(3):
        part = part_of(undisturbed, number)
        for id in part.places:
            artifact = part.artifact(id)
            assert artifact.quality.items() <= artifact.measure(folder / f"{id}.png").quality.items()


def test_a_part_takes_few_bytes_beside_its_weights(undisturbed):
    part = part_of(undisturbed, 0)
    size = os.path.getsize(data_set.part_path(undisturbed.folder, 0))
    assert (size - 2 * 4 * part.stacks[0].spec.parameters) / 2 < 1000  # two fields only share what is common


@pytest.mark.parametrize("count", [2, 8])
def test_shards_give_the_same_parts(undisturbed, folder, tmp_path, count):
    made = planned(tmp_path / "ds", [folder])
    for index in reversed(range(count)):
        run(made, InThisProcess(), Shard(index, count))
    assert hashes(made.folder) == hashes(undisturbed.folder)


def test_a_second_run_does_only_what_is_missing(undisturbed, folder, tmp_path):
    made, executor = planned(tmp_path / "ds", [folder]), InThisProcess()
    run(made, executor)
    os.unlink(data_set.part_path(made.folder, 1))
    executor.jobs.clear()
    totals = run(made, executor)
    assert [job.part for job in executor.jobs] == [1]
    assert totals.done == 5
    assert hashes(made.folder) == hashes(undisturbed.folder)


def test_the_field_of_a_row_depends_on_no_other_row(undisturbed, folder, tmp_path):
    made = planned(tmp_path / "ds", [folder / "p3.png"])
    run(made, InThisProcess())
    assert part_of(made, 0).artifact("p3").to_bytes() == part_of(undisturbed, 1).artifact("p3").to_bytes()


def test_what_differs_from_the_plan_is_named(undisturbed, folder):
    rows = rows_of([str(folder)], listing)
    same = Settings(width=16, depth=3, budget="20it", sampler="full", device="cpu")
    assert differences(undisturbed, Settings(), None, None) == []
    assert differences(undisturbed, same, 2, rows) == []
    other = differences(undisturbed, Settings(width=24, budget="30it", device="cpu"), 3, rows[1:])
    assert other == [
        "--width 24 (the plan has 16)",
        "--budget 30it (the plan has 20it)",
        "--part-size 3 (the plan has 2)",
        "4 sources (the plan has 5)",
    ]


def test_a_plan_that_was_changed_is_refused(folder, tmp_path):
    made = planned(tmp_path / "ds", [folder])
    path = tmp_path / "ds" / "plan.json"
    header = json.loads(path.read_text())
    header["settings"]["width"] = 17
    path.write_text(json.dumps(header))
    with pytest.raises(UnreadableFile, match="changed by hand"):
        plan.read(made.folder)
    with pytest.raises(UnreadableFile, match="no plan here"):
        plan.read(str(tmp_path))


def test_settings_that_suit_no_source_are_refused_at_once(folder, tmp_path):
    with pytest.raises(UsageError, match="no effect"):
        planned(tmp_path / "ds", [folder], ratio=0.5)
    assert not (tmp_path / "ds").exists()


@pytest.fixture
def mixed(folder, tmp_path):
    """A plan with rows that cannot be fitted, and two sizes of pictures."""
    (tmp_path / "damaged.png").write_bytes((folder / "p0.png").read_bytes()[:60])
    (tmp_path / "text.txt").write_text("hello")
    larger = pictures(tmp_path / "large", 2, 16)
    return planned(
        tmp_path / "ds",
        [folder / "p0.png", tmp_path / "damaged.png", tmp_path / "none.png", larger / "p1.png", tmp_path / "text.txt"],
        part_size=5,
    )


def test_rows_that_fail_are_rows_and_the_others_are_fitted(mixed, undisturbed):
    executor = InThisProcess()
    totals = run(mixed, executor)
    part = part_of(mixed, 0)
    assert (totals.fields, totals.failed, totals.done) == (2, 3, 5)
    assert list(part.places) == ["p0", "p1"]
    assert [(row["id"], row["code"]) for row in part.failures] == [("damaged", 3), ("none", 3), ("text", 3)]
    assert part.failures[1]["reason"] == "missing"
    assert executor.pauses == []
    assert part.artifact("p0").to_bytes() == part_of(undisturbed, 0).artifact("p0").to_bytes()
    with pytest.raises(UsageError, match="no such file"):
        part.artifact("none")


def test_too_many_failures_end_the_run(mixed):
    with pytest.raises(TooManyFailures, match="3 rows have failed"):
        run(mixed, InThisProcess(), max_failures=2)
    assert run(mixed, InThisProcess(), max_failures=3).failed == 3


def test_an_error_of_the_system_is_tried_again_twice(folder, tmp_path, monkeypatch):
    made, executor, calls = planned(tmp_path / "ds", [folder / "p0.png"]), InThisProcess(), []
    real = files.read_all

    def failing(*arguments):
        calls.append(1)
        if len(calls) <= failures:
            raise OSError(errno.EIO, "I/O error")
        return real(*arguments)

    batch_rows = made.rows_of(0)
    monkeypatch.setattr(files, "read_all", failing)
    failures = 2
    ((_, first),) = fitting.Fitter(made.settings, pause=executor.pauses.append).fit(batch_rows)
    assert isinstance(first, fitting.Fitted)
    assert executor.pauses == [1.0, 2.0]
    calls.clear()
    failures = 3
    ((_, second),) = fitting.Fitter(made.settings, pause=executor.pauses.append).fit(batch_rows)
    assert (second.code, second.reason) == (3, "unreadable")


def test_a_fit_that_diverges_is_made_once_more_with_half_the_rate(folder, tmp_path, monkeypatch):
    made, rates = planned(tmp_path / "ds", [folder / "p0.png"]), []
    real = execution.execute_together

    def diverging(plans, *further):
        rates.append(plans[0].settings.lr)
        return [Diverged("diverged", "diverged")] if len(rates) <= failures else real(plans, *further)

    monkeypatch.setattr(execution, "execute_together", diverging)
    failures = 1
    ((_, result),) = fitting.Fitter(made.settings).fit(made.rows_of(0))
    assert rates[0] is None
    assert result.artifact.provenance["settings"]["adam_rate"] == pytest.approx(rates[1])
    rates.clear()
    failures = 2
    ((_, result),) = fitting.Fitter(made.settings).fit(made.rows_of(0))
    assert (result.code, len(rates)) == (6, 2)


def test_a_full_disk_ends_the_run_and_fails_no_row(folder, tmp_path, monkeypatch):
    made, executor = planned(tmp_path / "ds", [folder]), InThisProcess()
    real = files.write

    def full(path, *arguments, **more):
        if "part-00001" in str(path):
            raise UnwritableOutput("no space left on device", "enospc")
        real(path, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(files, "write", full)
        with pytest.raises(UnwritableOutput, match="no space"):
            run(made, executor)
    assert executor.pauses == [1.0, 2.0]
    assert list(hashes(made.folder)) == [0]
    assert run(made, InThisProcess()).failed == 0


class Dying(InThisProcess):
    """A process ends whenever the row ``killer`` is fitted, or always."""

    def __init__(self, killer=None, deaths=99):
        super().__init__()
        self.killer, self.deaths = killer, deaths

    def map(self, jobs):
        for job in list(jobs):
            dies = self.killer is None or job.part == self.killer // 2
            if job.only is not None:
                dies = job.only == self.killer
            if (job.killers and self.killer in job.killers) or not self.deaths or not dies:
                yield from super().map([job])
            else:
                self.deaths -= 1
                yield Died(job, "SIGSEGV")


def test_a_process_that_dies_once_costs_nothing(undisturbed, folder, tmp_path):
    made = planned(tmp_path / "ds", [folder])
    assert run(made, Dying(deaths=2)).failed == 0
    assert hashes(made.folder) == hashes(undisturbed.folder)


def test_the_row_that_ends_its_process_is_found_and_the_others_are_fitted(undisturbed, folder, tmp_path):
    made = planned(tmp_path / "ds", [folder])
    totals = run(made, Dying(killer=3))
    assert (totals.fields, totals.failed) == (4, 1)
    (failure,) = part_of(made, 1).failures
    assert (failure["id"], failure["reason"], failure["code"]) == ("p3", "killed", 1)
    assert "SIGSEGV" in failure["message"]
    assert part_of(made, 1).artifact("p2").to_bytes() == part_of(undisturbed, 1).artifact("p2").to_bytes()


def test_a_part_that_cannot_be_done_at_all_has_failures_only(folder, tmp_path):
    class Hopeless(Dying):
        def map(self, jobs):
            for job in list(jobs):
                if len(job.killers) == 2:
                    yield from InThisProcess.map(self, [job])
                else:
                    yield Done(job, {}) if job.only is not None else Died(job, "SIGKILL")

    made = planned(tmp_path / "ds", [folder / "p0.png", folder / "p1.png"])
    assert run(made, Hopeless()).failed == 2


def test_rows_that_failed_are_fitted_again_and_the_others_stay(mixed, folder, tmp_path):
    run(mixed, InThisProcess())
    before = part_of(mixed, 0).artifact("p1").to_bytes()
    (tmp_path / "none.png").write_bytes((folder / "p2.png").read_bytes())
    executor = InThisProcess()
    totals = run(mixed, executor, again=[0])
    assert (totals.fields, totals.failed, totals.done) == (3, 2, 5)
    part = part_of(mixed, 0)
    assert set(part.places) == {"p0", "none", "p1"}
    assert part.artifact("p1").to_bytes() == before
    assert part.artifact("none").quality.items() <= part.artifact("none").measure(folder / "p2.png").quality.items()


def test_shards_are_counted_from_0():
    assert parse_shard("2/3") == Shard(2, 3)
    for text in ("3/3", "1", "a/b", "-1/3", "0/0"):
        with pytest.raises(UsageError, match="--shard"):
            parse_shard(text)


def test_only_temporary_files_that_nobody_needs_are_removed(undisturbed, folder, tmp_path):
    from inrfit.io.temporary import host_id

    made = planned(tmp_path / "ds", [folder])
    parts = tmp_path / "ds" / "parts" / "00"
    parts.mkdir(parents=True)
    name = ".part-00001.safetensors.{}-{}-0123456789abcdef.inrfit-tmp"
    gone, own, foreign, old = (
        parts / name.format(*each)
        for each in ((host_id(), 2**22 + 1), (host_id(), os.getpid()), ("0" * 8, 1), ("1" * 8, 1))
    )
    for path in (gone, own, foreign, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    run(made, InThisProcess())
    assert [path.exists() for path in (gone, own, foreign, old)] == [False, True, True, False]
    assert hashes(made.folder) == hashes(undisturbed.folder)


def test_an_old_job_does_not_run_another_plan(undisturbed):
    from inrfit.batch.part_job import run_job
    from inrfit.errors import InrfitError

    with pytest.raises(InrfitError, match="replaced"):
        run_job(Job(undisturbed.folder, "0" * 64, 0))

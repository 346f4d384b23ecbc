"""Data sets are read back: by id, as a PyTorch data set, and in other forms."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made_batches import InThisProcess, pictures, planned
from torch.utils.data import DataLoader

import inrfit
from inrfit.__main__ import run as command
from inrfit.artifact import data_set
from inrfit.artifact.part_reading import Part
from inrfit.batch.run import run
from inrfit.errors import RefusedInput, UnreadableFile, UsageError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A data set of seven fields of two sizes and one failure, in three parts, with an index."""
    root = tmp_path_factory.mktemp("root")
    pictures(root / "small", 4)
    pictures(root / "large", 3, 16)
    rows = [
        {"source": f"small/p{k}.png", "id": f"s{k}", "label": k % 2, "split": "train", "angle": 10 * k}
        for k in range(4)
    ]
    rows.insert(2, {"source": "small/none.png", "id": "gone"})
    rows += [{"source": f"large/p{k}.png", "id": f"large/{k}", "label": 5, "split": "test"} for k in range(3)]
    (root / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = planned(root / "ds", [root / "m.jsonl"], part_size=3)
    run(made, InThisProcess())
    assert command(["batch", "check", made.folder, "-q"]) == 0
    return made


IDS = ["s0", "s1", "s2", "s3", "large/0", "large/1", "large/2"]


def test_the_fields_stand_in_the_order_of_the_plan_with_their_rows(finished):
    fields = inrfit.open_dataset(finished.folder)
    assert [row["id"] for row in fields.rows] == IDS
    row = fields.rows[3]
    assert (row["label"], row["split"], row["angle"], row["steps"], row["code"]) == (1, "train", 30, 20, 0)
    assert row["psnr"] == inrfit.load(f"{finished.folder}#s3").quality["psnr"]
    assert (fields[3].label, fields[3].split, fields[-1].label) == (1, "train", 5)
    with pytest.raises(IndexError):
        fields[7]


def test_items_are_the_weights_of_the_field_as_they_were_measured(finished):
    named, flat = inrfit.open_dataset(finished.folder), inrfit.open_dataset(finished.folder, flat=True)
    for number, id in enumerate(IDS):
        artifact = named.artifact(id)
        assert (
            artifact.to_bytes()
            == named.artifact(number).to_bytes()
            == inrfit.load(f"{finished.folder}#{id}").to_bytes()
        )
        item = named[number].weights
        assert list(item) == list(artifact.spec.shapes)
        assert all(np.array_equal(item[name], weight) for name, weight in artifact.weights.items())
        together = np.concatenate([weight.reshape(-1) for weight in artifact.weights.values()])
        assert np.array_equal(flat[number].weights, together)


def test_what_is_done_to_an_item_does_not_change_the_data_set(finished):
    fields = inrfit.open_dataset(finished.folder)
    before = fields[0].weights["last.bias"].clone()
    fields[0].weights["last.bias"].zero_()
    assert torch.equal(fields[0].weights["last.bias"], before)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_a_loader_read_the_same(finished, context):
    fields = inrfit.open_dataset(finished.folder, split="train", flat=True)
    loader = DataLoader(fields, batch_size=2, num_workers=1, multiprocessing_context=context)
    batches = list(loader)
    assert torch.equal(torch.cat([batch.weights for batch in batches]), torch.stack([f.weights for f in fields]))
    assert torch.cat([batch.label for batch in batches]).tolist() == [0, 1, 0, 1]


def test_a_data_set_can_be_pickled_while_it_is_open(finished):
    fields = inrfit.open_dataset(finished.folder)
    first = fields[0]
    again = pickle.loads(pickle.dumps(fields))
    assert torch.equal(again[0].weights["first.weight"], first.weights["first.weight"])


def test_a_split_that_there_is_not_names_those_that_there_are(finished):
    assert len(inrfit.open_dataset(finished.folder, split="test")) == 3
    with pytest.raises(UsageError, match="test, train"):
        inrfit.open_dataset(finished.folder, split="validation")


def test_without_an_index_or_with_an_old_one_the_headers_are_read(finished, tmp_path):
    wanted = inrfit.open_dataset(finished.folder).rows
    copy = tmp_path / "ds"
    shutil.copytree(finished.folder, copy)
    index = copy / data_set.INDEX
    text = index.read_text()
    index.unlink()
    assert inrfit.open_dataset(copy).rows == wanted
    assert inrfit.load(f"{copy}#s3").quality == inrfit.load(f"{finished.folder}#s3").quality
    index.write_text(text.replace('"s3"', '"other"'))
    os.utime(index, (0, 0))
    assert inrfit.open_dataset(copy).rows == wanted
    assert inrfit.load(f"{copy}#s3")
    os.unlink(data_set.part_path(str(copy), 1))
    os.utime(index)
    assert [row["id"] for row in inrfit.open_dataset(copy).rows] == ["s0", "s1", "large/1", "large/2"]


def test_a_field_is_named_by_its_part_or_its_data_set_and_its_id(finished):
    part = data_set.part_path(finished.folder, 0)
    assert inrfit.load(f"{part}#s1").to_bytes() == inrfit.load(f"{finished.folder}#s1").to_bytes()
    for path, message in (
        (f"{part}#s9", "no field 's9' in this part"),
        (f"{finished.folder}#s9", "no field 's9' in the data set"),
        (f"{finished.folder}#gone", "gone has no field: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            inrfit.load(path)
    with pytest.raises(RefusedInput, match="as in FILE#ID"):
        inrfit.load(part)
    with pytest.raises(UnreadableFile, match=r"no plan\.json"):
        inrfit.load(f"{Path(finished.folder).parent}#s1")


def test_a_file_whose_name_has_the_sign_is_read_as_before(finished, tmp_path):
    path = tmp_path / "a#s1.safetensors"
    inrfit.load(f"{finished.folder}#s1").save(path)
    (tmp_path / "a").mkdir()
    assert inrfit.load(path).provenance["source"]["name"] == "p1.png"


def test_commands_take_ids(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(["info", f"{finished.folder}#s1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quality"] == inrfit.load(f"{finished.folder}#s1").quality
    assert command(["decode", f"{finished.folder}#large/1", "-q"]) == 0
    assert Path("1.decoded.png").exists()
    assert command(["query", f"{finished.folder}#s1", "--slice", "y=2", "--format", "npy", "-q"]) == 0
    assert np.load("s1.query.npy").shape == (12, 3)
    assert command(["measure", f"{finished.folder}#s1", str(Path(finished.folder).parent / "small" / "p1.png")]) == 0
    assert command(["decode", finished.folder, "-o", "out/", "-q"]) == 0
    assert sorted(path.name for path in Path("out").rglob("*.png")) == [
        *(f"{k}.decoded.png" for k in range(3)),
        *(f"s{k}.decoded.png" for k in range(4)),
    ]


def test_a_data_set_becomes_files(finished, tmp_path):
    out = tmp_path / "fields"
    assert command(["batch", "export", finished.folder, "--to", "files", "-o", str(out), "-q"]) == 0
    assert (out / "large" / "1.safetensors").read_bytes() == inrfit.load(f"{finished.folder}#large/1").to_bytes()
    assert len(list(out.rglob("*.safetensors"))) == 7
    assert command(["batch", "export", finished.folder, "--to", "files", "-o", str(out), "-q"]) == 2


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_a_data_set_becomes_one_file_of_stacked_weights(finished, tmp_path, kind):
    out = tmp_path / f"ds.{kind}"
    assert command(["batch", "export", finished.folder, "--to", kind, "-o", str(out), "-q"]) == 0
    if kind == "npz":
        found = dict(np.load(out))
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(out) as file:
            found = {name: file[name].asstr()[()] if file[name].dtype == object else file[name][()] for name in file}
    for number, id in enumerate(IDS):
        for name, weight in inrfit.load(f"{finished.folder}#{id}").weights.items():
            assert np.array_equal(found[name][number], weight)
    assert found["id"].tolist() == IDS
    assert found["label"].tolist() == [0, 1, 0, 1, 5, 5, 5]
    assert found["angle"][:4].tolist() == ["0", "10", "20", "30"]
    assert json.loads(str(found["field"]))["architecture"] == "siren"


def test_weights_of_the_papers_make_the_papers_siren(finished, tmp_path, capsys):
    out = tmp_path / "ds.npz"
    assert command(["batch", "export", finished.folder, "--to", "npz", "--weights", "paper", "-o", str(out), "-q"]) == 0
    found = dict(np.load(out))
    options = json.loads(str(found["field"]))["options"]
    first_omega, omega = options["first_omega"], options.get("omega", 30.0)
    coords = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    for number, id in enumerate(IDS):
        x = np.sin(first_omega * (coords @ found["first.weight"][number].T + found["first.bias"][number]))
        for weight, bias in zip(found["hidden.weight"][number], found["hidden.bias"][number], strict=True):
            x = np.sin(omega * (x @ weight.T + bias))
        values = x @ found["last.weight"][number].T + found["last.bias"][number]
        expected = inrfit.load(f"{finished.folder}#{id}").field(torch.device("cpu")).evaluate(torch.from_numpy(coords))
        assert np.abs(values - expected.numpy()).max() < 1e-4
    assert np.abs(found["first.weight"]).max() < 2  # U(+-1/d) and what was learned
    assert command(["batch", "export", finished.folder, "--to", "files", "--weights", "paper"]) == 2
    assert "stored, which inrfit decodes" in capsys.readouterr().err


def test_fields_of_several_sizes_share_parts_and_cannot_be_stacked(finished, tmp_path, capsys):
    root = Path(finished.folder).parent
    (root / "m2.jsonl").write_text('{"source": "small/p0.png"}\n{"source": "large/*.png"}\n')
    made = planned(tmp_path / "ds", [root / "m2.jsonl"], part_size=4, arch="grid", width=None)
    assert run(made, InThisProcess()).failed == 0
    assert len(Part.from_bytes(Path(data_set.part_path(made.folder, 0)).read_bytes()).stacks) == 2
    fields = inrfit.open_dataset(made.folder)
    assert [row["id"] for row in fields.rows] == ["small/p0", "large/p0", "large/p1", "large/p2"]
    assert fields[0].weights["table"].shape != fields[1].weights["table"].shape
    assert command(["batch", "export", made.folder, "--to", "npz", "-q"]) == 2
    assert "export --to files" in capsys.readouterr().err


def test_without_h5py_it_is_named(finished, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    assert command(["batch", "export", finished.folder, "--to", "hdf5"]) == 2
    assert "inrfit[hdf5]" in capsys.readouterr().err


def test_a_damaged_part_is_found(finished, tmp_path, capsys):
    copy = tmp_path / "ds"
    shutil.copytree(finished.folder, copy)
    path = Path(data_set.part_path(str(copy), 1))
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-100])
    assert command(["batch", "check", str(copy)]) == 7
    assert "part-00001.safetensors: " in capsys.readouterr().err
    shutil.copy(data_set.part_path(str(copy), 0), path)
    assert command(["batch", "check", str(copy)]) == 7
    assert "another part" in capsys.readouterr().err


def test_status_counts_what_is_there(finished, capsys):
    assert command(["batch", "status", finished.folder]) == 0
    out = capsys.readouterr().out
    assert "8 of 8 rows done, 1 failed" in out
    assert "failed with code 3, missing: 1" in out
    assert "gone (none.png): no such file" in out
    assert command(["batch", "status", finished.folder, "--json"]) == 0
    failure, totals = map(json.loads, capsys.readouterr().out.splitlines())
    assert (failure["id"], failure["code"], totals["fields"], totals["failed"]) == ("gone", 3, 7, 1)


@pytest.mark.parametrize("store", ["int8", "fp16", "bf16"])
def test_stores_of_fewer_bytes_are_stacked_too(finished, tmp_path, store):
    made = planned(tmp_path / "ds", [Path(finished.folder).parent / "small"], part_size=4, store=store)
    run(made, InThisProcess())
    fields = inrfit.open_dataset(made.folder)
    for number, row in enumerate(fields.rows):
        artifact = fields.artifact(number)
        assert artifact.store == ("int" if store == "int8" else store)
        assert (
            artifact.quality.items()
            <= artifact.measure(Path(finished.folder).parent / "small" / f"{row['id']}.png").quality.items()
        )
        assert all(np.array_equal(fields[number].weights[name], w) for name, w in artifact.weights.items())

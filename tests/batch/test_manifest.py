"""Rows from files, folders and manifests."""

from __future__ import annotations

import json

import pytest
from made_batches import listing, pictures

from inrfit.batch.manifest import Row, rows_of
from inrfit.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    return pictures(tmp_path / "pics", 3, 4)


def ids(*sources):
    return [row.id for row in rows_of(map(str, sources), listing)]


def test_the_id_of_a_file_is_its_path_below_what_was_given(folder, tmp_path):
    assert ids(folder) == ["p0", "p1", "p2"]
    assert ids(folder / "p1.png") == ["p1"]
    other = pictures(tmp_path / "more", 1, 4)
    assert ids(folder, other) == ["pics/p0", "pics/p1", "pics/p2", "more/p0"]


def test_where_two_ids_would_be_the_same_they_keep_their_suffixes(folder):
    assert ids(folder / "p0.png", folder / "p0.jpg") == ["p0.png", "p0.jpg"]


def test_two_rows_with_one_id_are_refused(folder, tmp_path):
    with pytest.raises(UsageError, match="have the same id"):
        ids(folder, tmp_path / "pics" / "p0.png")


def test_a_jsonl_manifest_names_what_it_likes(folder, tmp_path):
    manifest = tmp_path / "m.jsonl"
    rows = [
        {"source": "pics/p0.png", "id": "cat_17", "seed": 5, "label": 3, "split": "train", "camera": "x", "iso": 100},
        {"source": "pics/p1.png", "label": "dog"},
        {"source": "pics/*.png"},
    ]
    manifest.write_text("\n".join(map(json.dumps, rows[:2])))
    first, second = rows_of([str(manifest)], listing)
    columns = {"camera": "x", "iso": 100}
    assert first == Row(str(folder / "p0.png"), "cat_17", 5, 3, "train", columns)
    assert (second.id, second.label, second.seed) == ("pics/p1", "dog", None)
    manifest.write_text(json.dumps(rows[2]))
    assert ids(manifest) == ["pics/p0", "pics/p1", "pics/p2"]


def test_in_a_csv_manifest_whole_numbers_are_labels_and_empty_cells_are_nothing(folder, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("source,label,split,note\npics/p0.png,7,train,\npics/p1.png,x7,,blurred\n")
    first, second = rows_of([str(manifest)], listing)
    assert (first.label, first.split, dict(first.columns)) == (7, "train", {})
    assert (second.label, second.split, dict(second.columns)) == ("x7", None, {"note": "blurred"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: .*not JSON"),
        ("[]", "must have a source"),
        ('{"source": ""}', "must have a source"),
        ('{"source": "p.png", "seed": -1}', "seed must be"),
        ('{"source": "p.png", "steps": 3}', "the data set's own"),
        ('{"source": "p.png", "more": [1]}', "more must be a text"),
        ('{"source": "none*.png"}', "no file is called"),
        ('{"source": "p.png", "id": "a\\nb"}', "printable"),
        ('{"source": "p.png", "source": "p.png"}', "twice"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path, line, message):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(line + "\n")
    with pytest.raises(UsageError, match=message):
        ids(manifest)


def test_a_wrong_csv_is_refused(tmp_path):
    manifest = tmp_path / "m.csv"
    for text in ("source,label\np.png\n", "source\np.png,1\n", "name\np.png\n"):
        manifest.write_text(text)
        with pytest.raises(UsageError, match="line 2"):
            ids(manifest)


def test_the_seed_of_a_row_follows_from_its_id_alone():
    row = Row("a.png", "a")
    assert row.seed_within(0) == Row("b.png", "a").seed_within(0) != row.seed_within(1)
    assert row.seed_within(0) != Row("a.png", "b").seed_within(0)
    assert Row("a.png", "a", seed=7).seed_within(0) == 7

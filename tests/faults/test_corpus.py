"""What the loops have found, kept: each file of corpus/ ends as README.tsv says. All of them were made by the loops."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from workbench import Verdict, command

CORPUS = Path(__file__).parent / "corpus"
ROWS = list(csv.DictReader((CORPUS / "README.tsv").read_text().splitlines(), delimiter="\t"))


def test_every_file_of_the_corpus_is_listed():
    assert sorted(row["file"] for row in ROWS) == sorted(
        path.name for path in CORPUS.iterdir() if path.suffix != ".tsv"
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_find_stays_mended(row, tmp_path, capfd):
    path = CORPUS / row["file"]
    words = (
        ["decode", path, "-o", tmp_path / "decoded.png"]
        if path.suffix == ".safetensors"
        else ["encode", path, "--dry-run"]
    )
    verdict = Verdict(command([*words, "--json"]), 0.0, *capfd.readouterr())
    assert verdict.problem() is None
    reason = json.loads(verdict.out)["error"]["reason"] if verdict.code else ""
    assert (verdict.code, reason) == (int(row["code"]), row["reason"])

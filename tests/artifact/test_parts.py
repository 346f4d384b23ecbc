"""What is refused of the header of a part of a data set, before any of its fields is read."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from made_batches import InThisProcess, pictures, planned

from inrfit.artifact import container, data_set, header_dictionary, weight_dtypes
from inrfit.artifact.part_reading import Part
from inrfit.artifact.part_writing import FittedRow, to_bytes
from inrfit.batch.run import run
from inrfit.errors import InrfitError, UnreadableFile


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """The bytes of a part with two fields."""
    folder = tmp_path_factory.mktemp("part")
    made = planned(folder / "ds", [pictures(folder / "pictures", 2)])
    run(made, InThisProcess())
    return Path(data_set.part_path(made.folder, 0)).read_bytes()


def inflated(data):
    """The metadata, the tensors and the header of a part."""
    metadata, tensors, start = container.parse_table(data)
    stored = {
        name: container.Stored(tensor.dtype, tensor.shape, data[start + tensor.start : start + tensor.stop])
        for name, tensor in tensors.items()
    }
    plain = zlib.decompressobj(-zlib.MAX_WBITS, zdict=header_dictionary.TEXT).decompress(
        stored[container.PART_KEY].content
    )
    return metadata, stored, json.loads(plain)


def with_header(data, header):
    """The part with another header."""
    metadata, stored, _ = inflated(data)
    return container.serialize_with(metadata, {**stored, container.PART_KEY: container.deflated(header)})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("seed",), None, "lacks the key 'seed'"),
        (("steps",), None, "lacks the key 'steps'"),
        (("id",), "a\0/b", "must be 1 to 200 printable characters"),
        (("id",), "", "must be 1 to 200 printable characters"),
        (("number",), 1, "two rows have the same number"),
        (("quality", "psnr"), [1], "must be null, true, false"),
        (("provenance", "source"), 1.5, "source must be an object"),
        (("provenance", "settings"), 3, "must be an object"),
    ],
)
def test_what_an_index_is_made_of_is_as_it_must_be(part, path, value, message):
    header = inflated(part)[2]
    holder = header["stacks"][0]["rows"][0]
    for key in path[:-1]:
        holder = holder.setdefault(key, {})
    holder[path[-1]] = value
    if value is None:
        del holder[path[-1]]
    with pytest.raises(UnreadableFile, match=message):
        Part.from_bytes(with_header(part, header))
    assert len(Part.from_bytes(with_header(part, inflated(part)[2])).places) == 2


def test_a_header_of_too_many_values_is_refused_before_it_is_parsed(part):
    header = {**inflated(part)[2], "failures": [[]] * (container.MAX_VALUES // 2)}
    with pytest.raises(UnreadableFile, match="more than 4,194,304 values"):
        Part.from_bytes(with_header(part, header))


@pytest.mark.parametrize("change", [lambda weight: weight + 1, lambda weight: weight * np.inf])
def test_a_part_is_written_only_if_it_has_the_weights_that_were_measured(part, change, monkeypatch):
    read = Part.from_bytes(part)
    keys = ("id", "number", "seed", "steps")
    fitted = [FittedRow(read.artifact(row["id"]), {key: row[key] for key in keys}) for row in read.stacks[0].rows]
    assert to_bytes(read.header["plan"], 0, fitted, [], read.summary["machines"]) == part
    pack = weight_dtypes.pack
    monkeypatch.setattr(weight_dtypes, "pack", lambda weight, kind: pack(change(weight), kind))
    with pytest.raises(InrfitError, match=r"not read back as they were measured|not finite"):
        to_bytes(read.header["plan"], 0, fitted, [])

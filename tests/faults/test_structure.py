"""Any JSON value in any place of a header, a state or a table of tensors: read, or refused.

Hypothesis looks for the smallest value that fails.
"""

from __future__ import annotations

import json
import struct
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from made_files import pixels
from models import fitted, stored
from mutations import VALUES, paths

import inrfit
from inrfit.artifact import container, contents
from inrfit.artifact.artifact import Artifact
from inrfit.errors import RefusedInput
from inrfit.fit import checkpoint
from inrfit.io import tensors

pytestmark = pytest.mark.slow
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")

ANY_JSON = st.recursive(
    st.sampled_from(VALUES) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
STILL = settings(
    max_examples=60,
    database=None,
    derandomize=True,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


def with_value(tree, path, value):
    """A copy of a JSON value with ``value`` at ``path``."""
    made = json.loads(json.dumps(tree))
    holder = made
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return made


def read_or_refused(read, data):
    """Fails if reading raises anything but a refusal."""
    with suppress(RefusedInput):
        read(data)


@cache
def field(modality, store):
    """A small field."""
    return stored(fitted("siren", modality), store)


@pytest.mark.parametrize("modality", ["image", "audio"])
@STILL
@given(data=st.data())
def test_the_header_of_a_field(modality, data):
    artifact = field(modality, "fp16")
    header = artifact.header()
    header = with_value(header, data.draw(st.sampled_from(paths(header))), data.draw(ANY_JSON))
    tensors_of_file = {**contents.tensors_of(artifact), container.KEY: container.deflated(header)}
    read_or_refused(Artifact.from_bytes, container.serialize(container.VERSION, tensors_of_file))


@STILL
@given(data=st.data())
def test_the_table_of_tensors(data):
    whole = field("image", "int").to_bytes()
    (length,) = struct.unpack_from("<Q", whole)
    table = json.loads(whole[8 : 8 + length])
    table = with_value(table, data.draw(st.sampled_from(paths(table))), data.draw(ANY_JSON))
    text = json.dumps(table).encode()
    read_or_refused(Artifact.from_bytes, struct.pack("<Q", len(text)) + text + whole[8 + length :])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The saved state of an interrupted fit, as arrays and JSON values."""
    output, polls = tmp_path_factory.mktemp("state") / "field.safetensors", iter(range(10**9))
    settings = {"budget": "60it", "width": 16, "depth": 2, "batch": 256, "device": "cpu", "engine": "analytic"}
    inrfit.encode(pixels(), output=output, checkpoint="1h", should_stop=lambda: next(polls) > 40, **settings)
    return tensors.loads(Path(f"{output}.state").read_bytes(), tensors.STATE_KEY)


@STILL
@given(data=st.data())
def test_the_values_of_a_state(saved, data):
    arrays, values = saved
    values = with_value(values, data.draw(st.sampled_from(paths(values))), data.draw(ANY_JSON))
    read_or_refused(checkpoint.loads, tensors.dumps(arrays, tensors.STATE_KEY, values))

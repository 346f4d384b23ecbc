"""Registries find what other packages offer, and only then."""

from __future__ import annotations

import warnings

import pytest

from inrfit.errors import InrfitWarning, UsageError
from inrfit.io import registry
from inrfit.io.registry import Registry


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a distribution with entry points of the group "inrfit.tests": one is good, the others are not."""
    (tmp_path / "plugin_for_tests.py").write_text("good = 'good value'\nwrong = 3\n")
    (tmp_path / "plugin_broken.py").write_text("raise OSError('no such library')\n")
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    points = {"good": "plugin_for_tests:good", "wrong": "plugin_for_tests:wrong", "broken": "plugin_broken:x"}
    lines = [f"{name} = {value}\n" for name, value in points.items()]
    (info / "entry_points.txt").write_text("".join(["[inrfit.tests]\n", *lines, "own = plugin_for_tests:good\n"]))
    monkeypatch.syspath_prepend(tmp_path)
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


def names() -> Registry[str]:
    return Registry("inrfit.tests", {"own": "own value"}, lambda name, entry: "" if type(entry) is str else "no text")


@pytest.mark.usefixtures("installed")
def test_a_name_that_is_not_built_in_is_looked_up_among_the_plugins():
    known = names()
    assert list(known) == ["own"]
    assert "good" in known
    assert known["good"] == "good value"
    assert list(known) == ["own", "good"]


@pytest.mark.usefixtures("installed")
def test_a_built_in_name_cannot_be_replaced():
    known = names()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known.load_all()
    assert known["own"] == "own value"
    with pytest.raises(UsageError, match="is taken by"):
        known.add("own", "another value")
    with pytest.raises(UsageError, match="is taken by"):
        known.add("good", "another value")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "problem"), [("broken", "OSError: no such library"), ("wrong", "no text")])
def test_a_broken_plugin_costs_one_warning(name, problem):
    known = names()
    with pytest.warns(InrfitWarning, match=f"{name} .*left out: {problem}") as told:
        assert [name in known for _ in range(2)] == [False, False]
    assert len(told) == 1
    assert name not in known.offered()
    with pytest.raises(KeyError):
        known[name]


@pytest.mark.usefixtures("installed")
def test_what_is_offered_includes_plugins_that_are_not_loaded():
    known = names()
    assert sorted(known.offered()) == ["broken", "good", "own", "wrong"]
    assert list(known) == ["own"]


def test_an_added_object_replaces_one_that_was_added_before_it():
    known = names()
    assert known.add("mine", "first") == "mine"
    assert known.add("mine", "second") == "mine"
    assert known["mine"] == "second"
    with pytest.raises(UsageError, match="no text"):
        known.add("mine", 3)

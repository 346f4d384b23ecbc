"""Plug-ins with faults: each costs one line that names it, and neither the command nor the other files."""

from __future__ import annotations

import json
import textwrap
import warnings
from dataclasses import dataclass, make_dataclass

import numpy as np
import pytest
import torch
from PIL import Image

import inrfit
from inrfit.__main__ import run
from inrfit.errors import InrfitWarning, PluginError, UsageError
from inrfit.fields import FIELDS
from inrfit.fields.mlp.siren import Siren
from inrfit.io import registry
from inrfit.modalities import MODALITIES
from inrfit.samplers import SAMPLERS, Selection
from inrfit.samplers.selection import invalid_because

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
QUICK = {"budget": "5it", "width": 8, "depth": 1, "device": "cpu"}
OPTIONS = ["--budget", "5it", "--width", "8", "--depth", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def registries():
    """The registries as they were, after each test."""
    known = (SAMPLERS, FIELDS, MODALITIES)
    saved = [(dict(each), set(each._failed), set(each._added)) for each in known]
    modules = dict(registry._plugin_modules)
    yield
    for each, (entries, failed, added) in zip(known, saved, strict=True):
        each.clear()
        each.update(entries)
        each._failed, each._added = failed, added
    registry._plugin_modules.clear()
    registry._plugin_modules.update(modules)
    registry._installed.cache_clear()


@pytest.fixture
def install(tmp_path_factory, monkeypatch):
    """Installs a package: ``install(module, code, samplers={"name": "Class"})``, with groups as keywords."""

    def installed(module: str, code: str, **groups: dict[str, str]) -> None:
        folder = tmp_path_factory.mktemp(module)
        (folder / f"{module}.py").write_text(textwrap.dedent(code))
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = []
        for group, entries in groups.items():
            lines.append(f"[inrfit.{group}]")
            lines += [f"{name} = {module}:{value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(__import__("sys").modules, module, raising=False)
        registry._installed.cache_clear()

    return installed


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        Image.fromarray(PIXELS).save(name)


SAMPLER = """
    import torch
    from dataclasses import dataclass
    from inrfit.samplers import Selection

    @dataclass(frozen=True)
    class Odd:
        ratio: float = 0.5

        def select(self, learner, previous):
            some = learner.draw(8)
            {body}
"""

WRONG_SELECTIONS = {
    "raise ValueError('boom')": "the sampler plug-in odd (odd_sampler:Odd) failed: ValueError: boom (odd_sampler, line",
    "import sys; sys.exit(0)": "failed: SystemExit: 0",
    "return learner.nothing": "failed: AttributeError",
    "return None": "select must return a Selection, not NoneType",
    "return Selection(some[:0])": "Selection.indices is empty",
    "return Selection(some + learner.n)": "Selection.indices must be from 0 to 255",
    "return Selection(some - learner.n)": "Selection.indices must be from 0 to 255",
    "return Selection(some[[0, 0]])": "Selection.indices must be distinct",
    "return Selection(some, -torch.ones(8))": "Selection.weights must be finite",
    "return Selection(some, torch.full((8,), torch.nan))": "Selection.weights must be finite",
}


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(("body", "message"), WRONG_SELECTIONS.items())
def test_a_wrong_selection_fails_its_file_and_not_the_command(body, message, install, capsys):
    install("odd_sampler", SAMPLER.format(body=body), samplers={"odd": "Odd"})
    assert run(["encode", "a.png", "--sampler", "odd", *OPTIONS]) == 2
    assert message in capsys.readouterr().err
    assert run(["encode", "a.png", "b.png", "--sampler", "odd", *OPTIONS]) == 7
    assert capsys.readouterr().err.count(message) == 2


def unchecked(**fields) -> Selection:
    """A selection without the checks of types that the tests add."""
    selection = Selection.__new__(Selection)
    for name, value in {"weights": None, "memory": {}, "origin": {}, **fields}.items():
        object.__setattr__(selection, name, value)
    return selection


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"indices": None}, ""),
        ({"indices": torch.arange(4), "weights": torch.ones(4)}, ""),
        ({"indices": [1, 2]}, "Selection.indices must be None or a tensor of int64"),
        ({"indices": np.arange(4)}, "Selection.indices must be None or a tensor of int64"),
        ({"indices": torch.ones(4)}, "Selection.indices must be None or a tensor of int64"),
        ({"indices": torch.ones(4, 1, dtype=torch.int64)}, "with one dimension"),
        ({"indices": None, "weights": torch.ones(4)}, "one weight for each of Selection.indices"),
        ({"indices": torch.arange(4), "weights": torch.ones(3)}, "one weight for each of Selection.indices"),
        ({"indices": torch.arange(4), "weights": [1.0] * 4}, "one weight for each of Selection.indices"),
        ({"indices": None, "memory": {"past": [1]}}, "Selection.memory must hold tensors"),
        ({"indices": torch.arange(4), "origin": {"chance": 4}}, ""),
        ({"indices": torch.arange(4), "origin": {"chance": 3}}, "Selection.origin must count all 4 points, not 3"),
    ],
)
def test_values_of_wrong_types_are_found(fields, problem):
    learner = type("Ten", (), {"n": 10})()
    assert problem in invalid_because(unchecked(**fields), learner)
    assert bool(problem) == bool(invalid_because(unchecked(**fields), learner))


@pytest.mark.usefixtures("photos")
def test_a_failing_sampler_is_a_failed_run_of_a_comparison(install, capsys):
    install("odd_sampler", SAMPLER.format(body="raise ValueError('boom')"), samplers={"odd": "Odd"})
    words = ["compare", "a.png", "--samplers", "uniform,odd", "--seeds", "1", "--json", *OPTIONS]
    assert run(words) == 7
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["ok"] for result in results] == [True, False]
    assert "ValueError: boom" in results[1]["error"]["message"]


def test_the_library_names_the_plugin(install):
    install("odd_sampler", SAMPLER.format(body="raise ValueError('boom')"), samplers={"odd": "Odd"})
    with pytest.raises(PluginError, match="the sampler plug-in odd"):
        inrfit.encode(PIXELS, sampler="odd", **QUICK)


def test_an_object_of_the_program_raises_its_own_exception():
    @dataclass(frozen=True)
    class Raising:
        def select(self, learner, previous):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        inrfit.encode(PIXELS, sampler=Raising(), **QUICK)


MODALITY = """
    from dataclasses import replace
    from inrfit.modalities.image import IMAGE

    def sniff(data):
        {sniff}

    def load(data, name, options, limits):
        {load}

    ODD = replace(IMAGE, name="odd", sniff=sniff, load=load, input_suffixes=(".odd",), {rest})
"""

LOADED = "return IMAGE.load(data.removeprefix(b'odd'), name, options, limits)"


@pytest.fixture
def odd_file(photos, tmp_path):
    (tmp_path / "x.odd").write_bytes(b"odd" + (tmp_path / "a.png").read_bytes())


@pytest.mark.usefixtures("odd_file")
def test_a_failing_reader_refuses_its_file_only(install, capsys):
    code = MODALITY.format(sniff="return data[:3] == b'odd'", load="return data[99999]", rest="")
    install("odd_files", code, modalities={"odd": "ODD"})
    assert run(["encode", "x.odd", *OPTIONS]) == 3
    assert "the modality plug-in odd (odd_files:ODD) failed: IndexError" in capsys.readouterr().err
    assert run(["encode", "x.odd", "b.png", *OPTIONS]) == 7


@pytest.mark.usefixtures("odd_file")
def test_a_modality_that_fails_to_recognise_is_passed_over(install, capsys):
    code = MODALITY.format(sniff="raise KeyError('sniff')", load=LOADED, rest="")
    install("odd_files", code, modalities={"odd": "ODD"})
    assert run(["encode", "x.odd", *OPTIONS]) == 0  # by its suffix
    assert "the modality plug-in odd (odd_files:ODD) failed: KeyError: 'sniff'" in capsys.readouterr().err


@pytest.mark.usefixtures("odd_file")
@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("meta_schema={}", "does not keep to its meta_schema: Signal.meta has an unknown key"),
        ("meta_schema=None", "its meta_schema is not a mapping"),
        ("field_size=lambda meta: (2, 7)", "field_size and load give different sizes"),
        ("default_sampler='absent'", "the default sampler 'absent' of odds does not exist"),
        ("architecture_rules=()", "architecture_rules does not always apply"),
        ("main_measure='absent'", "its main_measure 'absent' is not among its measures"),
    ],
)
def test_a_wrong_modality_is_refused_before_the_fit(rest, message, install, capsys):
    install("odd_files", MODALITY.format(sniff="return True", load=LOADED, rest=rest), modalities={"odd": "ODD"})
    assert run(["encode", "x.odd", *OPTIONS]) in (2, 3)
    assert message in capsys.readouterr().err


def test_a_rule_for_an_absent_architecture_is_refused(install, odd_file, capsys):
    rules = "architecture_rules=(__import__('inrfit').modalities.modality.ArchitectureRule('absent', 'why'),)"
    install("odd_files", MODALITY.format(sniff="return True", load=LOADED, rest=rules), modalities={"odd": "ODD"})
    assert run(["encode", "x.odd", "--arch", "auto", "--budget", "5it"]) == 2
    assert "--arch auto: 'absent' in the rules for odd does not exist" in capsys.readouterr().err


CLASS = """
    from dataclasses import dataclass, field
    from inrfit.fields.mlp.siren import Siren

    {decorator}
    class Odd{base}:
        {field}

        {method}
"""


def odd_class(decorator="@dataclass(frozen=True)", base="", field="ratio: float = 0.5", method="") -> str:
    return CLASS.format(
        decorator=decorator, base=base, field=field, method=method or "def select(self, learner, previous): pass"
    )


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import sys; sys.exit('gone')", "SystemExit: gone"),
        ("raise ImportError('no such library')", "ImportError: no such library"),
        ("Odd = 3", "a sampler is a frozen dataclass, which int is not"),
        (odd_class(decorator="@dataclass"), "a sampler is a frozen dataclass, which Odd is not"),
        (odd_class(field="ratio: float"), "whose fields have defaults, and ratio has none"),
        (odd_class(field="ratio: Nonsense = 3"), "NameError"),
        (odd_class(field="parts: list = field(default_factory=list)"), "-O parts=[]: must be null, true, false"),
        (odd_class(method="def choose(self): pass"), "a sampler has a method select"),
        (odd_class(method="def select(self): pass"), "select must take (self, learner, previous)"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_an_invalid_sampler_is_left_out_with_one_line(code, problem, install, capsys):
    install("odd_class", code, samplers={"odd": "Odd"})
    assert run(["encode", "a.png", "--sampler", "odd", *OPTIONS]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].startswith("inrfit: warning: the sampler plug-in odd (odd_class:Odd) is left out: ")
    assert problem in shown[0]
    assert len(shown) == 2
    assert "choose from auto, full" in shown[1]


@pytest.mark.usefixtures("photos")
def test_a_subclass_of_an_architecture_is_one(install):
    code = odd_class(base="(Siren)", field="extra: float = 1.0")
    install("odd_class", code, fields={"odd": "Odd"})
    assert run(["encode", "a.png", "--arch", "odd", *OPTIONS]) == 0


@pytest.mark.parametrize("name", ["auto", "a,b", "a b", "x" * 65, "-x"])
def test_names_that_cannot_be_typed_are_refused(name, install):
    install("odd_class", odd_class(), samplers={name: "Odd"})
    with pytest.warns(InrfitWarning, match="is left out: (a|the) name"):
        assert name not in SAMPLERS


@pytest.mark.usefixtures("photos")
def test_two_packages_of_one_name_are_told(install, capsys):
    install("odd_first", odd_class(method="def select(self, learner, previous): return None"), samplers={"odd": "Odd"})
    install("odd_second", odd_class(), samplers={"odd": "Odd"})
    run(["encode", "a.png", "--sampler", "odd", *OPTIONS])
    assert "others of the same name are not: odd_first:Odd" in capsys.readouterr().err


@pytest.mark.usefixtures("photos")
def test_quiet_hides_the_warning(install, capsys):
    install("odd_class", "raise ImportError('gone')", samplers={"odd": "Odd"})
    assert run(["encode", "-q", "a.png", "--sampler", "odd", *OPTIONS]) == 2
    assert "left out" not in capsys.readouterr().err


@pytest.mark.usefixtures("photos")
def test_a_field_names_the_plugin_that_it_needs(install, capsys, monkeypatch, tmp_path):
    install("odd_class", odd_class(base="(Siren)", field="extra: float = 1.0"), fields={"odd": "Odd"})
    assert run(["encode", "a.png", "--arch", "odd", *OPTIONS]) == 0
    capsys.readouterr()
    dict.pop(FIELDS, "odd")
    monkeypatch.undo()
    registry._installed.cache_clear()
    assert run(["info", str(tmp_path / "a.png.safetensors")]) == 3
    assert "header.field.architecture 'odd' is not installed" in capsys.readouterr().err


def test_an_installed_class_is_taken_as_an_object_before_its_name_was_used(install):
    install("odd_sampler", SAMPLER.format(body="return Selection(some)"), samplers={"odd-name": "Odd"})
    from odd_sampler import Odd

    artifact = inrfit.encode(PIXELS, sampler=Odd(ratio=0.25), **QUICK)
    assert artifact.provenance["sampler"] == {"name": "odd-name", "options": {"ratio": 0.25}}


def test_a_sampler_that_needs_coordinate_gradients_says_so(install):
    install("odd_sampler", SAMPLER.format(body="return learner.coord_gradients(some)"), samplers={"odd": "Odd"})
    with pytest.raises(PluginError, match="asmr is defined on the cells of a raster only"):
        inrfit.encode(PIXELS, sampler="odd", arch="asmr", budget="5it", device="cpu")


@dataclass(frozen=True)
class Counting:
    """Options of every kind that a field can hold."""

    some: int = 8
    flag: bool = False
    limit: float | None = 2.0
    words: str = "a"

    def select(self, learner, previous):
        return Selection(learner.draw(self.some))


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_objects_are_compared_with_the_values_of_their_options(photo):
    given = Counting(flag=True, limit=None, words="a,b:c=d")
    done = inrfit.compare(photo, [given, "uniform"], seeds=1, **QUICK)
    assert done.unfinished == 0
    (own, _) = done.spec.methods
    assert done.spec.build_sampler(own) == given


def test_a_single_object_is_compared(photo):
    done = inrfit.compare(photo, Counting(), Siren(omega=20.0), seeds=1, width=16, budget="30it")
    assert done.unfinished == 0


def test_two_classes_of_one_name_are_refused(photo):
    def another():
        @dataclass(frozen=True)
        class Counting:
            other: int = 1

            def select(self, learner, previous):
                return Selection(learner.draw(1))

        return Counting()

    with pytest.raises(UsageError, match="two different classes are called Counting"):
        inrfit.compare(photo, [Counting(), another()], seeds=1, **QUICK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "int"}, "sampler: a comparison takes samplers instead"),
        ({"arch": "siren"}, "arch: a comparison takes archs instead"),
        ({"seed": 3}, "seed: a comparison takes seeds instead"),
        ({"nonsense": 3}, "unknown settings: nonsense"),
        ({"samplers": Counting}, "Counting is a class; pass an instance of it"),
    ],
)
def test_arguments_of_compare_that_would_be_ignored_are_refused(arguments, message, photo):
    with pytest.raises(UsageError, match=message):
        inrfit.compare(photo, **arguments)


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        (None, {}, "source: must be a path or a NumPy array, not NoneType"),
        (PIXELS, {"budget": 3}, "--budget 3: must be a time or a number of steps"),
        (PIXELS, {"options": None}, "must be a mapping"),
        (PIXELS, {"nonsense": 3}, "unknown settings: nonsense"),
        (PIXELS, {"sampler": Counting}, "Counting is a class; pass an instance of it"),
        (PIXELS, {"sampler": Counting(words=("a",))}, "-O words="),
        (PIXELS, {"engine": "analytic", "arch": "own"}, "own has no analytic backward pass"),
    ],
)
def test_invalid_arguments_of_encode_are_refused(source, arguments, message, monkeypatch):
    if arguments.get("arch") == "own":
        traits = Siren.TRAITS.__class__(**vars(Siren.TRAITS) | {"own_gradients": False})
        own = make_dataclass("Own", [], bases=(Siren,), frozen=True, namespace={"TRAITS": traits})
        monkeypatch.setitem(FIELDS, "own", own)
    with pytest.raises(UsageError, match=message):
        inrfit.encode(source, **arguments)


def test_a_rate_belongs_to_an_array(photo):
    with pytest.raises(UsageError, match="only an array needs this argument"):
        inrfit.encode(photo, rate=8000)


def test_a_class_called_auto_is_refused():
    @dataclass(frozen=True)
    class Auto:
        def select(self, learner, previous):
            return Selection(learner.draw(1))

    with pytest.raises(UsageError, match="the name has another meaning"):
        inrfit.encode(PIXELS, sampler=Auto(), **QUICK)


def test_notices_point_to_the_line_of_the_caller():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inrfit.encode(PIXELS, engine="explicit", **QUICK)
    assert {notice.filename for notice in caught if issubclass(notice.category, InrfitWarning)} == {__file__}

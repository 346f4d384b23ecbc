"""The documentation says what the program does, and its checks notice where it does not."""

from __future__ import annotations

import importlib
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def scripts():
    """The scripts in docs/ can be imported."""
    sys.path.insert(0, str(ROOT / "docs"))
    yield
    sys.path.remove(str(ROOT / "docs"))


def script(name: str):
    return importlib.import_module(name)


def test_the_documentation_is_true():
    assert script("check").problems() == []


def test_a_file_that_the_tree_lacks_and_one_that_is_gone_are_noticed():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    line = next(line for line in text.splitlines(keepends=True) if line.split()[:1] == ["codec.py"])
    wrong_tree = script("check").wrong_tree
    assert wrong_tree(text) == []
    assert wrong_tree(text.replace(line, "")) == ["docs/architecture.md: the tree lacks inrfit/codec.py"]
    more = line.replace("codec.py", "gone.py ")
    assert wrong_tree(text.replace(line, line + more)) == [
        "docs/architecture.md: the tree names inrfit/gone.py, which is not there"
    ]


def test_a_file_is_looked_for_in_its_own_folder():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    line = next(line for line in text.splitlines(keepends=True) if line.split()[:1] == ["errors.py"])
    assert "docs/architecture.md: the tree lacks inrfit/errors.py" in script("check").wrong_tree(text.replace(line, ""))


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("inrfit.encode", True),
        ("fit.fitting.fit", True),
        ("codec.encode", True),
        ("Selection.memory", True),
        ("selection.memory", True),
        ("torch.optim", True),
        ("first.weight", True),
        ("signal.scale", True),
        ("runtime.py", True),
        ("photo.png", True),
        ("song.mp3", True),
        ("np.load", True),
        ("Path.read_text", True),
        ("codec.plan", False),
        ("Selection.memories", False),
        ("fields.Holding", False),
        ("inrfit.encodes", False),
        ("torch.optimum", False),
        ("first.weights", False),
        ("runtimes.py", False),
    ],
)
def test_a_misspelt_name_is_noticed(name, there):
    assert script("check_names").exists(name) == there


def page_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    """The problems of the examples in a page with this text."""
    check_examples = script("check_examples")
    monkeypatch.setattr(check_examples, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(text)
    return check_examples.problems([tmp_path / "page.md"])


GOOD = """```python
import inrfit

artifact = inrfit.encode("photo.png", budget="60s", width=16)
artifact.save("mine.safetensors")
```

```sh
inrfit info mine.safetensors
```
"""


def test_good_examples_pass(tmp_path, monkeypatch):
    assert page_with(tmp_path, monkeypatch, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("width=16", "breadth=16", "page.md:2: the Python example fails"),
        ("import inrfit", "", "page.md:2: the Python example fails: NameError"),
        ("info mine", "info yours", "page.md:9: exit code 3"),
        ("inrfit info", "inrfit information", "page.md:9: exit code 2"),
        ("import inrfit\n", "import sys\nsys.exit(0)\n", "page.md:2: the Python example fails: SystemExit"),
        ("```sh\ninrfit info", "```bash\npip install .  # first\ninrfit information", "page.md:9: exit code 2"),
        ("inrfit info", "inrfit information | cat; echo", "page.md:9: exit code 2"),
        ("info mine", "info 'mine", "page.md:9: inrfit info 'mine.safetensors: No closing quotation"),
        ("```python\nimport inrfit", "``` Python title\nbroken", "page.md:2: the Python example fails: NameError"),
    ],
)
def test_a_broken_example_is_noticed(tmp_path, monkeypatch, old, new, problem):
    problems = page_with(tmp_path, monkeypatch, GOOD.replace(old, new))
    assert problems[0].startswith(problem)


@pytest.mark.parametrize("fence", ["~~~", "````"])
def test_every_kind_of_fence_is_an_example(tmp_path, monkeypatch, fence):
    broken = GOOD.replace("import inrfit", "", 1).replace("```", fence)
    assert page_with(tmp_path, monkeypatch, broken)[0].startswith("page.md:2: the Python example fails: NameError")


def test_an_indented_fence_is_an_example(tmp_path, monkeypatch):
    listed = "1. First:\n\n" + textwrap.indent(GOOD, "   ")
    assert page_with(tmp_path, monkeypatch, listed) == []
    problems = page_with(tmp_path, monkeypatch, listed.replace("width=16", "breadth=16"))
    assert problems[0].startswith("page.md:4: the Python example fails")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("See [it](gone.md).", "the link to gone.md leads nowhere"),
        ("See [it](#the-tittle).", "the link to #the-tittle leads nowhere"),
        ("See [it](#the-title), [it](https://example.org/x#y) or [us](mailto:us@example.org).", ""),
        ("It is in `inrfit/codec.py`, `fit/engine/step.py`, `tests/bench/` or `pictures/`.", ""),
        ("It is in `inrfit/codecs.py`.", "`inrfit/codecs.py` is not there"),
        ("It is in `inrfit/room/`.", "`inrfit/room/` is not there"),
        ("Say `--budget 60s`, or `recipe.py --steps 5`.", ""),
        ("Say `--budgetz 60s`.", "no command has the option --budgetz"),
    ],
)
def test_what_leads_nowhere_is_noticed(line, problem, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# The title\n\n{line}\n")
    assert script("check_links").problems([page]) == ([f"page.md:3: {problem}"] if problem else [])


@pytest.mark.parametrize(
    ("name", "problem"),
    [("FitContext", ""), ("Running", "there is no class `Running`"), ("Mine", ""), ("ValueError", "")],
)
def test_a_class_that_does_not_exist_is_noticed(name, problem, tmp_path, monkeypatch):
    check_names = script("check_names")
    monkeypatch.setattr(check_names, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(f"`{name}` is one.\n\n```python\nclass Mine: ...\n```\n")
    found = check_names.problems([tmp_path / "page.md"])
    assert found == ([f"page.md:1: {problem}"] if problem else [])


def test_an_example_that_cannot_be_run_says_why(tmp_path, monkeypatch):
    broken = GOOD.replace("width=16", "breadth=16").replace("info mine", "info yours")
    marked = broken.replace("```python", "<!-- not run: it is wrong -->\n```python")
    marked = marked.replace("```sh", "<!-- not run: it is wrong -->\n```sh")
    assert page_with(tmp_path, monkeypatch, marked) == []


def test_the_commit_of_a_table_is_the_one_in_its_section(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n\nAt commit\n1234567:\n\n| a | b |\n|---|---|\n| x | 1.5 |\n\n"
        "# Two\n\n| a | b |\n|---|---|\n| x | 2.5 |\n\n# Words\n\n| a | b |\n|---|---|\n| x | y |\n"
    )
    tables = script("figures").tables(page)
    assert [(table.heading, table.commit) for table in tables] == [("One", "1234567"), ("Two", "")]


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs the history")
def test_measurements_before_the_last_change_are_out_of_date():
    figures = script("figures")
    assert figures.state(figures.last_change()) == "current"
    assert figures.state("0000000") == "unknown"


def test_a_table_says_that_its_engine_was_an_older_one():
    marks = script("engine_marks")
    today, page = marks.engine_hash("fit kernel"), "Text\n\n<!-- measured with {} of fit kernel -->\n\n| a | b |\n"
    assert marks.with_states(page.format(today)) == page.format(today)
    older = marks.with_states(page.format("01234567"))
    assert marks.OLDER in older
    assert marks.with_states(older) == older
    renewed = older.replace("01234567", today)
    assert marks.with_states(renewed) == page.format(today)


def test_the_hash_of_the_engine_is_that_of_its_code():
    marks = script("engine_marks")
    code = 'def f(x):\n    return x + "#"\n'
    commented = '"""What this is."""\n\n\ndef f(x):  # a comment\n    """What it does."""\n    return x + "#"\n'
    assert marks.python_code(commented) == marks.python_code(code)
    assert marks.python_code(code.replace("+", "-")) != marks.python_code(code)
    assert (
        marks.cpp_code("int f(); // a comment\n/* more\n*/")
        == marks.cpp_code("int  f();")
        != marks.cpp_code("int g();")
    )

"""The help pages: complete, in sections, and quick to import."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

from inrfit.__main__ import run
from inrfit.cli import COMMANDS
from inrfit.cli.help import HARDWARE, INPUT, STRATEGY


@pytest.fixture
def page(monkeypatch, capsys):
    """What ``--help`` prints on a terminal of so many columns."""

    def shown(*words, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert run([*words, "--help"]) == 0
        return capsys.readouterr().out

    return shown


@pytest.mark.parametrize("columns", [20, 80, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_prints_every_sentence_whole(command, columns, page):
    shown = page(command, columns=columns)
    assert max(map(len, shown.splitlines())) <= 100
    words = " ".join(shown.split())
    for name, hint in get_type_hints(COMMANDS[command], include_extras=True).items():
        if name != "return":
            info = get_args(hint)[1]
            assert info.help in words
            assert info.rich_help_panel
            assert info.metavar or get_args(hint)[0] is bool


def test_brackets_are_printed_as_they_are(page, capsys):
    assert "pip install 'inrfit[video]'" in " ".join(page("encode").split())
    assert run(["encode", "[bold]x.png", "--device", "cpu"]) == 3
    assert "[bold]x.png" in capsys.readouterr().err
    assert run(["encode", "x", "--[video]"]) == 2
    assert "--[video]" in capsys.readouterr().err


def test_the_first_screen_of_encode_is_enough_to_begin(page):
    screen = page("encode").splitlines()[:24]
    for word in ("Usage:", "Examples:", "--output", "--force", "--budget", "--target", "--bytes", "--params"):
        assert any(word in line for line in screen), word


@pytest.mark.parametrize("command", ["encode", "compare"])
def test_advanced_sections_come_last(command, page):
    headings = [line[:-1] for line in page(command).splitlines() if re.fullmatch(r"\S.*:", line)]
    assert headings[-3:] == [STRATEGY, HARDWARE, INPUT]


@pytest.mark.parametrize("words", [["-h"], ["encode", "-h"]])
def test_a_short_option_asks_for_help_too(words, capsys):
    assert run(words) == 0
    assert capsys.readouterr().out.startswith("Usage: inrfit ")


@pytest.mark.parametrize("words", [[], *([command] for command in COMMANDS)])
def test_help_imports_neither_numpy_nor_torch(words):
    script = (
        "import sys; from inrfit.__main__ import run; run(sys.argv[1:]); print({'numpy', 'torch'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", script, *words, "--help"], capture_output=True, text=True)
    assert found.stdout.endswith("set()\n"), found.stderr

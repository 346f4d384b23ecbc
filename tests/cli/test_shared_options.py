"""Options of the commands are the fields of ``Settings``: one sentence of help, one check, the same refusals."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args, get_type_hints

import pytest

import inrfit
from inrfit.__main__ import run
from inrfit.cli import app, shared_options
from inrfit.config.settings import Settings
from inrfit.errors import UsageError
from inrfit.io.limits import Limits
from inrfit.io.options import declared

COMMANDS = {command.name: command.callback for command in app.registered_commands}

OWN_MEANING = {"compare": {"bytes", "budget", "options", "engine"}}
"""Options that mean something else in a command, and say so."""

BAD = {
    "sampler": "best",
    "arch": "resnet",
    "width": "wide",
    "depth": "65",
    "params": "many",
    "bytes": "40kiB",
    "store": "int7",
    "provenance": "long",
    "options": "nothing=1",
    "budget": "soon",
    "target": "good",
    "clock": "noon",
    "ratio": "2",
    "batch": "some",
    "lr": "100",
    "device": "tpu",
    "precision": "fp8",
    "engine": "steam",
    "threads": "0",
    "regime": "mine",
    "seed": "-1",
    "type": "picture",
    "metadata": "some",
    "frame": "0",
    "verify": "some",
}


def parameters(command):
    """(parameter, its alias) of a command."""
    function = COMMANDS[command]
    hints = get_type_hints(function, include_extras=True)
    return [(given, hints[name]) for name, given in inspect.signature(function).parameters.items()]


@pytest.mark.parametrize("command", ["encode", "compare"])
def test_options_that_are_settings_are_declared_once_with_the_help_of_their_field(command):
    aliases = [alias for alias in vars(shared_options).values() if get_args(alias)]
    found = [(given, alias) for given, alias in parameters(command) if given.name in declared(Settings)]
    assert found
    for given, alias in found:
        assert any(alias is known for known in aliases), given.name
        if given.name not in OWN_MEANING.get(command, ()):
            assert get_args(alias)[1].help == declared(Settings)[given.name].help
        default = {"options": {}, "budget": ()}.get(given.name, given.default)
        assert default == getattr(Settings(), given.name)


def test_every_limit_has_its_default_and_its_sentence():
    for command in COMMANDS:
        for given, alias in parameters(command):
            if given.name in declared(Limits):
                assert given.default == getattr(Limits(), given.name)
                assert get_args(alias)[1].help


def test_encode_offers_every_setting_but_the_regime():
    offered = {given.name for given, _ in parameters("encode")}
    assert set(declared(Settings)) - offered == {"regime", "limits"}


def test_settings_are_given_by_keyword():
    with pytest.raises(UsageError):
        Settings("uniform")


def test_settings_take_texts_as_the_command_does():
    made = Settings(width="64", lr="0.001", batch="256", seed="7", params=None, ratio="0.5")
    assert (made.width, made.lr, made.batch, made.seed, made.ratio) == (64, 0.001, 256, 7, 0.5)
    assert Settings(batch="selection").batch == "selection"
    assert Settings(params="50k").params == "50k"
    assert dataclasses.replace(made, width=None).width is None


@pytest.mark.parametrize("width", [1.5, "1.5", "", float("nan"), [], 0, 8193])
def test_settings_that_are_no_such_number_are_refused(width):
    with pytest.raises(UsageError, match=r"^--width "):
        Settings(width=width)


def test_every_setting_has_a_bad_value_here():
    assert set(BAD) == set(declared(Settings)) - {"limits", "smallest"}  # a flag has no value


@pytest.mark.parametrize("name", BAD)
def test_a_command_and_python_refuse_a_setting_in_the_same_words(name, png, capsys):
    python = dict([BAD[name].split("=")]) if name == "options" else BAD[name]
    with pytest.raises(UsageError) as refusal:
        inrfit.encode(png, **{name: python})
    command = "compare" if name == "regime" else "encode"
    assert run([command, str(png), *(["-O"] if name == "options" else [f"--{name}"]), BAD[name]]) == 2
    said = capsys.readouterr().err.strip().removeprefix("inrfit: error: ").removeprefix(f"{png}: ")
    assert said == str(refusal.value)


def test_settings_are_gathered_by_name():
    given = {"width": 64, "options": ["xi=0.5"], "budget": ["5s"], "max_pixels": 7, "output": "x", "force": True}
    made = shared_options.settings_from(given)
    limits = dataclasses.replace(Limits(), max_pixels=7)
    assert made == Settings(width=64, options={"xi": "0.5"}, budget=("5s",), limits=limits)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_leads_to_the_help_of_its_command(command, capsys):
    assert run([command, "x", "--nonsense"]) == 2
    assert capsys.readouterr().err.endswith(f"(see inrfit {command} --help)\n")
    assert run(["--nonsense", command]) == 2
    assert capsys.readouterr().err.endswith("(see inrfit --help)\n")

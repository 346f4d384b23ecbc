"""The help pages: plain text in sections.

Typer would print them with Rich, which reads the brackets in ``inrfit[video]`` as markup and is slow to import.
"""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from .console import print_output, without_color

SOURCE = "Source and output"
METHODS = "What is compared"
BUDGET = "Budget and quality"
QUESTION = "What is asked"
SIZE = "Size"
QUALITY = "Kind of output file"
REPORTING = "Reporting"
RESUMING = "Interrupting and resuming"
STRATEGY = "Training strategy"
HARDWARE = "Hardware and precision"
INPUT = "Input and limits"

NAME_COLUMN = 23
"""Width in characters of the column that names options; longer names have a line of their own."""

MIN_WIDTH, MAX_WIDTH = 40, 100
"""Limits on the width of a line, in characters."""

TWO_COLUMNS_WIDTH = 60
"""On narrower terminals, sentences stand below the names of the options."""

UNBROKEN = "\N{NO-BREAK SPACE}"
"""A space at which no line is broken; printed as a plain one."""

Row = tuple[str, str]


def _print_help(ctx: Any, param: Any, value: bool) -> None:
    """The callback of ``--help``. Unlike that of Typer it fails if stdout is full or closed."""
    if value and not ctx.resilient_parsing:
        print_output(ctx.get_help() + "\n")
        ctx.exit()


class HelpCommand(TyperCommand):
    """A command with a plain help page."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option ``--help``, with ``_print_help``."""
        option: Any = super().get_help_option(ctx)
        option.callback = _print_help
        return option

    def get_help(self, ctx: Any) -> str:
        """The page: usage, what the command does, and a section for each panel of options."""
        arguments = [str(param.metavar) for param in self.params if isinstance(param, TyperArgument)]
        sections: dict[str, list[Row]] = {}
        for param in self.params:
            if isinstance(param, TyperOption | TyperArgument):
                sections.setdefault(param.rich_help_panel or SOURCE, []).append(_row(param))
        usage = " ".join([ctx.command_path, "[OPTIONS]", *arguments])
        return _page(usage, self.help or "", sections)


class HelpGroup(TyperGroup):
    """The list of commands with a plain help page."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option ``--help``, with ``_print_help``."""
        option: Any = super().get_help_option(ctx)
        option.callback = _print_help
        return option

    def get_help(self, ctx: Any) -> str:
        """The page: usage, what the program does, the commands and the common options."""
        commands = [(name, command.get_short_help_str(200)) for name, command in self.commands.items()]
        options = [_row(param) for param in self.params if isinstance(param, TyperOption)]
        options.append(("-h, --help", f"Show this page; {ctx.command_path} COMMAND --help shows that of a command."))
        sections = {"Commands": commands, "Options": options}
        return _page(f"{ctx.command_path} COMMAND [OPTIONS] ...", self.help or "", sections, self.epilog or "")


def _row(param: TyperOption | TyperArgument) -> Row:
    """An option or argument and its help sentence, with its default if it has one."""
    if isinstance(param, TyperArgument):
        return str(param.metavar), param.help or ""
    name = ", ".join(param.opts) + (f" {param.metavar}" if param.metavar else "")
    default: Any = param.default
    if default is None or isinstance(default, bool) or not isinstance(default, str | int | float):
        return name, param.help or ""
    text = default if isinstance(default, str) else f"{default:,}"
    return name, f"{param.help} [default:{UNBROKEN}{text}]"


def _page(usage: str, about: str, sections: dict[str, list[Row]], epilog: str = "") -> str:
    width = max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size().columns))
    parts = [f"{_heading('Usage')} {usage}", *_paragraphs(about, width)]
    parts += [f"{_heading(title)}\n{_columns(rows, width)}" for title, rows in sections.items()]
    parts += _paragraphs(epilog, width)
    return "\n\n".join(parts)


def _paragraphs(text: str, width: int) -> list[str]:
    """The paragraphs of a docstring, wrapped; indented lines stay as they are, under the line that introduces them."""
    paragraphs: list[str] = []
    for paragraph in filter(None, inspect.cleandoc(text).split("\n\n")):
        if paragraph.startswith(" ") and paragraphs:
            title = _heading(paragraphs.pop().removesuffix(":"))
            paragraphs.append(f"{title}\n{textwrap.indent(textwrap.dedent(paragraph), '  ')}")
        else:
            paragraphs.append("\n".join(_wrapped(paragraph, width)))
    return paragraphs


def _columns(rows: Sequence[Row], width: int) -> str:
    """Two columns: names and sentences. On a narrow terminal, each sentence stands below its name."""
    lines = []
    for name, sentence in rows:
        if width < TWO_COLUMNS_WIDTH:
            lines += [f"  {name}", *("      " + line for line in _wrapped(sentence, width - 6))]
            continue
        if len(name) > NAME_COLUMN - 2:
            lines.append(f"  {name}")
            name = ""
        wrapped = _wrapped(sentence, width - NAME_COLUMN - 2)
        lines.append(f"  {name:<{NAME_COLUMN}}{wrapped[0]}")
        lines += [" " * (NAME_COLUMN + 2) + line for line in wrapped[1:]]
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
    return [line.replace(UNBROKEN, " ") for line in lines]


def _heading(title: str) -> str:
    plain = without_color() or sys.stdout is None or not sys.stdout.isatty()
    return f"{title}:" if plain else typer.style(f"{title}:", bold=True)

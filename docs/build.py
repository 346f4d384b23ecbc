"""Build the documentation site: every Markdown page as HTML, and the API reference from the docstrings.

python docs/build.py [--output DIR]

Needs the extra ``docs`` and no network. The pages link to nothing outside the folder but to other web sites by name.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from string import Template

import pdoc
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_by_name
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from check_links import slug, unused  # noqa: E402

import inrfit  # noqa: E402  the checkout that the pages belong to, installed or not

SITE = ROOT / "docs" / "site"
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
API = (
    "inrfit",
    "inrfit.errors",
    "inrfit.fit.events",
    "inrfit.comparison.runs",
    "inrfit.comparison.statistics",
    "inrfit.viz.recorder",
    "inrfit.samplers.learner",
    "inrfit.samplers.selection",
    "inrfit.io.options",
    "inrfit.fields.architecture",
    "inrfit.fields.mlp.mlp",
    "inrfit.modalities.modality",
    "inrfit.signal",
)
"""Modules of the API reference: what users call, and the protocols that an extension meets."""


def colour(code: str, language: str, _attributes: str) -> str:
    """A fenced block with its syntax coloured."""
    try:
        lexer = get_lexer_by_name({"": "text", "sh": "bash"}.get(language, language))
    except ClassNotFound:
        lexer = TextLexer()
    return f'<pre class="code"><code>{highlight(code, lexer, HtmlFormatter(nowrap=True))}</code></pre>'


MARKDOWN = MarkdownIt("commonmark", {"highlight": colour}).enable("table")


def text_of(token: Token) -> str:
    """The plain text of an inline token."""
    return "".join(child.content for child in token.children or [] if child.type in ("text", "code_inline"))


def add_anchors(tokens: list[Token]) -> list[tuple[int, str, str]]:
    """Give each heading its anchor; level, anchor and title of all."""
    headings: list[tuple[int, str, str]] = []
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            title = text_of(inline)
            anchor = unused(slug(title), [name for _, name, _ in headings])
            opening.attrSet("id", anchor)
            headings.append((int(opening.tag[1]), anchor, title))
    return headings


def resolve(target: str, page: Path, output: Path) -> str:
    """A link of a page as a link of the site: pages become HTML, other files are copied beside them."""
    if re.match(r"[a-z]+:|#", target):
        return target
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve()
    if file in PAGES:
        return f"{file.stem.lower()}.html" + (f"#{anchor}" if anchor else "")
    if not file.exists():
        sys.exit(f"{page.relative_to(ROOT)} links to {target}, which does not exist")
    shutil.copyfile(file, output / file.name)
    return file.name


def rewrite_links(tokens: list[Token], page: Path, output: Path) -> None:
    """Make every link and image of the page one of the site."""
    for token in tokens:
        for child in token.children or []:
            for name in ("href", "src"):
                if target := child.attrGet(name):
                    child.attrSet(name, resolve(str(target), page, output))
            child.content = re.sub(r"^(?:docs/)?([\w-]+)\.md$", r"\1", child.content)


def navigation(current: Path) -> str:
    """The index's own headings and links, as the side bar of every page."""
    parts: list[str] = []
    for line in (ROOT / "docs" / "index.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            parts.append(f"<h2>{html.escape(line[3:])}</h2>")
        elif found := re.match(r"- \[(.+?)\]\((.+?)\.md\)", line):
            name = Path(found[2]).name.lower()
            here = ' class="here"' if name == current.stem.lower() else ""
            parts.append(f'<a href="{name}.html"{here}>{html.escape(found[1])}</a>')
    return "\n".join([*parts, "<h2>API reference</h2>", '<a href="api/index.html">public modules</a>'])


def write_page(page: Path, output: Path) -> None:
    """One Markdown page as HTML."""
    tokens = MARKDOWN.parse(page.read_text("utf-8"))
    headings = add_anchors(tokens)
    rewrite_links(tokens, page, output)
    contents = "".join(
        f'<a href="#{anchor}">{html.escape(title)}</a>' for depth, anchor, title in headings if depth == 2
    )
    body = MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    values = {"title": html.escape(headings[0][2]), "navigation": navigation(page), "contents": contents, "body": body}
    text = Template((SITE / "page.html").read_text("utf-8")).substitute(values)
    (output / f"{page.stem.lower()}.html").write_text(text, "utf-8")


def build(output: Path) -> None:
    """Write the whole site into ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SITE / "style.css", output / "style.css")
    for page in PAGES:
        write_page(page, output)
    vars(inrfit).update({name: getattr(inrfit, name) for name in inrfit.__all__})  # the package imports them on demand
    pdoc.render.configure(docformat="markdown", show_source=False, template_directory=SITE / "pdoc")
    pdoc.pdoc(*API, output_directory=output / "api")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "site")
    build(parser.parse_args().output)

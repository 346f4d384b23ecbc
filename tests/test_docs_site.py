"""The documentation site builds without a network, and its links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("pdoc")

ROOT = Path(__file__).resolve().parent.parent


class Links(HTMLParser):
    """What a page refers to, and the anchors it has."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.targets.append(values["href"])
        self.loaded += [values[name] for name in ("src", "href") if name in values and tag != "a"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    source = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
    build = importlib.util.module_from_spec(source)
    source.loader.exec_module(build)
    build.build(folder)
    return folder


@pytest.fixture(scope="module")
def pages(site):
    parsed = {}
    for path in site.rglob("*.html"):
        parsed[path.resolve()] = Links()
        parsed[path.resolve()].feed(path.read_text("utf-8"))
    return parsed


def test_every_page_is_built(site):
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]:
        assert (site / f"{page.stem.lower()}.html").exists(), page
    assert (site / "api" / "inrfit.html").exists()


def test_internal_links_and_anchors_resolve(site, pages):
    broken = []
    for page, links in pages.items():
        for target in links.targets:
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and file.suffix == ".html" and anchor not in pages[file].anchors):
                broken.append(f"{page.relative_to(site.resolve())}: {target}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for page, links in pages.items():
        for target in links.loaded:
            assert target.startswith("data:") or (page.parent / target).exists(), f"{page.name}: {target}"
    for sheet in site.rglob("*.css"):
        assert "http" not in sheet.read_text("utf-8"), sheet


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index, page.name


def test_the_citation_names_this_version():
    from inrfit import __version__

    citation = (ROOT / "docs" / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^cff-version: 1\.2\.0$", citation, re.M)
    assert re.search(rf"^version: {re.escape(__version__)}$", citation, re.M)


def message_texts() -> list[str]:
    """The string literals of the package; what an f-string fills in is a space."""
    texts = []
    for path in (ROOT / "inrfit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(p.value if isinstance(p, ast.Constant) else " " for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_messages_on_the_troubleshooting_page_are_those_of_the_program():
    texts = message_texts()
    for row in (ROOT / "docs" / "troubleshooting.md").read_text("utf-8").splitlines():
        quoted = re.findall(r"`([^`]+)`", row.split("|")[1]) if row.startswith("| `") else []
        for part in (part.strip(" :") for quote in quoted for part in quote.split("...")):
            if len(part) > 6 and not part.startswith("--"):
                assert any(part in text for text in texts), f"no message has {part!r}"

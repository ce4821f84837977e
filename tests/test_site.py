"""The site is built without a warning, holds together, and asks nothing of the network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .conftest import ROOT

pytestmark = pytest.mark.slow
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
ELSEWHERE = re.compile(r"(?:https?:)?//")


class Page(HTMLParser):
    """What a page refers to, what can be referred to on it, and its text outside code and formulas."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []  # what a browser fetches without being asked
        self.images: list[dict[str, str]] = []
        self.classes: list[str] = []
        self.text = ""
        self._hidden: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        self.classes.append(given.get("class", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("next", "prev", "index", "search"):
            self.loads.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])
        if tag == "img":
            self.images.append(given)
        if tag in ("code", "pre", "math", "script", "style"):
            self._hidden.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and self._hidden[-1] == tag:
            self._hidden.pop()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    doctrees = tmp_path_factory.mktemp("doctrees")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", doctrees, "-c", "docs", ".", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@cache
def read(path: Path) -> Page:
    return Page(path)


def pages(site: Path) -> Iterator[tuple[str, Page]]:
    for path in sorted(site.rglob("*.html")):
        yield str(path.relative_to(site)), read(path)


def cells(notebook: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == kind]


def test_every_notebook_and_document_has_a_page(site: Path):
    documents = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "data").glob("*.md"),
    ]
    assert NOTEBOOKS
    for source in [*NOTEBOOKS, *documents]:
        assert (site / source.relative_to(ROOT)).with_suffix(".html").is_file(), source


def test_nothing_is_loaded_from_elsewhere(site: Path):
    for name, page in pages(site):
        assert [url for url in page.loads if ELSEWHERE.match(url)] == [], name
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)\s]*", sheet.read_text()) == [], sheet.name


def test_every_link_within_the_site_leads_somewhere(site: Path):
    for name, page in pages(site):
        for url in [*page.links, *page.loads]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            assert target.is_file(), f"{name}: {url}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in read(target.resolve()).ids, f"{name}: {url}"


def test_every_picture_says_what_it_shows(site: Path):
    for name, page in pages(site):
        assert [image["src"][:60] for image in page.images if not image.get("alt")] == [], name


def test_every_formula_is_mathematics(site: Path):
    for name, page in pages(site):
        assert re.findall(r".{0,30}\$.{0,30}", page.text) == [], name
    for notebook in NOTEBOOKS:
        prose = re.sub(r"```.*?```|`[^`]*`", "", "\n\n".join(cells(notebook, "markdown")), flags=re.S)
        formulas = re.findall(r"\$\$.+?\$\$|\$[^$]+\$", prose, re.S)
        assert read(site / f"notebooks/{notebook.stem}.html").source.count("<math") == len(formulas), notebook.name


def test_cells_that_are_compared_say_so_in_place_of_their_mark(site: Path):
    for notebook in NOTEBOOKS:
        marked = [source for source in cells(notebook, "code") if source.startswith("# NBVAL_CHECK_OUTPUT")]
        page = read(site / f"notebooks/{notebook.stem}.html")
        assert sum("tag_checked" in names.split() for names in page.classes) == len(marked) > 0, notebook.name
        assert "# NBVAL_CHECK_OUTPUT" not in page.source, notebook.name


def test_search_knows_the_words_of_the_course(site: Path):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert {"coreset", "washer", "auroc"} <= set(re.findall(r'"?(\w+)"?:', index))

"""The lecture: its lines run from its first page to its last, each page has a picture, and the index names every page."""

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
INDEX = (DOCS / "lecture.md").read_text(encoding="utf-8")
PAGES = {path: path.read_text(encoding="utf-8") for path in sorted((DOCS / "lecture").glob("*.md"))}


def test_the_lines_run():
    """One after the other: each page goes on with the names of those before."""
    pytest.importorskip("rdkit")
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    names: dict = {}
    for path, text in PAGES.items():
        page = parser.get_doctest(text, names, path.stem, str(path), 0)
        page.globs = names  # not a copy
        runner.run(page, clear_globs=False)
    result = runner.summarize(verbose=False)
    assert result.attempted > 60 and result.failed == 0


def test_the_index_names_every_page_in_order():
    linked = re.findall(r"^(\d+)\. \[(.+)\]\((lecture/.+\.md)\)$", INDEX, re.MULTILINE)
    titles = [(f"# {number}. {title}", DOCS / path) for number, title, path in linked]
    assert titles == [(text.partition("\n")[0], path) for path, text in PAGES.items()]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_has_code_a_picture_a_notebook_and_links_to_files(path):
    text = PAGES[path]
    assert "\n```pycon\n>>> " in text and re.search(r"!\[.+\]\(\w+\.png\)", text)
    assert re.search(rf"\[Notebook\]\({path.stem}\.ipynb\).* \(runs in under 10 seconds\)", text)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (path.parent / link).exists(), link


def test_a_page_leads_to_its_neighbours():
    paths = list(PAGES)
    for place, path in enumerate(paths):
        last = PAGES[path].rstrip().splitlines()[-1]
        wanted = [paths[other].name for other in (place - 1, place + 1) if 0 <= other < len(paths)]
        assert re.findall(r"\]\(([^)]+\.md)\)", last) == wanted


def test_pictures_are_small():
    assert sum(path.stat().st_size for path in (DOCS / "lecture").glob("*.png")) < 1_000_000

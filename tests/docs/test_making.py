"""What the site holds beside its pages is what `python -m docs.making` would write today."""

import json
import re
import time
from pathlib import Path

import pytest

from graphattn.viz import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = "https://github.com/graphattn/graphattn/"


def test_pages_show_their_scripts_as_they_are():
    from docs.making.scripts import pages

    assert pages() and all(page.read_text(encoding="utf-8") == text for page, text in pages().items())


@pytest.fixture(scope="module")
def lecture():
    for module in ("jupytext", "nbformat"):
        pytest.importorskip(module, reason=f"{module} writes notebooks: pip install -e .[docs]")
    from docs.making import lecture

    return lecture


PAGES = sorted((DOCS / "lecture").glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_notebooks_hold_the_lines_and_answers_of_their_pages(path, lecture):
    def cells(notebook):
        return [
            (cell.cell_type, cell.source, [output.text for output in cell.get("outputs", [])])
            for cell in notebook.cells
        ]

    import nbformat

    kept = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(kept)
    assert cells(kept) == cells(lecture.notebook_of(path)), "write it again: python -m docs.making lecture"


def test_a_notebook_begins_with_the_lines_of_the_pages_before(lecture):
    cells = lecture.notebook_of(PAGES[3]).cells
    first = next(cell for cell in cells if cell.cell_type == "code")
    assert first.source.startswith("# from the pages before\nimport torch\n") and "Additive(v)" in first.source
    assert any("TopK(k=2)  ['0.73'" in output.text for cell in cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_notebooks_run(path):
    """Each alone, from its first cell to its last."""
    pytest.importorskip("rdkit")
    notebook = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    names: dict = {}
    start = time.monotonic()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path.stem, "exec"), names)
    assert time.monotonic() - start < 30  # the page says 10; other programs run beside this one


def test_the_page_of_attention_is_what_is_made_today():
    """But for numbers: those of learned weights are not the same to the last digit everywhere, and learning takes longer."""
    pytest.importorskip("rdkit")
    from docs.making.explorer_page import make

    def data_of(text):
        return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])

    kept, made = (DOCS / "explorer.html").read_text(encoding="utf-8"), make(trained=False).html()
    told = data_of(kept)
    assert Page(told["scenes"], told["title"]).html() == kept, "write it again: python -m docs.making explorer"
    assert shape_of(told) == shape_of(data_of(made)), "write it again: python -m docs.making explorer"


def shape_of(value, name=""):
    """A value without what was learned: weights, scores, and statistics of both."""
    if isinstance(value, dict):
        return {key: shape_of(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [shape_of(item, name) for item in value]
    return type(value) if name in LEARNED or isinstance(value, float) else value


LEARNED = {"likeliest", "weights"}


def test_files_of_others_are_those_that_the_site_names():
    """Each is there, at the version that vendor.py names, and so is every font that KaTeX may ask for."""
    from docs.making.vendor import PACKAGES, VENDOR

    (katex,) = [name.partition("@")[2] for name in PACKAGES if name.startswith("katex")]
    style = (VENDOR / "katex" / "katex.min.css").read_text(encoding="utf-8")
    script = (VENDOR / "katex" / "katex.min.js").read_text(encoding="utf-8")
    assert f'"{katex}"' in style and f'"{katex}"' in script
    fonts = set(re.findall(r"url\((fonts/[^)]+\.woff2)\)", style))
    assert fonts and all((VENDOR / "katex" / font).is_file() for font in fonts)
    assert {path.suffix for path in VENDOR.rglob("*") if path.is_file()} == {".js", ".css", ".woff2", ".LICENSE", ""}
    named = re.findall(r"vendor/[\w./-]+", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert len(named) == 4 and all((DOCS / path).is_file() for path in named)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_pages_read_the_same_on_the_site_and_where_markdown_is_shown(page):
    text = page.read_text(encoding="utf-8")
    assert "```python\n>>> " not in text, "a session with prompts is a block of pycon"
    assert "\\|" not in text, "in a table, write a | b in code as <code>a &#124; b</code>"
    assert page.stem == "changelog" or "--8<--" not in text, "a script is shown behind a comment with its name"
    assert not re.search(r"^=== ", text, re.MULTILINE), "tabs are read by the site alone"
    for kind, path in re.findall(rf"\]\({SOURCES}(blob|tree)/main/([^)#]+)", text):
        assert (ROOT / path).is_file() if kind == "blob" else (ROOT / path).is_dir(), path

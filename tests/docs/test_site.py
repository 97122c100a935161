"""The site: it builds without a warning, works from the disk, asks nobody for anything, finds words, and no link is broken."""

import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.chromium import Tab, open_chromium

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built once."""
    for module in ("mkdocs", "material", "mkdocstrings"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e .[docs]")
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "site"
    try:
        folder.mkdir()  # the first process that comes builds it for all
    except FileExistsError:
        wait_for(folder / "built")
    else:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder / "pages")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        (folder / "built").write_text(done.stderr if done.returncode else "")
    errors = (folder / "built").read_text()
    assert not errors, errors[-3000:]
    return folder / "pages"


def wait_for(path):
    until = time.monotonic() + 600
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.2)


@pytest.fixture(scope="module")
def browser():
    with open_chromium() as found:
        yield found


@pytest.fixture
def tab(browser):
    opened = Tab(browser)
    yield opened
    assert not opened.foreign and not opened.errors
    opened.page.close()


def pages_of(site):
    return sorted(path for path in site.rglob("*.html") if path.name not in ("404.html", "explorer.html"))


def test_every_link_leads_somewhere(site):
    """Every link and picture of every page, anchors too."""
    anchors = {
        path: set(re.findall(r'\bid="?([^"\s>]+)', path.read_text(encoding="utf-8"))) for path in site.rglob("*.html")
    }
    broken, count = [], 0
    for page in pages_of(site):
        for link in re.findall(r'(?:href|src)="?([^"\s>]+)', page.read_text(encoding="utf-8")):
            parts = urlsplit(link.replace("&amp;", "&"))
            if parts.scheme or link.startswith("//"):
                continue
            count += 1
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            missing = (
                parts.fragment
                and target in anchors
                and unquote(parts.fragment) not in anchors[target]
                and parts.fragment != "__top"
            )
            if not target.exists() or missing:
                broken.append((page.relative_to(site).as_posix(), link))
    assert count > 1000 and not broken


def test_every_page_opens_and_asks_for_nothing(site, tab):
    for page in pages_of(site):
        tab.page.goto(f"file://{page}")
        assert tab.page.inner_text("h1") and not tab.errors, (page, tab.errors)
    outside = [
        url
        for page in pages_of(site)
        for url in re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="?(https?:[^"\s>]+)', page.read_text())
    ]
    assert not [url for url in outside if "graphattn.example" not in url]


def test_no_markdown_is_left_over(site):
    """Fences, escapes, tables and the signs that other tools read."""
    for page in pages_of(site):
        text = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
        assert not re.findall(r"```|--8&lt;--|\{\{ [A-Z]|\\\|| ::: |={8}|:class:", text), page.name


def test_search_works_from_the_disk(site, tab):
    tab.page.goto(f"file://{site}/index.html")
    tab.page.click(".md-search__input")
    tab.page.keyboard.type("AttentionReadout")
    tab.page.wait_for_selector(".md-search-result__item a", timeout=20_000)
    links = tab.page.eval_on_selector_all(".md-search-result__item a", "links => links.map((link) => link.href)")
    assert any("reference/nn.html" in link for link in links)
    tab.page.goto(next(link for link in links if "reference/nn.html" in link))
    assert "Learned queries attend to all nodes" in tab.page.inner_text("article")


def test_formulas_are_drawn(site, tab):
    tab.page.goto(f"file://{site}/reference/explain.html")
    tab.page.wait_for_selector(".katex", timeout=5000)
    assert tab.page.locator(".katex-error").count() == 0
    fonts = tab.page.evaluate(
        "document.fonts.ready.then(() => [...document.fonts].filter((font) => font.status === 'loaded').length)"
    )
    assert fonts > 0


def test_what_is_copied_has_no_prompts(site, tab):
    tab.page.goto(f"file://{site}/lecture/08-masked-self-attention.html")
    tab.page.hover(".highlight >> nth=0")
    tab.page.click(".highlight >> nth=0 >> button >> nth=0")
    copied = tab.page.get_attribute("[data-copied]", "data-copied")
    assert copied.startswith("causal(4).mask().int()") and ">>>" not in copied and "tensor([[1" not in copied


def test_the_page_of_attention_lies_in_ideas(site, tab):
    tab.page.goto(f"file://{site}/ideas.html")
    frame = tab.page.frame_locator("iframe.explorer")
    tab.page.locator("iframe.explorer").scroll_into_view_if_needed()
    frame.locator("#say:has-text('may see')").wait_for(timeout=10_000)
    assert "true" in frame.locator("#predictions > div >> nth=1").get_attribute("class")  # the model has learned it
    frame.locator("[role=tab] >> nth=1").click()
    frame.locator("#say:has-text('frames')").wait_for(timeout=10_000)


def test_a_picture_opens_alone(site, tab):
    tab.page.goto(f"file://{site}/lecture/06-several-heads.html")
    tab.page.click("article img >> nth=0")
    tab.page.wait_for_url("**/heads.png")


def test_the_slider_counts_edges(site, tab):
    from graphattn import BandedGraph

    tab.page.goto(f"file://{site}/ideas.html")
    for reach in (0, 7, 47):
        tab.page.fill(".slider input", str(reach))
        assert f": {BandedGraph(48, reach, reach).num_edges} of 2304" in tab.page.inner_text(".slider span")


def test_the_slider_of_the_softmax(site, tab):
    import torch

    tab.page.goto(f"file://{site}/lecture/04-softmax-or-something-else.html")
    for temperature in (0.1, 1.0, 4.0):
        tab.page.fill(".slider input", str(temperature))
        weights = (torch.tensor([2, 1, 0.5, -1]) / temperature).softmax(0)
        assert tab.page.inner_text(".slider span").endswith(", ".join(f"{weight:.2f}" for weight in weights))


def test_the_slider_of_heads(site, tab):
    from graphattn.nn import GraphAttention

    tab.page.goto(f"file://{site}/lecture/06-several-heads.html")
    sizes = set()
    for power in (0, 2, 6):
        tab.page.fill(".slider input", str(power))
        layer = re.search(r"GraphAttention\((\d+), (\d+), heads=(\d+)\)", tab.page.inner_text(".slider span"))
        made = GraphAttention(int(layer[1]), int(layer[2]), heads=int(layer[3]))
        sizes.add(sum(parameter.numel() for parameter in made.parameters()))
        assert int(layer[3]) == 2**power
    assert len(sizes) == 1  # as the page says


def test_a_notebook_lies_beside_each_page_of_the_lecture(site):
    kept = [path.stem for path in sorted((ROOT / "docs" / "lecture").glob("*.md"))]
    assert kept == [path.stem for path in sorted((site / "lecture").glob("*.ipynb"))]


def test_the_site_is_made_without_code_of_ours_but_the_reader_of_docstrings():
    """So that another program that reads mkdocs.yml makes the same site."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "hooks" not in text and re.findall(r"[\w/]+\.py\b", text) == ["docs/making/docstrings.py"]
    plugins = re.findall(r"^  - (\w+)", text.partition("\nplugins:\n")[2].partition("\n\n")[0], re.MULTILINE)
    assert plugins == ["search", "offline", "autorefs", "mkdocstrings"]

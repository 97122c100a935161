"""Long texts: 2,000 words and 32 heads open within 2 seconds and are drawn again within 16 milliseconds."""

import statistics

import pytest
import torch
from torch_geometric.data import Data

from graphattn import BandedGraph, CompleteGraph
from graphattn.nn import GraphTransformer
from graphattn.viz import explore
from tests.chromium import Tab

GRAPHS = {"band": BandedGraph(2000, 16, 16), "complete": CompleteGraph(2000)}


@pytest.mark.parametrize("name", GRAPHS)
def test_2000_words_and_32_heads(name, browser, tmp_path):
    torch.manual_seed(0)
    tokens = [f"word{node % 97}" for node in range(2000)]
    data = Data(x=torch.randn(2000, 32), graph=GRAPHS[name], tokens=tokens)
    page = explore(GraphTransformer(32, 2, heads=16), data, tmp_path / "long.html", max_weights=2_000_000)
    mask = page.scenes[0]["layers"][0]["mask"]
    assert (
        mask == {"band": {"low": -16, "high": 16, "step": 1}, "complete": {"low": -1999, "high": 1999, "step": 1}}[name]
    )
    ready, drawn = [], []
    for _ in range(3):  # of several: other programs run beside this one
        tab = Tab(browser)
        tab.page.goto(f"file://{tmp_path}/long.html")
        tab.page.wait_for_selector("body[data-ready]", timeout=30_000)
        ready.append(float(tab.page.get_attribute("body", "data-ready")))
        tab.page.wait_for_timeout(300)
        for node in range(0, 2000, 101):
            drawn.append(tab.page.evaluate(f"async () => {{ change({{ node: {node} }});"
                                           " await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"
                                           " return draw.milliseconds; }"))  # fmt: skip
        assert not tab.errors
        tab.page.close()
    assert min(ready) < 2000 and statistics.median(drawn) < 16, (ready, statistics.median(drawn))

"""The blocks of docs/extending.md make a module, as an author would write it; what it defines runs everywhere."""

import importlib
import re
from pathlib import Path

import pytest
import torch

from graphattn import CompleteGraph, attend, batch_graphs, causal
from graphattn.extending import remove_kernel
from graphattn.graphs.per_head import PerHead
from graphattn.nn import GraphAttention

TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The module; its kernel is registered."""
    folder = tmp_path_factory.mktemp("author")
    (folder / "from_the_page.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("from_the_page")
    remove_kernel("toy")


def test_every_block_is_in_the_module(page):
    assert len(re.findall("```python", TEXT)) == 7
    assert {"board", "KnightMoves", "softplus", "Softplus", "Distance", "Angle", "Toy"} <= set(vars(page))


def layers(page):
    torch.manual_seed(0)
    yield GraphAttention(6, 4, heads=2, normalizer=page.softplus)
    yield GraphAttention(6, 4, heads=2, normalizer=page.Softplus())
    yield GraphAttention(6, 4, heads=2, score=page.Distance(2), normalizer=page.softplus)
    yield GraphAttention(6, 4, heads=2, score=page.Distance(2))
    yield GraphAttention(6, 4, heads=2, score=page.Angle())


def test_in_a_batch_under_torch_compile_and_for_each_head(page):
    graph, x = page.KnightMoves(4), torch.randn(16, 6)
    batch = batch_graphs([graph, causal(3)])
    more = torch.cat([x, torch.randn(3, 6)])
    for layer in layers(page):
        alone = layer(x, graph)
        torch.testing.assert_close(layer(more, batch)[:16], alone)
        torch.testing.assert_close(torch.compile(layer, backend="aot_eager")(x, graph), alone)
        by_head = layer(x, PerHead([graph, causal(16)]))
        torch.testing.assert_close(by_head[:, : alone.size(1) // 2], alone[:, : alone.size(1) // 2])


def test_the_kernel_runs_where_it_stands(page):
    x = torch.randn(5, 2, 4)
    found, wanted = (attend(x, x, x, CompleteGraph(5), kernel=kernel) for kernel in ("toy", "edges_torch"))
    torch.testing.assert_close(found, wanted)

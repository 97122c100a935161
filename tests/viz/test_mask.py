import numpy as np
import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, GlobalGraph, causal
from graphattn.testing.cases import ASYMMETRIC, edge_list
from graphattn.viz import draw_mask


def drawn(ax):
    return ax.images[0].get_array()


def test_shows_queries_in_rows_and_weights_where_edges_are():
    weights = torch.rand(len(ASYMMETRIC), 3)
    ax = draw_mask(edge_list(ASYMMETRIC, 6, 8), weights)
    image = drawn(ax)
    assert image.shape == (6, 8) and image.count() == len(ASYMMETRIC)
    for (key, query), weight in zip(ASYMMETRIC, weights.mean(1)):
        assert image[query, key] == pytest.approx(float(weight))
    assert ax.get_xlabel() == "key: is attended to" and ax.get_ylabel() == "query: attends"
    assert ax.figure.axes[-1].get_ylabel() == "attention weight"


def test_names_the_nodes():
    ax = draw_mask(causal(3), labels=["a", "b", "c"])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    many = draw_mask(causal(100), labels=[str(node) for node in range(100)])
    assert [text.get_text() for text in many.get_xticklabels()][:3] == ["0", "3", "6"]
    some = draw_mask(causal(1000), labels=[str(node) for node in range(1000)], max_nodes=16)
    assert [text.get_text() for text in some.get_yticklabels()][:4] == ["0", "1", "142", "143"]


@pytest.mark.parametrize("graph", [CompleteGraph(10**6), BandedGraph(10**6, 5, 5) | GlobalGraph(10**6, [0])])
def test_a_graph_of_any_size_is_a_sample_and_says_so(graph):
    ax = draw_mask(graph, title="large")
    image = drawn(ax)
    assert image.shape == (256, 256) and ax.get_title() == "large\n256 of 1,000,000 nodes, in blocks"
    assert ax.get_xticklabels()[1].get_text() == "142,852"
    nodes = [int(text.get_text().replace(",", "")) + step for text in ax.get_xticklabels() for step in range(32)]
    for query, key in [(0, 0), (5, 200), (37, 40), (37, 50), (255, 254)]:
        seen = graph.allows(nodes[query], nodes[key]).item()
        assert bool(np.ma.getmaskarray(image)[query, key]) != seen


def test_no_nodes():
    assert not draw_mask(CompleteGraph(0)).images


def test_bad_input():
    with pytest.raises(ValueError, match=r"each of 3 nodes \(got 2\)"):
        draw_mask(causal(3), labels=["a", "b"])
    with pytest.raises(ValueError, match="got .4."):
        draw_mask(causal(3), torch.rand(4))

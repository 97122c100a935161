import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, causal
from graphattn.graphs import PrefixGraph
from graphattn.nn.window import Window, first_rows, last_queries

GRAPHS = {
    "causal": causal(6),
    "band": BandedGraph(6, 2, 0),
    "dilated": BandedGraph(6, 2, 0, dilation=2),
    "edges": EdgeListGraph(torch.tensor([[0, 0, 2, 3], [1, 4, 3, 3]]), 6),
    "prefix": PrefixGraph(6, 2),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_last_query_is_that_of_the_mask_or_later(name):
    mask = GRAPHS[name].mask()
    wanted = torch.tensor([max([query for query in range(6) if mask[query, key]], default=-1) for key in range(6)])
    found = last_queries(GRAPHS[name])
    assert (found >= wanted).all() and (found < 6).all()
    if name in ("causal", "band", "edges"):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_first_rows_are_those_of_the_graph(name):
    graph = GRAPHS[name].normal_form()
    found = first_rows(graph, [3, 5], [0, 0])
    for example, count in zip(found.examples(), (3, 5), strict=True):
        assert torch.equal(example.mask(), graph.mask()[:count, :count])


def test_nodes_are_kept_while_they_are_seen():
    window = Window(BandedGraph(6, 2, 0), num_examples=2)
    step = window.extend([3, 2])
    assert step.pos.tolist() == [0, 1, 2, 0, 1] and window.counts.tolist() == [2, 2]
    step = window.extend([1, 1])
    assert step.key_pos.tolist() == [1, 2, 3, 0, 1, 2] and window.counts.tolist() == [2, 2]
    assert window.select(torch.tensor([1])).tolist() == [2, 3] and window.pos.tolist() == [1, 2]
    with pytest.raises(ValueError, match="the graph has 6 nodes .got an example of 8"):
        window.extend([5])


def test_graphs_that_show_the_future_are_refused():
    with pytest.raises(ValueError, match="must be causal"):
        Window(BandedGraph(6, 2, 1), num_examples=1)
    with pytest.raises(ValueError, match="one Graph"):
        Window(CompleteGraph(6, 5), num_examples=1)

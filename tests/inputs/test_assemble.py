"""The last step of every input: the graph fits the nodes, edge_index comes on request."""

from functools import partial

import pytest
import torch
from torch_geometric.transforms import AddSelfLoops

from graphattn.graphs import BandedGraph, CompleteGraph, causal
from graphattn.inputs import from_image, from_text
from graphattn.inputs.assemble import assemble, choose_graph


def test_a_graph_a_function_or_the_default():
    band = BandedGraph(4, 1, 0)
    assert choose_graph(band, 4, CompleteGraph) is band
    assert choose_graph(causal, 4, CompleteGraph) == causal(4)
    assert choose_graph(None, 4, CompleteGraph) == CompleteGraph(4)


def test_a_graph_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"'graph' joins 3 queries to 3 keys, the input has 4 nodes"):
        choose_graph(CompleteGraph(3), 4, CompleteGraph)
    with pytest.raises(ValueError, match=r"'graph' joins 4 queries to 5 keys"):
        choose_graph(CompleteGraph(4, 5), 4, CompleteGraph)


def test_what_is_no_graph_is_refused():
    with pytest.raises(TypeError, match=r"'graph' needs to be a Graph or a function .*got list"):
        choose_graph(lambda num_nodes: [num_nodes], 4, CompleteGraph)


def test_edge_index_and_pos_only_on_request():
    x, graph = torch.rand(3, 2), causal(3)
    data = assemble(x, None, graph, edge_index=False)
    assert "edge_index" not in data and "pos" not in data
    data = assemble(x, torch.zeros(3, 1), graph, edge_index=True, colour="red")
    assert data.colour == "red" and data.pos.shape == (3, 1)
    # A key comes no later than its query.
    pairs = sorted((key, query) for query in range(3) for key in range(query + 1))
    assert sorted(map(tuple, data.edge_index.T.tolist())) == pairs


def test_the_graph_follows_edge_index_where_there_is_one():
    for make in (partial(from_text, "a b c", graph=causal), partial(from_image, torch.rand(3, 5))):
        data = AddSelfLoops()(make(edge_index=True))
        assert torch.equal(data.graph.edge_index(), data.edge_index)
        assert make(edge_index=True).graph == make().graph


@pytest.mark.parametrize("graph", [torch.tensor([[0], [1]]), [(0, 1)], 2])
def test_edges_are_no_graph(graph):
    with pytest.raises(
        TypeError, match=rf"'graph' needs to be a Graph or .* \(got {type(graph).__name__}\); make one by"
    ):
        from_text("a b", graph=graph)

"""Global nodes beside the graph that is there."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphattn.graphs import BandedGraph
from graphattn.transforms import GlobalNodes


def line(num_nodes):
    return Data(x=torch.rand(num_nodes, 1), graph=BandedGraph(num_nodes, 1, 0))


def loop_mask(num_nodes, nodes):
    return [
        [query - 1 <= key <= query or key in nodes or query in nodes for key in range(num_nodes)]
        for query in range(num_nodes)
    ]


@pytest.mark.parametrize("nodes, meant", [([0], [0]), ([-1], [5]), ([2, 4], [2, 4]), ([1, 1, -5], [1])])
def test_union_with_the_graph_that_is_there(nodes, meant):
    graph = GlobalNodes(nodes)(line(6)).graph
    assert graph.mask().tolist() == loop_mask(6, meant)
    assert graph.num_edges == sum(map(sum, loop_mask(6, meant)))  # every edge once


def test_edge_index_where_there_is_no_graph():
    data = Data(x=torch.rand(3, 1), edge_index=torch.tensor([[1], [2]]))
    assert GlobalNodes([0])(data).graph.mask().int().tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]


def test_the_last_node_of_each_example():
    batch = Batch.from_data_list([line(3), line(5)])
    expected = torch.block_diag(*[torch.tensor(loop_mask(count, [count - 1])).int() for count in (3, 5)])
    assert torch.equal(GlobalNodes([-1])(batch).graph.mask(), expected.bool())


def test_bad_nodes():
    for nodes in ([], [0.5]):
        with pytest.raises(ValueError, match=r"'nodes' needs to be one or more indices"):
            GlobalNodes(nodes)
    with pytest.raises(ValueError, match=r"'nodes' \[3, -4\] are not among the 3 nodes of an example"):
        GlobalNodes([0, 3, -4])(line(3))
    with pytest.raises(ValueError, match=r"\[2\] are not among the 2 nodes"):
        GlobalNodes([2])(Batch.from_data_list([line(3), line(2)]))
    with pytest.raises(ValueError, match="has neither a graph nor an edge_index"):
        GlobalNodes()(Data(x=torch.rand(3, 1)))

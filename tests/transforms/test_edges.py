"""data.edge_index as the graph: its direction, its order, its batches."""

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import AddSelfLoops

from graphattn.graphs import causal
from graphattn.transforms import Edges

EDGES = torch.tensor([[2, 0, 2], [1, 3, 1]])  # a repeated edge, and nothing into node 0


def test_edges():
    graph = Edges()(Data(x=torch.rand(4, 1), edge_index=EDGES)).graph
    assert torch.equal(graph.edge_index(), EDGES) and graph.num_edges == 3 and not graph.is_symmetric
    assert graph.mask().tolist() == [[(key, query) in {(2, 1), (0, 3)} for key in range(4)] for query in range(4)]


def test_transforms_of_pyg_afterwards():
    data = Data(x=torch.rand(4, 1), edge_index=EDGES, graph=causal(4))
    after = AddSelfLoops()(Edges()(data))
    assert torch.equal(after.graph.edge_index(), after.edge_index) and after.graph.num_edges == 7
    batch = AddSelfLoops()(Edges()(Batch.from_data_list([data, data])))
    assert torch.equal(batch.graph.edge_index(), batch.edge_index) and batch.graph.sizes == ((4, 4), (4, 4))
    assert data.graph == causal(4) and type(data) is Data


def test_promise_of_both_directions():
    both_ways = torch.tensor([[0, 1], [1, 0]])
    assert Edges(is_undirected=True)(Data(x=torch.rand(2, 1), edge_index=both_ways)).graph.is_symmetric


def test_a_batch_keeps_its_columns():
    data = Data(x=torch.rand(4, 1), edge_index=EDGES)
    batch = Batch.from_data_list([data, data])
    graph = Edges()(batch).graph
    assert graph.sizes == ((4, 4), (4, 4)) and torch.equal(graph.edge_index(), torch.cat([EDGES, EDGES + 4], dim=1))


def test_bad_edges():
    with pytest.raises(ValueError, match="has no edge_index; set it, or choose a graph"):
        Edges()(Data(x=torch.rand(4, 1)))
    with pytest.raises(ValueError, match=r"'edge_index' names key 2, but there are 2 keys"):
        Edges()(Data(x=torch.rand(2, 1), edge_index=EDGES)).graph.csr()

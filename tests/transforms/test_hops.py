import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from graphattn import as_graph
from graphattn.graphs import BandedGraph, CompleteGraph, EdgeListGraph
from graphattn.graphs.hops import hop_distances
from graphattn.transforms import AddHops, Complete


def test_a_loader_joins_them_in_the_order_of_the_graph():
    torch.manual_seed(0)
    examples = [Data(x=torch.rand(n, 1), edge_index=torch.randint(n, (2, 2 * n))) for n in (3, 6, 4)]
    batch = next(iter(DataLoader([AddHops(2)(Complete()(data)) for data in examples], batch_size=3)))
    along = EdgeListGraph(batch.edge_index, [3, 6, 4])
    assert torch.equal(batch.hops, hop_distances(as_graph(batch), along, 2))


def test_counts_along_the_edges_between_those_of_the_graph():
    data = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3, graph=BandedGraph(3, 2, 0))
    assert AddHops(3)(data).hops.tolist() == [0, 1, 0, 2, 1, 0]


def test_edges_are_needed():
    with pytest.raises(ValueError, match="no edge_index to count steps along"):
        AddHops(3)(Data(x=torch.rand(3, 1), graph=CompleteGraph(3)))

"""Renumbered data is the same data."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphattn import attend
from graphattn.graphs import CompleteGraph, EdgeListGraph, causal
from graphattn.transforms import MortonOrder, restore_nodes
from graphattn.transforms.node_order import NodeOrder, renumber


class Backwards(NodeOrder):
    def order(self, data):
        return torch.arange(data.num_nodes).flip(0)


def example(num_nodes=6, num_edges=9):
    torch.manual_seed(0)
    edge_index = torch.randint(num_nodes, (2, num_edges))
    return Data(
        x=torch.rand(num_nodes, 3),
        edge_index=edge_index,
        edge_attr=torch.rand(num_edges, 2),
        pos=torch.rand(num_nodes, 2),
        graph=EdgeListGraph(edge_index, num_nodes),
        train_mask=torch.rand(num_nodes, 2) < 0.5,
        y=torch.tensor(3.0),
        words=list("abcdef")[:num_nodes],
        numbers=np.arange(num_nodes),
        face=torch.randint(num_nodes, (3, 4)),
        root_index=torch.tensor([2]),
        size=torch.rand(num_edges),
    )


@pytest.mark.parametrize("num_edges", [9, 6], ids=["more edges", "as many edges as nodes"])
def test_everything_moves_with_its_node(num_edges):
    data = example(num_edges=num_edges)
    if num_edges == 6:
        del data.size  # PyG takes it for an attribute of nodes
    after = MortonOrder()(data)
    old = after.node_order
    assert old.tolist() != list(range(6)) and "node_order" not in data
    for name in ("x", "pos", "train_mask", "numbers"):
        assert np.array_equal(after[name], data[name][old]), name
    assert after.words == [data.words[i] for i in old]
    for name in ("edge_index", "face", "root_index"):
        assert torch.equal(old[after[name]], data[name]), name
    assert torch.equal(after.graph.edge_index(), after.edge_index)
    for name in ("edge_attr", "y", *(["size"] if num_edges == 9 else [])):
        assert torch.equal(after[name], data[name]), name


def test_attention_is_the_same_once_put_back():
    data = example()
    after = MortonOrder()(data)
    out, found = (attend(*[d.x[:, None]] * 3, d.graph, bias=d.edge_attr[:, 0]) for d in (data, after))
    assert not torch.allclose(found, out)
    torch.testing.assert_close(restore_nodes(found, after), out)


def test_two_orders_are_put_back_at_once():
    data = example()
    after = MortonOrder()(Backwards()(data))
    assert torch.equal(restore_nodes(after.x, after), data.x)
    assert torch.equal(after.x, MortonOrder()(data).x)


def test_nodes_without_attributes_are_not_lost():
    after = Backwards()(Data(edge_index=torch.tensor([[3], [2]]), num_nodes=5))
    assert after.num_nodes == 5 and after.edge_index.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    "graph, message",
    [
        (causal(6), "'graph' is made of the present numbers of the nodes"),
        (CompleteGraph(5), "'graph' joins 5 queries to 5 keys, the data has 6 nodes"),
    ],
)
def test_other_graphs_are_refused(graph, message):
    data = example()
    data.graph = graph
    with pytest.raises(ValueError, match=message):
        Backwards()(data)


def test_adjacency_is_refused():
    with pytest.raises(ValueError, match="'adj_t'; keep edges in 'edge_index'"):
        renumber(Data(x=torch.rand(2, 1), adj_t=torch.eye(2).to_sparse_csr()), torch.tensor([1, 0]))


def test_what_cannot_be_put_back():
    with pytest.raises(ValueError, match="has no 'node_order'"):
        restore_nodes(torch.rand(6), example())
    with pytest.raises(ValueError, match=r"each of the 6 nodes \(got \[5\]\)"):
        restore_nodes(torch.rand(5), Backwards()(example()))
